"""What the cgroups of a container have used, in the words of runc's `events --stats`.

It only reads. Each controller is read where it is: in a v1 hierarchy, or else in the container's v2
cgroup; a file that the kernel does not have leaves its values out. The document is the one that
containerd, Docker and cAdvisor decode (runc's types/events.go): members that are 0 are left out where
runc leaves them out. Sources: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst, accounting/psi.rst.
"""

from errno import ENODEV, ENOENT, ENOTSUP
from posix import listdir

from pyrunc.host.cgroups.files import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNLIMITED = 2**64 - 1
# Of the ticks in cpuacct.stat there are a hundred in a second on every architecture (USER_HZ).
_NANOSECONDS_PER_TICK = 10_000_000

_CPUSET_FLAGS = (
    "cpu_exclusive", "mems", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page",
    "memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip

# Groups of v1 files; the first group that has something to tell is taken. Which there are depends on
# the kernel's version and on the schedulers of the block devices.
_BLKIO_QUEUE = (
    ("sectorsRecursive", "sectors_recursive"),
    ("ioServiceTimeRecursive", "io_service_time_recursive"),
    ("ioWaitTimeRecursive", "io_wait_time_recursive"),
    ("ioMergedRecursive", "io_merged_recursive"),
    ("ioQueueRecursive", "io_queued_recursive"),
    ("ioTimeRecursive", "time_recursive"),
    ("ioServicedRecursive", "io_serviced_recursive"),
    ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
)
_BLKIO_BYTES = _BLKIO_QUEUE[-2:]
_BLKIO_OWN = (("ioServicedRecursive", "io_serviced"), ("ioServiceBytesRecursive", "io_service_bytes"))
_BLKIO_GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("blkio.bfq.", _BLKIO_QUEUE),
    ("blkio.bfq.", _BLKIO_BYTES),
    ("blkio.", _BLKIO_QUEUE),
    ("blkio.throttle.", _BLKIO_BYTES),
    ("blkio.throttle.", _BLKIO_OWN),
)
_BLKIO_ORDER = (
    "ioServiceBytesRecursive", "ioServicedRecursive", "ioQueueRecursive", "ioServiceTimeRecursive",
    "ioWaitTimeRecursive", "ioMergedRecursive", "ioTimeRecursive", "sectorsRecursive",
)  # fmt: skip
# io.stat's names: where they are told, and as which operation.
_IO_STAT = {
    "rbytes": ("ioServiceBytesRecursive", "Read"), "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"), "wios": ("ioServicedRecursive", "Write"),
}  # fmt: skip


def stats(record: "dict[str, Any]") -> "dict[str, Any]":
    """The `data` of a stats event, from a `Plan.record()`. Times are nanoseconds, sizes bytes."""
    directories: dict[str, str] = record["directories"]
    v2 = directories.get("", "")
    return {
        "cpu": _cpu(directories, v2),
        "cpuset": _cpuset(directories.get("cpuset", "")),
        "memory": _memory(directories.get("memory", ""), v2),
        "pids": _pids(directories.get("pids", ""), v2),
        "blkio": _blkio(directories.get("blkio", ""), v2),
        "hugetlb": _hugetlb(directories.get("hugetlb", ""), v2),
        "intel_rdt": {},  # it is not a matter of cgroups: see host.resctrl
        # runc counts those that it has made itself, and its command line makes none.
        "network_interfaces": None,
    }


# -- reading -------------------------------------------------------------------


def _text(directory: str, file: str) -> str:
    """A file's text, "" where the controller or the kernel does not have it."""
    if not directory:
        return ""
    try:
        return read_text(f"{directory}/{file}")
    except OSError as e:
        # ENOTSUP: threaded cgroups, and pressure where it is switched off.
        if e.errno in (ENOENT, ENODEV, ENOTSUP):
            return ""
        raise


def _number(directory: str, file: str) -> int:
    """A file's only number, 0 where there is none; "max" is the highest that there is."""
    text = _text(directory, file).strip()
    return _UNLIMITED if text == "max" else int(text or 0)


