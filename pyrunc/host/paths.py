"""What is at a path of the host: its kind, whether it is there, its real name."""

import posix

_O_PATH = posix.O_PATH | posix.O_CLOEXEC


def mode(path: str) -> int:
    """st_mode (stat(2)) of what the path leads to, or 0 for what is not there."""
    try:
        return posix.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def exists(path: str) -> bool:
    return mode(path) != 0


def is_directory(path: str) -> bool:
    """Whether the path leads to a directory; False as well where that cannot be looked at."""
    try:
        return mode(path) & 0o170000 == 0o040000
    except OSError:
        return False


def real_path(path: str) -> str:
    """The path without symbolic links, as the kernel sees it."""
    fd = posix.open(path, _O_PATH)
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)
