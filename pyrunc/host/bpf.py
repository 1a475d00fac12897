"""Exchanging the device filter of a running container: an eBPF program that is attached to its cgroup.

`create` attaches the filter by a step of its program; here, where the container runs already, the runtime
makes the calls itself. Loaded only for an update that changes the devices on cgroup v2: ctypes costs more
than the rest. Source: bpf(2), include/uapi/linux/bpf.h.
"""

import posix
from _struct import Struct
from errno import ENOENT

from pyrunc.errors import Error
from pyrunc.linux import flags as f

# Number of bpf(2) by machine, as uname(2) names it.
_NUMBERS = {
    "x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "i686": 357, "armv7l": 386,
    "armv8l": 386, "ppc64le": 361, "s390x": 351,
}  # fmt: skip
_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD = 13, 15
_F_REPLACE = 4
_MOST = 64  # programs that the kernel attaches to one cgroup
_NAME_AT = 64  # in struct bpf_prog_info
NAME = b"pyrunc_devices"

_query = Struct("=4IQI4xQ")
_load = Struct("=IIQQIIQII16s")


def _bpf(command: int, attr: bytearray) -> int:
    import ctypes

    number = _NUMBERS.get(posix.uname().machine)
    if number is None:
        raise Error(
            f"pyrunc does not know the number of bpf(2) on {posix.uname().machine}", pointer="/devices"
        )
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * len(attr)).from_buffer(attr)
    result = libc.syscall(ctypes.c_long(number), ctypes.c_int(command), buffer, ctypes.c_uint(len(attr)))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, posix.strerror(error))
    return int(result)


def replace_device_filter(directory: str, program: bytes) -> None:
    """Puts instructions in the place of the container's filter, at once: no access is decided by both or
    neither. Where it has none, they become one. Raises OSError."""
    import ctypes

    cgroup = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        own = _own_filters(cgroup)
        try:
            text = ctypes.create_string_buffer(program, len(program))
            licence = ctypes.create_string_buffer(b"Apache-2.0")
            attr = bytearray(
                _load.pack(
                    f.BPF_PROG_TYPE_CGROUP_DEVICE, len(program) // 8, ctypes.addressof(text),
                    ctypes.addressof(licence), 0, 0, 0, 0, 0, NAME,
                )
            )  # fmt: skip
            loaded = _bpf(f.BPF_PROG_LOAD, attr)
            try:
                flags = f.BPF_F_ALLOW_MULTI | (_F_REPLACE if own else 0)
                old = own[0] if own else 0
                attach = Struct("=5I").pack(cgroup, loaded, f.BPF_CGROUP_DEVICE, flags, old)
                _bpf(f.BPF_PROG_ATTACH, bytearray(attach))
            finally:
                posix.close(loaded)
        finally:
            for fd in own:
                posix.close(fd)
    finally:
        posix.close(cgroup)


def _own_filters(cgroup: int) -> list[int]:
    """Descriptors of the filters of the cgroup that are pyrunc's, by their name."""
    import ctypes

    ids = (ctypes.c_uint32 * _MOST)()
    attr = bytearray(
        _query.pack(cgroup, f.BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), _MOST, 0)
    )
    _bpf(f.BPF_PROG_QUERY, attr)
    found: list[int] = []
    for id in ids[: _query.unpack(attr)[5]]:
        try:
            fd = _bpf(_GET_FD_BY_ID, bytearray(Struct("=4I").pack(id, 0, 0, 0)))
        except OSError as e:
            if e.errno != ENOENT:
                raise
            continue  # detached meanwhile by whoever it belongs to
        info = ctypes.create_string_buffer(128)
        head = Struct("=2IQ").pack(fd, len(info), ctypes.addressof(info))
        _bpf(_OBJ_GET_INFO_BY_FD, bytearray(head))
        if info.raw[_NAME_AT : _NAME_AT + 16].rstrip(b"\0") == NAME:
            found.append(fd)
        else:
            posix.close(fd)
    return found
