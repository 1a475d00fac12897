"""The container's process (config.md, "Process"; config-linux.md): identity, limits, environment, seccomp."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest
from harness import Box, parse_status, proc_status

ALL = "0000000020000420"  # the default capabilities: KILL, NET_BIND_SERVICE, AUDIT_WRITE
NONE = "0000000000000000"


def status_of(box: Box) -> dict[str, str]:
    """/proc/self/status of the container's own process."""
    box.args("/bin/cat", "/proc/self/status")
    return parse_status(box.run().ok().out)


# -- user, groups, umask


@pytest.mark.shows("/process/user/{uid,gid,additionalGids}")
def test_user_group_and_additional_groups(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 2000]}
    status = status_of(box)
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["1001"] * 4
    assert status["Groups"].split() == ["5", "2000"]


def test_no_groups_of_the_caller_are_kept(box: Box) -> None:
    box.save()
    result = box.verb("run", "--bundle", str(box.bundle), box.id, extra_groups=[77])
    assert result.code == 0
    box.args("/bin/cat", "/proc/self/status")
    box.save()
    result = box.verb("run", "--bundle", str(box.bundle), box.id, extra_groups=[77]).ok()
    assert parse_status(result.out)["Groups"] == ""


@pytest.mark.shows("/process/user/umask")
@pytest.mark.parametrize(("umask", "text"), [(0o27, "0027"), (0o0, "0000"), (None, "0022")])
def test_umask(box: Box, umask: int | None, text: str) -> None:
    if umask is not None:
        box.process["user"]["umask"] = umask
    assert box.sh("umask") == text + "\n"


