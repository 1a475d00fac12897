"""config-linux.md: system calls that are filtered; see agents.py for those that are handed to somebody."""

import errno
import platform
import signal
from typing import Any

from conformance.box import Box
from conformance.container import Container
from conformance.model import NotApplicable, case

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


# An operator, a call that neither the probe nor a runtime makes, the values of a rule, a first argument that
# it matches, and one that it does not.
OPERATORS = (
    ("SCMP_CMP_NE", "getpgid", {"value": 5}, 4, 5),
    ("SCMP_CMP_LT", "getsid", {"value": 5}, 4, 5),
    ("SCMP_CMP_LE", "ioprio_get", {"value": 5}, 5, 6),
    ("SCMP_CMP_EQ", "getpriority", {"value": 5}, 5, 4),
    ("SCMP_CMP_GE", "sched_get_priority_max", {"value": 5}, 5, 4),
    ("SCMP_CMP_GT", "sched_get_priority_min", {"value": 5}, 6, 5),
    ("SCMP_CMP_MASKED_EQ", "sched_getscheduler", {"value": 6, "valueTwo": 4}, 5, 6),
)


@case("seccomp.operators")
def seccomp_operators(box: Box) -> None:
    rules = [
        {
            "names": [call],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": errno.EL2HLT,
            "args": [{"index": 0, **values, "op": op}],
        }
        for op, call, values, _, _ in OPERATORS
    ]
    container = filtered(box, ALLOW, *rules)
    for _, call, _, one, other in OPERATORS:
        container.process["args"] += [f"call:{call}:{one}", f"call:{call}:{other}"]
    report = container.run()
    for op, call, _, one, other in OPERATORS:
        found = report.op(f"call:{call}:{one}")["errno"]
        box.equal("seccomp.operators", found, errno.EL2HLT, f"{op}: the errno of what it matches")
        found = report.op(f"call:{call}:{other}")["errno"]
        box.check("seccomp.operators", found != errno.EL2HLT, f"{op}: it matches {other}")


GETPGID32 = "call32:132:0"


@case("seccomp.architectures")
def seccomp_architectures(box: Box) -> None:
    if platform.machine() != "x86_64":
        raise NotApplicable("the probe makes calls of a second architecture on x86_64 only")
    plain = box.container(GETPGID32).create().start()
    plain.ended()
    if not plain.lines() or plain.report().op(GETPGID32)["errno"]:
        raise NotApplicable("this kernel has no calls of i386")
    rule = {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EL2HLT}
    container = filtered(box, ALLOW, rule)
    container.linux["seccomp"]["architectures"].append("SCMP_ARCH_X86")
    container.process["args"].append(GETPGID32)
    found = container.run().op(GETPGID32)["errno"]
    box.equal("seccomp.architectures", found, errno.EL2HLT, "the errno of i386's call")


@case("seccomp.actions")
def seccomp_actions(box: Box) -> None:
    for action in ("SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"):
        container = filtered(box, ALLOW, {"names": ["getpgid"], "action": action})
        container.process["args"].append("call:getpgid:0")
        container.create().start()
        status = container.ended()
        ended = status in (-signal.SIGSYS, None) and not container.lines()
        box.check("seccomp.actions", ended, f"{action}: the program goes on, or ends with {status}")
    for action, wanted in (("SCMP_ACT_LOG", 0), ("SCMP_ACT_ALLOW", 0), ("SCMP_ACT_TRACE", errno.ENOSYS)):
        rule = {"names": ["getpgid"], "action": action}
        # What is allowed has to be told from what is not.
        allow = {"names": NEEDED.split(), "action": "SCMP_ACT_ALLOW"}
        container = filtered(box, {"defaultAction": "SCMP_ACT_ERRNO"}, allow, rule)
        container.process["args"].append("call:getpgid:0")
        found = container.run().op("call:getpgid:0")["errno"]
        box.equal("seccomp.actions", found, wanted, f"{action}: the errno of the call")


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
    )
    box.refused(
        "seccomp.default-errno-unsupported",
        default,
        lambda bad: default(bad, defaultErrnoRet=errno.EXDEV),
        "defaultErrnoRet with SCMP_ACT_LOG",
    )
