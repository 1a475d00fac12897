"""docs/spec.md: every property of the specification, what pyrunc does for it and which tests show it.

    python tests/unit/matrix.py > docs/spec.md

Nothing in the table is written by hand but SECTIONS and DOES. The properties are those of spec/config.json.
What is done are the calls of the steps, and the cgroup files, that the configurations in tests/golden come
to, each by the pointer that it carries. The tests are those marked with `@pytest.mark.shows`.
"""

import ast
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from examples import (  # noqa: E402
    ENGINES,
    EXAMPLES,
    LAYOUTS,
    MACHINES,
    RESOURCES,
    compiled,
    configuration,
    example,
    resources,
)

from pyrunc.compile.resources import settings  # noqa: E402
from pyrunc.config import schema  # noqa: E402
from pyrunc.errors import Error  # noqa: E402

SPECIFICATION = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0/"

# Sections of the specification, by the pointer that they begin at.
SECTIONS = {
    "/ociVersion": "config.md#configSchemaVersion",
    "/root": "config.md#configRoot",
    "/mounts": "config.md#configMounts",
    "/process": "config.md#configProcess",
    "/process/rlimits": "config.md#configPOSIXProcess",
    "/process/apparmorProfile": "config.md#configLinuxProcess",
    "/process/capabilities": "config.md#configLinuxProcess",
    "/process/noNewPrivileges": "config.md#configLinuxProcess",
    "/process/oomScoreAdj": "config.md#configLinuxProcess",
    "/process/scheduler": "config.md#configLinuxProcess",
    "/process/selinuxLabel": "config.md#configLinuxProcess",
    "/process/ioPriority": "config.md#configLinuxProcess",
    "/process/execCPUAffinity": "config.md#configLinuxProcess",
    "/process/user": "config.md#configPOSIXUser",
    "/hostname": "config.md#configHostname",
    "/domainname": "config.md#configDomainname",
    "/hooks": "config.md#configHooks",
    "/annotations": "config.md#configAnnotations",
    "/linux": "config-linux.md",
    "/linux/namespaces": "config-linux.md#configLinuxNamespaces",
    "/linux/uidMappings": "config-linux.md#configLinuxUserNamespaceMappings",
    "/linux/gidMappings": "config-linux.md#configLinuxUserNamespaceMappings",
    "/linux/timeOffsets": "config-linux.md#configLinuxTimeOffset",
    "/linux/devices": "config-linux.md#configLinuxDevices",
    "/linux/netDevices": "config-linux.md#configLinuxNetworkDevices",
    "/linux/cgroupsPath": "config-linux.md#configLinuxCgroupsPath",
    "/linux/resources": "config-linux.md#configLinuxControlGroups",
    "/linux/resources/devices": "config-linux.md#configLinuxDeviceAllowedlist",
    "/linux/resources/memory": "config-linux.md#configLinuxMemory",
    "/linux/resources/cpu": "config-linux.md#configLinuxCPU",
    "/linux/resources/blockIO": "config-linux.md#configLinuxBlockIO",
    "/linux/resources/hugepageLimits": "config-linux.md#configLinuxHugePageLimits",
    "/linux/resources/network": "config-linux.md#configLinuxNetwork",
    "/linux/resources/pids": "config-linux.md#configLinuxPIDS",
    "/linux/resources/rdma": "config-linux.md#configLinuxRDMA",
    "/linux/resources/unified": "config-linux.md#configLinuxUnified",
    "/linux/intelRdt": "config-linux.md#configLinuxIntelRdt",
    "/linux/memoryPolicy": "config-linux.md#configLinuxMemoryPolicy",
    "/linux/sysctl": "config-linux.md#configLinuxSysctl",
    "/linux/seccomp": "config-linux.md#configLinuxSeccomp",
    "/linux/rootfsPropagation": "config-linux.md#configLinuxRootfsMountPropagation",
    "/linux/maskedPaths": "config-linux.md#configLinuxMaskedPaths",
    "/linux/readonlyPaths": "config-linux.md#configLinuxReadonlyPaths",
    "/linux/mountLabel": "config-linux.md#configLinuxMountLabel",
    "/linux/personality": "config-linux.md#configLinuxPersonality",
}

