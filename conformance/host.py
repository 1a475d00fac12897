"""What the suite reads of the host, and waits for."""

import ctypes
import os
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def cgroup_mounts() -> dict[str, list[str]]:
    """Where cgroup hierarchies are mounted, each with its v1 controllers (none for v2)."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        number, point = before.split()[2], before.split()[4]
        type, _, options = after.split()
        if type not in ("cgroup", "cgroup2") or not os.path.isdir(point):
            continue
        device = os.stat(point).st_dev  # of another mount, if one hides this
        if number == f"{os.major(device)}:{os.minor(device)}":
            known = options.split(",") if type == "cgroup" else []
            found[point] = [name for name in known if name not in ("rw", "ro", "xattr", "clone_children")]
    return found


def mount_points(pid: int | str = "self") -> list[str]:
    return [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]


def machine() -> str:
    """What of this machine makes a difference to runtimes, in a few words."""
    v1 = any(cgroup_mounts().values())
    v2 = [] in cgroup_mounts().values()
    cgroups = "cgroup v1 and v2" if v1 and v2 else "cgroup v1" if v1 else "cgroup v2" if v2 else "no cgroups"
    if v2 and not v1:
        found = Path(next(iter(cgroup_mounts())), "cgroup.controllers").read_text().split()
        missing = [name for name in ("cpu", "cpuset", "io", "memory", "pids") if name not in found]
        cgroups += f" without {', '.join(missing)}" if missing else ""
    kernel = ".".join(os.uname().release.split(".")[:2])
    modules = Path("/sys/kernel/security/lsm")
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    words = set(modules.read_text().split(",")) if modules.exists() else set()
    words |= {"apparmor"} if enabled.exists() and enabled.read_text().strip() == "Y" else set()
    security = [name for word, name in (("apparmor", "AppArmor"), ("selinux", "SELinux")) if word in words]
    return ", ".join([f"Linux {kernel} ({os.uname().machine})", cgroups, *security])


def is_child(pid: int) -> bool:
    """Whether pid is a child of the suite that nobody has waited for (a zombie too)."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def children() -> list[int]:
    """The suite's children, with those that runtimes have left to it."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == os.getpid():
                found.append(int(name))
    return found


def wait(condition: Callable[[], object], timeout: float) -> bool:
    """Poll: the kernel has no notification for most of what the suite waits for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442  # the same on all architectures since Linux 5.2
OPEN_TREE_CLONE, AT_FDCWD, AT_EMPTY_PATH, MOUNT_ATTR_IDMAP = 1, -100, 0x1000, 0x100000


def can_map_ids(path: Path) -> bool:
    """Whether the kernel can map the ids of a directory's file system (mount_setattr(2))."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    tree = call(OPEN_TREE, AT_FDCWD, str(path).encode(), OPEN_TREE_CLONE | os.O_CLOEXEC)
    if tree < 0:
        return False
    # A process in a user namespace of its own that has mappings: unshare(1) waits for its standard input.
    command = ["unshare", "--user", "--map-root-user", "cat"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        wait(lambda: os.readlink(f"/proc/{holder.pid}/ns/user") != os.readlink("/proc/self/ns/user"), 10)
        # The kernel takes a namespace that has both.
        wait(lambda: all(Path(f"/proc/{holder.pid}/{kind}id_map").read_text().strip() for kind in "ug"), 10)
        namespace = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            attributes = struct.pack("=QQQQ", MOUNT_ATTR_IDMAP, 0, 0, namespace)
            return bool(call(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, len(attributes)) == 0)
        finally:
            os.close(namespace)
    finally:
        assert holder.stdin is not None
        holder.stdin.close()
        holder.wait()
        os.close(tree)
