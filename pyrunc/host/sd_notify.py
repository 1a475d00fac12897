"""Readiness across the container's border: NOTIFY_SOCKET (sd_notify(3)) for a container.

systemd's own socket is never shown to a container, whose processes could tell it anything. It gets one of
its own, and of what arrives there only that the service is ready is passed on, as runc and crun do.
"""

import posix
import select
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET, socket
from _struct import Struct

from pyrunc import log
from pyrunc.host.sockets import reachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts

# Below the container's state directory. It is what is mounted, so that `start` can make the socket.
DIRECTORY = "notify"
_SOCKET = "notify.sock"
_INSIDE = "/run/notify"
_OPTIONS = ["bind", "nosuid", "noexec", "nodev", "ro"]
_S_IFDIR = 0o040000
_MAX_DATAGRAM = 65536
# How long systemd may take to have read what was sent (sd_notify_barrier(3)), in ms.
_PATIENCE = 30_000
# What is taken of a container after it is ready: so many messages, each within so many ms of the last.
_AFTER_READY, _SOON = 16, 100


def add(config: "dict[str, Any]", facts: "Facts", state: str) -> str:
    """Adds a mount of the socket's directory, below a container's state directory, and the variable.
    Returns the pointer of the mount, which no user would find there."""
    source = f"{state}/{DIRECTORY}"
    mount = {"destination": _INSIDE, "type": "bind", "source": source, "options": _OPTIONS}
    config["mounts"] = [*(config.get("mounts") or ()), mount]
    facts.sources[source] = _S_IFDIR | 0o755
    process = config["process"]
    variables = [v for v in process.get("env") or () if not v.startswith("NOTIFY_SOCKET=")]
    process["env"] = [*variables, f"NOTIFY_SOCKET={_INSIDE}/{_SOCKET}"]
    return f"/mounts/{len(config['mounts']) - 1}"


def make(directory: int) -> None:
    """Makes the directory of the socket in a container's state directory."""
    posix.mkdir(DIRECTORY, dir_fd=directory)
    posix.chmod(DIRECTORY, 0o755, dir_fd=directory)


class Proxy:
    """The container's socket, listened on until the service is ready or has ended."""

    __slots__ = ("_socket", "fd")

    def __init__(self, directory: int) -> None:
        """directory is the container's state directory."""
        path = f"/proc/self/fd/{directory}/{DIRECTORY}/{_SOCKET}"
        try:
            posix.unlink(path)  # of a start that failed
        except FileNotFoundError:
            pass
        self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        # Any user in the container may be the service's. Not by chmod(2), which would follow a link that
        # whoever can write the container's mount has put in its place.
        mask = posix.umask(0)
        try:
            self._socket.bind(path)
        finally:
            posix.umask(mask)
        self.fd = self._socket.fileno()

    def ready(self) -> bool:
        """Takes one message; whether it says that the service is ready. A descriptor that comes with it, of
        the container's own barrier, is closed, which is the answer to it."""
        return b"READY=1" in self._socket.recv(_MAX_DATAGRAM).split(b"\n")

    def _pass_barriers(self) -> None:
        """Takes what a service sends right after it is ready: systemd-notify(1) waits for a barrier."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        for _ in range(_AFTER_READY):
            if not poll.poll(_SOON):
                return
            self.ready()

    def close(self) -> None:
        """Ends listening: who goes on sending is refused, and does not wait for a reader."""
        self._socket.close()

    def wait(self, pid: int) -> None:
        """Waits until the service is ready, and says so, or its first process has ended."""
        try:
            process = posix.pidfd_open(pid)
        except ProcessLookupError:
            process = -1
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if process >= 0:
            poll.register(process, select.POLLIN)
        while True:
            # What was sent before the end counts.
            events = dict(poll.poll(None if process >= 0 else 0))
            if self.fd in events:
                if self.ready():
                    tell(pid, barrier=True)
                    self._pass_barriers()
                    break
            elif process < 0 or process in events:
                break
        self.close()
        if process >= 0:
            posix.close(process)


def tell(pid: int, *, barrier: bool) -> None:
    """Tells systemd that the service is ready, and that pid is its main process.

    With barrier, returns only when systemd has read that, since it looks up who sent it. A failure is a
    warning: the container runs.
    """
    name = posix.environ[b"NOTIFY_SOCKET"].decode("utf-8", "surrogateescape")
    fd = -1
    host = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        if name.startswith("@"):
            host.connect("\0" + name[1:])
        else:
            path, fd = reachable(name)
            host.connect(path)
        host.send(b"READY=1\n")
        host.send(b"MAINPID=%d\n" % pid)
        if barrier:
            _barrier(host)
    except OSError as error:
        log.warning(f"cannot tell NOTIFY_SOCKET {name} that the container is ready: {error.strerror}")
    finally:
        host.close()
        if fd >= 0:
            posix.close(fd)


def _barrier(host: socket) -> None:
    """Sends the end of a pipe, which systemd closes when it has read all that came before."""
    ours, theirs = posix.pipe2(posix.O_CLOEXEC)
    try:
        try:
            host.sendmsg([b"BARRIER=1"], [(SOL_SOCKET, SCM_RIGHTS, Struct("=i").pack(theirs))])
        finally:
            posix.close(theirs)
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        if not poll.poll(_PATIENCE):
            log.warning(f"NOTIFY_SOCKET did not answer BARRIER=1 within {_PATIENCE // 1000} s")
    finally:
        posix.close(ours)
