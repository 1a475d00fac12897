"""The systemd driver: which unit a container is, and its limits as that unit's properties.

A container is a transient scope, named by `linux.cgroupsPath` as `slice:prefix:name`. The properties
are read off the writes of the cgroup plan, so that systemd and the files are told the same. Pure;
`host.cgroups.systemd` talks to systemd. Sources: systemd.resource-control(5), systemd.slice(5),
org.freedesktop.systemd1(5).
"""

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyrunc.compile.cgroups import Plan
    from pyrunc.compile.device_filter import Devices
    from pyrunc.compile.settings import Layout, Settings, Write

    # Name, and a variant as jeepney takes it: D-Bus signature and value.
    Property = tuple[str, tuple[str, Any]]

_PATH = "/linux/cgroupsPath"
_ANNOTATION = "org.systemd.property."
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
# UNIT_NAME_MAX of systemd, without the terminating NUL.
_MAX_NAME = 255
UNLIMITED = 0xFFFFFFFFFFFFFFFF
_ANY_VERSION = 0


class Unit:
    """The scope that a container is, and where it is.

    name, slice  names of the units
    path         the scope's cgroup below the root of each hierarchy
    user         whether it belongs to the user's systemd instead of the system's
    custom       properties from annotations, with the JSON pointers they came from
    devices      DevicePolicy and DeviceAllow
    collected    whether systemd forgets the scope by itself once it has ended, in whatever way
    delayed      what has to wait until the process that prepares the container has gone, or None
    """

    __slots__ = (
        "collected", "custom", "delayed", "description", "devices", "name", "path", "slice", "user",
    )  # fmt: skip

    def __init__(self, name: str, slice: str, path: str, description: str, *, user: bool) -> None:
        self.name = name
        self.slice = slice
        self.path = path
        self.description = description
        self.user = user
        self.collected = False
        self.custom: list[tuple[Property, str]] = []
        self.devices: list[Property] = []
        self.delayed: Settings | None = None


def unit(config: "dict[str, Any]", container_id: str, *, user: bool = False, root: str = "") -> Unit:
    """The unit for a configuration; root is the cgroup of the systemd that it belongs to.

    Raises Error for a path, a name or an annotation that systemd could not take.
    """
    path = (config.get("linux") or {}).get("cgroupsPath") or ""
    slice, prefix, name, pointer = "", "pyrunc", container_id.replace("+", "\\x2b"), ""
    if path:
        pointer = _PATH
        parts = path.split(":")
        if len(parts) != 3 or not parts[2]:
            raise Error(
                f'"{path}" names no scope: with --systemd-cgroup it has the form SLICE:PREFIX:NAME',
                pointer=pointer,
            )
        slice, prefix, name = parts
    scope = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if name.endswith(".slice"):
        raise Error(f"{name} is a slice, which has no processes: give the name of a scope", pointer=pointer)
    if not _ALLOWED.issuperset(scope) or len(scope) > _MAX_NAME:
        raise Error(
            f'"{scope}" cannot name a unit of systemd: use letters, digits and ":-_.\\@", at most '
            f"{_MAX_NAME} in all",
            pointer=pointer,
        )
    slice = slice or ("user.slice" if user else "system.slice")
    below = expand_slice(slice)
    result = Unit(
        scope, slice, f"{root.rstrip('/')}{below}/{scope}", f"pyrunc container {container_id}", user=user
    )
    for key, text in (config.get("annotations") or {}).items():
        if key.startswith(_ANNOTATION):
            result.custom.append(_annotated(key, text))
    return result


def expand_slice(slice: str) -> str:
    """The cgroup of a slice: /a.slice/a-b.slice for a-b.slice, "" for -.slice, the root."""
    stem = slice.removesuffix(".slice")
    if stem == "-" and slice != stem:
        return ""
    parts = stem.split("-")
    if stem == slice or not all(parts) or not _ALLOWED.issuperset(slice) or len(slice) > _MAX_NAME:
        raise Error(
            f'"{slice}" is not the name of a slice: it has the form A.slice or A-B.slice', pointer=_PATH
        )
    return "".join(f"/{'-'.join(parts[: i + 1])}.slice" for i in range(len(parts)))


