"""Why a process that has been killed does not end: proc_pid_stat(5), proc_pid_wchan(5)."""

import posix

_IN_NAMESPACE = (
    "it waits for processes of its PID namespace, which have ended too, but which their parents outside "
    "of it (a stopped exec?) have not collected"
)
# A v1 freezer of a cgroup above the container's is none of the runtime's to thaw.
_SLEEPS = (
    "it waits in the kernel ({}) for what no signal ends: a device, a network file system, or the thawing of "
    "a cgroup above"
)


def why(pid: int) -> str:
    """A process's name and what it waits for, as the end of a sentence."""
    stat = _read(pid, "stat")
    if not stat:
        return "it has ended just now"
    # The name is the container's to choose.
    text = stat[stat.index(b"(") + 1 : stat.rindex(b")")].decode("utf-8", "replace")
    name = "".join([each if each.isprintable() else "?" for each in text])
    state = chr(stat[stat.rindex(b")") + 2])
    place = _read(pid, "wchan").decode("ascii", "replace").strip("0\n")
    if place == "zap_pid_ns_processes":
        reason = _IN_NAMESPACE
    elif state == "D":
        reason = _SLEEPS.format(place or "where it does not say")
    elif state in "ZX":
        reason = "its parent has not collected it"
    else:
        reason = f"it is in the state {state}, the machine may be busy"
    return f"{name}: {reason}"


def _read(pid: int, name: str) -> bytes:
    try:
        fd = posix.open(f"/proc/{pid}/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    try:
        return posix.read(fd, 4096)
    except (ProcessLookupError, PermissionError):
        return b""
    finally:
        posix.close(fd)
