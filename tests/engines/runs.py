"""docker run as tests say it: flags as a line of a shell, then what runs in `busybox`; and a look at it."""

import shlex

from engine import Docker, Result
from look import pid_of
from machine import wait_for

IMAGE = "busybox"
# A shell is process 1, for whom only signals that it catches exist; it looks every 50 ms.
CATCHES = (
    "trap 'echo asked to end; exit 5' TERM; trap 'echo one' USR1; echo ready; while :; do sleep 0.05; done"
)


def run(docker: Docker, flags: str, *command: str, code: int | None = 0) -> Result:
    """`docker run --rm FLAGS busybox COMMAND`."""
    return docker("run", "--rm", *shlex.split(flags), IMAGE, *command, code=code)


def script(docker: Docker, flags: str, text: str, code: int | None = 0) -> Result:
    """The same for a script of the shell."""
    return run(docker, flags, "sh", "-c", text, code=code)


def start(docker: Docker, flags: str, *command: str, name: str = "one") -> int:
    """`docker run --detach`, of a sleep without a command; the first process, in the host's numbers."""
    words = command or ("sleep", "1000")
    docker("run", "--detach", "--name", name, *shlex.split(flags), IMAGE, *words)
    return pid_of(docker, name)


def state(docker: Docker, container: str, field: str) -> str:
    return docker("inspect", "--format", "{{.State." + field + "}}", container, compare=False).out.strip()


def logs(docker: Docker, container: str) -> list[str]:
    return docker("logs", container, compare=False).out.splitlines()


def ready(docker: Docker, container: str, line: str = "ready") -> None:
    wait_for(lambda: line in logs(docker, container), f"{line!r} in the logs of {container}")


def commands(docker: Docker, container: str) -> list[str]:
    """The command lines of a container's processes."""
    rows = docker("top", container, "-o", "pid,args", compare=False).out.splitlines()[1:]
    return [row.split(maxsplit=1)[1] for row in rows]
