"""Many containers at once and many execs through Docker: none fails, and nothing is left."""

import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from engine import Docker, Runtime
from footprint import Footprint
from load import Rates, side_by_side

pytestmark = pytest.mark.timeout(600)  # a busy machine takes its time

CONTAINERS = 40
ROUNDS = 10
EXECS_IN_ROUND = {"pyrunc": 100, "runc": 20}
AT_ONCE = 4

Dockers = dict[str, Docker]


@pytest.fixture(scope="module")
def dockers(tested: Runtime, busybox: Path) -> Iterator[Dockers]:
    yield from side_by_side(Docker, tested, [busybox])


class Connection(http.client.HTTPConnection):
    """To a daemon at a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=120)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def api(docker: Docker, method: str, path: str, body: object = None) -> bytes:
    """The answer to one request of Docker's API, made on a connection of its own."""
    connection = Connection(str(docker.socket))
    text = json.dumps(body) if body is not None else None
    try:
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status < 300, f"{method} {path}: {answer.status} {content.decode()}"
    return content


def asked(docker: Docker, method: str, path: str, body: object = None) -> Any:
    return json.loads(api(docker, method, path, body))


def test_forty_containers_start_at_once(dockers: Dockers, rates: Rates) -> None:
    config = {"Image": "busybox", "Cmd": ["sleep", "100000"]}
    for runtime, docker in dockers.items():
        # What the daemon opens once and keeps.
        docker("run", "--rm", "busybox", "true", compare=False)
        before = Footprint(docker)
        made = [asked(docker, "POST", "/containers/create", config)["Id"] for _ in range(CONTAINERS)]
        starts = [f"/containers/{name}/start" for name in made]
        removals = [f"/containers/{name}?force=1" for name in made]
        with ThreadPoolExecutor(CONTAINERS) as threads:
            with rates.measure(f"{CONTAINERS} containers started at once, Docker", runtime, CONTAINERS):
                list(threads.map(api, repeat(docker), repeat("POST"), starts))
            running = asked(docker, "GET", "/containers/json")
            assert {each["Id"] for each in running} == set(made)
            list(threads.map(api, repeat(docker), repeat("DELETE"), removals))
        before.is_all_that_is_left()


def check(docker: Docker, number: int) -> None:
    """What a health check is: an exec, its output, its exit status."""
    command = ["sh", "-c", f"echo {number}; exit {number % 3}"]
    body = {"Cmd": command, "AttachStdout": True, "Tty": True}
    name = asked(docker, "POST", "/containers/checked/exec", body)["Id"]
    output = api(docker, "POST", f"/exec/{name}/start", {"Tty": True}).decode().strip()
    assert (output, asked(docker, "GET", f"/exec/{name}/json")["ExitCode"]) == (str(number), number % 3)


def test_a_thousand_execs_give_their_output_and_exit_status(dockers: Dockers, rates: Rates) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:

        def checks(docker: Docker, numbers: range) -> None:
            list(threads.map(check, repeat(docker), numbers))

        for docker in dockers.values():
            docker("run", "--detach", "--name", "checked", "--network", "none", "busybox", "sleep", "100000")
            checks(docker, range(2 * AT_ONCE))
        before = [Footprint(docker) for docker in dockers.values()]
        for round in range(ROUNDS):
            for runtime, docker in dockers.items():
                number = EXECS_IN_ROUND[runtime]
                numbers = range(round * number, (round + 1) * number)
                with rates.measure("execs, four at a time, Docker", runtime, number):
                    checks(docker, numbers)
    for each in before:
        each.is_all_that_is_left()
