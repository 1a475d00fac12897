"""Unix sockets: the start socket, console and pidfd sockets, and descriptors sent through them."""

import posix
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from _struct import Struct

from pyrunc.errors import Error

_int = Struct("=i")
# sockaddr_un holds no more; longer paths are reached through their directory's descriptor
_MAX_PATH = 107


def reachable(path: str) -> tuple[str, int]:
    """A short name for a socket's path, and the descriptor that it goes through, or -1."""
    if len(path.encode("utf-8", "surrogateescape")) <= _MAX_PATH:
        return path, -1
    directory, _, name = path.rpartition("/")
    fd = posix.open(directory or "/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    return f"/proc/self/fd/{fd}/{name}", fd


def connect(path: str, what: str) -> int:
    """A descriptor connected to a Unix socket; what names it in messages."""
    fd = -1
    try:
        name, fd = reachable(path)
        connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        connection.connect(name)
    except OSError as error:
        raise Error(f"cannot connect to {what} {path}: {error.strerror}; is anybody listening?") from None
    finally:
        if fd >= 0:
            posix.close(fd)
    return connection.detach()


def listen(directory: int, name: str) -> int:
    """A listening Unix socket in a directory that is open."""
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    listener.bind(f"/proc/self/fd/{directory}/{name}")
    listener.listen(8)
    return listener.detach()


def send_pidfd(path: str, pid: int) -> None:
    """Sends a descriptor of a process to whoever listens at the path (--pidfd-socket)."""
    connection = socket(fileno=connect(path, "the pidfd socket"))
    pidfd = posix.pidfd_open(pid)
    try:
        connection.sendmsg([b"pidfd"], [(SOL_SOCKET, SCM_RIGHTS, _int.pack(pidfd))])
    finally:
        posix.close(pidfd)
        connection.close()


def receive_descriptor(fd: int) -> int:
    """The descriptor that arrives on a connected socket."""
    connection = socket(fileno=posix.dup(fd))
    try:
        _, control, _, _ = connection.recvmsg(64, 64)
    finally:
        connection.close()
    for level, kind, data in control:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            received: int = _int.unpack(data[: _int.size])[0]
            posix.set_inheritable(received, False)
            return received
    raise Error("no terminal arrived from the container")
