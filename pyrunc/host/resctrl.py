"""Changing the schemata of a container's resctrl group (Intel RDT), for update.

Only groups that exist are changed: the one that `linux.intelRdt.closID` names, or that has the container's
id. Specification: config-linux.md, "IntelRdt"; Documentation/arch/x86/resctrl.rst.
"""

from errno import EINVAL

from pyrunc.errors import Error
from pyrunc.host.cgroups.files import read_text, reason, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_REMEDY = "mount it on /sys/fs/resctrl, on a machine whose CPUs can do it (rdt_a in /proc/cpuinfo)"


def mount_point(mountinfo: str) -> str:
    """Where resctrl is mounted, "" where it is not."""
    for line in mountinfo.splitlines():
        if " - resctrl " in line:
            return line.split(" ", 5)[4]
    return ""


def change(group: str, l3_cache: str, memory_bandwidth: str) -> "Callable[[], None]":
    """Writes schemata of the group called group; the result writes the old ones back. Raises Error."""
    asked = (("--l3-cache-schema", "L3", l3_cache), ("--mem-bw-schema", "MB", memory_bandwidth))
    flags = [(flag, kind, text) for flag, kind, text in asked if text]
    mount = mount_point(read_text("/proc/self/mountinfo"))
    for flag, kind, _ in flags:
        if not mount:
            raise Error(f"resctrl is not mounted: {_REMEDY}", pointer=flag)
        try:
            read_text(f"{mount}/info/{kind}/num_closids")
        except FileNotFoundError:
            raise Error(f"resctrl has no allocation of {kind} here: {_REMEDY}", pointer=flag) from None
    path = f"{mount}/{group}/schemata"
    try:
        old = read_text(path)
    except FileNotFoundError:
        raise Error(
            f"the container has no resctrl group ({mount}/{group}): create it with /linux/intelRdt",
            pointer=flags[0][0],
        ) from None
    for flag, _, text in flags:
        _write(path, text, old, flag)
    return lambda: write_text(path, old)


def _write(path: str, text: str, old: str, flag: str) -> None:
    try:
        write_text(path, text.rstrip("\n") + "\n")
    except OSError as e:
        write_text(path, old)
        remedy = ": see info/last_cmd_status beside it for what is wrong" if e.errno == EINVAL else ""
        raise Error(f'write "{text}" to {path}: {reason(e)}{remedy}', pointer=flag) from e
