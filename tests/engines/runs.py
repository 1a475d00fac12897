"""docker run as tests say it: the flags as a line of a shell, then what runs in `busybox`."""

import shlex

from engine import Docker, Result
from look import pid_of

IMAGE = "busybox"


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
