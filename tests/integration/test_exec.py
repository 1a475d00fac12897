"""`exec`: another process in a running container, with the flags and the process file of engines."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from harness import (
    ALL_NAMESPACES,
    Box,
    alive,
    namespace,
    parse_status,
    pids_in_cgroups,
    proc_status,
    wait_for,
)


def process_file(box: Box, **fields: object) -> str:
    """A process document like the container's own, changed by fields."""
    path = box.place / "process.json"
    path.write_text(json.dumps({**box.process, **fields}))
    return str(path)


def test_exec_returns_the_exit_code_and_the_output(box: Box) -> None:
    box.sleeping()
    result = box.exec("/bin/sh", "-c", "echo out; echo err >&2; exit 42")
    assert (result.code, result.out, result.err) == (42, "out\n", "err\n")


def test_exec_returns_128_plus_the_signal(box: Box) -> None:
    box.sleeping()
    assert box.exec("/bin/sh", "-c", "kill -KILL $$").code == 137
    assert box.exec("/bin/sh", "-c", "kill -TERM $$").code == 143


def test_exec_joins_every_namespace_cgroup_and_root_of_the_container(box: Box) -> None:
    box.add_namespace("cgroup")
    pid = box.sleeping()
    pid_file = box.place / "exec.pid"
    box.exec("/bin/sleep", "1000", flags=["-d", "--pid-file", str(pid_file)]).ok()
    other = int(pid_file.read_text())
    for kind in ALL_NAMESPACES:
        assert namespace(other, kind) == namespace(pid, kind), kind
    assert Path(f"/proc/{other}/cgroup").read_text() == Path(f"/proc/{pid}/cgroup").read_text()
    assert os.path.samefile(f"/proc/{other}/root", f"/proc/{pid}/root")
    assert other in pids_in_cgroups(box.id)


def test_exec_s_process_has_the_limits_of_the_container_s(box: Box) -> None:
    """Capabilities, no_new_privs, user and environment are those of the configuration."""
    box.process["env"].append("KEY=from config")
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    box.sleeping()
    out = box.exec_sh("cat /proc/self/status; echo KEY=$KEY; pwd; cat /proc/self/limits")
    status = parse_status(out)
    assert status["CapEff"] == status["CapBnd"] == "0000000020000420"
    assert status["NoNewPrivs"] == "1"
    assert "KEY=from config\n" in out
    assert [line.split()[3:5] for line in out.splitlines() if line.startswith("Max open files")] == [
        ["100", "200"]
    ]


def test_exec_in_the_container_sees_its_processes(box: Box) -> None:
    box.sleeping()
    assert "sleep 1000" in box.exec_sh("ps -o pid,args")
    assert box.exec_sh("echo $$").strip() != "1"


def test_exec_environment_flags(box: Box) -> None:
    box.process["env"] += ["A=config", "B=config"]
    box.sleeping()
    out = box.exec_sh("echo $A $B $C", "-e", "A=flag", "-e", "C=new")
    assert out == "flag config new\n"


def test_exec_working_directory(box: Box) -> None:
    box.process["cwd"] = "/tmp"
    box.sleeping()
    assert box.exec_sh("pwd") == "/tmp\n"
    assert box.exec_sh("pwd", "--cwd", "/usr/bin") == "/usr/bin\n"


@pytest.mark.parametrize(
    ("flag", "uid", "gid"), [("1000", 1000, 0), ("1000:1001", 1000, 1001), ("0:5", 0, 5)]
)
def test_exec_user(box: Box, flag: str, uid: int, gid: int) -> None:
    box.sleeping()
    status = parse_status(box.exec_sh("cat /proc/self/status", "--user", flag))
    assert status["Uid"].split() == [str(uid)] * 4
    assert status["Gid"].split() == [str(gid)] * 4


def test_exec_additional_gids(box: Box) -> None:
    box.sleeping()
    flags = ["-u", "1000:1000", "-g", "12", "-g", "34"]
    assert parse_status(box.exec_sh("cat /proc/self/status", *flags))["Groups"].split() == ["12", "34"]


def test_exec_additional_capability(box: Box) -> None:
    box.sleeping()
    status = parse_status(box.exec_sh("cat /proc/self/status", "--cap", "CAP_SYS_CHROOT"))
    for group in ("CapBnd", "CapEff", "CapPrm"):
        assert int(status[group], 16) == 0x20000420 | 1 << 18, group


