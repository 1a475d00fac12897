"""Copies a directory's content into the tmpfs that is about to cover it (mount option tmpcopyup).

Both are known by descriptors of init's. The source is the image's: nothing is resolved but one name at
a time, relative to an open directory, and no symbolic link is followed.
"""

import posix
from errno import ELOOP, ENOSPC

from pyrunc.errors import Error
from pyrunc.linux.flags import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_CHUNK = 1 << 20
# Each level keeps two descriptors open.
_MAX_DEPTH = 200


def copy(pid: int, source: int, target: int, pointer: str) -> None:
    """Copies what is in one directory of the process's into the other. Raises Error for what cannot be."""
    opened: list[int] = []
    try:
        for number in (source, target):
            path = f"/proc/{pid}/fd/{number}"
            opened.append(posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC))
        _copy_directory(opened[0], opened[1], _MAX_DEPTH)
    except OSError as error:
        name = f" {error.filename}" if error.filename else ""
        full = error.errno == ENOSPC
        remedy = "give the tmpfs a larger size=" if full else "make it readable, or remove the option"
        raise Error(f"tmpcopyup cannot copy{name}: {error.strerror}; {remedy}", pointer=pointer) from None
    finally:
        for fd in opened:
            posix.close(fd)


def _copy_directory(source: int, target: int, depth: int) -> None:
    if not depth:
        raise OSError(ELOOP, f"there are more than {_MAX_DEPTH} levels of directories")
    for name in posix.listdir(source):
        found = posix.stat(name, dir_fd=source, follow_symlinks=False)
        kind = found.st_mode & S_IFMT
        if kind == S_IFDIR:
            posix.mkdir(name, 0o700, dir_fd=target)
            below = posix.open(name, _DIRECTORY, dir_fd=source)
            try:
                copied = posix.open(name, _DIRECTORY, dir_fd=target)
                try:
                    _copy_directory(below, copied, depth - 1)
                finally:
                    posix.close(copied)
            finally:
                posix.close(below)
        elif kind == S_IFREG:
            _copy_file(name, source, target)
        elif kind == S_IFLNK:
            posix.symlink(posix.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            posix.mknod(name, kind | 0o600, found.st_rdev, dir_fd=target)
        posix.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
        if kind != S_IFLNK:
            # After chown(2), which takes the set-user-ID bit away.
            posix.chmod(name, found.st_mode & 0o7777, dir_fd=target)
            times = (found.st_atime_ns, found.st_mtime_ns)
            posix.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _copy_file(name: str, source: int, target: int) -> None:
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
    reader = posix.open(name, flags, dir_fd=source)
    try:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
        writer = posix.open(name, flags, 0o600, dir_fd=target)
        try:
            while data := posix.read(reader, _CHUNK):
                while data:
                    data = data[posix.write(writer, data) :]
        finally:
            posix.close(writer)
    finally:
        posix.close(reader)