def test_a_user_without_privilege_cannot_write_the_root(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    assert "Permission denied" in box.run_script("touch /x").err


def test_a_working_directory_only_the_user_may_enter(box: Box) -> None:
    """Root without CAP_DAC_OVERRIDE cannot enter it, so it has to be entered as the user."""
    (box.rootfs / "private").mkdir(mode=0o700)
    os.chown(box.rootfs / "private", 1000, 1000)
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["cwd"] = "/private"
    assert box.sh("pwd") == "/private\n"


# -- cwd, env, args


@pytest.mark.shows("/process/cwd")
def test_working_directory(box: Box) -> None:
    box.process["cwd"] = "/usr/bin"
    assert box.sh("pwd") == "/usr/bin\n"


def test_a_missing_working_directory_is_made_as_runc_does(box: Box) -> None:
    box.process["cwd"] = "/new/work/dir"
    assert box.sh("pwd; stat -c '%a %u' .") == "/new/work/dir\n755 0\n"


def test_a_working_directory_that_is_a_file_is_refused(box: Box) -> None:
    box.process["cwd"] = "/etc/passwd"
    box.run().failed("/process/cwd", "etc/passwd", "not a directory")
    box.clean()


@pytest.mark.shows("/process/cwd")
def test_a_relative_working_directory_is_refused(box: Box) -> None:
    box.process["cwd"] = "tmp"
    box.run().failed("/process/cwd")
    box.clean()


@pytest.mark.shows("/process/env")
def test_the_environment_is_the_configured_one(box: Box) -> None:
    box.process["env"] = ["PATH=/bin", "A=b=c", "EMPTY=", "SPACES=a b  c"]
    box.args("/bin/env")
    lines = box.run().ok().out.splitlines()
    assert {"PATH=/bin", "A=b=c", "EMPTY=", "SPACES=a b  c"} <= set(lines)
    assert {line.split("=")[0] for line in lines} <= {"PATH", "A", "EMPTY", "SPACES", "HOME"}


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/tmp"), (4242, "/")])
def test_home_comes_from_the_container_s_passwd(box: Box, uid: int, home: str) -> None:
    box.process["user"] = {"uid": uid, "gid": uid}
    assert box.sh("echo $HOME") == home + "\n"


def test_a_configured_home_is_kept(box: Box) -> None:
    box.process["env"].append("HOME=/elsewhere")
    assert box.sh("echo $HOME") == "/elsewhere\n"


def test_the_last_of_two_values_of_a_variable_counts(box: Box) -> None:
    box.process["env"] += ["KEY=first", "KEY=second"]
    assert box.sh("echo $KEY") == "second\n"


@pytest.mark.shows("/process/args")
def test_a_program_without_slash_is_searched_in_the_container_s_path(box: Box) -> None:
    script = box.rootfs / "opt/tool"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho tool $0\n")
    script.chmod(0o755)
    box.process["env"] = ["PATH=/no/such:/etc:/opt:/bin"]
    box.args("tool")
    assert box.run().ok().out == "tool /opt/tool\n"


def test_the_search_passes_over_files_that_cannot_be_executed(box: Box) -> None:
    for name, mode in (("first", 0o644), ("second", 0o755)):
        (box.rootfs / name).mkdir()
        (box.rootfs / name / "tool").write_text(f"#!/bin/sh\necho {name}\n")
        (box.rootfs / name / "tool").chmod(mode)
    box.process["env"] = ["PATH=/first:/second:/bin"]
    box.args("tool")
    assert box.run().ok().out == "second\n"


def test_a_program_with_a_slash_is_relative_to_the_working_directory(box: Box) -> None:
    box.process["cwd"] = "/bin"
    box.args("./echo", "hello")
    assert box.run().ok().out == "hello\n"
    box.process["cwd"] = "/"
    box.args("bin/echo", "hello")
    assert box.run().ok().out == "hello\n"


def test_the_host_s_path_is_not_searched(box: Box) -> None:
    box.process["env"] = ["PATH=/no/such"]
    box.args("sh", "-c", "echo wrong")
    box.run().failed("sh", "executable file not found in $PATH")
    box.clean()


@pytest.mark.shows("/process/args")
def test_arguments_pass_unchanged(box: Box) -> None:
    box.args("/bin/sh", "-c", 'for a in "$@"; do echo "<$a>"; done', "sh", "", "a b", "ä\n", "$HOME", "*")
    assert box.run().ok().out == "<>\n<a b>\n<ä\n>\n<$HOME>\n<*>\n"


def test_a_long_command_line_and_environment(box: Box) -> None:
    box.process["env"].append("LONG=" + "x" * 100000)
    box.args("/bin/sh", "-c", "echo ${#LONG} ${#1} $#", "sh", *["y" * 1000] * 100)
    assert box.run().ok().out == "100000 1000 100\n"


# -- capabilities


def test_the_capability_sets(box: Box) -> None:
    status = status_of(box)
    assert {name: status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "CapInh": NONE,
        "CapPrm": ALL,
        "CapEff": ALL,
        "CapBnd": ALL,
        "CapAmb": NONE,
    }


@pytest.mark.shows("/process/capabilities/{effective,bounding,inheritable,permitted,ambient}")
def test_each_of_the_five_capability_sets_is_its_own(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "inheritable": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN"],
    }
    status = status_of(box)
    assert int(status["CapBnd"], 16) == 1 << 0 | 1 << 5 | 1 << 6 | 1 << 7
    assert int(status["CapInh"], 16) == 1 << 0 | 1 << 5
    assert int(status["CapAmb"], 16) == 1 << 0
    # execve of a user other than root leaves the ambient ones
    assert int(status["CapPrm"], 16) == 1 << 0
    assert int(status["CapEff"], 16) == 1 << 0


def test_a_user_other_than_root_has_no_capabilities_without_ambient_ones(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000}
    status = status_of(box)
    assert (status["CapPrm"], status["CapEff"], status["CapBnd"]) == (NONE, NONE, ALL)


def test_no_capabilities_at_all(box: Box) -> None:
    box.process["capabilities"] = {}
    status = status_of(box)
    assert (status["CapPrm"], status["CapEff"], status["CapBnd"]) == (NONE, NONE, NONE)


@pytest.mark.beyond_runc("keeps root's capabilities")
def test_an_absent_capabilities_object_means_none(box: Box) -> None:
    """The specification is silent; nothing that was not asked for is the safe reading."""
    box.process.pop("capabilities")
    status = status_of(box)
    assert status["CapEff"] in (NONE, status["CapBnd"])


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
@pytest.mark.parametrize("asked", [False, True])
def test_what_the_runtime_lacks_is_in_a_user_namespace_as_configured(box: Box, asked: bool) -> None:
    """Whoever enters a user namespace has all capabilities in it, also those that the runtime gave up."""
    box.command = ["setpriv", "--bounding-set=-sys_boot", *box.command]
    box.user_namespace()
    names = ["CAP_KILL", "CAP_SYS_BOOT"] if asked else ["CAP_KILL"]
    box.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), names)
    box.process["noNewPrivileges"] = False
    pid = box.sleeping()
    inside = parse_status(box.exec_sh("cat /proc/self/status"))
    expected = 1 << 5 | (1 << 22 if asked else 0)
    for status in (proc_status(pid), inside):
        assert {int(status[key], 16) for key in ("CapBnd", "CapPrm", "CapEff")} == {expected}


