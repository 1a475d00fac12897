"""How much is done in how much time, and the summary's table of it: pyrunc's rate beside runc's."""

from collections.abc import Callable

import pytest
from engine import Runtime

Rate = Callable[[str, int, float], None]


@pytest.fixture
def rate(runtime: Runtime, record_property: Callable[[str, object], None]) -> Rate:
    """Notes that a number of something, as `what` says, was done in some seconds."""

    def note(what: str, number: int, seconds: float) -> None:
        record_property("rate", [what, runtime.name, number, seconds])

    return note


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
                rates.setdefault(what, {})[runtime] = (number, seconds)
    if not rates:
        return
    terminalreporter.section("under load")
    rows = table(rates)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        terminalreporter.line("  ".join([row[0].ljust(widths[0]), *cells]))
