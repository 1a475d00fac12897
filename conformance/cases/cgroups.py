"""config-linux.md: control groups, seen from the host and from inside."""

import errno
import os
from pathlib import Path
from typing import Any

from conformance.box import Box
from conformance.container import Container
from conformance.host import cgroup_mounts
from conformance.model import NotApplicable, RuntimeFailed, case


def membership(pid: int) -> list[tuple[list[str], str]]:
    """The v1 controllers (none for v2) and the path of each line of /proc/PID/cgroup."""
    lines = (line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    return [(controllers.split(",") if controllers else [], path) for _, controllers, path in lines]


def limit_file(container: Container, controller: str, v1: str, v2: str) -> Path:
    """The file of a limit in the cgroup that the kernel says the process is in."""
    mounts = cgroup_mounts()
    for controllers, path in membership(container.pid):
        for point, mounted in mounts.items():
            if mounted == controllers and (controller in controllers or not controllers):
                file = Path(f"{point}{path}/{v1 if controllers else v2}")
                if file.exists():
                    return file
    raise RuntimeFailed(f"the process is in no cgroup with the controller {controller}")


def has_controller(name: str) -> bool:
    return any(
        name in controllers
        or (not controllers and name in Path(point, "cgroup.controllers").read_text().split())
        for point, controllers in cgroup_mounts().items()
    )


@case("cgroups.absolute")
def an_absolute_cgroups_path(box: Box) -> None:
    # Beside v1 controllers, the v2 hierarchy and systemd's own have none, and runtimes may leave them alone.
    v1 = [
        controllers
        for controllers in cgroup_mounts().values()
        if set(controllers) & {"memory", "pids", "devices"}
    ]
    if not cgroup_mounts():
        raise NotApplicable("no cgroups are mounted")
    container = box.container().create()
    for controllers, path in membership(container.pid):
        if controllers in (v1 or [[]]):
            box.equal(
                "cgroups.absolute",
                path,
                container.linux["cgroupsPath"],
                f"the path of {','.join(controllers) or 'the v2 cgroup'}",
            )


@case("cgroups.memory-limit", "cgroups.pids-limit")
def limits_of_cgroups(box: Box) -> None:
    for requirement, controller, resources, v1, v2, wanted in (
        (
            "cgroups.memory-limit",
            "memory",
            {"memory": {"limit": 33554432}},
            "memory.limit_in_bytes",
            "memory.max",
            "33554432",
        ),
        ("cgroups.pids-limit", "pids", {"pids": {"limit": 77}}, "pids.max", "pids.max", "77"),
    ):
        if not has_controller(controller):
            box.not_applicable(requirement, f"there is no cgroup controller {controller}")
            continue
        container = box.container().runs("hold")
        container.linux["resources"] = resources
        container.run()
        box.equal(requirement, limit_file(container, controller, v1, v2).read_text().strip(), wanted, v2)
        container.stop()


@case("cgroups.device-list")
def the_device_list(box: Box) -> None:
    if os.path.exists("/proc/self/uid_map") and Path("/proc/self/uid_map").read_text().split()[:2] != [
        "0",
        "0",
    ]:
        raise NotApplicable("the suite runs in a user namespace")
    container = box.container(
        "openr:/dev/allowed", "openr:/dev/denied", "openw:/dev/allowed", "openr:/dev/null"
    )
    # Majors 240 to 254 are for local use (devices.txt). Without a driver, opening gives ENXIO, but only after
    # the device list has let it pass.
    container.linux["devices"] = [
        {"path": "/dev/denied", "type": "c", "major": 240, "minor": 1, "fileMode": 0o666},
        {"path": "/dev/allowed", "type": "c", "major": 240, "minor": 2, "fileMode": 0o666},
    ]
    container.linux["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 240, "minor": 1, "access": "rwm"},
            {"allow": True, "type": "c", "major": 240, "minor": 2, "access": "r"},
            {"allow": False, "type": "c", "major": 240, "minor": 1, "access": "rwm"},
        ]
    }
    report = container.run()
    box.equal(
        "cgroups.device-list",
        report.op("openr:/dev/denied")["errno"],
        errno.EPERM,
        "the errno of what is denied",
    )
    found = report.op("openr:/dev/allowed")["errno"]
    box.check("cgroups.device-list", found != errno.EPERM, "what is allowed cannot be opened")
    box.equal(
        "cgroups.device-list", report.op("openw:/dev/allowed")["errno"], errno.EPERM, "the errno of writing"
    )
    box.equal("cgroups.device-list", report.op("openr:/dev/null")["errno"], 0, "the errno of /dev/null")


