"""Creating, starting, signalling and deleting containers (runtime.md, "Lifecycle")."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Box, alive, cgroups_named, open_terminal, pids_in_cgroups, proc_status, wait_for


def test_run_returns_the_exit_code_of_the_process(box: Box) -> None:
    box.script("exit 42")
    assert box.run().code == 42
    box.clean()


def test_run_returns_zero_and_leaves_nothing(box: Box) -> None:
    box.args("/bin/true")
    box.run().ok()
    box.clean()
    assert box.verb("state", box.id).code == 1


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV"])
def test_run_returns_128_plus_the_signal_that_ended_the_process(box: Box, name: str) -> None:
    # the first process of a pid namespace ignores what it has no handler for, so a child dies and sh tells
    box.drop_namespace("pid")
    box.script(f"kill -{name} $$; sleep 10")
    assert box.run().code == 128 + signal.Signals[f"SIG{name}"].value
    box.clean()


def test_create_returns_while_the_process_waits_for_start(box: Box) -> None:
    box.script("echo started > /tmp/marker; sleep 1000")
    box.create().ok()
    state = box.state()
    assert state["status"] == "created"
    assert alive(state["pid"])
    time.sleep(0.1)
    assert not (box.rootfs / "tmp/marker").exists()
    box.start().ok()
    wait_for((box.rootfs / "tmp/marker").exists, "the process to run")
    assert box.state()["status"] == "running"
    assert box.state()["pid"] == state["pid"]


def test_a_process_that_ended_is_stopped_and_can_be_deleted_without_force(box: Box) -> None:
    box.create().ok()
    box.start().ok()
    box.wait_status("stopped")
    assert box.state()["pid"] == 0
    box.delete().ok()
    box.clean()
    box.verb("state", box.id).failed()


@pytest.mark.shows("/annotations")
def test_state_tells_what_the_specification_and_engines_read(box: Box) -> None:
    box.config["annotations"] = {"org.example.key": "a value", "other": ""}
    box.create().ok()
    state = box.state()
    pid = state["pid"]
    assert Path(f"/proc/{pid}/root/etc/passwd").exists()
    assert state["id"] == box.id
    assert state["status"] == "created"
    assert state["bundle"] == str(box.bundle)
    assert state["rootfs"] == str(box.rootfs)
    assert state["annotations"] == {"org.example.key": "a value", "other": ""}
    assert state["ociVersion"].startswith("1.")
    assert state["owner"] in ("", "root")
    # RFC 3339 with a zone, which Go's time.Time decodes
    assert state["created"][10] == "T"
    assert state["created"].endswith("Z")


def test_state_has_no_pid_of_a_stopped_container(box: Box) -> None:
    box.run("-d").ok()
    box.wait_status("stopped")
    assert box.state()["pid"] == 0


def test_the_created_process_is_in_the_container_s_namespaces_and_cgroup_already(box: Box) -> None:
    box.create().ok()
    pid = box.pid()
    assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    assert pid in pids_in_cgroups(box.id)
    assert os.path.samefile(f"/proc/{pid}/root", box.rootfs)


def test_start_twice_is_refused_and_changes_nothing(box: Box) -> None:
    box.args("/bin/sleep", "1000")
    box.create().ok()
    box.start().ok()
    pid = box.pid()
    box.start().failed("running")
    assert box.status() == "running"
    assert box.pid() == pid


def test_start_of_a_stopped_container_is_refused(box: Box) -> None:
    box.run("-d").ok()
    box.wait_status("stopped")
    box.start().failed("stopped")
    assert box.status() == "stopped"


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete", "pause", "resume", "ps", "exec"])
def test_an_unknown_id_is_one_clear_error(box: Box, verb: str) -> None:
    words = {"kill": ["TERM"], "exec": ["true"]}.get(verb, [])
    result = box.verb(verb, "no-such-box", *words)
    result.failed("does not exist", "no-such-box", code=255 if verb == "exec" else 1)
    assert result.out == ""


def test_delete_with_force_of_an_unknown_id_is_no_error(box: Box) -> None:
    box.delete("--force", id="no-such-box").ok()
    box.delete("-f", id="no-such-box").ok()


def test_delete_of_a_running_container_is_refused_and_changes_nothing(box: Box) -> None:
    pid = box.sleeping()
    box.delete().failed("running")
    assert box.status() == "running"
    assert alive(pid)


@pytest.mark.beyond_runc("kills it")
def test_delete_of_a_created_container_needs_force(box: Box) -> None:
    """runtime.md, "Delete": of what is not stopped it is an error without effect."""
    box.create().ok()
    pid = box.pid()
    box.delete().failed("created", "--force")
    assert box.status() == "created"
    assert alive(pid)
    box.delete("--force").ok()
    assert not alive(pid)
    box.clean()


def test_delete_with_force_ends_a_running_container_and_its_children(box: Box) -> None:
    box.script("sleep 1000 & sleep 1001 & wait")
    box.run("-d").ok()
    wait_for(lambda: len(pids_in_cgroups(box.id)) == 3, "three processes")
    pids = pids_in_cgroups(box.id)
    box.delete("--force").ok()
    assert not [pid for pid in pids if alive(pid)]
    box.clean()


def test_delete_with_force_ends_children_without_a_pid_namespace(box: Box) -> None:
    box.drop_namespace("pid")
    box.script("sleep 1000 & sleep 1001 & exec sleep 1002")
    box.run("-d").ok()
    wait_for(lambda: len(pids_in_cgroups(box.id)) == 3, "three processes")
    pids = pids_in_cgroups(box.id)
    box.delete("--force").ok()
    wait_for(lambda: not [pid for pid in pids if alive(pid)], "end of all processes", 5)
    box.clean()


def test_a_taken_id_is_refused_and_the_first_container_lives_on(box: Box) -> None:
    pid = box.sleeping()
    box.run().failed(box.id)
    box.create().failed(box.id)
    assert box.status() == "running"
    assert box.pid() == pid
    assert alive(pid)


def test_delete_says_why_a_process_does_not_end_and_works_once_that_is_over(box: Box) -> None:
    if box.is_runc:
        pytest.skip("runc says less")
    box.args("/bin/sleep", "1000")
    box.run("-d").ok()
    pid = box.pid()
    file = box.place / "exec.pid"
    flags = ["--pid-file", str(file)]
    caller = box.spawn("exec", *flags, box.id, "/bin/sleep", "1001", stdout=subprocess.DEVNULL)
    wait_for(file.exists, "the process of exec")
    wait_for(lambda: b"1001" in Path(f"/proc/{file.read_text()}/cmdline").read_bytes(), "sleep")
    # The end of a PID namespace waits until everybody in it has been collected, here by a parent outside.
    caller.send_signal(signal.SIGSTOP)
    result = box.verb("delete", "--force", box.id)
    assert result.code == 1
    for part in (f"process {pid}", "10 s of SIGKILL", "sleep: ", "PID namespace", "delete the container"):
        assert part in result.err
    assert (box.root / box.id).exists()
    caller.send_signal(signal.SIGCONT)
    assert caller.wait(15) == 128 + signal.SIGKILL
    box.verb("delete", "--force", box.id).ok()
    assert not alive(pid)
    box.clean()


def test_an_id_can_be_used_again_after_delete(box: Box) -> None:
    for _ in range(3):
        box.run("-d").ok()
        box.wait_status("stopped")
        box.delete().ok()
    box.clean()


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "a/b", "a b", "a\nb", "ä", "-x*", "x" * 1025])
def test_a_bad_id_is_refused(box: Box, id: str) -> None:
    box.save()
    before = sorted(os.listdir(box.place))
    result = box.verb("create", "--bundle", str(box.bundle), "--", id)
    assert result.code != 0, result
    assert "Traceback" not in result.err, result
    assert result.err
    after = [name for name in os.listdir(box.place) if not name.startswith(("out", "err"))]
    assert set(after) <= {*before, "state"}
    assert not box.root.exists() or not [
        p for p in box.root.rglob("*") if p.name != "state.json" and p.is_dir()
    ]


@pytest.mark.parametrize("id", ["a", "A-b_c.d+e", "0", "x" * 200])
def test_an_unusual_but_valid_id_works(box: Box, id: str) -> None:
    box.ids = {box.id}
    box.linux["cgroupsPath"] = f"/{box.id}"
    box.run(id=id).ok()
    box.create(id=id).ok()
    assert box.state(id)["id"] == id
    box.delete("--force", id=id).ok()


@pytest.mark.beyond_runc("needs a short --root as well, but for a FIFO only")
def test_a_state_directory_with_a_long_name_works(box: Box) -> None:
    """The name of a unix socket has 108 bytes at most; an engine's directory may be longer."""
    box.root = box.place / ("d" * 120) / ("e" * 120)
    box.root.mkdir(parents=True)
    box.create().ok()
    box.start().ok()
    box.wait_status("stopped")
    box.delete().ok()


