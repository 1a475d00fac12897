"""CPU, I/O and memory scheduling of the process, as the host's kernel tells it (config.md, "Process")."""

import ctypes
import json
import os
import platform
import struct
from pathlib import Path
from typing import Any

import pytest
from harness import Box, proc_status

LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = {"x86_64": (315, 252), "aarch64": (275, 31)}[platform.machine()]
SCHED_GETATTR, IOPRIO_GET = NUMBERS
OTHER, FIFO, RR, BATCH, IDLE, DEADLINE = 0, 1, 2, 3, 5, 6
MS = 1_000_000  # nanoseconds
CPUS = sorted(os.sched_getaffinity(0))
RELEASE = tuple(map(int, platform.release().split(".")[:2]))
needs_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="this host has one CPU")


def sched_attr(pid: int) -> dict[str, int]:
    """What sched_getattr(2) says of a process."""
    buffer = ctypes.create_string_buffer(48)
    assert LIBC.syscall(SCHED_GETATTR, pid, buffer, 48, 0) == 0, os.strerror(ctypes.get_errno())
    names = ("size", "policy", "flags", "nice", "priority", "runtime", "deadline", "period")
    return dict(zip(names, struct.unpack("=IIQiIQQQ", buffer.raw), strict=True))


def io_priority(pid: int) -> tuple[int, int]:
    value = LIBC.syscall(IOPRIO_GET, 1, pid)
    assert value >= 0
    return value >> 13, value & 7


def memory_policy(pid: int) -> str:
    """The policy of the stack, which is the process's own."""
    lines = Path(f"/proc/{pid}/numa_maps").read_text().splitlines()
    return next(line for line in lines if " stack" in line).split()[1]


def exec_pid(box: Box, *flags: str) -> int:
    box.exec("/bin/sleep", "1000", flags=["-d", "--pid-file", str(box.place / "p"), *flags]).ok()
    return int((box.place / "p").read_text())


def process_file(box: Box, **fields: Any) -> str:
    path = box.place / "process.json"
    path.write_text(json.dumps({**box.process, "args": ["/bin/sleep", "1000"], **fields}))
    return str(path)


def exec_document(box: Box, **fields: Any) -> int:
    pid_file = box.place / "p"
    words = ["-d", "--pid-file", str(pid_file), "--process", process_file(box, **fields)]
    box.verb("exec", *words, box.id).ok()
    return int(pid_file.read_text())


def real_time(box: Box) -> None:
    """A budget for real-time policies, where the kernel keeps one for each cgroup."""
    if Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        box.linux["cgroupsPath"] = f"/{box.id}"
        box.linux["resources"] = {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 1_000_000}}


# -- scheduler


@pytest.mark.shows("/process/scheduler", "/process/scheduler/policy", "/process/scheduler/nice")
@pytest.mark.parametrize(
    ("scheduler", "policy", "nice"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, OTHER, 7),
        ({"policy": "SCHED_OTHER", "nice": -5}, OTHER, -5),
        ({"policy": "SCHED_BATCH", "nice": 19}, BATCH, 19),
        ({"policy": "SCHED_BATCH"}, BATCH, 0),
        ({"policy": "SCHED_IDLE"}, IDLE, 0),
    ],
)
def test_a_policy_and_a_nice_value(box: Box, scheduler: dict[str, Any], policy: int, nice: int) -> None:
    box.process["scheduler"] = scheduler
    attr = sched_attr(box.sleeping())
    assert (attr["policy"], attr["nice"]) == (policy, nice)
    box.kill("KILL").ok()