def test_an_unknown_capability_is_a_warning_and_skipped(box: Box) -> None:
    box.process["capabilities"]["bounding"] = [*box.process["capabilities"]["bounding"], "CAP_NO_SUCH"]
    box.args("/bin/true")
    result = box.run()
    if result.code == 0:
        assert "CAP_NO_SUCH" in result.err
    else:
        result.failed("CAP_NO_SUCH", "/process/capabilities/bounding")
    box.clean()


# -- limits and flags


@pytest.mark.shows("/process/rlimits/*/{type,soft,hard}")
def test_rlimits(box: Box) -> None:
    box.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 4 << 20, "hard": 8 << 20},
        {"type": "RLIMIT_NPROC", "soft": 1000, "hard": 1500},
    ]
    box.args("/bin/cat", "/proc/self/limits")
    lines = {line[:25].strip(): line[26:].split()[:2] for line in box.run().ok().out.splitlines()}
    assert lines["Max open files"] == ["100", "200"]
    assert lines["Max core file size"] == ["0", "0"]
    assert lines["Max stack size"] == [str(4 << 20), str(8 << 20)]
    assert lines["Max processes"] == ["1000", "1500"]


def test_a_raised_hard_limit(box: Box, sys_resource: None) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_MSGQUEUE", "soft": 1 << 40, "hard": 1 << 40}]
    box.args("/bin/cat", "/proc/self/limits")
    assert str(1 << 40) in box.run().ok().out


@pytest.mark.shows("/process/rlimits/*/hard")
@pytest.mark.shows("/process/rlimits/*/hard")
def test_a_raised_hard_limit_in_a_user_namespace(box: Box, sys_resource: None) -> None:
    """The kernel asks for CAP_SYS_RESOURCE on the host, which the process does not have any more."""
    box.user_namespace()
    box.process["rlimits"] = [
        {"type": "RLIMIT_MSGQUEUE", "soft": 1 << 39, "hard": 1 << 40},
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
    ]
    box.sleeping()
    limits = box.exec_sh("cat /proc/1/limits /proc/self/limits")
    assert limits.count(str(1 << 40)) == limits.count(str(1 << 39)) == 2
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [
        ["100", "200"]
    ] * 2


@pytest.mark.parametrize(
    ("user", "pointer"),
    [
        ({"uid": 70000, "gid": 0}, "/process/user/uid"),
        ({"uid": 0, "gid": 70000}, "/process/user/gid"),
        ({"uid": 0, "gid": 0, "additionalGids": [5, 70000]}, "/process/user/additionalGids"),
    ],
)
def test_an_id_that_the_user_namespace_does_not_map_is_named(
    box: Box, user: dict[str, Any], pointer: str
) -> None:
    box.user_namespace()
    box.process["user"] = user
    box.run().failed(pointer, "not mapped")
    box.clean()


