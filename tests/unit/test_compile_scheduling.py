"""Scheduling of the process: where in a program it is set, and what is refused before anything runs."""

from typing import Any

import pytest
from examples import LAYOUTS, compiled, example, ordinary

from pyrunc.compile import scheduling
from pyrunc.compile.exec import compile_exec
from pyrunc.compile.facts import Facts, Request
from pyrunc.errors import Error
from pyrunc.program.explain import line
from pyrunc.program.model import Program
from pyrunc.program.verify import verify

RECORDS = {
    "v1": {"directories": {"cpu": "/sys/fs/cgroup/cpu/box", "": "/sys/fs/cgroup/unified/box"}},
    "v2": {"directories": {"": "/sys/fs/cgroup/box"}},
}


def exec_program(config: dict[str, Any], cgroups: dict[str, Any] | None) -> Program:
    process = {**config["process"], "args": ["true"]}
    program = compile_exec(config, process, Facts("/b/rootfs"), Request("box", "/b"), cgroups, [])
    verify(program)
    return program


def positions(program: Program, *calls: str) -> list[tuple[int, str]]:
    """Where calls are in a program, with the key that asked for each."""
    return [(i, step.origin) for i, step in enumerate(program.steps) if step.call in calls]


# -- lists of numbers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", [0]),
        ("0-3,7", [0, 1, 2, 3, 7]),
        (" 1 - 2 , 5 ,", [1, 2, 5]),
        ("3,1,2-2", [1, 2, 3]),
        ("8191", [8191]),
        (",,0", [0]),
    ],
)
def test_a_list_of_numbers(text: str, found: list[int]) -> None:
    assert scheduling.numbers(text, 8192, "CPU", "/x") == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no CPU"),
        (" , ", "names no CPU"),
        ("a", '"a" is not a number'),
        ("1-", '"1-" is not a number'),
        ("-1", '"-1" is not a number'),
        ("1-2-3", '"1-2-3" is not a number'),
        ("0,4-2", "4-2 runs backwards"),
        ("8192", "no CPU 8192"),
        ("0-99999999", "no CPU 99999999"),
        ("9" * 5000, "is not a number"),
        ("٣", "is not a number"),
    ],
)
def test_what_is_no_list_of_numbers(text: str, why: str) -> None:
    with pytest.raises(Error) as caught:
        scheduling.numbers(text, 8192, "CPU", "/x")
    assert why in caught.value.message
    assert caught.value.pointer == "/x"


def test_a_mask_is_of_whole_longs_for_the_kernel() -> None:
    process = {"execCPUAffinity": {"final": "1,64"}}
    mask = scheduling._cpus(process, "final")
    assert mask is not None
    assert mask.payload == (1 << 1 | 1 << 64).to_bytes(16, "little")
    assert scheduling._cpus(process, "initial") is None


# -- the order


@pytest.mark.parametrize("layout", RECORDS)
def test_exec_takes_its_cpus_before_and_after_it_joins_the_cgroups(layout: str) -> None:
    config = ordinary()
    config["process"]["execCPUAffinity"] = {"initial": "0", "final": "1-2"}
    program = exec_program(config, RECORDS[layout])
    (initial, first), (final, last) = positions(program, "sched_setaffinity")
    assert (first, last) == ("/process/execCPUAffinity/initial", "/process/execCPUAffinity/final")
    joins = [i for i, _ in positions(program, "write", "clone") if program.steps[i].phase == "cgroup"]
    assert joins
    assert initial < min(joins)
    assert max(joins) < final < positions(program, "setns")[0][0]
    assert line(program.steps[final]) == "sched_setaffinity(0, 8, [1-2])"


def test_the_container_s_own_process_keeps_its_cpus() -> None:
    config = ordinary()
    config["process"]["execCPUAffinity"] = {"initial": "0", "final": "1-2"}
    program = compiled(config, LAYOUTS["v1"])[0]
    assert [origin for _, origin in positions(program, "sched_setaffinity")] == [""]


@pytest.mark.parametrize("name", ["scheduler", "scheduling-user-namespace"])
def test_privilege_is_used_while_it_is_there(name: str) -> None:
    """Before the user namespace, and in any case before the capabilities go."""
    config = example(name)
    program = compiled(config, LAYOUTS["v2"])[0]
    at = [i for i, _ in positions(program, "sched_setattr", "ioprio_set")]
    assert len(at) == 2
    calls = [step.call for step in program.steps]
    assert max(at) < calls.index("capset")
    assert (max(at) < calls.index("clone")) == (name == "scheduling-user-namespace")


def test_a_hard_limit_is_raised_before_the_user_namespace_and_set_after_it() -> None:
    config = example("scheduling-user-namespace")
    program = compiled(config, LAYOUTS["v2"])[0]
    at = [i for i, _ in positions(program, "prlimit64")]
    shown = [line(program.steps[i]) for i in at]
    assert shown == [
        "prlimit64(0, RLIMIT_NOFILE, {rlim_cur=1048576, rlim_max=1048576}, 0)",
        "prlimit64(0, RLIMIT_NOFILE, {rlim_cur=1024, rlim_max=1048576}, 0)",
    ]
    unshare = positions(program, "unshare")[0][0]
    assert at[0] < unshare < at[1]
    config["process"]["rlimits"][0]["hard"] = 1024
    assert len(positions(compiled(config, LAYOUTS["v2"])[0], "prlimit64")) == 1


def test_what_a_child_does_not_inherit_is_set_by_the_process_itself() -> None:
    config = example("scheduling-user-namespace")
    config["process"]["scheduler"]["flags"] = ["SCHED_FLAG_RESET_ON_FORK"]
    program = compiled(config, LAYOUTS["v2"])[0]
    (at, _), = positions(program, "sched_setattr")
    assert at > positions(program, "clone")[-1][0]


# -- warnings


def test_a_nice_value_without_effect_is_a_warning() -> None:
    config = ordinary()
    config["process"]["scheduler"] = {"policy": "SCHED_IDLE", "nice": 3}
    program = compiled(config, LAYOUTS["v1"])[0]
    assert program.warnings == [("/process/scheduler/nice", "it has no effect with SCHED_IDLE")]


def test_values_that_change_nothing_are_no_steps() -> None:
    config = ordinary()
    config["process"]["execCPUAffinity"] = {"initial": "", "final": ""}
    before = [line(step) for step in compiled(ordinary(), LAYOUTS["v1"])[0].steps]
    assert [line(step) for step in compiled(config, LAYOUTS["v1"])[0].steps] == before
    assert [origin for _, origin in positions(exec_program(config, None), "sched_setaffinity")] == [""]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_runtime_s_own_affinity_ends_with_its_cgroup(layout: str) -> None:
    """After the process is in the container's cgroup, whose cpuset limits it, and in the process itself."""
    program = compiled(ordinary(), LAYOUTS[layout])[0]
    (at, _), = positions(program, "sched_setaffinity")
    assert positions(program, "clone")[0][0] < at < positions(program, "setsid")[0][0]
    moves = [i for i, _ in positions(program, "write") if program.steps[i].phase == "cgroup"]
    assert not moves or max(moves) < at