@pytest.mark.parametrize("word", ["TERM", "SIGTERM", "15", "term", "sigterm"])
def test_kill_takes_the_signal_by_name_and_number(box: Box, word: str) -> None:
    box.script("trap 'echo got it; exit 3' TERM; echo ready; while :; do usleep 10000; done")
    box.run("-d").ok()
    out = box.last_out
    wait_for(lambda: "ready" in out.read_text(), "the trap")
    box.kill(word).ok()
    wait_for(lambda: "got it" in out.read_text(), "the signal")
    box.wait_status("stopped")


def test_kill_sends_term_when_no_signal_is_named(box: Box) -> None:
    box.script("trap 'echo got it; exit' TERM; echo ready; while :; do usleep 10000; done")
    box.run("-d").ok()
    out = box.last_out
    wait_for(lambda: "ready" in out.read_text(), "the trap")
    box.kill().ok()
    wait_for(lambda: "got it" in out.read_text(), "the signal")


def test_kill_knows_realtime_signals(box: Box) -> None:
    box.script("trap 'echo got it; exit' 35; echo ready; while :; do usleep 10000; done")
    box.run("-d").ok()
    out = box.last_out
    wait_for(lambda: "ready" in out.read_text(), "the trap")
    box.kill("35").ok()
    wait_for(lambda: "got it" in out.read_text(), "the signal")


