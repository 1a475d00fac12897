"""Starts init with a program and talks to it.

init and the program are handed over as sealed memory files: what a container could ever see of
them in /proc cannot be written (CVE-2019-5736), and no path of the host is involved.
"""

import fcntl
import posix
from _struct import Struct
from errno import EINVAL

from pyrunc.errors import Error
from pyrunc.host.processes import exit_status, reap
from pyrunc.program.encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from pyrunc.program.model import Program

_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_EXEC = 1, 2, 0x10
_F_ADD_SEALS, _SEAL_ALL = 1033, 0xF  # seal, shrink, grow, write

_SIGKILL = 9
PID, SYNC, FAILURE, LISTENER = 1, 2, 3, 4
_record = Struct("=IIq")
_MAX_TEXT = 480

# All but SIGKILL, SIGSTOP and the two that glibc keeps for itself.
_SIGNALS = [*range(1, 9), *range(10, 19), *range(20, 32), *range(34, 65)]


def memory_file(name: str, data: bytes, *, seal: bool = True) -> int:
    """A descriptor of a memory file that holds data; sealed, nobody can change it any more."""
    fd = posix.memfd_create(name, _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
    _write(fd, data)
    if seal:
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_ALL)
    return fd


def _write(fd: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += posix.write(fd, data[written:] if written else data)


def _executable_file() -> int:
    """A descriptor of init in a sealed memory file."""
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    try:
        fd = posix.memfd_create("pyrunc-init", flags | _MFD_EXEC)
    except PermissionError:
        raise Error(
            "the kernel allows no executable memory file, as which init is started; set the sysctl "
            "vm.memfd_noexec to 0 or 1"
        ) from None
    except OSError as error:
        # Before Linux 6.3 they were all executable, and there was no flag for it.
        if error.errno != EINVAL:
            raise
        fd = posix.memfd_create("pyrunc-init", flags)
    _write(fd, _executable())
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_ALL)
    return fd


def fill(fd: int, data: bytes) -> None:
    """Writes a memory file that was made empty, and seals it."""
    posix.write(fd, data)
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_ALL)


def _executable() -> bytes:
    path = __file__.rpartition("/host/")[0] + "/init/init"
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Error(
            f"cannot read {path}: {error.strerror}; it is compiled when pyrunc is installed (pip install .)"
        ) from None


def _forget_leaked(keep: set[int]) -> None:
    """Descriptors that the caller left open must not reach the container (CVE-2024-21626)."""
    for name in posix.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep:
            try:
                posix.set_inheritable(fd, False)
            except OSError:
                continue  # the descriptor that listed the directory


class Init:
    """A running init. pid is its first process, and then the container's; on_clone is called when
    that changes, on_listener with the descriptor of a filter's listener, and origin is the pointer
    of the step that waits."""

    __slots__ = ("_command", "_report", "_socket", "on_clone", "on_listener", "origin", "pid", "program")

    def __init__(
        self, program: "Program", descriptors: dict[str, int], preserve: range = range(0), *,
        listens: bool = False,
    ) -> None:
        """Spawns init. descriptors are those of `program.inherited` but for its two channels;
        preserve are numbers that the container's process keeps as they are; listens says that init
        will send the listener of its filter."""
        self._socket: socket | None = None
        if listens:
            from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socketpair

            self._socket, child = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
            report, child_report = self._socket.fileno(), child.detach()
        else:
            report, child_report = posix.pipe2(posix.O_CLOEXEC)
        child_command, command = posix.pipe2(posix.O_CLOEXEC)
        executable = _executable_file()
        numbers = {"report": child_report, "command": child_command, **descriptors}
        code = memory_file("program", encode(program, numbers))
        keep = {code, child_report, child_command, *descriptors.values(), *preserve}
        _forget_leaked(keep)
        for fd in keep:
            posix.set_inheritable(fd, True)
        self.program = program
        self.on_clone: Callable[[], None] | None = None
        self.on_listener: Callable[[int], None] | None = None
        self.origin = ""
        try:
            self.pid = posix.posix_spawn(
                f"/proc/self/fd/{executable}", [b"pyrunc-init", b"%d" % code], {},
                setsigmask=(), setsigdef=_SIGNALS,
            )
        finally:
            for fd in (code, executable, child_report, child_command):
                posix.close(fd)
            for fd in descriptors.values():
                posix.set_inheritable(fd, False)
        self._report = report
        self._command = command

    def receive(self) -> tuple[int, int, int, str] | None:
        """The next record as (kind, step, value, text), or None when init has closed the channel,
        which means that it executed the process, or died. The value of a LISTENER is its descriptor."""
        listener = -1
        if self._socket is None:
            data = posix.read(self._report, _record.size)
        else:
            from pyrunc.host.seccomp_agent import receive

            data, listener = receive(self._socket, _record.size)
        if len(data) < _record.size:
            return None
        kind, step, value = _record.unpack(data)
        text = ""
        if kind == LISTENER:
            value = listener
        elif kind == FAILURE:
            text = posix.read(self._report, _MAX_TEXT).decode("utf-8", "replace").strip()
        return kind, step, value, text

    def next(self) -> int:
        """Waits for the next sync point and returns it; 0 when the program has come to its end.

        Raises Error for a step that failed. Follows the container's process as it is cloned.
        """
        while True:
            record = self.receive()
            if record is None:
                return 0
            kind, step, value, text = record
            if kind == SYNC:
                self.origin = self.program.steps[step].origin
                return value
            if kind == LISTENER:
                if self.on_listener is not None:
                    self.on_listener(value)
                continue
            if kind == FAILURE:
                from pyrunc.program.explain import failure

                failed = self.program.steps[step]
                raise Error(failure(failed, -value if value < 0 else 0, value, text), pointer=failed.origin)
            # The container's process takes the place of the one that cloned it, which has ended.
            posix.waitpid(self.pid, 0)
            self.pid = value
            if self.on_clone is not None:
                self.on_clone()

    def answer(self) -> None:
        """Lets init go on after a sync point."""
        posix.write(self._command, b"\n")

    def collect(self) -> int:
        """Waits for the end of what init became, and returns its exit status."""
        status = exit_status(reap(self.pid))
        self.pid = 0
        return status

    def end(self) -> None:
        """Kills and collects what init became, unless that has been collected already."""
        if self.pid:
            posix.kill(self.pid, _SIGKILL)
            self.collect()

    def close(self) -> None:
        if self._socket is None:
            posix.close(self._report)
        else:
            self._socket.close()
        posix.close(self._command)
