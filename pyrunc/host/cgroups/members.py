"""The processes of a container's cgroups: listing, freezing, signalling and adding them.

All functions work from the record that `Plan.record()` made. Kernel interfaces: cgroup.freeze and
cgroup.kill of cgroup v2, freezer.state of v1 (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
"""

from errno import EACCES, EBUSY, EINVAL, ENODEV, ENOENT, ENOTSUP, EPERM, EROFS, ESRCH
from posix import kill
from time import monotonic, sleep

from pyrunc.errors import Error
from pyrunc.host.cgroups.files import GONE, below, read_text, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIGKILL = 9
# How long a freeze may take: a process in uninterruptible sleep freezes only after it.
_FREEZE_SECONDS = 10.0


def _main(record: "dict[str, Any]") -> tuple[str, str]:
    """The hierarchy that stands for all: the one with a freezer, where there is one."""
    directories: dict[str, str] = record["directories"]
    for name in ("freezer", "", "devices", "pids", "memory"):
        if name in directories:
            return name, directories[name]
    for name, directory in directories.items():
        return name, directory
    return "", ""


def members(directory: str, recursive: bool = True) -> list[int]:
    """The pids in a cgroup, and in those below it; none if it is gone."""
    found = _members(directory)
    if recursive:
        for fd, name in below(directory):
            found += _members(name, fd)
    return found


def _members(directory: str, dir_fd: int | None = None) -> list[int]:
    try:
        try:
            text = read_text(f"{directory}/cgroup.procs", dir_fd)
        except OSError as e:
            if e.errno != ENOTSUP:
                raise
            # A threaded cgroup has no processes of its own, only threads.
            text = read_text(f"{directory}/cgroup.threads", dir_fd)
    except OSError as e:
        if e.errno in GONE:
            return []
        raise
    # A 0 is a process of another pid namespace, which cannot be named from here.
    return [int(pid) for pid in text.split() if pid != "0"]


def pids(record: "dict[str, Any]", recursive: bool = True) -> list[int]:
    """The processes of a container, in the runtime's pid namespace."""
    _, directory = _main(record)
    return members(directory, recursive) if directory else []


def attach(record: "dict[str, Any]", pid: int) -> None:
    """Moves a process into every cgroup of the container."""
    for directory in dict.fromkeys(record["directories"].values()):
        file = f"{directory}/cgroup.procs"
        try:
            write_text(file, str(pid))
        except OSError as e:
            if e.errno == ESRCH:
                raise Error(f"process {pid} does not exist any more") from e
            raise Error(f"write {pid} to {file}: {e.strerror}; is the container still there?") from e


# -- the freezer ---------------------------------------------------------------


def frozen_directory(name: str, directory: str) -> bool:
    """Whether a cgroup itself, not one above it, has been told to freeze. name is "freezer" or ""."""
    file = "freezer.self_freezing" if name == "freezer" else "cgroup.freeze"
    try:
        return read_text(f"{directory}/{file}").startswith("1")
    except OSError as e:
        if e.errno in GONE:
            return False
        raise


def frozen(record: "dict[str, Any]") -> bool:
    """Whether the container is frozen; false where it is gone or has no freezer."""
    name, directory = _main(record)
    return name in ("freezer", "") and bool(directory) and frozen_directory(name, directory)


def freeze(record: "dict[str, Any]") -> None:
    """Stops every process of the container, and returns when all have stopped.

    Raises Error, with the cgroup thawed, where that does not come about within ten seconds.
    """
    name, directory = _main(record)
    if name not in ("freezer", "") or not directory:
        raise Error(
            "the container has no cgroup with a freezer, so that it cannot be paused; mount cgroup v2 "
            "or the v1 freezer"
        )
    try:
        done = _freeze_v1(directory) if name else _freeze_v2(directory)
    except OSError as e:
        raise Error(f"freezing {directory}: {e.strerror}; {_permission(e)}") from e
    if not done:
        _thaw(name, directory)
        raise Error(
            f"freezing {directory} did not end within {_FREEZE_SECONDS:.0f} seconds, and was undone: "
            "a process is stuck in the kernel, or new ones keep coming"
        )


def thaw(record: "dict[str, Any]") -> None:
    """Lets the processes of the container go on."""
    name, directory = _main(record)
    if name not in ("freezer", "") or not directory:
        raise Error("the container has no cgroup with a freezer, so that it cannot be resumed either")
    try:
        _thaw(name, directory)
    except OSError as e:
        raise Error(f"thawing {directory}: {e.strerror}; {_permission(e)}") from e


