"""A program as the bytes that init maps; `init/init.c` describes the same layout.

    header      magic, call-table checksum, counts and offsets, descriptors for the first slots
    steps       64 bytes each
    relocations u32 pairs (place, target): offsets into the data, made addresses by init
    data        strings and structures
"""

from struct import Struct

from pyrunc.program.calls import CODES
from pyrunc.program.model import Data, Program, Scratch, Slot

MAGIC = b"pyrunc\0\1"
MAX_SLOTS = 128
MAX_INHERITED = 32

_header = Struct(f"=8s6I{MAX_INHERITED}i")
_step = Struct("=HHhxx8s6q")
_pair = Struct("=2I")

# Kinds of arguments, two bits each.
_IMMEDIATE, _DATA, _SLOT, _SCRATCH = 0, 1, 2, 3


class _Pool:
    """The data area: strings shared, structures placed once, 8-byte aligned."""

    __slots__ = ("data", "places", "relocations")

    def __init__(self) -> None:
        self.data = bytearray()
        self.places: dict[object, int] = {}
        self.relocations: list[bytes] = []

    def string(self, text: str | bytes) -> int:
        place = self.places.get(text)
        if place is None:
            place = self.places[text] = len(self.data)
            raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
            self.data += raw
            self.data += b"\0"
        return place

    def block(self, block: Data) -> int:
        place = self.places.get(block)
        if place is None:
            self.data += bytes(-len(self.data) % 8)
            place = self.places[block] = len(self.data)
            self.data += block.payload
            for offset, target in block.pointers:
                at = self.block(target) if isinstance(target, Data) else self.string(target)
                self.relocations.append(_pair.pack(place + offset, at))
        return place


def encode(program: Program, descriptors: dict[str, int]) -> bytes:
    """The bytes for init. descriptors gives a number for each name in `program.inherited`."""
    pool = _Pool()
    steps = bytearray()
    pack = _step.pack
    for step in program.steps:
        kinds = 0
        values = [0, 0, 0, 0, 0, 0]
        for i, arg in enumerate(step.args):
            if isinstance(arg, int):
                values[i] = arg
            elif isinstance(arg, Slot):
                values[i] = arg.index
                kinds |= _SLOT << 2 * i
            elif isinstance(arg, (str, bytes)):
                values[i] = pool.string(arg)
                kinds |= _DATA << 2 * i
            elif isinstance(arg, Data):
                values[i] = pool.block(arg)
                kinds |= _DATA << 2 * i
            else:
                assert isinstance(arg, Scratch)
                values[i] = arg.offset
                kinds |= _SCRATCH << 2 * i
        out = -1 if step.out is None else step.out.index
        steps += pack(CODES[step.call], kinds, out, bytes(step.tolerate), *values)
    inherited = [-1] * MAX_INHERITED
    for name, slot in program.inherited.items():
        inherited[slot.index] = descriptors[name]
    relocations = b"".join(pool.relocations)
    steps_at = _header.size
    relocations_at = steps_at + len(steps)
    data_at = relocations_at + len(relocations)
    data_at += -data_at % 8
    head = _header.pack(
        MAGIC, len(program.steps), steps_at, len(pool.relocations), relocations_at,
        data_at, len(pool.data), *inherited,
    )
    gap = bytes(data_at - relocations_at - len(relocations))
    return b"".join((head, steps, relocations, gap, pool.data))
