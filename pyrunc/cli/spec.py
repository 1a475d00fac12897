"""The verb `spec`: writes a configuration to start from, the one that users of runc know.

It must not overwrite a file that exists. With --rootless the configuration needs no privilege, with
--rootfs there is also a root file system to go with it.
"""

import posix

from pyrunc import OCI_VERSION
from pyrunc.cli import absolute
from pyrunc.errors import Error
from pyrunc.json import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.cli.options import Invocation

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

# Files of the kernel that tell about the host, or reach it.
_MASKED = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
    "/sys/devices/virtual/tpm",
]
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

_NO = ["nosuid", "noexec", "nodev"]


def spec(given: "Invocation") -> int:
    """`spec`"""
    directory = absolute(given.options["bundle"] or ".")
    path = f"{directory}/config.json"
    text = encode(configuration(rootless=given.options["rootless"]), 4) + "\n"
    try:
        file = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Error(f"{path} exists already; remove it, or name another directory with --bundle") from None
    except FileNotFoundError:
        raise Error(f"there is no directory {directory}; make it first") from None
    try:
        _write(file, text)
        if given.options["rootfs"]:
            from pyrunc.cli.sample import fill

            fill(f"{directory}/rootfs")
    except BaseException:
        # Half a configuration would be taken for a whole one.
        posix.unlink(path)
        raise
    finally:
        posix.close(file)
    return 0


def _write(file: int, text: str) -> None:
    rest = text.encode()
    while rest:
        rest = rest[posix.write(file, rest) :]


def configuration(*, rootless: bool = False) -> "dict[str, Any]":
    """The default configuration; a rootless one maps the caller to root and has no cgroup of its own."""
    process = {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }
    return {
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyrunc",
        "mounts": _mounts(rootless),
        "linux": _rootless() if rootless else _linux(),
    }


def _mounts(rootless: bool) -> "list[dict[str, Any]]":
    # Group 5 is tty; with one id mapped it does not exist.
    tty = [] if rootless else ["gid=5"]
    # Who does not own the network namespace may not mount its sysfs.
    sysfs = ("bind", "/sys", ["rbind", *_NO, "ro"]) if rootless else ("sysfs", "sysfs", [*_NO, "ro"])
    table: list[tuple[str, str, str, list[str]]] = [
        ("/proc", "proc", "proc", []),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty]),
        ("/dev/shm", "tmpfs", "shm", [*_NO, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", list(_NO)),
        ("/sys", *sysfs),
        ("/sys/fs/cgroup", "cgroup", "cgroup", [*_NO, "relatime", "ro"]),
    ]
    return [
        {"destination": destination, "type": type_, "source": source, **({"options": options} if options else {})}
        for destination, type_, source, options in table
    ]


def _linux() -> "dict[str, Any]":
    types = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    return {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": type_} for type_ in types],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READONLY),
    }


def _rootless() -> "dict[str, Any]":
    types = ["pid", "ipc", "uts", "mount", "user", "cgroup"]
    return {
        "uidMappings": [{"containerID": 0, "hostID": posix.geteuid(), "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": posix.getegid(), "size": 1}],
        "namespaces": [{"type": type_} for type_ in types],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READONLY),
    }


VERBS: "dict[str, Callable[[Invocation], int]]" = {"spec": spec}
