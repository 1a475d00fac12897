"""Reports side by side: what docs/conformance.md is made of."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from conformance import comparison, report, suite  # noqa: E402
from conformance.model import MET, NOT_APPLICABLE, UNTESTED, VIOLATED  # noqa: E402
from conformance.requirements import BY_ID, REQUIREMENTS  # noqa: E402

Statuses = dict[str, tuple[str, str]]


def document(name: str, machine: str, **changed: tuple[str, str]) -> dict[str, Any]:
    """A report in which all is met but for what is changed; _ stands for . and - in ids."""
    statuses: Statuses = {requirement.id: (MET, "") for requirement in REQUIREMENTS}
    ids = {re.sub(r"[.-]", "_", id): id for id in statuses}
    statuses.update({ids[key]: value for key, value in changed.items()})
    said = f"{name} version 1", "1.3.0", machine
    outcome = suite.Outcome(f"/bin/{name}", *said, 1, [], statuses, [], [])
    found: dict[str, Any] = json.loads(report.as_json(outcome))
    return found


def compared(*documents: dict[str, Any]) -> str:
    return comparison.document(comparison.read(documents), "# Title\n\nWhat it is.\n")


def row(text: str, id: str) -> list[str]:
    """The cells of a requirement's row after its text."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| `{id}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")[3:]]


def test_every_requirement_has_a_row_with_a_cell_for_each_runtime() -> None:
    text = compared(document("one", "here"), document("two", "here"))
    assert text.startswith("# Title\n\nWhat it is.\n")
    for requirement in REQUIREMENTS:
        assert row(text, requirement.id) == ["met", "met"]


@pytest.mark.parametrize(
    ("here", "there", "cell"),
    [
        (MET, MET, "met"),
        (VIOLATED, VIOLATED, "**violated**"),
        (MET, VIOLATED, "**violated** (B); met (A)"),
        (NOT_APPLICABLE, MET, "met (B)"),
        (NOT_APPLICABLE, NOT_APPLICABLE, "n/a"),
        (UNTESTED, UNTESTED, "-"),
    ],
)
def test_machines_share_a_cell_where_they_agree(here: str, there: str, cell: str) -> None:
    text = compared(document("one", "x", sysctl=(here, "why")), document("one", "y", sysctl=(there, "why")))
    assert row(text, "sysctl") == [cell]
    assert "- A: x\n- B: y\n" in text


def test_a_letter_is_the_document_s_also_where_a_runtime_has_not_been_on_every_machine() -> None:
    elsewhere = [document("two", "y", sysctl=(VIOLATED, "why")), document("two", "z")]
    text = compared(document("one", "x"), *elsewhere)
    assert row(text, "sysctl") == ["met", "**violated** (B); met (C)"]


def test_deviations_are_told_with_level_version_machine_and_reason() -> None:
    reason = (
        'create: exit status 1: time="2026-01-02T03:04:05Z" level=error msg="a | b" '
        "/tmp/conformance-ab12/3/bundle-conformance-77-3-0/rootfs conformance-77-3-0"
    )
    first = document("one", "x", net_devices_up=(VIOLATED, reason), sysctl=(VIOLATED, "no"))
    text = compared(first, document("one", "y", sysctl=(VIOLATED, "not at all")), document("two", "x"))
    assert (
        '- `net-devices.up` (MUST, since 1.3) (A): create: exit status 1: "a \\| b" BUNDLE/rootfs ID' in text
    )
    assert "- `sysctl` (MUST) (A): no\n- `sysctl` (MUST) (B): not at all\n" in text
    assert "### two\n\nNone.\n" in text


def test_what_nobody_can_tell_is_listed_by_its_reason() -> None:
    text = compared(document("one", "x", sysctl=(UNTESTED, "for a reason"), kill_signal=(MET, "")))
    assert "- for a reason: `sysctl`\n" in text


def test_figures_count_by_level() -> None:
    text = compared(document("one", "x", sysctl=(VIOLATED, "no")))
    must = sum(requirement.mandatory for requirement in REQUIREMENTS)
    assert f"| one version 1 | 1.3.0 | A | MUST | {must - 1} | 1 | 0 | 0 |" in text


def test_reports_that_do_not_belong_together_are_refused() -> None:
    old = document("one", "x")
    old["requirements"].pop()
    with pytest.raises(comparison.Mismatch, match="another version of the suite"):
        comparison.read([old])
    faulty = document("one", "x") | {"faults": ["a case failed"]}
    with pytest.raises(comparison.Mismatch, match="a case failed"):
        comparison.read([faulty])
    with pytest.raises(comparison.Mismatch, match="two reports of one"):
        comparison.read([document("one", "x"), document("one", "x")])


def test_the_command_takes_files(tmp_path: Path) -> None:
    path, head = tmp_path / "report.json", tmp_path / "head.md"
    path.write_text(json.dumps(document("one", "x")))
    head.write_text("# Mine\n")
    command = [str(ROOT / "conformance/compare"), "--head", str(head), str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == comparison.document(comparison.read([document("one", "x")]), "# Mine\n")
    path.write_text("{")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2


def test_the_document_is_of_this_suite() -> None:
    """Its verdicts are those of a run, but its rows are the table's."""
    text = (ROOT / "docs/conformance.md").read_text()
    rows = re.findall(r"^\| `(\S+?)` \| ([A-Z ]+) \| (.*?) \|", text, re.MULTILINE)
    assert [id for id, _, _ in rows] == [requirement.id for requirement in REQUIREMENTS], (
        "see conformance/README.md on how docs/conformance.md is made"
    )
    for id, level, what in rows:
        requirement = BY_ID[id]
        new = f" (since {requirement.since})" if requirement.since else ""
        assert (level, what) == (requirement.level, comparison.escaped(requirement.text) + new)
