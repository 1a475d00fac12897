"""The engines with the systemd cgroup driver, and with AppArmor where the kernel has it.

They need systemd as process 1, so these tests are those of `tox -e vm-engines`, in a virtual machine.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Containerd, Docker, Engine, Runtime
from fixtures import Recordings, recorded, running
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


def stop_slice(engine: Engine) -> None:
    subprocess.run(["systemctl", "stop", slice_of(engine)], check=True, timeout=60)


class SystemdDocker(Docker):
    def start(self) -> None:
        self.configuration = {
            "exec-opts": ["native.cgroupdriver=systemd"],
            "cgroup-parent": slice_of(self),
            # Networks are not the subject, and their modules not everywhere.
            "bridge": "none",
            "iptables": False,
        }
        super().start()

    def stop(self) -> None:
        super().stop()
        stop_slice(self)


class SystemdContainerd(Containerd):
    def stop(self) -> None:
        super().stop()
        stop_slice(self)


class SystemdPodman(Podman):
    cgroup_manager = "systemd"

    def stop(self) -> None:
        super().stop()
        stop_slice(self)


def booted(engine: type[Engine], runtime: Runtime, archives: list[Path], *programs: str) -> Iterator[Engine]:
    if not BOOTED:
        pytest.skip(SKIPPED)
    yield from running(engine, runtime, archives, *programs, "systemctl")


@pytest.fixture(scope="module")
def systemd_docker_engine(runtime: Runtime, busybox: Path) -> Iterator[Engine]:
    yield from booted(SystemdDocker, runtime, [busybox], "dockerd", "/usr/bin/docker", "nsenter", "ip")


@pytest.fixture
def systemd_docker(
    systemd_docker_engine: SystemdDocker, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """Docker whose containers are scopes, with --network none."""
    yield from recorded(systemd_docker_engine, request, recordings)


@pytest.fixture(scope="module")
def systemd_containerd_engine(runtime: Runtime, busybox: Path) -> Iterator[Engine]:
    yield from booted(SystemdContainerd, runtime, [busybox], "containerd", "ctr", "nsenter", "ip")


@pytest.fixture
def systemd_ctr(
    systemd_containerd_engine: SystemdContainerd, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """containerd's ctr, to be called with --runc-systemd-cgroup."""
    yield from recorded(systemd_containerd_engine, request, recordings)


@pytest.fixture(scope="module")
def systemd_podman_engine(runtime: Runtime, busybox: Path) -> Iterator[Engine]:
    programs = ("podman", "conmon", "/usr/lib/podman/netavark", "nsenter", "ip")
    yield from booted(SystemdPodman, runtime, [busybox], *programs)


@pytest.fixture
def systemd_podman(
    systemd_podman_engine: SystemdPodman, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """podman whose containers are scopes."""
    yield from recorded(systemd_podman_engine, request, recordings)
