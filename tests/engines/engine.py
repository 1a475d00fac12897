"""Engines as tests see them: each is called with the words of its command line, and records its answers."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import termios
import time
from contextlib import ExitStack
from pathlib import Path

from machine import PATIENCE, Daemon, Place
from record import Recording

MINUTE = 60.0


class Runtime:
    """A runtime that engines run: "pyrunc", the one under test, or "runc", the one it is compared with."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path


class Result:
    def __init__(self, words: tuple[str, ...], code: int, out: str, err: str) -> None:
        self.words = words
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"{' '.join(self.words)}: exit status {self.code}\n{self.out}{self.err}"


class Console:
    """A command on a terminal of its own, as a person has it."""

    def __init__(self, command: list[str], environment: dict[str, str], lines: int, columns: int) -> None:
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        termios.tcsetwinsize(slave, (lines, columns))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, pattern: str, seconds: float = 20) -> "re.Match[str]":
        """Waits until what was printed since the last match has a match of the regular expression."""
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern, self.seen)):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.seen += os.read(self.master, 65536).decode(errors="replace")
                except OSError as error:  # EIO: the other side is closed
                    raise AssertionError(f"the end, and no {pattern!r} in {self.seen!r}") from error
        self.seen = self.seen[match.end() :]
        return match

    def end(self, seconds: float = 20) -> int:
        """Waits for the command's end and returns its exit status."""
        code = self.process.wait(seconds)
        os.close(self.master)
        return code


class Engine:
    """An engine with a runtime as its default one, and a private place."""

    #: Of the place and of recordings.
    name = ""
    #: That it cannot do without.
    programs: tuple[str, ...] = ()

    def __init__(self, runtime: Runtime, images: list[Path]) -> None:
        self.runtime = runtime
        self.archives = images
        self.recording = Recording([])
        self.environment: dict[str, str] = {}
        self.place = Place(f"{self.name}-{runtime.name}")
        #: Ends, last first, what has been started up to now.
        self.ending = ExitStack()
        self.ending.callback(self.place.close)
        try:
            self.start()
            for image in images:
                self.load(image)
        except BaseException:
            self.close()
            raise

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot be run here, if so."""
        return missing(*cls.programs, "nsenter", "ip", "curl")

    def start(self) -> None:
        """Starts it, and puts the end of each part into `ending` as soon as there is one."""
        raise NotImplementedError

    def load(self, image: Path) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        """The words before those of a test."""
        raise NotImplementedError

    def arguments(self, words: tuple[str, ...]) -> list[str]:
        """The words of a test, with what they need in a private place."""
        return list(words)

    def clean(self) -> None:
        """Removes what a test may have left of containers, so that the next one finds none."""
        raise NotImplementedError

    def record(self) -> Recording:
        """A new recording, which the following calls are added to."""
        texts = {str(self.place.directory): "DIR", self.place.name: "PLACE", self.runtime.path: "RUNTIME"}
        self.recording = Recording(list(texts.items()))
        return self.recording

    def close(self) -> None:
        self.ending.close()

    def __call__(
        self,
        *words: str,
        code: int | None = 0,
        stdin: str | bytes | None = None,
        timeout: float = MINUTE,
        compare: bool = True,
        ignore: str | None = None,
        program: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> Result:
        """Runs the engine's command, or another `program`, and expects its exit status (None: any).

        What it prints is compared between runtimes, unless `compare` is False; `ignore` is a regular
        expression for the parts of it that are new each time.
        """
        ended = subprocess.run(  # noqa: PLW1510 - it is looked at below
            [*(program or self.command()), *(words if program else self.arguments(words))],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout * PATIENCE,
            env={**os.environ, **self.environment, **(environment or {})},
        )
        out, err = ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace")
        if compare:
            self.recording.add(words, ended.returncode, out, err, ignore)
        result = Result(words, ended.returncode, out, err)
        assert code is None or ended.returncode == code, result
        return result

    def console(self, *words: str, lines: int = 24, columns: int = 80) -> Console:
        """Runs the engine's command on a terminal; what it prints is not compared."""
        command = [*self.command(), *self.arguments(words)]
        return Console(command, {**os.environ, **self.environment}, lines, columns)


class Docker(Engine):
    """dockerd with its own containerd, bridge and iptables in a network namespace of its own."""

    name = "docker"
    programs = ("dockerd", "/usr/bin/docker")
    #: More of daemon.json.
    configuration: dict[str, object] = {}

    def before(self) -> list[str]:
        """Words before those that start the daemon."""
        return []

    def start(self) -> None:
        place = self.place.directory
        self.socket = place / "docker.sock"
        configuration = {
            "runtimes": {"tested": {"path": self.runtime.path}},
            "default-runtime": "tested",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": f"/{self.place.name}",
            **self.configuration,
        }
        (place / "daemon.json").write_text(json.dumps(configuration))
        (place / "client").mkdir()
        # BuildKit takes what is named runc, whatever runtime is configured, and gives it no --root.
        (place / "bin").mkdir()
        program = place / "bin/runc"
        runtime = f"{self.runtime.path} --root {place}/runc"
        program.write_text(f'#!/bin/sh\necho "$*" >>{place}/runc.log\nexec {runtime} "$@"\n')
        program.chmod(0o755)
        self.environment = {"DOCKER_CONFIG": str(place / "client"), "DOCKER_HOST": f"unix://{self.socket}"}
        self.daemon = Daemon(
            [
                *self.place.inside(),
                *self.before(),
                *["dockerd", "--config-file", str(place / "daemon.json"), "--data-root", str(place / "data")],
                *["--exec-root", str(place / "exec"), "--pidfile", str(place / "docker.pid")],
                *["--host", f"unix://{self.socket}"],
            ],
            place / "dockerd.log",
            {"PATH": f"{place}/bin:{os.environ['PATH']}"},
        )
        self.ending.callback(self.daemon.stop)
        self.daemon.wait_ready([*self.command(), "--host", f"unix://{self.socket}", "version"])

    def command(self) -> list[str]:
        # Debian's, whatever else is in PATH.
        return ["/usr/bin/docker"]

    def load(self, image: Path) -> None:
        self("load", "--input", str(image))

    def clean(self) -> None:
        containers = self("ps", "--all", "--quiet", compare=False).out.split()
        if containers:
            self("rm", "--force", "--volumes", *containers, compare=False)


