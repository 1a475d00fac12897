"""init.c under the address and undefined-behaviour sanitizers, as an ordinary process.

The control steps do what programs rely on, and no program, however corrupt, makes init itself read
or write where it should not. For the corrupt ones every call that a program can name is compiled as
getpid(2), so that none of them can do anything to the machine, whoever runs the test.
"""

import operator
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from errno import EACCES, EEXIST, EINVAL, ENOENT, ENOTDIR, EPERM, ETIMEDOUT
from pathlib import Path
from typing import Any

import pytest

from pyrunc.linux import flags as f
from pyrunc.program.build import Builder, vector
from pyrunc.program.calls import CALLS, header
from pyrunc.program.encode import encode
from pyrunc.program.model import SCRATCH, Data, Slot, Step

SOURCE = Path(__file__).resolve().parents[2] / "pyrunc/init/init.c"
PID, SYNC, FAILURE, LISTENER = 1, 2, 3, 4
RECORD = struct.Struct("=IIq")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc builds the sanitized init")


def build(directory: Path, calls: str) -> str:
    (directory / "calls.h").write_text(calls)
    # Not from the directory of init.c, whose own calls.h would be found first.
    source = shutil.copy(SOURCE, directory)
    target = str(directory / "init")
    subprocess.run(["gcc", "-DHOSTED", "-g", "-O1", *SANITIZERS, "-o", target, str(source)], check=True)
    return target


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(tmp_path_factory.mktemp("init"), header())


