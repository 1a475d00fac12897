"""The verbs about what a container uses: events."""

from pyrunc.cli import runtime
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


VERBS: "dict[str, Callable[[Invocation], int]]" = {"events": events}