class RemappedDocker(Docker):
    """dockerd that puts its containers into a user namespace, whose ids begin at `FIRST` on the host."""

    configuration = {"userns-remap": "www-data"}
    FIRST = 200_000

    @classmethod
    def unavailable(cls) -> str | None:
        absent = [file for file in ("/etc/subuid", "/etc/subgid") if not os.path.exists(file)]
        if absent:
            return f"there is no {' and no '.join(absent)} for the daemon's own to be mounted on"
        return super().unavailable()

    def before(self) -> list[str]:
        # Subordinate ids that only this daemon sees.
        ids = self.place.directory / "subordinate-ids"
        ids.write_text(f"www-data:{self.FIRST}:65536\n")
        mount = f"mount --bind {ids} /etc/subuid && mount --bind {ids} /etc/subgid"
        return ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]


class Containerd(Engine):
    """containerd, driven by ctr; in its PATH the runtime is named runc, for want of --runc-binary."""

    name = "containerd"
    programs: tuple[str, ...] = ("containerd", "ctr")

    #: Where its shim puts the runtime's state, in a directory for each namespace.
    ROOT = Path("/run/containerd/runc")
    #: containerd's; empty is the name of the place.
    namespace = ""

    def configuration_text(self) -> str:
        """config.toml."""
        place = self.place.directory
        return (
            "version = 2\n"
            f'root = "{place}/root"\n'
            f'state = "{place}/state"\n'
            'disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\n  address = "{self.socket}"\n'
            f'[ttrpc]\n  address = "{self.socket}.ttrpc"\n'
        )

    def start(self) -> None:
        place = self.place.directory
        self.socket = place / "containerd.sock"
        (place / "config.toml").write_text(self.configuration_text())
        (place / "bin").mkdir()
        (place / "bin/runc").symlink_to(self.runtime.path)
        self.ending.callback(self._remove_roots)
        self._serve()

    def _serve(self) -> None:
        place = self.place.directory
        self.daemon = Daemon(
            [*self.place.inside(), "containerd", "--config", str(place / "config.toml")],
            place / "containerd.log",
            {"PATH": f"{place}/bin:{os.environ['PATH']}"},
        )
        self.ending.callback(self.daemon.stop)
        self.daemon.wait_ready([*self.command(), "version"])

    def restart(self) -> None:
        """Ends the daemon, if it runs, and starts it again; containers go on."""
        if self.daemon.process.poll() is None:
            self.daemon.stop()
        self._serve()

    def command(self) -> list[str]:
        # The namespace's name is also that of the cgroup above those of its containers.
        return ["ctr", "--address", str(self.socket), "--namespace", self.namespace or self.place.name]

    def arguments(self, words: tuple[str, ...]) -> list[str]:
        # ctr leaves the FIFOs of detached processes.
        for verb in (["run"], ["tasks", "start"], ["tasks", "exec"]):
            if list(words[: len(verb)]) == verb:
                return [*verb, "--fifo-dir", str(self.place.directory / "fifo"), *words[len(verb) :]]
        return list(words)

    def load(self, image: Path) -> None:
        self("images", "import", "--no-unpack", str(image))

    @staticmethod
    def shell(script: str) -> list[str]:
        """The words of a shell command whose output is looked at.

        containerd's shim may lose what is written just before a process ends, with any runtime: one time
        in a hundred on a busy machine. So the shell ends a moment later.
        """
        return ["sh", "-c", f"{script}\nstatus=$?; usleep 200000; exit $status"]

    def _remove_roots(self) -> None:
        """Removes the runtime's root of each namespace, in which its cache may stay and no container."""
        for root in self.ROOT.glob(f"{self.place.name}*"):
            left = [path.name for path in root.iterdir() if path.name != "@seccomp"]
            shutil.rmtree(root)
            assert not left, f"the runtime still knows {left}"

    def clean(self) -> None:
        for task in self("tasks", "list", "--quiet", compare=False).out.split():
            self("tasks", "delete", "--force", task, compare=False)
        for container in self("containers", "list", "--quiet", compare=False).out.split():
            self("containers", "delete", container, compare=False)


def missing(*programs: str) -> str | None:
    """Why an engine cannot be run here, if so."""
    absent = [program for program in programs if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)}" if absent else None