class Run:
    """An init at work: records come from `receive`, and `answer` ends a sync."""

    def __init__(
        self,
        executable: str,
        program: Callable[[dict[str, int]], bytes],
        answers: bytes = b"",
        **descriptors: int,
    ) -> None:
        self.report, report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command, self.command = os.pipe()
        os.write(self.command, answers)
        memory = os.memfd_create("program")
        numbers = {"report": report.fileno(), "command": command, **descriptors}
        os.write(memory, program(numbers))
        self.process = subprocess.Popen(
            [executable, str(memory)],
            pass_fds=(memory, *numbers.values()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"},
        )
        report.close()
        os.close(command)
        os.close(memory)
        self.report.settimeout(20)

    def receive(self) -> tuple[int, int, int, bytes] | None:
        raw = self.report.recv(4096)
        return (*RECORD.unpack_from(raw), raw[RECORD.size :]) if raw else None

    def answer(self) -> None:
        os.write(self.command, b"x")

    def hang_up(self) -> None:
        if self.command >= 0:
            os.close(self.command)
            self.command = -1

    def end(self) -> tuple[int, bytes]:
        """Exit status and standard output; a sanitizer's report fails the test."""
        self.hang_up()
        try:
            out, errors = self.process.communicate(timeout=20)
        finally:
            self.process.kill()
            self.report.close()
        assert errors == b"", errors.decode(errors="replace")
        return self.process.returncode, out


def encoded(b: Builder) -> Callable[[dict[str, int]], bytes]:
    return lambda numbers: encode(b.program, numbers)


def start(executable: str, b: Builder, **descriptors: int) -> Run:
    return Run(executable, encoded(b), b"", **descriptors)


def builder() -> Builder:
    b = Builder()
    b.inherit("report")
    b.inherit("command")
    return b


def finished(
    executable: str, b: Builder, **descriptors: int
) -> tuple[int, bytes, tuple[int, int, int, bytes] | None]:
    run = start(executable, b, **descriptors)
    record = run.receive()
    return (*run.end(), record)


def say(b: Builder, text: str) -> None:
    b.step("write", 1, text, len(text))


def test_a_program_that_ends_is_a_success(init: str) -> None:
    assert finished(init, builder()) == (0, b"", None)


def test_exit_gives_the_status(init: str) -> None:
    b = builder()
    b.step("exit", 7)
    say(b, "never")
    assert finished(init, b) == (7, b"", None)


def test_a_failed_call_is_reported_with_its_step_and_errno(init: str) -> None:
    b = builder()
    say(b, "one ")
    b.step("chdir", "/does/not/exist")
    say(b, "never")
    assert finished(init, b) == (1, b"one ", (FAILURE, 1, -ENOENT, b""))


def test_fail_gives_up_with_its_errno(init: str) -> None:
    b = builder()
    b.fail(EPERM)
    assert finished(init, b) == (1, b"", (FAILURE, 0, -EPERM, b""))


def test_conditions_follow_a_tolerated_errno(init: str) -> None:
    b = builder()
    missing, there = b.slot("missing"), b.slot("there")
    b.step("chdir", "/does/not/exist", out=missing, tolerate=(EEXIST, ENOTDIR, ENOENT))
    b.step("chdir", "/", out=there)
    for slot in (missing, there):
        with b.if_ok(slot):
            say(b, "ok ")
            with b.if_failed(missing):
                say(b, "(nested) ")
        with b.if_failed(slot):
            say(b, "failed ")
            with b.if_ok(missing):
                say(b, "never ")
    assert finished(init, b) == (0, b"failed ok (nested) ", None)


def test_eight_errnos_are_tolerated_and_no_ninth(init: str) -> None:
    b = builder()
    slot = b.slot("x")
    b.step("chdir", "/does/not/exist", out=slot, tolerate=(1, 3, 4, 5, 6, 7, 8, ENOENT))
    b.step("chdir", "/does/not/exist", out=slot, tolerate=(1, 3, 4, 5, 6, 7, 8, 9))
    assert finished(init, b) == (1, b"", (FAILURE, 1, -ENOENT, b""))


def test_expect_looks_at_a_masked_field(init: str) -> None:
    b = builder()
    b.step("chdir", "/")
    b.getcwd()
    b.expect(SCRATCH, 1, ord("/"), ENOENT)
    b.expect(SCRATCH, 2, ord("/"), ENOENT)
    b.expect(SCRATCH, 8, 0, ENOENT, mask=0xFF00)
    slot = b.slot("x")
    b.expect(SCRATCH, 1, ord("("), EACCES, tolerate=(EACCES,), out=slot)
    with b.if_failed(slot):
        say(b, "different ")
    b.expect(SCRATCH, 1, ord("("), ENOENT)
    assert finished(init, b) == (1, b"different ", (FAILURE, len(b.program.steps) - 1, -ENOENT, b""))


def test_values_are_loaded_and_stored(init: str) -> None:
    b = builder()
    b.step("chdir", "/")
    b.getcwd()
    loaded = b.load(SCRATCH, 1, 0x0F, "low")
    data = Data("buffer", bytes(8))
    b.store(data, 0, loaded, 1)
    b.store(data, 2, loaded, 2)
    b.store(data, 7, loaded, 1)
    b.step("write", 1, data, 8)
    assert finished(init, b) == (0, b"\x0f\0\x0f\0\0\0\0\x0f", None)


def test_refuse_fails_where_the_value_is_there(init: str) -> None:
    b = builder()
    b.step("chdir", "/")
    b.getcwd()
    b.refuse(SCRATCH, 1, ord("("), ENOENT, "outside")
    b.refuse(SCRATCH, 1, ord("/"), EACCES, "inside")
    assert finished(init, b) == (1, b"", (FAILURE, len(b.program.steps) - 1, -EACCES, b""))


@pytest.mark.parametrize(
    ("offset", "width"), [(8, 1), (1, 8), (-1, 1), (0, 9), (0, -1), (2**62, 2**62), (0, 2**63 - 1)]
)
def test_nothing_is_stored_outside_the_data(init: str, offset: int, width: int) -> None:
    b = builder()
    b.store(Data("buffer", bytes(8)), offset, b.inherit("report"), width)
    status, _, record = finished(init, b)
    assert (status, record) == (1, (FAILURE, 0, -EINVAL, b""))


def test_sync_waits_for_an_answer(init: str) -> None:
    b = builder()
    say(b, "before ")
    b.sync(42)
    say(b, "after")
    run = start(init, b)
    assert run.receive() == (SYNC, 1, 42, b"")
    time.sleep(0.05)
    assert run.process.poll() is None
    run.answer()
    assert run.receive() is None
    assert run.end() == (0, b"before after")


def test_a_runtime_that_dies_ends_init(init: str) -> None:
    b = builder()
    b.sync(1)
    say(b, "never")
    run = start(init, b)
    assert run.receive() == (SYNC, 0, 1, b"")
    run.hang_up()
    assert run.end() == (1, b"")


def test_clone_leaves_the_rest_to_a_child_of_the_runtime(init: str) -> None:
    b = builder()
    b.clone(0)
    b.step("exit", 9)
    run = start(init, b)
    record = run.receive()
    assert record is not None
    kind, step, pid, _ = record
    assert (kind, step) == (PID, 0)
    # CLONE_PARENT: the process is this one's child, not init's.
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert run.end() == (0, b"")


def test_execve_replaces_init(init: str) -> None:
    b = builder()
    b.step(
        "execve",
        "/bin/sh",
        vector([b"sh", b"-c", b'echo "$0 $A"', b"zero"], "argv"),
        vector([b"A=1"], "envp"),
    )
    assert finished(init, b)[:2] == (0, b"zero 1\n")


# -- hooks ------------------------------------------------------------------------------


@pytest.fixture
def files() -> Iterator[tuple[int, int]]:
    state, output = os.memfd_create("state"), os.memfd_create("output")
    os.write(state, b'{"id": "x"}')
    yield state, output
    os.close(state)
    os.close(output)


def hook(b: Builder, path: str, *args: str, limit: int = 0) -> None:
    argv = vector([arg.encode() for arg in (path, *args)], "argv")
    b.step("hook", path, argv, vector([b"A=1"], "envp"), b.inherit("state"), b.inherit("output"), limit)


def test_hooks_get_the_state_their_environment_and_nothing_else(init: str, files: tuple[int, int]) -> None:
    b = builder()
    hook(b, "/bin/true")
    hook(b, "/bin/sh", "-c", 'cat; echo " $A"; echo error >&2; ls /proc/self/fd', limit=10000)
    say(b, "done")
    assert finished(init, b, state=files[0], output=files[1]) == (0, b"done", None)
    output = os.pread(files[1], 1000, 0).decode()
    assert output.startswith('{"id": "x"} 1\nerror\n0\n1\n2\n')


def test_hooks_write_to_the_streams_that_a_step_before_them_names(
    init: str, files: tuple[int, int]
) -> None:
    out, errors = os.memfd_create("stdout"), os.memfd_create("stderr")
    b = builder()
    b.step("hook_streams", b.inherit("stdout"), b.inherit("stderr"))
    hook(b, "/bin/sh", "-c", "echo first; echo error >&2")
    hook(b, "/bin/sh", "-c", "echo second; exit 3")
    _, _, record = finished(init, b, state=files[0], output=files[1], stdout=out, stderr=errors)
    assert record == (FAILURE, 2, 3 << 8, b"")
    assert (os.pread(out, 100, 0), os.pread(errors, 100, 0)) == (b"first\nsecond\n", b"error\n")
    os.close(out)
    os.close(errors)


def test_a_failed_hook_is_not_charged_with_what_an_earlier_one_said(
    init: str, files: tuple[int, int]
) -> None:
    b = builder()
    hook(b, "/bin/sh", "-c", "echo all is well")
    hook(b, "/bin/false")
    _, _, record = finished(init, b, state=files[0], output=files[1])
    assert record == (FAILURE, 1, 1 << 8, b"")


def test_a_failed_hook_is_reported_with_what_it_said(init: str, files: tuple[int, int]) -> None:
    b = builder()
    hook(b, "/bin/sh", "-c", "echo no such network; exit 3")
    say(b, "never")
    status, out, record = finished(init, b, state=files[0], output=files[1])
    assert (status, out, record) == (1, b"", (FAILURE, 0, 3 << 8, b"no such network\n"))


def test_a_hook_that_says_too_much_is_cut(init: str, files: tuple[int, int]) -> None:
    b = builder()
    hook(b, "/bin/sh", "-c", "yes | head -c 100000; kill -9 $$")
    status, _, record = finished(init, b, state=files[0], output=files[1])
    assert record is not None
    assert (status, record[2], len(record[3])) == (1, signal.SIGKILL, 480)


def test_a_hook_that_takes_too_long_is_killed(init: str, files: tuple[int, int]) -> None:
    b = builder()
    hook(b, "/bin/sleep", "60", limit=100)
    begun = time.monotonic()
    status, _, record = finished(init, b, state=files[0], output=files[1])
    assert (status, record) == (1, (FAILURE, 0, -ETIMEDOUT, b""))
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(("path", "errno"), [("/etc/passwd", EACCES), ("/does/not/exist", ENOENT)])
def test_a_hook_that_cannot_run_gives_its_errno(
    init: str, files: tuple[int, int], path: str, errno: int
) -> None:
    b = builder()
    hook(b, path)
    status, _, record = finished(init, b, state=files[0], output=files[1])
    assert (status, record) == (1, (FAILURE, 0, -errno, b""))


# -- waiting for start ------------------------------------------------------------------


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "start.sock"))
        listening.listen()
        yield listening


