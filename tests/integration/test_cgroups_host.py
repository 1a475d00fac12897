"""Cgroups of the host at work on processes of the tests' own, and on programs that init runs."""

import inspect
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import cgroups_named, wait_for

from pyrunc.compile import cgroups
from pyrunc.compile.cgroups import Plan
from pyrunc.errors import Error
from pyrunc.host.cgroups import facts, members, tree
from pyrunc.program.build import Builder, vector
from pyrunc.program.encode import encode

INIT = Path(cgroups.__file__).parents[1] / "init" / "init"

Planner = Callable[..., Plan]


@pytest.fixture
def name() -> Iterator[str]:
    """A cgroup name; at the end no cgroup that holds it may exist."""
    word = f"pyrunc-test-{uuid.uuid4().hex[:12]}"
    yield word
    left = cgroups_named(word)
    for directory in left:
        remove = ["-depth", "-type", "d", "-execdir", "rmdir", "{}", ";"]
        subprocess.run(["find", directory, *remove], check=False)
    assert not left


@pytest.fixture
def planned(name: str) -> Iterator[Planner]:
    """A function that plans and creates the test's cgroup; it is removed at the end."""
    plans: list[Plan] = []

    def make(path: str = "", **resources: Any) -> Plan:
        linux: dict[str, Any] = {"resources": resources}
        if path:
            linux["cgroupsPath"] = path
        plan = cgroups.plan({"linux": linux}, facts.layout(), name)
        tree.create(plan)
        plans.append(plan)
        return plan

    yield make
    for plan in plans:
        members.kill_all(plan.record(), 9)
        tree.destroy(plan.record())


