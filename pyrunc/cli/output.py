"""What a verb prints, written to stdout at once and without a buffer to flush."""

import posix


def write(text: str) -> None:
    """Writes text to stdout. Raises OSError; ends the verb quietly when nobody reads any more."""
    rest = text.encode("utf-8", "surrogateescape")
    try:
        while rest:
            rest = rest[posix.write(1, rest) :]
    except BrokenPipeError:
        # What a shell reports for a program that SIGPIPE (13) ended, which Python ignores.
        raise SystemExit(128 + 13) from None


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows of cells in columns, each at least 12 wide and 3 apart, as runc lays them out."""
    widths = [max(12, 3 + max(len(row[column]) for row in rows)) for column in range(len(rows[0]) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1] + "\n" for row in rows
    )
