"""podman exec: its flags, its exit statuses, and what its processes are."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from podman import Podman


@pytest.fixture
def running(podman: Podman) -> Iterator[Podman]:
    """podman with a container named `one` that sleeps."""
    podman("run", "-d", "--name", "one", "-e", "KEPT=kept", "busybox", "sleep", "1000")
    yield podman


def test_exec_has_the_status_and_output_of_its_process(running: Podman) -> None:
    script = "cat; echo bad >&2; exit 7"
    ended = running("exec", "-i", "one", "sh", "-c", script, stdin="typed", code=7)
    assert (ended.out, ended.err) == ("typed", "bad\n")
    running("exec", "one", "no-such-program", code=127)
    running("exec", "one", "/no/such/program", code=127)
    running("exec", "one", "/etc/passwd", code=126)
    running("exec", "-w", "/no/such/directory", "one", "true", code=127)
    running("exec", "-u", "nobody-known", "one", "true", code=255)
    running("exec", "no-such-container", "true", code=125)


def test_who_and_where_an_exec_is(running: Podman) -> None:
    script = (
        "id; pwd; echo $KEPT $MORE $container; grep -E '^(Cap|Seccomp:)' /proc/self/status;"
        "cat /proc/self/cgroup"
    )
    ended = running(
        *["exec", "-u", "bob:staff", "-w", "/home/bob", "-e", "MORE=more", "one", "sh", "-c", script],
        ignore="libpod-.*",
    )
    lines = ended.out.splitlines()
    assert lines[:3] == ["uid=1000(bob) gid=50(staff)", "/home/bob", "kept more podman"]
    assert "CapEff:\t0000000000000000" in lines
    cgroups = [line for line in lines if line[0].isdigit() and not line.startswith("0::")]
    assert all(running.place.name in line for line in cgroups)
    ended = running("exec", "--privileged", "one", "sh", "-c", "grep -E '^(Cap|Seccomp:)' /proc/self/status")
    assert "CapEff:\t0000000000000000" not in ended.out


def test_an_exec_on_a_terminal(running: Podman) -> None:
    console = running.console("exec", "-it", "one", "sh", lines=33, columns=99)
    console.expect("# ")
    console.type("stty size; tty; exit 5\n")
    console.expect("33 99\r\n/dev/pts/0\r\n")
    assert console.end() == 5


def test_a_detached_exec_goes_on(running: Podman) -> None:
    running("exec", "-d", "one", "sh", "-c", "echo here >/tmp/file; sleep 1000")
    running.until("exec", "one", "cat", "/tmp/file", printed="here")
    assert "sleep 1000" in running("top", "one", "args").out.splitlines()[-1]


def test_descriptors_are_handed_to_an_exec(running: Podman) -> None:
    script = 'exec 3<"$1"; shift; exec "$@"'
    read = running.place.directory / "read"
    read.write_text("from the host\n")
    command = [*running.command(), "exec", "--preserve-fds", "1", "one", "sh", "-c", "cat <&3"]
    done = subprocess.run(
        ["sh", "-c", script, "sh", read, *command],
        env={**os.environ, **running.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "from the host\n"), done.stderr
