"""The engines with the systemd cgroup driver, and with AppArmor where the kernel has it.

They need systemd as process 1, so these tests are those of `tox -e vm-engines`, in a virtual machine.
"""

import os
import subprocess
from pathlib import Path

from engine import Containerd, Docker, Engine
from fixtures import fixture_of
from podman import Podman

BOOTED = os.path.isdir("/run/systemd/system")
APPARMOR = os.path.isdir("/sys/kernel/security/apparmor")
CGROUPS = Path("/sys/fs/cgroup")

SKIPPED = "systemd is not process 1 here, as it is in `tox -e vm-engines`"


def unit(name: str, *properties: str) -> dict[str, str]:
    """Properties of one of systemd's units."""
    command = ["systemctl", "show", name, *(f"--property={each}" for each in properties)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


def cgroup_of(pid: int) -> Path:
    """The directory of a process's cgroup, of v2 alone."""
    line = Path(f"/proc/{pid}/cgroup").read_text().strip()
    assert line.startswith("0::/"), line
    return CGROUPS / line.removeprefix("0::/")


def profile_of(pid: int) -> str:
    """The AppArmor profile that confines a process, with its mode."""
    return Path(f"/proc/{pid}/attr/apparmor/current").read_text().strip()


def slice_of(engine: Engine) -> str:
    """A slice for the containers of one engine: a dash would put it below another one."""
    return f"{engine.place.name.replace('-', '_')}.slice"


class InSlice(Engine):
    """An engine whose containers are scopes in a slice of its own."""

    @classmethod
    def unavailable(cls) -> str | None:
        return super().unavailable() if BOOTED else SKIPPED

    def start(self) -> None:
        self.ending.callback(subprocess.run, ["systemctl", "stop", slice_of(self)], check=True, timeout=60)
        super().start()


class SystemdDocker(InSlice, Docker):
    """With --network none."""

    def start(self) -> None:
        self.configuration = {
            "exec-opts": ["native.cgroupdriver=systemd"],
            "cgroup-parent": slice_of(self),
            # Networks are not the subject, and their modules not everywhere.
            "bridge": "none",
            "iptables": False,
        }
        super().start()


class SystemdContainerd(InSlice, Containerd):
    """To be called with --runc-systemd-cgroup."""


class SystemdPodman(InSlice, Podman):
    cgroup_manager = "systemd"


systemd_docker = fixture_of(SystemdDocker, scope="module")
systemd_ctr = fixture_of(SystemdContainerd, scope="module")
systemd_podman = fixture_of(SystemdPodman, scope="module")
