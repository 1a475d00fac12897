"""Containers of pods as a kubelet makes them: what they are given, what is executed in them, how they end."""

import json
from pathlib import Path

import pytest
from cri import OWN, SLEEP, Cri, own_namespaces
from look import status_fields, unified
from machine import cgroup_file, wait_for
from tasks import DEVOURS, VIEW


@pytest.mark.parametrize("privileged", [False, True])
def test_what_a_container_finds_is_the_same(cri: Cri, privileged: bool) -> None:
    pod = cri.pod("seen", security_context={"privileged": privileged})
    security = {"privileged": privileged, "namespace_options": {"pid": OWN}}
    resources = {"memory_limit_in_bytes": str(64 << 20), "cpu_shares": "256", "oom_score_adj": "300"}
    container = pod.container("box", *SLEEP, security=security, resources=resources)
    volatile = r"10\.89\.7\.\d+|[0-9a-f:]{10,}|if\d+|snapshots/\d+|pid \d+'s"
    assert "CapBnd" in container.shell(f"P=1{VIEW}P=$${VIEW}", ignore=volatile)


def test_a_security_context(cri: Cri) -> None:
    pod = cri.pod("secured")
    security = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 50},
        "supplemental_groups": [3000, 3001],
        "readonly_rootfs": True,
        "no_new_privs": True,
        "capabilities": {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["CHOWN", "MKNOD"]},
        "seccomp": {"profile_type": "RuntimeDefault"},
        "masked_paths": ["/proc/kcore", "/proc/acpi", "/sys/firmware"],
        "readonly_paths": ["/proc/sys", "/proc/bus"],
        "namespace_options": {"pid": OWN},
    }
    strict = pod.container("strict", *SLEEP, security=security)
    out = strict.shell("id; grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status")
    assert "uid=1000(bob) gid=50(staff)" in out
    status = status_fields(out)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert {"3000", "3001"} <= set(status["Groups"].split())
    bounding = int(status["CapBnd"], 16)
    # CAP_NET_ADMIN is bit 12, CAP_CHOWN 0, CAP_MKNOD 27.
    assert (bounding >> 12 & 1, bounding & 1, bounding >> 27 & 1) == (1, 0, 0)
    out = strict.shell(
        "touch /tmp/no; cat /proc/kcore | wc -c; ls /proc/acpi /sys/firmware; unshare -U true; true"
    )
    assert "Read-only file system" in out
    assert "unshare" in out
    profile = cri.place.directory / "profile.json"
    refusal = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refusal]}))
    local = {"seccomp": {"profile_type": "Localhost", "localhost_ref": str(profile)}}
    filtered = pod.container("filtered", *SLEEP, security=local)
    assert "No space left on device" in filtered.shell("mkdir /tmp/a", code=1)
    free = pod.container("free", *SLEEP, security={"run_as_username": "www-data"})
    status = status_fields(free.shell("grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid)' /proc/self/status"))
    assert status["Seccomp"] == "0"
    assert status["NoNewPrivs"] == "0"
    assert status["Uid"].split()[0] == "33"


