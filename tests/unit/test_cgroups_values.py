"""What `linux.resources` comes to in each layout of hierarchies, to the last file and value.

tests/golden/cgroups/NAME.json has resources by name (with those in force before, for an update), and
NAME.txt what is written, checked or refused with them on a machine with cgroup v1, with v1 and v2 side by
side, and with v2 alone. PYRUNC_UPDATE_GOLDEN=1 writes the texts anew.
"""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from cgroups_table import table
from examples import MACHINES, RESOURCES, resources
from hypothesis import given
from hypothesis import settings as settings_of_tests
from hypothesis import strategies as st
from test_golden import compare

from pyrunc.compile.rare_resources import weight_to_io_weight
from pyrunc.compile.resources import settings
from pyrunc.compile.settings import Layout, Write
from pyrunc.errors import Error

NAMES = sorted(path.stem for path in RESOURCES.glob("*.json"))
ROOT = "/linux/resources"


def line(write: Write) -> str:
    text = f"{write.hierarchy or 'v2'}: {write.file} = {write.value}"
    if write.tolerate:
        text += f" [{', '.join(errno.errorcode[number] for number in write.tolerate)}: go on]"
    if write.instead:
        text += f" [or else {write.instead.file} = {write.instead.value}]"
    return f"{text}  {write.pointer.removeprefix(ROOT)}"


def described(asked: dict[str, Any], before: dict[str, Any] | None, layout: Layout) -> str:
    try:
        found = settings(asked, layout, before=before)
    except Error as error:
        return f"  ! {error.pointer.removeprefix(ROOT)}: {error.message}\n"
    rows = [
        f"{hierarchy or 'v2'}: {file} has to be below {limit}  {pointer.removeprefix(ROOT)}"
        for hierarchy, file, limit, pointer in found.checks
    ]
    rows += map(line, found.writes)
    return "".join(f"  {row}\n" for row in rows) or "  nothing\n"


@pytest.mark.parametrize("name", NAMES)
def test_resources_come_to_the_known_values(name: str) -> None:
    text = ""
    for title, (asked, before) in resources(name).items():
        text += f"== {title}: {json.dumps(asked)}\n"
        if before is not None:
            text += f"before: {json.dumps(before)}\n"
        known: dict[str, str] = {}
        for layout in MACHINES:
            found = described(asked, before, MACHINES[layout])
            same = next((other for other in known if known[other] == found), None)
            text += f"{layout}: as {same}\n" if same else f"{layout}:\n{found}"
            known[layout] = found
        text += "\n"
    compare(RESOURCES / f"{name}.txt", text)


def test_pointers_are_those_of_the_document_that_was_given() -> None:
    found = settings({"pids": {"limit": 5}}, MACHINES["v2"], root="")
    assert [write.pointer for write in found.writes] == ["/pids/limit"]
    with pytest.raises(Error) as caught:
        settings({"unified": {"a/b.c": "1"}}, MACHINES["v2"], root="")
    assert caught.value.pointer == "/unified/a~1b.c"


@settings_of_tests(deadline=None)
@given(st.integers(10, 999))
def test_more_weight_never_means_less(weight: int) -> None:
    assert 1 <= weight_to_io_weight(weight) <= weight_to_io_weight(weight + 1) <= 10000


def test_the_ends_of_the_weights_meet() -> None:
    assert (weight_to_io_weight(10), weight_to_io_weight(1000)) == (1, 10000)


@settings_of_tests(deadline=None)
@given(st.text(max_size=12))
def test_whatever_unified_names_stays_in_the_cgroup(name: str) -> None:
    for layout in MACHINES.values():
        try:
            found = settings({"unified": {name: "1"}}, layout)
        except Error as error:
            assert error.pointer.startswith(f"{ROOT}/unified/")
        else:
            assert [write.file for write in found.writes] == [name]
            assert "/" not in name
            assert "." in name.strip(".")


def test_the_document_s_table_is_what_the_code_does() -> None:
    file = Path(__file__).parents[2] / "docs" / "cgroups.md"
    before, rest = file.read_text().split("<!-- table -->\n")
    _, after = rest.split("<!-- end -->\n")
    compare(file, "<!-- table -->\n".join((before, "\n".join([*table(), "<!-- end -->", after]))))
