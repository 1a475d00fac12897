"""--cgroup-manager disabled: a container that stays in the runtime's cgroup (crun's flag, used by Podman)."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Box, alive, cgroups_named, wait_for

FLAG = ("--cgroup-manager", "disabled")
pytestmark = pytest.mark.beyond_runc("has no such flag")


def sleeping(box: Box) -> int:
    box.args("/bin/sleep", "1000")
    box.create(glob=FLAG).ok()
    box.start().ok()
    return box.pid()


def test_the_container_is_where_the_runtime_is(box: Box) -> None:
    pid = sleeping(box)
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    assert cgroups_named(box.id) == []
    assert box.verb("exec", box.id, "/bin/echo", "inside").ok().out == "inside\n"
    assert json.loads(box.verb("state", box.id).ok().out)["status"] == "running"
    box.kill("TERM").ok()
    box.kill("KILL").ok()
    box.wait_status("stopped")
    box.delete().ok()
    box.clean()


@pytest.mark.parametrize(
    "words",
    [
        ("ps", "ID"), ("pause", "ID"), ("events", "--stats", "ID"), ("update", "--pids-limit", "5", "ID"),
        ("kill", "--all", "ID", "TERM"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_what_needs_a_cgroup_says_that_there_is_none(box: Box, words: tuple[str, ...]) -> None:
    sleeping(box)
    result = box.verb(*(box.id if word == "ID" else word for word in words))
    result.failed("has no cgroup", "without --cgroup-manager disabled")
    assert box.status() == "running"


def test_exec_has_no_cgroup_to_enter(box: Box) -> None:
    sleeping(box)
    box.verb("exec", "--cgroup", "below", box.id, "/bin/true").failed("--cgroup below", "no cgroup", code=255)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (lambda box: box.linux["resources"].update(pids={"limit": 9}), "/linux/resources/pids/limit"),
        (lambda box: box.linux.update(cgroupsPath=f"/{box.id}"), "/linux/cgroupsPath"),
    ],
    ids=["pids", "cgroupsPath"],
)  # fmt: skip
def test_what_a_cgroup_would_be_for_is_refused(
    box: Box, change: Callable[[Box], None], pointer: str
) -> None:
    change(box)
    box.run(glob=FLAG).failed(pointer, "--cgroup-manager disabled")
    box.clean()


def test_device_rules_that_nothing_enforces_are_a_warning(box: Box) -> None:
    box.script("exit 3")
    result = box.run(glob=FLAG)
    assert result.code == 3
    assert "/linux/resources/devices: not in force" in result.err
    box.linux["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    box.script("exit 0")
    assert box.run(glob=FLAG).ok().err == ""


def test_without_a_pid_namespace_nothing_tells_what_goes_on(box: Box) -> None:
    box.drop_namespace("pid")
    box.script("sleep 1000 & echo $!; exec sleep 1001")
    box.run("-d", glob=FLAG).ok()
    other = int(wait_for(box.output, "the other process's number"))
    try:
        assert "may go on" in box.kill("KILL").ok().err
        box.wait_status("stopped")
        assert "may go on" in box.delete().ok().err
        assert alive(other)
    finally:
        os.kill(other, signal.SIGKILL)


def test_the_managers_that_there_are(box: Box) -> None:
    box.script("exit 4")
    assert box.run(glob=["--cgroup-manager=cgroupfs"]).code == 4
    box.run(glob=["--cgroup-manager", "none"]).failed("cgroupfs, systemd, disabled")
    box.run(glob=["--systemd-cgroup", *FLAG]).failed("contradicts")
