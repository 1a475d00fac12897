"""What the suite reads of the host, and waits for."""

import os
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


def is_child(pid: int) -> bool:
    """Whether pid is a child of the suite that nobody has waited for (a zombie too)."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def wait(condition: Callable[[], object], timeout: float) -> bool:
    """Poll: the kernel has no notification for most of what the suite waits for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
