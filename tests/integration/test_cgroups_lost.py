"""Containers whose processes only a cgroup holds together, and cgroups that have gone or moved."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Box, Result, alive, cgroup_of, cgroup_roots, cgroups_named, pids_in_cgroups, wait_for

FORKS = "while :; do (setsid sleep 1000 &) ; done"


def shared(box: Box, script: str, processes: int = 3) -> list[int]:
    """Run a container in the host's PID namespace; its processes, once there are so many."""
    box.drop_namespace("pid")
    box.linux["resources"]["pids"] = {"limit": 60}
    box.script(script)
    box.run("-d").ok()
    wait_for(lambda: len(pids_in_cgroups(box.id)) >= processes, "the processes")
    return pids_in_cgroups(box.id)


# -- without a PID namespace -------------------------------------------------


def test_kill_ends_a_container_with_all_that_it_has_started(box: Box) -> None:
    pids = shared(box, "setsid sleep 1000 & setsid sleep 1001 & exec sleep 1002")
    box.kill("KILL").ok()
    wait_for(lambda: not [pid for pid in pids if alive(pid)], "the end of all processes")
    box.wait_status("stopped")
    box.delete().ok()
    box.clean()


def test_delete_waits_for_those_that_cannot_end_yet_and_says_which(
    box: Box, parent_cgroup: str, pure_v2: bool
) -> None:
    if box.is_runc or pure_v2:
        pytest.skip("a freezer of cgroup v1 holds even SIGKILL back; runc says less")
    box.linux["cgroupsPath"] = f"/{parent_cgroup}/{box.id}"
    pids = shared(box, "setsid sleep 1000 & exec sleep 1002", 2)
    first = box.pid()
    parent = cgroup_of(first, "freezer").parent
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not alive(first), "the end of the first process")
    other = next(pid for pid in pids if pid != first)
    (parent / "freezer.state").write_text("FROZEN")
    try:
        result = box.verb("delete", box.id)
        assert result.code == 1
        for part in ("rmdir", f"pid {other}", "sleep: ", "thawing", "delete the container again"):
            assert part in result.err
    finally:
        (parent / "freezer.state").write_text("THAWED")
    wait_for(lambda: not alive(other), "the end of what was killed")
    box.verb("delete", box.id).ok()
    box.clean()


@pytest.mark.beyond_runc("forgets the container, and its cgroup stays")
def test_a_failed_create_whose_cgroup_stays_leaves_a_container_to_delete(box: Box) -> None:
    box.linux["cgroupsPath"] = f"/{box.id}"
    # A mount point is a directory that the kernel does not remove.
    directory = f"{cgroup_roots()[-1]}/{box.id}"
    box.hook("createRuntime", f"mount -t tmpfs none {directory}; exit 7")
    box.hook("poststop", f"echo poststop >> {box.place}/record")
    pid_file = box.place / "pid"
    try:
        result = box.create("--pid-file", str(pid_file))
        result.failed(
            "/hooks/createRuntime/0", "7", f"rmdir {directory}", f'"pyrunc delete --force {box.id}" finishes'
        )
        assert box.status() == "stopped"
        assert not (box.place / "record").exists()
        assert not pid_file.exists()
    finally:
        subprocess.run(["umount", directory], check=True)
    box.verb("delete", "--force", box.id).ok()
    assert (box.place / "record").read_text() == "poststop\n"
    box.clean()


def test_another_signal_than_kill_reaches_the_first_process_alone(box: Box) -> None:
    pids = shared(box, "setsid sleep 1000 & setsid sleep 1001 & exec sleep 1002")
    first = box.pid()
    box.kill("TERM").ok()
    wait_for(lambda: not alive(first), "the end of the first process")
    assert [pid for pid in pids if alive(pid)] == [pid for pid in pids if pid != first]
    box.kill("TERM", flags=["--all"]).ok()
    wait_for(lambda: not [pid for pid in pids if alive(pid)], "the end of all processes")