@pytest.mark.shows("/process/scheduler/priority", "/process/scheduler/flags", "/process/scheduler/flags/*")
@pytest.mark.parametrize(("name", "policy"), [("SCHED_FIFO", FIFO), ("SCHED_RR", RR)])
def test_a_real_time_policy(box: Box, name: str, policy: int) -> None:
    real_time(box)
    box.process["scheduler"] = {"policy": name, "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    attr = sched_attr(box.sleeping())
    assert (attr["policy"], attr["priority"], attr["flags"]) == (policy, 3, 1)


@pytest.mark.shows(
    "/process/scheduler/runtime", "/process/scheduler/deadline", "/process/scheduler/period"
)
def test_deadline_scheduling(box: Box) -> None:
    box.process["scheduler"] = {
        "policy": "SCHED_DEADLINE", "runtime": MS, "deadline": 20 * MS, "period": 50 * MS,
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
    }  # fmt: skip
    box.args("/bin/sleep", "1000")
    result = box.run("-d")
    if result.code and "EBUSY" in result.err:
        pytest.skip("no CPU time is left for SCHED_DEADLINE here")
    attr = sched_attr(box.pid())
    assert attr["policy"] == DEADLINE
    assert (attr["runtime"], attr["deadline"], attr["period"]) == (MS, 20 * MS, 50 * MS)


def test_a_policy_that_needs_the_host_s_privilege_in_a_user_namespace(box: Box) -> None:
    """The kernel asks for CAP_SYS_NICE in the initial user namespace."""
    real_time(box)
    box.user_namespace()
    box.process["scheduler"] = {"policy": "SCHED_RR", "priority": 3}
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_RT", "priority": 5}
    pid = box.sleeping()
    assert sched_attr(pid)["policy"] == RR
    assert io_priority(pid) == (1, 5)
    other = exec_pid(box)
    assert sched_attr(other)["policy"] == RR
    assert io_priority(other) == (1, 5)


def test_a_policy_that_cannot_be_inherited_is_refused_in_a_user_namespace(box: Box) -> None:
    real_time(box)
    box.user_namespace()
    box.process["scheduler"] = {"policy": "SCHED_RR", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    box.run().failed("/process/scheduler", "SCHED_RR", "CAP_SYS_NICE")
    box.clean()


def test_exec_has_the_container_s_scheduling_or_its_own(box: Box) -> None:
    box.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    box.sleeping()
    pid = exec_pid(box)
    assert (sched_attr(pid)["policy"], sched_attr(pid)["nice"]) == (BATCH, 3)
    assert io_priority(pid) == (2, 6)
    for key in ("scheduler", "ioPriority"):
        del box.process[key]
    pid = exec_document(box)
    assert (sched_attr(pid)["policy"], io_priority(pid)) == (BATCH, (2, 6))
    pid = exec_document(
        box, scheduler={"policy": "SCHED_IDLE"}, ioPriority={"class": "IOPRIO_CLASS_IDLE"}
    )
    assert (sched_attr(pid)["policy"], io_priority(pid)[0]) == (IDLE, 3)


@pytest.mark.parametrize(
    ("scheduler", "pointer", "words"),
    [
        ({"policy": "SCHED_ISO"}, "/policy", ["SCHED_ISO", "SCHED_OTHER"]),
        ({"policy": "SCHED_OTHER", "nice": 20}, "/nice", ["20"]),
        ({"policy": "SCHED_OTHER", "priority": 1}, "/priority", ["SCHED_FIFO"]),
        ({"policy": "SCHED_FIFO"}, "/priority", ["1 (lowest) to 99"]),
        ({"policy": "SCHED_RR", "priority": 100}, "/priority", ["100"]),
        ({"policy": "SCHED_BATCH", "runtime": MS}, "/runtime", ["SCHED_DEADLINE"]),
        ({"policy": "SCHED_DEADLINE", "runtime": 2 * MS, "deadline": MS}, "", ["runtime <= deadline"]),
    ],
)
def test_a_scheduler_that_makes_no_sense_is_refused(
    box: Box, scheduler: dict[str, Any], pointer: str, words: list[str]
) -> None:
    box.process["scheduler"] = scheduler
    box.run().failed(f"/process/scheduler{pointer}", *words)
    box.clean()


def test_startcontainer_hooks_of_a_deadline_process_need_a_policy_that_is_reset(box: Box) -> None:
    box.process["scheduler"] = {"policy": "SCHED_DEADLINE", "runtime": MS, "deadline": 20 * MS}
    box.hook("startContainer", "true")
    box.run().failed("/process/scheduler/flags", "startContainer", "SCHED_FLAG_RESET_ON_FORK")


# -- I/O priority


@pytest.mark.shows("/process/ioPriority", "/process/ioPriority/class", "/process/ioPriority/priority")
@pytest.mark.parametrize(
    ("name", "priority", "seen"),
    [
        ("IOPRIO_CLASS_RT", 0, (1, 0)),
        ("IOPRIO_CLASS_BE", 7, (2, 7)),
        ("IOPRIO_CLASS_IDLE", None, (3, 0)),
    ],
)
def test_io_priority(box: Box, name: str, priority: int | None, seen: tuple[int, int]) -> None:
    box.process["ioPriority"] = {"class": name}
    if priority is not None:
        box.process["ioPriority"]["priority"] = priority
    assert io_priority(box.sleeping()) == seen


def test_an_io_priority_beyond_the_kernel_s_is_refused(box: Box) -> None:
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 8}
    box.run().failed("/process/ioPriority/priority", "8")


# -- CPU affinity of exec


@needs_cpus
@pytest.mark.shows(
    "/process/execCPUAffinity", "/process/execCPUAffinity/initial", "/process/execCPUAffinity/final"
)
def test_exec_runs_on_the_cpus_of_the_configuration(box: Box) -> None:
    first, second = str(CPUS[0]), str(CPUS[1])
    box.process["execCPUAffinity"] = {"initial": first, "final": second}
    pid = box.sleeping()
    assert os.sched_getaffinity(pid) == set(CPUS)
    assert os.sched_getaffinity(exec_pid(box)) == {CPUS[1]}
    assert sorted(os.sched_getaffinity(exec_document(box, execCPUAffinity={"final": first}))) == [CPUS[0]]
    del box.process["execCPUAffinity"]
    assert os.sched_getaffinity(exec_document(box)) == {CPUS[1]}


@needs_cpus
def test_the_caller_s_cpus_are_not_the_container_s(box: Box) -> None:
    """Which may be those of an engine's service."""
    box.args("/bin/sleep", "1000")
    box.save()
    pinned = ["taskset", "-c", str(CPUS[1])]
    box.command = [*pinned, *box.command]
    box.verb("run", "-d", "--bundle", str(box.bundle), box.id).ok()
    assert os.sched_getaffinity(box.pid()) == set(CPUS)
    assert os.sched_getaffinity(exec_pid(box)) == set(CPUS)


@needs_cpus
def test_the_container_s_cpuset_is_all_that_limits_its_cpus(box: Box) -> None:
    box.linux["resources"] = {"cpu": {"cpus": str(CPUS[0])}}
    pid = box.sleeping()
    assert os.sched_getaffinity(pid) == os.sched_getaffinity(exec_pid(box)) == {CPUS[0]}


@needs_cpus
def test_without_a_final_affinity_exec_keeps_the_initial_one(box: Box) -> None:
    """Kernels before 6.2 give a process that changes its cgroup all CPUs of that again."""
    box.process["execCPUAffinity"] = {"initial": f"{CPUS[1]}-{CPUS[1]},", "final": ""}
    box.sleeping()
    found = os.sched_getaffinity(exec_pid(box))
    assert found == {CPUS[1]} or (RELEASE < (6, 2) and found == set(CPUS))


@needs_cpus
def test_the_initial_affinity_holds_before_the_cgroup_is_joined(box: Box) -> None:
    """The container's cpuset takes a process whose CPUs it does not have to its own ones."""
    box.linux["resources"] = {"cpu": {"cpus": str(CPUS[0])}}
    box.process["execCPUAffinity"] = {"initial": str(CPUS[1])}
    box.sleeping()
    assert os.sched_getaffinity(exec_pid(box)) == {CPUS[0]}


@pytest.mark.parametrize(
    ("value", "words"),
    [("3-1", ["backwards"]), ("1-", ["range"]), ("9000", ["9000"]), (",", ["CPU"]), ("1,2--3", ["2--3"])],
)
@pytest.mark.parametrize("moment", ["initial", "final"])
def test_a_list_of_cpus_that_is_none_is_refused_at_create(
    box: Box, moment: str, value: str, words: list[str]
) -> None:
    box.process["execCPUAffinity"] = {moment: value}
    box.create().failed(f"/process/execCPUAffinity/{moment}", *words)
    box.clean()


def test_cpus_that_are_not_there_fail_exec(box: Box) -> None:
    box.process["execCPUAffinity"] = {"final": "8000"}
    box.sleeping()
    box.exec("true").failed("/process/execCPUAffinity/final", "8000", "online", code=255)
    assert box.status() == "running"


# -- memory policy, personality


@pytest.mark.shows(
    "/linux/memoryPolicy", "/linux/memoryPolicy/mode", "/linux/memoryPolicy/nodes",
    "/linux/memoryPolicy/flags", "/linux/memoryPolicy/flags/*",
)
@pytest.mark.parametrize(
    ("policy", "seen"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0-0,"}, "interleave:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "prefer=relative:0"),
        ({"mode": "MPOL_LOCAL", "nodes": ""}, "local"),
        ({"mode": "MPOL_DEFAULT", "nodes": ""}, "default"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        ({"mode": "MPOL_DEFAULT"}, "default"),
    ],
)
def test_memory_policy(box: Box, policy: dict[str, Any], seen: str) -> None:
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel has no NUMA")
    box.linux["memoryPolicy"] = policy
    assert memory_policy(box.sleeping()) == seen
    assert memory_policy(exec_pid(box)) == seen


@pytest.mark.parametrize(
    ("policy", "pointer", "words"),
    [
        ({"mode": "MPOL_BIND", "nodes": "x"}, "/nodes", ['"x"']),
        ({"mode": "MPOL_BIND", "nodes": "1024"}, "/nodes", ["1024"]),
        ({"mode": "MPOL_BIND", "nodes": ""}, "", ["MPOL_BIND", "EINVAL"]),
        ({"mode": "MPOL_DEFAULT", "nodes": "0"}, "", ["MPOL_DEFAULT", "take none"]),
        ({"mode": "MPOL_BIND", "nodes": "1000"}, "", ["online"]),
    ],
)
def test_a_memory_policy_that_cannot_be_is_refused(
    box: Box, policy: dict[str, Any], pointer: str, words: list[str]
) -> None:
    box.linux["memoryPolicy"] = policy
    box.run().failed(f"/linux/memoryPolicy{pointer}", *words)
    box.clean()


@pytest.mark.shows("/linux/personality", "/linux/personality/domain")
@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_personality(box: Box, domain: str, number: int) -> None:
    box.linux["personality"] = {"domain": domain}
    pid = box.sleeping()
    assert int(Path(f"/proc/{pid}/personality").read_text(), 16) == number
    machine = {"x86_64": "i686", "aarch64": "armv8l"}[platform.machine()] if number else platform.machine()
    assert box.exec_sh("uname -m") == machine + "\n"


@pytest.mark.shows("/linux/personality/flags")
def test_a_flag_of_a_personality_is_refused(box: Box) -> None:
    box.linux["personality"] = {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}
    box.run().failed("/linux/personality/flags/0", "ADDR_NO_RANDOMIZE")


def test_all_of_it_with_a_filter_and_another_user(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["noNewPrivileges"] = False
    box.process["scheduler"] = {"policy": "SCHED_OTHER", "nice": -3}
    box.process["ioPriority"] = {"class": "IOPRIO_CLASS_RT", "priority": 2}
    box.linux["personality"] = {"domain": "LINUX32"}
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["sched_setattr", "ioprio_set", "personality", "set_mempolicy"],
                "action": "SCMP_ACT_ERRNO",
            }
        ],
    }
    pid = box.sleeping()
    assert proc_status(pid)["Seccomp"] == "2"
    assert (sched_attr(pid)["nice"], io_priority(pid)) == (-3, (1, 2))