@pytest.mark.parametrize("word", ["NOSUCH", "SIGNOSUCH", "99999", "-3", "1.5"])
def test_kill_with_an_unknown_signal_is_refused_and_changes_nothing(box: Box, word: str) -> None:
    pid = box.sleeping()
    result = box.verb("kill", "--", box.id, word)
    assert result.code == 1, result
    result.failed(word)
    assert alive(pid)


def test_kill_of_a_stopped_container_is_refused(box: Box) -> None:
    box.run("-d").ok()
    box.wait_status("stopped")
    result = box.kill("TERM")
    assert result.code == 1, result
    # containerd and cri-o take these words for success
    assert "not running" in result.err or "process already finished" in result.err


def test_kill_signals_the_first_process_only(box: Box) -> None:
    box.script("sleep 1000 & trap 'echo got it' USR1; echo ready; while :; do usleep 10000; done")
    box.run("-d").ok()
    out = box.last_out
    wait_for(lambda: "ready" in out.read_text(), "the trap")
    box.kill("USR1").ok()
    wait_for(lambda: "got it" in out.read_text(), "the signal")
    assert any(b"1000" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids_in_cgroups(box.id))


@pytest.mark.parametrize("flag", ["--all", "-a"])
def test_kill_all_reaches_every_process(box: Box, flag: str) -> None:
    box.script("setsid sleep 1000 & setsid sleep 1001 & exec sleep 1002")
    box.run("-d").ok()
    wait_for(lambda: len(pids_in_cgroups(box.id)) == 3, "three processes")
    pids = pids_in_cgroups(box.id)
    box.kill("KILL", flags=[flag]).ok()
    wait_for(lambda: not [pid for pid in pids if alive(pid)], "end of all processes")
    box.wait_status("stopped")


