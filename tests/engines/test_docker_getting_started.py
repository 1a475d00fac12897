"""The walk of Docker's getting-started page, as a person types it.

With PYRUNC_TRANSCRIPT=FILE in the environment the walk under pyrunc is written to FILE:
docs/engines.md shows it.
"""

import os
import re
import shlex
from pathlib import Path

import images
import pytest
from engine import Docker, Result

ID = r"[0-9a-f]{64}\n"


class Walk:
    """Command lines, and what they print."""

    def __init__(self, docker: Docker) -> None:
        self.docker = docker
        self.lines: list[str] = []

    def __call__(self, line: str, ignore: str | None = None, compare: bool = True) -> Result:
        words = shlex.split(line)
        assert words[0] == "docker"
        done = self.docker(*words[1:], ignore=ignore, compare=compare)
        self.lines += [f"$ {line}", *done.out.splitlines(), *done.err.splitlines()]
        return done

    def fetch(self, address: str) -> str:
        page = self.docker.place.fetch(address)
        self.lines += [f"$ curl {address}", *page.splitlines()]
        return page

    def shell(self, line: str, prompt: str, commands: dict[str, str]) -> None:
        """A shell on a terminal: what is typed at each prompt, and a pattern of what is to be seen then."""
        words = shlex.split(line)
        console = self.docker.console(*words[1:])
        self.lines += [f"$ {line}"]
        shown = console.expect(prompt).group()
        for typed, seen in commands.items():
            console.type(f"{typed}\n")
            shown += console.expect(seen).group()
            shown += console.expect(prompt).group()
        console.type("exit\n")
        shown += console.expect("exit\r\n").group()
        assert console.end() == 0
        self.lines += re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", shown).replace("\r", "").splitlines()

    def write(self, path: Path) -> None:
        """Runs of spaces and the ids stay as they are: this is what was seen."""
        path.write_text("\n".join(line.rstrip() for line in self.lines) + "\n")


@pytest.fixture
def walk(docker_with_page: Docker) -> Walk:
    return Walk(docker_with_page)


def test_the_getting_started_walk(walk: Walk) -> None:
    container = walk("docker run -d -p 80:80 docker/getting-started").out
    assert re.fullmatch(ID, container)
    assert walk.fetch("http://127.0.0.1/") == images.PAGE
    listing = walk("docker ps", compare=False).out
    header, row = listing.splitlines()
    columns = re.split(r"  +", row)
    assert header.split("   ")[0] == "CONTAINER ID"
    assert columns[0] == container[:12]
    assert columns[1:3] == ["docker/getting-started", '"nginx"']
    assert columns[-2] == "0.0.0.0:80->80/tcp, :::80->80/tcp"
    name = columns[-1]
    assert re.fullmatch("[a-z]+_[a-z]+", name), "a random name"
    assert '"GET / HTTP/1.1" 200' in walk(f"docker logs {name}", compare=False).out
    walk.shell(
        f"docker exec -it {name} sh",
        r"[^\n]*# (\x1b\[6n)?",
        {
            "ps": r"(?s)ps\r\n.*nginx: master process nginx\r\n.*nginx: worker process\r\n.* sh\r\n.* sh\r\n",
            "head -n 1 /usr/share/nginx/html/index.html": r"(?s)head .*<!doctype html>\r\n",
            "tty": r"tty\r\n/dev/pts/\d+\r\n",
        },
    )
    # By its name as by the beginning of its id; nginx takes SIGQUIT, which the image names, as a wish to end.
    assert walk(f"docker stop {name}", compare=False).out == f"{name}\n"
    assert len(walk("docker ps", compare=False).out.splitlines()) == 1
    state = walk.docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name, compare=False)
    assert state.out == "exited 0\n"
    assert walk(f"docker rm {name}", compare=False).out == f"{name}\n"
    assert walk.docker("ps", "--all", "--quiet").out == ""
    where = os.environ.get("PYRUNC_TRANSCRIPT")
    if where and walk.docker.runtime.name == "pyrunc":
        walk.write(Path(where))


def test_the_flags_may_be_one_word(walk: Walk) -> None:
    container = walk("docker run -dp 80:80 docker/getting-started").out.strip()
    assert walk.fetch("http://127.0.0.1/") == images.PAGE
    assert walk.docker("port", container).out == "80/tcp -> 0.0.0.0:80\n80/tcp -> :::80\n"
    # While the first one has the port, a second one is told so, and is not left behind half made.
    refused = walk.docker(
        "run",
        "-dp",
        "80:80",
        "docker/getting-started",
        code=125,
        ignore=r"endpoint \w+ \(\w+\)|\b[0-9a-f]{64}",
    )
    assert "port is already allocated" in refused.err
    assert walk.docker("rm", "--force", container[:12]).out == f"{container[:12]}\n"


def test_a_container_from_the_image_is_what_the_image_says(walk: Walk) -> None:
    walk.docker("run", "-dP", "--name", "page", "docker/getting-started")
    port = walk.docker("port", "page", "80", compare=False).out.split()[0].rpartition(":")[2]
    assert walk.fetch(f"http://127.0.0.1:{port}/") == images.PAGE
    workers = walk.docker("exec", "page", "stat", "-c", "%U", "/proc/1/cmdline").out
    assert workers == "root\n"
    # The page comes through the container's own address too.
    address = walk.docker(
        "inspect", "--format", "{{.NetworkSettings.IPAddress}}", "page", compare=False
    ).out.strip()
    assert walk.fetch(f"http://{address}/") == images.PAGE
    assert walk.docker("exec", "page", "wget", "-qO-", "http://127.0.0.1/nothing", code=1).out == ""
    assert "404" in walk.docker("logs", "page", compare=False).out