# What is done outside the program and the cgroup files.
DOES = {
    "/ociVersion": "checked: 1.x, with a warning beyond 1.3",
    "/process/env": "`execve`",
    "/hooks/prestart/*": "run by the runtime while the container's process waits",
    "/hooks/createRuntime/*": "run by the runtime while the container's process waits",
    "/hooks/poststart/*": "run by the runtime",
    "/hooks/poststop/*": "run by the runtime",
    "/linux/uidMappings/*": "`/proc/PID/uid_map`, written by the runtime or newuidmap",
    "/linux/gidMappings/*": "`/proc/PID/gid_map`, written by the runtime or newgidmap",
    "/linux/resources/memory/kernel": "checked: a limit is an error, no current kernel has it",
    "/linux/resources/memory/useHierarchy": "checked: `false` is an error, no current kernel has it",
    "/linux/seccomp/listenerPath": "the listener of `notify`, sent there by the runtime",
    "/linux/seccomp/listenerMetadata": "in the container process state that goes with the listener",
    "/linux/resources/memory/checkBeforeUpdate": "`update` compares `memory.current` first",
    "/linux/intelRdt": "files of resctrl, written by the runtime",
    "/process/execCPUAffinity": "`sched_setaffinity` of `exec`, before and after it joins the cgroups",
    "/annotations": "kept in the state; see configuration.md for those that change something",
}

# Settings of other platforms: accepted and not looked at.
FOREIGN = {
    "/solaris",
    "/windows",
    "/vm",
    "/zos",
    "/freebsd",
    "/process/commandLine",
    "/process/user/username",
}
# Steps and calls that stand beside almost any other.
COMMON = {
    "close",
    "expect",
    "fail",
    "fstatfs",
    "if_failed",
    "if_ok",
    "load",
    "openat2",
    "refuse",
    "statx",
    "store",
}
# What makes a schema more than that of a plain value.
INNER = {"properties", "additionalProperties", "items"}
# Too wide for what is done there to say anything of a property inside.
WIDE = {"", "/process", "/linux", "/linux/resources", "/hooks"}


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def properties() -> Iterator[tuple[str, str]]:
    """Pointer, with * for indices and names of maps, and description of each property that is no object.

    Lists and maps of plain values count as one property.
    """
    document = schema.document("config")

    def walk(node: dict[str, Any], pointer: str) -> Iterator[tuple[str, str]]:
        node = resolved(document, node)
        inner = [*node.get("properties", {}).items()]
        rest = node.get("additionalProperties")
        inner += [("*", each) for each in (rest, node.get("items")) if isinstance(each, dict)]
        inner = [
            (key, value) for key, value in inner if key != "*" or resolved(document, value).keys() & INNER
        ]
        if not inner:
            yield pointer, node.get("description", "")
        for key, value in inner:
            yield from walk(value, f"{pointer}/{key}")

    yield from walk(document, "")


def matches(one: str, other: str) -> bool:
    """Whether two pointers, with * for any part, can be the same."""
    ours, theirs = one.split("/"), other.split("/")
    if len(ours) != len(theirs):
        return False
    return all("*" in (a, b) or a == b for a, b in zip(ours, theirs, strict=True))


def up(pointer: str) -> list[str]:
    """A pointer and what it is in, outwards."""
    parts = pointer.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts), 1, -1)]


def alternatives(pattern: str) -> list[str]:
    """What a pattern with braces stands for: /a/{b,c} is /a/b and /a/c."""
    parts = re.split(r"\{([^}]*)\}", pattern)
    choices = [part.split(",") if index % 2 else [part] for index, part in enumerate(parts)]
    return ["".join(each) for each in itertools.product(*choices)]