def test_kill_all_of_a_stopped_container_reaches_what_it_left_behind(box: Box) -> None:
    """Without a pid namespace children outlive the first process; engines send `kill --all` for them."""
    box.drop_namespace("pid")
    box.script("setsid sleep 1000 & exit 0")
    box.run("-d").ok()
    box.wait_status("stopped")
    pids = wait_for(lambda: pids_in_cgroups(box.id), "the child")
    box.kill("KILL", flags=["--all"]).ok()
    wait_for(lambda: not [pid for pid in pids if alive(pid)], "end of the child")
    box.delete().ok()


@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_kill_ends_a_container_that_was_not_started(box: Box, name: str) -> None:
    box.create().ok()
    pid = box.pid()
    box.kill(name).ok()
    wait_for(lambda: not alive(pid), f"end of the created process by {name}", 5)
    assert box.status() == "stopped"
    box.start().failed()
    box.delete().ok()
    box.clean()


def test_pause_stops_and_resume_continues_every_process(box: Box) -> None:
    box.script("while :; do echo x; usleep 10000; done")
    box.run("-d").ok()
    out = box.last_out
    wait_for(lambda: out.stat().st_size > 10, "output")
    box.verb("pause", box.id).ok()
    assert box.status() == "paused"
    time.sleep(0.05)
    size = out.stat().st_size
    time.sleep(0.2)
    assert out.stat().st_size == size
    box.verb("resume", box.id).ok()
    assert box.status() == "running"
    wait_for(lambda: out.stat().st_size > size, "output after resume")


def test_pause_and_resume_refuse_what_is_not_running(box: Box) -> None:
    box.run("-d").ok()
    box.wait_status("stopped")
    assert box.verb("pause", box.id).code == 1
    assert box.verb("resume", box.id).code == 1
    assert box.status() == "stopped"


def test_resume_of_a_running_container_is_refused(box: Box) -> None:
    box.sleeping()
    assert box.verb("resume", box.id).code == 1
    assert box.status() == "running"


def test_exec_into_a_paused_container_is_refused_at_once(box: Box) -> None:
    box.sleeping()
    box.verb("pause", box.id).ok()
    box.exec("true").failed("paused", code=255)
    assert box.status() == "paused"
    box.verb("resume", box.id).ok()
    box.exec("true").ok()


def test_exec_with_ignore_paused_waits_for_resume(box: Box) -> None:
    box.sleeping()
    box.verb("pause", box.id).ok()
    box.save()
    child = box.spawn("exec", "--ignore-paused", box.id, "touch", "/tmp/late")
    time.sleep(0.3)
    assert not (box.rootfs / "tmp/late").exists()
    box.verb("resume", box.id).ok()
    assert child.wait(15) == 0
    assert (box.rootfs / "tmp/late").exists()


def test_delete_with_force_ends_a_paused_container(box: Box) -> None:
    pid = box.sleeping()
    box.verb("pause", box.id).ok()
    box.delete("--force").ok()
    assert not alive(pid)
    box.clean()


def test_kill_of_a_paused_container_takes_effect(box: Box) -> None:
    """With cgroup v2 SIGKILL reaches frozen processes; with v1 runc thaws them for it."""
    pid = box.sleeping()
    box.verb("pause", box.id).ok()
    box.kill("KILL").ok()
    wait_for(lambda: not alive(pid), "end of the paused process", 5)


def test_detached_run_returns_at_once_and_the_container_goes_on(box: Box) -> None:
    box.script("until [ -e /tmp/go ]; do usleep 10000; done; echo later")
    box.run("--detach").ok()
    out = box.last_out
    assert box.status() == "running"
    (box.rootfs / "tmp/go").touch()
    wait_for(lambda: "later" in out.read_text(), "output")
    box.wait_status("stopped")
    assert box.status() == "stopped"  # a detached container stays until delete


def test_run_with_keep_leaves_the_stopped_container(box: Box) -> None:
    box.script("exit 7")
    assert box.run("--keep").code == 7
    assert box.status() == "stopped"
    box.delete().ok()
    box.clean()