def _table(directory: str, file: str) -> dict[str, int]:
    """A file with a key and a number in each line."""
    lines = (line.split() for line in _text(directory, file).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2}


def _some(**members: "Any") -> "dict[str, Any]":
    """The members that are not 0 or empty."""
    return {name: value for name, value in members.items() if value}


def _pressure(directory: str, file: str) -> "dict[str, Any]":
    """{"psi": {"some": …, "full": …}}, or nothing where the kernel keeps no account of pressure."""
    text = _text(directory, file)
    if not text:
        return {}
    kinds: dict[str, dict[str, float]] = {
        kind: {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0} for kind in ("some", "full")
    }
    for line in text.splitlines():
        kind, *pairs = line.split()
        for pair in pairs:
            name, _, value = pair.partition("=")
            if kind in kinds and name in kinds[kind]:
                share = float(value)
                kinds[kind][name] = int(share) if share.is_integer() else share
    return {"psi": kinds}


# -- controllers ---------------------------------------------------------------


def _cpu(directories: dict[str, str], v2: str) -> "dict[str, Any]":
    table = _table(v2, "cpu.stat")
    if "cpuacct" in directories:
        usage = _cpuacct(directories["cpuacct"])
    else:
        usage = _some(total=table.get("usage_usec", 0) * 1000)
        usage["kernel"] = table.get("system_usec", 0) * 1000
        usage["user"] = table.get("user_usec", 0) * 1000
    if "cpu" in directories:
        table = _table(directories["cpu"], "cpu.stat")
        time = table.get("throttled_time", 0)
    else:
        time = table.get("throttled_usec", 0) * 1000
    throttling = _some(
        periods=table.get("nr_periods", 0), throttledPeriods=table.get("nr_throttled", 0), throttledTime=time
    )
    return {"usage": usage, "throttling": throttling, **_pressure(v2, "cpu.pressure")}


def _cpuacct(directory: str) -> "dict[str, Any]":
    by_cpu = [line.split() for line in _text(directory, "cpuacct.usage_all").splitlines()[1:]]
    usage = _some(
        total=_number(directory, "cpuacct.usage"),
        percpu=[int(value) for value in _text(directory, "cpuacct.usage_percpu").split()],
        percpu_kernel=[int(words[2]) for words in by_cpu if len(words) == 3],
        percpu_user=[int(words[1]) for words in by_cpu if len(words) == 3],
    )
    ticks = _table(directory, "cpuacct.stat")
    usage["kernel"] = ticks.get("system", 0) * _NANOSECONDS_PER_TICK
    usage["user"] = ticks.get("user", 0) * _NANOSECONDS_PER_TICK
    return usage


def _cpuset(v1: str) -> "dict[str, Any]":
    """v1 only: the flags are its own, and for v2 runc leaves CPUs and nodes out as well."""
    result: dict[str, Any] = _some(cpus=_list(_text(v1, "cpuset.cpus")))
    for name in _CPUSET_FLAGS:
        if name != "mems":
            result[name] = _number(v1, f"cpuset.{name}")
        elif nodes := _list(_text(v1, "cpuset.mems")):
            result["mems"] = nodes
    return result