@pytest.mark.shows("/process/capabilities/inheritable")
def test_exec_adds_no_inheritable_capability(box: Box) -> None:
    """CVE-2022-29162: files with inheritable capabilities would give them to any user."""
    box.process["capabilities"].pop("inheritable", None)
    pid = box.sleeping()
    assert int(proc_status(pid)["CapInh"], 16) == 0
    pid_file = box.place / "p"
    flags = ["-d", "--cap", "CAP_SYS_CHROOT", "--pid-file", str(pid_file)]
    box.exec("/bin/sleep", "1000", flags=flags).ok()
    status = proc_status(int(pid_file.read_text()))
    assert int(status["CapInh"], 16) == 0
    assert int(status["CapAmb"], 16) == 0
    assert int(status["CapPrm"], 16) >> 18 & 1


def test_exec_s_capability_is_ambient_where_the_configuration_makes_it_inheritable(box: Box) -> None:
    """Or a user other than root would not have it."""
    box.capabilities("CAP_SYS_CHROOT")
    box.process["capabilities"]["inheritable"] = ["CAP_SYS_CHROOT"]
    box.sleeping()
    flags = ["--user", "1000", "--cap", "CAP_SYS_CHROOT", "--cap", "CAP_CHOWN"]
    status = parse_status(box.exec_sh("cat /proc/self/status", *flags))
    assert int(status["CapInh"], 16) == 1 << 18
    assert int(status["CapAmb"], 16) == 1 << 18
    assert int(status["CapEff"], 16) == 1 << 18


def test_exec_no_new_privs_flag(box: Box) -> None:
    box.process["noNewPrivileges"] = False
    box.sleeping()
    assert parse_status(box.exec_sh("cat /proc/self/status"))["NoNewPrivs"] == "0"
    assert parse_status(box.exec_sh("cat /proc/self/status", "--no-new-privs"))["NoNewPrivs"] == "1"


def test_exec_process_file(box: Box) -> None:
    box.sleeping()
    path = process_file(
        box,
        args=["/bin/sh", "-c", "echo $KEY; pwd; cat /proc/self/status"],
        env=["KEY=file"],
        cwd="/usr/bin",
        user={"uid": 7, "gid": 8, "additionalGids": [9, 10]},
        capabilities={},
    )
    result = box.verb("exec", "--process", path, box.id).ok()
    lines = result.out.splitlines()
    assert lines[:2] == ["file", "/usr/bin"]
    status = parse_status(result.out)
    assert status["Uid"].split()[0] == "7"
    assert status["Gid"].split()[0] == "8"
    assert status["Groups"].split() == ["9", "10"]
    assert status["CapEff"] == "0000000000000000"


@pytest.mark.shows("/process/oomScoreAdj")
def test_exec_takes_the_container_s_oom_score_where_the_process_file_has_none(box: Box) -> None:
    """Else it would have the score of the engine, which is protected from the OOM killer."""
    box.process["oomScoreAdj"] = 345
    box.sleeping()
    args = ["/bin/cat", "/proc/self/oom_score_adj"]
    fields: dict[str, object] = {"args": args}
    del box.process["oomScoreAdj"]
    result = box.verb("exec", "--process", process_file(box, **fields), box.id).ok()
    assert result.out == "345\n"


@pytest.mark.beyond_runc("takes the container's umask")
def test_exec_takes_the_umask_of_the_process_file(box: Box) -> None:
    box.sleeping()
    path = process_file(box, args=["/bin/sh", "-c", "umask"], user={"uid": 0, "gid": 0, "umask": 0o27})
    assert box.verb("exec", "--process", path, box.id).ok().out == "0027\n"


def test_exec_detached_with_process_and_pid_file_as_engines_do(box: Box) -> None:
    box.sleeping()
    path = process_file(box, args=["/bin/sh", "-c", "echo hello; exec sleep 1000"])
    pid_file = box.place / "exec.pid"
    words = ["--process", path, "--detach", "--pid-file", str(pid_file), box.id]
    box.verb("exec", *words).ok()
    out = box.last_out
    pid = int(pid_file.read_text())
    wait_for(lambda: "hello" in out.read_text(), "output")
    assert alive(pid)
    assert pid in pids_in_cgroups(box.id)
    wait_for(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes(), "exec of sleep")
    box.kill("KILL", flags=["--all"]).ok()
    wait_for(lambda: not alive(pid), "its end")


def test_exec_forwards_signals(box: Box) -> None:
    box.sleeping()
    out = box.place / "exec.out"
    script = "trap 'echo got it; exit 5' USR1; echo ready; while :; do usleep 10000; done"
    with open(out, "wb") as stdout:
        child = box.spawn("exec", box.id, "/bin/sh", "-c", script, stdout=stdout)
    wait_for(lambda: "ready" in out.read_text(), "the trap")
    child.send_signal(signal.SIGUSR1)
    assert child.wait(15) == 5
    assert "got it" in out.read_text()


