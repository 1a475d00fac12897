"""config.md: root, mounts, names, and values that nobody knows."""

import errno
import socket

from conformance.box import Box
from conformance.cases.operations import plain
from conformance.container import Container
from conformance.model import case

MOUNTINFO = "read:/proc/self/mountinfo"


@case("config.unknown-property")
def unknown_properties_are_ignored(box: Box) -> None:
    container = box.container()
    container.config["com.example.unknown"] = {"a": [1]}
    container.process["unknown"] = 1
    container.linux["unknown"] = "x"
    container.config["mounts"][0]["unknown"] = True
    result = container.try_create()
    box.check("config.unknown-property", result and container.start().report(), str(result))


@case("config.invalid-value", "errors.unchanged")
def invalid_values_are_refused(box: Box) -> None:
    def namespace(bad: Container) -> None:
        bad.namespace("no-such-namespace")

    def seccomp(bad: Container) -> None:
        bad.linux["seccomp"] = {"defaultAction": "SCMP_ACT_NO_SUCH"}

    def propagation(bad: Container) -> None:
        bad.linux["rootfsPropagation"] = "no-such-propagation"

    def cwd(bad: Container) -> None:
        bad.process["cwd"] = "relative"

    for bad, what in (
        (namespace, "an unknown type of namespace"),
        (seccomp, "an unknown action of seccomp"),
        (propagation, "an unknown propagation"),
        (cwd, "a relative cwd"),
    ):
        box.refused("config.invalid-value", plain, bad, what, "errors.unchanged")


@case("root.relative", "root.absolute", "root.writable", "root.missing", "errors.unchanged")
def the_root_file_system(box: Box) -> None:
    for requirement, absolute in (("root.relative", False), ("root.absolute", True)):
        container = box.container("stat:/marker", "create:/made", "list:/")
        (container.rootfs / "marker").write_text("")
        if absolute:
            container.config["root"]["path"] = str(container.rootfs)
        report = container.run()
        box.equal(
            requirement, report.op("stat:/marker")["errno"], 0, "the errno of a file in the root file system"
        )
        box.check(
            "root.writable",
            report.op("create:/made")["errno"] == 0 and (container.rootfs / "made").exists(),
            "no file can be made in /",
        )
        container.ended()
    for path in ("no-such-directory", "config.json"):
        box.refused(
            "root.missing",
            plain,
            lambda bad, path=path: bad.config["root"].update(path=path),  # type: ignore[misc]
            f"the root.path {path}, which is no directory",
            "errors.unchanged",
        )


@case("json.utf-8")
def a_configuration_in_utf_8(box: Box) -> None:
    container = box.container()
    container.process["env"] = ["PATH=/bin", "UTF=\u00e9\u20ac\U0001f427"]
    found = [entry for entry in container.run()["env"] if entry.startswith("UTF=")]
    wanted = [container.process["env"][1].encode().decode("latin-1")]  # the probe reports bytes
    box.equal("json.utf-8", found, wanted, "the variable")


@case("root.readonly")
def a_readonly_root_file_system(box: Box) -> None:
    container = box.container("create:/made", "create:/tmp/made", "openw:/marker", MOUNTINFO)
    (container.rootfs / "marker").write_text("")
    container.config["root"]["readonly"] = True
    container.mount("/tmp", "tmpfs", "tmpfs")
    report = container.run()
    box.equal("root.readonly", report.op("create:/made")["errno"], errno.EROFS, "the errno of making a file")
    box.equal(
        "root.readonly", report.op("openw:/marker")["errno"], errno.EROFS, "the errno of writing to a file"
    )
    box.equal(
        "root.readonly", report.op("create:/tmp/made")["errno"], 0, "the errno in a mount that is writable"
    )
    box.check("root.readonly", not (container.rootfs / "made").exists(), "a file was made")


