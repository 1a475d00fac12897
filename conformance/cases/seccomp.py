"""config-linux.md: system calls that are filtered; see agents.py for those that are handed to somebody."""

import errno
import platform
from typing import Any

from conformance.box import Box
from conformance.container import Container
from conformance.model import case

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def filtered(box: Box, default: dict[str, Any], *rules: dict[str, Any]) -> Container:
    container = box.container(
        "call:personality:0xffffffff", "call:getpriority:0:0", "call:sethostname:0:999999", "call:sched_yield"
    )
    container.process["noNewPrivileges"] = True
    container.linux["seccomp"] = {**default, "syscalls": list(rules)}
    if platform.machine() in ARCHITECTURES:
        container.linux["seccomp"]["architectures"] = [ARCHITECTURES[platform.machine()]]
    return container


ALLOW: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW"}


@case("seccomp.errno-default", "seccomp.errno", "seccomp.args")
def seccomp_rules(box: Box) -> None:
    container = filtered(
        box,
        ALLOW,
        {"names": ["sched_yield"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": errno.ENOTTY,
            "args": [{"index": 0, "value": 0xFFFFFFFF, "op": "SCMP_CMP_EQ"}],
        },
    )
    container.process["args"].append("call:personality:0")
    report = container.run()
    box.equal("seccomp.errno-default", report.op("call:sched_yield")["errno"], errno.EPERM, "the errno")
    box.equal("seccomp.errno", report.op("call:getpriority:0:0")["errno"], errno.EXDEV, "the errno")
    box.equal(
        "seccomp.args",
        report.op("call:personality:0xffffffff")["errno"],
        errno.ENOTTY,
        "the errno of the call with these arguments",
    )
    box.equal(
        "seccomp.args", report.op("call:personality:0")["errno"], 0, "the errno of the call with others"
    )


NEEDED = """
access arch_prctl brk capget capset chdir clock_gettime clone clone3 close close_range connect dup dup2 dup3
epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit exit_group faccessat faccessat2
fchdir fcntl fstat fstatfs futex getcwd getdents64 getegid geteuid getgid getgroups getpid getppid getrandom
getresgid getresuid getrlimit gettid getuid ioctl kill lseek lstat madvise mmap mprotect mremap munmap
nanosleep newfstatat open openat openat2 personality pipe2 poll ppoll prctl pread64 prlimit64 pselect6
pwrite64 read readlink readlinkat readv recvfrom recvmsg restart_syscall rseq rt_sigaction rt_sigprocmask
rt_sigreturn rt_sigtimedwait sched_getaffinity sched_yield seccomp select sendmsg sendto set_robust_list
set_tid_address setgid setgroups sethostname setresgid setresuid setsid setuid sigaltstack socket stat
statfs statx tgkill umask uname unlinkat wait4 waitid write writev
"""


@case("seccomp.default-errno")
def seccomp_default(box: Box) -> None:
    # getpriority is not among these, which are what the probe and runtimes need once the filter is there.
    allowed: dict[str, Any] = {"names": NEEDED.split(), "action": "SCMP_ACT_ALLOW"}
    container = filtered(box, {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.EL2HLT}, allowed)
    report = container.run()
    box.equal("seccomp.default-errno", report.op("call:getpriority:0:0")["errno"], errno.EL2HLT, "the errno")
    box.equal(
        "seccomp.default-errno", report.op("call:sched_yield")["errno"], 0, "the errno of what is allowed"
    )


@case("seccomp.errno-unsupported", "seccomp.default-errno-unsupported")
def seccomp_errno_that_an_action_cannot_have(box: Box) -> None:
    def rule(container: Container, **more: int) -> None:
        container.linux["seccomp"] = {
            **ALLOW,
            "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_KILL_PROCESS", **more}],
        }

    def default(container: Container, **more: int) -> None:
        container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_LOG", **more}

    box.refused(
        "seccomp.errno-unsupported",
        rule,
        lambda bad: rule(bad, errnoRet=errno.EXDEV),
        "errnoRet with SCMP_ACT_KILL_PROCESS",
        at_start=True,
    )
    box.refused(
        "seccomp.default-errno-unsupported",
        default,
        lambda bad: default(bad, defaultErrnoRet=errno.EXDEV),
        "defaultErrnoRet with SCMP_ACT_LOG",
        at_start=True,
    )
