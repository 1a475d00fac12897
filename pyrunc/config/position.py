"""Where in a JSON text each value stands, for messages that name a line and a column.

It reads texts that `pyrunc.json.decode` has accepted, and is not for the hot path.
"""

import json
import re

_TOKEN = re.compile(r'[ \t\n\r]*("(?:[^"\\]|\\.)*"|[-+.\w]+|[{}\[\],:])')


class Places:
    """Offsets into a JSON text by JSON pointer, and keys that an object has twice."""

    __slots__ = ("keys", "text", "twice", "values")

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[str, int] = {}  # pointer: offset of the value
        self.keys: dict[str, int] = {}  # pointer: offset of the key in front of it
        self.twice: list[str] = []  # pointers, in the order of the text
        self._scan()

    def of_value(self, pointer: str) -> tuple[int, int]:
        """Line and column, from 1, of the value at pointer, or of the nearest value around it."""
        return self._line(self._nearest(self.values, pointer))

    def of_key(self, pointer: str) -> tuple[int, int]:
        """The same of the key of a member; of the value where there is no key."""
        return self._line(self.keys[pointer]) if pointer in self.keys else self.of_value(pointer)

    def _nearest(self, offsets: dict[str, int], pointer: str) -> int:
        while pointer and pointer not in offsets:
            pointer = pointer.rpartition("/")[0]
        return offsets.get(pointer, 0)

    def _line(self, offset: int) -> tuple[int, int]:
        return self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)

    def _scan(self) -> None:
        stack: list[tuple[str, str, int]] = []  # kind ("{" or "["), pointer, index of the item
        pointer, key_expected, offset = "", False, 0
        while match := _TOKEN.match(self.text, offset):
            token, start, offset = match[1], match.start(1), match.end(1)
            if key_expected and token[0] == '"':
                pointer = f"{stack[-1][1]}/{escape(json.loads(token))}"
                if pointer in self.keys:
                    self.twice.append(pointer)
                self.keys[pointer] = start
                key_expected = False
            elif token in ("{", "["):
                self.values[pointer] = start
                stack.append((token, pointer, 0))
                key_expected = token == "{"
                if token == "[":
                    pointer += "/0"
            elif token in ("}", "]"):
                stack.pop()
                key_expected = False
            elif token == ",":
                kind, outer, index = stack[-1]
                key_expected = kind == "{"
                stack[-1] = (kind, outer, index + 1)
                if kind == "[":
                    pointer = f"{outer}/{index + 1}"
            elif token != ":":
                self.values[pointer] = start


def escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def join(parts: "list[str | int]") -> str:
    """The JSON pointer of a path of keys and indices."""
    return "".join("/" + escape(str(part)) for part in parts)
