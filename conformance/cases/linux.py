"""config-linux.md: namespaces, devices, sysctl, propagation, masked and read-only paths, and the like."""

import errno
import os
import platform
import stat
import time
from pathlib import Path
from typing import Any

from conformance.box import Box
from conformance.cases.operations import plain
from conformance.container import Container
from conformance.model import NotApplicable, case

FILES = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}
MOUNTINFO = "read:/proc/self/mountinfo"
FIRST_ID, IDS = 100000, 65536


def of(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{FILES[kind]}")


def with_mappings(container: Container) -> Container:
    """A user namespace, and a root file system that belongs to its root."""
    container.namespace("user")
    container.linux["uidMappings"] = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
    container.linux["gidMappings"] = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
    container.bundle.chmod(0o711)
    for path in (container.rootfs, *container.rootfs.iterdir()):
        os.chown(path, FIRST_ID, FIRST_ID)
    return container


@case(
    "namespaces.new-pid",
    "namespaces.new-network",
    "namespaces.new-mount",
    "namespaces.new-ipc",
    "namespaces.new-uts",
)
def the_usual_namespaces_are_new(box: Box) -> None:
    container = box.container().runs("hold")
    report = container.run()
    for kind in ("pid", "network", "mount", "ipc", "uts"):
        box.check(
            f"namespaces.new-{kind}",
            of(container.pid, kind) != of("self", kind)
            and report["namespaces"].get(FILES[kind]) == of(container.pid, kind),
            "it is the runtime's",
        )
    box.equal("namespaces.new-pid", report["pid"], 1, "the program's pid in it")
    container.stop()


@case("namespaces.new-cgroup", "namespaces.new-time", "namespaces.time-offsets", "namespaces.types")
def cgroup_and_time_namespaces(box: Box) -> None:
    for kind in ("cgroup", "time"):
        requirements = [f"namespaces.new-{kind}"] + ["namespaces.time-offsets"] * (kind == "time")
        if not os.path.exists(f"/proc/self/ns/{kind}"):
            for requirement in requirements:
                box.not_applicable(requirement, f"the kernel has no {kind} namespaces")
            continue
        container = box.container("clock:boottime", "clock:monotonic")
        container.namespace(kind)
        if kind == "time":
            container.linux["timeOffsets"] = {"boottime": {"secs": 864000}, "monotonic": {"secs": 86400}}
        result = container.try_create()
        box.check("namespaces.types", result, f"{kind}: {result}")
        if not result:
            for requirement in requirements:
                box.not_applicable(requirement, f"the runtime does not support {kind} namespaces, as it may")
            continue
        report = container.start().report()
        box.check(
            requirements[0],
            report["namespaces"].get(kind, of("self", kind)) != of("self", kind),
            "it is the runtime's",
        )
        if kind == "time":
            for name, clock, offset in (
                ("boottime", time.CLOCK_BOOTTIME, 864000),
                ("monotonic", time.CLOCK_MONOTONIC, 86400),
            ):
                found = report.op(f"clock:{name}")["value"] - time.clock_gettime(clock)
                box.check(
                    "namespaces.time-offsets", abs(found - offset) < 30, f"{name} is off by {found:.0f} s"
                )


@case("namespaces.new-user", "namespaces.id-mappings", "namespaces.ownership")
def a_user_namespace(box: Box) -> None:
    container = with_mappings(box.container()).runs("hold", "stat:/bin/probe", "stat:/tmp")
    report = container.run()
    box.check("namespaces.new-user", of(container.pid, "user") != of("self", "user"), "it is the runtime's")
    for name in ("uid_map", "gid_map"):
        found = Path(f"/proc/{container.pid}/{name}").read_text().split()
        box.equal("namespaces.id-mappings", found, ["0", str(FIRST_ID), str(IDS)], name)
    box.equal("namespaces.id-mappings", report["uids"], [0] * 3, "the uids inside")
    box.equal("namespaces.id-mappings", os.stat(f"/proc/{container.pid}").st_uid, FIRST_ID, "the uid outside")
    container.stop()
    owners = {
        path.name: path.stat().st_uid for path in (container.rootfs / "tmp", container.rootfs / "bin/probe")
    }
    box.equal("namespaces.ownership", owners, {"tmp": FIRST_ID, "probe": 0}, "the owners")


@case("namespaces.inherited")
def namespaces_that_are_not_listed(box: Box) -> None:
    container = box.container().runs("hold")
    container.without_namespace("ipc")
    container.without_namespace("uts")
    container.config["mounts"] = [
        entry for entry in container.config["mounts"] if entry["destination"] != "/sys"
    ]
    container.without_namespace("network")
    container.run()
    for kind in ("ipc", "uts", "network", "cgroup", "user", "time"):
        if os.path.exists(f"/proc/self/ns/{FILES[kind]}"):
            box.equal(
                "namespaces.inherited", of(container.pid, kind), of("self", kind), f"the {kind} namespace"
            )
    container.stop()


@case("namespaces.path", "namespaces.path-type", "namespaces.duplicate")
def namespaces_by_path(box: Box) -> None:
    first = box.container().runs("hold")
    first.run()
    second = box.container().runs("hold")
    for kind in ("network", "ipc", "uts", "pid"):
        second.namespace(kind, f"/proc/{first.pid}/ns/{FILES[kind]}")
    second.run()
    for kind in ("network", "ipc", "uts", "pid"):
        box.equal("namespaces.path", of(second.pid, kind), of(first.pid, kind), f"the {kind} namespace")
    # A pid namespace ends with its first process; the second container's must be reaped before.
    second.stop()
    uts = f"/proc/{first.pid}/ns/uts"
    box.refused(
        "namespaces.path-type",
        lambda good: good.namespace("uts", uts),
        lambda bad: bad.namespace("ipc", uts),
        "the path of a uts namespace as an ipc namespace",
    )
    box.refused(
        "namespaces.duplicate",
        plain,
        lambda bad: bad.linux["namespaces"].append({"type": "uts"}),
        "a namespace that is listed twice",
    )
    first.stop()


@case("devices.available", "devices.outside-dev", "devices.conflict")
def configured_devices(box: Box) -> None:
    entry = {"path": "/dev/made", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6}
    entries: list[dict[str, Any]] = [
        entry,
        entry | {"path": "/devices/made"},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 5, "fileMode": 0o604},
        {"path": "/dev/block", "type": "b", "major": 7, "minor": 77, "fileMode": 0o600, "uid": 9},
        {"path": "/dev/fifo", "type": "p", "fileMode": 0o620, "uid": 7, "gid": 8},
    ]
    container = box.container(*[f"stat:{each['path']}" for each in entries])
    container.linux["devices"] = entries
    report = container.run()
    for wanted in entries:
        path = wanted["path"]
        found = report.op(f"stat:{path}")
        requirement = "devices.outside-dev" if path == "/devices/made" else "devices.available"
        box.equal(requirement, found["errno"], 0, f"the errno of {path}")
        if found["errno"]:
            continue
        right = {"p": stat.S_ISFIFO, "b": stat.S_ISBLK}.get(wanted["type"], stat.S_ISCHR)
        box.check(requirement, right(found["mode"]), f"{path} has the mode {found['mode']:o}")
        if "major" in wanted:
            numbers = [wanted["major"], wanted["minor"]]
            box.equal(requirement, found["rdev"], numbers, f"the numbers of {path}")
        box.equal(
            requirement,
            [stat.S_IMODE(found["mode"]), found["uid"], found["gid"]],
            [wanted.get(key, 0) for key in ("fileMode", "uid", "gid")],
            f"mode and owner of {path}",
        )

    def conflict(bad: Container) -> None:
        bad.linux["devices"] = [entry | {"path": "/file"}]
        (bad.rootfs / "file").write_text("not a device")

    tried = box.refused(
        "devices.conflict",
        lambda good: good.linux.update(devices=[entry | {"path": "/file"}]),
        conflict,
        "a file in a device's place",
    )
    box.equal("devices.conflict", (tried.rootfs / "file").read_text(), "not a device", "the file")


