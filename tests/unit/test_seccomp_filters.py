"""What compiled seccomp filters answer, by running them: the kernel's view, without a kernel."""

import errno
import platform
import subprocess
import sys
from struct import Struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrunc.errors import Error
from pyrunc.host import libseccomp
from pyrunc.host.seccomp import filter_for

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers of x86-64")

X86_64, X86, AARCH64, S390X = 0xC000003E, 0x40000003, 0xC00000B7, 0x80000016
X32_BIT = 1 << 30
ALLOW, LOG, TRAP, KILL, KILL_PROCESS = 0x7FFF0000, 0x7FFC0000, 0x30000, 0, 0x80000000
NOTIFY = 0x7FC00000
U32, U64 = (1 << 32) - 1, (1 << 64) - 1


def errno_action(number: int) -> int:
    return 0x50000 | number


ENOSYS, EPERM = errno_action(errno.ENOSYS), errno_action(errno.EPERM)

seccomp_data = Struct("=IIQ6Q")
sock_filter = Struct("=HBBI")


def answer(program: bytes, number: int, *args: int, arch: int = X86_64) -> int:
    """Runs a filter as the kernel does (kernel/seccomp.c, seccomp_run_filters)."""
    data = seccomp_data.pack(number & U32, arch, 0, *args, *[0] * (6 - len(args)))
    code = list(sock_filter.iter_unpack(program))
    memory = [0] * 16
    a = 0
    at = 0
    while True:
        op, true, false, k = code[at]
        at += 1
        if op == 0x20:  # ld [k]
            assert k % 4 == 0
            a = int.from_bytes(data[k : k + 4], sys.byteorder)
        elif op == 0x05:  # ja
            at += k
        elif op == 0x15:  # jeq
            at += true if a == k else false
        elif op == 0x25:  # jgt
            at += true if a > k else false
        elif op == 0x35:  # jge
            at += true if a >= k else false
        elif op == 0x45:  # jset
            at += true if a & k else false
        elif op == 0x54:  # and
            a &= k
        elif op == 0x02:  # st
            memory[k] = a
        elif op == 0x60:  # ld M[k]
            a = memory[k]
        else:
            assert op == 0x06, f"an instruction that filters do not have: {op:#x}"
            return int(k)


@pytest.fixture(params=["seccomp", "pyseccomp"])
def binding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = pytest.importorskip(request.param)
    monkeypatch.setattr(libseccomp, "_binding", lambda: module)
    return module


def number(name: str, arch: int = X86_64) -> int:
    module = libseccomp._binding()
    return int(module.resolve_syscall(arch - (1 << 32) if arch >> 31 else arch, name))


def program_of(**seccomp: Any) -> bytes:
    return filter_for(seccomp, None)[0]


def allow(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def arg(index: int, op: str, value: int, two: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"index": index, "op": f"SCMP_CMP_{op}", "value": value}
    return found if two is None else {**found, "valueTwo": two}


# A profile of the kind that container engines have: most calls allowed, some by their arguments.
ORDINARY = """
    accept accept4 access adjtimex alarm bind brk capget capset chdir chmod chown clock_getres
    clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit exit_group faccessat
    fadvise64 fallocate fchdir fchmod fchmodat fchown fchownat fcntl fdatasync flock fork fstat
    fstatfs fsync ftruncate futex getcwd getdents64 getegid geteuid getgid getpid getppid getrandom
    getrlimit gettid getuid ioctl kill link listen lseek lstat madvise mkdir mmap mprotect munmap
    nanosleep newfstatat open openat pipe pipe2 poll ppoll prctl pread64 prlimit64 pwrite64 read
    readlink readlinkat recvfrom rename rmdir rseq rt_sigaction rt_sigprocmask rt_sigreturn
    sched_getaffinity sched_yield select sendto set_robust_list set_tid_address setgid setgroups
    setuid shutdown sigaltstack socketpair stat statfs statx symlink sysinfo tgkill time umask uname
    unlink unlinkat vfork wait4 waitid write writev waitpid mmap2 _llseek
""".split()
NAMESPACES = 0x7E020000
ENGINE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        allow(*ORDINARY),
        allow("socket", args=[arg(0, "NE", 40)]),
        *[allow("personality", args=[arg(0, "EQ", value)]) for value in (0, 8, 0x20000, U32)],
        allow("clone", args=[arg(0, "MASKED_EQ", NAMESPACES)]),
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
    ],
}


