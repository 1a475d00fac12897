"""Signals as `kill` takes them."""

import signal

import pytest

from pyrunc.errors import Error
from pyrunc.linux import signals


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9), ("0", 0), ("64", 64), ("09", 9), ("KILL", 9), ("SIGKILL", 9), ("kill", 9), ("SigTerm", 15),
        ("CLD", 17), ("IOT", 6), ("POLL", 29), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmax-1", 63),
        ("RTMAX", 64), ("RTMIN+30", 64), ("RTMAX-30", 34),
    ],
)  # fmt: skip
def test_a_signal_is_a_number_or_a_name(text: str, number: int) -> None:
    assert signals.parse(text) == number


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("KIL", "did you mean SIGKILL?"), ("sigtrem", "did you mean SIGTERM?"), ("65", "they go up to 64"),
        ("-9", "there is no signal '-9'"), ("", "there is no signal ''"), ("RTMIN+31", "RTMIN to RTMIN+30"),
        ("RTMIN-1", "RTMIN to"), ("RTMAX-", "RTMIN to"), ("²", "there is no signal"), ("xyzzy", "kill -l"),
    ],
)  # fmt: skip
def test_an_unknown_signal_is_refused_with_the_likely_one(text: str, words: str) -> None:
    with pytest.raises(Error) as caught:
        signals.parse(text)
    assert words in str(caught.value)


def test_the_table_is_the_kernels() -> None:
    for name, number in signals.NAMES.items():
        if hasattr(signal, name):
            assert getattr(signal, name) == number
    known = {one.name for one in signal.Signals if one.name not in ("SIGRTMIN", "SIGRTMAX")}
    assert known <= set(signals.NAMES)
    assert (signals.RTMIN, signals.RTMAX) == (signal.SIGRTMIN, signal.SIGRTMAX)