@case("devices.default", "devices.ptmx")
def default_devices(box: Box) -> None:
    # null(4), full(4), random(4), tty(4).
    wanted = {
        "null": (1, 3),
        "zero": (1, 5),
        "full": (1, 7),
        "random": (1, 8),
        "urandom": (1, 9),
        "tty": (5, 0),
    }
    ops = [f"stat:/dev/{name}" for name in wanted] + [
        "stat:/dev/ptmx",
        "stat:/dev/pts/ptmx",
        "openw:/dev/ptmx",
    ]
    container = box.container(*ops, "openw:/dev/null", "openr:/dev/zero", "openr:/dev/urandom")
    report = container.run()
    for name, numbers in wanted.items():
        found = report.op(f"stat:/dev/{name}")
        box.check(
            "devices.default",
            found["errno"] == 0 and stat.S_ISCHR(found["mode"]) and tuple(found["rdev"]) == numbers,
            f"/dev/{name} is {found}",
        )
    for op in ("openw:/dev/null", "openr:/dev/zero", "openr:/dev/urandom"):
        box.equal("devices.default", report.op(op)["errno"], 0, f"the errno of {op}")
    one, other = report.op("stat:/dev/ptmx"), report.op("stat:/dev/pts/ptmx")
    box.check(
        "devices.ptmx",
        one["errno"] == 0 and (one.get("dev"), one.get("ino")) == (other.get("dev"), other.get("ino")),
        "it is another file",
    )
    box.equal("devices.ptmx", report.op("openw:/dev/ptmx")["errno"], 0, "the errno of opening it")