def test_an_engines_default_profile_answers_as_its_author_meant(binding: Any) -> None:
    program = program_of(**ENGINE)
    for name in ORDINARY:
        for arch, bit in ((X86_64, 0), (X86_64, X32_BIT), (X86, 0)):
            token = 0x4000003E if bit else arch
            nr = number(name, token)
            # 102 and 117: calls that 32-bit x86 multiplexes, whose kind is an argument.
            if nr >= 0 and not (arch == X86 and nr in (102, 117)):
                assert answer(program, nr, arch=arch) == ALLOW, (name, arch)
    for name in ("mount", "unshare", "bpf", "ptrace", "reboot", "init_module"):
        assert answer(program, number(name)) == EPERM, name
    assert answer(program, number("socket"), 40) == EPERM
    assert answer(program, number("socket"), 2) == ALLOW
    assert answer(program, number("personality"), 8) == ALLOW
    assert answer(program, number("personality"), 9) == EPERM
    assert answer(program, number("clone"), 17) == ALLOW
    assert answer(program, number("clone"), 0x20000) == EPERM
    assert answer(program, number("clone3")) == ENOSYS


def test_calls_newer_than_the_profile_do_not_exist(binding: Any) -> None:
    program = program_of(defaultAction="SCMP_ACT_ERRNO", syscalls=[allow("read", "openat2")])
    newest = number("openat2")
    assert answer(program, newest) == ALLOW
    assert answer(program, newest - 1) == EPERM
    assert answer(program, newest + 1) == ENOSYS
    assert answer(program, number("read")) == ALLOW
    # x32 is not in the profile: libseccomp kills, as for every architecture that is not.
    assert answer(program, X32_BIT | 5000) == KILL


def test_each_architecture_has_its_own_newest_call(binding: Any) -> None:
    program = program_of(
        defaultAction="SCMP_ACT_ERRNO",
        architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
        syscalls=[allow("read", "renameat2")],
    )
    for arch, token in ((X86_64, X86_64), (X86_64, 0x4000003E), (X86, X86), (AARCH64, AARCH64)):
        newest = number("renameat2", token)
        assert answer(program, newest, arch=arch) == ALLOW, hex(token)
        assert answer(program, newest - 1, arch=arch) == EPERM, hex(token)
        assert answer(program, newest + 1, arch=arch) == ENOSYS, hex(token)
        assert answer(program, number("read", token), arch=arch) == ALLOW, hex(token)
    assert answer(program, 0, arch=S390X) == KILL


def test_calls_that_32_bit_x86_multiplexes_count_by_their_own_number(binding: Any) -> None:
    program = program_of(
        defaultAction="SCMP_ACT_ERRNO", architectures=["SCMP_ARCH_X86"], syscalls=[allow("read", "socket")]
    )
    assert [answer(program, nr, arch=X86) for nr in (3, 358, 359, 360)] == [ALLOW, EPERM, ALLOW, ENOSYS]


def test_a_denied_call_counts_as_known_to_the_profile(binding: Any) -> None:
    program = program_of(
        defaultAction="SCMP_ACT_ERRNO",
        syscalls=[allow("read"), {"names": ["clone3"], "action": "SCMP_ACT_ERRNO"}],
    )
    assert answer(program, number("clone3")) == EPERM
    assert answer(program, number("clone3") + 1) == ENOSYS


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_new_calls_do_not_kill_either(binding: Any, action: str) -> None:
    program = program_of(defaultAction=action, syscalls=[allow("openat")])
    assert answer(program, 5000) == ENOSYS
    assert answer(program, number("write")) in (KILL, KILL_PROCESS, TRAP)


