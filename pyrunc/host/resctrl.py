"""A container's resctrl group (Intel RDT) as the verbs on running containers need it: update changes its
schemata, events tells what it says.

Only groups that exist are touched: the one that `linux.intelRdt.closID` names, or that has the container's
id. Specification: config-linux.md, "IntelRdt"; Documentation/arch/x86/resctrl.rst.
"""

from errno import EINVAL
from posix import listdir

from pyrunc.errors import Error
from pyrunc.host.cgroups.files import read_text, reason, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

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


# -- statistics ----------------------------------------------------------------

# Files of info/L3 and info/MB.
_INFO: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("l3_cache_info", "L3", ("cbm_mask", "min_cbm_bits", "num_closids"), "l3_cache_schema"),
    (
        "mem_bw_info", "MB", ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"),
        "mem_bw_schema",
    ),
)
_MONITORED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mbm_stats", ("mbm_total_bytes", "mbm_local_bytes")),
    ("cmt_stats", ("llc_occupancy",)),
)


def stats(group: str, id: str) -> "dict[str, Any]":
    """The `intel_rdt` of a stats event (runc's types/events.go), {} where resctrl is not mounted."""
    mount = mount_point(read_text("/proc/self/mountinfo"))
    return _stats(mount, f"{mount}/{group}", id) if mount else {}


def _stats(mount: str, group: str, id: str) -> "dict[str, Any]":
    result: dict[str, Any] = {}
    for name, kind, files, schema in _INFO:
        found = {file: _value(f"{mount}/info/{kind}/{file}") for file in files}
        if not found["num_closids"]:
            continue
        result[name] = {file: value for file, value in found.items() if value}
        for suffix, directory in (("_root", mount), ("", group)):
            lines = [line.strip() for line in _text(f"{directory}/schemata").splitlines()]
            lines = [line for line in lines if line.startswith(kind)]
            if lines:
                result[schema + suffix] = lines[0]
    # A monitoring group of the container's own counts it alone, where others share its class.
    own = f"{group}/mon_groups/{id}/mon_data"
    domains = _domains(own) or _domains(f"{group}/mon_data")
    for name, monitored in _MONITORED:
        counted = [{file: _value(f"{path}/{file}") for file in monitored} for path in domains]
        if any(value != "" for each in counted for value in each.values()):
            result[name] = [{file: value for file, value in each.items() if value} for each in counted]
    return result


def _domains(directory: str) -> list[str]:
    """The directories of each L3 cache, which is one for each NUMA node."""
    try:
        return [f"{directory}/{name}" for name in sorted(listdir(directory)) if name.startswith("mon_L3_")]
    except FileNotFoundError:
        return []


def _text(path: str) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        return ""


def _value(path: str) -> "int | str":
    """A file's number, or the text of what is none; "" where there is no such file."""
    text = _text(path).strip()
    return int(text) if text.isdigit() and not path.endswith("/cbm_mask") else text
