"""config-linux.md: control groups, seen from the host and from inside."""

import errno
import os
from pathlib import Path

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
