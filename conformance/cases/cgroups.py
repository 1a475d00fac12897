"""config-linux.md: a container's control groups: where they are and whose; resources.py has their limits."""

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


def v2_path(pid: int) -> str:
    """The path of the process's cgroup in the v2 hierarchy; others may be there, and mounted nowhere."""
    return next(path for controllers, path in membership(pid) if not controllers)


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


def v2_mount() -> str:
    """Where cgroup v2 alone is mounted; the machine has no v1 controllers then."""
    mounts = cgroup_mounts()
    return next(iter(mounts)) if list(mounts.values()) == [[]] else ""


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


@case("cgroups.consistent")
def a_relative_cgroups_path(box: Box) -> None:
    places = []
    for _ in range(2):
        container = box.container()
        container.linux["cgroupsPath"] = f"conformance-{os.getpid()}-relative"
        container.create()
        places.append(membership(container.pid))
        container.must(container.call("delete", "--force"))
    box.equal("cgroups.consistent", places[1], places[0], "for a relative path, the cgroups")


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
    mounted = list(cgroup_mounts().values())
    paths = [path for names, path in membership(container.pid) if path != "/" and names in mounted]
    inside = all(path.startswith(f"/{container.id}") for path in paths)
    box.check("cgroups.path-dotdot", inside, f"it is in {membership(container.pid)}")
    box.proven = True


@case("cgroups.unified", "cgroups.unified-any", "cgroups.unified-unknown", "errors.unchanged")
def files_of_the_unified_hierarchy(box: Box) -> None:
    if not v2_mount():
        raise NotApplicable("this machine has cgroup v1")
    container = box.container().runs("hold")
    if not has_controller("memory") or not has_controller("pids"):
        raise NotApplicable("there are no cgroup controllers memory and pids")
    # The last is of no controller, and no runtime has to know it.
    files = {"memory.high": str(128 << 20), "pids.max": "99", "cgroup.max.depth": "7"}
    container.linux["resources"] = {"unified": files}
    container.run()
    for name, value in files.items():
        file = Path(f"{v2_mount()}{v2_path(container.pid)}/{name}")
        requirement = "cgroups.unified-any" if name == "cgroup.max.depth" else "cgroups.unified"
        box.equal(requirement, file.read_text().strip(), value, name)
    container.stop()
    for name in ("pids.no-such-file", "nosuchcontroller.max"):
        box.refused(
            "cgroups.unified-unknown",
            lambda good: good.linux.update(resources={"unified": {"pids.max": "99"}}),
            lambda bad, name=name: bad.linux.update(resources={"unified": {name: "1"}}),  # type: ignore[misc]
            f"{name}, which is not there",
            "errors.unchanged",
        )


FIRST_ID, USER, GROUP = 100000, 5, 6
OWNER = FIRST_ID + USER
DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def delegating(box: Box, *options: str, own: bool = True, mount: bool = True) -> Container:
    """A running container of a user of its own, who is another user of the host, with a cgroup namespace of
    its own and a mount of its cgroup."""
    container = box.container().runs("hold")
    container.process["user"] = {"uid": USER, "gid": GROUP}
    container.namespace("user")
    if own:
        container.namespace("cgroup")
    for kind in ("uidMappings", "gidMappings"):
        container.linux[kind] = [{"containerID": 0, "hostID": FIRST_ID, "size": 65536}]
    for path in (container.rootfs, *container.rootfs.iterdir()):
        os.chown(path, FIRST_ID, FIRST_ID)
    if mount:
        container.mount("/sys/fs/cgroup", "cgroup", "cgroup", *options)
    container.run()
    return container


OWNERS_V2 = (
    "cgroups.owner",
    "cgroups.owner-others",
    "cgroups.owner-readonly",
    "cgroups.owner-namespace",
    "cgroups.owner-mount",
    "cgroups.owner-missing",
)


@case(*OWNERS_V2, "cgroups.owner-v1")
def owners_of_cgroups(box: Box) -> None:
    mount = v2_mount()
    container = delegating(box)
    if not mount:
        places = [Path(f"{point}{path}") for names, path in membership(container.pid)
                  for point, mounted in cgroup_mounts().items() if names and mounted == names]  # fmt: skip
        changed = [str(place) for place in places if place.stat().st_uid]
        box.check("cgroups.owner-v1", not changed, f"these have another owner: {changed}")
        for requirement in OWNERS_V2:
            box.not_applicable(requirement, "this machine has cgroup v1")
        container.stop()
        return
    box.not_applicable("cgroups.owner-v1", "this machine has cgroup v2 alone")
    place = Path(f"{mount}{v2_path(container.pid)}")
    names = Path("/sys/kernel/cgroup/delegate")
    delegated = names.read_text().split() if names.exists() else list(DELEGATED)
    box.equal("cgroups.owner", place.stat().st_uid, OWNER, "the owner of the cgroup")
    missing = [name for name in delegated if not (place / name).exists()]
    if missing:
        box.check("cgroups.owner-missing", True)
    else:
        box.not_applicable("cgroups.owner-missing", "a cgroup of this machine has all the files")
    for path in sorted(place.iterdir()):
        if path.is_dir():
            continue
        if path.name in delegated:
            box.equal("cgroups.owner", path.stat().st_uid, OWNER, f"the owner of {path.name}")
        else:
            box.equal("cgroups.owner-others", path.stat().st_uid, 0, f"the owner of {path.name}")
    container.stop()
    for requirement, options, more in (
        ("cgroups.owner-readonly", ("ro",), {}),
        ("cgroups.owner-namespace", (), {"own": False}),
        ("cgroups.owner-mount", (), {"mount": False}),
    ):
        container = delegating(box, *options, **more)
        place = Path(f"{mount}{v2_path(container.pid)}")
        box.equal(requirement, place.stat().st_uid, 0, "the owner of the cgroup")
        container.stop()
