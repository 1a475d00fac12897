"""For all tests: the command under test, and the proof that they leave the machine as they found it.

PYRUNC is the command that integration tests run (tox sets it to the installed one, and any runtime with
runc's command line can stand there). Without it, this checkout is built and its command is put into a
temporary directory.
"""

import fcntl
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
# Tests of several sessions on one machine cannot be told apart by what they leave.
LOCK = Path("/run/lock/pyrunc-tests")
# In the environment of all that a session's tests start.
TOKEN = "PYRUNC_TEST_SESSION"
# Removal of cgroups and the end of killed processes take the kernel a moment.
PATIENCE = 5.0

if importlib.util.find_spec("pyrunc") is None:
    sys.path.insert(0, str(CHECKOUT))


def build_command(directory: Path) -> str:
    """Builds the checkout and returns the path of a command that runs it."""
    subprocess.run([sys.executable, "setup.py", "-q", "build_parts", "--inplace"], cwd=CHECKOUT, check=True)
    command = directory / "pyrunc"
    subprocess.run(
        [sys.executable, "-P", "-m", "pyrunc.launcher", str(command)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return str(command)


@pytest.fixture(scope="session")
def pyrunc() -> list[str]:
    """The command under test, as words."""
    return shlex.split(os.environ["PYRUNC"])


@pytest.fixture(scope="session", autouse=True)
def _signals() -> Iterator[None]:
    """Nothing that tests start ignores a signal because pytest does, as a shell's background job.

    A handler that does nothing is as good to pytest as ignoring, but execve(2) puts the default in its place.
    """
    of_terminals = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    ignored = [number for number in of_terminals if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


class Machine:
    """What tests could leave behind, as counted sentences."""

    def __init__(self, token: str) -> None:
        self.token = token.encode()

    def look(self) -> "Counter[str]":
        return Counter([*self.mounts(), *self.cgroups(), *self.processes(), *self.files()])

    def mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        # Without the first two fields, which number mounts, and without what `ip netns add` makes of its
        # directory once (ip-netns(8)).
        return ["mount " + line.split(maxsplit=2)[2] for line in lines if line.split()[4] != "/run/netns"]

    def cgroups(self) -> list[str]:
        # os.walk calls itself for each level, and cgroups can be nested deeper than Python's stack.
        found = subprocess.run(
            ["find", "/sys/fs/cgroup", "-type", "d"],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return [f"cgroup {directory}" for directory in os.fsdecode(found.stdout).splitlines()]

    def processes(self) -> list[str]:
        """Processes that the tests started, that run from a memfd as init does, or that are contained."""
        found = []
        mine = os.stat("/proc/self/ns/mnt").st_ino
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                words = Path(f"/proc/{entry}/cmdline").read_text(errors="replace").replace("\0", " ")
                contained = os.stat(f"/proc/{entry}/ns/mnt").st_ino != mine
                sealed = os.readlink(f"/proc/{entry}/exe").startswith("/memfd:")
                ours = self.token in Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:  # it has ended, is a kernel thread, or cannot be looked into and so is not ours
                continue
            if contained or sealed or ours:
                found.append(f"process {entry}: {words}")
        return found

    def files(self) -> list[str]:
        found = []
        for pattern in ("run/pyrunc/*", "run/runc/*", "tmp/box*", "dev/mqueue/*"):
            found += [f"file {path}" for path in Path("/").glob(pattern)]
        return found


class LeakCheck:
    """The plugin of the process that started the session; xdist's workers have none."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.left: list[str] = []
        self.alone = True
        LOCK.parent.mkdir(parents=True, exist_ok=True)
        self.lock = LOCK.open("w")
        fcntl.flock(self.lock, fcntl.LOCK_SH)
        os.environ[TOKEN] = uuid.uuid4().hex
        self.machine = Machine(os.environ[TOKEN])
        self.before = self.machine.look()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            left = self.machine.look() - self.before
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.left = sorted(left)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.alone = False
        self.lock.close()
        shutil.rmtree(self.scratch)
        if self.left and self.alone:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.left:
            terminalreporter.section("left behind by the tests", red=True)
            if not self.alone:
                terminalreporter.line("(or by the tests that another session runs now)")
            for line in self.left:
                terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.option.collectonly or os.geteuid() != 0:
        os.environ.setdefault("PYRUNC", "pyrunc")
        return
    scratch = Path(tempfile.mkdtemp(prefix="pyrunc-tests-"))
    scratch.chmod(0o755)
    if "PYRUNC" not in os.environ:
        os.environ["PYRUNC"] = build_command(scratch)
    config.pluginmanager.register(LeakCheck(scratch), "pyrunc-leaks")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What passed at a second try is told of, with why the first one failed: it may be a race in pyrunc."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"tried again: {report.nodeid}")
        terminalreporter.line(report.longreprtext)