@pytest.mark.parametrize("verb", ["create", "run"])
def test_pid_file_holds_the_pid_on_the_host_and_nothing_else(box: Box, verb: str) -> None:
    box.args("/bin/sleep", "1000")
    box.save()
    flags = ["-d"] if verb == "run" else []
    where = box.place / "box.pid"
    where.write_text("an older and longer content\n")
    inode = where.stat().st_ino
    box.verb(verb, *flags, "--pid-file", str(where), "--bundle", str(box.bundle), box.id).ok()
    assert where.read_text() == str(box.pid())
    # atomic: a reader sees the old file or the new one, so it is another inode
    assert where.stat().st_ino != inode
    assert [p.name for p in box.place.iterdir() if p.name.startswith(".") or "tmp" in p.name] == []


def test_pid_file_in_a_missing_directory_fails_and_leaves_nothing(box: Box) -> None:
    box.create("--pid-file", str(box.place / "nowhere/box.pid")).failed("nowhere")
    box.clean()


@pytest.mark.beyond_runc("leaves its temporary file")
def test_pid_file_in_place_of_a_directory_fails_and_leaves_nothing(box: Box) -> None:
    place = box.place / "pids"
    (place / "box.pid").mkdir(parents=True)
    box.create("--pid-file", str(place / "box.pid")).failed("box.pid")
    assert [path.name for path in place.iterdir()] == ["box.pid"]
    box.clean()


def test_pid_file_relative_to_the_callers_directory(box: Box) -> None:
    box.create("--pid-file", "relative.pid").ok()
    assert (box.place / "relative.pid").read_text() == str(box.pid())


def test_bundle_defaults_to_the_current_directory(box: Box) -> None:
    box.save()
    box.verb("run", box.id).failed("config.json")
    box.verb("run", box.id, cwd=box.bundle).ok()


def test_bundle_may_be_relative(box: Box) -> None:
    box.args("/bin/sleep", "1000")
    box.save()
    box.verb("run", "-d", "-b", "bundle", box.id).ok()
    assert box.state()["bundle"] == str(box.bundle)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_foreground_run_forwards_signals(box: Box, name: str) -> None:
    box.script(f"trap 'echo got {name}; exit 5' {name}; echo ready; while :; do usleep 10000; done")
    box.save()
    out = box.place / "run.out"
    with open(out, "wb") as stdout:
        child = box.spawn("run", "--bundle", str(box.bundle), box.id, stdout=stdout)
    wait_for(lambda: "ready" in out.read_text(), "the trap")
    child.send_signal(signal.Signals[f"SIG{name}"])
    assert child.wait(15) == 5
    assert f"got {name}" in out.read_text()
    box.clean()


def test_foreground_run_is_not_ended_by_the_end_of_other_processes(box: Box) -> None:
    """SIGCHLD of an orphan that the subreaper inherits is not the end of the container."""
    box.drop_namespace("pid")
    box.script("(sleep 0.1 &) ; sleep 0.5; echo end; exit 9")
    result = box.run()
    assert result.code == 9
    assert "end" in result.out


def test_a_created_container_outlives_the_runtime(box: Box) -> None:
    box.create().ok()
    pid = box.pid()
    time.sleep(0.2)
    assert alive(pid)
    parent = int(proc_status(pid)["PPid"])
    assert parent == 1 or b"create" not in Path(f"/proc/{parent}/cmdline").read_bytes()


@pytest.mark.beyond_runc("several creates may win and tread on each other")
def test_two_creates_of_one_id_at_once_have_one_winner(box: Box) -> None:
    box.args("/bin/sleep", "1000")
    box.save()
    children = [box.spawn("create", "--bundle", str(box.bundle), box.id) for _ in range(5)]
    codes = sorted(child.wait(60) for child in children)
    assert codes == [0, 1, 1, 1, 1]
    assert box.status() == "created"
    assert len(pids_in_cgroups(box.id)) == 1
    box.start().ok()
    assert box.status() == "running"


@pytest.mark.beyond_runc("a start may hang on the FIFO when another wins")
def test_two_starts_at_once_have_one_winner(box: Box) -> None:
    box.script("echo x >> /tmp/starts; sleep 1000")
    box.create().ok()
    children = [box.spawn("start", box.id) for _ in range(5)]
    codes = sorted(child.wait(60) for child in children)
    assert codes == [0, 1, 1, 1, 1]
    wait_for((box.rootfs / "tmp/starts").exists, "the process")
    assert (box.rootfs / "tmp/starts").read_text() == "x\n"