def _annotated(key: str, text: str) -> "tuple[Property, str]":
    from pyrunc.compile.gvariant import NUMBERS, parse

    name = key[len(_ANNOTATION) :]
    pointer = "/annotations/" + key.replace("~", "~0").replace("/", "~1")
    if len(name) < 3 or not (name.isascii() and name.isalpha()):
        raise Error(f'"{name}" is not the name of a property of systemd', pointer=pointer)
    if name in ("PIDs", "Slice"):
        raise Error(f"{name} is not an annotation's to set: cgroupsPath has the slice", pointer=pointer)
    signature, value = parse(text, pointer)
    if name.endswith("Sec") and name[-4:-3].islower():
        # Documented in seconds, but on the bus in microseconds.
        if signature not in NUMBERS or value < 0:
            raise Error(f"{text} is not a time in seconds", pointer=pointer)
        name, signature, value = f"{name[:-3]}USec", "t", int(value * 1000000)
    return (name, (signature, value)), pointer


# -- the plan ----------------------------------------------------------------


def directories(layout: "Layout", unit: Unit) -> dict[str, str]:
    """The scope's cgroup in each hierarchy, by controller ("" for v2)."""
    if unit.user and not layout.pure_v2:
        raise Error("a user's systemd has no say over cgroup v1; leave --systemd-cgroup out")
    found = {
        controller: mount + unit.path
        for controller, mount in layout.v1.items()
        if "=" not in controller or controller == "name=systemd"
    }
    if layout.v2 is not None:
        found[""] = layout.v2 + unit.path
    return found


def complete(plan: "Plan", unit: Unit, devices: "Devices | None") -> None:
    """Takes from a finished plan what is the unit's to say, and what has to wait.

    The process that prepares the container is in the scope from its start, where it clones the
    container's own: a limit of one process has to wait until it has gone.
    """
    if plan.settings.pids == 1:
        from pyrunc.compile.settings import Settings

        unit.delayed = Settings(plan.settings.layout, plan.settings.root)
        unit.delayed.writes = [write for write in plan.settings.writes if write.file == "pids.max"]
        plan.settings.writes = [write for write in plan.settings.writes if write.file != "pids.max"]
    plan.late = ()
    unit.devices = device_properties(devices) if devices is not None else []


# -- properties --------------------------------------------------------------