def test_a_hard_limit_that_cannot_be_raised_names_the_rlimit(box: Box) -> None:
    if "Max msgqueue size         819200               819200" not in Path("/proc/self/limits").read_text():
        pytest.skip("another limit is set here")
    if int(proc_status("self")["CapEff"], 16) >> 24 & 1:
        pytest.skip("this host has CAP_SYS_RESOURCE and may raise it")
    box.process["rlimits"] = [{"type": "RLIMIT_MSGQUEUE", "soft": 1 << 40, "hard": 1 << 40}]
    box.run().failed("/process/rlimits/0", "RLIMIT_MSGQUEUE", "CAP_SYS_RESOURCE")
    box.clean()


@pytest.mark.shows("/process/noNewPrivileges")
@pytest.mark.parametrize(("value", "text"), [(True, "1"), (False, "0")])
def test_no_new_privileges(box: Box, value: bool, text: str) -> None:
    box.process["noNewPrivileges"] = value
    assert status_of(box)["NoNewPrivs"] == text


@pytest.mark.shows("/process/oomScoreAdj")
@pytest.mark.parametrize("value", [100, 1000])
def test_oom_score_adj(box: Box, value: int) -> None:
    box.process["oomScoreAdj"] = value
    assert box.sh("cat /proc/self/oom_score_adj") == f"{value}\n"


def test_a_negative_oom_score_adj(box: Box, sys_resource: None) -> None:
    box.process["oomScoreAdj"] = -500
    assert box.sh("cat /proc/self/oom_score_adj") == "-500\n"


def test_the_process_has_default_signal_dispositions_and_mask(box: Box) -> None:
    """What the runtime or its caller ignores or blocks must not be inherited."""
    box.args("/bin/cat", "/proc/self/status")
    box.save()
    before, box.command = (
        box.command,
        ["sh", "-c", 'trap "" HUP PIPE QUIT USR1; exec "$@"', "sh", *box.command],
    )
    try:
        status = parse_status(box.verb("run", "--bundle", str(box.bundle), box.id).ok().out)
    finally:
        box.command = before
    assert int(status["SigBlk"], 16) == 0
    if not box.is_runc:
        ours = ~(3 << 31)  # 32 and 33 are the C library's own
        assert int(status["SigIgn"], 16) & ours == 0


def test_the_process_is_a_session_leader_without_a_parent_inside(box: Box) -> None:
    fields = box.sh("cat /proc/1/stat").split()
    pid, parent, group, session = (int(fields[n]) for n in (0, 3, 4, 5))
    assert (pid, parent, group, session) == (1, 0, 1, 1)


# -- kernel parameters


@pytest.mark.shows("/linux/sysctl")
def test_sysctls_of_the_container_s_namespaces(box: Box) -> None:
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "4194304", "fs.mqueue.msg_max": "20"}
    before = Path("/proc/sys/kernel/shmmax").read_text()
    out = box.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max")
    assert out == "1\n4194304\n20\n"
    assert Path("/proc/sys/kernel/shmmax").read_text() == before


def test_a_sysctl_with_slashes_names_an_interface_with_a_dot(box: Box) -> None:
    box.linux["sysctl"] = {"net/ipv4/conf/all/forwarding": "1"}
    assert box.sh("cat /proc/sys/net/ipv4/conf/all/forwarding") == "1\n"


@pytest.mark.parametrize("name", ["vm.swappiness", "kernel.panic", "kernel.hostname"])
def test_a_sysctl_of_the_host_is_refused(box: Box, name: str) -> None:
    path = Path("/proc/sys") / name.replace(".", "/")
    before = path.read_text()
    box.linux["sysctl"] = {name: "1"}
    box.run().failed(f"/linux/sysctl/{name}")
    assert path.read_text() == before
    box.clean()


def test_a_network_sysctl_without_a_network_namespace_is_refused(box: Box) -> None:
    box.drop_namespace("network")
    box.mounts[:] = [m for m in box.mounts if m["type"] != "sysfs"]
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    box.run().failed("/linux/sysctl/net.ipv4.ip_forward", "network")
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before
    box.clean()


