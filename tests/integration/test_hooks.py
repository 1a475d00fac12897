"""The six kinds of hooks (config.md, "POSIX-platform Hooks"): when, where, with what, and their failure."""

import json
import os
import shlex
import signal
import time
from collections.abc import Callable

import pytest
from harness import Box, proc_status, wait_for

KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
INSIDE = {"startContainer"}  # hooks whose path is looked up in the container


def record(box: Box, kind: str, text: str) -> None:
    """A hook that appends to a file that both sides can write: /record inside is box.place/record."""
    where = "/record" if kind in INSIDE else str(box.place / "record")
    box.hook(kind, f"{{ {text}; }} >> {where}")


@pytest.fixture
def recording(box: Box) -> Box:
    (box.place / "record").touch()
    box.mount("/record", source=str(box.place / "record"))
    return box


def recorded(box: Box) -> list[str]:
    return (box.place / "record").read_text().splitlines()


@pytest.mark.shows("/hooks/*/*/path")
@pytest.mark.beyond_runc("poststart may overtake startContainer")
def test_all_hooks_run_in_order(recording: Box) -> None:
    box = recording
    for kind in KINDS:
        record(box, kind, f"echo {kind} 1")
        record(box, kind, f"echo {kind} 2")
    box.script("echo process >> /record")
    box.run().ok()
    lines = recorded(box)
    before = [f"{kind} {n}" for kind in KINDS[:4] for n in (1, 2)]
    assert lines[:8] == before
    assert [line for line in lines if line.startswith("poststart")] == ["poststart 1", "poststart 2"]
    assert lines[-2:] == ["poststop 1", "poststop 2"]
    assert "process" in lines[8:11]


@pytest.mark.beyond_runc("runs poststart at create")
def test_hooks_run_at_their_verbs(recording: Box) -> None:
    box = recording
    for kind in KINDS:
        record(box, kind, f"echo {kind}")
    box.args("/bin/sleep", "1000")
    box.create().ok()
    assert recorded(box) == KINDS[:3]
    box.start().ok()
    wait_for(lambda: len(recorded(box)) == 5, "startContainer and poststart")
    assert set(recorded(box)[3:]) == {"startContainer", "poststart"}
    box.kill("KILL").ok()
    box.wait_status("stopped")
    assert len(recorded(box)) == 5
    box.delete().ok()
    assert recorded(box)[5:] == ["poststop"]


@pytest.mark.shows("/annotations")
@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_gets_the_state_on_stdin(recording: Box, kind: str) -> None:
    box = recording
    record(box, kind, "cat; echo")
    box.config["annotations"] = {"key": "value"}
    box.args("/bin/sleep", "1000")
    box.create().ok()
    pid = box.pid()
    box.start().ok()
    if kind == "poststop":
        box.kill("KILL").ok()
        box.wait_status("stopped")
        box.delete().ok()
    state = json.loads(wait_for(lambda: recorded(box) and recorded(box)[-1], "the hook"))
    assert state["ociVersion"].startswith("1.")
    assert state["id"] == box.id
    assert state["bundle"] == str(box.bundle)
    assert state["annotations"] == {"key": "value"}
    if kind in ("prestart", "createRuntime", "poststart"):
        assert state["pid"] == pid
    expected = {
        "startContainer": ("created",),
        "poststart": ("created", "running") if box.is_runc else ("running",),
        "poststop": ("stopped",),
    }
    assert state["status"] in expected.get(kind, ("creating",))


@pytest.mark.beyond_runc("tells the host's number before 1.2")
@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_a_hook_inside_the_container_is_told_the_pid_as_seen_there(recording: Box, kind: str) -> None:
    """config.md, "POSIX-platform Hooks": the pid is the one that the hook's own namespace has for it."""
    box = recording
    record(box, kind, "cat; echo")
    box.args("/bin/sleep", "1000")
    box.run("-d").ok()
    assert json.loads(recorded(box)[-1])["pid"] == 1


