"""What the configurations of today's engines compile to, to the last system call.

tests/golden/NAME.json is a config.json as the engine wrote it, with ids, times and its data directories
replaced: of `runc spec` 1.1, containerd 1.6 (`ctr run`, and one with options), Docker 20.10 (`docker run`,
and `docker run -it --read-only -u -v …`) and Podman 4.3 (`podman run`, and one with a user namespace).
NAME.v1.txt and NAME.v2.txt are the programs on a host with hybrid cgroups and with cgroup v2 alone, as
`plan` prints them, but without numbers, so that one more step is one more line, and with each key of the
configuration above its steps. All that depends on a machine is written down here.

After a change of what is compiled, PYRUNC_UPDATE_GOLDEN=1 makes this test write the files anew; the
difference to the committed ones is what the change does.
"""

import difflib
import json
import os
import re
from pathlib import Path
from stat import S_IFDIR, S_IFREG
from typing import Any

import pytest

from pyrunc.compile import cgroups
from pyrunc.compile.cgroups import Layout
from pyrunc.compile.create import compile_create
from pyrunc.compile.facts import Facts, Request
from pyrunc.compile.masks import kernel_paths
from pyrunc.config import load
from pyrunc.program.explain import lines
from pyrunc.program.model import Program
from pyrunc.program.verify import verify

GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))
V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "name=systemd")
LAYOUTS = {
    "v1": Layout(
        {name: f"/sys/fs/cgroup/{name.rpartition('=')[2]}" for name in V1}, "/sys/fs/cgroup/unified", (), {}
    ),
    "v2": Layout({}, "/sys/fs/cgroup", ("cpuset", "cpu", "io", "memory", "pids"), {}),
}
DIRECTORIES = ("/srv/src", "/_data", "/shm")
# Masked paths as a host has them: absent, a file, or a directory.
KERNEL_PATHS = {
    "/proc/acpi": S_IFDIR | 0o555,
    "/proc/asound": 0,
    "/proc/kcore": S_IFREG | 0o400,
    "/proc/keys": S_IFREG | 0o444,
    "/proc/latency_stats": 0,
    "/proc/sched_debug": 0,
    "/proc/scsi": S_IFDIR | 0o555,
    "/proc/timer_list": S_IFREG | 0o400,
    "/proc/timer_stats": 0,
    "/sys/dev/block": S_IFDIR | 0o755,
    "/sys/firmware": S_IFDIR | 0o755,
    "/sys/fs/selinux": 0,
}
FILTER = bytes(8) * 5


def configuration(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return config


def compiled(name: str, layout: Layout) -> tuple[Program, cgroups.Plan]:
    config = configuration(name)
    bundle = "/run/engine/box"
    root = config["root"]["path"]
    sources = {
        mount["source"]: S_IFDIR | 0o755 if mount["source"].endswith(DIRECTORIES) else S_IFREG | 0o644
        for mount in config["mounts"]
        if mount["type"] == "bind"
    }
    plan = cgroups.plan(config, layout, "box")
    facts = Facts(
        root if root.startswith("/") else f"{bundle}/{root}",
        sources=sources,
        filter=FILTER if "seccomp" in config["linux"] else None,
        cgroups=plan,
        layout=layout,
        home="/root",
        kernel_paths={path: KERNEL_PATHS[path] for path in kernel_paths(config)},
    )
    program = compile_create(config, facts, Request("box", bundle, wait=name != "runc-spec"))
    return program, plan


def readable(program: Program, plan: cgroups.Plan) -> str:
    """What the host is made to do, then the program, each step without its number."""
    warnings = [*plan.warnings, *program.warnings]
    sections = [
        ("warnings:", [f"  {pointer}: {text}" for pointer, text in warnings]),
        ("cgroups:", [f"  {path}" for path in dict.fromkeys(plan.directories.values())]),
        ("cgroup values:", [f"  {file} = {value}  {pointer}" for file, value, pointer in plan.writes]),
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


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_program_of_an_engine_s_configuration_is_the_known_one(name: str, layout: str) -> None:
    text = readable(*compiled(name, LAYOUTS[layout]))
    if layout != "v1":
        text = without_repetition(text, readable(*compiled(name, LAYOUTS["v1"])))
    file = GOLDEN / f"{name}.{layout}.txt"
    if os.environ.get("PYRUNC_UPDATE_GOLDEN"):
        file.write_text(text)
    known = file.read_text().splitlines()
    changes = difflib.unified_diff(known, text.splitlines(), "known", "compiled", lineterm="", n=1)
    difference = "\n".join(changes)
    assert not difference, f"{file.name} (PYRUNC_UPDATE_GOLDEN=1 takes the change over):\n{difference}"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_program_of_an_engine_s_configuration_passes_verify(name: str, layout: str) -> None:
    verify(compiled(name, LAYOUTS[layout])[0])


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_s_configuration_is_valid_without_a_warning(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text((GOLDEN / f"{name}.json").read_text())
    assert load.load(str(tmp_path)) == configuration(name)
    assert capsys.readouterr() == ("", "")