@pytest.mark.parametrize(
    ("words", "after"), [(("kill",), ("KILL",)), (("kill", "--all"), ("KILL",)), (("delete", "--force"), ())]
)
def test_nobody_forks_himself_away(box: Box, words: tuple[str, ...], after: tuple[str, ...]) -> None:
    shared(box, f"{FORKS} 2>/dev/null", 20)
    box.verb(*words, box.id, *after).ok()
    wait_for(lambda: not [pid for pid in pids_in_cgroups(box.id) if alive(pid)], "the end of all processes")
    if words[0] == "kill":
        box.wait_status("stopped")
        box.delete().ok()
    box.clean()


def test_a_paused_one_is_killed_as_a_whole(box: Box) -> None:
    pids = shared(box, "setsid sleep 1000 & setsid sleep 1001 & exec sleep 1002")
    box.verb("pause", box.id).ok()
    box.kill("KILL").ok()
    wait_for(lambda: not [pid for pid in pids if alive(pid)], "the end of all processes")
    box.delete().ok()
    box.clean()


def test_delete_ends_what_outlived_the_first_process(box: Box) -> None:
    box.drop_namespace("pid")
    box.script("setsid sleep 1000 & exit 0")
    box.run("-d").ok()
    box.wait_status("stopped")
    wait_for(lambda: len(pids_in_cgroups(box.id)) == 1, "the child alone")
    (pid,) = pids_in_cgroups(box.id)
    assert json.loads(box.verb("ps", "--format", "json", box.id).ok().out) == [pid]
    box.delete().ok()
    assert not alive(pid)
    box.clean()


# -- exec below the container's cgroup ----------------------------------------


def test_exec_in_cgroups_of_several_controllers(box: Box, pure_v2: bool) -> None:
    if pure_v2:
        pytest.skip("cgroup v2 has one hierarchy")
    box.sleeping()
    for path in cgroups_named(box.id):
        if "/cpuset/" not in path:
            os.mkdir(f"{path}/inner")
    flags = ["--cgroup", "pids,memory:inner", "--cgroup", "cpu:/inner"]
    lines = box.exec("/bin/cat", "/proc/self/cgroup", flags=flags).ok().out.splitlines()
    inside = {line.split(":")[1] for line in lines if line.endswith("/inner")}
    assert inside == {"pids", "memory", "cpu"}


def test_exec_in_one_path_of_all_hierarchies(box: Box, pure_v2: bool) -> None:
    box.sleeping()
    for path in cgroups_named(box.id):
        os.mkdir(f"{path}/inner")
        if "/cpuset/" in path:
            for file in ("cpuset.cpus", "cpuset.mems"):
                Path(f"{path}/inner/{file}").write_text(Path(f"{path}/{file}").read_text())
    out = box.exec("/bin/cat", "/proc/self/cgroup", flags=["--cgroup", "inner"]).ok().out
    assert [line for line in out.splitlines() if box.id in line and not line.endswith("/inner")] == []
    assert out.count("/inner") >= 1
    assert pure_v2 == (out.count("/inner") == 1)


@pytest.mark.parametrize("word", ["nonsense:inner", "pids:../..", "pids,nonsense:inner"])
def test_exec_in_a_cgroup_that_cannot_be(box: Box, word: str) -> None:
    box.sleeping()
    box.exec("/bin/true", flags=["--cgroup", word]).failed("--cgroup", code=255)


def test_exec_follows_an_init_that_left_its_cgroup_to_controllers(box: Box, pure_v2: bool) -> None:
    """As systemd does inside a container: its own cgroup can then have no processes any more."""
    if not pure_v2:
        pytest.skip("only cgroup v2 has no processes beside controllers")
    pid = box.sleeping()
    (path,) = cgroups_named(box.id)
    os.mkdir(f"{path}/init.scope")
    Path(f"{path}/init.scope/cgroup.procs").write_text(str(pid))
    Path(f"{path}/cgroup.subtree_control").write_text("+pids +memory")
    out = box.exec("/bin/cat", "/proc/self/cgroup").ok().out
    assert out.strip().endswith("/init.scope")
    os.mkdir(f"{path}/other")
    out = box.exec("/bin/cat", "/proc/self/cgroup", flags=["--cgroup", "other"]).ok().out
    assert out.strip().endswith("/other")
    assert len(json.loads(box.verb("ps", "--format", "json", box.id).ok().out)) == 1
    box.verb("pause", box.id).ok()
    assert box.status() == "paused"
    box.verb("resume", box.id).ok()
    box.delete("--force").ok()
    box.clean()


