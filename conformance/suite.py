"""Runs cases side by side, and says what they saw. It must end every process that the runtime leaves."""

import ctypes
import fnmatch
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import conformance.cases  # noqa: F401 (registers them)
from conformance.box import Box
from conformance.host import children, is_child, machine, wait
from conformance.model import (
    CASES,
    MET,
    NOT_APPLICABLE,
    UNTESTED,
    VIOLATED,
    Case,
    NotApplicable,
    Observation,
    RuntimeFailed,
    status,
)
from conformance.requirements import BY_ID, REQUIREMENTS

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 20.0  # seconds for one call of the runtime
SOURCE = Path(__file__).with_name("probe.c")


class Unusable(Exception):
    """The suite itself cannot run here; the text says what is missing."""


class Outcome(NamedTuple):
    """A run's result. `statuses` has (status, reason) by requirement; `faults` are the suite's own."""

    runtime: str
    version: str
    specification: str
    machine: str
    seconds: float
    observations: list[Observation]
    statuses: dict[str, tuple[str, str]]
    faults: list[str]
    left: list[str]

    def count(self, status: str, level: str = "") -> int:
        """How many requirements have a status, of those whose level begins with a word of LEVELS."""
        return sum(
            self.statuses[requirement.id][0] == status
            for requirement in REQUIREMENTS
            if requirement.level.startswith(level)
        )

    @property
    def code(self) -> int:
        """0: no MUST is violated; 1: one is; 2: nothing was seen, or the suite is at fault."""
        if self.faults:
            return 2
        if self.count(VIOLATED, "MUST") or self.left:
            return 1
        return 0 if self.count(MET) else 2


def build_probe(directory: Path) -> Path:
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        raise Unusable("no C compiler: install gcc and libc6-dev, or set CC")
    probe = directory / "probe"
    command = [*compiler.split(), "-static", "-O1", "-o", str(probe), str(SOURCE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise Unusable(f"the probe cannot be compiled: {result.stderr.strip()[-500:]}")
    return probe


def selected(patterns: Sequence[str]) -> list[Case]:
    """The cases whose name, or a requirement of theirs, matches a pattern (all, without one)."""

    def matches(case: Case) -> bool:
        return any(
            fnmatch.fnmatchcase(name, pattern)
            for name in (case.name, *case.requirements)
            for pattern in patterns
        )

    return [case for case in CASES if not patterns or matches(case)]


def why_untestable(pattern: str) -> str:
    """Why a requirement that a pattern is the id of has no case, after a colon; empty if none has this id."""
    found = BY_ID.get(pattern)
    return f": {found.untestable}" if found else ""


def run_case(
    case: Case, runtime: str, probe: Path, directory: Path, patience: float
) -> tuple[list[Observation], list[str]]:
    """The case's observations, and faults of the suite. What it did not observe is never MET."""
    box = Box(runtime, probe, directory, case.name, case.requirements, patience)
    faults: list[str] = []
    rest: tuple[str, str] | None = None
    try:
        case.function(box)
    except RuntimeFailed as error:
        rest = VIOLATED, str(error)
    except NotApplicable as error:
        rest = NOT_APPLICABLE, str(error)
    except Exception as error:  # noqa: BLE001 - a case's own fault must not end the others
        rest = UNTESTED, f"the case failed: {type(error).__name__}: {error}"
        faults.append(f"{case.name}: {rest[1]}")
    # Where no container was seen, an error or an absence shows nothing.
    unproven = UNTESTED, "the case saw no container"
    observations = [
        seen._replace(status=unproven[0], detail=unproven[1])
        if seen.status == MET and not box.proven
        else seen
        for seen in box.observations
    ]
    seen = {observation.requirement for observation in observations}
    for requirement in case.requirements:
        if requirement not in seen:
            if rest is None:
                faults.append(f"{case.name} said nothing of {requirement}")
            observations.append(
                Observation(requirement, case.name, *(rest or (UNTESTED, "the case said nothing")))
            )
    try:
        box.clean()
    except (OSError, RuntimeFailed) as error:
        faults.append(f"{case.name}: cleaning up: {error}")
    return observations, faults


def plainest(box: Box) -> str:
    """Why the runtime cannot run the plainest of containers; empty if it can."""
    try:
        container = box.container()
        report = container.run()
        container.ended()
        container.delete()
        return "" if report["argv"] == container.process["args"] else "its program has other arguments"
    except RuntimeFailed as error:
        return str(error)


def end_children() -> list[str]:
    """Ends what runtimes left running; says what it was. Zombies are only reaped."""
    running = [pid for pid in children() if not os.waitpid(pid, os.WNOHANG)[0]]
    left = [f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})" for pid in running]
    for pid in running:
        os.kill(pid, 9)
    # All at once: the first process of a PID namespace ends only once the others have been waited for.
    wait(lambda: not [pid for pid in children() if remains(pid)], PATIENCE)
    return left


def remains(pid: int) -> bool:
    """Whether a child is still there, which is waited for."""
    return is_child(pid) and not os.waitpid(pid, os.WNOHANG)[0]


def version_of(box: Box) -> tuple[str, str]:
    """What a runtime says of itself: the first line, and the version of the specification."""
    try:
        result = box.call("--version")
    except RuntimeFailed:
        return "", ""
    if not result:
        return "", ""
    lines = [line.strip() for line in result.out.splitlines()] or [""]
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("spec:"))
    return lines[0], next(found, "")


def run(
    runtime: str,
    patterns: Sequence[str] = (),
    jobs: int = 1,
    patience: float = PATIENCE,
    gate: bool = True,
    progress: Callable[[int, int, str], object] = lambda done, every, name: None,
) -> Outcome:
    """Run the cases against a runtime, whose calls may take as many seconds as `patience`. Without `gate`,
    even if it cannot run the plainest container. After KeyboardInterrupt nothing is left behind either."""
    if os.geteuid():
        raise Unusable("the suite makes containers as root; it is not root")
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise Unusable("this process cannot become a subreaper")
    began = time.monotonic()
    cases = selected(patterns)
    observations: list[Observation] = []
    faults: list[str] = []
    base = Path(tempfile.mkdtemp(prefix="conformance-"))
    base.chmod(0o711)  # a user namespace's root has to reach its root file system
    try:
        probe = build_probe(base)
        box = Box(runtime, probe, base / "gate", "plainest", (), patience)
        try:
            version = version_of(box)
            reason = plainest(box) if gate else ""
        finally:
            box.clean()
        if reason:
            text = f"the runtime cannot run the plainest container: {reason}"
            observations = [
                Observation(id, case.name, UNTESTED, text) for case in cases for id in case.requirements
            ]
        else:
            with ThreadPoolExecutor(max(1, jobs)) as pool:
                futures = [
                    pool.submit(run_case, case, runtime, probe, base / str(number), patience)
                    for number, case in enumerate(cases)
                ]
                try:
                    for number, (case, future) in enumerate(zip(cases, futures, strict=True)):
                        progress(number, len(cases), case.name)
                        seen, wrong = future.result()
                        observations += seen
                        faults += wrong
                except KeyboardInterrupt:
                    # Those that have begun come to their end, and are cleaned up after.
                    pool.shutdown(cancel_futures=True)
                    raise
        left = end_children()
    except KeyboardInterrupt:
        end_children()
        raise
    finally:
        shutil.rmtree(base)
    statuses = {requirement.id: status(requirement, observations) for requirement in REQUIREMENTS}
    seconds = time.monotonic() - began
    return Outcome(runtime, *version, machine(), seconds, observations, statuses, faults, left)
