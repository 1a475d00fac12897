"""A program as the bytes that init maps; `init/init.c` describes the same layout.

    header      magic, counts and offsets, descriptors for the first slots
    steps       64 bytes each
    relocations u32 pairs (place, target): offsets into the data, made addresses by init
    data        strings and structures
"""

from _struct import Struct

from pyrunc.program.calls import CODES
from pyrunc.program.model import Data, Program, Scratch, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAGIC = b"pyrunc\0\1"
MAX_SLOTS = 128
MAX_INHERITED = 32

_header = Struct(f"=8s6I{MAX_INHERITED}i")
_step = Struct("=HHhxx8s6q")
_pair = Struct("=2I")

# Kinds of arguments, two bits each; 0 is a number.
_DATA, _SLOT, _SCRATCH = 1, 2, 3
_PADDING = [(0,) * (6 - count) for count in range(7)]


class _Pool:
    """The data area: strings shared, structures placed once, 8-byte aligned."""

    __slots__ = ("data", "places", "relocations")

    def __init__(self) -> None:
        self.data = bytearray()
        self.places: dict[object, int] = {}
        self.relocations: list[bytes] = []

    def place(self, item: str | bytes | Data) -> int:
        """The offset of a string or structure, which is put there at its first use."""
        data = self.data
        place = self.places.get(item)
        if place is not None:
            return place
        if isinstance(item, Data):
            data += bytes(-len(data) % 8)
            place = self.places[item] = len(data)
            data += item.payload
            for offset, target in item.pointers:
                self.relocations.append(_pair.pack(place + offset, self.place(target)))
            return place
        place = self.places[item] = len(data)
        data += item if isinstance(item, bytes) else item.encode("utf-8", "surrogateescape")
        data += b"\0"
        return place


def encode(program: Program, descriptors: dict[str, int]) -> bytes:
    """The bytes for init. descriptors gives a number for each name in `program.inherited`."""
    pool = _Pool()
    place = pool.place
    places = pool.places
    steps: list[bytes] = []
    pack = _step.pack
    codes = CODES
    for step in program.steps:
        kinds = shift = 0
        values: list[int] = []
        args: tuple[Any, ...] = step.args
        for arg in args:
            # isinstance asks a value of another class for its __class__ too: it takes four times as long.
            cls = arg.__class__
            if cls is int:
                values.append(arg)
            elif cls is Slot:
                values.append(arg.index)
                kinds |= _SLOT << shift
            elif cls is Scratch:
                values.append(arg.offset)
                kinds |= _SCRATCH << shift
            else:
                at = places.get(arg)
                values.append(place(arg) if at is None else at)
                kinds |= _DATA << shift
            shift += 2
        out = step.out
        tolerate = step.tolerate
        steps.append(
            pack(
                codes[step.call], kinds, -1 if out is None else out.index,
                bytes(tolerate) if tolerate else b"", *values, *_PADDING[len(values)],
            )
        )
    inherited = [-1] * MAX_INHERITED
    for name, slot in program.inherited.items():
        inherited[slot.index] = descriptors[name]
    relocations = b"".join(pool.relocations)
    steps_at = _header.size
    relocations_at = steps_at + len(steps) * _step.size
    data_at = relocations_at + len(relocations)
    data_at += -data_at % 8
    head = _header.pack(
        MAGIC, len(steps), steps_at, len(pool.relocations), relocations_at,
        data_at, len(pool.data), *inherited,
    )
    gap = bytes(data_at - relocations_at - len(relocations))
    return b"".join((head, *steps, relocations, gap, pool.data))