@pytest.mark.parametrize(
    ("kind", "file", "sysctl", "pointer"),
    [
        ("network", "net", {"net.core.somaxconn": "4000"}, "/linux/sysctl/net.core.somaxconn"),
        ("ipc", "ipc", {"kernel.msgmni": "31000"}, "/linux/sysctl/kernel.msgmni"),
        ("uts", "uts", {}, "/hostname"),
    ],
)
def test_what_would_change_the_host_through_a_joined_namespace_is_refused(
    box: Box, kind: str, file: str, sysctl: dict[str, str], pointer: str
) -> None:
    """Docker joins the host's network namespace by a path (--network host)."""
    box.drop_namespace(kind)
    box.linux["namespaces"].append({"type": kind, "path": f"/proc/{os.getpid()}/ns/{file}"})
    box.linux["sysctl"] = sysctl
    before = os.uname().nodename
    if kind == "uts":
        box.config["hostname"] = "not-the-host"
    else:
        box.config.pop("hostname", None)
    box.run().failed(pointer, "the runtime's own")
    assert os.uname().nodename == before
    box.clean()


def test_a_sysctl_the_kernel_does_not_know_names_it(box: Box) -> None:
    box.linux["sysctl"] = {"net.no_such.thing": "1"}
    box.run().failed("net.no_such.thing")
    box.clean()


# -- seccomp


def seccomp(box: Box, *rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **fields: Any) -> None:
    box.linux["seccomp"] = {"defaultAction": default, "syscalls": list(rules), **fields}


@pytest.mark.shows("/linux/seccomp/syscalls/*/{names,action,errnoRet}")
def test_seccomp_errno(box: Box) -> None:
    seccomp(box, {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28})
    result = box.run_script("mkdir /tmp/x")
    assert "No space left on device" in result.err
    assert status_of(box)["Seccomp"] == "2"