def v2_mount() -> str:
    """Where cgroup v2 alone is mounted; the machine has no v1 controllers then."""
    mounts = cgroup_mounts()
    return next(iter(mounts)) if list(mounts.values()) == [[]] else ""


def mebibytes(number: int) -> int:
    return number << 20


# Requirement, controller, resources, file and value of v1, file and value of v2 (None: any but the default).
VALUES: tuple[tuple[str, str, dict[str, Any], str, str, str, str | None], ...] = (
    (
        "cgroups.cpu-quota",
        "cpu",
        {"cpu": {"quota": 50000, "period": 100000}},
        "cpu.cfs_quota_us",
        "50000",
        "cpu.max",
        "50000 100000",
    ),
    ("cgroups.cpu-shares", "cpu", {"cpu": {"shares": 512}}, "cpu.shares", "512", "cpu.weight", None),
    ("cgroups.cpuset", "cpuset", {"cpu": {"cpus": "0"}}, "cpuset.cpus", "0", "cpuset.cpus", "0"),
    (
        "cgroups.memory-reservation",
        "memory",
        {"memory": {"limit": mebibytes(64), "reservation": mebibytes(32)}},
        "memory.soft_limit_in_bytes",
        str(mebibytes(32)),
        "memory.low",
        str(mebibytes(32)),
    ),
    (
        "cgroups.memory-swap",
        "memory",
        {"memory": {"limit": mebibytes(64), "swap": mebibytes(96)}},
        "memory.memsw.limit_in_bytes",
        str(mebibytes(96)),
        "memory.swap.max",
        str(mebibytes(32)),
    ),
)


@case(*(row[0] for row in VALUES))
def values_of_cgroups(box: Box) -> None:
    for requirement, controller, resources, v1, value, v2, other in VALUES:
        if not has_controller(controller):
            box.not_applicable(requirement, f"there is no cgroup controller {controller}")
            continue
        container = box.container().runs("hold")
        container.linux["resources"] = resources
        try:
            container.run()
            file = limit_file(container, controller, v1, v2)
        except RuntimeFailed as error:
            if controller == "memory" and "swap" in str(error):
                box.not_applicable(requirement, "the kernel does not account for swap")
                continue
            raise
        found = file.read_text().strip()
        wanted = value if file.name == v1 else other
        if wanted is None:
            box.check(requirement, found != "100", f"{file.name} has its default {found}")
        else:
            box.equal(requirement, found, wanted, file.name)
        container.stop()


@case("cgroups.check-fails", "cgroups.consistent")
def a_cgroup_that_is_there(box: Box) -> None:
    first = box.container().runs("hold").create()
    place = membership(first.pid)
    second = box.container()
    second.linux["cgroupsPath"] = first.linux["cgroupsPath"]
    if second.try_create():
        box.not_applicable("cgroups.check-fails", "the runtime takes it, which is its choice")
        second.must(second.call("delete", "--force"))
    else:
        box.equal("cgroups.check-fails", first.state().get("status"), "created", "the status of its owner")
        box.check("cgroups.check-fails", not second.call("state"), "the second container is there")
    first.must(first.call("delete", "--force"))
    again = box.container()
    again.linux["cgroupsPath"] = first.linux["cgroupsPath"]
    again.create()
    box.equal("cgroups.consistent", membership(again.pid), place, "the cgroups")
    again.must(again.call("delete", "--force"))


@case("cgroups.path-dotdot")
def a_cgroups_path_that_leads_out(box: Box) -> None:
    container = box.container()
    container.linux["cgroupsPath"] = f"/../{container.id}"
    result = container.try_create()
    if not result:
        box.container().run()
        box.check("cgroups.path-dotdot", not container.left_behind(), f"{result}, and something stays")
        return
    if container.state().get("pid") != container.pid or not container.pid:
        raise RuntimeFailed("there is no process after create")
    inside = all(path.startswith(f"/{container.id}") for _, path in membership(container.pid) if path != "/")
    box.check("cgroups.path-dotdot", inside, f"it is in {membership(container.pid)}")
    box.proven = True


@case("cgroups.unified", "cgroups.unified-unknown", "errors.unchanged")
def files_of_the_unified_hierarchy(box: Box) -> None:
    if not v2_mount():
        raise NotApplicable("this machine has cgroup v1")
    container = box.container().runs("hold")
    container.linux["resources"] = {"unified": {"memory.high": str(mebibytes(128)), "pids.max": "99"}}
    container.run()
    for name, value in container.linux["resources"]["unified"].items():
        file = Path(f"{v2_mount()}{membership(container.pid)[0][1]}/{name}")
        box.equal("cgroups.unified", file.read_text().strip(), value, name)
    container.stop()
    box.refused(
        "cgroups.unified-unknown",
        lambda good: good.linux.update(resources={"unified": {"pids.max": "99"}}),
        lambda bad: bad.linux.update(resources={"unified": {"pids.no-such-file": "1"}}),
        "a file that does not exist",
        "errors.unchanged",
    )


