"""Reading and writing the files of a cgroup file system.

The kernel takes a value from a single write(2) and makes a file's text anew for each open. The two
functions on one file leave errors OSError, for callers that know what they mean; `apply` carries out
what `compile.settings` holds, and tells which key of the configuration is to blame.
"""

import errno
from posix import (
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_RDONLY,
    O_WRONLY,
    close,
    read,
    scandir,
    strerror,
    write,
)
from posix import open as open_file

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyrunc.compile.settings import Settings, Write


def read_text(path: str, dir_fd: int | None = None) -> str:
    fd = open_file(path, O_RDONLY | O_CLOEXEC, dir_fd=dir_fd)
    try:
        parts = []
        while part := read(fd, 65536):
            parts.append(part)
    finally:
        close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def write_text(path: str, text: str) -> None:
    fd = open_file(path, O_WRONLY | O_CLOEXEC)
    try:
        write(fd, text.encode("utf-8", "surrogateescape"))
    finally:
        close(fd)


GONE = (errno.ENOENT, errno.ENODEV)


def below(directory: str) -> "Iterator[tuple[int, str]]":
    """Every cgroup below one, those further down first, as the descriptor of what it is in and its
    name; both hold until the next. None if the cgroup is gone.

    A container can nest its cgroups deeper than a path may be long, a process may have descriptors or
    a function may call itself: there is one descriptor at a time, and the way up is "..".
    """
    try:
        fd = open_file(directory, _DIRECTORY)
    except OSError as e:
        if e.errno in GONE:
            return
        raise
    try:
        levels = [_children(fd)]
        while True:
            if levels[-1]:
                try:
                    inner = open_file(levels[-1][-1], _DIRECTORY, dir_fd=fd)
                except OSError as e:
                    if e.errno not in GONE:
                        raise
                    levels[-1].pop()
                    continue
                close(fd)
                fd = inner
                levels.append(_children(fd))
                continue
            levels.pop()
            if not levels:
                return
            outer = open_file("..", _DIRECTORY, dir_fd=fd)
            close(fd)
            fd = outer
            yield fd, levels[-1].pop()
    finally:
        close(fd)


_DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC


def _children(fd: int) -> list[str]:
    try:
        with scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as e:
        if e.errno in GONE:
            return []
        raise


# -- settings ------------------------------------------------------------------


def apply(directories: dict[str, str], settings: "Settings", devices: "Sequence[Write]" = ()) -> None:
    """Writes the values, and after them a list of devices, to a container's cgroup.

    directories are those of `Plan.record()`. Raises Error at the first value that cannot be had; those
    before it stay.
    """
    check(directories, settings)
    write_each(directories, settings.writes)
    _write_devices(directories, devices)


def check(directories: dict[str, str], settings: "Settings") -> None:
    """Raises Error where a limit is below what is in use and must not be (checkBeforeUpdate)."""
    for hierarchy, name, limit, pointer in settings.checks:
        path = f"{directories[hierarchy]}/{name}"
        used = int(read_text(path))
        if limit <= used:
            raise Error(
                f"{limit} is not above what is in use ({used}, in {path}); give more, or set "
                "checkBeforeUpdate to false",
                pointer=pointer,
            )


def write_each(directories: dict[str, str], writes: "Sequence[Write]") -> None:
    """Writes values; those that are refused with EINVAL are tried again after the others.

    Limits bound each other (memory and memory+swap, quota and period and burst), so that which order
    the kernel accepts depends on what the cgroup had before.
    """
    refused = []
    for item in writes:
        try:
            _write(directories, item)
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise _failed(directories, item, e) from e
            refused.append(item)
    for item in refused:
        try:
            _write(directories, item)
        except OSError as e:
            raise _failed(directories, item, e) from e


def _write(directories: dict[str, str], item: "Write") -> None:
    try:
        write_text(f"{directories[item.hierarchy]}/{item.file}", item.value)
    except OSError as e:
        if e.errno == errno.ENOENT and item.instead is not None:
            _write(directories, item.instead)
        elif e.errno not in item.tolerate:
            raise


def _write_devices(directories: dict[str, str], devices: "Sequence[Write]") -> None:
    """Writes a list of devices: many values for each of two files, which stay open meanwhile."""
    opened, fd = "", -1
    try:
        for item in devices:
            if item.file != opened:
                if fd >= 0:
                    close(fd)
                opened, fd = "", -1
                fd = open_file(f"{directories[item.hierarchy]}/{item.file}", O_WRONLY | O_CLOEXEC)
                opened = item.file
            write(fd, item.value.encode())
    except OSError as e:
        raise _failed(directories, item, e) from e
    finally:
        if fd >= 0:
            close(fd)


_REMEDIES = {
    errno.EINVAL: "the kernel does not accept this value; correct it",
    errno.ERANGE: "the value is out of the kernel's range; correct it",
    errno.ENOSPC: "CPUs or memory nodes that do not exist or that the parent has not; correct the value",
    errno.EBUSY: "the limit is below what is in use; raise it",
    errno.ENODEV: "there is no such device, or it has no such limit; correct the numbers",
    errno.EOPNOTSUPP: "the kernel or the device does not support this; remove the key",
    errno.EACCES: "the parent cgroup does not grant this, or the privilege is missing",
    errno.EPERM: "the parent cgroup does not grant this, or the privilege is missing",
    errno.EROFS: "the cgroup file system is mounted read-only; remount it writable",
}


# What one file means by an errno, where that says more.
_REMEDIES_OF = {
    ("cpu.rt_runtime_us", errno.EINVAL): (
        "a real-time budget is a part of the parent cgroup's, which is too small; give the parent more"
    ),
    ("memory.limit_in_bytes", errno.EINVAL): "it is more than the limit of memory and swap; set swap as well",
    ("cpu.max.burst", errno.EINVAL): "it is more than the quota; lower it, or set the quota as well",
    ("cpu.cfs_burst_us", errno.EINVAL): "it is more than the quota; lower it, or set the quota as well",
}


def _failed(directories: dict[str, str], item: "Write", e: OSError) -> Error:
    number = e.errno or 0
    directory = directories[item.hierarchy]
    if number == errno.ENOENT:
        remedy = _missing(directory, item)
    else:
        remedy = _REMEDIES_OF.get((item.file, number)) or _REMEDIES.get(number, "see cgroups(7)")
    return Error(
        f'write "{item.value}" to {directory}/{item.file}: {reason(e)}: {remedy}', pointer=item.pointer
    )


def _missing(directory: str, item: "Write") -> str:
    """Why a cgroup has no such file."""
    controller = item.file.partition(".")[0]
    if not item.hierarchy and controller != "cgroup":
        enabled = read_text(f"{directory}/cgroup.controllers").split()
        if controller not in enabled:
            return (
                f'the controller "{controller}" is not available in {directory} (it has '
                f"{', '.join(enabled) or 'none'}): a parent could not enable it in cgroup.subtree_control, "
                "since it has processes itself or is not delegated; choose another cgroupsPath"
            )
    other = f", nor {item.instead.file}" if item.instead else ""
    return f"this kernel has no {item.file}{other}; remove the key, or load what offers it"


def reason(e: OSError) -> str:
    """What the kernel says, with the name of the errno."""
    number = e.errno or 0
    return f"{strerror(number)} ({errno.errorcode.get(number, number)})"