def test_resources_are_those_of_the_cgroup_and_can_be_changed(cri: Cri) -> None:
    pod = cri.pod("limited")
    limits = {
        "cpu_period": "100000",
        "cpu_quota": "50000",
        "cpu_shares": "512",
        "memory_limit_in_bytes": str(64 << 20),
        "oom_score_adj": "500",
        "cpuset_cpus": "0",
    }
    container = pod.container("limited", *SLEEP, resources=limits)
    cgroup = container.cgroup()
    def files() -> list[str]:
        names = (
            ["cpu.max", "memory.max", "cpuset.cpus"]
            if unified()
            else ["cpu.cfs_quota_us", "cpu.shares", "memory.limit_in_bytes", "cpuset.cpus"]
        )
        return [cgroup_file(name, cgroup) for name in names]

    before = files()
    assert before == (
        ["50000 100000", str(64 << 20), "0"] if unified() else ["50000", "512", str(64 << 20), "0"]
    )
    assert not unified() or cgroup_file("cpu.weight", cgroup) in {"20", "59"}
    assert Path(f"/proc/{container.pid()}/oom_score_adj").read_text() == "500\n"
    more = {"cpu_quota": "70000", "cpu_shares": "1024", "memory_limit_in_bytes": str(96 << 20)}
    cri.call("UpdateContainerResources", container_id=container.id, linux=more)
    # What is not named stays.
    assert files() == (
        ["70000 100000", str(96 << 20), "0"] if unified() else ["70000", "1024", str(96 << 20), "0"]
    )
    assert not unified() or cgroup_file("cpu.weight", cgroup) in {"39", "100"}
    stats = cri.call("ContainerStats", container_id=container.id, compare=False)["stats"]
    assert stats["attributes"]["metadata"]["name"] == "limited"
    assert int(stats["cpu"]["usage_core_nano_seconds"]["value"]) > 0
    assert 0 < int(stats["memory"]["working_set_bytes"]["value"]) < 96 << 20
    # Impossible, and the container goes on as it was.
    absent = {"cpuset_cpus": "4000"}
    cri.call("UpdateContainerResources", container_id=container.id, linux=absent, refused="UNKNOWN")
    assert container.shell("echo on") == "on\n"


def test_commands_are_executed_with_exit_status_and_time_limit(cri: Cri) -> None:
    pod = cri.pod("exec")
    container = pod.container(
        "box",
        *SLEEP,
        envs=[{"key": "GIVEN", "value": "of the container"}],
        working_dir="/var",
        security=own_namespaces(),
    )
    said = container.shell("echo $GIVEN; pwd; echo bad >&2; (exit 3)", code=3)
    assert said == "of the container\n/var\nbad\n"
    refused = cri.call("ExecSync", container_id=container.id, cmd=["no-such-program"], refused="UNKNOWN")
    assert "executable file not found in $PATH" in refused["details"]
    cri.call(
        "ExecSync", container_id=container.id, cmd=["sleep", "1234"], timeout=1, refused="DEADLINE_EXCEEDED"
    )
    # What did not end in time is killed.
    wait_for(lambda: "1234" not in container.shell("ps -o args"), "the end of what took too long")
    # A container's death ends what is executed in it.
    assert container.stop() < 5


def test_commands_are_executed_over_the_streaming_server(cri: Cri) -> None:
    container = cri.pod("stream").container("box", *SLEEP)
    shell = "read x; echo got $x; echo bad >&2; usleep 200000; exit 4"
    out, err, status = container.stream("sh", "-c", shell, stdin="words\n")
    assert (out, err) == ("got words\n", "bad\n")
    assert status["status"] == "Failure"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "4"}]
    out, err, status = container.stream("sh", "-c", "tty; usleep 200000", tty=True)
    assert (out, err, status["status"]) == ("/dev/pts/0\r\n", "", "Success")


def test_a_container_is_attached_to_over_the_streaming_server(cri: Cri) -> None:
    pod = cri.pod("attach")
    script = "read x; echo got $x; echo bad >&2; usleep 200000; exit 4"
    container = pod.container("piped", "sh", "-c", script, stdin=True)
    out, err, status = container.attach("words\n")
    # The status is that of attaching: the container's own is in its status.
    assert (out, err, status["status"]) == ("got words\n", "bad\n", "Success")
    assert container.ended()["exit_code"] == 4
    container = pod.container("typed", "sh", "-c", f"stty -echo; {script}", stdin=True, tty=True)
    out, err, status = container.attach("words\n", tty=True)
    assert (out.removeprefix("words\r\n"), err) == ("got words\r\nbad\r\n", "")
    assert container.log()[-2:] == [("stdout", "got words"), ("stdout", "bad")]