# File (v1 and v2 have no name in common but pids.max, which means the same): property, the version
# of systemd that has it.
_NUMBERS: dict[str, tuple[str, int]] = {
    "memory.max": ("MemoryMax", _ANY_VERSION),
    "memory.high": ("MemoryHigh", _ANY_VERSION),
    "memory.low": ("MemoryLow", _ANY_VERSION),
    "memory.min": ("MemoryMin", 240),
    "memory.swap.max": ("MemorySwapMax", 232),
    "memory.zswap.max": ("MemoryZSwapMax", 253),
    "memory.limit_in_bytes": ("MemoryLimit", _ANY_VERSION),
    "pids.max": ("TasksMax", _ANY_VERSION),
    "cpu.weight": ("CPUWeight", 232),
    "cpu.shares": ("CPUShares", _ANY_VERSION),
    "io.weight": ("IOWeight", _ANY_VERSION),
    "io.bfq.weight": ("IOWeight", _ANY_VERSION),
    "blkio.weight": ("BlockIOWeight", _ANY_VERSION),
    "blkio.bfq.weight": ("BlockIOWeight", _ANY_VERSION),
}
_SETS: dict[str, tuple[str, int]] = {
    "cpuset.cpus": ("AllowedCPUs", 244),
    "cpuset.mems": ("AllowedMemoryNodes", 244),
}
# What the kernel has where no period is given, in microseconds.
_PERIOD = "100000"
_SUFFIXES = {"K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}


def properties(writes: "Iterable[Write]", version: int) -> "list[Property]":
    """The properties that say what these writes of cgroup files say, for a version of systemd.

    Files that no property stands for are left out: their values are in the files alone, where
    systemd does not touch them.
    """
    found: dict[str, tuple[str, Any]] = {}
    quota, period = "", ""
    for write in writes:
        name, text = write.file, write.value.strip()
        if name in _NUMBERS:
            property, since = _NUMBERS[name]
            value = _number(name, text)
            if value is not None and version >= since:
                found[property] = ("t", value)
        elif name in _SETS:
            property, since = _SETS[name]
            if version >= since:
                found[property] = ("ay", bits(text))
        elif name == "cpu.max":
            quota, _, period = text.partition(" ")
            period = period or _PERIOD
        elif name == "cpu.cfs_quota_us":
            quota = text
        elif name == "cpu.cfs_period_us":
            period = text
        elif name == "cpu.idle" and text == "1" and version >= 252:
            found["CPUWeight"] = ("t", 0)
        elif name == "memory.oom.group" and text in ("0", "1") and version >= 253:
            found["OOMPolicy"] = ("s", "kill" if text == "1" else "continue")
    if quota or period:
        _quota(found, quota, period, version)
    return list(found.items())


def _number(name: str, text: str) -> int | None:
    """The number in a file's value; None for a value that concerns one device."""
    if text in ("max", "-1"):
        return UNLIMITED
    if name.startswith(("io.", "blkio.")):
        text = text.removeprefix("default").strip()
        if not text.isdigit():
            return None
        return _io_weight(int(text)) if name == "io.bfq.weight" else int(text)
    shift = _SUFFIXES.get(text[-1:].upper(), 0)
    digits = text[:-1] if shift else text
    # What the kernel would refuse is left to it: its answer names the value.
    return int(digits) << shift if digits.isdigit() else None


def _io_weight(weight: int) -> int:
    """IOWeight= (1 to 10000) for a weight of BFQ (1 to 1000): the way back of what systemd does
    (BFQ_WEIGHT() in src/core/cgroup.c), linear above the default of 100, the same below."""
    return weight if weight <= 100 else 100 + (weight - 100) * (10000 - 100) // (1000 - 100)


def _quota(found: "dict[str, tuple[str, Any]]", quota: str, period: str, version: int) -> None:
    if period.isdigit() and version >= 242:
        found["CPUQuotaPeriodUSec"] = ("t", int(period))
    per_second = UNLIMITED
    if quota.isdigit() and int(quota):
        per_second = int(quota) * 1000000 // int(period if period.isdigit() else _PERIOD)
        # systemd keeps hundredths of a CPU: rounded up, so that the file can have the exact value.
        per_second = -(-per_second // 10000) * 10000
    found["CPUQuotaPerSecUSec"] = ("t", per_second)


def bits(text: str) -> bytes:
    """A list of numbers and ranges ("0-3,8") as a bit mask, the lowest byte first."""
    mask = 0
    try:
        for part in text.split(","):
            if part.strip():
                first, dash, last = part.partition("-")
                low, high = int(first), int(last if dash else first)
                if not 0 <= low <= high <= 8191:
                    raise ValueError
                mask |= ((1 << (high - low + 1)) - 1) << low
    except ValueError:
        raise Error(f'"{text}" is not a list of numbers and ranges such as "0-3,8"') from None
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def device_properties(state: "Devices") -> "list[Property]":
    """DevicePolicy and DeviceAllow for what the device rules come to.

    systemd can only allow: where all but some devices are allowed, or a minor number of every
    driver, it is told to keep out, and the cgroup's own device filter stands alone.
    """
    if not state.allow and not any(major < 0 <= minor for _, major, minor in state.rules):
        allowed = []
        for (kind, major, minor), access in sorted(state.rules.items()):
            group = "char" if kind == "c" else "block"
            number = "*" if major < 0 else str(major)
            node = f"{group}-{number}" if minor < 0 else f"/dev/{group}/{major}:{minor}"
            letters = "".join(letter for bit, letter in ((2, "r"), (4, "w"), (1, "m")) if access & bit)
            allowed.append((node, letters))
        # An empty list first takes away what a slice's drop-in could have added.
        return [
            ("DevicePolicy", ("s", "strict")),
            ("DeviceAllow", ("a(ss)", [])),
            ("DeviceAllow", ("a(ss)", allowed)),
        ]
    return [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]


def scope_properties(plan: "Plan", unit: Unit, pid: int, version: int) -> "list[Property]":
    """All properties for the start of a container's scope, which pid is put into."""
    pure_v2 = "" in plan.directories and len(plan.directories) == 1
    own: list[Property] = [
        ("Description", ("s", unit.description)),
        ("Slice", ("s", unit.slice)),
        ("Delegate", ("b", True)),
        ("PIDs", ("au", [pid])),
        ("DefaultDependencies", ("b", False)),
        # Accounting makes systemd enable the controller for the scope.
        ("MemoryAccounting", ("b", True)),
        ("CPUAccounting", ("b", True)),
        ("TasksAccounting", ("b", True)),
        ("IOAccounting" if pure_v2 else "BlockIOAccounting", ("b", True)),
    ]
    if version >= 236:
        # A scope that has failed, by the OOM killer for example, would keep its name otherwise.
        unit.collected = True
        own.append(("CollectMode", ("s", "inactive-or-failed")))
    own += unit.devices
    own += properties(plan.settings.writes, version)
    custom = [property for property, _ in unit.custom]
    named = {name for name, _ in custom}
    if "CollectMode" in named:
        unit.collected = False
    return [property for property in own if property[0] not in named] + custom
