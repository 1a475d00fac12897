"""The conformance suite against pyrunc, requirement by requirement, and against others that are installed.

CONFORMANCE_RUNTIMES names the runtimes (pyrunc is the command under test), CONFORMANCE_PATIENCE is the
suite's --patience, and CONFORMANCE_REPORTS a directory for the reports that docs/conformance.md is made of.
"""

import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from conformance import report, suite  # noqa: E402
from conformance.model import MET, VIOLATED, Requirement  # noqa: E402
from conformance.requirements import REQUIREMENTS  # noqa: E402

RUNTIMES = os.environ.get("CONFORMANCE_RUNTIMES", "pyrunc runc").split()
PATIENCE = float(os.environ.get("CONFORMANCE_PATIENCE", suite.PATIENCE))
PEERS = [name for name in RUNTIMES if name != "pyrunc"]
# What each is known to meet wherever the suite runs; less is a fault of the suite.
AT_LEAST = {"runc": 200, "crun": 200}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the suite makes containers as root")


@cache
def outcome(name: str) -> suite.Outcome:
    """A run of the whole suite; its report is written where CONFORMANCE_REPORTS says."""
    command = os.environ["PYRUNC"] if name == "pyrunc" else name
    found = suite.run(command, jobs=os.cpu_count() or 1, patience=PATIENCE)
    sys.stderr.write(report.summary(found))
    if "CONFORMANCE_REPORTS" in os.environ:
        directory = Path(os.environ["CONFORMANCE_REPORTS"])
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.json").write_text(report.as_json(found))
    return found


def listed(name: str) -> set[str]:
    """The deviations of a runtime that docs/conformance.md lists."""
    text = (ROOT / "docs/conformance.md").read_text()
    found = re.search(rf"^### {name}\n(.*?)^##", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/conformance.md has no deviations of {name}"
    return set(re.findall(r"^- `(.*?)`", found[1], re.MULTILINE))


@pytest.mark.timeout(1500)
@pytest.mark.skipif("pyrunc" not in RUNTIMES, reason="CONFORMANCE_RUNTIMES does not name it")
def test_pyrunc_passes() -> None:
    found = outcome("pyrunc")
    assert found.faults == []
    assert found.left == []
    assert found.count(MET) >= 280
    assert found.code == 0


@pytest.mark.skipif("pyrunc" not in RUNTIMES, reason="CONFORMANCE_RUNTIMES does not name it")
@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=[each.id for each in REQUIREMENTS])
def test_pyrunc(requirement: Requirement) -> None:
    status, reason = outcome("pyrunc").statuses[requirement.id]
    if status not in (MET, VIOLATED):
        pytest.skip(f"{status}: {reason}")
    assert status == MET, f"{requirement.level}: {requirement.text}: {reason}"


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_deviates_where_the_documentation_says(name: str) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    found = outcome(name)
    assert found.faults == []
    assert found.count(MET) >= AT_LEAST[name]
    violated = {id: reason for id, (status, reason) in found.statuses.items() if status == VIOLATED}
    assert {id: reason for id, reason in violated.items() if id not in listed(name)} == {}
