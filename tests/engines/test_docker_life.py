"""The life of a container under Docker: from create to rm, and what may happen to it between."""

import json
import os
import time
from pathlib import Path

import pytest
from engine import Docker
from look import limit, pid_of
from machine import wait_for
from runs import CATCHES, IMAGE, commands, logs, ready, state

# -- from create to rm -----------------------------------------------------------


def test_created_then_started_waited_for_and_read(docker: Docker) -> None:
    docker("create", "--name", "one", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert state(docker, "one", "Status") == "created"
    assert docker("logs", "one").out == ""
    assert docker("start", "one").out == "one\n"
    assert docker("wait", "one").out == "3\n"
    ended = docker("logs", "one")
    assert (ended.out, ended.err) == ("out\n", "err\n")
    assert docker("start", "--attach", "one", code=3).out == "out\n"
    assert docker("logs", "--tail", "0", "one").out == ""
    assert docker("ps", "--all", "--format", "{{.Names}} {{.Image}} {{.Command}} {{.State}}").out
    kept = json.loads(docker("inspect", "one", compare=False).out)[0]["State"]
    assert kept["Pid"] == 0 and kept["Error"] == "" and not kept["OOMKilled"]
    docker("rename", "one", "other")
    docker("inspect", "--type", "container", "one", code=1)
    assert docker("rm", "other").out == "other\n"
    docker("start", "other", code=1)


def test_what_cannot_be_started_says_why_and_stays_created(docker: Docker) -> None:
    docker("create", "--name", "wrong", IMAGE, "no-such-program")
    docker("start", "wrong", code=1)
    assert state(docker, "wrong", "ExitCode") == "127"
    assert "no-such-program" in state(docker, "wrong", "Error")
    assert state(docker, "wrong", "Status") == "created"
    docker("run", "--name", "closed", IMAGE, "/etc/passwd", code=126)
    docker("run", "--name", "nobody", "-u", "nobody-here", IMAGE, "true", code=125)


def test_stop_asks_and_kill_does_not(docker: Docker) -> None:
    docker("run", "-d", "--name", "one", IMAGE, "sh", "-c", CATCHES)
    ready(docker, "one")
    docker("kill", "--signal", "USR1", "one")
    ready(docker, "one", "one")
    docker("rm", "one", code=1)
    docker("stop", "one")
    assert docker("wait", "one").out == "5\n"
    assert docker("logs", "one").out == "ready\none\nasked to end\n"
    docker("start", "one")
    before = pid_of(docker, "one")
    docker("kill", "one")
    assert docker("wait", "one").out == "137\n"
    assert not Path(f"/proc/{before}").exists()
    docker("kill", "one", code=1)
    # Who does not listen is killed when the time is over.
    docker(
        "run", "-d", "--name", "deaf", "--stop-signal", "HUP", "--stop-timeout", "1", IMAGE, "sleep", "99"
    )
    docker("stop", "deaf")
    assert docker("wait", "deaf").out == "137\n"


def test_restart_is_a_new_process_of_the_same_container(docker: Docker) -> None:
    script = f"echo x >>/count; {CATCHES}"
    docker("run", "-d", "--name", "one", "--hostname", "same", IMAGE, "sh", "-c", script)
    ready(docker, "one")
    before = pid_of(docker, "one")
    docker("restart", "one")
    after = pid_of(docker, "one")
    assert after != before
    wait_for(lambda: logs(docker, "one").count("ready") == 2, "second start")
    assert docker("exec", "one", "cat", "/count", "/etc/hostname").out == "x\nx\nsame\n"
    assert docker("rm", "--force", "one").out == "one\n"
    assert not Path(f"/proc/{after}").exists()


def test_paused_is_frozen(docker: Docker) -> None:
    script = "i=0; while :; do i=$((i+1)); echo $i >/dev/shm/count; sleep 0.01; done"
    docker("run", "-d", "--name", "one", "-v", "/dev/shm", IMAGE, "sh", "-c", script)
    process = pid_of(docker, "one")
    count = Path(f"/proc/{process}/root/dev/shm/count")
    wait_for(lambda: count.exists() and count.read_text(), "the first count")
    docker("pause", "one")
    assert state(docker, "one", "Status") == "paused"
    frozen = count.read_text()
    time.sleep(0.2)
    assert count.read_text() == frozen
    assert "unpause the container before exec" in docker("exec", "one", "true", code=1).err
    assert docker("ps", "--format", "{{.Names}} {{.State}}").out == "one paused\n"
    docker("pause", "one", code=1)
    assert str(process) in docker("top", "one", "-o", "pid", compare=False).out.split()
    docker("unpause", "one")
    wait_for(lambda: count.read_text() not in ("", frozen), "further counts")
    docker("unpause", "one", code=1)
    # A frozen process can be killed, and Docker thaws what is to be removed.
    docker("pause", "one")
    docker("kill", "one")
    wait_for(lambda: not Path(f"/proc/{process}").exists(), "the end")
    docker("start", "one")
    docker("pause", "one")
    docker("rm", "--force", "--volumes", "one")


def test_the_memory_limit_kills_and_is_told(docker: Docker) -> None:
    mounted = {line.split()[-1] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        controllers = line.split(":")[1]
        if controllers and not any(controllers in options for options in mounted):
            pytest.skip(
                f"containerd sees OOM kills only if all hierarchies are mounted, and {controllers} is not"
            )
    grow = "x=aaaaaaaa; while :; do x=$x$x; done"
    docker("run", "--name", "one", "--memory", "16m", IMAGE, "sh", "-c", grow, code=137)
    wait_for(lambda: state(docker, "one", "OOMKilled") == "true", "OOMKilled")
    assert docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "one").out == "exited 137\n"
    # A child that is killed is not the container's end.
    child = f"sh -c '{grow}'; echo child $?; sleep 100"
    docker("run", "-d", "--name", "two", "--memory", "16m", IMAGE, "sh", "-c", child)
    ready(docker, "two", "child 137")
    docker("inspect", "--format", "{{.State.Status}} {{.State.OOMKilled}}", "two")


def test_on_failure_it_is_started_as_often_as_said(docker: Docker) -> None:
    script = "echo x >>/count; wc -l </count; exit 9"
    docker("run", "-d", "--name", "one", "--restart", "on-failure:2", IMAGE, "sh", "-c", script)
    wait_for(lambda: state(docker, "one", "Status") == "exited", "the last failure")
    assert docker("inspect", "--format", "{{.RestartCount}} {{.State.ExitCode}}", "one").out == "2 9\n"
    assert docker("logs", "one").out == "1\n2\n3\n"
    # A success is not a failure; what is stopped on purpose stays so, whatever the policy.
    docker("run", "-d", "--name", "two", "--restart", "on-failure", IMAGE, "true")
    docker("run", "-d", "--name", "three", "--restart", "always", IMAGE, "sh", "-c", CATCHES)
    ready(docker, "three")
    os.kill(pid_of(docker, "three"), 9)
    wait_for(lambda: logs(docker, "three").count("ready") == 2, "a new start")
    docker("stop", "three")
    time.sleep(0.3)
    assert docker("inspect", "--format", "{{.RestartCount}} {{.State.Status}}", "two", "three").out == (
        "0 exited\n1 exited\n"
    )


def test_health_turns_as_the_check_says(docker: Docker) -> None:
    check = ["--health-cmd", "cat /fine && pwd", "--health-interval", "150ms", "--health-retries", "2"]
    docker("run", "-d", "--name", "one", *check, "-w", "/tmp", IMAGE, "sh", "-c", "touch /fine; sleep 100")
    wait_for(lambda: state(docker, "one", "Health.Status") == "healthy", "health")
    docker("exec", "one", "rm", "/fine")
    wait_for(lambda: state(docker, "one", "Health.Status") == "unhealthy", "illness")
    results = json.loads(
        docker("inspect", "--format", "{{json .State.Health.Log}}", "one", compare=False).out
    )
    assert results[-1]["ExitCode"] == 1
    assert results[-1]["Output"] == "cat: can't open '/fine': No such file or directory\n"
    assert docker("ps", "--filter", "health=unhealthy", "--format", "{{.Names}}").out == "one\n"


def test_events_tell_the_whole_life(docker: Docker) -> None:
    since = f"{time.time():.6f}"
    docker("create", "--name", "one", "--network", "none", IMAGE, "sleep", "100")
    docker("start", "one")
    docker("pause", "one")
    docker("unpause", "one")
    docker("exec", "one", "sh", "-c", "exit 4", code=4)
    docker("kill", "one")
    docker("wait", "one")
    docker("rm", "one")
    window = ["--since", since, "--until", f"{time.time():.6f}", "--filter", "container=one"]
    form = "{{.Action}} {{with .Actor.Attributes}}{{.exitCode}}{{end}}"
    told = docker("events", *window, "--format", form, ignore=r"(?<=exec_die) 4|(?<= )\d+\.\d+").out
    happened = [line.replace("<no value>", "").strip() for line in told.splitlines()]
    assert happened == [
        *["create", "start", "pause", "unpause", "exec_create: sh -c exit 4", "exec_start: sh -c exit 4"],
        *["exec_die 4", "kill", "die 137", "destroy"],
    ]


# -- looking at a container, and changing it ---------------------------------------


def test_top_and_stats_see_its_processes(docker: Docker) -> None:
    docker("run", "-d", "--name", "one", "-m", "64m", IMAGE, "sh", "-c", "sleep 77 & exec sleep 78")
    wait_for(lambda: len(docker("top", "one", compare=False).out.splitlines()) == 3, "both processes")
    # By default `ps -ef` of the host, with the host's ids.
    rows = docker("top", "one", compare=False).out.splitlines()
    assert rows[0].split()[:3] == ["UID", "PID", "PPID"]
    assert str(pid_of(docker, "one")) in [row.split()[1] for row in rows[1:]]
    assert commands(docker, "one") == ["sleep 78", "sleep 77"]
    form = "{{.Name}} {{.PIDs}} {{.MemUsage}}"
    name, pids, memory = docker("stats", "--no-stream", "--format", form, "one", compare=False).out.split(
        " ", 2
    )
    assert (name, pids) == ("one", "2") and memory.endswith("/ 64MiB\n")
    used = memory.split(" ")[0]
    assert not used.startswith("0B"), memory


def test_update_reaches_the_cgroup(docker: Docker) -> None:
    docker("run", "-d", "--name", "one", "-m", "64m", IMAGE, "sleep", "100")
    process = pid_of(docker, "one")
    docker("update", "-m", "48m", "--memory-swap", "96m", "--cpus", "0.5", "--pids-limit", "33", "one")
    docker("update", "--cpu-shares", "512", "--cpuset-cpus", "0", "one")
    assert limit(process, "memory.limit_in_bytes", "memory.max") == str(48 << 20)
    assert limit(process, "pids.max", "pids.max") == "33"
    assert limit(process, "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert limit(process, "cpuset.cpus", "cpuset.cpus") == "0"
    # Of 512 shares, as runc converts them before version 1.3.2 and from then on.
    assert limit(process, "cpu.shares", "cpu.weight") in ("512", "20", "59")
    # Raised beyond the old limit of memory and swap, which the kernel wants in one order only.
    docker("update", "-m", "256m", "--memory-swap", "512m", "one")
    assert limit(process, "memory.limit_in_bytes", "memory.max") == str(256 << 20)
    docker("update", "-m", "1k", "one", code=1)
    docker("update", "--cpuset-cpus", "999", "one", code=1)
    docker("restart", "--time", "0", "one")
    process = pid_of(docker, "one")
    assert limit(process, "memory.limit_in_bytes", "memory.max") == str(256 << 20)
    assert limit(process, "pids.max", "pids.max") == "33"


def test_files_go_in_and_out(docker: Docker) -> None:
    here = docker.place.directory
    (here / "given").mkdir()
    (here / "given/file").write_text("from the host\n")
    try:
        docker(
            "run", "-d", "--name", "one", "--tmpfs", "/memory", IMAGE, "sh", "-c", "echo a >/made; sleep 99"
        )
        docker("cp", f"{here}/given", "one:/srv")
        assert docker("exec", "one", "stat", "-c", "%n %U %a", "/srv/file").out == "/srv/file root 644\n"
        docker(
            "exec", "one", "sh", "-c", "echo changed >>/srv/file; ln -s /srv/file /tmp/link; rm /etc/group"
        )
        docker("cp", "--follow-link", "one:/tmp/link", f"{here}/given/taken")
        assert (here / "given/taken").read_text() == "from the host\nchanged\n"
        archive = docker("cp", "one:/srv", "-", compare=False)
        assert "from the host" in archive.out
        changes = docker("diff", "one", compare=False).out.splitlines()
        assert {"A /made", "A /srv", "A /srv/file", "D /etc/group", "C /tmp", "A /tmp/link"} <= set(changes)
        docker("cp", "one:/no/such", str(here / "given"), code=1)
        # What it has become is an image, from which others are made.
        docker("commit", "--change", 'CMD ["cat", "/srv/file"]', "--message", "kept", "one", "made-here")
        assert docker("run", "--rm", "made-here").out == "from the host\nchanged\n"
        docker("image", "rm", "made-here", compare=False)
    finally:
        for path in (here / "given").iterdir():
            path.unlink()
        (here / "given").rmdir()
