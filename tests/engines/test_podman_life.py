"""A container's life under podman: create, init, start, pause, kill, stop, and what is asked about it."""

import json
import time
from pathlib import Path

from machine import wait_for
from podman import Podman


def state(podman: Podman, name: str = "one") -> str:
    return podman("inspect", name, "--format", "{{.State.Status}} {{.State.ExitCode}}").out.strip()


def count(podman: Podman) -> str:
    """How far the first process has come, looked at from the host."""
    pid = podman("inspect", "one", "--format", "{{.State.Pid}}", compare=False).out.strip()
    return Path(f"/proc/{pid}/root/tmp/n").read_text()


def test_the_verbs_of_a_life(podman: Podman) -> None:
    script = (
        'trap "echo told; exit 9" TERM; trap "echo heard" USR1; echo up;'
        "while :; do sleep 0.05; n=$((n + 1)); echo $n >/tmp/n; done"
    )
    podman("create", "--name", "one", "busybox", "sh", "-c", script)
    assert state(podman) == "created 0"
    podman("init", "one")
    assert state(podman) == "initialized 0"
    podman("start", "one")
    logged = ["logs", "one"]
    podman.until(*logged, printed="up")
    podman("kill", "--signal", "USR1", "one")
    podman.until(*logged, printed="heard")
    podman("pause", "one")
    assert state(podman) == "paused 0"
    podman("exec", "one", "true", code=255)
    counted = count(podman)
    time.sleep(0.3)
    assert count(podman) == counted
    podman("unpause", "one")
    wait_for(lambda: count(podman) != counted, "the process to go on")
    podman("stop", "one")
    assert state(podman) == "exited 9"
    podman("start", "one")
    podman("restart", "--time", "0", "one")
    assert state(podman) == "running 0"
    podman("kill", "one")
    assert podman("wait", "one").out == "137\n"
    assert podman(*logged).out.split()[:4] == ["up", "heard", "told", "up"]
    podman("rm", "one")
    podman("kill", "one", code=125)


def test_a_container_that_does_not_listen_is_killed_after_its_time(podman: Podman) -> None:
    podman("run", "-d", "--name", "one", "--stop-signal", "INT", "busybox", "sleep", "1000")
    podman("stop", "--time", "1", "one")
    assert state(podman) == "exited 137"


def test_start_with_its_output(podman: Podman) -> None:
    podman("create", "-i", "--name", "one", "busybox", "sh", "-c", "cat; echo bad >&2; exit 6")
    ended = podman("start", "--attach", "--interactive", "one", stdin="typed\n", code=6)
    assert (ended.out, ended.err) == ("typed\n", "bad\n")
    assert podman("logs", "one").out == "typed\n"


def test_what_is_asked_about_a_container(podman: Podman) -> None:
    podman("run", "-d", "--name", "asked", "busybox", "sh", "-c", "sleep 1000; true")
    podman("exec", "asked", "sh", "-c", "echo new >/new; rm /etc/group; mkdir /home/bob/x")
    top = podman("top", "asked", "pid", "user", "capeff", "seccomp", "args", ignore="(?m)^[0-9]+")
    assert top.out.count("sleep 1000") == 2
    stats = json.loads(podman("stats", "--no-stream", "--format", "json", "asked", compare=False).out)[0]
    assert stats["name"] == "asked" and int(stats["pids"]) == 2 and not stats["mem_usage"].startswith("0B")
    assert set(podman("diff", "asked").out.splitlines()) >= {"A /new", "D /etc/group", "A /home/bob/x"}
    # Not compared: podman tells of an exec's end once or twice, as its clean-up process is slow or fast.
    flags = ["--stream=false", "--filter", "container=asked", "--format", "{{.Status}}"]
    events = podman("events", *flags, compare=False)
    assert events.out.split()[:3] == ["create", "init", "start"]
    merged = podman("mount", "asked", compare=False).out.strip()
    assert podman.look("cat", f"{merged}/new") == "new\n"
    podman("unmount", "asked", compare=False)
    assert podman("inspect", "asked", "--format", "{{.OCIRuntime}} {{.Driver}}").out == "tested overlay\n"
    podman("rename", "asked", "other")
    assert podman("ps", "--format", "{{.Names}} {{.Command}}").out == "other sh -c sleep 1000;...\n"


def test_files_are_copied_and_an_image_is_made(podman: Podman) -> None:
    podman("run", "-d", "--name", "one", "busybox", "sleep", "1000")
    source, target = podman.place.directory / "source", podman.place.directory / "target"
    source.write_text("copied\n")
    podman("cp", str(source), "one:/home/bob/file")
    assert podman("exec", "one", "cat", "/home/bob/file").out == "copied\n"
    podman("cp", "one:/home/bob/file", str(target))
    assert target.read_text() == "copied\n"
    podman("commit", "--quiet", "--change", "CMD cat /home/bob/file", "one", "made")
    assert podman("run", "--rm", "made").out == "copied\n"
    podman("rmi", "made", compare=False)


def test_limits_are_changed(podman: Podman) -> None:
    podman("run", "-d", "--name", "one", "-m", "64m", "busybox", "sleep", "1000")
    podman("update", "--memory", "32m", "--cpus", "0.5", "one")
    script = (
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max;"
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max"
    )
    values = podman("exec", "one", "sh", "-c", script, code=None).out.split()
    assert values[0] == "33554432" and values[1] == "50000"


def test_a_health_check(podman: Podman) -> None:
    flags = ["--health-cmd", "test -e /tmp/well", "--health-interval", "disable", "--health-retries", "1"]
    podman("run", "-d", "--name", "one", *flags, "busybox", "sleep", "1000")
    podman("healthcheck", "run", "one", code=1)
    health = ["inspect", "one", "--format", "{{.State.Health.Status}}"]
    assert podman(*health).out == "unhealthy\n"
    podman("exec", "one", "touch", "/tmp/well")
    podman("healthcheck", "run", "one")
    assert podman(*health).out == "healthy\n"


def test_what_is_generated_from_a_container(podman: Podman) -> None:
    podman("create", "--name", "one", "-m", "64m", "busybox", "sleep", "1000")
    volatile = r"Environment=.*|\w{3} \w{3} [ 0-9:]+ UTC \d+"
    assert "ExecStart=" in podman("generate", "systemd", "--new", "one", ignore=volatile).out
    assert "sleep" in podman("generate", "kube", "one").out
    assert json.loads(podman("generate", "spec", "one").out)["command"] == ["sleep", "1000"]


def test_a_checkpoint_is_refused_with_a_reason(podman: Podman) -> None:
    podman("run", "-d", "--name", "one", "busybox", "sleep", "1000")
    assert "checkpoint" in podman("container", "checkpoint", "one", code=125).err
    assert state(podman) == "running 0"


def test_nothing_is_left_of_what_is_pruned(podman: Podman) -> None:
    podman("run", "--name", "one", "busybox", "true")
    podman("container", "prune", "--force", compare=False)
    assert podman("ps", "--all", "--quiet").out == ""
    runtime = "/run/pyrunc" if podman.runtime.name == "pyrunc" else "/run/runc"
    assert podman.look("find", runtime, "-mindepth", "1", "-not", "-path", "*/@seccomp*") == ""