def test_exec_of_a_missing_program_names_it(box: Box) -> None:
    box.sleeping()
    box.exec("no-such-program").failed("no-such-program", "executable file not found in $PATH", code=255)
    box.exec("/no/such/program").failed("/no/such/program", "no such file or directory", code=255)
    box.exec("/etc/passwd").failed("/etc/passwd", "permission denied", code=255)
    assert box.status() == "running"
    assert len(pids_in_cgroups(box.id)) == 1


def test_exec_into_a_stopped_container_is_refused(box: Box) -> None:
    box.run("-d").ok()
    box.wait_status("stopped")
    box.exec("true").failed("stopped", code=255)


def test_exec_into_a_created_container_works_as_with_runc(box: Box) -> None:
    box.create().ok()
    assert box.exec("/bin/echo", "early").ok().out == "early\n"
    assert box.status() == "created"


def test_exec_without_a_command_is_a_usage_error(box: Box) -> None:
    box.sleeping()
    result = box.exec()
    assert result.code != 0
    assert result.err


def test_exec_with_a_bad_process_file_says_where(box: Box) -> None:
    box.sleeping()
    path = box.place / "process.json"
    path.write_text('{"args": ["true"],\n "cwd": }')
    result = box.verb("exec", "--process", str(path), box.id)
    assert result.code != 0
    if not box.is_runc:
        assert "process.json" in result.err
        assert "2" in result.err
    box.verb("exec", "--process", str(box.place / "missing.json"), box.id).failed("missing.json", code=255)


def test_exec_into_a_user_namespace(box: Box) -> None:
    box.user_namespace()
    box.sleeping()
    assert box.exec_sh("id -u; cat /proc/self/uid_map").split() == ["0", "0", "100000", "65536"]


def test_exec_takes_the_seccomp_filter_of_the_container(box: Box) -> None:
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}],
    }
    box.sleeping()
    result = box.exec("/bin/mkdir", "/tmp/x")
    assert result.code == 1
    assert "Argument list too long" in result.err


def test_exec_many_at_once(box: Box) -> None:
    box.sleeping()
    children = [box.spawn("exec", box.id, "/bin/sh", "-c", f"exit {n}") for n in range(8)]
    assert [child.wait(60) for child in children] == list(range(8))


def test_exec_s_process_holds_nothing_of_the_host(box: Box) -> None:
    """What joins a container must hold nothing of the host that processes inside could reach."""
    box.sleeping()
    box.exec("/bin/sleep", "1000", flags=["-d", "--pid-file", str(box.place / "p")]).ok()
    pid = int((box.place / "p").read_text())
    wait_for(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes(), "execve")
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert os.path.samefile(f"/proc/{pid}/exe", f"/proc/{pid}/root/bin/busybox")


def test_exec_detached_child_is_given_to_the_callers_reaper(box: Box) -> None:
    box.sleeping()
    box.exec("/bin/sleep", "1000", flags=["-d", "--pid-file", str(box.place / "p")]).ok()
    pid = int((box.place / "p").read_text())
    time.sleep(0.1)
    assert alive(pid)
    parent = int(proc_status(pid)["PPid"])
    assert b"exec" not in Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0") or parent == 1


def test_exec_cgroup_puts_the_process_in_a_child_cgroup(box: Box, pure_v2: bool) -> None:
    pid = box.sleeping()
    lines = [line.split(":") for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    if pure_v2:
        child, word = Path(f"/sys/fs/cgroup{lines[0][2]}/child"), "child"
    else:
        path = next(path for _, controllers, path in lines if controllers == "pids")
        child, word = Path(f"/sys/fs/cgroup/pids{path}/child"), "pids:child"
    child.mkdir()
    box.exec("/bin/sleep", "1000", flags=["-d", "--cgroup", word, "--pid-file", str(box.place / "p")]).ok()
    assert (child / "cgroup.procs").read_text().split() == [(box.place / "p").read_text()]


def test_exec_into_a_missing_child_cgroup_is_refused(box: Box, pure_v2: bool) -> None:
    box.sleeping()
    word = "no-such" if pure_v2 else "pids:no-such"
    box.exec("true", flags=["--cgroup", word]).failed("no-such", code=255)
    box.exec("true", flags=["--cgroup", "../.." if pure_v2 else "pids:../.."]).failed(code=255)
