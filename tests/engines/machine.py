"""What an engine needs of the machine: a directory, a network namespace, a parent cgroup."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
#: A factor for time limits, which an emulated machine sets.
PATIENCE = float(os.environ.get("PYRUNC_PATIENCE", "1"))


class Place:
    """A directory, a network namespace with loopback, and a name for cgroups; all private to one daemon."""

    def __init__(self, name: str) -> None:
        # mkdtemp's names may end with an underscore, and then containerd takes none for a namespace.
        self.name = f"pyrunc-{name}-{secrets.token_hex(4)}"
        self.netns = f"/run/netns/{self.name}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)
        self.directory = Path(tempfile.gettempdir(), self.name)
        self.directory.mkdir()
        self.directory.chmod(0o755)

    def inside(self) -> list[str]:
        """Words before a command that runs in the network namespace (`ip netns exec` would hide cgroups)."""
        return ["nsenter", f"--net={self.netns}"]

    def fetch(self, url: str) -> str:
        """What an HTTP server at an address of the network namespace answers."""
        # Retried until the server listens. Static busybox cannot look up the protocol's port.
        patience = ["--retry", "20", "--retry-delay", "0", "--retry-all-errors", "--max-time", "10"]
        command = [*self.inside(), "curl", "--silent", "--show-error", "--fail", *patience, url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def close(self) -> None:
        """Removes it; what is still mounted is unmounted first, so that no other file system is emptied."""
        for target in reversed(mounted_below(str(self.directory))):
            subprocess.run(["umount", target], check=True)
        wait_for(lambda: not self._remove_cgroups(), "the removal of cgroups", 10)
        subprocess.run(["ip", "netns", "del", self.name], check=True)
        shutil.rmtree(self.directory)

    def _remove_cgroups(self) -> list[Path]:
        """The cgroups of this place that could not be removed yet."""
        left = []
        # Of v2, and of each hierarchy of v1.
        for top in [*CGROUPS.glob(self.name), *CGROUPS.glob(f"*/{self.name}")]:
            for directory, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:  # processes in it are still on their way out
                    left.append(Path(directory))
        return left


def cgroups(path: str) -> list[Path]:
    """The directories of a cgroup, in v2 and in each hierarchy of v1, where there is one."""
    return [each for each in [CGROUPS / path, *CGROUPS.glob(f"*/{path}")] if each.is_dir()]


def cgroup_file(name: str, path: str) -> str:
    """A file of a cgroup, by its name in v1 or in v2, whichever the machine has."""
    files = [directory / name for directory in cgroups(path)]
    return next(file for file in files if file.exists()).read_text().strip()


def mounted_below(directory: str) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(f"{directory}/")]


def wait_for(ready: Callable[[], object], what: str, seconds: float = 30, interval: float = 0.05) -> None:
    deadline = time.monotonic() + seconds * PATIENCE
    while not ready():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(interval)


class Daemon:
    """A daemon of this session, whose output is a file."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def wait_ready(self, command: list[str], seconds: float = 30) -> None:
        """Until `command`, a question to the daemon, succeeds."""

        def ready() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.tail()}"
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        wait_for(ready, f"answer of {command[0]}'s daemon ({self.tail()})", seconds)

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
