"""What the configurations of today's engines compile to, to the last system call.

tests/golden/NAME.json is a config.json as the engine wrote it, with ids, times and its data directories
replaced: of `runc spec` 1.1, containerd 1.6 (`ctr run`, and one with options), Docker 20.10 (`docker run`,
and `docker run -it --read-only -u -v …`) and Podman 4.3 (`podman run`, and one with a user namespace).
NAME.v1.txt and NAME.v2.txt are the programs on a host with hybrid cgroups and with cgroup v2 alone, as
`plan` prints them, but without numbers, so that one more step is one more line, and with each key of the
configuration above its steps. All that depends on a machine is written down in examples.py.

tests/golden/properties/NAME.txt is what a property adds to the program of an ordinary configuration (+) and
what it takes from it (-), or the error (!), on a host with hybrid cgroups, and with cgroup v2 alone where
that differs.

After a change of what is compiled, PYRUNC_UPDATE_GOLDEN=1 makes this test write the files anew; the
difference to the committed ones is what the change does.
"""

import difflib
import json
import os
import re
from pathlib import Path

import pytest
from examples import (
    ENGINES,
    EXAMPLES,
    GOLDEN,
    LAYOUTS,
    PROPERTIES,
    compiled,
    configuration,
    example,
    ordinary,
)

from pyrunc.compile import cgroups
from pyrunc.config import load
from pyrunc.errors import Error
from pyrunc.program.explain import lines
from pyrunc.program.model import Program
from pyrunc.program.verify import verify


def readable(program: Program, plan: cgroups.Plan) -> str:
    """What the host is made to do, then the program, each step without its number."""
    values = [
        f"  {plan.directories[write.hierarchy]}/{write.file} = {write.value}  {write.pointer}"
        for write in plan.writes()
    ]
    sections = [
        ("warnings:", [f"  {pointer}: {text}" for pointer, text in program.warnings]),
        ("cgroups:", [f"  {path}" for path in dict.fromkeys(plan.directories.values())]),
        ("cgroup values:", values),
    ]
    host = [line for heading, rows in sections if rows for line in (heading, *rows, "")]
    return "\n".join([*host, *steps(program), ""])


def steps(program: Program) -> list[str]:
    """The lines of `plan`, each key of the configuration in a line above the steps that it asked for."""
    origins = iter([step.origin for step in program.steps])
    origin = ""
    result = []
    for line in lines(program, pointers=False):
        number = re.match(" *[0-9]+ ", line)
        if number:
            line = " " + line[number.end() :]
            origin, before = next(origins), origin
            if origin and origin != before:
                result.append(f"  # {origin}")
        else:
            origin = ""
        result.append(line)
    return result


def without_repetition(text: str, first: str) -> str:
    """The text, but of sections that the first text has too only their headings."""
    known = first.rstrip().split("\n\n")
    sections = text.rstrip().split("\n\n")
    return "\n\n".join(f"{s.splitlines()[0]} as with v1" if s in known else s for s in sections) + "\n"


def engine(name: str, layout: str) -> tuple[Program, cgroups.Plan]:
    return compiled(configuration(name), LAYOUTS[layout], wait=name != "runc-spec")


def change(name: str, layout: str) -> str:
    """The lines that a property adds and takes away."""
    before = readable(*compiled(ordinary(), LAYOUTS[layout])).splitlines()
    try:
        after = readable(*compiled(example(name), LAYOUTS[layout])).splitlines()
    except Error as error:
        return f"! {error}\n"
    changes = difflib.unified_diff(before, after, lineterm="", n=0)
    return "\n".join([*(line for line in changes if not line.startswith(("---", "+++", "@@"))), ""])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_property_changes_the_program_in_the_known_way(name: str) -> None:
    v1, v2 = (change(name, layout) for layout in LAYOUTS)
    compare(PROPERTIES / f"{name}.txt", v1 if v1 == v2 else f"{v1}\nwith cgroup v2 alone:\n{v2}")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_program_with_a_property_passes_verify(name: str, layout: str) -> None:
    try:
        program, _ = compiled(example(name), LAYOUTS[layout])
    except Error:
        return  # as its golden text says
    verify(program)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ENGINES)
def test_the_program_of_an_engine_s_configuration_is_the_known_one(name: str, layout: str) -> None:
    text = readable(*engine(name, layout))
    if layout != "v1":
        text = without_repetition(text, readable(*engine(name, "v1")))
    compare(GOLDEN / f"{name}.{layout}.txt", text)


def compare(file: Path, text: str) -> None:
    if os.environ.get("PYRUNC_UPDATE_GOLDEN"):
        file.write_text(text)
    known = file.read_text().splitlines() if file.exists() else []
    changes = difflib.unified_diff(known, text.splitlines(), "known", "compiled", lineterm="", n=1)
    difference = "\n".join(changes)
    assert not difference, f"{file.name} (PYRUNC_UPDATE_GOLDEN=1 takes the change over):\n{difference}"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ENGINES)
def test_the_program_of_an_engine_s_configuration_passes_verify(name: str, layout: str) -> None:
    verify(engine(name, layout)[0])


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_property_is_valid_without_a_warning(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(example(name)))
    load.load(str(tmp_path))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_s_configuration_is_valid_without_a_warning(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text((GOLDEN / f"{name}.json").read_text())
    assert load.load(str(tmp_path)) == configuration(name)
    assert capsys.readouterr() == ("", "")
