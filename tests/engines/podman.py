"""Podman, of root and of an ordinary user, in a mount namespace of its own.

Without a daemon, what belongs to an engine is in files: below /run, /dev/shm and /var/lib/containers,
whatever directories are given on its command line. In the namespace these are empty, so that the machine's
own podman neither sees nor is seen. /etc is a copy: the user of rootless podman, and who has subordinate
ids, are known there only.
"""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from engine import Engine
from machine import CGROUPS, cgroups, wait_for

#: What `default_ulimits` has by default is more than a machine without CAP_SYS_RESOURCE can give.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[network]
network_backend = "netavark"
network_config_dir = "{directory}/networks"
[engine]
runtime = "tested"
runtime_supports_nocgroup = [{without_cgroups}]
cgroup_manager = "{cgroup_manager}"
events_logger = "file"
image_copy_tmp_dir = "{directory}/copy"
[engine.runtimes]
tested = ["{runtime}"]
"""

STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{directory}/root"
runroot = "{directory}/run"
"""

# Mounts of the machine that end there end here too; those made here are not seen there. Shared with each
# other they are only at the end: before, what is mounted on one would be mounted on its copies.
MOUNTS = """\
set -e
mkdir "$1/machine-run"
mount --bind /run "$1/machine-run"
mount -t tmpfs -o mode=755 run /run
# By which containers are made with the systemd driver.
for name in dbus systemd; do
  if [ -d "$1/machine-run/$name" ]; then
    mkdir "/run/$name"
    mount --bind "$1/machine-run/$name" "/run/$name"
  fi
done
umount "$1/machine-run"
mount -t tmpfs -o mode=1777 shm /dev/shm
mkdir -p /var/lib/containers
mount -t tmpfs -o mode=700 containers /var/lib/containers
mount -t overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/etc-work" etc /etc
if [ -c /dev/net/tun ]; then
  # Every user's, as udev makes it.
  mknod -m 666 "$1/tun" c 10 200
  mount --bind "$1/tun" /dev/net/tun
fi
mount --make-rshared /
test "$(stat -f -c %T /run)" = tmpfs
test ! -e /run/lock
touch "$1/mounted"
exec sleep infinity
"""

# First words of commands after which there are no more containers or pods than before.
LEAVES_NONE = ("images", "info", "inspect", "load", "logs", "network", "ps", "secret", "version", "volume")

# Words of podman that begin a command which makes a container, and take --cgroup-parent.
MAKES_CGROUPS = (("run",), ("create",), ("container", "run"), ("container", "create"), ("pod", "create"))


class Podman(Engine):
    """podman with conmon and netavark, as root."""

    name = "podman"
    programs: tuple[str, ...] = ("podman", "conmon", "/usr/lib/podman/netavark")
    cgroup_manager = "cgroupfs"
    #: What the test may have left: "pod", "container". (A podman that finds nothing takes its time, too.)
    left: set[str]

    def start(self) -> None:
        place = self.place.directory
        self.left = set()
        self.had_cgroups = set(libpod_cgroups())
        values = {
            "directory": str(place),
            "runtime": self.runtime.path,
            "cgroup_manager": self.cgroup_manager,
            # To the others podman does not give crun's flag for that.
            "without_cgroups": "" if self.runtime.name == "runc" else '"tested"',
        }
        (place / "containers.conf").write_text(CONTAINERS_CONF.format_map(values))
        (place / "storage.conf").write_text(STORAGE_CONF.format_map(values))
        self.environment = {
            "CONTAINERS_CONF": str(place / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(place / "storage.conf"),
            "HOME": str(place / "home"),
            "TMPDIR": str(place / "copy"),
        }
        for name in ("home", "copy", "etc", "etc-work"):
            (place / name).mkdir()
        self.write_etc()
        script = ["sh", "-c", MOUNTS, "sh", str(place)]
        self.keeper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", *script], start_new_session=True
        )
        self.ending.callback(self._end)
        wait_for((place / "mounted").exists, "mount namespace")

    def write_etc(self) -> None:
        """Puts this engine's files of /etc into the directory `etc`."""
        # Of which podman takes the ids of --userns=auto.
        for name in ("subuid", "subgid"):
            (self.place.directory / "etc" / name).write_text("containers:3000000:65536\n")

    def inside(self) -> list[str]:
        """Words before a command that sees what this podman sees."""
        return [*self.place.inside(), f"--mount=/proc/{self.keeper.pid}/ns/mnt"]

    def command(self) -> list[str]:
        return [*self.inside(), "podman", "--tmpdir", f"{self.place.directory}/tmp"]

    def arguments(self, words: tuple[str, ...]) -> list[str]:
        if words[0] not in LEAVES_NONE and "--rm" not in words:
            self.left.add("pod" if words[0] in ("pod", "play", "kube") or "--pod" in words else "container")
        # A test's own parent, none at all, or the pod's.
        if {"--cgroup-parent", "disabled"} & {*words} or (words[0] != "pod" and "--pod" in words):
            return list(words)
        for first in MAKES_CGROUPS:
            if words[: len(first)] == first:
                return [*first, "--cgroup-parent", f"/{self.place.name}", *words[len(first) :]]
        return list(words)

    def load(self, image: Path) -> None:
        self("load", "--quiet", "--input", str(image))

    def clean(self) -> None:
        if "pod" in self.left:
            self("pod", "rm", "--force", "--all", "--time", "0", compare=False)
        if "container" in self.left:
            self("rm", "--force", "--all", "--time", "0", "--volumes", compare=False)
        self.left = set()

    def until(self, *words: str, printed: str = "") -> None:
        """Waits until a command of podman succeeds and has printed a text."""

        def ready() -> bool:
            ended = self(*words, code=None, compare=False)
            return ended.code == 0 and printed in ended.out

        wait_for(ready, f"success of {' '.join(words)}")

    def look(self, *words: str) -> str:
        """What a command prints that sees what this podman sees."""
        return subprocess.run([*self.inside(), *words], check=True, capture_output=True, text=True).stdout

    def _end(self) -> None:
        # Containers that podman could not remove, where a test failed, and their conmon.
        for top in cgroups(self.place.name):
            for file in top.glob("**/cgroup.procs"):
                for pid in file.read_text().split():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
        self.keeper.send_signal(signal.SIGKILL)
        self.keeper.wait()
        # `play kube` and `build` know no --cgroup-parent.
        for path in libpod_cgroups():
            if path not in self.had_cgroups:
                os.rmdir(path)