@case("cgroups.network-class")
def class_of_the_network(box: Box) -> None:
    if not has_controller("net_cls") or v2_mount():
        raise NotApplicable("there is no cgroup controller net_cls")
    container = box.container().runs("hold")
    container.linux["resources"] = {"network": {"classID": 0x100001}}
    container.run()
    file = limit_file(container, "net_cls", "net_cls.classid", "")
    box.equal("cgroups.network-class", file.read_text().strip(), str(0x100001), "net_cls.classid")
    container.stop()


@case("cgroups.hugepages", "cgroups.hugepages-unknown")
def huge_pages(box: Box) -> None:
    sizes = Path("/sys/kernel/mm/hugepages")
    if not has_controller("hugetlb") or not sizes.is_dir() or not list(sizes.iterdir()):
        raise NotApplicable("there is no cgroup controller hugetlb, or no size of huge pages")
    kibibytes = min(int(path.name.split("-")[1].removesuffix("kB")) for path in sizes.iterdir())
    size = f"{kibibytes >> 10}MB" if kibibytes >> 10 else f"{kibibytes}KB"
    container = box.container().runs("hold")
    limit = kibibytes << 12  # four of them
    container.linux["resources"] = {"hugepageLimits": [{"pageSize": size, "limit": limit}]}
    container.run()
    file = limit_file(container, "hugetlb", f"hugetlb.{size}.limit_in_bytes", f"hugetlb.{size}.max")
    box.equal("cgroups.hugepages", file.read_text().strip(), str(limit), file.name)
    container.stop()
    box.refused(
        "cgroups.hugepages-unknown",
        lambda good: good.linux.update(resources=container.linux["resources"]),
        lambda bad: bad.linux.update(resources={"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}),
        "a page size that the machine does not have",
    )


FIRST_ID = 100000
DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def delegating(box: Box, *options: str) -> Container:
    """A container whose root is another user of the host, with a mount of its cgroup."""
    container = box.container().runs("hold")
    container.namespace("user")
    container.namespace("cgroup")
    for kind in ("uidMappings", "gidMappings"):
        container.linux[kind] = [{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]
    for path in (container.rootfs, *container.rootfs.iterdir()):
        os.chown(path, FIRST_ID, FIRST_ID)
    container.mount("/sys/fs/cgroup", "cgroup", "cgroup", *options)
    container.run()
    return container


@case("cgroups.owner", "cgroups.owner-others", "cgroups.owner-readonly", "cgroups.owner-v1")
def owners_of_cgroups(box: Box) -> None:
    mount = v2_mount()
    container = delegating(box)
    if not mount:
        places = [Path(f"{point}{path}") for names, path in membership(container.pid)
                  for point, mounted in cgroup_mounts().items() if names and mounted == names]  # fmt: skip
        changed = [str(place) for place in places if place.stat().st_uid]
        box.check("cgroups.owner-v1", not changed, f"these have another owner: {changed}")
        for requirement in ("cgroups.owner", "cgroups.owner-others", "cgroups.owner-readonly"):
            box.not_applicable(requirement, "this machine has cgroup v1")
        container.stop()
        return
    box.not_applicable("cgroups.owner-v1", "this machine has cgroup v2 alone")
    place = Path(f"{mount}{membership(container.pid)[0][1]}")
    names = Path("/sys/kernel/cgroup/delegate")
    delegated = names.read_text().split() if names.exists() else list(DELEGATED)
    box.equal("cgroups.owner", place.stat().st_uid, FIRST_ID, "the owner of the cgroup")
    for path in sorted(place.iterdir()):
        if path.is_dir():
            continue
        if path.name in delegated:
            box.equal("cgroups.owner", path.stat().st_uid, FIRST_ID, f"the owner of {path.name}")
        else:
            box.equal("cgroups.owner-others", path.stat().st_uid, 0, f"the owner of {path.name}")
    container.stop()
    container = delegating(box, "ro")
    place = Path(f"{mount}{membership(container.pid)[0][1]}")
    box.equal("cgroups.owner-readonly", place.stat().st_uid, 0, "the owner of the cgroup")
    container.stop()
