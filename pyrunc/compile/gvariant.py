"""Values of D-Bus types in the text form of GVariant, as annotations give properties of systemd.

What such properties can be is understood: booleans, numbers, strings, and arrays and tuples of
them, with the type before a value where it is not the obvious one. Pure. Source: "GVariant Text
Format" of GLib.
"""

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Type words, and the range of each.
_TYPES: dict[str, str] = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x",
    "uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
_RANGES: dict[str, tuple[int, int]] = {
    "y": (0, 2**8 - 1), "n": (-(2**15), 2**15 - 1), "q": (0, 2**16 - 1), "i": (-(2**31), 2**31 - 1),
    "u": (0, 2**32 - 1), "x": (-(2**63), 2**63 - 1), "t": (0, 2**64 - 1),
}  # fmt: skip
NUMBERS = frozenset((*_RANGES, "d"))
_STRINGS = frozenset("sog")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
# Limits of D-Bus: how deep containers go, and the length of a signature.
_DEPTH = 32
_SIGNATURE = 255
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._")


def parse(text: str, pointer: str) -> "tuple[str, Any]":
    """The D-Bus signature and the value. Raises Error with the pointer for what is no value."""
    parser = _Parser(text)
    try:
        result = parser.value("")
        parser.space()
        if parser.at != len(text):
            raise ValueError(f"{text[parser.at :]!r} comes after the value")
    except ValueError as error:
        raise Error(
            f"{text!r} is not a value in the text form of GVariant, such as true, 'text', uint64 5 or "
            f"['a', 'b']: {error}",
            pointer=pointer,
        ) from None
    return result


class _Parser:
    """Recursive descent over a text; `at` is where it is."""

    __slots__ = ("at", "depth", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def space(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1

    def next(self) -> str:
        self.space()
        return self.text[self.at : self.at + 1]

    def take(self, letter: str) -> bool:
        if self.next() != letter:
            return False
        self.at += 1
        return True

    def word(self) -> str:
        self.space()
        start = self.at
        while self.text[self.at : self.at + 1] in _WORD and self.at < len(self.text):
            self.at += 1
        return self.text[start : self.at]

    def value(self, wanted: str) -> "tuple[str, Any]":
        """A value, of the type `wanted` where that is not ""."""
        self.depth += 1
        if self.depth > 2 * _DEPTH:
            raise ValueError("it is nested too deeply")
        try:
            return self.begin(wanted)
        finally:
            self.depth -= 1

    def begin(self, wanted: str) -> "tuple[str, Any]":
        letter = self.next()
        if letter == "@":
            self.at += 1
            start = self.at
            while self.at < len(self.text) and not self.text[self.at].isspace():
                self.at += 1
            return self.value(_checked(self.text[start : self.at]))
        if letter in ("'", '"'):
            return self.expect(wanted, wanted if wanted in _STRINGS and wanted else "s", self.string())
        if letter == "[":
            return self.array(wanted)
        if letter == "(":
            return self.tuple(wanted)
        word = self.word()
        if word in ("true", "false"):
            return self.expect(wanted, "b", word == "true")
        if word in _TYPES:
            return self.value(_TYPES[word])
        if not word:
            raise ValueError(f"{self.text[self.at :]!r} begins no value" if letter else "a value is missing")
        return self.number(word, wanted)

    def expect(self, wanted: str, signature: str, value: object) -> "tuple[str, Any]":
        if wanted not in ("", signature):
            raise ValueError(f"it is of type {signature}, not {wanted}")
        return signature, value

    def number(self, word: str, wanted: str) -> "tuple[str, Any]":
        plain = word.lstrip("+-")
        based = plain[:2].lower() == "0x"
        real = not based and any(letter in plain for letter in ".eE")
        signature = wanted or ("d" if real else "i")
        if not plain[:1].isdigit() and not (real and plain[:1] == "."):
            raise ValueError(f"{word!r} is no value")
        if signature == "d":
            return "d", float(word)
        if signature not in _RANGES:
            raise ValueError(f"{word!r} is a number, not of type {signature}")
        number = int(word, 16 if based else 10)
        low, high = _RANGES[signature]
        if not low <= number <= high:
            raise ValueError(f"{number} is beyond what its type ({signature}) holds: {low} to {high}")
        return signature, number

    def string(self) -> str:
        end = self.text[self.at]
        self.at += 1
        letters: list[str] = []
        while True:
            letter = self.text[self.at : self.at + 1]
            if not letter:
                raise ValueError(f"a string has no {end} at its end")
            self.at += 1
            if letter == end:
                break
            if letter == "\\":
                letter = self.escape()
            letters.append(letter)
        text = "".join(letters)
        if "\0" in text:
            raise ValueError("a string cannot hold a NUL character")
        return text

    def escape(self) -> str:
        letter = self.text[self.at : self.at + 1]
        self.at += 1
        if letter in ("u", "U"):
            length = 4 if letter == "u" else 8
            digits = self.text[self.at : self.at + length]
            self.at += length
            return chr(int(digits, 16))
        return _ESCAPES.get(letter, letter)

    def array(self, wanted: str) -> "tuple[str, Any]":
        if wanted and wanted[0] != "a":
            raise ValueError(f"it is an array, not of type {wanted}")
        element = wanted[1:]
        values: list[Any] = []
        self.take("[")
        while not self.take("]"):
            if values and not self.take(","):
                raise ValueError("the elements of an array are separated by commas, and ] ends it")
            element, value = self.value(element)
            values.append(value)
        if not element:
            raise ValueError("an empty array needs its type before it, as in @as []")
        return "a" + element, bytes(values) if element == "y" else values

    def tuple(self, wanted: str) -> "tuple[str, Any]":
        if wanted and wanted[0] != "(":
            raise ValueError(f"it is a tuple, not of type {wanted}")
        types = _members(wanted[1:-1]) if wanted else []
        signatures: list[str] = []
        values: list[Any] = []
        self.take("(")
        while not self.take(")"):
            if values and not self.take(","):
                raise ValueError("the members of a tuple are separated by commas, and ) ends it")
            if values and self.take(")"):
                break
            signature, value = self.value(types[len(values)] if len(values) < len(types) else "")
            signatures.append(signature)
            values.append(value)
        found = f"({''.join(signatures)})"
        if not values:
            raise ValueError("a tuple has at least one member")
        return self.expect(wanted, found, tuple(values))


def _checked(signature: str) -> str:
    if len(signature) > _SIGNATURE or len(_members(signature)) != 1:
        raise ValueError(f"@{signature} names no type")
    return signature


def _members(signature: str) -> list[str]:
    """The single types that a signature consists of."""
    found = []
    while signature:
        length = _length(signature)
        found.append(signature[:length])
        signature = signature[length:]
    return found


def _length(signature: str) -> int:
    """How long the first single type of a signature is."""
    if signature[:1] == "a":
        return 1 + _length(signature[1:])
    if signature[:1] == "(":
        at = 1
        while signature[at : at + 1] != ")":
            at += _length(signature[at:])
        if at > 1:
            return at + 1
    elif signature[:1] and (signature[0] in NUMBERS or signature[0] in _STRINGS or signature[0] == "b"):
        return 1
    raise ValueError(f"{signature!r} names no type")
