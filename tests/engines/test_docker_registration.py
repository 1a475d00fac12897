"""dockerd with the daemon.json of docs/engines.md, and what scripts/check-registration says of it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from documented import check, shown
from engine import Docker, Engine, Runtime
from fixtures import running
from machine import wait_for


class RegisteredDocker(Docker):
    """With the document's runtimes besides this one's own."""

    def start(self) -> None:
        text = json.loads(shown("/etc/docker/daemon.json", self.runtime))
        self.configuration = {**text, "default-runtime": "pyrunc", "bridge": "none", "iptables": False}
        super().start()


@pytest.fixture(scope="module")
def registered(tested: Runtime, busybox: Path) -> Iterator[Engine]:
    yield from running(RegisteredDocker, tested, [busybox])


def test_the_shown_daemon_json_registers_pyrunc_and_a_change_asks_for_a_reload(
    registered: RegisteredDocker, tested: Runtime
) -> None:
    file = registered.place.directory / "daemon.json"
    words = ["docker", "--docker", str(file), "--docker-socket", str(registered.socket)]
    assert registered("run", "--rm", "--runtime", "pyrunc", "busybox", "echo", "hello").out == "hello\n"
    code, said = check(*words)
    assert code == 0, said
    assert f'the daemon at {registered.socket} knows "pyrunc"' in said

    configuration = json.loads(file.read_text())
    configuration["runtimes"]["other"] = {"path": tested.path}
    file.write_text(json.dumps(configuration))
    code, said = check(*words, "--runtime", "other")
    assert code == 1
    assert f'the daemon at {registered.socket} does not know "other" yet' in said
    registered.daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: check(*words, "--runtime", "other")[0] == 0, "reload")

    file.write_text(json.dumps({**configuration, "exec-opts": ["native.cgroupdriver=systemd"]}))
    code, said = check(*words, "--systemd", "yes")
    assert code == 1
    assert "the daemon's cgroup driver is still cgroupfs" in said
