"""The life of tasks under containerd: exec, ps, metrics, pause, kill, delete, and what survives whom."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import Containerd
from machine import CGROUPS, cgroups, wait_for
from tasks import DEVOURS, IMAGE, pid_of

# What ctr prints of processes and times is new each time.
NUMBERS = r"[ \d]+"


def status_of(ctr: Containerd, container: str) -> str:
    lines = ctr("tasks", "list", compare=False).out.splitlines()
    return next((line.split()[2] for line in lines if line.split()[0] == container), "none")


def deleted(ctr: Containerd, container: str, status: int) -> None:
    """Deletes a task that has ended, with this exit status."""
    said = ctr("tasks", "delete", container).err
    assert f"task {container} exit with non-zero exit code {status}" in said


def shim_of(ctr: Containerd) -> int:
    """The process that stands between containerd and its only task."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except OSError:  # no process, or one that has ended
            continue
        if "containerd-shim-runc-v2" in words[0] and str(ctr.socket) in words:
            return int(entry.name)
    raise AssertionError("no shim")


@contextmanager
def events(ctr: Containerd) -> Iterator[Path]:
    """A file that containerd's events are written to."""
    path = ctr.place.directory / "events"
    with path.open("w") as file:
        process = subprocess.Popen([*ctr.command(), "events"], stdout=file)
    try:
        # ctr does not say when it listens.
        probe = 0

        def heard() -> str:
            nonlocal probe
            probe += 1
            ctr("containers", "create", IMAGE, f"probe{probe}", "true", compare=False)
            ctr("containers", "delete", f"probe{probe}", compare=False)
            return path.read_text()

        wait_for(heard, "event")
        yield path
    finally:
        process.terminate()
        process.wait()


def test_exec_with_exit_status_user_directory_and_terminal(ctr: Containerd) -> None:
    ctr("run", "--detach", IMAGE, "base", "sleep", "1000")
    look = ctr.shell("id; pwd; grep -c . /proc/self/cgroup; (exit 5)")
    ended = ctr(
        *["tasks", "exec", "--exec-id", "one", "--user", "bob", "--cwd", "/var", "base", *look], code=5
    )
    assert ended.out.startswith("uid=1000(bob) gid=1000(bob)")
    ctr("tasks", "exec", "--exec-id", "two", "base", "no-such-program", code=1)
    ctr("tasks", "exec", "--exec-id", "three", "--user", "none", "base", "true", code=1, ignore=r"mount\d+")
    console = ctr.console("tasks", "exec", "--exec-id", "four", "--tty", "base", "sh", lines=30, columns=90)
    console.expect("# ")
    # ctr gives the terminal its size a moment after the start.
    console.type("tty; while ! stty size | grep 30; do usleep 10000; done; exit 4\n")
    console.expect("/dev/pts/0")
    console.expect("30 90")
    assert console.end() == 4
    # Detached, and killed as one.
    ctr("tasks", "exec", "--exec-id", "five", "--detach", "base", "sleep", "2000")
    # In no order.
    listed = ctr("tasks", "ps", "base", compare=False).out
    assert len(listed.splitlines()) == 3
    assert "five" in listed
    ctr("tasks", "kill", "--exec-id", "five", "--signal", "KILL", "base")
    # The first process goes on.
    wait_for(lambda: len(ctr("tasks", "ps", "base", compare=False).out.splitlines()) == 2, "the end of five")
    ctr("tasks", "delete", "--exec-id", "five", "base", code=None)
    assert status_of(ctr, "base") == "RUNNING"


def test_what_a_stopped_task_is_asked(ctr: Containerd) -> None:
    ctr("run", "--detach", IMAGE, "ending", "sh", "-c", "exit 9")
    wait_for(lambda: status_of(ctr, "ending") == "STOPPED", "its end")
    ctr("tasks", "exec", "--exec-id", "late", "ending", "true", code=1)
    ctr("tasks", "kill", "ending", code=1)
    ctr("tasks", "pause", "ending", code=1)
    # Its exit status is that of delete.
    deleted(ctr, "ending", 9)
    ctr("tasks", "delete", "ending", code=1)
    ctr("tasks", "start", "ending", code=9)
    ctr("tasks", "start", "none", code=1)


