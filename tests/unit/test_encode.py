"""The bytes that init maps are the program: decoded here by the layout that init.c describes."""

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pyrunc.program.build import Builder, vector
from pyrunc.program.calls import CALLS, CODES, CONTROLS, FIRST_CALL, header
from pyrunc.program.encode import MAGIC, encode
from pyrunc.program.model import Data, Program, Scratch, Slot

NAMES = {code: name for name, code in CODES.items()}
HEADER = struct.Struct("=8s6I32i")
STEP = struct.Struct("=HHhxx8s6q")


class Decoded:
    """A program read back: steps as (name, kinds, out, tolerated, values), and its data."""

    def __init__(self, raw: bytes) -> None:
        magic, count, steps_at, relocations, relocations_at, data_at, size, *self.inherited = (
            HEADER.unpack_from(raw)
        )
        assert magic == MAGIC
        assert steps_at % 8 == data_at % 8 == relocations_at % 4 == 0
        assert data_at + size == len(raw)
        self.data = raw[data_at:]
        self.steps = [self._step(STEP.unpack_from(raw, steps_at + i * STEP.size)) for i in range(count)]
        self.relocations = dict(
            struct.unpack_from("=2I", raw, relocations_at + 8 * i) for i in range(relocations)
        )

    def _step(self, fields: Any) -> tuple[str, list[int], int, set[int], list[int]]:
        code, kinds, out, tolerated, *values = fields
        return NAMES[code], [kinds >> 2 * i & 3 for i in range(6)], out, set(tolerated) - {0}, list(values)

    def string(self, at: int) -> bytes:
        return self.data[at : self.data.index(b"\0", at)]


def test_every_argument_arrives_as_what_it_is() -> None:
    b = Builder()
    report = b.inherit("report")
    b.step("write", report, "text", 4, tolerate=(2, 17), out=Slot(9, "x"))
    b.step("getcwd", Scratch(16), 4080)
    b.step("setresuid", -1, 2**40, 0)
    decoded = Decoded(encode(b.program, {"report": 7}))
    assert decoded.inherited[:2] == [7, -1]
    name, kinds, out, tolerated, values = decoded.steps[0]
    assert (name, kinds[:3], out, tolerated) == ("write", [2, 1, 0], 9, {2, 17})
    assert (values[0], decoded.string(values[1]), values[2]) == (0, b"text", 4)
    assert decoded.steps[1][1][0] == 3
    assert decoded.steps[1][4][:2] == [16, 4080]
    assert decoded.steps[1][2] == -1
    assert decoded.steps[2][4][:3] == [-1, 2**40, 0]


def test_strings_are_stored_once() -> None:
    b = Builder()
    for _ in range(3):
        b.step("chdir", "/some/path")
    decoded = Decoded(encode(b.program, {}))
    assert decoded.data.count(b"/some/path\0") == 1
    assert len({step[4][0] for step in decoded.steps}) == 1


def test_structures_are_aligned_and_shared() -> None:
    b = Builder()
    data = Data("capabilities", b"12345678", (1,))
    b.step("chdir", "x")
    b.step("capset", data, data)
    decoded = Decoded(encode(b.program, {}))
    first, second = decoded.steps[1][4][:2]
    assert first == second
    assert first % 8 == 0
    assert decoded.data[first : first + 8] == b"12345678"


def test_vectors_point_to_their_strings_and_end_with_null() -> None:
    b = Builder()
    b.step("execve", "/bin/sh", vector([b"sh", b"-c", b"exit 1"], "argv"), vector([], "envp"))
    decoded = Decoded(encode(b.program, {}))
    path, argv, envp = decoded.steps[0][4][:3]
    assert decoded.string(path) == b"/bin/sh"
    assert [decoded.string(decoded.relocations[argv + 8 * i]) for i in range(3)] == [b"sh", b"-c", b"exit 1"]
    assert argv + 24 not in decoded.relocations
    assert decoded.data[argv + 24 : argv + 32] == bytes(8)
    assert decoded.data[envp : envp + 8] == bytes(8)
    assert not any(place % 8 for place in decoded.relocations)


def test_structures_can_point_to_structures() -> None:
    inner = Data("sock_filter", b"abcdefgh", (1,))
    outer = Data("sock_fprog", bytes(16), (1,), ((8, inner),))
    b = Builder()
    b.step("seccomp", 1, 0, outer)
    decoded = Decoded(encode(b.program, {}))
    at = decoded.relocations[decoded.steps[0][4][2] + 8]
    assert decoded.data[at : at + 8] == b"abcdefgh"


def test_paths_that_are_not_utf_8_keep_their_bytes() -> None:
    b = Builder()
    b.step("chdir", b"\xff/x".decode("utf-8", "surrogateescape"))
    decoded = Decoded(encode(b.program, {}))
    assert decoded.string(decoded.steps[0][4][0]) == b"\xff/x"


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
ARGUMENT = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    TEXT,
    st.builds(Slot, st.integers(0, 127), st.just("slot")),
    st.builds(Scratch, st.integers(0, 4088)),
    st.builds(Data, st.just("data"), st.binary(min_size=1, max_size=40)),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(CODES)),
            st.lists(ARGUMENT, max_size=6),
            st.lists(st.integers(1, 255), max_size=8),
        ),
        max_size=20,
    )
)
def test_any_program_can_be_read_back(steps: list[tuple[str, list[Any], list[int]]]) -> None:
    b = Builder()
    for call, args, tolerated in steps:
        b.step(call, *args, tolerate=tuple(tolerated))
    decoded = Decoded(encode(b.program, {}))
    assert [step[0] for step in decoded.steps] == [call for call, _, _ in steps]
    for (_, args, tolerated), (_, kinds, out, errnos, values) in zip(steps, decoded.steps, strict=True):
        assert (out, errnos) == (-1, set(tolerated))
        for arg, kind, value in zip(args, kinds, values, strict=False):
            if isinstance(arg, str):
                assert (kind, decoded.string(value)) == (1, arg.encode())
            elif isinstance(arg, Data):
                assert (kind, value % 8) == (1, 0)
                assert decoded.data[value : value + len(arg.payload)] == arg.payload
            elif isinstance(arg, Slot):
                assert (kind, value) == (2, arg.index)
            elif isinstance(arg, Scratch):
                assert (kind, value) == (3, arg.offset)
            else:
                assert (kind, value) == (0, arg)


def test_an_empty_program_is_a_program() -> None:
    assert Decoded(encode(Program(), {})).steps == []


def test_the_header_gives_every_call_its_code() -> None:
    text = header()
    for name in CONTROLS:
        assert f"#define OP_{name.upper()} {CODES[name]}\n" in text
    assert [line.strip(" ,")[5:] for line in text.splitlines() if line.startswith("  __NR_")] == list(CALLS)
    assert f"#define FIRST_CALL {FIRST_CALL}\n" in text
    assert CODES[next(iter(CALLS))] == FIRST_CALL