@case(
    "mounts.order",
    "mounts.relative-destination",
    "mounts.relative-source",
    "mounts.bind-readonly",
    "mounts.bind-option",
    "mounts.rbind",
)
def binds_and_their_order(box: Box) -> None:
    container = box.container(
        "stat:/tmp/below/inner",
        "stat:/tmp/hidden",
        "stat:/relative/inner",
        "create:/readonly/made",
        "create:/tmp/below/made",
        "stat:/dummy/inner",
        "stat:/no-type/inner",
        MOUNTINFO,
    )
    inner = container.bundle / "inner"
    inner.mkdir()
    (inner / "inner").write_text("")
    container.mount("/tmp", "bind", "inner", "bind")  # is hidden by the next
    container.mount("/tmp", "tmpfs", "tmpfs")
    container.mount("/tmp/below", "bind", "inner", "bind")
    container.mount("relative", "bind", str(inner), "bind")
    container.mount("/readonly", "bind", str(inner), "bind", "ro")
    container.mount("/dummy", "tmpfs", str(inner), "bind")
    container.mount("/no-type", "", str(inner), "bind")
    del container.config["mounts"][-1]["type"]
    container.mount("/rbind", "bind", "/dev", "rbind", "ro")
    report = container.run()
    box.equal(
        "mounts.order",
        report.op("stat:/tmp/below/inner")["errno"],
        0,
        "the errno of a file in the last mount",
    )
    box.equal("mounts.order", report.mount("/tmp").get("type"), "tmpfs", "the type of the upper mount")
    box.equal(
        "mounts.relative-source", report.op("stat:/tmp/below/inner")["errno"], 0, "the errno of a file in it"
    )
    box.equal(
        "mounts.relative-destination",
        report.op("stat:/relative/inner")["errno"],
        0,
        "the errno of a file in it",
    )
    box.equal(
        "mounts.bind-readonly",
        report.op("create:/readonly/made")["errno"],
        errno.EROFS,
        "the errno of writing",
    )
    box.equal(
        "mounts.bind-readonly",
        report.op("create:/tmp/below/made")["errno"],
        0,
        "the errno at the other mount",
    )
    for point in ("/dummy", "/no-type"):
        found = report.op(f"stat:{point}/inner")["errno"]
        box.equal("mounts.bind-option", found, 0, f"the errno of a file of the source in {point}")
    below = [line.split()[4] for line in open("/proc/self/mountinfo") if line.split()[4].startswith("/dev/")]
    if below:
        missing = [point for point in below if not report.mount("/rbind" + point.removeprefix("/dev"))]
        box.check("mounts.rbind", not missing, f"these mounts are not there: {missing}")
    else:
        box.not_applicable("mounts.rbind", "nothing is mounted below /dev on this machine")


@case("mounts.flags", "mounts.data")
def options_of_mounts(box: Box) -> None:
    container = box.container(
        MOUNTINFO,
        "stat:/tmp",
        "exec:/noexec/probe",
        "exec:/bin/probe",
        "openr:/nodev/null",
        "openr:/dev/null",
    )
    container.mount("/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", "noatime", "size=64k", "mode=1711")
    container.mount("/noexec", "bind", str(container.rootfs / "bin"), "bind", "noexec")
    container.mount("/nodev", "bind", "/dev", "bind", "nodev")
    report = container.run()
    found = set(report.mount("/tmp").get("options", []))
    wanted = {"rw", "nosuid", "nodev", "noexec", "noatime"}
    box.check("mounts.flags", wanted <= found, f"of {sorted(wanted)} there are {sorted(wanted & found)}")
    box.equal("mounts.flags", report.op("exec:/noexec/probe")["errno"], errno.EACCES, "the errno of noexec")
    box.equal("mounts.flags", report.op("exec:/bin/probe")["errno"], 0, "the errno without noexec")
    box.equal("mounts.flags", report.op("openr:/nodev/null")["errno"], errno.EACCES, "the errno of nodev")
    box.equal("mounts.flags", report.op("openr:/dev/null")["errno"], 0, "the errno without nodev")
    box.check("mounts.data", "size=64k" in report.mount("/tmp").get("super", []), f"{report.mount('/tmp')}")
    box.equal("mounts.data", oct(report.op("stat:/tmp")["mode"] & 0o7777), oct(0o1711), "the mode")


@case("mounts.flags")
def a_readonly_mount(box: Box) -> None:
    container = box.container("create:/ro/made", "create:/tmp/made")
    container.mount("/ro", "tmpfs", "tmpfs", "ro")
    container.mount("/tmp", "tmpfs", "tmpfs", "rw")
    report = container.run()
    box.equal(
        "mounts.flags", report.op("create:/ro/made")["errno"], errno.EROFS, "the errno of writing to ro"
    )
    box.equal("mounts.flags", report.op("create:/tmp/made")["errno"], 0, "the errno of writing to rw")


@case("mounts.propagation")
def propagation_of_mounts(box: Box) -> None:
    container = box.container(MOUNTINFO)
    for option in ("private", "slave", "shared"):
        container.mount(f"/{option}", "tmpfs", "tmpfs", option)
    report = container.run()
    kinds = {
        option: {word.partition(":")[0] for word in report.mount(f"/{option}").get("propagation", ["none"])}
        for option in ("private", "slave", "shared")
    }
    box.equal("mounts.propagation", kinds["private"], set(), "the propagation of private")
    box.check("mounts.propagation", "shared" in kinds["shared"], f"shared: it is {kinds['shared']}")
    # A mount that has no master cannot be a slave: then it is private.
    box.check("mounts.propagation", kinds["slave"] <= {"master"}, f"slave: it is {kinds['slave']}")


@case("hostname", "domainname")
def names_of_the_container(box: Box) -> None:
    before = socket.gethostname()
    container = box.container()
    container.config["hostname"] = "conformance-host"
    container.config["domainname"] = "conformance.example"
    report = container.run()
    box.equal("hostname", report["hostname"], "conformance-host", "the host name")
    box.equal("hostname", socket.gethostname(), before, "the host's own name")
    box.equal("domainname", report["domainname"], "conformance.example", "the domain name")


@case("linux.default-filesystems")
def default_filesystems(box: Box) -> None:
    container = box.container(MOUNTINFO)
    report = container.run()
    for point, type in (("/proc", "proc"), ("/sys", "sysfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")):
        box.equal("linux.default-filesystems", report.mount(point).get("type"), type, f"the type of {point}")