def test_logs(cri: Cri) -> None:
    pod = cri.pod("logging")
    script = "echo one; usleep 100000; echo two >&2; usleep 100000; echo -n partial; usleep 200000"
    done = pod.container("lines", "sh", "-c", script)
    assert done.ended().get("exit_code", 0) == 0
    assert done.log() == [("stdout", "one"), ("stderr", "two"), ("stdout", "partial")]
    # On a terminal both are one.
    terminal = pod.container("terminal", "sh", "-c", f"tty; {script}", tty=True)
    terminal.ended()
    assert [line.strip() for _, line in terminal.log()] == ["/dev/pts/0", "one", "two", "partial"]
    # A rotated log.
    ticking = pod.container("ticking", "sh", "-c", "while :; do echo tick; usleep 50000; done")
    path = Path(pod.config["log_directory"], "ticking.log")
    wait_for(lambda: path.exists() and path.stat().st_size, "line")
    path.rename(path.with_suffix(".old"))
    cri.call("ReopenContainerLog", container_id=ticking.id)
    wait_for(lambda: path.exists() and path.stat().st_size, "line")


def test_an_oom_kill_is_the_reason_of_the_end(cri: Cri) -> None:
    # The shim begins to watch a moment after the start, and may miss what comes with the end.
    script = f"usleep 400000; ({DEVOURS}); status=$?; usleep 500000; exit $status"
    limits = {"memory_limit_in_bytes": str(16 << 20)}
    container = cri.pod("hungry").container("hungry", "sh", "-c", script, resources=limits)
    status = container.ended()
    assert (status["exit_code"], status["reason"]) == (137, "OOMKilled")


def test_what_cannot_be_started_says_why(cri: Cri) -> None:
    pod = cri.pod("failing")
    container = pod.created("absent", "no-such-program")
    refused = cri.call("StartContainer", container_id=container.id, refused="UNKNOWN")
    assert '"no-such-program": executable file not found in $PATH' in refused["details"]
    status = container.ended()
    assert (status["exit_code"], status["reason"]) == (128, "StartError")
    container.remove()
    # The pod is none the worse for it.
    assert pod.container("next", *SLEEP).shell("echo on") == "on\n"


def test_mounts_and_devices(cri: Cri) -> None:
    volume = cri.place.directory / "volume"
    (volume / "sub").mkdir(parents=True)
    (volume / "note").write_text("of the host\n")
    container = cri.pod("mounting").container(
        "box",
        *SLEEP,
        mounts=[
            {"container_path": "/volume", "host_path": str(volume)},
            {"container_path": "/fixed", "host_path": str(volume), "readonly": True},
            {"container_path": "/etc/note", "host_path": str(volume / "note"), "readonly": True},
        ],
        devices=[{"container_path": "/dev/tuned", "host_path": "/dev/fuse", "permissions": "rwm"}],
    )
    out = container.shell(
        "cat /etc/note; echo x > /volume/made; touch /fixed/no; stat -c %t,%T /dev/tuned; "
        "head -c 0 /dev/tuned && echo opened"
    )
    assert out.startswith("of the host\na,e5\nopened\n")
    assert "Read-only file system" in out
    assert (volume / "made").read_text() == "x\n"


def test_a_privileged_container(cri: Cri) -> None:
    pod = cri.pod("mighty", security_context={"privileged": True})
    container = pod.container("box", *SLEEP, security={"privileged": True, "namespace_options": {"pid": OWN}})
    own = status_fields(Path("/proc/self/status").read_text())
    inside = status_fields(container.shell("cat /proc/self/status | grep -E '^(Cap|Seccomp:)'"))
    # All that containerd has.
    assert inside["CapEff"] == own["CapEff"]
    assert inside["Seccomp"] == "0"
    out = container.shell("mount -t tmpfs none /tmp && echo mounted; test -e /dev/fuse && echo fuse")
    assert out == "mounted\nfuse\n"
    # Neither masked nor read-only.
    mounts = container.shell("cut -d' ' -f2,4 /proc/mounts | grep -E '^/(proc|sys)' | cut -d, -f1 | sort")
    assert "/proc rw" in mounts
    assert "/proc/kcore" not in mounts
