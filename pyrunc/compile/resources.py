"""`linux.resources` as values of cgroup files: memory, cpu and pids, and the conversions from v1 to v2.

Properties are defined in the terms of cgroup v1; the layout decides for each controller which file
takes them. What a layout cannot express is an error with its pointer. Pure. Specification:
config-linux.md, "Memory", "CPU" and "PIDs"; Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from errno import ENOENT

from pyrunc.compile.settings import Settings
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.settings import Layout

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
    ("memory", "kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", "", "limit"),
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

_RARE = ("blockIO", "hugepageLimits", "network", "rdma", "unified")


def settings(
    resources: "dict[str, Any]", layout: "Layout", *, before: "dict[str, Any] | None" = None,
    root: str = "/linux/resources",
) -> Settings:
    """All that the resources come to, without the device list (see compile.device_filter).

    For an update, before holds the resources that are in force: where v2 has one file for several
    properties, those that are not given keep their value. root is the resources' own pointer.
    Raises Error for a value that cannot be meant, or that the layout cannot express.
    """
    result = Settings(layout, root)
    sections = {
        "memory": _memory(result, resources.get("memory") or {}, (before or {}).get("memory") or {}),
        "cpu": _cpu(result, resources.get("cpu") or {}, (before or {}).get("cpu") or {}),
        "pids": resources.get("pids") or {},
    }
    if before is not None:
        _check_before_update(result, resources.get("memory") or {})
    for section, name, controller, v1_file, v2_file, kind in PROPERTIES:
        value = sections[section].get(name)
        if value is None or (not value and kind in ("limit", "count", "text", "flag")):
            continue
        # Docker writes -1, "not set", as an unsigned number.
        if kind == "swappiness" and value in (-1, 0xFFFFFFFFFFFFFFFF):
            continue
        key = f"/{section}/{name}"
        hierarchy = result.hierarchy(controller, key)
        if hierarchy:
            assert v1_file is not None
            result.add(hierarchy, v1_file, _value(result, value, kind, "-1", key), key)
        elif v2_file is None:
            raise Error(_NO_V2[name], pointer=root + key)
        elif v2_file:
            result.add(hierarchy, v2_file, _value(result, value, kind, "max", key), key)
        else:
            _SHARED_V2[name](result, sections[section], key)
    _unlimited(result, sections["memory"])
    for name in _RARE:
        value = resources.get(name)
        # Engines also name what they do not set: Docker sends {"weight": 0} for blockIO.
        if any(value.values()) if type(value) is dict else value:
            from pyrunc.compile import rare_resources

            rare_resources.ADD[name](result, value)
    return result


def _value(result: Settings, value: "int | str", kind: str, unlimited: str, key: str) -> "int | str":
    if kind == "text":
        return value
    if kind == "flag":
        return 1
    number = int(value)
    if kind == "pids":
        # 0 is 1, as in runc: systemd cannot set 0, and with 1 there is no room for a second process either.
        result.pids = number or 1
        return result.pids if number >= 0 else "max"
    if kind == "limit" and number == -1:
        return unlimited
    if number < 0:
        raise Error(
            f"{number} is not a limit: give a positive number, or -1 for no limit", pointer=result.root + key
        )
    if kind == "swappiness" and number > 100:
        raise Error(
            f"{number} is out of range: swappiness goes from 0 to 100", pointer=result.root + key
        )
    return number


# -- memory ------------------------------------------------------------------


def _memory(result: Settings, memory: "dict[str, Any]", old: "dict[str, Any]") -> "dict[str, Any]":
    """Checks the section, and completes it by what old, the section in force, adds to its meaning."""
    pointer = f"{result.root}/memory"
    v1 = "memory" in result.layout.v1
    if (memory.get("kernel") or 0) > 0:
        # On v1 the file is still there and without effect, and runc warns. But what cannot be applied is an
        # error (runtime.md, "Create"), as is what cannot be converted to v2 (config-linux.md, "Unified").
        raise Error(
            "kernel memory has had no limit of its own since Linux 5.16, and counts as memory; remove it, or "
            "use limit",
            pointer=f"{pointer}/kernel",
        )
    if memory.get("useHierarchy") is False:
        raise Error(
            "memory accounting is always hierarchical since Linux 5.11; remove the key",
            pointer=f"{pointer}/useHierarchy",
        )
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if not swap and limit > 0 and not v1 and (old.get("swap") or 0) > 0:
        # The limit of both stays as it is, so that another limit of memory leaves another one for swap.
        swap = old["swap"]
    whole = limit or old.get("limit") or 0
    if 0 < swap < whole:
        raise Error(
            f"{swap} is less than the memory limit ({whole}): it counts memory and swap together",
            pointer=f"{pointer}/{'swap' if memory.get('swap') else 'limit'}",
        )
    return {**memory, "swap": swap, "in force": whole}


def _check_before_update(result: Settings, memory: "dict[str, Any]") -> None:
    """The v1 kernel refuses a limit below what is in use by itself, where v2 would kill."""
    if not memory.get("checkBeforeUpdate") or "memory" in result.layout.v1:
        return
    for name in ("swap", "limit"):
        if (memory.get(name) or 0) > 0:
            result.checks.append(("", "memory.current", memory[name], f"{result.root}/memory/{name}"))


def _swap_v2(result: Settings, memory: "dict[str, Any]", key: str) -> None:
    """v2's limit of swap, which does not include memory."""
    limit, swap = memory["in force"], memory["swap"]
    if swap == -1:
        value = "max"
    elif swap < 0:
        raise Error(
            f"{swap} is not a limit: give a positive number, or -1 for no limit", pointer=result.root + key
        )
    elif limit == -1:
        value = str(swap)
    elif not limit:
        raise Error(
            "it counts memory and swap together, so that cgroup v2 needs memory.limit as well",
            pointer=result.root + key,
        )
    else:
        value = str(swap - limit)
    # Where the kernel does not account for swap, there is none to forbid or to allow.
    result.add("", "memory.swap.max", value, key, tolerate=(ENOENT,) if value in ("0", "max") else ())


