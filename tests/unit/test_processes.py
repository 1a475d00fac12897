"""pyrunc.host.processes: what is told of processes that go while they are looked at."""

import posix

import pytest

from pyrunc.host import processes, stuck


@pytest.mark.parametrize("gone", [FileNotFoundError, ProcessLookupError])
def test_a_process_that_goes_while_it_is_looked_up_is_gone(
    monkeypatch: pytest.MonkeyPatch, gone: type[OSError]
) -> None:
    def vanished(path: str, flags: int) -> int:
        raise gone

    monkeypatch.setattr(posix, "open", vanished)
    assert processes.start_time(1) == 0
    assert stuck.why(1) == "it has ended just now"
