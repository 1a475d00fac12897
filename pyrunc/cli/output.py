"""What a verb prints, written to stdout at once and without a buffer to flush."""

import posix

from pyrunc.errors import Error


def write(text: str) -> None:
    """Writes text to stdout. Raises Error; ends the verb quietly when nobody reads any more."""
    rest = text.encode("utf-8", "surrogateescape")
    try:
        while rest:
            rest = rest[posix.write(1, rest) :]
    except BrokenPipeError:
        # What a shell reports for a program that SIGPIPE (13) ended, which Python ignores.
        raise SystemExit(128 + 13) from None
    except OSError as error:
        raise Error(f"stdout cannot be written: {error.strerror}") from None


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows of cells in columns, each at least 12 wide and 3 apart, as runc lays them out."""
    widths = [max(12, 3 + max(len(row[column]) for row in rows)) for column in range(len(rows[0]) - 1)]
    widths.append(0)
    return "".join("".join(map(str.ljust, row, widths)) + "\n" for row in rows)