@pytest.mark.parametrize(
    ("action", "expected"),
    [("SCMP_ACT_ALLOW", ALLOW), ("SCMP_ACT_LOG", LOG), ("SCMP_ACT_TRACE", 0x7FF00000 | errno.EPERM)],
)
def test_a_permissive_profile_leaves_new_calls_to_the_kernel(
    binding: Any, action: str, expected: int
) -> None:
    syscalls = [{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]
    program = program_of(defaultAction=action, syscalls=syscalls)
    assert answer(program, 5000) == expected
    assert answer(program, number("mount")) == errno_action(13)


def test_a_profile_without_rules_answers_everything_alike(binding: Any) -> None:
    program = program_of(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=errno.ENXIO)
    assert {answer(program, n) for n in (0, 1, 435, 5000)} == {errno_action(errno.ENXIO)}


def test_on_s390_the_multiplexer_does_not_exist() -> None:
    # Numbers that the kernel does not know arrive as 0 there, which would look like a known call.
    program = libseccomp._prologue({S390X: 300}) + sock_filter.pack(6, 0, 0, ALLOW)
    assert [answer(program, n, arch=S390X) for n in (0, 1, 300, 301)] == [ENOSYS, ALLOW, ALLOW, ENOSYS]
    assert answer(program, 400, arch=X86_64) == ALLOW


def test_two_comparisons_of_one_argument_are_alternatives(binding: Any) -> None:
    program = program_of(
        defaultAction="SCMP_ACT_ERRNO",
        syscalls=[
            allow("prctl", args=[arg(0, "EQ", 1), arg(0, "EQ", 3), arg(1, "EQ", 7)]),
            allow("ioctl", args=[arg(0, "EQ", 1), arg(1, "EQ", 7)]),
        ],
    )
    prctl, ioctl = number("prctl"), number("ioctl")
    assert [answer(program, prctl, *a) for a in ((1, 0), (3, 0), (0, 7), (2, 2))] == [ALLOW] * 3 + [EPERM]
    assert [answer(program, ioctl, *a) for a in ((1, 7), (1, 0), (0, 7))] == [ALLOW, EPERM, EPERM]


def test_unknown_system_calls_are_skipped_with_one_warning(binding: Any) -> None:
    names = ["read", "frobnicate", "read\0", "föö\n"]
    program, warnings = filter_for(
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allow(*names), allow("frobnicate")]}, None
    )
    assert len(warnings) == 1
    assert warnings[0].endswith(r"skipped for: frobnicate, 'read\x00', 'föö\n'")
    assert answer(program, 0) == ALLOW


def test_both_bindings_make_the_same_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    programs: dict[str, list[bytes]] = {}
    small = {**ENGINE, "syscalls": [allow("read", "socket", "shmat")]}
    for name in ("seccomp", "pyseccomp"):
        module = pytest.importorskip(name)
        monkeypatch.setattr(libseccomp, "_binding", lambda module=module: module)
        programs[name] = [program_of(**profile) for profile in (ENGINE, small)]
    assert programs["seccomp"] == programs["pyseccomp"]


# -- against a model -----------------------------------------------------------

# Calls that 32-bit x86 does not multiplex, so that a rule means the same on each architecture.
POOL = """
    read write mmap close prctl ioctl openat kill fcntl clone lseek mount execve futex personality dup
    getpid getuid umask uname sync chdir pipe alarm pause getppid setsid chroot acct reboot swapon
    getpgid fchdir flock msync readv writev getsid mlock munlock
""".split()
EDGES = [0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, U32 - 1, U32]
WIDE_EDGES = [*EDGES, 1 << 32, (1 << 32) + 1, 3 << 32, 1 << 63, (1 << 63) + 2, U64 - 1, U64]
ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
    "SCMP_ACT_KILL": KILL,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_TRAP": TRAP,
}


def rules(values: list[int]) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    """Lists of comparisons for one call.

    Only comparisons for equality are combined with others on the same call: libseccomp (2.5.4)
    forgets alternatives when it combines several that order, such as LT 0 and LT 2^32.
    """
    value, index = st.sampled_from(values), st.integers(0, 5)
    ordered = st.builds(arg, index, st.sampled_from(["NE", "LT", "LE", "GT", "GE"]), value)
    equal = st.builds(arg, index, st.just("EQ"), value)
    # A second value with bits outside of the mask could never be met.
    masked = st.builds(
        lambda index, mask, two: arg(index, "MASKED_EQ", mask, mask & two), index, value, value
    )
    one = st.lists(
        st.one_of(ordered, equal, masked), max_size=3, unique_by=lambda comparison: int(comparison["index"])
    )
    several = st.lists(st.lists(st.one_of(equal, masked), max_size=3), min_size=1, max_size=3)
    return st.one_of(one.map(lambda args: [args]), several)