@pytest.mark.shows("/linux/seccomp/syscalls/*/errnoRet")
def test_seccomp_errno_defaults_to_eperm(box: Box) -> None:
    seccomp(box, {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"})
    assert "Operation not permitted" in box.run_script("mkdir /tmp/x").err


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD"])
def test_seccomp_kill(box: Box, action: str) -> None:
    seccomp(box, {"names": ["mkdir", "mkdirat"], "action": action})
    assert box.run_script("mkdir /tmp/x; echo code $?").out == "code 159\n"
    assert not (box.rootfs / "tmp/x").exists()


def test_seccomp_trap(box: Box) -> None:
    seccomp(box, {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_TRAP"})
    assert box.run_script("mkdir /tmp/x; echo code $?").out == "code 159\n"


def test_seccomp_log_lets_the_call_pass(box: Box) -> None:
    seccomp(box, {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_LOG"})
    assert box.sh("mkdir /tmp/x && echo made") == "made\n"


@pytest.mark.shows("/linux/seccomp/{defaultAction,defaultErrnoRet}")
def test_seccomp_allow_list_with_a_default_errno(box: Box) -> None:
    """As Docker's profile: everything that is not allowed fails, unknown calls with ENOSYS."""
    names = (
        "read write open openat close stat fstat lstat newfstatat mmap mprotect munmap brk "
        "rt_sigaction rt_sigprocmask rt_sigreturn ioctl access execve execveat exit exit_group "
        "arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom uname readlink "
        "readlinkat getcwd futex getuid getgid geteuid getegid getpid getppid fcntl dup dup2 dup3 "
        "wait4 clone clone3 vfork fork sigaltstack poll lseek chdir setuid setgid setgroups prctl "
        "capset capget close_range fchdir fstatfs statfs getdents64 pread64 pwrite64 "
        "sched_getaffinity tgkill gettid seccomp faccessat faccessat2 sendmsg recvmsg statx umask "
        "pipe pipe2 mount epoll_ctl epoll_pwait epoll_create1 nanosleep madvise sched_yield getpgrp "
        "setpgid getpgid writev readv sigreturn restart_syscall clock_gettime clock_nanosleep time"
    ).split()
    seccomp(box, {"names": names, "action": "SCMP_ACT_ALLOW"}, default="SCMP_ACT_ERRNO", defaultErrnoRet=1)
    result = box.run_script("echo shell works; mkdir /tmp/x")
    assert result.out == "shell works\n"
    assert "Operation not permitted" in result.err


@pytest.mark.shows("/linux/seccomp/syscalls/*/args/*/{index,value,op}")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="number of personality(2) values")
def test_seccomp_arguments(box: Box) -> None:
    """personality(2) may set 0 and the 32-bit values of `linux32`, as Docker's profile has it, or not."""
    rule = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}
    seccomp(box, {**rule, "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]})
    assert "Argument list too long" in box.run_script("linux32 echo x").err
    seccomp(box, {**rule, "args": [{"index": 0, "value": 9, "op": "SCMP_CMP_EQ"}]})
    assert box.sh("linux32 echo x") == "x\n"


@pytest.mark.shows("/linux/seccomp/syscalls/*/args/*/{value,valueTwo,op}")
@pytest.mark.parametrize(
    ("operator", "value", "two", "denied"),
    [
        ("SCMP_CMP_NE", 8, 0, False),
        ("SCMP_CMP_NE", 9, 0, True),
        ("SCMP_CMP_LT", 9, 0, True),
        ("SCMP_CMP_LT", 8, 0, False),
        ("SCMP_CMP_LE", 8, 0, True),
        ("SCMP_CMP_GE", 9, 0, False),
        ("SCMP_CMP_GT", 7, 0, True),
        ("SCMP_CMP_MASKED_EQ", 0xC, 8, True),
        ("SCMP_CMP_MASKED_EQ", 0x7, 1, False),
    ],
)
def test_seccomp_comparisons(box: Box, operator: str, value: int, two: int, denied: bool) -> None:
    """`linux32` calls personality(8)."""
    args = [{"index": 0, "value": value, "valueTwo": two, "op": operator}]
    seccomp(box, {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7, "args": args})
    result = box.run_script("linux32 echo passed")
    assert ("Argument list too long" in result.err) == denied
    assert (result.out == "passed\n") != denied


def test_an_unknown_syscall_name_is_a_warning_and_skipped(box: Box) -> None:
    """Profiles name calls that are newer than the libseccomp here."""
    seccomp(box, {"names": ["no_such_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"})
    result = box.run_script("mkdir /tmp/x; echo end")
    assert result.out == "end\n"
    assert "Operation not permitted" in result.err
    assert not (box.rootfs / "tmp/x").exists()


@pytest.mark.shows("/linux/seccomp/architectures")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="busybox here is of x86-64")
def test_seccomp_with_several_architectures(box: Box) -> None:
    """Architectures beside the native one do not take the filter from native calls."""
    seccomp(
        box,
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"},
        architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    )
    assert "Operation not permitted" in box.run_script("mkdir /tmp/x").err


@pytest.mark.parametrize("nnp", [True, False])
def test_seccomp_without_no_new_privileges_and_as_a_user(box: Box, nnp: bool) -> None:
    """Without no_new_privs the filter has to be loaded while CAP_SYS_ADMIN is still held."""
    box.process["noNewPrivileges"] = nnp
    box.process["user"] = {"uid": 1000, "gid": 1000}
    seccomp(box, {"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7})
    result = box.run_script("touch /tmp/f; chmod 600 /tmp/f")
    assert "Argument list too long" in result.err
    status = status_of(box)
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1" if nnp else "0")


def test_seccomp_notify_is_refused_by_its_pointer(box: Box) -> None:
    if box.is_runc:
        pytest.skip("runc differs: it supports notify")
    seccomp(box, {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"})
    box.run().failed("/linux/seccomp")
    box.clean()
