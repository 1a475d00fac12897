"""containerd with the config.toml of docs/engines.md, and what scripts/check-registration says of it."""

import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from documented import check, shown
from engine import Containerd, Engine, Runtime
from fixtures import running

FILE = "/etc/containerd/config.toml"
PLUGIN = "io.containerd.grpc.v1.cri"


class RegisteredContainerd(Containerd):
    """With the CRI plugin and the document's table for it."""

    def configuration_text(self) -> str:
        place = self.place.directory
        return (
            f'root = "{place}/root"\nstate = "{place}/state"\n'
            'disabled_plugins = ["io.containerd.internal.v1.opt"]\n'
            f'{shown(FILE, self.runtime)}'
            f'[plugins."{PLUGIN}".cni]\n  bin_dir = "{place}"\n  conf_dir = "{place}"\n'
            f'[grpc]\n  address = "{self.socket}"\n[ttrpc]\n  address = "{self.socket}.ttrpc"\n'
        )


@pytest.fixture(scope="module")
def registered(tested: Runtime) -> Iterator[Engine]:
    yield from running(RegisteredContainerd, tested, [])


def test_the_shown_config_toml_registers_pyrunc_and_a_change_asks_for_a_restart(
    registered: RegisteredContainerd, tested: Runtime
) -> None:
    file = registered.place.directory / "config.toml"
    code, said = check("containerd", "--containerd", str(file))
    assert code == 0, said
    assert f"the daemon (process {registered.daemon.process.pid}) has read these files" in said
    # What containerd itself makes of the file.
    dump = ["containerd", "--config", str(file), "config", "dump"]
    text = subprocess.run(dump, check=True, capture_output=True, text=True, timeout=60).stdout
    cri = tomllib.loads(text)["plugins"][PLUGIN]["containerd"]["runtimes"]["pyrunc"]
    assert cri["runtime_type"] == "io.containerd.runc.v2"
    assert cri["options"] == {"BinaryName": tested.path, "SystemdCgroup": False}

    time.sleep(0.05)
    file.touch()
    code, said = check("containerd", "--containerd", str(file))
    assert code == 1
    assert "systemctl restart containerd" in said


def test_version_3_is_not_for_containerd_1(tested: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(shown(FILE, tested, 1))
    code, said = check("containerd", "--containerd", str(file))
    version = subprocess.run(["containerd", "--version"], check=True, capture_output=True, text=True).stdout
    old = " 1." in version
    assert ("which containerd 1 does not read" in said) == old, said
    assert code == int(old)
