"""What is kept of a container, and its status (runtime.md, "State").

The record holds `pid` and `started` (clock ticks since boot, which with the number identify the
process; pid 0 while there is none), `creating`, `bundle`, `rootfs`, `created`, `annotations`, `version`,
`cgroups` (see compile.cgroups), `mounts`, where their hierarchies were, by controller, `freezer`, the file
that tells whether the container is paused, `shared_pids`, whether its processes are in a PID namespace with
others, `steps` and `preserve_fds`, from which the program can be found again that init is in, and after
an update `resources`, those in force; and `listener` where there is a seccomp agent (compile.seccomp.agent).
The status is never stored, but follows from the process, the freezer and the start socket.
"""

import posix
from time import gmtime, strftime, time_ns

from pyrunc.errors import Error
from pyrunc.host.processes import start_time
from pyrunc.state import SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.cgroups import Plan
    from pyrunc.compile.facts import Facts, Request
    from pyrunc.state import Directory

CONFIG = "config.json"
_FROZEN = (b"FROZEN", b"FREEZING", b"1")


def new(config: "dict[str, Any]", facts: "Facts", plan: "Plan", request: "Request") -> "dict[str, Any]":
    """The record of a container of which nothing is there yet."""
    cgroups = plan.record()
    if plan.unit is not None:
        # Until systemd has made it, a scope of that name is somebody else's.
        cgroups["directories"] = {}
    return {
        "version": config["ociVersion"],
        "pid": 0,
        "steps": 0,
        "preserve_fds": request.preserve_fds,
        "started": 0,
        "bundle": request.bundle,
        "rootfs": facts.rootfs,
        "created": timestamp(time_ns()),
        "annotations": config.get("annotations") or {},
        "cgroups": cgroups,
        "mounts": mounts(plan),
        "freezer": freezer_file(cgroups),
        "shared_pids": not own_pid_namespace(config),
    }


def own_pid_namespace(config: "dict[str, Any]") -> bool:
    """Whether a configuration asks for a PID namespace that is the container's alone."""
    namespaces = config.get("linux", {}).get("namespaces") or ()
    return any(n["type"] == "pid" and not n.get("path") for n in namespaces)


def freezer_file(cgroups: "dict[str, Any] | None") -> str:
    """The file that says whether the container's processes are frozen; "" where there is none."""
    directories = cgroups["directories"] if cgroups else {}
    if "freezer" in directories:
        return f"{directories['freezer']}/freezer.state"
    return f"{directories['']}/cgroup.freeze" if "" in directories else ""


def mounts(plan: "Plan") -> dict[str, str]:
    """Where the hierarchies of a plan's cgroups are mounted, by controller ("" for v2)."""
    layout = plan.settings.layout
    points = layout.v1 if layout.v2 is None else {**layout.v1, "": layout.v2}
    return {name: points[name] for name in plan.directories if name in points}


def locate(record: "dict[str, Any]") -> None:
    """Sees to it that the record names the cgroups where they are now: their hierarchies may have been
    mounted elsewhere since the container was created."""
    for mount in dict.fromkeys(record["mounts"].values()):
        try:
            posix.stat(f"{mount}/cgroup.procs")
        except OSError:
            from pyrunc.host.cgroups import moved

            moved.relocate(record["cgroups"], record["mounts"])
            record["freezer"] = freezer_file(record["cgroups"])
            record["mounts"] = {}
            return


def _frozen(record: "dict[str, Any]") -> bool:
    path = record["freezer"]
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        locate(record)
        # Else the cgroup has gone, and with it all that could be frozen.
        return bool(record["freezer"]) and record["freezer"] != path and _frozen(record)
    try:
        return posix.read(fd, 16).strip() in _FROZEN
    finally:
        posix.close(fd)


def timestamp(nanoseconds: int) -> str:
    """A moment as RFC 3339 writes it, in UTC."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{fraction:09}Z"


def alive(record: "dict[str, Any]") -> bool:
    """Whether the container's first process exists and is not a zombie."""
    # 0 is what start_time has for a process that is gone, and is recorded of one that died early.
    return bool(record["started"]) and start_time(record["pid"]) == record["started"]


def check_cgroup(record: "dict[str, Any]") -> None:
    """Raises Error for a container without a cgroup, which tells its processes from others: one that
    an ordinary user has made where no cgroup is delegated, or that was not to have one."""
    if not record["cgroups"]["directories"]:
        remedy = "have one delegated to the user, and create the container again"
        if record["cgroups"]["driver"] == "disabled":
            remedy = "create the container again without --cgroup-manager disabled"
        raise Error(f"the container has no cgroup to find its processes by; {remedy}")


def status(directory: "Directory", record: "dict[str, Any]") -> str:
    """creating, created, running, paused or stopped."""
    if record["creating"]:
        return "creating" if not record["pid"] or alive(record) else "stopped"
    if not alive(record):
        return "stopped"
    if record["freezer"] and _frozen(record):
        return "paused"
    return "created" if directory.has(SOCKET) else "running"


def document(id: str, record: "dict[str, Any]", status: str) -> "dict[str, Any]":
    """The state document of the specification, as hooks get it and `state` prints more of."""
    state: dict[str, Any] = {
        "ociVersion": record["version"],
        "id": id,
        "status": status,
        "pid": 0 if status == "stopped" else record["pid"],
        "bundle": record["bundle"],
    }
    if record["annotations"]:
        state["annotations"] = record["annotations"]
    return state