def actions() -> st.SearchStrategy[tuple[str, int | None]]:
    with_errno = st.tuples(st.just("SCMP_ACT_ERRNO"), st.one_of(st.none(), st.integers(0, 4094)))
    return st.one_of(with_errno, st.sampled_from(sorted(ACTIONS)).map(lambda name: (name, None)))


@st.composite
def profiles(draw: st.DrawFn, values: list[int]) -> dict[str, Any]:
    action, returned = draw(actions())
    profile: dict[str, Any] = {"defaultAction": action}
    if returned is not None:
        profile["defaultErrnoRet"] = returned
    profile["architectures"] = draw(
        st.lists(st.sampled_from(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]), max_size=3)
    )
    # One action for each call: which of several wins is libseccomp's own affair.
    profile["syscalls"] = calls = []
    for name in draw(st.lists(st.sampled_from(POOL), unique=True, max_size=40)):
        action, returned = draw(actions())
        for args in draw(rules(values)):
            call: dict[str, Any] = {"names": [name], "action": action, "args": args}
            if returned is not None:
                call["errnoRet"] = returned
            calls.append(call)
    return profile


def meant(action: str, returned: int | None) -> int:
    if action == "SCMP_ACT_ERRNO":
        return errno_action(errno.EPERM if returned is None else returned)
    return ACTIONS[action]


def holds(comparison: dict[str, Any], args: list[int]) -> bool:
    have, value = args[comparison["index"]], comparison["value"]
    results: dict[str, bool] = {
        "EQ": have == value,
        "NE": have != value,
        "LT": have < value,
        "LE": have <= value,
        "GT": have > value,
        "GE": have >= value,
        "MASKED_EQ": have & value == comparison.get("valueTwo", 0),
    }
    return results[comparison["op"].removeprefix("SCMP_CMP_")]


def model(profile: dict[str, Any], name: str, args: list[int]) -> int:
    default = meant(profile["defaultAction"], profile.get("defaultErrnoRet"))
    for call in profile["syscalls"]:
        if name in call["names"]:
            indexes = [comparison["index"] for comparison in call["args"]]
            matches = [holds(comparison, args) for comparison in call["args"]]
            if (any if len(set(indexes)) < len(indexes) else all)(matches):
                return meant(call["action"], call.get("errnoRet"))
    return default


def check(profile: dict[str, Any], calls: list[tuple[str, list[int]]], arch: int, token: int) -> None:
    program = program_of(**profile)
    named = {call["names"][0] for call in profile["syscalls"]}
    newest = max((number(name, token) for name in named), default=0)
    permissive = profile["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY")
    for name, args in calls:
        nr = number(name, token)
        if nr < 0:
            continue
        new = not permissive and 0 < newest < nr
        assert answer(program, nr, *args, arch=arch) == (ENOSYS if new else model(profile, name, args))


def probes(values: list[int], largest: int) -> st.SearchStrategy[list[tuple[str, list[int]]]]:
    near = sorted({v + d for v in values for d in (-1, 0, 1) if 0 <= v + d <= largest})
    value = st.one_of(st.sampled_from(near), st.integers(0, largest))
    return st.lists(
        st.tuples(st.sampled_from(POOL), st.lists(value, min_size=6, max_size=6)), min_size=10, max_size=40
    )


# The fixture chooses a binding for all of a test's examples.
per_binding = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@per_binding
@given(profile=profiles(WIDE_EDGES), calls=probes(WIDE_EDGES, U64))
def test_generated_profiles_on_64_bits(binding: Any, profile: dict[str, Any], calls: Any) -> None:
    check(profile, calls, X86_64, X86_64)