@pytest.mark.beyond_runc("tells the host's number before 1.2")
def test_a_hook_in_a_joined_pid_namespace_is_told_the_pid_as_seen_there(
    recording: Box, new_box: Callable[[], Box]
) -> None:
    other = new_box()
    box = recording
    box.add_namespace("pid", f"/proc/{other.sleeping()}/ns/pid")
    record(box, "createContainer", "cat; echo")
    box.args("/bin/sleep", "1000")
    box.run("-d").ok()
    inside = proc_status(box.pid())["NSpid"].split()[-1]
    assert inside != "1"
    assert json.loads(recorded(box)[-1])["pid"] == int(inside)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_runs_in_its_namespaces(recording: Box, kind: str) -> None:
    """createContainer and startContainer run in the container's, the others in the runtime's."""
    box = recording
    box.add_namespace("cgroup")
    names = ("uts", "mnt", "net", "ipc", "pid", "cgroup")
    record(box, kind, f"for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done")
    box.args("/bin/sleep", "1000")
    box.run("-d").ok()
    pid = box.pid()
    inside = [os.readlink(f"/proc/{pid}/ns/{n}") for n in names]
    outside = [os.readlink(f"/proc/self/ns/{n}") for n in names]
    if kind == "poststop":
        box.delete("--force").ok()
    lines = wait_for(lambda: recorded(box), "the hook")
    assert lines == (inside if kind in ("createContainer", "startContainer") else outside)


def test_create_container_runs_before_the_pivot_with_the_host_s_files(recording: Box) -> None:
    """The hook's path is the host's, and the container's mounts are there (nvidia's hook lives on it)."""
    box = recording
    record(box, "createContainer", f"ls {box.rootfs}/proc/1/status; ls -d {box.place}")
    box.run().ok()
    assert str(box.place) in recorded(box)


def test_the_root_can_be_changed_by_a_create_runtime_hook_through_the_pid(recording: Box) -> None:
    """Podman's network and nvidia's driver files come this way: nsenter into /proc/PID/ns."""
    box = recording
    script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')"
    box.hook(
        "createRuntime", script + f"; nsenter -t $pid -n readlink /proc/self/ns/net >> {box.place}/record"
    )
    out = box.sh("readlink /proc/self/ns/net")
    assert recorded(box) == out.split()


@pytest.mark.shows("/hooks/*/*/{args,env}")
@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_gets_its_own_arguments_and_environment(recording: Box, kind: str) -> None:
    box = recording
    where = "/record" if kind in INSIDE else str(box.place / "record")
    box.config["hooks"] = {
        kind: [
            {
                "path": "/bin/sh",
                "args": ["sh", "-c", f'echo "$0 $KEY $SECRET" >> {where}', "zero"],
                "env": ["KEY=value"],
            }
        ]
    }
    box.args("/bin/sleep", "1000")
    box.run("-d", env={"SECRET": "of the host"}).ok()
    if kind == "poststop":
        box.delete("--force").ok()
    assert wait_for(lambda: recorded(box), "the hook") == ["zero value "]


@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_failing_hook_before_the_start_removes_the_container(box: Box, kind: str) -> None:
    box.hook(kind, "echo why >&2; exit 3")
    box.run().failed(f"/hooks/{kind}/0", "3")
    box.clean()
    if kind != "startContainer":
        box.create().failed(f"/hooks/{kind}/0", "3")
        box.clean()


@pytest.mark.beyond_runc("leaves the container for delete")
def test_a_failing_start_container_hook_ends_the_lifecycle_at_start(recording: Box) -> None:
    """runtime.md, "Lifecycle": the container is stopped and destroyed, and the poststop hooks run, once."""
    box = recording
    box.hook("startContainer", "echo why >&2; exit 3")
    box.script("echo process >> /record")
    record(box, "poststart", "echo poststart")
    record(box, "poststop", "cat; echo")
    box.create().ok()
    assert recorded(box) == []
    box.start().failed("/hooks/startContainer/0", "3", "why")
    assert [json.loads(line)["status"] for line in recorded(box)] == ["stopped"]
    box.clean()