@case("sysctl")
def kernel_parameters(box: Box) -> None:
    names = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096", "net.core.somaxconn": "321"}
    paths = {name: "/proc/sys/" + name.replace(".", "/") for name in names}
    before = {name: Path(path).read_text() for name, path in paths.items()}
    container = box.container(*[f"read:{path}" for path in paths.values()])
    container.linux["sysctl"] = names
    report = container.run()
    for name, path in paths.items():
        box.equal("sysctl", report.op(f"read:{path}").get("value", "").strip(), names[name], name)
        box.equal("sysctl", Path(path).read_text(), before[name], f"the host's {name}")


@case("rootfs-propagation")
def propagation_of_the_root(box: Box) -> None:
    for wanted in ("private", "slave", "shared", "unbindable"):
        container = box.container(MOUNTINFO)
        container.linux["rootfsPropagation"] = wanted
        words = {word.partition(":")[0] for word in container.run().mount("/").get("propagation", ["none"])}
        good = {
            "private": not words,
            "slave": words <= {"master"},
            "shared": "shared" in words,
            "unbindable": words == {"unbindable"},
        }
        box.check("rootfs-propagation", good[wanted], f"with {wanted}, it has {sorted(words) or 'nothing'}")


@case("masked-paths", "readonly-paths")
def masked_and_readonly_paths(box: Box) -> None:
    container = box.container(
        "read:/secret",
        "list:/secrets",
        "read:/proc/keys",
        "openw:/fixed",
        "create:/fixes/new",
        "openw:/proc/sys/kernel/msgmax",
        "openw:/open",
        "read:/fixed",
    )
    for name in ("secret", "fixed", "open"):
        (container.rootfs / name).write_text(name)
    for name in ("secrets", "fixes"):
        (container.rootfs / name).mkdir()
        (container.rootfs / name / "file").write_text(name)
    container.linux["maskedPaths"] = ["/secret", "/secrets", "/proc/keys", "/no-such-path"]
    container.linux["readonlyPaths"] = ["/fixed", "/fixes", "/proc/sys", "/no-such-path"]
    report = container.run()
    for op in ("read:/secret", "read:/proc/keys"):
        box.check("masked-paths", not report.op(op).get("value"), f"{op} gives {report.op(op)}")
    box.equal("masked-paths", report.op("list:/secrets")["value"], [], "what a masked directory has")
    box.equal("readonly-paths", report.op("read:/fixed").get("value"), "fixed", "what a read-only file has")
    for op in ("openw:/fixed", "create:/fixes/new", "openw:/proc/sys/kernel/msgmax"):
        box.equal("readonly-paths", report.op(op)["errno"], errno.EROFS, f"the errno of {op}")
    box.equal(
        "readonly-paths", report.op("openw:/open")["errno"], 0, "the errno of a path that is not read-only"
    )


