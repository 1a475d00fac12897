"""`linux.resources` as values of cgroup files: one table, and the conversions from v1 to v2.

Properties are defined in the terms of cgroup v1; the layout decides for each controller which file
takes them. What a layout cannot express is an error with its pointer. Pure. Specification:
config-linux.md, "Memory", "CPU" and "PIDs"; Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.cgroups import Layout, Plan

# Properties in the order in which they are written: section and property of the specification,
# controller, v1 file, v2 file ("" where several properties make one file, None where the layout
# cannot express it), kind of value.
#   limit   a number; 0 leaves it as it is, -1 lifts it     text   a list; empty leaves it as it is
#   count   a number; 0 leaves it as it is                  value  a number, written as it is
#   flag    only true is written                            pids   a number; negative lifts it
#   swappiness  a percentage; -1 leaves it as it is
PROPERTIES: tuple[tuple[str, str, str, str | None, str | None, str], ...] = (
    ("memory", "limit", "memory", "memory.limit_in_bytes", "memory.max", "limit"),
    ("memory", "swap", "memory", "memory.memsw.limit_in_bytes", "", "limit"),
    ("memory", "reservation", "memory", "memory.soft_limit_in_bytes", "memory.low", "limit"),
    ("memory", "swappiness", "memory", "memory.swappiness", None, "swappiness"),
    ("memory", "disableOOMKiller", "memory", "memory.oom_control", None, "flag"),
    # The real-time budget comes first: without one the kernel refuses real-time processes.
    ("cpu", "realtimePeriod", "cpu", "cpu.rt_period_us", None, "count"),
    ("cpu", "realtimeRuntime", "cpu", "cpu.rt_runtime_us", None, "limit"),
    ("cpu", "shares", "cpu", "cpu.shares", "", "count"),
    ("cpu", "period", "cpu", "cpu.cfs_period_us", "", "count"),
    ("cpu", "quota", "cpu", "cpu.cfs_quota_us", "", "limit"),
    ("cpu", "burst", "cpu", "cpu.cfs_burst_us", "cpu.max.burst", "value"),
    # After the shares, which the kernel refuses for an idle cgroup.
    ("cpu", "idle", "cpu", "cpu.idle", "cpu.idle", "value"),
    ("cpu", "cpus", "cpuset", "cpuset.cpus", "cpuset.cpus", "text"),
    ("cpu", "mems", "cpuset", "cpuset.mems", "cpuset.mems", "text"),
    ("pids", "limit", "pids", "pids.max", "pids.max", "pids"),
)

# What replaces a v1 property in v2, for the error message.
_NO_V2 = {
    "swappiness": "cgroup v2 has no swappiness of its own; set vm.swappiness on the host",
    "disableOOMKiller": "cgroup v2 cannot disable the OOM killer; remove the key or set it to false",
    "realtimePeriod": "cgroup v2 has no real-time budget; remove the key",
    "realtimeRuntime": "cgroup v2 has no real-time budget; remove the key",
}

_LATER = ("blockIO", "hugepageLimits", "network", "rdma", "unified")

_RESOURCES = "/linux/resources"


def add(result: "Plan", layout: "Layout", resources: "dict[str, Any]") -> None:
    """Adds the resources' writes to a plan whose directories are known.

    Raises Error for a value that cannot be meant, or that the layout cannot express.
    """
    for name in _LATER:
        value = resources.get(name)
        # Engines also name what they do not set: Docker sends {"weight": 0} for blockIO.
        if any(value.values()) if type(value) is dict else value:
            raise Error("this resource is not supported", pointer=f"{_RESOURCES}/{name}")
    _check_memory(result, resources.get("memory") or {})
    for section, name, controller, v1_file, v2_file, kind in PROPERTIES:
        value = (resources.get(section) or {}).get(name)
        if value is None or (not value and kind in ("limit", "count", "text", "flag")):
            continue
        if kind == "swappiness":
            # Docker writes -1, "not set", as an unsigned number.
            if value in (-1, 0xFFFFFFFFFFFFFFFF):
                continue
            if not 0 <= value <= 100:
                raise Error(
                    f"{value} is out of range: swappiness goes from 0 to 100",
                    pointer=f"{_RESOURCES}/memory/swappiness",
                )
        pointer = f"{_RESOURCES}/{section}/{name}"
        if not result.asked:
            result.asked = pointer
        if controller in layout.v1:
            assert v1_file is not None
            if name == "shares" and not 2 <= value <= 262144:
                raise Error(f"{value} is out of range: cpu.shares takes 2 to 262144", pointer=pointer)
            directory = result.directories[controller]
            _write(result, f"{directory}/{v1_file}", value, kind, "-1", pointer)
        elif controller in layout.v2_controllers:
            if v2_file is None:
                raise Error(_NO_V2[name], pointer=pointer)
            if v2_file:
                directory = result.directories[""]
                _write(result, f"{directory}/{v2_file}", value, kind, "max", pointer)
            elif name != "swap":
                _cpu_v2(result, resources["cpu"], name, pointer)
        else:
            raise Error(
                f'it needs the cgroup controller "{controller}", which this system does not offer '
                f"(offered: {_offered(layout)}); remove the key or enable the controller",
                pointer=pointer,
            )
        if kind == "pids" and 0 <= value < 2 and (value == 0 or "pids" in layout.v1):
            result.late = ("pids",)
    _swap(result, layout, resources.get("memory") or {})


def _offered(layout: "Layout") -> str:
    return ", ".join((*(name for name in layout.v1 if "=" not in name), *layout.v2_controllers)) or "none"


def _write(result: "Plan", file: str, value: "int | str", kind: str, unlimited: str, pointer: str) -> None:
    if kind == "flag":
        value = 1
    elif kind == "pids":
        value = value if int(value) >= 0 else "max"
    elif kind != "text":
        value = _number(int(value), pointer) if kind != "limit" or value != -1 else unlimited
    result.writes.append((file, str(value), pointer))


def _number(value: int, pointer: str) -> int:
    if value < 0:
        raise Error(f"{value} is not a limit: give a positive number, or -1 for no limit", pointer=pointer)
    return value


# -- memory ------------------------------------------------------------------


def _check_memory(result: "Plan", memory: "dict[str, Any]") -> None:
    pointer = f"{_RESOURCES}/memory"
    for name in ("kernel", "kernelTCP"):
        if memory.get(name):
            result.warnings.append(
                (f"{pointer}/{name}", "ignored: current kernels have no separate limit for kernel memory")
            )
    if memory.get("useHierarchy") is False:
        raise Error(
            "memory accounting is always hierarchical since Linux 5.11; remove the key",
            pointer=f"{pointer}/useHierarchy",
        )
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if 0 < swap < limit:
        raise Error(
            f"{swap} is less than the memory limit ({limit}): it counts memory and swap together",
            pointer=f"{pointer}/swap",
        )


def _swap(result: "Plan", layout: "Layout", memory: "dict[str, Any]") -> None:
    """Swap without a limit when memory has none; and v2's swap, which does not include memory."""
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    pointer = f"{_RESOURCES}/memory/{'swap' if swap else 'limit'}"
    if "memory" in layout.v1:
        if limit == -1 and not swap:
            file = f"{result.directories['memory']}/memory.memsw.limit_in_bytes"
            # An existing cgroup may have a limit for both, below which memory's own cannot be lifted.
            result.writes.insert(0, (file, "-1", pointer))
            result.optional.add(file)
        return
    if "memory" not in layout.v2_controllers or not (swap or limit == -1):
        return
    if swap in (0, -1):
        value = "max"
    elif limit == -1:
        value = str(swap)
    elif not limit:
        raise Error(
            "it counts memory and swap together, so that cgroup v2 needs memory.limit as well",
            pointer=pointer,
        )
    else:
        value = str(swap - limit)
    file = f"{result.directories['']}/memory.swap.max"
    if value in ("0", "max"):
        # Where the kernel does not account for swap, there is none to forbid or to allow.
        result.optional.add(file)
    result.writes.append((file, value, pointer))


# -- cpu ---------------------------------------------------------------------


def shares_to_weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for v1's cpu.shares (2 to 262144).

    A quadratic curve over the logarithm that meets both ends and the two defaults (1024 is 100),
    as runc and crun convert it: https://github.com/opencontainers/runc/pull/4785
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    x = log2(shares)
    return ceil(10 ** ((x * x + 125 * x) / 612 - 7 / 34))


def _cpu_v2(result: "Plan", cpu: "dict[str, Any]", name: str, pointer: str) -> None:
    directory = result.directories[""]
    if name == "shares":
        # The kernel gives an idle cgroup the least weight, and takes no other.
        if not cpu.get("idle"):
            result.writes.append((f"{directory}/cpu.weight", str(shares_to_weight(cpu["shares"])), pointer))
        return
    # cpu.max holds quota and period: one write for both, at the second of them.
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 100000
    if name == "period" and quota:
        return
    if quota != -1:
        _number(quota, pointer)
    result.writes.append((f"{directory}/cpu.max", f"{quota if quota > 0 else 'max'} {period}", pointer))