def waiting(init: str, listener: socket.socket, *more: Callable[[Builder], Any]) -> Run:
    b = builder()
    b.sync(3)
    b.step("wait", b.inherit("listener"))
    for step in more:
        step(b)
    run = start(init, b, listener=listener.fileno())
    assert run.receive() == (SYNC, 0, 3, b"")
    run.answer()
    # The report channel ends where the wait begins.
    assert run.receive() is None
    return run


def connect(listener: socket.socket, text: bytes) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(listener.getsockname())
    connection.sendall(text)
    return connection


def test_start_goes_on_and_hears_of_a_failure(init: str, listener: socket.socket) -> None:
    run = waiting(init, listener, lambda b: say(b, "started"), lambda b: b.fail(EPERM))
    # A connection that ends without a byte is not a start.
    connect(listener, b"").close()
    with connect(listener, b"s") as connection:
        assert RECORD.unpack_from(connection.recv(4096)) == (FAILURE, 3, -EPERM)
        assert connection.recv(1) == b""
    assert run.end() == (1, b"started")


def test_the_connection_ends_with_execve(init: str, listener: socket.socket) -> None:
    argv, envp = vector([b"sh", b"-c", b"exit 5"], "argv"), vector([], "envp")
    run = waiting(init, listener, lambda b: b.step("execve", "/bin/sh", argv, envp))
    with connect(listener, b"s") as connection:
        assert connection.recv(4096) == b""
    assert run.end() == (5, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_waiting_container_can_be_killed(
    init: str, listener: socket.socket, number: signal.Signals
) -> None:
    run = waiting(init, listener)
    # Its socket still queues connections, so only the process table tells that it waits.
    deadline = time.monotonic() + 10
    while "SigCgt:\t0000000000000000" in Path(f"/proc/{run.process.pid}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.process.send_signal(number)
    assert run.end()[0] in (128 + number, -number)


# -- a filter with a listener -------------------------------------------------------------


def filtered(flags: int, *more: Callable[[Builder], Any]) -> Builder:
    """A program with a filter that lets everything pass, but for getppid(2), which is the listener's."""
    instructions = ((0x20, 0, 0, 0), (0x15, 0, 1, 110), (0x06, 0, 0, 0x7FC00000), (0x06, 0, 0, 0x7FFF0000))
    code = Data("sock_filter", b"".join(struct.pack("=HBBI", *each) for each in instructions))
    b = builder()
    b.step("prctl", f.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    b.step("notify", flags, Data("sock_fprog", struct.pack("=H6xQ", len(instructions), 0), (), ((8, code),)))
    for step in more:
        step(b)
    return b


def test_the_listener_comes_before_the_program_goes_on(init: str) -> None:
    run = start(init, filtered(8, lambda b: say(b, "filtered"), lambda b: b.sync(3)))
    raw, ancillary, _, _ = run.report.recvmsg(64, socket.CMSG_SPACE(16))
    kind, step, value = RECORD.unpack(raw)
    ((level, rights, data),) = ancillary
    assert (kind, step, level, rights) == (LISTENER, 1, socket.SOL_SOCKET, socket.SCM_RIGHTS)
    (listener,) = struct.unpack("=i", data[:4])
    # The descriptor's number in init, where it is still open.
    assert os.readlink(f"/proc/{run.process.pid}/fd/{value}") == os.readlink(f"/proc/self/fd/{listener}")
    assert "seccomp" in os.readlink(f"/proc/self/fd/{listener}")
    os.close(listener)
    assert run.receive() == (SYNC, 3, 3, b"")
    deadline = time.monotonic() + 10
    while len(os.listdir(f"/proc/{run.process.pid}/task")) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.answer()
    assert run.end() == (0, b"filtered")


def test_a_filter_that_the_kernel_refuses_is_a_failure(init: str) -> None:
    run = start(init, filtered(8 | 1 << 30, lambda b: say(b, "no filter")))
    assert run.receive() == (FAILURE, 1, -EINVAL, b"")
    assert run.end() == (1, b"")


def test_without_somebody_to_take_the_listener_the_process_ends(init: str) -> None:
    b = filtered(8, lambda b: say(b, "without an agent"))
    b.program.steps.insert(0, Step("sync", (1,), None, (), "", "", ""))
    run = start(init, b)
    assert run.receive() == (SYNC, 0, 1, b"")
    run.report.shutdown(socket.SHUT_RDWR)
    run.answer()
    assert run.end() == (1, b"")


def test_a_process_that_may_not_exit_ends_all_the_same(init: str) -> None:
    """Of a filter that denies exit_group, init must not become a loop that tries."""
    denying = ((0x20, 0, 0, 0), (0x15, 0, 1, 231), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000))
    code = Data("sock_filter", b"".join(struct.pack("=HBBI", *each) for each in denying))
    b = builder()
    b.step("prctl", f.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    b.step("seccomp", 1, 0, Data("sock_fprog", struct.pack("=H6xQ", len(denying), 0), (), ((8, code),)))
    b.step("exit", 3)
    run = start(init, b)
    assert run.receive() is None
    assert run.process.wait(20) in (-signal.SIGILL, -signal.SIGTRAP)


# -- programs that are none ---------------------------------------------------------------


def whole(numbers: dict[str, int]) -> bytes:
    """A program with every kind of argument, conditions, relocations and control steps."""
    b = builder()
    state = b.inherit("state")
    slot = b.slot("slot")
    b.step("chdir", "/", out=slot, tolerate=(ENOENT, EACCES))
    with b.if_ok(slot):
        b.getcwd()
        b.expect(SCRATCH, 8, 0x2F, ENOENT, mask=0xFF, tolerate=(ENOENT,))
    b.load(SCRATCH, 8, -1, "loaded")
    b.refuse(SCRATCH, 8, 5, EINVAL, "refused")
    data = Data("buffer", bytes(64))
    b.store(data, 8, slot, 8)
    b.mkdirat(state, "name", tolerate=(EPERM,))
    b.step("hook", "/bin/true", vector([b"true"], "argv"), vector([b"A=1", b"B=2"], "envp"), state, state, 10)
    b.sync(1)
    b.step("wait", state)
    b.openat2(f.AT_FDCWD, "/", f.O_PATH, resolve=0, name="root")
    b.step("execve", "/bin/true", vector([b"x"] * 9, "argv"), vector([], "envp"))
    b.step("notify", 8, Data("sock_fprog", bytes(16)))
    b.clone(0)
    b.fail(EINVAL)
    return encode(b.program, {"state": -1, **numbers})


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> str:
    """init with every call of a program, and those that start processes or wait, as getpid(2)."""
    calls = header()
    for name in CALLS:
        calls = calls.replace(f"  __NR_{name},", "  __NR_getpid,")
    for name in ("execve", "clone3", "ppoll", "pidfd_send_signal", "rt_sigaction"):
        calls += f"#undef __NR_{name}\n#define __NR_{name} __NR_getpid\n"
    # What `copy_up` does by itself fails, whatever its descriptors are.
    for name in ("openat", "getdents64", "mkdirat", "statx", "sendfile"):
        calls += f"#undef __NR_{name}\n#define __NR_{name} __NR_fchdir\n"
    # Nor may it install a filter, or believe that it has, and wait for the listener to be sent.
    calls += "#undef __NR_seccomp\n#define __NR_seccomp __NR_fchdir\n"
    # `wait` accepts until somebody starts it; this fails on whatever the listener is.
    calls += "#undef __NR_accept4\n#define __NR_accept4 __NR_fchdir\n"
    assert calls.count("__NR_getpid,") == len(CALLS)
    return build(tmp_path_factory.mktemp("harmless"), calls)


def ended(
    executable: str, change: Callable[[bytearray], Any], program: Callable[[dict[str, int]], bytes] = whole
) -> int:
    """The exit status of a program that was changed; change works in place, or returns other bytes."""

    def changed(numbers: dict[str, int]) -> bytes:
        raw = bytearray(program(numbers))
        other = change(raw)
        return bytes(raw if other is None else other)

    # Answers for the syncs that a corrupt program may ask for; then comes the end of the channel.
    return Run(executable, changed, b"xxxxxxxx").end()[0]


def field(index: int, value: int) -> Callable[[bytearray], None]:
    """Changes one of the six counts and offsets of the header."""
    return lambda raw: struct.pack_into("=I", raw, 8 + 4 * index, value)


def header_of(raw: bytearray) -> tuple[int, ...]:
    return struct.unpack_from("=6I", raw, 8)


def test_the_harmless_init_runs_a_whole_program(harmless: str) -> None:
    assert ended(harmless, lambda raw: None) == 1


def test_what_is_no_program_is_refused(harmless: str) -> None:
    for size in (0, 1, 8, 100, 159, 160, 161, 1000, -1):
        keep = slice(0, size)
        assert ended(harmless, operator.itemgetter(keep)) == 2, size
    assert ended(harmless, lambda raw: b"x" + raw[1:]) == 2
    for index, value in (
        (0, 2**32 - 1),
        (1, 4),
        (1, 2**32 - 8),
        (2, 2**31),
        (3, 2),
        (4, 2**32 - 8),
        (5, 2**32 - 1),
    ):
        assert ended(harmless, field(index, value)) == 2, (index, value)


def test_parts_that_overlap_are_refused(harmless: str) -> None:
    # Else a relocation, or a stored value, could change the steps that were checked.
    for index, value in ((1, 0), (3, 0), (4, 0), (4, 160)):
        assert ended(harmless, field(index, value)) == 2, (index, value)


def test_a_relocation_outside_the_data_is_refused(harmless: str) -> None:
    def relocate(raw: bytearray, place: int, target: int) -> None:
        size = header_of(raw)[5]
        struct.pack_into("=2I", raw, header_of(raw)[3], place % (size or 1) if place < 0 else place, target)

    def beyond(raw: bytearray) -> None:
        relocate(raw, header_of(raw)[5] + 7 & ~7, 0)

    def to_the_end(raw: bytearray) -> None:
        relocate(raw, 0, header_of(raw)[5])

    for change in (
        beyond,
        to_the_end,
        lambda raw: relocate(raw, 2**32 - 8, 0),
        lambda raw: relocate(raw, 4, 0),
        lambda raw: relocate(raw, 0, 2**32 - 1),
    ):
        assert ended(harmless, change) == 2


INTERESTING = (
    0,
    1,
    7,
    8,
    63,
    64,
    127,
    128,
    255,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 8,
    2**64 - 1,
)


def corrupt(raw: bytearray, dice: random.Random) -> bytes:
    for _ in range(dice.randint(1, 6)):
        width = dice.choice((1, 2, 4, 8))
        at = dice.randrange(8, len(raw) - width) // width * width
        # Past the magic number, or nothing else is looked at; and the report channel stays.
        if at < 8 or 32 <= at < 40:
            continue
        value = dice.choice((dice.choice(INTERESTING), dice.getrandbits(8 * width)))
        raw[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    return bytes(raw[: dice.choice((len(raw), len(raw), len(raw), dice.randrange(len(raw))))])


@pytest.mark.parametrize("seed", range(8))
def test_corrupt_programs_make_init_touch_nothing_else(harmless: str, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(50):
        assert ended(harmless, lambda raw: corrupt(raw, dice)) >= 0


@pytest.mark.parametrize("call", ["expect", "load"])
def test_nothing_is_read_outside_the_scratch_area(harmless: str, call: str) -> None:
    b = builder()
    if call == "expect":
        b.expect(SCRATCH, 1, 0, EPERM)
    else:
        b.load(SCRATCH, 1, 0xFF, "value")
    assert ended(harmless, lambda raw: None, encoded(b)) == 0
    for kind in range(4):
        for value in (4089, 4096, 2**40, -1, -(2**63)):

            def change(raw: bytearray, kind: int = kind, value: int = value) -> None:
                at = header_of(raw)[1]
                struct.pack_into("=H", raw, at + 2, kind)
                struct.pack_into("=q", raw, at + 16, value)

            # An address that is no scratch area is a failure, not a crash.
            assert ended(harmless, change, encoded(b)) == 1, (kind, value)


@pytest.mark.parametrize("errno", [0, -5, 2**63 - 1, -(2**63)])
def test_a_step_that_gives_up_never_succeeds(harmless: str, errno: int) -> None:
    b = builder()
    b.fail(errno)
    assert ended(harmless, lambda raw: None, encoded(b)) == 1


def test_a_slot_beyond_the_table_is_never_written(harmless: str) -> None:
    for index in (128, 1000, 32767, -2):
        b = builder()
        b.step("setsid", out=Slot(index, "x"))
        assert ended(harmless, lambda raw: None, encoded(b)) == 0
