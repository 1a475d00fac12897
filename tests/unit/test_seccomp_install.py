"""The step that installs a seccomp filter."""

from struct import unpack, unpack_from

import pytest

from pyrunc.compile.seccomp import install
from pyrunc.errors import Error
from pyrunc.linux.seccomp import FLAGS
from pyrunc.program.build import Builder
from pyrunc.program.encode import encode
from pyrunc.program.model import Data, Step

FILTER = bytes(range(8)) * 300


def installed(flags: list[str] | None) -> Step:
    b = Builder()
    b.phase = "start"
    install(b, FILTER, flags)
    (step,) = b.program.steps
    return step


def test_the_filter_is_one_system_call_asked_for_by_its_key() -> None:
    step = installed([])
    assert (step.call, step.origin, step.phase, step.tolerate) == ("seccomp", "/linux/seccomp", "start", ())
    assert step.args[:2] == (1, 0)
    program = step.args[2]
    assert isinstance(program, Data)
    assert unpack("=H6xQ", program.payload) == (300, 0)


def test_init_finds_the_filter_where_the_structure_points() -> None:
    b = Builder()
    install(b, FILTER, [])
    raw = encode(b.program, {})
    _, _, relocations, relocations_at, data_at, _ = unpack_from("=6I", raw, 8)
    assert relocations == 1
    place, target = unpack_from("=2I", raw, relocations_at)
    assert target % 8 == 0
    assert raw[data_at + target :][: len(FILTER)] == FILTER
    assert unpack_from("=H", raw, data_at + place - 8) == (300,)


@pytest.mark.shows("/linux/seccomp/flags")
@pytest.mark.parametrize(
    ("flags", "bits"),
    [
        (None, 4),
        ([], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], 5),
        (list(FLAGS), 7),
    ],
)
def test_an_absent_list_of_flags_is_not_an_empty_one(flags: list[str] | None, bits: int) -> None:
    assert installed(flags).args[1] == bits


@pytest.mark.parametrize("flag", ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_NEW"])
def test_a_flag_that_cannot_be_used_is_refused_where_it_stands(flag: str) -> None:
    with pytest.raises(Error, match=flag) as caught:
        installed(["SECCOMP_FILTER_FLAG_LOG", flag])
    assert caught.value.pointer == "/linux/seccomp/flags/1"
