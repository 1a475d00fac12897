"""Engines with pyrunc and with runc side by side, and the summary's table of their rates.

Both run at once and take turns, so that what else the machine does weighs on both.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from engine import Engine, Runtime

E = TypeVar("E", bound=Engine)


def side_by_side(
    engine: type[E], tested: Runtime, archives: list[Path]
) -> Iterator[dict[str, E]]:
    """An engine with each runtime, by the runtime's name; runc where it is installed."""
    reason = engine.unavailable()
    if reason:
        pytest.skip(reason)
    path = shutil.which("runc")
    runtimes = [tested, *([Runtime("runc", path)] if path else [])]
    started: dict[str, E] = {}
    try:
        for runtime in runtimes:
            started[runtime.name] = engine(runtime, archives)
        yield started
    finally:
        for each in started.values():
            each.clean()
            each.close()


class Rates:
    """How many of something were done in how many seconds, for the summary."""

    def __init__(self, record_property: Callable[[str, object], None]) -> None:
        self.record = record_property

    @contextmanager
    def measure(self, what: str, runtime: str, number: int) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.record("rate", [what, runtime, number, time.monotonic() - begin])


@pytest.fixture
def rates(record_property: Callable[[str, object], None]) -> Rates:
    return Rates(record_property)


def table(rates: dict[str, dict[str, tuple[int, float]]]) -> list[list[str]]:
    """A row for each thing measured: what, how many in how long, each runtime's rate, and their ratio."""
    rows = [["", "pyrunc", "runc", "pyrunc / runc"]]
    for what, of_runtime in rates.items():
        row, by_name = [what], {}
        for name in rows[0][1:3]:
            if name not in of_runtime:
                row.append("not run")
                continue
            number, seconds = of_runtime[name]
            by_name[name] = number / seconds
            row.append(f"{by_name[name]:.1f}/s ({number} in {seconds:.1f} s)")
        row.append(f"{by_name['pyrunc'] / by_name['runc']:.2f}" if len(by_name) == 2 else "")
        rows.append(row)
    return rows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rates: dict[str, dict[str, tuple[int, float]]] = {}
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "rate" and report.when == "call":
                what, runtime, number, seconds = value
                before = rates.setdefault(what, {}).get(runtime, (0, 0.0))
                rates[what][runtime] = (before[0] + number, before[1] + seconds)
    if not rates:
        return
    terminalreporter.section("under load")
    rows = table(rates)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        terminalreporter.line("  ".join([row[0].ljust(widths[0]), *cells]))
