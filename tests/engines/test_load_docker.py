"""Many containers at once and many execs through Docker: none fails, and nothing is left."""

import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine import Docker
from footprint import Footprint
from load import Rate

CONTAINERS = {"pyrunc": 40, "runc": 20}
EXECS = {"pyrunc": 1000, "runc": 200}
AT_ONCE = 4


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


def test_forty_containers_start_at_once(docker: Docker, rate: Rate) -> None:
    number = CONTAINERS[docker.runtime.name]
    # What the daemon opens once and keeps.
    docker("run", "--rm", "busybox", "true", compare=False)
    before = Footprint(docker)
    config = {"Image": "busybox", "Cmd": ["sleep", "100000"]}
    made = [asked(docker, "POST", "/containers/create", config)["Id"] for _ in range(number)]
    with ThreadPoolExecutor(number) as threads:
        begin = time.monotonic()
        list(threads.map(lambda name: api(docker, "POST", f"/containers/{name}/start"), made))
        rate("containers started at once, Docker", number, time.monotonic() - begin)
        assert {each["Id"] for each in asked(docker, "GET", "/containers/json")} == set(made)
        list(threads.map(lambda name: api(docker, "DELETE", f"/containers/{name}?force=1"), made))
    before.is_all_that_is_left()


def test_a_thousand_execs_give_their_output_and_exit_status(docker: Docker, rate: Rate) -> None:
    docker("run", "--detach", "--name", "checked", "--network", "none", "busybox", "sleep", "100000")

    def check(number: int) -> str:
        """What a health check is: an exec, its output, its exit status."""
        command = ["sh", "-c", f"echo {number}; exit {number % 3}"]
        body = {"Cmd": command, "AttachStdout": True, "Tty": True}
        name = asked(docker, "POST", "/containers/checked/exec", body)["Id"]
        output = api(docker, "POST", f"/exec/{name}/start", {"Tty": True})
        return f"{output.decode().strip()} {asked(docker, 'GET', f'/exec/{name}/json')['ExitCode']}"

    numbers = range(EXECS[docker.runtime.name])
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(check, range(2 * AT_ONCE)))
        before = Footprint(docker)
        begin = time.monotonic()
        answers = list(threads.map(check, numbers))
        rate("execs, four at a time, Docker", len(numbers), time.monotonic() - begin)
    assert answers == [f"{number} {number % 3}" for number in numbers]
    before.is_all_that_is_left()
