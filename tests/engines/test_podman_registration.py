"""podman with the containers.conf of docs/engines.md, and what scripts/check-registration says of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from documented import check, shown
from engine import Engine, Runtime
from fixtures import running
from podman import Podman


class RegisteredPodman(Podman):
    """With the document's file, and what this machine's limits ask for besides."""

    def start(self) -> None:
        super().start()
        file = self.place.directory / "containers.conf"
        private = file.read_text().partition("[engine]")[0]
        file.write_text(private + shown("/etc/containers/containers.conf", self.runtime))


@pytest.fixture(scope="module")
def registered(tested: Runtime, busybox: Path) -> Iterator[Engine]:
    yield from running(RegisteredPodman, tested, [busybox])


def test_the_shown_containers_conf_makes_pyrunc_the_runtime(
    registered: RegisteredPodman, tested: Runtime
) -> None:
    code, said = check("podman", "--podman", str(registered.place.directory / "containers.conf"))
    assert code == 0, said
    assert '"pyrunc" is the default runtime' in said
    form = "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}} {{.Host.CgroupManager}}"
    assert registered("info", "--format", form).out == f"pyrunc {tested.path} cgroupfs\n"
    assert registered("run", "--rm", "--network", "none", "busybox", "echo", "hello").out == "hello\n"
    failed = registered("run", "--rm", "--network", "none", "busybox", "no-such-program", code=127)
    # From the runtime's log: not after the name of the program.
    assert failed.err.startswith('Error: pyrunc: /process/args/0: "no-such-program"'), failed