def test_the_message_of_a_failed_hook_has_what_it_said(box: Box) -> None:
    box.hook("createRuntime", "echo the reason >&2; exit 1")
    box.run().failed("/hooks/createRuntime/0", "the reason")
    box.clean()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_poststop_hooks_run_once_after_a_failed_hook_of_run(recording: Box, kind: str) -> None:
    box = recording
    box.hook(kind, "exit 1")
    record(box, "poststop", "cat; echo")
    box.run().failed(f"/hooks/{kind}/0")
    assert [json.loads(line)["status"] for line in recorded(box)] == ["stopped"]
    box.clean()


def test_hooks_after_a_failed_one_do_not_run(recording: Box) -> None:
    box = recording
    box.hook("createRuntime", "exit 1")
    record(box, "createRuntime", "echo second")
    record(box, "createContainer", "echo third")
    box.script("echo process >> /record")
    box.run().failed("/hooks/createRuntime/0")
    assert "second" not in recorded(box)
    assert "third" not in recorded(box)
    assert "process" not in recorded(box)


def test_poststop_hooks_run_after_a_failed_create(recording: Box) -> None:
    """runtime.md: an error in createRuntime continues the lifecycle at step 12, which runs poststop."""
    box = recording
    box.hook("createRuntime", "exit 1")
    record(box, "poststop", "echo poststop")
    box.run().failed("/hooks/createRuntime/0")
    assert recorded(box) == ["poststop"]


@pytest.mark.beyond_runc("runs poststart at create")
@pytest.mark.parametrize("verb", ["start", "run", "run -d"])
@pytest.mark.parametrize("timeout", [None, 1])
def test_a_failing_poststart_hook_ends_the_lifecycle(
    recording: Box, verb: str, timeout: int | None
) -> None:
    """runtime.md 1.3, "Lifecycle": an error; the container is stopped and destroyed, poststop hooks run."""
    box = recording
    record(box, "poststart", "echo first")
    if timeout is None:
        box.hook("poststart", "echo why >&2; exit 3")
    else:
        box.hook("poststart", "exec sleep 30", timeout=timeout)
    record(box, "poststart", "echo third")
    record(box, "poststop", "cat; echo")
    box.args("/bin/sleep", "1000")
    if verb == "start":
        box.create().ok()
        result = box.start()
    else:
        result = box.run(*verb.split()[1:])
    result.failed("/hooks/poststart/1", *(["3", "why"] if timeout is None else ["1 s"]))
    first, stopped = recorded(box)
    assert first == "first"
    assert json.loads(stopped)["status"] == "stopped"
    box.clean()


def test_a_failing_poststop_hook_is_a_warning_only(recording: Box) -> None:
    box = recording
    box.hook("poststop", "exit 3")
    record(box, "poststop", "echo second")
    result = box.run().ok()
    if not box.is_runc:
        assert "/hooks/poststop/0" in result.err
        assert recorded(box) == ["second"]
    box.clean()


@pytest.mark.shows("/hooks/{prestart,createRuntime,createContainer,startContainer}/*/timeout")
@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_a_hook_that_takes_too_long_is_killed_and_fails(box: Box, kind: str) -> None:
    box.hook(kind, "exec sleep 30", timeout=1)
    start = time.monotonic()
    box.run().failed(f"/hooks/{kind}/0", "1 s")
    assert time.monotonic() - start < 10
    box.clean()


@pytest.mark.beyond_runc("waits for the child")
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a_hook_that_takes_too_long_is_killed_with_its_children(box: Box, kind: str) -> None:
    box.hook(kind, "sleep 30 & wait", timeout=1, env=[box.marker])
    start = time.monotonic()
    box.run().failed(f"/hooks/{kind}/0", "1 s")
    assert time.monotonic() - start < 10
    left = box.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
    box.clean()


