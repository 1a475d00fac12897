"""Programs of a runtime without root's privileges, and what it finds out about user namespaces."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyrunc.compile.create import compile_create
from pyrunc.compile.exec import compile_exec
from pyrunc.compile.facts import Facts, Request
from pyrunc.compile.namespaces import show
from pyrunc.config.default import default
from pyrunc.errors import Error
from pyrunc.host import userns
from pyrunc.host.idmaps import own_id_only
from pyrunc.program.model import Program
from pyrunc.program.verify import verify

KEEP = "run.oci.keep_original_groups"


def configuration() -> dict[str, Any]:
    config = default(rootless=True, cgroup_v2=False)
    # Of root too, as which these tests may run.
    for key in ("uidMappings", "gidMappings"):
        config["linux"][key] = [{"containerID": 0, "hostID": 1000, "size": 1}]
    config["process"]["terminal"] = False
    config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/sys/fs/cgroup"]
    return config


def program_of(config: dict[str, Any], **facts: Any) -> Program:
    found = Facts("/b/rootfs", sources={"/sys": 0o040755}, rootless=True, **facts)
    program = compile_create(config, found, Request("box", "/b"))
    verify(program)
    return program


def calls(program: Program) -> list[str]:
    return [step.call for step in program.steps]


def test_where_mounts_can_be_copied_the_trees_are_taken_before_the_user_namespace() -> None:
    order = calls(program_of(configuration(), copies_mounts=True))
    assert order.index("open_tree") < order.index("unshare") < order.index("clone")


def test_elsewhere_they_are_taken_in_the_new_mount_namespace_with_the_user_s_own_ids() -> None:
    order = calls(program_of(configuration(), copies_mounts=False))
    assert order.index("clone") < order.index("open_tree") < order.index("setresuid")


@pytest.mark.parametrize(
    ("annotation", "setgroups", "expected"),
    [
        (None, True, 2), (None, False, 0), ("1", True, 0), ("1", False, 0), ("0", True, 2), ("true", True, 0),
    ],
)  # fmt: skip
def test_groups_are_set_where_that_is_allowed_and_not_refused_by_annotation(
    annotation: str | None, setgroups: bool, expected: int
) -> None:
    config = configuration()
    if annotation is not None:
        config["annotations"] = {KEEP: annotation}
    program = program_of(config, setgroups=setgroups)
    assert calls(program).count("setgroups") == expected


def test_additional_groups_are_refused_where_setgroups_is_denied() -> None:
    config = configuration()
    config["process"]["user"]["additionalGids"] = [5]
    with pytest.raises(Error) as caught:
        program_of(config, setgroups=False)
    assert caught.value.pointer == "/process/user/additionalGids"
    program_of(config, setgroups=True)
    config["annotations"] = {KEEP: "1"}
    program_of(config, setgroups=False)


# As the namespace's root, and as the process's user.
@pytest.mark.parametrize(("annotation", "expected"), [({}, 2), ({KEEP: "1"}, 0)])
def test_exec_treats_groups_alike(annotation: dict[str, str], expected: int) -> None:
    config = {**configuration(), "annotations": annotation}
    program = compile_exec(config, config["process"], Facts("/b/rootfs"), Request("box", "/b"), None, [])
    verify(program)
    assert calls(program).count("setgroups") == expected


@pytest.mark.parametrize("key", ["uidMappings", "gidMappings"])
def test_a_new_user_namespace_needs_both_mappings(key: str) -> None:
    config = configuration()
    del config["linux"][key]
    with pytest.raises(Error) as caught:
        program_of(config)
    assert caught.value.pointer == f"/linux/{key}"


def test_the_program_that_shows_a_namespace_passes_verify() -> None:
    program = show("/run/userns/x", "/linux/namespaces/1/path")
    verify(program)
    assert calls(program) == ["prctl", "openat2", "setns", "close", "sync"]


@pytest.mark.parametrize(
    ("mappings", "own"),
    [
        ([{"containerID": 0, "hostID": os.getegid(), "size": 1}], True),
        ([{"containerID": 5, "hostID": os.getegid(), "size": 1}], True),
        ([{"containerID": 0, "hostID": os.getegid() + 1, "size": 1}], False),
        ([{"containerID": 0, "hostID": os.getegid(), "size": 2}], False),
        ([], False),
    ],
)
def test_a_user_may_write_the_mapping_of_its_own_id_alone(mappings: list[dict[str, int]], own: bool) -> None:
    assert own_id_only("gid", mappings) is own


@pytest.fixture
def process() -> Any:
    """A process in a user namespace of its own."""
    child = subprocess.Popen(
        ["unshare", "-Ur", "sh", "-c", "echo; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout
    assert child.stdin
    ready = child.stdout.readline()
    if not ready:
        pytest.skip("no user namespace can be made here")
    yield child.pid
    child.stdin.close()
    child.stdout.close()
    child.wait()


def joining(pid: int, **mappings: Any) -> dict[str, Any]:
    return {"linux": {"namespaces": [{"type": "user", "path": f"/proc/{pid}/ns/user"}], **mappings}}


def test_a_joined_user_namespace_gives_its_mappings(process: int) -> None:
    config = joining(process)
    assert userns.adopt(config) is False
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert config["linux"]["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    again = json.loads(json.dumps(config))
    assert userns.adopt(again) is False
    assert again == config


def test_other_mappings_than_those_of_the_joined_namespace_are_refused(process: int) -> None:
    wrong = [{"containerID": 0, "hostID": 7, "size": 1}]
    with pytest.raises(Error) as caught:
        userns.adopt(joining(process, gidMappings=wrong))
    assert caught.value.pointer == "/linux/gidMappings"
    assert f"0 {os.getegid()} 1" in caught.value.message


def test_a_configuration_that_joins_no_user_namespace_stays_as_it_is() -> None:
    config = configuration()
    before = json.dumps(config)
    assert userns.adopt(config) is None
    assert json.dumps(config) == before


def test_a_process_that_is_gone_is_named() -> None:
    with pytest.raises(Error) as caught:
        userns.adopt(joining(2**22 + 1))
    assert caught.value.pointer == "/linux/namespaces/0/path"


def test_setgroups_is_allowed_where_the_kernel_says_so(process: int) -> None:
    assert userns.allows_setgroups(process) is False
    text = Path("/proc/self/setgroups").read_text().strip()
    assert userns.allows_setgroups("self") is (text == "allow")
