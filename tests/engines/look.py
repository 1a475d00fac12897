"""What tests look at from the host: a container's first process, its namespaces and its cgroup."""

import os
from pathlib import Path

from engine import Engine
from machine import CGROUPS

#: Capabilities by their bits in /proc/PID/status: capability.h.
CAPABILITIES = {"CHOWN": 0, "NET_RAW": 13, "SYS_ADMIN": 21, "SYS_TIME": 25, "SYS_RESOURCE": 24}
#: What Docker, containerd and Podman's ancestors give a container, as a mask.
DEFAULT_CAPABILITIES = 0xA80425FB


def bounding() -> int:
    """The capabilities that root has on this machine, as a mask."""
    return int(status(os.getpid(), "CapBnd"), 16)


def pid_of(engine: Engine, container: str) -> int:
    """The first process of a container, in the host's numbers (of docker and podman)."""
    words = ("inspect", "--format", "{{.State.Pid}}", container)
    return int(engine(*words, compare=False).out)


def namespace(pid: int | str, kind: str) -> str:
    """`pid`'s namespace of a kind (`net`, `pid` …), for comparison."""
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def status(pid: int, field: str) -> str:
    """A field of /proc/PID/status."""
    return status_fields(Path(f"/proc/{pid}/status").read_text())[field]


def status_fields(text: str) -> dict[str, str]:
    """The fields of /proc/PID/status, or of those of its lines that were printed."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def unified() -> bool:
    """Whether the machine has cgroup v2 alone."""
    return (CGROUPS / "cgroup.controllers").exists()


def cgroup(pid: int, controller: str) -> Path:
    """The directory of a process's cgroup in the hierarchy that has the v1 controller, or in v2's."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if unified() and controllers == "":
            return CGROUPS / path.lstrip("/")
        if controller in controllers.split(","):
            return CGROUPS / controller / path.lstrip("/")
    raise AssertionError(f"process {pid} is in no cgroup of {controller}")


def limit(pid: int, v1: str, v2: str) -> str:
    """What a file of a process's cgroup says: `v1` (`memory.limit_in_bytes`) or its equal in v2."""
    directory = cgroup(pid, v1.partition(".")[0])
    return (directory / (v2 if unified() else v1)).read_text().strip()
