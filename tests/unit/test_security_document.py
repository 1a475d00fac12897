"""docs/security.md names tests for what it says; they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/security.md").read_text()


def test_every_vulnerability_has_a_test_and_every_test_is_there() -> None:
    rows = [line.split("|") for line in TEXT.splitlines() if line.startswith("| CVE-")]
    assert len(rows) > 15
    assert [row[1] for row in rows if "`test_" not in row[4]] == []
    files = [path for kind in ("unit", "integration") for path in (ROOT / "tests" / kind).glob("test_*.py")]
    known = {path.name for path in files}
    for path in files:
        known.update(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
    assert [name for name in re.findall(r"`(?:tests/\w+/)?(test_[\w.]+)`", TEXT) if name not in known] == []