# -- cgroups that have gone ---------------------------------------------------


def remove_cgroups(box: Box) -> None:
    """Take the container's cgroups away; what is in them goes to the root of each hierarchy."""
    for path in cgroups_named(box.id):
        root = path[: path.index("/", len("/sys/fs/cgroup/"))] if path.count("/") > 4 else "/sys/fs/cgroup"
        for pid in Path(f"{path}/cgroup.procs").read_text().split():
            Path(f"{root}/cgroup.procs").write_text(pid)
        wait_for(lambda path=path: _rmdir(path), f"removal of {path}")  # type: ignore[misc]


def _rmdir(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def test_a_stopped_container_without_its_cgroups(box: Box) -> None:
    box.args("/bin/true")
    box.run("-d").ok()
    box.wait_status("stopped")
    remove_cgroups(box)
    assert cgroups_named(box.id) == []
    assert box.status() == "stopped"
    assert box.id in box.verb("list", "-q").ok().out
    assert json.loads(box.verb("ps", "--format", "json", box.id).ok().out) == []
    box.kill("KILL", flags=["--all"]).ok()
    box.delete().ok()
    box.clean()


def test_a_running_container_without_its_cgroups(box: Box) -> None:
    pid = box.sleeping()
    remove_cgroups(box)
    assert box.status() == "running"
    assert box.id in box.verb("list", "-q").ok().out
    # Nothing tells its processes from others any more, and nothing pretends to.
    box.verb("ps", box.id).failed("cgroup")
    box.kill("KILL", flags=["--all"]).failed("cgroup")
    box.verb("pause", box.id).failed("cgroup")
    box.verb("update", "--pids-limit", "5", box.id).failed("cgroup")
    box.verb("events", "--stats", box.id).failed("cgroup")
    box.exec("/bin/true").failed("cgroup", code=255)
    assert alive(pid)
    box.delete("--force").ok()
    assert not alive(pid)
    box.clean()


# -- cgroups that have moved --------------------------------------------------


@pytest.fixture
def elsewhere(box: Box) -> Callable[..., Result]:
    """A function that runs a verb where all hierarchies are mounted on another directory."""
    place = box.place / "cgroups"
    place.mkdir()
    script = f'mount --move /sys/fs/cgroup {place} && exec "$@"'

    def verb(*words: str, code: int = 0) -> Result:
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *box.command,
             "--root", str(box.root), *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done
        return Result(done.returncode, done.stdout, done.stderr)

    return verb


def test_every_verb_finds_cgroups_that_are_mounted_elsewhere(
    box: Box, elsewhere: Callable[..., Result], pure_v2: bool
) -> None:
    pid = box.sleeping()
    assert json.loads(elsewhere("ps", "--format", "json", box.id).out) == [pid]
    elsewhere("pause", box.id)
    assert json.loads(elsewhere("state", box.id).out)["status"] == "paused"
    assert box.status() == "paused"
    elsewhere("resume", box.id)
    assert box.status() == "running"
    elsewhere("update", "--pids-limit", "23", box.id)
    path = next(p for p in cgroups_named(box.id) if pure_v2 or "/pids/" in p)
    assert Path(f"{path}/pids.max").read_text() == "23\n"
    assert json.loads(elsewhere("events", "--stats", box.id).out)["data"]["pids"]["limit"] == 23
    out = elsewhere("exec", box.id, "/bin/cat", "/proc/self/cgroup").out
    assert all(line.endswith(f"/{box.id}") for line in out.splitlines() if box.id in line)
    assert box.id in out
    elsewhere("kill", "--all", box.id, "KILL")
    wait_for(lambda: not alive(pid), "the end of the process")
    elsewhere("delete", box.id)
    box.clean()


def test_delete_with_force_where_cgroups_are_mounted_elsewhere(
    box: Box, elsewhere: Callable[..., Result]
) -> None:
    pids = shared(box, "setsid sleep 1000 & setsid sleep 1001 & exec sleep 1002")
    box.verb("pause", box.id).ok()
    elsewhere("delete", "--force", box.id)
    assert not [pid for pid in pids if alive(pid)]
    box.clean()