@per_binding
@given(profile=profiles(EDGES), calls=probes(EDGES, U32))
def test_generated_profiles_on_32_bits(binding: Any, profile: dict[str, Any], calls: Any) -> None:
    check({**profile, "architectures": ["SCMP_ARCH_X86"]}, calls, X86, X86)


# -- the kernel ----------------------------------------------------------------

LOAD = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
code = sys.stdin.buffer.read()
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
program = Program(len(code) // 8, code)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
def call(*args):
    libc.syscall(*args)
    return errno.errorcode[ctypes.get_errno()]
print(call(165, 0, 0, 0, 0, 0), call(435, 0, 0), call(700), call(41, 40, 1, 0))
"""


def test_the_kernel_takes_the_filter_and_obeys_it(binding: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD], input=program_of(**ENGINE), capture_output=True, check=False
    )
    assert done.stderr == b""
    assert done.stdout.split() == [b"EPERM", b"ENOSYS", b"ENOSYS", b"EPERM"]


# -- errors --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "pointer", "text"),
    [
        ({}, "/defaultAction", "SCMP_ACT_ERRNO"),
        ({"defaultErrnoRet": 1}, "/defaultErrnoRet", "remove defaultErrnoRet"),
        ({"listenerMetadata": "x"}, "/listenerMetadata", "listenerPath"),
        ({"listenerMetadata": "x", "listenerPath": ""}, "/listenerMetadata", "listenerPath"),
        ({"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_Z80"]}, "/architectures/1", "'SCMP_ARCH_Z80'"),
        ({"architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_S390X"]}, "/architectures/1", "libseccomp"),
        ({"syscalls": [{"action": "SCMP_ACT_DENY"}]}, "/syscalls/0/action", "'SCMP_ACT_DENY'"),
        ({"syscalls": [{"action": "SCMP_ACT_NOTIFY", "errnoRet": 1}]}, "/syscalls/0/errnoRet", "no errno"),
        ({"syscalls": [{"action": "SCMP_ACT_KILL", "errnoRet": 1}]}, "/syscalls/0/errnoRet", "no errno"),
        ({"syscalls": [{"action": "SCMP_ACT_ERRNO", "errnoRet": 4095}]}, "/syscalls/0/errnoRet", "4094"),
        ({"syscalls": [{"action": "SCMP_ACT_TRACE", "errnoRet": 65536}]}, "/syscalls/0/errnoRet", "65535"),
        ({"syscalls": [allow("read"), allow("read", "")]}, "/syscalls/1/names/1", "empty"),
        ({"syscalls": [allow("read", args=[arg(6, "EQ", 1)])]}, "/syscalls/0/args/0/index", "0 to 5"),
        ({"syscalls": [allow("read", args=[arg(0, "XX", 1)])]}, "/syscalls/0/args/0/op", "SCMP_CMP_XX"),
        ({"syscalls": [allow("read", args=[arg(0, "EQ", 1 << 64)])]}, "/syscalls/0/args/0/value", "64-bit"),
        (
            {"syscalls": [allow("read", args=[arg(0, "EQ", 0), arg(1, "EQ", 0, -1)])]},
            "/syscalls/0/args/1/valueTwo",
            "64-bit",
        ),
    ],
)
def test_a_profile_without_meaning_is_refused_where_it_is_wrong(
    binding: Any, profile: dict[str, Any], pointer: str, text: str
) -> None:
    with pytest.raises(Error, match=text) as caught:
        filter_for({"defaultAction": "SCMP_ACT_ALLOW", **profile} if profile else {}, None)
    assert caught.value.pointer == f"/linux/seccomp{pointer}"


def test_a_filter_too_long_for_the_kernel_is_refused(binding: Any) -> None:
    rules = [allow("ioctl", args=[arg(1, "EQ", value << 33 | value)]) for value in range(1500)]
    with pytest.raises(Error, match="the kernel takes 4096"):
        program_of(defaultAction="SCMP_ACT_ERRNO", syscalls=rules)


def test_without_libseccomp_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("seccomp", "pyseccomp"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Error, match="python3-seccomp"):
        program_of(defaultAction="SCMP_ACT_ALLOW")
