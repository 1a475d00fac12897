"""The verbs about what a container uses and may use: events, update."""

from pyrunc.cli import runtime, text
from pyrunc.cli.output import write
from pyrunc.errors import Error
from pyrunc.json import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.cli.parser import Invocation

# Units of Go's time.ParseDuration, which runc reads intervals with.
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip


# The flags of update: section and property of the resources that each one sets, and what it takes.
#   count   a whole number, 0 or more      size   bytes, with a unit such as m; -1 for no limit
#   number  a whole number                 list   such as 0-3,7
_LIMITS = {
    "blkio-weight": ("blockIO", "weight", "count"),
    "cpu-period": ("cpu", "period", "count"),
    "cpu-quota": ("cpu", "quota", "number"),
    "cpu-burst": ("cpu", "burst", "count"),
    "cpu-share": ("cpu", "shares", "count"),
    "cpu-rt-period": ("cpu", "realtimePeriod", "count"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", "number"),
    "cpu-idle": ("cpu", "idle", "number"),
    "cpuset-cpus": ("cpu", "cpus", "list"),
    "cpuset-mems": ("cpu", "mems", "list"),
    "memory": ("memory", "limit", "size"),
    "memory-reservation": ("memory", "reservation", "size"),
    "memory-swap": ("memory", "swap", "size"),
    "pids-limit": ("pids", "limit", "number"),
}
_OBSOLETE = ("kernel-memory", "kernel-memory-tcp")
_RDT = ("l3-cache-schema", "mem-bw-schema")


def events(given: "Invocation") -> int:
    """`events ID`"""
    from pyrunc.container import events as container

    interval = seconds(given.options["interval"])
    rt, id = runtime(given.common), given.args[0]
    if given.options["stats"]:
        _print(container.once(rt, id))
    else:
        container.follow(rt, id, interval, _print)
    return 0


def _print(document: "dict[str, Any]") -> None:
    write(encode(document) + "\n")


def seconds(text: str) -> float:
    """A duration as Go writes it, such as "5s", "1m30s" or "1.5h". Raises Error."""
    total, rest = 0.0, text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        length = len(rest) - len(rest.lstrip("nuµμmsh"))
        unit, rest = rest[:length], rest[length:]
        factor = _SECONDS.get(unit)
        try:
            total += float(number) * factor  # type: ignore[operator]
        except (TypeError, ValueError):
            break
    else:
        if total > 0:
            return total
    raise Error(f'--interval {text}: it takes a time above 0 with a unit, such as "5s", "500ms" or "1m30s"')


def update(given: "Invocation") -> int:
    """`update ID`"""
    flags = given.options
    asked = [name for name in (*_LIMITS, *_OBSOLETE) if flags[name.replace("-", "_")]]
    file = flags["resources"]
    names: dict[str, str] = {}
    if file:
        changes = _resources(file)
    else:
        changes, names = limits({name: flags[name.replace("-", "_")] for name in _LIMITS})
    from pyrunc import log

    for name in asked:
        if file or name in _OBSOLETE:
            why = "--resources says all of it" if file else "current kernels have no such limit of its own"
            log.warning(f"--{name} is ignored: {why}")
    from pyrunc.container import update as container

    try:
        container.update(
            runtime(given.common), given.args[0], changes,
            l3_cache=flags["l3_cache_schema"], memory_bandwidth=flags["mem_bw_schema"],
        )  # fmt: skip
    except Error as error:
        # What a flag has asked for has no pointer that the caller could know.
        if error.pointer in names:
            error.pointer = f"--{names[error.pointer]}"
        raise
    return 0


def _resources(path: str) -> "dict[str, Any]":
    """The object in a file, or for "-" on standard input."""
    from pyrunc.config import load

    if path != "-":
        return load.decode_resources(text(path), path)
    with open(0, "rb", closefd=False) as file:
        data = file.read()
    try:
        return load.decode_resources(data.decode(), "standard input")
    except UnicodeDecodeError as error:
        raise Error(f"standard input: not JSON: it is not UTF-8 ({error.reason})") from None


def limits(flags: dict[str, str]) -> "tuple[dict[str, Any], dict[str, str]]":
    """The resources that the flags of update ask for, as in config.json, and the flags' names by JSON
    pointer. Raises Error."""
    found: dict[str, dict[str, Any]] = {}
    names = {}
    for name, value in flags.items():
        if not value:
            continue
        section, key, kind = _LIMITS[name]
        names[f"/{section}/{key}"] = name
        found.setdefault(section, {})[key] = _READ[kind](name, value)
    return found, names


def _count(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or int(value) >= 2**64:
        raise Error(f"--{name} {value}: it takes a whole number from 0 to {2**64 - 1}")
    return int(value)


def _number(name: str, value: str) -> int:
    digits = value.removeprefix("-").removeprefix("+") if value[:2] != "-+" else ""
    if not (digits.isascii() and digits.isdigit()) or not -(2**63) <= int(value) < 2**63:
        raise Error(f"--{name} {value}: it takes a whole number")
    return int(value)


def size(name: str, value: str) -> int:
    """Bytes: a number, with a fraction if need be, and b, k, m, g, t or p, as in 64m, 1.5GiB or "1 gb"."""
    if value == "-1":
        return -1
    digits = len(value) - len(value.lstrip("0123456789."))
    number, unit = value[:digits], value[digits:].removeprefix(" ").lower()
    letter = unit.removesuffix("b").removesuffix("i") if unit != "b" else ""
    try:
        if letter in ("", "k", "m", "g", "t", "p") and unit != "i":
            found = int(float(number) * 1024 ** " kmgtp".index(letter or " "))
            if found < 2**63:
                return found
    except ValueError:
        pass
    raise Error(
        f'--{name} {value}: it takes bytes, with b, k, m, g, t or p if need be, such as 64m, or -1 for none'
    )


def _list(name: str, value: str) -> str:
    if value.strip("0123456789, -"):
        raise Error(f'--{name} {value}: it takes numbers and ranges of them, such as "0-3,7"')
    return value


_READ: "dict[str, Callable[[str, str], Any]]" = {
    "count": _count, "number": _number, "size": size, "list": _list,
}  # fmt: skip

VERBS: "dict[str, Callable[[Invocation], int]]" = {"events": events, "update": update}