@contextmanager
def process(*argv: str, record: dict[str, Any] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does not outlive the test; it is moved into the record's cgroups."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as running:
        try:
            if record is not None:
                members.attach(record, running.pid)
            yield running
        finally:
            running.kill()


def run(plan: Plan, script: str) -> tuple[int, str]:
    """Exit code and output of a shell that init makes in the cgroup, as a container's first process."""
    b = Builder()
    b.inherit("report")
    b.inherit("command")
    slot = cgroups.join(b, plan)
    b.clone(0, slot)
    if slot is not None:
        b.close(slot)
    cgroups.join_late(b, plan)
    argv = vector([b"/bin/sh", b"-c", script.encode()], "argv")
    b.step("execve", "/bin/sh", argv, vector([b"PATH=/bin:/usr/bin"], "envp"))
    report, report_end = os.pipe()
    command_end, command = os.pipe()
    program = os.memfd_create("program", 0)
    os.write(program, encode(b.program, {"report": report_end, "command": command_end}))
    # The child of clone is this process's (CLONE_PARENT); its pid comes through the report.
    with subprocess.Popen(
        [INIT, str(program)], stdout=subprocess.PIPE, pass_fds=(report_end, command_end, program)
    ) as stage_1:
        for fd in (report_end, command_end, program):
            os.close(fd)
        assert stage_1.stdout is not None
        output = stage_1.stdout.read().decode()
    record = os.read(report, 4096)
    os.close(report)
    os.close(command)
    kind, pid = int.from_bytes(record[:4], "little"), int.from_bytes(record[8:16], "little")
    assert kind == 1, f"step {int.from_bytes(record[4:8], 'little')} failed: {record!r}"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output


def test_a_plans_values_are_what_the_kernel_then_shows(planned: Planner) -> None:
    plan = planned(
        memory={"limit": 64 << 20, "reservation": 32 << 20}, pids={"limit": 20},
        cpu={"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
    )  # fmt: skip
    writes = plan.settings.writes
    checked = [(f"{plan.directories[w.hierarchy]}/{w.file}", w.value) for w in writes]
    assert len(checked) >= 7
    for file, value in checked:
        assert Path(file).read_text().strip() == value


@pytest.mark.shows("/linux/cgroupsPath")
def test_parents_are_made_and_stay(name: str) -> None:
    layout = facts.layout()
    plan = cgroups.plan({"linux": {"cgroupsPath": f"/{name}/a/b"}}, layout, "x")
    tree.create(plan)
    directory = next(iter(plan.directories.values()))
    assert os.path.isdir(directory)
    tree.destroy(plan.record())
    tree.destroy(plan.record())
    assert not os.path.exists(directory)
    for directory in set(plan.directories.values()):
        os.rmdir(os.path.dirname(directory))
        os.rmdir(os.path.dirname(os.path.dirname(directory)))


def test_a_refused_value_leaves_no_cgroup_behind(name: str) -> None:
    linux = {"cgroupsPath": f"/{name}/deep/er", "resources": {"cpu": {"quota": 5}}}
    plan = cgroups.plan({"linux": linux}, facts.layout(), "x")
    with pytest.raises(Error, match=r"write \"5.*EINVAL") as caught:
        tree.create(plan)
    assert caught.value.pointer == "/linux/resources/cpu/quota"
    assert cgroups_named(name) == []


def test_an_existing_empty_cgroup_takes_new_limits_in_whatever_order_they_fit(planned: Planner) -> None:
    planned(memory={"limit": 4 << 20, "swap": 4 << 20})
    plan = planned(memory={"limit": 64 << 20, "swap": 96 << 20})
    first = plan.settings.writes[0]
    assert Path(plan.directories[first.hierarchy], first.file).read_text().strip() == first.value


def test_a_cgroup_with_processes_or_frozen_is_refused(planned: Planner) -> None:
    record = planned().record()
    with process("sleep", "1000", record=record) as sleeper, pytest.raises(Error, match=str(sleeper.pid)):
        planned()
    members.freeze(record)
    with pytest.raises(Error, match="frozen"):
        planned()
    members.thaw(record)


def test_freezing_stops_processes_and_thawing_lets_them_go_on(planned: Planner, tmp_path: Path) -> None:
    record = planned().record()
    file = tmp_path / "ticks"
    file.touch()

    def grows() -> bool:
        return file.stat().st_size > size

    size = 0
    with process("sh", "-c", f"while :; do echo >>{file}; done", record=record) as ticker:
        assert members.pids(record) == [ticker.pid]
        wait_for(grows, "the process to run")
        members.freeze(record)
        assert members.frozen(record)
        size = file.stat().st_size
        time.sleep(0.1)
        assert not grows()
        members.thaw(record)
        assert not members.frozen(record)
        wait_for(grows, "the process to go on")


def test_a_frozen_container_can_be_killed(planned: Planner) -> None:
    record = planned().record()
    with process("sleep", "1000", record=record) as sleeper:
        members.freeze(record)
        members.kill_all(record, 9)
        assert sleeper.wait(10) == -9


def test_kill_reaches_those_that_fork_all_the_time(planned: Planner) -> None:
    record = planned().record()
    # The loop begins only once the shell is in the cgroup.
    with process("sh", "-c", "read go; while :; do (sleep 1000 &); done", record=record) as shell:
        assert shell.stdin is not None
        shell.stdin.write(b"go\n")
        shell.stdin.flush()
        wait_for(lambda: len(members.pids(record)) > 5, "some processes")
        members.kill_all(record, 9)
        assert shell.wait(10) == -9
    tree.destroy(record)


def test_any_signal_reaches_every_process(planned: Planner) -> None:
    record = planned().record()
    with process("sleep", "1000", record=record) as one, process("sleep", "1000", record=record) as two:
        assert members.kill_all(record, 15) == 2
        assert [one.wait(10), two.wait(10)] == [-15, -15]


def test_sub_cgroups_are_listed_and_removed(planned: Planner) -> None:
    record = planned().record()
    # A new v1 cpuset admits no process.
    below = {n: f"{directory}/inner" for n, directory in record["directories"].items() if n != "cpuset"}
    for directory in set(below.values()):
        os.mkdir(directory)
    with process("sleep", "1000", record={"directories": below}) as sleeper:
        assert members.pids(record) == [sleeper.pid]
        assert members.pids(record, recursive=False) == []
    tree.destroy(record)
    assert not any(os.path.exists(directory) for directory in below.values())


def test_a_cgroup_deeper_than_any_path_is_removed_with_its_process(planned: Planner) -> None:
    """A container that manages its cgroups chooses how deep they are."""
    record = planned().record()
    root = record["directories"].get("freezer") or record["directories"][""]
    deep = "deep" * 25
    fd = os.open(root, os.O_RDONLY)
    try:
        for _ in range(60):  # six thousand characters
            os.mkdir(deep, dir_fd=fd)
            fd, above = os.open(deep, os.O_RDONLY, dir_fd=fd), fd
            os.close(above)
        with process("sleep", "1000") as sleeper:
            procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=fd)
            os.write(procs, str(sleeper.pid).encode())
            os.close(procs)
            assert members.pids(record) == [sleeper.pid]
            # Whoever has escaped from what came before it is killed.
            tree.destroy(record)
            assert sleeper.wait(10) == -9
    finally:
        os.close(fd)
    assert not os.path.exists(root)


def test_cgroups_below_each_other_are_no_calls_within_each_other(
    planned: Planner,
) -> None:
    record = planned().record()
    root = record["directories"].get("freezer") or record["directories"][""]
    os.makedirs(root + "/a" * 200)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        assert members.pids(record) == []
        tree.destroy(record)
    finally:
        sys.setrecursionlimit(limit)
    assert not os.path.exists(root)


# -- entered by init -------------------------------------------------------------


def test_init_makes_its_child_in_every_hierarchy(planned: Planner, name: str) -> None:
    plan = planned()
    code, output = run(plan, "cat /proc/self/cgroup")
    assert code == 0
    for line in output.splitlines():
        controllers = line.split(":")[1].split(",")
        if controllers[0] in plan.directories:
            assert line.endswith(f"/{name}"), line


@pytest.mark.shows("/linux/resources/pids/limit")
@pytest.mark.parametrize("limit", [0, 1])
def test_a_limit_of_one_process_starts_one_and_no_more(planned: Planner, limit: int) -> None:
    plan = planned(pids={"limit": limit})
    assert run(plan, "echo one; (echo two)") == (2, "one\n")


@pytest.mark.shows("/linux/resources/memory/limit")
def test_a_memory_limit_of_half_a_mebibyte_has_room_for_a_process(planned: Planner) -> None:
    assert run(planned(memory={"limit": 524288}), "exit 3")[0] == 3


@pytest.mark.shows("/linux/resources/devices/*/{allow,type,major,minor,access}")
def test_devices_open_as_the_list_says(planned: Planner) -> None:
    device = os.stat("/dev/kmsg").st_rdev
    rule = {"type": "c", "major": os.major(device), "minor": os.minor(device), "access": "r"}
    script = "exec 4<>/dev/null; (exec 3</dev/kmsg) && echo read; (exec 3>/dev/kmsg) && echo write; true"
    none = {"allow": False, "access": "rwm"}
    every = {"allow": True, "access": "rwm"}
    for rules, expected in (
        ([], ""),
        ([none, {**rule, "allow": True}], "read\n"),
        ([every], "read\nwrite\n"),
        ([every, {**rule, "allow": False}], "write\n"),
    ):
        plan = planned(devices=rules)
        assert run(plan, script) == (0, expected), rules
        tree.destroy(plan.record())