def _list(text: str) -> list[int]:
    """0, 1, 2, 5 for "0-2,5"."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first:
            numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def _memory(v1: str, v2: str) -> "dict[str, Any]":
    directory = v1 or v2
    raw = _table(directory, "memory.stat")
    if v1:
        usage, swap, kernel, tcp = (
            _counter(v1, f"memory.{kind}", "usage_in_bytes", "limit_in_bytes", "max_usage_in_bytes")
            for kind in ("", "memsw.", "kmem.", "kmem.tcp.")
        )
    else:
        usage = _counter(v2, "memory.", "current", "max", "peak")
        swap = _counter(v2, "memory.swap.", "current", "max", "")
        # v1 counts memory and swap together, and that is what this member means.
        swap["usage"] = swap.get("usage", 0) + usage.get("usage", 0)
        swap["limit"] = min(_UNLIMITED, swap["limit"] + usage["limit"])
        if not swap["usage"]:
            del swap["usage"]
        kernel, tcp = {"limit": 0, "failcnt": 0}, {"limit": 0, "failcnt": 0}
    result = _some(cache=raw.get("cache" if v1 else "file", 0))
    result |= {"usage": usage, "swap": swap, "kernel": kernel, "kernelTCP": tcp}
    if raw:
        result["raw"] = dict(sorted(raw.items()))
    return result | _pressure(v2, "memory.pressure")


def _counter(directory: str, prefix: str, usage: str, limit: str, most: str) -> "dict[str, Any]":
    result: dict[str, Any] = {"limit": _number(directory, prefix + limit)}
    result |= _some(
        usage=_number(directory, prefix + usage), max=_number(directory, prefix + most) if most else 0
    )
    result["failcnt"] = _number(directory, f"{prefix}failcnt")
    return result


def _pids(v1: str, v2: str) -> "dict[str, Any]":
    directory = v1 or v2
    current = _number(directory, "pids.current")
    if not current:
        # The v2 controller may be disabled.
        current = len((_text(v2, "cgroup.procs") or _text(v2, "cgroup.threads")).splitlines())
    limit = _number(directory, "pids.max")
    return _some(current=current, limit=0 if limit == _UNLIMITED else limit)


def _blkio(v1: str, v2: str) -> "dict[str, Any]":
    found = _blkio_v1(v1) if v1 else _io(v2)
    ordered = {name: found[name] for name in _BLKIO_ORDER if found.get(name)}
    return ordered | _pressure(v2, "io.pressure")


def _blkio_v1(directory: str) -> "dict[str, list[dict[str, Any]]]":
    for prefix, files in _BLKIO_GROUPS:
        entries = {name: _blkio_entries(_text(directory, prefix + file)) for name, file in files}
        if entries[files[0][0]]:
            return entries
    return {}


def _blkio_entries(text: str) -> "list[dict[str, Any]]":
    """Lines like "8:0 Read 4096" or "8:0 4096"; the sum over all devices, "Total 4096", is left out."""
    entries = []
    for line in text.splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        if colon and words:
            op = words[0] if len(words) > 1 else ""
            entries.append(_some(major=int(major), minor=int(minor), op=op, value=int(words[-1])))
    return entries


def _io(directory: str) -> "dict[str, list[dict[str, Any]]]":
    found: dict[str, list[dict[str, Any]]] = {}
    for line in _text(directory, "io.stat").splitlines():
        device, *pairs = line.split()
        major, colon, minor = device.partition(":")
        for pair in pairs if colon else ():
            name, _, value = pair.partition("=")
            if name in _IO_STAT:
                member, op = _IO_STAT[name]
                entry = _some(major=int(major), minor=int(minor), op=op, value=int(value))
                found.setdefault(member, []).append(entry)
    return found


def _hugetlb(v1: str, v2: str) -> "dict[str, Any]":
    """By page size, such as "2MB". What is reserved counts, where the kernel tells it (Linux 5.7)."""
    directory = v1 or v2
    end = ".limit_in_bytes" if v1 else ".max"
    result: dict[str, Any] = {}
    for size in sorted(_page_sizes(directory, end)):
        names = listdir(directory)
        prefix = f"hugetlb.{size}.rsvd" if f"hugetlb.{size}.rsvd{end}" in names else f"hugetlb.{size}"
        if v1:
            entry = _some(
                usage=_number(v1, f"{prefix}.usage_in_bytes"), max=_number(v1, f"{prefix}.max_usage_in_bytes")
            )
            entry["failcnt"] = _number(v1, f"{prefix}.failcnt")
        else:
            entry = _some(usage=_number(v2, f"{prefix}.current"))
            entry["failcnt"] = _table(v2, f"hugetlb.{size}.events").get("max", 0)
        result[size] = entry
    return result


def _page_sizes(directory: str, end: str) -> list[str]:
    if not directory:
        return []
    try:
        names = listdir(directory)
    except FileNotFoundError:
        return []
    sizes = [name[8 : -len(end)] for name in names if name.startswith("hugetlb.") and name.endswith(end)]
    return [size for size in sizes if "." not in size]