def test_two_deletes_at_once_do_not_hurt(box: Box) -> None:
    box.run("-d").ok()
    box.wait_status("stopped")
    children = [box.spawn("delete", "--force", box.id) for _ in range(5)]
    assert [child.wait(60) for child in children] == [0] * 5
    box.clean()


def test_start_and_delete_at_once_leave_a_whole_container_or_none(box: Box) -> None:
    box.args("/bin/sleep", "1000")
    box.create().ok()
    starter, deleter = box.spawn("start", box.id), box.spawn("delete", "--force", box.id)
    starter.wait(60)
    assert deleter.wait(60) == 0
    box.clean()


def test_many_containers_at_once(new_box: Callable[[], Box]) -> None:
    boxes = [new_box() for _ in range(6)]
    for one in boxes:
        one.script(f"echo {one.id}; exit 4")
        one.save()
        one.out = one.place / "out"  # type: ignore[attr-defined]
    children = []
    for one in boxes:
        with open(one.out, "wb") as stdout:  # type: ignore[attr-defined]
            children.append(one.spawn("run", "--bundle", str(one.bundle), one.id, stdout=stdout))
    for one, child in zip(boxes, children, strict=True):
        assert child.wait(60) == 4
        assert one.out.read_text().strip() == one.id  # type: ignore[attr-defined]
        one.clean()


def killed_in_the_middle_of_create(box: Box) -> None:
    """Kills the runtime while it waits for a hook, which goes on."""
    # A hook has only the environment that it is given; by the marker it is found again.
    box.hook("createRuntime", f"touch {box.place}/in-hook; exec sleep 1000", env=[box.marker])
    box.save()
    child = box.spawn("create", "--bundle", str(box.bundle), box.id)
    wait_for((box.place / "in-hook").exists, "the hook")
    child.kill()
    child.wait()


def end_hooks(box: Box) -> None:
    # A hook is the caller's own process, no part of the container.
    for pid in box.processes():
        if b"1000" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.beyond_runc("the cgroups stay")
def test_a_runtime_killed_in_the_middle_of_create_leaves_what_delete_can_clean(box: Box) -> None:
    killed_in_the_middle_of_create(box)
    box.delete("--force").ok()
    end_hooks(box)
    box.clean()
    box.config.pop("hooks")
    box.run().ok()


@pytest.mark.beyond_runc("the cgroups stay")
def test_a_runtime_killed_in_the_middle_of_create_is_listed_or_gone(box: Box) -> None:
    killed_in_the_middle_of_create(box)
    result = box.verb("list", "--format", "json").ok()
    for entry in json.loads(result.out) or []:
        assert entry["status"] in ("creating", "created", "stopped")
    end_hooks(box)


@pytest.mark.beyond_runc("cgroups stay")
@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_runtime_killed_at_any_moment_leaves_what_delete_can_clean(box: Box, verb: str) -> None:
    box.mount("/mnt", "tmpfs")
    box.args("/bin/sleep", "1000")
    box.save()
    for milliseconds in range(2, 40, 3):
        child = box.spawn(verb, "--bundle", str(box.bundle), box.id)
        time.sleep(milliseconds / 1000)
        child.kill()
        child.wait()
        box.delete("--force").ok()
        wait_for(
            lambda: not box.processes() and not box.leftovers(), f"nothing left after {milliseconds} ms", 5
        )
    box.args("/bin/true")
    box.run().ok()


def test_a_created_container_whose_creator_was_killed_can_be_started(box: Box) -> None:
    """Whoever called create may end before start: the container does not depend on it."""
    box.script("echo started > /tmp/marker")
    box.save()
    box.verb("create", "--bundle", str(box.bundle), box.id, start_new_session=True).ok()
    box.start().ok()
    wait_for((box.rootfs / "tmp/marker").exists, "the process to run")


