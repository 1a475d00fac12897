"""Terminals: the console socket of engines, the relay of a foreground run, sizes, /dev/console."""

import fcntl
import json
import os
import select
import signal
import socket
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Box, FdSocket, Terminal, alive, open_terminal, wait_for


@pytest.fixture
def console(box: Box) -> Iterator[FdSocket]:
    listener = FdSocket(box.place / "console.sock")
    yield listener
    listener.close()


def controlling(slave: int) -> None:
    """Run in a child: become a session leader with this terminal, as a login shell is."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


def foreground(box: Box, *words: str) -> tuple[Terminal, "object"]:
    """A verb at a terminal of its own, as a user at a keyboard has it."""
    terminal, slave = open_terminal()
    terminal.size(24, 80)
    child = box.spawn(
        *words, stdin=slave, stdout=slave, stderr=slave, preexec_fn=lambda: controlling(slave), pass_fds=()
    )
    os.close(slave)
    return terminal, child


@pytest.mark.shows("/process/terminal")
def test_the_console_socket_gets_the_master_and_the_process_the_slave(box: Box, console: FdSocket) -> None:
    box.process["terminal"] = True
    box.script("tty; read line; echo got $line; readlink /proc/self/fd/2")
    box.create("--console-socket", console.path).ok()
    _, fd = console.receive()
    terminal = Terminal(fd)
    assert os.isatty(fd)
    box.start().ok()
    terminal.read_until("/dev/pts/0")
    terminal.write("hello\n")
    terminal.read_until("got hello")
    assert terminal.read_all().count("/dev/pts/0") == 2
    terminal.close()


def test_run_detached_with_a_console_socket(box: Box, console: FdSocket) -> None:
    box.process["terminal"] = True
    box.script("echo hello; sleep 1000")
    box.run("-d", "--console-socket", console.path).ok()
    terminal = Terminal(console.receive()[1])
    terminal.read_until("hello")
    box.delete("--force").ok()
    terminal.read_all()
    terminal.close()


@pytest.mark.shows("/process/consoleSize/{height,width}")
def test_the_terminal_has_the_configured_size(box: Box, console: FdSocket) -> None:
    box.process["terminal"] = True
    box.process["consoleSize"] = {"height": 33, "width": 111}
    box.script("stty size")
    box.create("--console-socket", console.path).ok()
    terminal = Terminal(console.receive()[1])
    box.start().ok()
    terminal.read_until("33 111")
    terminal.close()


def test_the_container_s_terminal_is_its_controlling_one_and_console(box: Box, console: FdSocket) -> None:
    box.process["terminal"] = True
    box.script("echo direct > /dev/tty; echo console > /dev/console; stat -c %t:%T /dev/console")
    box.create("--console-socket", console.path).ok()
    terminal = Terminal(console.receive()[1])
    box.start().ok()
    text = terminal.read_all()
    assert "direct" in text
    assert "console" in text
    assert "88:0" in text  # major 136, a pty slave
    terminal.close()


def test_the_terminal_belongs_to_the_user_of_the_process(box: Box, console: FdSocket) -> None:
    box.process["terminal"] = True
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.script("stat -c 'owner %u' /dev/pts/0; echo again > /dev/pts/0")
    box.create("--console-socket", console.path).ok()
    terminal = Terminal(console.receive()[1])
    box.start().ok()
    text = terminal.read_all()
    assert "owner 1000" in text
    assert "again" in text
    terminal.close()


def test_there_is_no_console_without_a_terminal(box: Box) -> None:
    box.script("ls /dev")
    assert "console" not in box.run().ok().out.split()


def test_ctrl_c_in_the_terminal_reaches_the_container(box: Box, console: FdSocket) -> None:
    box.process["terminal"] = True
    box.script("trap 'echo interrupted; exit 3' INT; echo ready; while :; do usleep 10000; done")
    box.run("-d", "--console-socket", console.path).ok()
    terminal = Terminal(console.receive()[1])
    terminal.read_until("ready")
    terminal.write("\x03")
    terminal.read_until("interrupted")
    terminal.close()


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_console_socket_nobody_listens_on_is_one_clear_error(box: Box, verb: str) -> None:
    path = box.place / "dead.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    box.process["terminal"] = True
    box.save()
    flags = ["-d"] if verb == "run" else []
    box.verb(verb, *flags, "--console-socket", str(path), "--bundle", str(box.bundle), box.id).failed(
        str(path)
    )
    box.clean()


def test_a_missing_console_socket_is_one_clear_error(box: Box) -> None:
    box.process["terminal"] = True
    box.create("--console-socket", str(box.place / "missing.sock")).failed("missing.sock")
    box.clean()


def test_a_console_socket_without_a_terminal_is_refused(box: Box, console: FdSocket) -> None:
    box.create("--console-socket", console.path).failed("console-socket")
    box.clean()


def test_a_console_socket_with_a_long_path_works(box: Box) -> None:
    """sun_path holds 108 bytes; an engine passes such paths relative or through a short link."""
    box.process["terminal"] = True
    directory = box.place / ("d" * 60)
    directory.mkdir()
    listener = FdSocket(
        Path(os.path.relpath(directory / "c.sock")) if len(str(directory)) > 90 else directory / "c.sock"
    )
    try:
        box.create("--console-socket", str(directory / "c.sock")).ok()
        os.close(listener.receive()[1])
    finally:
        listener.close()


def test_a_foreground_run_relays_the_terminal_both_ways(box: Box) -> None:
    box.process["terminal"] = True
    box.script("tty; read line; echo got:$line; exit 6")
    box.save()
    terminal, child = foreground(box, "run", "--bundle", str(box.bundle), box.id)
    terminal.read_until("/dev/pts/0")
    terminal.write("hello\n")
    terminal.read_until("got:hello")
    assert child.wait(15) == 6  # type: ignore[attr-defined]
    terminal.close()
    box.clean()


def test_the_terminal_of_the_caller_is_restored_after_run(box: Box) -> None:
    box.process["terminal"] = True
    box.script("exit 0")
    box.save()
    terminal, slave = open_terminal()
    before = termios.tcgetattr(slave)
    child = box.spawn(
        "run", "--bundle", str(box.bundle), box.id,
        stdin=slave, stdout=slave, stderr=slave, preexec_fn=lambda: controlling(slave),
    )  # fmt: skip
    assert child.wait(15) == 0
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    terminal.close()


def test_a_foreground_run_takes_the_size_of_the_terminal_and_follows_it(box: Box) -> None:
    box.process["terminal"] = True
    box.script("while :; do stty size; usleep 10000; done")
    box.save()
    terminal, child = foreground(box, "run", "--bundle", str(box.bundle), box.id)
    terminal.read_until("24 80")
    terminal.size(50, 132)
    child.send_signal(signal.SIGWINCH)  # type: ignore[attr-defined]
    terminal.read_until("50 132")
    box.kill("KILL").ok()
    assert child.wait(15) == 137  # type: ignore[attr-defined]
    terminal.close()


def test_ctrl_c_at_a_foreground_run_goes_into_the_container(box: Box) -> None:
    box.process["terminal"] = True
    box.script("trap 'echo interrupted; exit 3' INT; echo ready; while :; do usleep 10000; done")
    box.save()
    terminal, child = foreground(box, "run", "--bundle", str(box.bundle), box.id)
    terminal.read_until("ready")
    terminal.write("\x03")
    terminal.read_until("interrupted")
    assert child.wait(15) == 3  # type: ignore[attr-defined]
    terminal.close()
    box.clean()


def test_a_large_output_through_the_relay_is_whole(box: Box) -> None:
    box.process["terminal"] = True
    box.script("seq 1 20000; echo end-of-output")
    box.save()
    terminal, child = foreground(box, "run", "--bundle", str(box.bundle), box.id)
    text = terminal.read_until("end-of-output")
    assert [line for line in text.splitlines() if line.isdigit()] == [str(n) for n in range(1, 20001)]
    assert child.wait(15) == 0  # type: ignore[attr-defined]
    terminal.close()


def test_exec_with_a_terminal(box: Box) -> None:
    box.sleeping()
    terminal, child = foreground(
        box, "exec", "-t", box.id, "/bin/sh", "-c", "tty; read x; echo got:$x; exit 8"
    )
    terminal.read_until("/dev/pts/0")
    terminal.write("hello\n")
    terminal.read_until("got:hello")
    assert child.wait(15) == 8  # type: ignore[attr-defined]
    terminal.close()


def test_exec_detached_with_a_console_socket(box: Box, console: FdSocket) -> None:
    box.sleeping()
    box.exec("/bin/sh", "-c", "tty; sleep 1000", flags=["-t", "-d", "--console-socket", console.path]).ok()
    terminal = Terminal(console.receive()[1])
    terminal.read_until("/dev/pts/0")
    terminal.close()


@pytest.mark.parametrize("uid", [0, 1000])
def test_exec_s_terminal_belongs_to_its_user_in_a_user_namespace(
    box: Box, console: FdSocket, uid: int
) -> None:
    box.user_namespace()
    box.sleeping()
    script = "stat -c owner=%u $(tty); echo again >$(tty); sleep 1000"
    flags = ["-t", "-d", "--user", str(uid), "--console-socket", console.path]
    box.exec("/bin/sh", "-c", script, flags=flags).ok()
    terminal = Terminal(console.receive()[1])
    terminal.read_until(f"owner={uid}\n")
    terminal.read_until("again")
    terminal.close()


def test_exec_without_a_terminal_has_none(box: Box) -> None:
    box.sleeping()
    assert "not a tty" in box.exec("/bin/sh", "-c", "tty; exit 0").ok().out


def test_exec_takes_the_console_size_of_the_process_file(box: Box, console: FdSocket) -> None:
    box.sleeping()
    process = {
        **box.process,
        "terminal": True,
        "consoleSize": {"height": 44, "width": 99},
        "args": ["/bin/stty", "size"],
    }
    (box.place / "process.json").write_text(json.dumps(process))
    words = ["--process", str(box.place / "process.json"), "-d", "--console-socket", console.path]
    box.verb("exec", *words, box.id).ok()
    terminal = Terminal(console.receive()[1])
    terminal.read_until("44 99")
    terminal.close()


@pytest.mark.beyond_runc("--pidfd-socket came with 1.2")
def test_the_pidfd_socket_gets_a_pidfd_of_the_first_process(box: Box) -> None:
    listener = FdSocket(box.place / "pidfd.sock")
    box.script("exit 3")
    box.create("--pidfd-socket", listener.path).ok()
    _, fd = listener.receive()
    listener.close()
    info = Path(f"/proc/self/fdinfo/{fd}").read_text()
    assert f"Pid:\t{box.pid()}\n" in info
    assert not select.select([fd], [], [], 0)[0]
    box.start().ok()
    assert select.select([fd], [], [], 15)[0], "the pidfd does not tell of the end"
    os.close(fd)


@pytest.mark.beyond_runc("--pidfd-socket came with 1.2")
def test_the_pidfd_socket_of_exec(box: Box) -> None:
    box.sleeping()
    listener = FdSocket(box.place / "pidfd.sock")
    pid_file = box.place / "exec.pid"
    flags = ["-d", "--pidfd-socket", listener.path, "--pid-file", str(pid_file)]
    box.exec("/bin/sleep", "1000", flags=flags).ok()
    _, fd = listener.receive()
    listener.close()
    assert f"Pid:\t{pid_file.read_text()}\n" in Path(f"/proc/self/fdinfo/{fd}").read_text()
    os.close(fd)


def test_a_hangup_of_the_master_ends_the_container(box: Box, console: FdSocket) -> None:
    box.process["terminal"] = True
    box.drop_namespace("pid")
    box.args("/bin/cat")
    box.create("--console-socket", console.path).ok()
    _, fd = console.receive()
    box.start().ok()
    pid = box.pid()
    os.close(fd)
    wait_for(lambda: not alive(pid), "SIGHUP")


def test_the_window_size_can_be_changed_through_the_master(box: Box, console: FdSocket) -> None:
    box.process["terminal"] = True
    box.script("trap 'stty size; exit' WINCH; echo ready; while :; do usleep 10000; done")
    box.run("-d", "--console-socket", console.path).ok()
    terminal = Terminal(console.receive()[1])
    terminal.read_until("ready")
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 21, 65, 0, 0))
    terminal.read_until("21 65")
    terminal.close()
