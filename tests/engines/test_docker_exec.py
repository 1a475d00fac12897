"""What joins a container under Docker while it runs: exec's processes and attached terminals."""

import hashlib
from pathlib import Path

from engine import Docker, Result
from look import pid_of
from machine import wait_for
from runs import CATCHES, IMAGE, commands, ready, state


def test_exec_with_its_flags(docker: Docker) -> None:
    docker("run", "-d", "--name", "one", "-e", "A=image", "-w", "/tmp", IMAGE, "sh", "-c", CATCHES)
    assert (
        docker("exec", "one", "sh", "-c", "pwd; id -u; echo $A; exit 42", code=42).out == "/tmp\n0\nimage\n"
    )
    shown = docker(
        *["exec", "-u", "bob:staff", "-w", "/etc", "-e", "A=exec", "-e", "B=2", "one"],
        *["sh", "-c", "id; pwd; echo $A $B $HOME; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status"],
    ).out.splitlines()
    assert shown[:3] == ["uid=1000(bob) gid=50(staff) groups=50(staff)", "/etc", "exec 2 /home/bob"]
    assert shown[3:] == ["CapEff:\t0000000000000000", "NoNewPrivs:\t0", "Seccomp:\t2"]
    assert docker("exec", "-i", "one", "sh", "-c", "cat; echo err >&2", stdin="given\n").out == "given\n"
    assert docker("exec", "-u", "1234", "one", "id", "-u").out == "1234\n"
    megabyte = "0123456789abcdef" * 65536
    summed = docker("exec", "-i", "one", "sha256sum", stdin=megabyte, compare=False).out
    assert summed == f"{hashlib.sha256(megabyte.encode()).hexdigest()}  -\n"
    # In the container's cgroups and namespaces.
    inside = docker(
        "exec", "one", "sh", "-c", "stat -Lc %i /proc/self/ns/pid /proc/1/ns/pid", compare=False
    ).out
    assert len(set(inside.splitlines())) == 1
    docker("exec", "-d", "one", "sh", "-c", "echo done >/tmp/detached")
    file = Path(f"/proc/{pid_of(docker, 'one')}/root/tmp/detached")
    wait_for(lambda: file.exists() and file.read_text() == "done\n", "the file")


def failed(result: Result, *words: str) -> None:
    text = result.out + result.err
    assert all(word in text for word in words), result


def test_exec_that_cannot_be_says_why(docker: Docker) -> None:
    docker("run", "-d", "--name", "one", IMAGE, "sh", "-c", CATCHES)
    failed(docker("exec", "one", "no-such-program", code=126), "no-such-program")
    failed(docker("exec", "one", "/no/such/path", code=126), "no such file or directory")
    failed(docker("exec", "one", "/etc/passwd", code=126), "ermission denied")
    failed(docker("exec", "-w", "/no/such", "one", "true", code=126), "chdir", "/no/such")
    failed(docker("exec", "-u", "nobody-here", "one", "true", code=126), "nobody-here")
    failed(docker("exec", "none", "true", code=1), "No such container")
    docker("stop", "one")
    failed(docker("exec", "one", "true", code=1), "is not running")


def test_a_shell_by_exec_on_a_terminal(docker: Docker) -> None:
    docker("run", "-d", "--name", "one", IMAGE, "sh", "-c", CATCHES)
    console = docker.console("exec", "-it", "one", "sh", lines=33, columns=99)
    console.expect("# ")
    console.type("stty size; tty\n")
    console.expect("33 99\r\n/dev/pts/0")
    console.type("sleep 100\n")
    wait_for(lambda: "sleep 100" in commands(docker, "one"), "the shell's child")
    console.type("\x03")
    console.expect("# ")
    # Left without its end, it goes on.
    console.type("sleep 78\n")
    wait_for(lambda: "sleep 78" in commands(docker, "one"), "the shell's child")
    console.type("\x10\x11")
    assert console.end() in (0, 1)
    assert "sleep 78" in commands(docker, "one")
    other = docker.console("exec", "-it", "--detach-keys", "ctrl-x,x", "one", "sh")
    other.expect("# ")
    other.type("exit 6\n")
    assert other.end() == 6


def test_execs_end_with_their_container(docker: Docker) -> None:
    docker("run", "-d", "--name", "one", IMAGE, "sh", "-c", CATCHES)
    ready(docker, "one")
    console = docker.console("exec", "one", "sh", "-c", "echo here; sleep 100")
    console.expect("here")
    docker("exec", "-d", "one", "sleep", "99")
    processes = docker("top", "one", "-o", "pid", compare=False).out.split()[1:]
    assert len(processes) >= 3
    docker("stop", "one")
    assert console.end() == 137
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


# -- attach --------------------------------------------------------------------------


def test_attached_detached_and_attached_again(docker: Docker) -> None:
    console = docker.console("run", "-it", "--name", "one", IMAGE, "sh")
    console.expect("# ")
    console.type("\x10\x11")
    assert console.end() == 0
    assert state(docker, "one", "Status") == "running"
    again = docker.console("attach", "--detach-keys", "ctrl-a,a", "one", lines=30, columns=90)
    again.type("\n")
    again.expect("# ")
    again.type("stty size\n")
    again.expect("30 90")
    again.type("\x01a")
    assert again.end() in (0, 1)
    last = docker.console("attach", "one")
    last.type("\nexit 8\n")
    assert last.end() == 8
    assert docker("wait", "one").out == "8\n"


def test_signals_of_an_attached_client_reach_the_process(docker: Docker) -> None:
    docker("run", "-d", "--name", "one", IMAGE, "sh", "-c", CATCHES)
    ready(docker, "one")
    console = docker.console("attach", "--no-stdin", "one")

    def attached() -> bool:
        docker("kill", "--signal", "USR1", "one", compare=False)
        try:
            console.expect("one", seconds=0.3)
        except AssertionError:
            return False
        return True

    wait_for(attached, "the attached client")
    console.process.terminate()
    console.expect("asked to end")
    assert console.end() == 5
