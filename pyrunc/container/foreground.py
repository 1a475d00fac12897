"""Waits for a process in the foreground: forwards signals, relays its terminal, returns its status.

Signals are caught from before the container exists, so that none is lost: Python's wakeup
descriptor (signal.set_wakeup_fd) turns them into bytes that the loop reads among the terminal's.
"""

import _signal
import fcntl
import posix
import select

from pyrunc.errors import Error
from pyrunc.host.processes import exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.host.sd_notify import Proxy

_SIGCHLD, _SIGURG, _SIGWINCH = 17, 23, 28
# Not forwarded: what cannot be caught, what a fault in the runtime itself raises, what Python
# ignores (SIGPIPE, SIGXFSZ), and what glibc keeps for itself.
_LEFT_ALONE = frozenset((4, 5, 7, 8, 9, 11, 13, 19, 25, 31, 32, 33))
_CAUGHT = [number for number in range(1, 65) if number not in _LEFT_ALONE]
_CHUNK = 65536
_TIOCGWINSZ, _TIOCSWINSZ = 0x5413, 0x5414


def become_subreaper() -> None:
    """Makes the container's orphans the runtime's children (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    from pyrunc import libraries

    libraries.enable()
    try:
        import prctl
    except ImportError:
        raise Error(
            "a container without a PID namespace of its own needs the package python-prctl, so that its "
            "orphans are collected; install it, or use --no-subreaper"
        ) from None
    prctl.set_child_subreaper(1)


def window_size() -> tuple[int, int] | None:
    """Rows and columns of the terminal on standard input, None if that is none."""
    try:
        size = fcntl.ioctl(0, _TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    return int.from_bytes(size[:2], "little"), int.from_bytes(size[2:4], "little")


def _ignore(signal: int, frame: object) -> None:
    """Exists so that the signal wakes the loop."""


class Foreground:
    """Holds signals back from its construction on, and forwards them from `catch` on; `console` is
    where init sends the terminal."""

    __slots__ = ("_blocked", "_master", "_receiver", "_saved", "_told", "_wakeup", "console")

    def __init__(self, terminal: bool) -> None:
        self._blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, _CAUGHT)
        self._wakeup = -1
        self._told = False
        self.console = self._receiver = self._master = -1
        self._saved: list[Any] | None = None
        if terminal:
            from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socketpair

            ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
            self._receiver, self.console = ours.detach(), theirs.detach()

    def release(self) -> None:
        """Lets signals through again, to whatever they did before."""
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._blocked)

    def catch(self) -> None:
        """Catches the signals, those first that were held back. It takes a while, for which init has
        work to do."""
        self._wakeup, writer = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in _CAUGHT:
            _signal.signal(number, _ignore)
        self.release()

    def wait(self, pid: int, notify: "Proxy | None" = None) -> int:
        """Serves the process until it ends; its exit status as a shell has it. notify is where it tells
        that it is ready."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        if notify is not None:
            poll.register(notify.fd, select.POLLIN)
        try:
            if self._receiver >= 0:
                self._take_terminal(poll)
            status = self._ended(pid)
            while status is None:
                for fd, _ in poll.poll():
                    if fd == self._wakeup:
                        self._forward(pid)
                    elif notify is not None and fd == notify.fd:
                        self._notified(notify)
                    else:
                        self._relay(fd, poll)
                status = self._ended(pid)
            if self._master >= 0:
                self._drain()
        finally:
            self._restore_terminal()
        return exit_status(status)

    def _notified(self, notify: "Proxy") -> None:
        """Passes on that the service is ready. Its main process is this one, which stays: no barrier is
        needed, and what comes later is taken, so that nobody inside waits for it to be read."""
        if notify.ready() and not self._told:
            from pyrunc.host import sd_notify

            self._told = True
            sd_notify.tell(posix.getpid(), barrier=False)

    # -- signals -------------------------------------------------------------

    def _forward(self, pid: int) -> None:
        for number in posix.read(self._wakeup, 256):
            if number == _SIGWINCH and self._master >= 0:
                self._resize()
            elif number not in (_SIGCHLD, _SIGURG):
                posix.kill(pid, number)

    def _ended(self, pid: int) -> int | None:
        """The wait status once the process has ended; other children are collected on the way."""
        while True:
            try:
                child, status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                return 0
            if child == pid:
                return status
            if not child:
                return None

    # -- the terminal --------------------------------------------------------

    def _take_terminal(self, poll: select.poll) -> None:
        from pyrunc.host.sockets import receive_descriptor

        self._master = receive_descriptor(self._receiver)
        posix.close(self._receiver)
        self._make_raw()
        poll.register(self._master, select.POLLIN)
        poll.register(0, select.POLLIN)

    def _resize(self) -> None:
        """Gives the container's terminal the size of ours, if standard input is one."""
        try:
            fcntl.ioctl(self._master, _TIOCSWINSZ, fcntl.ioctl(0, _TIOCGWINSZ, bytes(8)))
        except OSError:
            return  # not a terminal: the container's keeps its own size

    def _make_raw(self) -> None:
        """Standard input as cfmakeraw(3) makes it: every key goes to the container."""
        import termios as t

        try:
            self._saved = t.tcgetattr(0)
        except t.error:
            return  # not a terminal
        mode = t.tcgetattr(0)
        mode[0] &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
        mode[1] &= ~t.OPOST
        mode[2] = mode[2] & ~(t.CSIZE | t.PARENB) | t.CS8
        mode[3] &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
        t.tcsetattr(0, t.TCSANOW, mode)

    def _restore_terminal(self) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSANOW, self._saved)
            self._saved = None

    def _relay(self, fd: int, poll: select.poll) -> None:
        source, target = (0, self._master) if fd == 0 else (self._master, 1)
        data = _read(source)
        if data:
            _write(target, data)
        else:
            poll.unregister(fd)
            if fd == 0:
                # The end of our input is the end of the container's, as ^D says it to a terminal.
                _write(self._master, b"\x04")

    def _drain(self) -> None:
        """What the process wrote before it ended."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        while poll.poll(0):
            data = _read(self._master)
            if not data:
                return
            _write(1, data)


def _read(fd: int) -> bytes:
    """What is there; nothing at the end, which a terminal reports as EIO."""
    try:
        return posix.read(fd, _CHUNK)
    except OSError:
        return b""


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]