def shown() -> Iterator[tuple[str, str]]:
    """Pattern and test, as FILE::NAME, of each mark `shows`."""
    for file in sorted((ROOT / "tests").glob("*/test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.shows":
                    for pattern in mark.args:
                        for each in alternatives(ast.literal_eval(pattern)):
                            yield each, f"{file.relative_to(ROOT / 'tests')}::{node.name}"


def done() -> Iterator[tuple[str, str]]:
    """Pointer, and call or cgroup file, of what the configurations of the tests come to."""
    configurations = [configuration(name) for name in ENGINES] + [example(name) for name in EXAMPLES]
    for config, layout in itertools.product(configurations, LAYOUTS.values()):
        try:
            program, plan = compiled(config, layout)
        except Error:  # what this layout of cgroups cannot express
            continue
        for step in program.steps:
            if step.call not in COMMON:
                yield step.origin, step.call
        for write in plan.writes():
            yield write.pointer, write.file
        for pointer, _ in program.warnings:
            yield pointer, "warning"
    for name, layout in itertools.product(RESOURCES.glob("*.json"), MACHINES.values()):
        for asked, before in resources(name.stem).values():
            try:
                found = settings(asked, layout, before=before)
            except Error:
                continue
            for write in found.writes:
                yield write.pointer, write.file
                if write.instead:
                    yield write.pointer, write.instead.file


class Row:
    """A property: its pointer, description and section, what is done for it, and the tests that show it."""

    def __init__(
        self, property: tuple[str, str], effects: set[tuple[str, str]], marks: set[tuple[str, str]]
    ) -> None:
        self.pointer, self.description = property
        pointer = self.pointer
        self.section = next((SECTIONS[each] for each in up(pointer) if each in SECTIONS), "")
        self.done: list[str] = []
        for each in up(pointer):
            if self.done or each in WIDE:
                break
            known = [DOES[key] for key in DOES if matches(key, each)]
            self.done = known or sorted(
                {f"`{what}`" for origin, what in effects if matches(each, origin) or self.inside(origin)}
            )
        parts = f"{pointer}/*"
        self.tests = sorted({test for mark, test in marks if matches(mark, pointer) or matches(mark, parts)})

    def inside(self, origin: str) -> bool:
        """Whether the pointer that a step carries is that of a part of the property."""
        return any(matches(self.pointer, each) for each in up(origin))


def rows() -> list[Row]:
    """All properties but those of other platforms."""
    effects, marks = set(done()), set(shown())
    return [Row(each, effects, marks) for each in properties() if each[0] not in FOREIGN]


def document() -> str:
    """The text of docs/spec.md."""
    lines = [
        "# The specification's properties",
        "",
        "Every property of runtime-spec 1.3 for Linux, made from the schema in `spec/`, the programs of the",
        "configurations in `tests/golden`, and the tests that are marked with a property. *Done by* names",
        "the system calls, or the files of cgroups, that stand in a program with the property's pointer or",
        "that of what it belongs to. [configuration.md](configuration.md) says in words what each one does.",
    ]
    heading = None
    for row in rows():
        if row.section != heading:
            heading = row.section
            name = re.sub("^config(Linux|POSIX)?", "", heading.partition("#")[2]) or "Linux"
            title = re.sub("(?<=[a-z])(?=[A-Z])", " ", name)
            lines += ["", f"## [{title}]({SPECIFICATION}{heading})", ""]
            lines += ["| property | done by | shown by |", "| --- | --- | --- |"]
        tests = []
        for test in row.tests:
            file, _, name = test.partition("::")
            tests.append(f"[{name.removeprefix('test_').replace('_', ' ')}](../tests/{file})")
        lines.append(
            f"| `{row.pointer}`<br>{row.description} | {', '.join(row.done)} | {'<br>'.join(tests)} |"
        )
    lines += [
        "",
        "## Other platforms",
        "",
        "Accepted and not looked at: " + ", ".join(f"`{pointer}`" for pointer in sorted(FOREIGN)) + ".",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(document())