@pytest.mark.shows("/hooks/{poststart,poststop}/*/timeout")
def test_a_poststart_hook_that_takes_too_long_is_killed(box: Box) -> None:
    box.hook("poststart", "exec sleep 30", timeout=1)
    box.args("/bin/sleep", "1000")
    start = time.monotonic()
    box.run("-d")
    assert time.monotonic() - start < 10


def test_a_hook_without_a_timeout_may_take_its_time(recording: Box) -> None:
    box = recording
    record(box, "createRuntime", "sleep 1; echo end")
    box.run().ok()
    assert recorded(box) == ["end"]


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "startContainer"])
def test_a_hook_whose_program_is_missing_is_named(box: Box, kind: str) -> None:
    box.config["hooks"] = {kind: [{"path": "/no/such/hook"}]}
    box.run().failed(f"/hooks/{kind}/0", "/no/such/hook", "no such file or directory")
    box.clean()


def test_a_hook_with_a_relative_path_is_refused(box: Box) -> None:
    box.config["hooks"] = {"createRuntime": [{"path": "hook"}]}
    box.run().failed("/hooks/createRuntime/0/path", "absolute")
    box.clean()


def test_no_descriptor_of_the_runtime_reaches_a_hook(recording: Box) -> None:
    box = recording
    for kind in ("createRuntime", "createContainer", "startContainer"):
        record(box, kind, 'for f in /proc/$$/fd/*; do echo -n "${f##*/} "; readlink $f || echo; done')
    box.run().ok()
    text = (box.place / "record").read_text()
    assert str(box.root) not in text
    assert "config.json" not in text
    if not box.is_runc:
        numbers = {line.split()[0] for line in text.splitlines() if len(line.split()) > 1}
        assert numbers <= {"0", "1", "2", "10"}


def test_output_of_hooks_does_not_end_up_in_the_container_s_output(box: Box) -> None:
    box.hook("createRuntime", "echo from the hook")
    box.args("/bin/echo", "from the container")
    assert box.run().ok().out == "from the container\n"


@pytest.mark.beyond_runc("has no state before the container is created")
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "poststart"])
def test_a_hook_can_ask_the_runtime_for_the_state(recording: Box, kind: str) -> None:
    """Without a deadlock on the lock that the verb which runs the hook holds."""
    box = recording
    record(box, kind, f"{shlex.join(box.command)} --root {box.root} state {box.id}")
    box.config["hooks"][kind][0]["timeout"] = 10
    box.config["hooks"][kind][0]["env"] = [f"PATH={os.environ['PATH']}"]
    box.args("/bin/sleep", "1000")
    box.run("-d").ok()
    state = json.loads((box.place / "record").read_text())
    assert (state["id"], state["pid"]) == (box.id, box.pid())
    assert state["status"] == ("running" if kind == "poststart" else "creating")


def test_hooks_of_delete_run_once(recording: Box) -> None:
    box = recording
    record(box, "poststop", "echo poststop")
    box.args("/bin/sleep", "1000")
    box.run("-d").ok()
    box.delete("--force").ok()
    box.delete("--force").ok()
    assert recorded(box) == ["poststop"]


def test_a_large_state_reaches_a_hook_that_does_not_read_it(box: Box) -> None:
    """The pipe holds 64 KiB: neither a deadlock nor a SIGPIPE may come of it."""
    box.config["annotations"] = {f"key{n}": "x" * 1000 for n in range(200)}
    box.hook("createRuntime", "exit 0")
    box.hook("createRuntime", f"cat > {box.place}/state.json")
    box.run().ok()
    assert len(json.loads((box.place / "state.json").read_text())["annotations"]) == 200


def test_poststop_is_told_of_a_container_killed_by_the_host(recording: Box) -> None:
    box = recording
    record(box, "poststop", "cat; echo")
    pid = box.sleeping()
    os.kill(pid, 9)
    box.wait_status("stopped")
    box.delete().ok()
    assert json.loads(recorded(box)[0])["status"] == "stopped"
