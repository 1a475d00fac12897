"""docs/spec.md is whole: no property of the specification without an effect, a section and a test."""

import pytest
from matrix import DOES, ROOT, SECTIONS, Row, alternatives, document, matches, rows, shown, up

ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=[row.pointer for row in ROWS])
def test_each_property_does_something_and_a_test_shows_it(row: Row) -> None:
    assert row.section, "SECTIONS in matrix.py says nothing of it"
    assert row.done, "no step or cgroup file has its pointer in any configuration of tests/golden"
    assert row.tests, "no test is marked with it (pytest.mark.shows)"


def test_the_document_is_the_one_that_is_made_now() -> None:
    assert (ROOT / "docs/spec.md").read_text() == document(), "python tests/unit/matrix.py > docs/spec.md"


def test_no_mark_and_no_entry_names_a_property_that_is_not_there() -> None:
    known = [row.pointer for row in ROWS]
    within = {each for pointer in known for each in up(f"{pointer}/*")}
    stale = [(test, mark) for mark, test in shown() if not any(matches(mark, each) for each in within)]
    stale += [("SECTIONS", key) for key in SECTIONS if key not in within]
    stale += [("DOES", key) for key in DOES if not any(matches(key, each) for each in within)]
    assert not stale


def test_braces_stand_for_alternatives() -> None:
    assert alternatives("/a/{b,c}/{d,e}") == ["/a/b/d", "/a/b/e", "/a/c/d", "/a/c/e"]