def test_the_state_during_create_is_creating(box: Box) -> None:
    """Hooks of createRuntime see it on stdin; `state` waits for the lock or says creating."""
    box.hook("createRuntime", f"cat > {box.place}/hook.json")
    box.create().ok()
    state = json.loads((box.place / "hook.json").read_text())
    assert state["status"] == "creating"
    assert state["id"] == box.id


def test_a_container_killed_by_the_host_is_stopped(box: Box) -> None:
    pid = box.sleeping()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "its end")
    assert box.status() == "stopped"
    box.delete().ok()
    box.clean()


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_the_container(box: Box) -> None:
    """The recorded start time tells a reused pid apart: here the record is given the pid of this test."""
    pid = box.sleeping()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "its end")
    for path in box.root.rglob("state.json"):
        text = path.read_text()
        assert str(pid) in text
        path.write_text(text.replace(str(pid), str(os.getpid())))
    assert box.status() == "stopped"
    assert box.kill("TERM").code == 1


def test_list_shows_each_container_in_a_table(box: Box) -> None:
    pid = box.sleeping()
    lines = box.verb("list").ok().out.splitlines()
    assert lines[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    words = lines[1].split()
    assert words[:4] == [box.id, str(pid), "running", str(box.bundle)]
    assert words[5] == "root"


def test_list_in_json_and_quiet(box: Box) -> None:
    assert json.loads(box.verb("list", "--format", "json").ok().out) in (None, [])
    assert box.verb("list", "--quiet").ok().out == ""
    pid = box.sleeping()
    entries = json.loads(box.verb("list", "-f", "json").ok().out)
    assert [(e["id"], e["pid"], e["status"], e["bundle"], e["rootfs"]) for e in entries] == [
        (box.id, pid, "running", str(box.bundle), str(box.rootfs))
    ]
    assert box.verb("list", "-q").ok().out == f"{box.id}\n"


def test_list_with_an_unknown_format_is_refused(box: Box) -> None:
    box.verb("list", "--format", "yaml").failed("format")


def test_ps_lists_the_container_s_processes(box: Box) -> None:
    box.script("sleep 1000 & exec sleep 1001")
    box.run("-d").ok()
    wait_for(lambda: len(pids_in_cgroups(box.id)) == 2, "two processes")
    pids = sorted(pids_in_cgroups(box.id))
    assert sorted(json.loads(box.verb("ps", "--format", "json", box.id).ok().out)) == pids
    lines = box.verb("ps", box.id).ok().out.splitlines()
    assert "PID" in lines[0].split()
    column = lines[0].split().index("PID")
    assert sorted(int(line.split()[column]) for line in lines[1:]) == pids


def test_ps_passes_options_to_ps(box: Box) -> None:
    pid = box.sleeping()
    lines = box.verb("ps", box.id, "-o", "pid,comm").ok().out.splitlines()
    assert [line.split() for line in lines] == [["PID", "COMMAND"], [str(pid), "sleep"]]


def test_a_container_without_cgroup_leftovers_after_a_child_cgroup(box: Box) -> None:
    """A container with its cgroups mounted writable may make children; delete removes them too."""
    box.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev"])
    box.add_namespace("cgroup")
    box.script(
        "cd /sys/fs/cgroup; for d in . *; do mkdir -p $d/child/grandchild 2>/dev/null; done; sleep 1000"
    )
    box.run("-d").ok()
    wait_for(
        lambda: [p for p in cgroups_named(box.id) if os.path.isdir(f"{p}/child/grandchild")], "child cgroups"
    )
    box.delete("--force").ok()
    box.clean()


def test_a_terminal_is_needed_for_a_detached_container_with_terminal(box: Box) -> None:
    box.process["terminal"] = True
    box.create().failed("console-socket")
    box.clean()
    box.run("-d").failed("console-socket")
    box.clean()


def test_run_in_the_foreground_with_a_terminal_needs_a_terminal(box: Box) -> None:
    terminal, slave = open_terminal()
    os.close(slave)
    terminal.close()
    box.process["terminal"] = True
    result = box.run()
    assert result.code in (0, 1)
    assert "Traceback" not in result.err
    box.clean()
