"""The step that installs a seccomp filter."""

from struct import unpack, unpack_from
from typing import Any

import pytest

from pyrunc.compile.seccomp import agent, install
from pyrunc.errors import Error
from pyrunc.linux.seccomp import FLAGS
from pyrunc.program.build import Builder
from pyrunc.program.encode import encode
from pyrunc.program.model import Data, Step

FILTER = bytes(range(8)) * 300


NOTIFY = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
AGENT = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": NOTIFY, "listenerPath": "/run/agent.sock"}


def profile(flags: list[str] | None) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", **({} if flags is None else {"flags": flags})}


def installed(flags: list[str] | None, **more: Any) -> Step:
    b = Builder()
    b.phase = "start"
    install(b, FILTER, {**profile(flags), **more})
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
    install(b, FILTER, profile([]))
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
    ],
)
def test_an_absent_list_of_flags_is_not_an_empty_one(flags: list[str] | None, bits: int) -> None:
    assert installed(flags).args[1] == bits


@pytest.mark.parametrize("flag", ["SECCOMP_FILTER_FLAG_NEW_LISTENER", "SECCOMP_FILTER_FLAG_NEW"])
def test_a_flag_that_does_not_exist_is_refused_where_it_stands(flag: str) -> None:
    with pytest.raises(Error, match=flag) as caught:
        installed(["SECCOMP_FILTER_FLAG_LOG", flag])
    assert caught.value.pointer == "/linux/seccomp/flags/1"


def test_a_flag_for_agents_is_left_out_with_a_warning_where_there_is_none() -> None:
    b = Builder()
    install(b, FILTER, profile(list(FLAGS)))
    assert b.program.steps[0].args[1] == 7
    ((pointer, text),) = b.program.warnings
    assert pointer == f"/linux/seccomp/flags/{list(FLAGS).index('SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV')}"
    assert "SCMP_ACT_NOTIFY" in text


# -- seccomp agents


@pytest.mark.parametrize(("flags", "bits"), [(None, 4 | 8), ([], 8), (list(FLAGS), 2 | 4 | 8 | 32)])
def test_a_filter_with_a_listener_has_a_step_of_its_own(flags: list[str] | None, bits: int) -> None:
    """TSYNC would bind the thread that sends the listener, and the kernel refuses it with a listener."""
    step = installed(flags, **AGENT)
    assert (step.call, step.args[0], step.origin) == ("notify", bits, "/linux/seccomp")


@pytest.mark.parametrize(
    "change",
    [{"syscalls": []}, {"syscalls": None}, {"syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG"}]}],
)
def test_a_path_without_the_action_is_ignored(change: dict[str, Any]) -> None:
    assert agent({**AGENT, **change}) is None
    assert installed([], **{**AGENT, **change}).call == "seccomp"


def test_the_agent_is_its_path_and_metadata() -> None:
    assert agent(AGENT) == {"path": "/run/agent.sock"}
    assert agent({**AGENT, "listenerMetadata": ""}) == {"path": "/run/agent.sock"}
    assert agent({**AGENT, "listenerMetadata": "x"}) == {"path": "/run/agent.sock", "metadata": "x"}
    assert agent({**AGENT, "defaultAction": "SCMP_ACT_NOTIFY", "syscalls": []}) == {"path": "/run/agent.sock"}


@pytest.mark.parametrize("change", [{}, {"listenerPath": ""}])
def test_the_action_without_a_path_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Error, match="listenerPath") as caught:
        agent({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": NOTIFY, **change})
    assert caught.value.pointer == "/linux/seccomp/listenerPath"