def test_signals(ctr: Containerd) -> None:
    script = "trap 'echo usr1 > /tmp/got' USR1; trap 'exit 3' TERM; sleep 1000 & while :; do wait; done"
    ctr("run", "--detach", IMAGE, "trapping", "sh", "-c", script)
    pid = pid_of(ctr, "trapping")
    caught = re.compile(r"SigCgt:\s*([0-9a-f]+)")

    def traps() -> bool:
        found = caught.search(Path(f"/proc/{pid}/status").read_text())
        return found is not None and bool(int(found[1], 16) & 1 << (signal.SIGUSR1 - 1))

    wait_for(traps, "traps")
    ctr("tasks", "kill", "--signal", "SIGUSR1", "trapping")
    wait_for(lambda: Path(f"/proc/{pid}/root/tmp/got").exists(), "signal")
    ctr("tasks", "kill", "trapping")
    wait_for(lambda: status_of(ctr, "trapping") == "STOPPED", "its end")
    deleted(ctr, "trapping", 3)
    # To all: of a container with the host's processes in sight, only its own.
    flags = ["--with-ns", f"pid:/proc/{os.getpid()}/ns/pid"]
    three = "sleep 1000 & sleep 1000 & exec sleep 1000"
    ctr("run", "--detach", *flags, IMAGE, "many", "sh", "-c", three, ignore=r"/\d+/")
    wait_for(lambda: len(ctr("tasks", "ps", "many", compare=False).out.splitlines()) == 4, "three processes")
    pids = [int(line.split()[0]) for line in ctr("tasks", "ps", "many", compare=False).out.splitlines()[1:]]
    ctr("tasks", "kill", "--all", "--signal", "KILL", "many")
    wait_for(lambda: status_of(ctr, "many") == "STOPPED", "its end")
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of all")
    deleted(ctr, "many", 137)


def test_pause_and_metrics(ctr: Containerd) -> None:
    script = "while :; do echo >> /tmp/ticks; usleep 10000; done"
    ctr("run", "--detach", "--memory-limit", str(32 << 20), IMAGE, "ticking", "sh", "-c", script)
    ticks = Path(f"/proc/{pid_of(ctr, 'ticking')}/root/tmp/ticks")
    wait_for(ticks.exists, "tick")
    ctr("tasks", "pause", "ticking")
    assert status_of(ctr, "ticking") == "PAUSED"
    before = ticks.stat().st_size
    assert ctr("tasks", "metrics", "ticking", compare=False).out
    ctr("tasks", "exec", "--exec-id", "frozen", "ticking", "true", code=1)
    ctr("tasks", "delete", "ticking", code=1)
    assert ticks.stat().st_size == before
    ctr("tasks", "resume", "ticking")
    wait_for(lambda: ticks.stat().st_size > before, "tick")
    assert status_of(ctr, "ticking") == "RUNNING"
    metrics = ctr("tasks", "metrics", "ticking", ignore=r"[ \d]+|ID").out
    if not (CGROUPS / "cgroup.controllers").exists():
        values = dict(line.split() for line in metrics.splitlines() if len(line.split()) == 2)
        assert int(values["cpuacct.usage"]) > 0
        assert int(values["memory.usage_in_bytes"]) > 0
        assert int(values["memory.limit_in_bytes"]) == 32 << 20
    # A paused container can be killed and deleted.
    ctr("tasks", "pause", "ticking")
    ctr("tasks", "delete", "--force", "ticking", code=None)
    assert status_of(ctr, "ticking") == "none"


def test_create_start_attach_list_and_delete(ctr: Containerd) -> None:
    ctr("containers", "create", "--env", "A=1", IMAGE, "made", "sh")
    assert ctr("containers", "list", "--quiet").out == "made\n"
    ctr("tasks", "start", "--detach", "made")
    assert status_of(ctr, "made") == "RUNNING"
    ctr("tasks", "list", ignore=NUMBERS)
    attached = ctr("tasks", "attach", "made", stdin="echo got-$A; usleep 200000; exit 6\n", code=6)
    assert attached.out == "got-1\n"
    # A second time, from the same container.
    ctr("tasks", "delete", "made", code=None)
    ctr("tasks", "start", "--detach", "made")
    ctr("containers", "delete", "made", code=1)
    ctr("tasks", "delete", "made", code=1)
    ctr("tasks", "delete", "--force", "made", code=None)
    ctr("containers", "delete", "made")


