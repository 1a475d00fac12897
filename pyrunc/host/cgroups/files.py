"""Reading and writing the files of a cgroup file system.

Each is one open, one read or write and one close: the kernel takes a value from a single write(2)
and makes a file's text anew for each open. Errors stay OSError; callers know what they mean.
"""

from posix import O_CLOEXEC, O_RDONLY, O_WRONLY, close, open, read, write  # noqa: A004


def read_text(path: str) -> str:
    fd = open(path, O_RDONLY | O_CLOEXEC)
    try:
        parts = []
        while part := read(fd, 65536):
            parts.append(part)
    finally:
        close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def write_text(path: str, text: str) -> None:
    fd = open(path, O_WRONLY | O_CLOEXEC)
    try:
        write(fd, text.encode("utf-8", "surrogateescape"))
    finally:
        close(fd)