def _unlimited(result: Settings, memory: "dict[str, Any]") -> None:
    """Memory without a limit, and none given for swap: that one is lifted too. An existing v1 cgroup
    may have a limit for both, below which memory's own cannot be lifted, so it comes first."""
    if memory.get("limit") != -1 or memory.get("swap"):
        return
    hierarchy = result.hierarchy("memory", "/memory/limit")
    file, value = ("memory.memsw.limit_in_bytes", "-1") if hierarchy else ("memory.swap.max", "max")
    result.add(hierarchy, file, value, "/memory/limit", tolerate=(ENOENT,))
    result.writes.insert(0, result.writes.pop())


def _kernel_tcp_v2(result: Settings, section: "dict[str, Any]", key: str) -> None:
    """TCP buffers count as memory; of their own they can only have no limit."""
    if section["kernelTCP"] > 0:
        raise Error(
            "cgroup v2 has no limit for TCP buffers alone, which count as memory; remove it, or use limit",
            pointer=result.root + key,
        )


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


def _cpu(result: Settings, cpu: "dict[str, Any]", old: "dict[str, Any]") -> "dict[str, Any]":
    """Checks the section, and completes it by the bandwidth of old, the section in force."""
    shares = cpu.get("shares")
    if shares and "cpu" in result.layout.v1 and not 2 <= shares <= 262144:
        raise Error(
            f"{shares} is out of range: cpu.shares takes 2 to 262144", pointer=f"{result.root}/cpu/shares"
        )
    quota, burst = cpu.get("quota") or 0, cpu.get("burst") or 0
    if 0 < quota < burst:
        raise Error(
            f"{burst} is more than the quota ({quota}); lower it, or raise the quota",
            pointer=f"{result.root}/cpu/burst",
        )
    return {
        **cpu,
        "bandwidth": (quota or old.get("quota") or 0, cpu.get("period") or old.get("period") or 100000),
    }


def _shares_v2(result: Settings, cpu: "dict[str, Any]", key: str) -> None:
    # The kernel gives an idle cgroup the least weight, and takes no other.
    if not cpu.get("idle"):
        result.add("", "cpu.weight", shares_to_weight(cpu["shares"]), key)


def _bandwidth_v2(result: Settings, cpu: "dict[str, Any]", key: str) -> None:
    """cpu.max holds quota and period: one write for both, at the second of them."""
    if key == "/cpu/period" and cpu.get("quota"):
        return
    quota, period = cpu["bandwidth"]
    result.add("", "cpu.max", f"{_value(result, quota, 'limit', 'max', key) or 'max'} {period}", key)


_SHARED_V2 = {
    "swap": _swap_v2,
    "kernelTCP": _kernel_tcp_v2,
    "shares": _shares_v2,
    "period": _bandwidth_v2,
    "quota": _bandwidth_v2,
}