def test_a_checkpoint_that_cannot_be_made_leaves_the_task_running(ctr: Containerd) -> None:
    ctr("run", "--detach", IMAGE, "wanted", "sleep", "1000")
    pid = pid_of(ctr, "wanted")
    failed = ctr("tasks", "checkpoint", "wanted", code=1, ignore=r"path= .*|DIR\S*", timeout=30)
    assert "checkpoint" in failed.err or "criu" in failed.err.lower()
    assert pid_of(ctr, "wanted") == pid
    assert status_of(ctr, "wanted") == "RUNNING"
    assert ctr("tasks", "exec", "--exec-id", "x", "wanted", *ctr.shell("echo on")).out == "on\n"


def test_an_oom_kill_is_an_event(ctr: Containerd) -> None:
    with events(ctr) as file:
        # The shim begins to watch a moment after the start, and may miss what comes with the end.
        script = f"usleep 400000; ({DEVOURS}); status=$?; usleep 500000; exit $status"
        ctr("run", "--rm", "--memory-limit", str(16 << 20), IMAGE, "hungry", "sh", "-c", script, code=137)
        wait_for(lambda: '/tasks/delete {"container_id":"hungry"' in file.read_text(), "event")
        seen = re.findall(r'(/tasks/\S+) \{"container_id":"hungry"', file.read_text())
    assert "/tasks/oom" in seen
    # Its order among the others is a race.
    ctr.recording.add(("the events",), None, "\n".join(sorted(seen)), "", None)


def test_the_events_of_a_life_are_those_that_clients_wait_for(ctr: Containerd) -> None:
    with events(ctr) as file:
        ctr("run", "--detach", IMAGE, "watched", "sleep", "1000")
        ctr("tasks", "exec", "--exec-id", "extra", "watched", "true")
        ctr("tasks", "pause", "watched")
        ctr("tasks", "resume", "watched")
        ctr("tasks", "kill", "--signal", "KILL", "watched")
        wait_for(lambda: file.read_text().count("/tasks/exit") == 2, "event")
        deleted(ctr, "watched", 137)
        wait_for(lambda: "/tasks/delete" in file.read_text(), "event")
        seen = re.findall(r'(/tasks/\S+) \{"container_id":"watched"', file.read_text())
    ctr.recording.add(("the events",), None, "\n".join(seen), "", None)
    assert seen[0] == "/tasks/create"


def test_a_killed_shim_leaves_nothing(ctr: Containerd) -> None:
    """containerd then asks a new shim to delete, which asks the runtime: `delete --force`."""
    ctr("run", "--detach", IMAGE, "orphan", "sh", "-c", "sleep 1000 & sleep 1000 & exec sleep 1000")
    wait_for(lambda: len(ctr("tasks", "ps", "orphan", compare=False).out.splitlines()) == 4, "processes")
    pids = [int(line.split()[0]) for line in ctr("tasks", "ps", "orphan", compare=False).out.splitlines()[1:]]
    os.kill(shim_of(ctr), signal.SIGKILL)
    wait_for(lambda: status_of(ctr, "orphan") == "none", "clean-up")
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of its processes")
    wait_for(lambda: not cgroups(f"{ctr.place.name}/orphan"), "the removal of its cgroups")
    assert not [*ctr.ROOT.glob(f"{ctr.place.name}/orphan")]
    assert ctr("containers", "list", "--quiet").out == "orphan\n"
    # And it can be started once more.
    ctr("tasks", "start", "--detach", "orphan")
    assert status_of(ctr, "orphan") == "RUNNING"


def test_a_container_goes_on_while_containerd_restarts(ctr: Containerd) -> None:
    ctr("run", "--detach", IMAGE, "lasting", "sh", "-c", "trap 'exit 4' TERM; while :; do usleep 10000; done")
    pid = pid_of(ctr, "lasting")
    ctr.restart()
    assert pid_of(ctr, "lasting") == pid
    assert ctr("tasks", "exec", "--exec-id", "after", "lasting", *ctr.shell("echo on")).out == "on\n"
    ctr("tasks", "kill", "lasting")
    wait_for(lambda: status_of(ctr, "lasting") == "STOPPED", "its end")
    deleted(ctr, "lasting", 4)
    # It ends while nobody looks.
    ctr("run", "--detach", IMAGE, "alone", "sh", "-c", "trap 'exit 5' TERM; while :; do usleep 10000; done")
    pid = pid_of(ctr, "alone")
    ctr.daemon.stop()
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "its end")
    ctr.restart()
    assert status_of(ctr, "alone") == "STOPPED"
    deleted(ctr, "alone", 5)
