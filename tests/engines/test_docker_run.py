"""docker run with the flags that people use, seen from inside the container."""

from engine import Docker

ISSUED = "busybox"


def test_a_process_runs_with_its_exit_status_and_output(docker: Docker) -> None:
    assert docker("run", "--rm", ISSUED, "echo", "hello").out == "hello\n"
    docker("run", "--rm", ISSUED, "sh", "-c", "exit 7", code=7)


def test_a_program_that_is_not_there_is_status_127(docker: Docker) -> None:
    docker("run", "--rm", ISSUED, "no-such-program", code=127)


def test_a_shell_on_a_terminal(docker: Docker) -> None:
    console = docker.console("run", "--rm", "-it", ISSUED, "sh", lines=40, columns=100)
    console.expect("# ")
    console.type("stty size; exit 3\n")
    console.expect("40 100")
    assert console.end() == 3
