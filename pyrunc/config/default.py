"""The configuration that `spec` writes: runc 1.5's, so that a bundle behaves alike under both.

It is data; nothing of the host is looked at but the caller's ids.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.3.0"

# destination, type, source, options
_MOUNTS = (
    ("/proc", "proc", "proc", ""),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
)

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

_MASKED = (
    "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list "
    "/proc/timer_stats /proc/sched_debug /sys/firmware /proc/scsi /sys/devices/virtual/tpm"
)

_READONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"


def default(rootless: bool = False, *, cgroup_v2: bool) -> "dict[str, Any]":
    """The configuration for a shell in the bundle's directory rootfs.

    rootless makes one that the calling user can run: a user namespace in which the caller is root, the
    host's network, and no resource limits. cgroup_v2 says whether the host has only cgroup v2, where a
    cgroup namespace is worth having.
    """
    namespaces = ["pid", "network", "ipc", "uts", "mount"]
    if cgroup_v2:
        namespaces.append("cgroup")
    config: dict[str, Any] = {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": [],
        "linux": {},
    }
    for destination, kind, source, options in _MOUNTS:
        mount = {"destination": destination, "type": kind, "source": source}
        if rootless:
            # An unprivileged user may not mount sysfs without a network namespace of its own, and has
            # no ids mapped that files could be given to.
            if kind == "sysfs":
                mount["type"], mount["source"], options = "none", "/sys", "rbind nosuid noexec nodev ro"
            options = " ".join(option for option in options.split() if option[:4] not in ("uid=", "gid="))
        config["mounts"].append({**mount, "options": options.split()} if options else mount)
    linux = config["linux"]
    if rootless:
        namespaces.remove("network")
        namespaces.append("user")
        linux["uidMappings"] = [{"containerID": 0, "hostID": posix.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": posix.getegid(), "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    linux["namespaces"] = [{"type": name} for name in namespaces]
    linux["maskedPaths"] = _MASKED.split()
    linux["readonlyPaths"] = _READONLY.split()
    return config
