"""A case's workplace: bundles, the runtime under test, and what is left behind.

Everything that a case makes is registered here, and `Box.clean` removes it whatever happened. Processes are
ended by id, and only while they are the suite's own children: as a subreaper, the suite inherits what the
runtime leaves, so that an id cannot have been reused.
"""

import array
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.container import Container, Result
from conformance.model import MET, NOT_APPLICABLE, VIOLATED, Observation, RuntimeFailed


class Console:
    """The socket at which a runtime hands over a terminal's master (runc's --console-socket)."""

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self.patience = patience
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.settimeout(patience)
        self.master = -1

    def receive(self) -> None:
        try:
            connection = self.listener.accept()[0]
            with connection:
                connection.settimeout(self.patience)
                data = connection.recvmsg(4096, socket.CMSG_SPACE(4))[1]
        except TimeoutError as error:
            raise RuntimeFailed("no terminal was sent to the console socket") from error
        if not data:
            raise RuntimeFailed("the message at the console socket has no descriptor")
        self.master = array.array("i", data[0][2][:4])[0]

    def line(self) -> str:
        """The first line that the container writes to its terminal."""
        text = b""
        deadline = time.monotonic() + self.patience
        while (
            b"\n" not in text and select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]
        ):
            try:
                text += os.read(self.master, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
        return text.decode("latin-1").partition("\n")[0]

    def close(self) -> None:
        self.listener.close()
        if self.master >= 0:
            os.close(self.master)


class Box:
    """One case's directory and observations."""

    def __init__(
        self,
        runtime: str,
        probe: Path,
        directory: Path,
        name: str,
        requirements: tuple[str, ...],
        patience: float,
    ) -> None:
        self.runtime = runtime
        self.probe = probe
        self.directory = directory
        self.root = directory / "state"
        self.name = name
        self.requirements = requirements
        self.patience = patience  # seconds for one call of the runtime, and for what follows it
        self.observations: list[Observation] = []
        # Whether the suite itself has seen a container, or what ran in one: not the runtime's word.
        self.proven = False
        self._containers: list[Container] = []
        self._consoles: list[Console] = []
        self._calls = 0
        self.prefix: list[str] = []  # of the runtime's command: where a case has it run
        directory.mkdir(mode=0o711)

    def container(self, *ops: str) -> Container:
        """A new bundle; the process is `probe report OPS`."""
        # The name is also the cgroup's: unique on this machine.
        found = Container(self, f"conformance-{os.getpid()}-{self.directory.name}-{len(self._containers)}")
        self._containers.append(found)
        return found.runs("report", *ops)

    def console(self) -> Console:
        found = Console(self.directory / f"console-{len(self._consoles)}", self.patience)
        self._consoles.append(found)
        return found

    def call(self, *arguments: str, stdout: Any = None, descriptors: tuple[int, ...] = ()) -> Result:
        """Run the runtime. Its output goes to files: a container may keep them open. It gets these
        descriptors besides."""
        self._calls += 1
        out, err = (self.directory / f"{self._calls}.{name}" for name in ("out", "err"))
        command = [*self.prefix, self.runtime, "--root", str(self.root), *arguments]
        with out.open("wb") as out_file, err.open("wb") as err_file:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout or out_file,
                    stderr=err_file,
                    cwd=self.directory,
                    start_new_session=True,
                    pass_fds=descriptors,
                )
            except OSError as error:
                raise RuntimeFailed(f"{self.runtime} cannot be run: {error.strerror}") from error
            try:
                code: int | None = process.wait(self.patience)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with what it waits for: its session is its own
                process.wait()
                code = None
        return Result(arguments[0], code, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def check(self, requirement: str, good: object, detail: str = "") -> None:
        """Say of one declared requirement whether it was seen to hold."""
        if requirement not in self.requirements:
            raise ValueError(f"{self.name} does not declare {requirement}")
        self.observations.append(
            Observation(requirement, self.name, MET if good else VIOLATED, "" if good else detail)
        )

    def equal(self, requirement: str, found: object, wanted: object, what: str) -> None:
        self.check(requirement, found == wanted, f"{what} is {found!r}, not {wanted!r}")

    def not_applicable(self, requirement: str, reason: str) -> None:
        self.observations.append(Observation(requirement, self.name, NOT_APPLICABLE, reason))

    def refused(
        self,
        requirement: str,
        good: Callable[[Container], object],
        bad: Callable[[Container], object],
        what: str,
        unchanged: str = "",
        at_start: bool = False,
    ) -> Container:
        """A bundle with `bad` has to be refused by a runtime that makes the same bundle with `good`.

        The latter keeps a runtime that refuses everything from meeting anything. `unchanged` is the
        requirement that nothing is left behind. `at_start`: the error may come as late as that, since
        runtime.md lets a runtime apply `process` then.
        """
        control = self.container()
        good(control)
        control.create()
        control.must(control.call("delete", "--force"))
        tried = self.container()
        bad(tried)
        result = tried.try_create()
        if result.code is None:
            raise RuntimeFailed(str(result))
        late = bool(result) and at_start and not tried.call("start")
        self.check(requirement, not result or late, f"{what} is no error")
        if unchanged and result:
            self.not_applicable(unchanged, f"{what} is no error, so that nothing can be left behind")
        elif unchanged:
            left = tried.left_behind()
            self.check(unchanged, not left, f"{what} is an error, but these stay: {', '.join(left)}")
        return tried

    def end_containers(self) -> None:
        for container in self._containers:
            container.clean()

    def clean(self) -> None:
        for console in self._consoles:
            console.close()
        self.end_containers()
        shutil.rmtree(self.directory)
