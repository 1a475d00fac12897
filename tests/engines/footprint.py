"""What an engine's containers take of the machine, so that before and after can be compared."""

import os
import subprocess
from collections import Counter
from pathlib import Path

from engine import Containerd, Docker
from machine import CGROUPS, mounted_below, wait_for


def children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        found.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    return found


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    of, found = children(), [pid]
    for each in found:
        found += of.get(each, [])
    return found


def words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def shims(engine: Docker | Containerd) -> list[int]:
    """The processes that hold the engine's containers: they name its directory or its namespace."""
    place, found = engine.place, []
    for entry in Path("/proc").glob("[0-9]*"):
        line = words(int(entry.name))
        if "containerd-shim" in line.split(" ")[0] and (str(place.directory) in line or place.name in line):
            found.append(int(entry.name))
    return found


def state_directories(engine: Docker | Containerd) -> list[Path]:
    """Where runtime and engine have a directory for each container."""
    place, namespace = engine.place.directory, engine.place.name
    tasks = "io.containerd.runtime.v2.task"
    if isinstance(engine, Docker):
        daemon = place / "exec/containerd/daemon"
        return [place / "exec/runtime-tested/moby", daemon / tasks / "moby", place / "data/containers"]
    return [Path("/run/containerd/runc", namespace), place / "state" / tasks / namespace]


def collect_garbage(docker: Docker) -> None:
    """Has dockerd close the connections of execs that have ended.

    dockerd shuts down its side of them, and leaves the closing to the garbage collector of Go, which comes
    after some tens of execs, or two minutes. How many are open at a moment is chance, with any runtime.
    """
    words = ["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--max-time", "60"]
    url = "http://docker/debug/pprof/heap?gc=1"
    subprocess.run([*words, "--unix-socket", str(docker.socket), url], check=True)


def descriptors(engine: Docker | Containerd) -> dict[str, list[str]]:
    """What daemons and shims have open: paths and kinds, by program."""
    if isinstance(engine, Docker):
        collect_garbage(engine)
    found: dict[str, list[str]] = {}
    for pid in [*family(engine.daemon.process.pid), *shims(engine)]:
        program = os.path.basename(words(pid).split(" ")[0])
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(link)
            except OSError:  # closed since
                continue
            found.setdefault(program, []).append(target.partition(":[")[0])
    return found


class Footprint:
    """Processes, cgroups, mounts and state directories by name; descriptors of daemons and shims."""

    def __init__(self, engine: Docker | Containerd) -> None:
        place, daemons = engine.place, family(engine.daemon.process.pid)
        self.engine = engine
        self.descriptors = descriptors(engine)
        self.names = {f"mount {target}" for target in mounted_below(str(place.directory))}
        pids = {*daemons, *shims(engine)}
        for top in [*CGROUPS.glob(place.name), *CGROUPS.glob(f"*/{place.name}")]:
            for directory, _, _ in os.walk(top):
                self.names.add(f"cgroup {directory}")
                try:
                    pids |= {int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()}
                except OSError:  # it is removed at this moment
                    continue
        self.names |= {f"process {pid}: {words(pid)}" for pid in pids if words(pid)}
        for place_of_state in state_directories(engine):
            self.names |= {f"state {path}" for path in place_of_state.glob("*")}

    def is_all_that_is_left(self) -> None:
        """Asserts that what came later has gone, given a moment; of descriptors, that there are no more."""
        try:
            wait_for(lambda: Footprint(self.engine).names <= self.names, "return to what was before", 30)
        except AssertionError:
            assert not Footprint(self.engine).names - self.names

        def more() -> list[str]:
            found = []
            for program, opened in descriptors(self.engine).items():
                before = self.descriptors.get(program, [])
                if len(opened) > len(before):
                    found.append(f"{program} has more open: {Counter(opened) - Counter(before)}")
            return found

        # Terminals of execs are closed by the shim's garbage collector, which comes twice a minute.
        try:
            wait_for(lambda: not more(), "closing of descriptors", 40, interval=1)
        except AssertionError:
            assert not more()