def _permission(e: OSError) -> str:
    if e.errno in (EACCES, EPERM, EROFS):
        return "run as root, or have this cgroup delegated to you"
    return "was the container deleted?"


def _thaw(name: str, directory: str) -> None:
    if name:
        write_text(f"{directory}/freezer.state", "THAWED")
    else:
        write_text(f"{directory}/cgroup.freeze", "0")


def _freeze_v2(directory: str) -> bool:
    from posix import O_CLOEXEC, O_RDONLY, close, pread
    from posix import open as open_file
    from select import POLLPRI, poll

    write_text(f"{directory}/cgroup.freeze", "1")
    events = open_file(f"{directory}/cgroup.events", O_RDONLY | O_CLOEXEC)
    try:
        waiting = poll()
        # The kernel notifies a change of this file as an exceptional condition (cgroups(7)).
        waiting.register(events, POLLPRI)
        end = monotonic() + _FREEZE_SECONDS
        while b"frozen 1" not in pread(events, 4096, 0):
            left = end - monotonic()
            if left <= 0:
                return False
            waiting.poll(left * 1000)
    finally:
        close(events)
    return True


def _freeze_v1(directory: str) -> bool:
    """A v1 freezer misses processes that are born while it works, and stays FREEZING until it is
    told again; letting all go on for a moment helps those that it cannot catch."""
    file = f"{directory}/freezer.state"
    end = monotonic() + _FREEZE_SECONDS
    attempt = 0
    while True:
        write_text(file, "FROZEN")
        if read_text(file).startswith("FROZEN"):
            return True
        if monotonic() > end:
            return False
        attempt += 1
        if attempt % 50 == 0:
            write_text(file, "THAWED")
            sleep(0.01)
        elif attempt > 10:
            sleep(0.0002)


# -- signals -------------------------------------------------------------------


def kill_all(record: "dict[str, Any]", signal: int) -> int:
    """Sends a signal to every process of the container; how many there were, -1 if unknown.

    Frozen, no process can fork itself away; cgroup.kill does the same within the kernel. Where
    neither can be had, it is repeated until no new process appears.
    """
    name, directory = _main(record)
    if not directory:
        return 0
    if signal == _SIGKILL and "" in record["directories"]:
        try:
            # Since Linux 5.14.
            if _kill_v2(record["directories"][""], name, directory):
                return -1
        except OSError as e:
            if e.errno == ENODEV:
                return 0
            if e.errno not in (ENOENT, EACCES, EPERM, EINVAL, ENOTSUP):
                raise
    if name not in ("freezer", ""):
        return _signal_until_none_new(directory, signal)
    was_frozen = frozen_directory(name, directory)
    if not was_frozen:
        try:
            _freeze_v1(directory) if name else _freeze_v2(directory)
        except OSError as e:
            if e.errno in GONE:
                return 0
            if e.errno not in (EACCES, EPERM, EBUSY):
                raise
            return _signal_until_none_new(directory, signal)
    try:
        found = members(directory)
        for pid in found:
            _signal(pid, signal)
    finally:
        # A v1 freezer holds even SIGKILL back, so that a kill of a paused container has to thaw it.
        if not was_frozen or signal == _SIGKILL:
            try:
                _thaw(name, directory)
            except OSError as e:
                if e.errno not in GONE:
                    raise
    return len(found)


def _kill_v2(unified: str, name: str, directory: str) -> bool:
    """cgroup.kill; whether it reached all. Beside v1, a process can be in that hierarchy alone."""
    write_text(f"{unified}/cgroup.kill", "1")
    if directory == unified:
        return True
    if set(members(directory)) - set(members(unified)):
        return False
    if name and frozen_directory(name, directory):
        _thaw(name, directory)  # a v1 freezer holds even SIGKILL back
    return True


def _signal_until_none_new(directory: str, signal: int) -> int:
    seen: set[int] = set()
    while True:
        new = [pid for pid in members(directory) if pid not in seen]
        if not new:
            return len(seen)
        for pid in new:
            _signal(pid, signal)
        seen.update(new)


def _signal(pid: int, signal: int) -> None:
    try:
        kill(pid, signal)
    except ProcessLookupError:
        pass  # it has ended by itself