class RootlessPodman(Podman):
    """podman of an ordinary user, who is known in the mount namespace only."""

    name = "podmanuser"
    programs = ("podman", "conmon", "newuidmap", "slirp4netns", "setpriv")
    user = "pyrunc-tester"
    #: The user's and its group's number, and the first of its 65536 subordinate ones.
    uid, first = 64777, 4_000_000
    #: A group that the user is in besides.
    team = 64778

    def start(self) -> None:
        # As logind makes it; podman refuses longer paths.
        self.runtime_directory = f"/run/user/{self.uid}"
        self.home = self.place.directory / "home"
        super().start()
        self.ending.callback(self._end_pause)
        owner = [f"--owner={self.uid}", f"--group={self.uid}"]
        self.look("install", "-d", "-m", "700", *owner, self.runtime_directory)
        for name in ("", "home", "copy"):
            os.chown(self.place.directory / name, self.uid, self.uid)
        self.environment["XDG_RUNTIME_DIR"] = self.runtime_directory
        self.environment["USER"] = self.user

    def write_etc(self) -> None:
        etc = self.place.directory / "etc"
        for name, line in (
            ("passwd", f"{self.user}:x:{self.uid}:{self.uid}::{self.home}:/bin/sh\n"),
            ("group", f"{self.user}:x:{self.uid}:\n"),
        ):
            (etc / name).write_text(Path("/etc", name).read_text() + line)
        for name in ("subuid", "subgid"):
            (etc / name).write_text(f"{self.user}:{self.first}:65536\n")

    def load(self, image: Path) -> None:
        # From where the user can read it.
        super().load(Path(shutil.copy(image, self.place.directory / "copy")))

    def become(self) -> list[str]:
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", f"--groups={self.team}", "--"]

    def command(self) -> list[str]:
        return [*self.inside(), *self.become(), "podman"]

    def arguments(self, words: tuple[str, ...]) -> list[str]:
        super().arguments(words)
        return list(words)  # an ordinary user has no cgroup to give

    def _end_pause(self) -> None:
        """Ends the process that keeps the user's user namespace."""
        pid = self.look("sh", "-c", f"cat {self.runtime_directory}/libpod/tmp/pause.pid || true")
        if pid:
            os.kill(int(pid), signal.SIGKILL)


def libpod_cgroups() -> list[Path]:
    """podman's own parent cgroup and what is below, the deepest first."""
    tops = [*CGROUPS.glob("libpod_parent"), *CGROUPS.glob("*/libpod_parent")]
    return [Path(path) for top in tops for path, _, _ in os.walk(top, topdown=False)]
