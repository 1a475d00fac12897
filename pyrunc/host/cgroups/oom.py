"""Waiting for the OOM killer in a container's cgroup.

cgroup v1 signals an eventfd that was registered for memory.oom_control, and once more when the cgroup is
removed (Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control"); cgroup v2 counts in memory.events,
and tells of changes by POLLPRI. It changes nothing but the registration, which ends with the descriptor.
"""

import posix
from errno import EACCES, ENODEV, ENOENT, EPERM
from select import POLLIN, POLLPRI, poll

from pyrunc.host.cgroups.files import write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# How long the word of a removal may come after the removal (v1): it is given by a kernel worker.
_REMOVAL_MILLISECONDS = 200


class Watch:
    """Tells how often processes have been killed for want of memory.

    fd and mask are for poll(2): `happened` is worth calling when the descriptor is ready.
    """

    __slots__ = ("_directory", "_seen", "fd", "mask")

    def __init__(self, directory: str, *, v1: bool) -> None:
        """Raises OSError where the cgroup has no memory controller or may not be watched."""
        self._directory = directory if v1 else ""
        self._seen = 0
        file = "memory.oom_control" if v1 else "memory.events"
        fd = posix.open(f"{directory}/{file}", posix.O_RDONLY | posix.O_CLOEXEC)
        if not v1:
            self.fd, self.mask = fd, POLLPRI
            self._seen = self._killed()
            return
        try:
            self.fd = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
            self.mask = POLLIN
            write_text(f"{directory}/cgroup.event_control", f"{self.fd} {fd}")
        finally:
            posix.close(fd)  # the kernel needs it for the registration only

    def happened(self) -> int:
        """How many times it has happened since the last call; -1 where the cgroup has been removed."""
        return self._signalled() if self._directory else self._counted()

    def _signalled(self) -> int:
        count = self._take()
        try:
            posix.stat(self._directory)
        except FileNotFoundError:
            # One of the signals is for the removal, which may not have been told yet.
            waiting = poll()
            waiting.register(self.fd, POLLIN)
            if waiting.poll(_REMOVAL_MILLISECONDS):
                count += self._take()
            return count - 1 if count > 1 else -1
        return count

    def _take(self) -> int:
        try:
            return int(posix.eventfd_read(self.fd))
        except BlockingIOError:
            return 0

    def _counted(self) -> int:
        try:
            killed = self._killed()
        except OSError as e:
            if e.errno != ENODEV:
                raise
            return -1
        new, self._seen = killed - self._seen, killed
        return new

    def _killed(self) -> int:
        for line in posix.pread(self.fd, 4096, 0).splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
        return 0

    def close(self) -> None:
        posix.close(self.fd)


def watch(record: "dict[str, Any]") -> Watch | None:
    """A watch over the container's memory cgroup; None where there is none, or it may not be watched."""
    directories: dict[str, str] = record["directories"]
    v1 = "memory" in directories
    directory = directories.get("memory") or directories.get("")
    if not directory:
        return None
    try:
        return Watch(directory, v1=v1)
    except OSError as e:
        if e.errno in (ENOENT, EACCES, EPERM):
            return None
        raise
