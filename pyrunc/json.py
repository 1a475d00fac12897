"""JSON for the verbs that have no time to import the package `json`.

The interpreter's C accelerator does the work; `json` itself is imported only where the accelerator
lacks a part, and by the accelerator to word an error. Objects keep the order of the text, and of two
equal keys the last one counts, as for runc (RFC 8259 leaves both open).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SPACE = " \t\n\r"


class DecodeError(ValueError):
    """A text that is not JSON. `line` and `column` count from 1, `position` in characters from 0."""

    def __init__(self, reason: str, text: str, position: int) -> None:
        self.reason = reason
        self.position = position
        self.line = text.count("\n", 0, position) + 1
        self.column = position - text.rfind("\n", 0, position)
        super().__init__(f"line {self.line}, column {self.column}: {reason}")


class _Scanner:
    """What the accelerator's scanner reads its settings from."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: "dict[str, str]" = {}

    @staticmethod
    def parse_constant(name: str) -> "Any":
        raise ValueError(f"the number {name} is not among those of JSON")


_once: "Callable[[str, int], tuple[Any, int]] | None" = None


def _scanner() -> "Callable[[str, int], tuple[Any, int]]":
    global _once
    if _once is None:
        try:
            from _json import make_scanner
        except ImportError:
            from json import JSONDecoder

            decoder = JSONDecoder(parse_constant=_Scanner.parse_constant)
            _once = decoder.scan_once  # type: ignore[attr-defined]
        else:
            _once = make_scanner(_Scanner())  # type: ignore[arg-type]
    return _once


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def decode(text: str) -> "Any":
    """The value of a JSON text (RFC 8259). Raises DecodeError."""
    start = _skip(text, 0)
    try:
        try:
            value, end = _scanner()(text, start)
        except SystemError:
            # The accelerator finds the class of its error only if json.decoder is already imported.
            import json.decoder  # noqa: F401

            value, end = _scanner()(text, start)
    except StopIteration as stop:
        raise DecodeError("a value is expected here", text, min(int(stop.value), len(text))) from None
    except RecursionError:
        raise DecodeError("too deeply nested", text, start) from None
    except ValueError as error:
        # json.JSONDecodeError has a place; NaN, Infinity and endless integers come without one.
        reason = str(getattr(error, "msg", error)).removesuffix(" at")
        if "digits" in reason:
            reason = "a number with too many digits"
        raise DecodeError(reason[0].lower() + reason[1:], text, getattr(error, "pos", start)) from None
    end = _skip(text, end)
    if end != len(text):
        raise DecodeError("more text after the end of the document", text, end)
    if "\\ud" in text or "\\uD" in text:
        try:
            _encodable(value)
        except UnicodeEncodeError:
            reason = "a surrogate (\\ud800 to \\udfff) without its other half"
            raise DecodeError(reason, text, max(text.find("\\ud"), text.find("\\uD"))) from None
    return value


def _encodable(value: "Any") -> None:
    """Raises UnicodeEncodeError for a lone surrogate, which no system call can be given."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _encodable(item)
    elif isinstance(value, list):
        for item in value:
            _encodable(item)


def encode(value: "Any", indent: int | None = None) -> str:
    """The JSON text of plain data, in ASCII.

    Without indent it is on one line and without spaces; with it, each member on a line of its own and
    empty arrays and objects closed at once, which is how runc prints.
    """
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        from json import dumps

        return dumps(value, indent=indent, separators=(",", ": " if indent else ":"))
    if indent is None:
        encoder = make_encoder({}, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)
        return "".join(encoder(value, 0))
    return _indented(value, "\n", " " * indent, encode_basestring_ascii)


def _refuse(value: object) -> "Any":
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _indented(value: "Any", line: str, step: str, quote: "Callable[[str], str]") -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, dict):
        if not value:
            return "{}"
        inner = line + step
        members = [f"{quote(key)}: {_indented(item, inner, step, quote)}" for key, item in value.items()]
        return "{" + inner + ("," + inner).join(members) + line + "}"
    if isinstance(value, list | tuple):
        if not value:
            return "[]"
        inner = line + step
        items = [_indented(item, inner, step, quote) for item in value]
        return "[" + inner + ("," + inner).join(items) + line + "]"
    return encode(value)
