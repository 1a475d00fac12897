"""Reading and writing the files of a cgroup file system.

The kernel takes a value from a single write(2) and makes a file's text anew for each open. The two
functions on one file leave errors OSError, for callers that know what they mean; `apply` carries out
what `compile.settings` holds, and tells which key of the configuration is to blame.
"""

import errno
from posix import O_CLOEXEC, O_RDONLY, O_WRONLY, close, open, read, strerror, write  # noqa: A004

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.compile.settings import Settings, Write


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


# -- settings ------------------------------------------------------------------


def apply(directories: dict[str, str], settings: "Settings", devices: "Sequence[Write]" = ()) -> None:
    """Writes the values, and after them a list of devices, to a container's cgroup.

    directories are those of `Plan.record()`. What is refused with EINVAL is tried again after the
    others: limits bound each other (memory and memory+swap, quota and period and burst), so that which
    order the kernel accepts depends on what the cgroup had before. Raises Error at the first value that
    cannot be had; those before it stay.
    """
    for hierarchy, name, limit, pointer in settings.checks:
        path = f"{directories[hierarchy]}/{name}"
        used = int(read_text(path))
        if limit <= used:
            raise Error(
                f"{limit} is not above what is in use ({used}, in {path}); give more, or set "
                "checkBeforeUpdate to false",
                pointer=pointer,
            )
    refused = []
    for item in settings.writes:
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
    _write_devices(directories, devices)


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
                fd = open(f"{directories[item.hierarchy]}/{item.file}", O_WRONLY | O_CLOEXEC)
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


def _failed(directories: dict[str, str], item: "Write", e: OSError) -> Error:
    if item.instead is not None and e.errno == errno.ENOENT:
        also = f" (nor {item.instead.file})"
    else:
        also = ""
    path = f"{directories[item.hierarchy]}/{item.file}"
    if e.errno == errno.ENOENT:
        controller = item.hierarchy or item.file.partition(".")[0]
        remedy = f"this kernel has no {item.file}{also}"
        if not item.hierarchy and controller != "cgroup":
            remedy += (
                f', or the controller "{controller}" cannot be enabled in cgroup.subtree_control of the '
                "parent"
            )
        remedy += "; remove the key or enable it"
    else:
        remedy = _REMEDIES.get(e.errno or 0, "see cgroups(7)")
    return Error(f'write "{item.value}" to {path}: {reason(e)}: {remedy}', pointer=item.pointer)


def reason(e: OSError) -> str:
    """What the kernel says, with the name of the errno."""
    number = e.errno or 0
    return f"{strerror(number)} ({errno.errorcode.get(number, number)})"
