"""`validate` says what the compilers would say, all of it, and nothing that depends on the host."""

import copy
import json
import random
from typing import Any

import pytest
from examples import ENGINES, EXAMPLES, LAYOUTS, compiled, configuration, example, merged, ordinary
from hypothesis import given, settings
from hypothesis import strategies as st
from test_schema import CONFIG, SAMPLES, grow

from pyrunc.compile import check as compilers
from pyrunc.container import check
from pyrunc.errors import Error


def found(config: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each.severity, each.pointer) for each in check.violations(json.dumps(config, indent=1))]


def errors(config: dict[str, Any]) -> list[str]:
    return [pointer for severity, pointer in found(config) if severity == "error"]


@pytest.mark.parametrize("name", [*ENGINES, *EXAMPLES])
def test_a_configuration_that_can_be_compiled_has_no_errors(name: str) -> None:
    config = configuration(name) if name in ENGINES else example(name)
    for layout in LAYOUTS.values():
        try:
            compiled(copy.deepcopy(config), layout)
            break
        except Error:  # what this layout of cgroups cannot express
            continue
    assert errors(config) == []


# What is added to an ordinary configuration, and the pointers of what is wrong with it.
WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"process": {"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}}, ["/process/scheduler/nice"]),
    (
        {"process": {"scheduler": {"policy": "SCHED_IDLE", "priority": 5, "runtime": 7}}},
        ["/process/scheduler/priority", "/process/scheduler/runtime"],
    ),
    ({"process": {"scheduler": {"policy": "SCHED_DEADLINE"}}}, ["/process/scheduler"]),
    (
        {"process": {"execCPUAffinity": {"initial": "3-1", "final": "0,9-"}}},
        ["/process/execCPUAffinity/initial", "/process/execCPUAffinity/final"],
    ),
    (
        {"process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}},
        ["/process/ioPriority/priority"],
    ),
    ({"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "1-0"}}}, ["/linux/memoryPolicy/nodes"]),
    (
        {"linux": {"sysctl": {"kernel.panic": "1", "net.ipv4.ip_forward": "1", "vm.swappiness": "1"}}},
        ["/linux/sysctl/kernel.panic", "/linux/sysctl/vm.swappiness"],
    ),
    ({"linux": {"resources": {"unified": {"cgroup.procs": "1"}}}}, ["/linux/resources/unified/cgroup.procs"]),
    ({"linux": {"intelRdt": {"closID": "a/b"}}}, ["/linux/intelRdt/closID"]),
    ({"linux": {"cgroupsPath": "/"}}, ["/linux/cgroupsPath"]),
    (
        {"linux": {"readonlyPaths": ["/a", "/"], "maskedPaths": ["/..", "/a"]}},
        ["/linux/maskedPaths/0", "/linux/readonlyPaths/1"],
    ),
    (
        {"linux": {"devices": [
            {"path": "/", "type": "p"},
            {"path": "/dev/a", "type": "c", "major": 4096, "minor": 3},
            {"path": "/dev/b", "type": "c", "major": 1, "minor": 3},
            {"path": "/dev/c", "type": "b", "major": 1, "minor": 1048576},
            {"path": "/dev/d", "type": "u", "major": -1, "minor": 1},
        ]}},
        [f"/linux/devices/{each}" for each in ("0/path", "1/major", "3/minor", "4/major")],
    ),
    (
        {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 70000},
            {"names": ["read"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["write", ""], "action": "SCMP_ACT_ERRNO"},
        ]}}},
        ["/linux/seccomp/syscalls/0/errnoRet", "/linux/seccomp/syscalls/2/names/1"],
    ),
    ({"linux": {"namespaces+": [{"type": "user"}]}}, ["/linux/uidMappings"]),
    (
        {"mounts+": [
            {"destination": "/", "type": "tmpfs"},
            {"destination": "/a"},
            {"destination": "/b", "type": "tmpfs"},
            {"destination": "/c", "type": "bind", "source": "/c", "options": ["bind", "size=1"]},
        ]},
        ["/mounts/7/destination", "/mounts/8/type", "/mounts/10/options/1"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("patch", "pointers"), WRONG, ids=[str(pointers[0]) for _, pointers in WRONG])
def test_all_errors_of_the_compilers_are_told_at_once(patch: dict[str, Any], pointers: list[str]) -> None:
    assert errors(merged(ordinary(), patch)) == pointers


@pytest.mark.parametrize("key", ["extra", "process"])
@pytest.mark.parametrize("depth", [100, 600, 900])
def test_what_is_nested_too_deeply_is_told_in_a_word(key: str, depth: int) -> None:
    config = {**ordinary(), key: 0}
    text = json.dumps(config).replace(f'"{key}": 0', f'"{key}": {"[" * depth}{"]" * depth}')
    assert 1 <= len(check.violations(text)) <= 2


def test_errors_of_the_rules_and_of_the_compilers_stand_together_and_once() -> None:
    config = ordinary()
    config["process"]["rlimits"] = [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]
    config["process"]["scheduler"] = {"policy": "SCHED_OTHER", "nice": 20}
    assert sorted(errors(config)) == ["/process/rlimits/0/soft", "/process/scheduler/nice"]


def test_what_the_host_decides_is_left_to_create() -> None:
    config = ordinary()
    # Of one layout of cgroups each, of security modules, and of what is there.
    config["linux"]["resources"] = {"network": {"classID": 1}, "unified": {"memory.high": "1"}}
    config["process"]["apparmorProfile"] = "nowhere"
    config["mounts"].append({"destination": "/x", "source": "/nowhere", "options": ["rbind"]})
    config["linux"]["namespaces"].append({"type": "user", "path": "/proc/1/ns/user"})
    assert errors(config) == []


def test_warnings_are_told_too() -> None:
    config = ordinary()
    config["process"]["scheduler"] = {"policy": "SCHED_FIFO", "priority": 1, "nice": 1}
    assert ("warning", "/process/scheduler/nice") in found(config)


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=True))
def test_whatever_the_schema_allows_is_compiled_or_refused(rnd: random.Random) -> None:
    config = copy.deepcopy(rnd.choice(SAMPLES))
    for key, value in grow(CONFIG, rnd).items():
        if key not in ("linux", "process"):
            config[key] = value
        else:
            config[key].update((inner, item) for inner, item in value.items() if rnd.random() < 0.3)
    check.violations(json.dumps(config))


def test_an_error_that_cannot_be_taken_out_ends_the_search() -> None:
    config = {**ordinary(), "x": 1}

    def refuse(profile: dict[str, Any]) -> bytes:
        raise Error("no", pointer="/linux/nowhere")

    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    result = list(compilers.findings(config, lambda _: True, refuse))
    assert result == [("error", "/linux/nowhere", "no")]