@case("personality", "personality.invalid")
def the_execution_domain(box: Box) -> None:
    container = box.container("call:personality:0xffffffff")
    container.linux["personality"] = {"domain": "LINUX32"}
    report = container.run()
    box.equal("personality", report.op("call:personality:0xffffffff")["value"], 8, "the execution domain")
    if platform.machine() == "x86_64":
        box.equal("personality", report["machine"], "i686", "the machine that uname gives")
    box.refused(
        "personality.invalid",
        lambda good: good.linux.update(personality={"domain": "LINUX"}),
        lambda bad: bad.linux.update(personality={"domain": "NO_SUCH"}),
        "an unknown domain",
    )


@case("memory-policy", "memory-policy.flags", "memory-policy.invalid")
def the_memory_policy(box: Box) -> None:
    if not Path("/proc/self/numa_maps").exists():
        raise NotApplicable("this kernel has no memory policies")
    container = box.container("read:/proc/self/numa_maps")
    container.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    found = container.run().op("read:/proc/self/numa_maps").get("value", "")
    policies = sorted({line.split()[1] for line in found.splitlines()})
    box.check("memory-policy", "bind:0" in policies, f"its memory has {policies}")
    container = box.container("read:/proc/self/numa_maps")
    container.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    found = container.run().op("read:/proc/self/numa_maps").get("value", "")
    policies = sorted({line.split()[1] for line in found.splitlines()})
    box.check("memory-policy.flags", "bind=static:0" in policies, f"its memory has {policies}")
    policy = {"mode": "MPOL_BIND", "nodes": "0"}
    for change, what in (
        ({"mode": "MPOL_NO_SUCH"}, "an unknown mode"),
        ({"flags": ["MPOL_F_NO_SUCH"]}, "an unknown flag"),
    ):
        box.refused(
            "memory-policy.invalid",
            lambda good: good.linux.update(memoryPolicy=policy),
            lambda bad, change=change: bad.linux.update(memoryPolicy={**policy, **change}),  # type: ignore[misc]
            what,
        )


@case("intel-rdt.no-resctrl", "errors.unchanged")
def cache_allocation_without_resctrl(box: Box) -> None:
    if any(line.split(" - ")[1].startswith("resctrl ") for line in open("/proc/self/mountinfo")):
        raise NotApplicable("this machine has a mounted resctrl file system")
    box.refused(
        "intel-rdt.no-resctrl",
        plain,
        lambda bad: bad.linux.update(intelRdt={"closID": "conformance"}),
        "intelRdt without a mounted resctrl file system",
        "errors.unchanged",
    )


LINKS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}


@case("runtime-linux.links", "runtime-linux.descriptors")
def links_and_descriptors(box: Box) -> None:
    extra = os.open("/dev/null", os.O_RDONLY)
    try:
        given = f"readlink:/proc/self/fd/{extra}"
        container = box.container(given, *[f"readlink:/dev/{name}" for name in LINKS])
        container.create(descriptors=(extra,))
        container.start()
        report = container.report()
    finally:
        os.close(extra)
    for name, target in LINKS.items():
        found = report.op(f"readlink:/dev/{name}").get("value")
        box.equal("runtime-linux.links", found, f"/proc/self/fd{target}", f"the target of /dev/{name}")
    found = report.op(given)["errno"]
    box.equal("runtime-linux.descriptors", found, errno.ENOENT, "the errno of one that the runtime was given")
