"""The generated parts of docs/engines.md, and the configuration that the documents show.

`PYRUNC_UPDATE_GOLDEN=1 pytest tests/unit/test_engines_document.py` puts new texts into the document. The
differences are those of tests/engines/differences.toml, and what is skipped the reasons in the tests.
"""

import ast
import json
import re
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from registered import ROOT, look

DOCUMENT = ROOT / "docs/engines.md"
TESTS = ROOT / "tests/engines"

# The second word of a module's name, and what it is for readers.
ENGINES = {"docker": "Docker", "containerd": "containerd", "podman": "Podman"}


def title(module: str) -> str:
    return ENGINES.get(module.split("_")[1], module.split("_")[1])


def sentence(test: str) -> str:
    return test.removeprefix("test_").rstrip("*").rstrip("_").replace("_", " ")


def differences() -> str:
    """Each reason once for an engine, with the tests that meet it."""
    with (TESTS / "differences.toml").open("rb") as file:
        entries = tomllib.load(file).get("difference", [])
    found: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        for pattern in entry["tests"]:
            module, _, test = pattern.partition("::")
            shown = f"[{sentence(test) or 'all'}](../tests/engines/{module}.py)"
            if "*" in module:
                shown = f"`{pattern}`"
            tests = found.setdefault(title(module), {}).setdefault(entry["reason"], [])
            if shown not in tests:
                tests.append(shown)
    lines = []
    for engine in sorted(found, key=str.lower):
        lines += [f"### {engine}: differences", "", "| what and why | shown by |", "| --- | --- |"]
        lines += [f"| {reason} | {'<br>'.join(tests)} |" for reason, tests in found[engine].items()]
        lines.append("")
    return "\n".join(lines).strip()


def reasons(node: ast.AST) -> Iterator[str]:
    """What pytest.skip(REASON) and skipif(…, reason=REASON) say inside a piece of a test module.

    What varies in an f-string is "…"; a reason that is computed is not known here.
    """
    for call in ast.walk(node):
        if not isinstance(call, ast.Call):
            continue
        function = ast.unparse(call.func)
        said = call.args[:1] if function == "pytest.skip" else []
        if function in ("pytest.mark.skipif", "pytest.mark.skip"):
            said = [word.value for word in call.keywords if word.arg == "reason"]
        for each in said:
            if isinstance(each, ast.Constant | ast.JoinedStr):
                parts = each.values if isinstance(each, ast.JoinedStr) else [each]
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)


def tests_with(node: ast.AST, module: ast.Module) -> list[str]:
    """The tests to which a piece of a module belongs: the piece itself, or those that call the function."""
    if not isinstance(node, ast.FunctionDef):
        return []
    if node.name.startswith("test_"):
        return [node.name]
    return [
        test.name
        for test in module.body
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
        if any(isinstance(each, ast.Call) and ast.unparse(each.func) == node.name for each in ast.walk(test))
    ]


def skipped(directory: Path = TESTS) -> str:
    """The tests under engines that some hosts cannot run, by reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for file in sorted(directory.glob("test_*.py")):
        module = ast.parse(file.read_text())
        for node in module.body:
            for reason in reasons(node):
                tests = found.setdefault((title(file.stem), reason), [])
                for name in tests_with(node, module):
                    tests.append(f"[{sentence(name)}](../tests/engines/{file.name})")
    if not found:
        return "(nothing at present)"
    lines = ["| engine | reason | test |", "| --- | --- | --- |"]
    lines += [f"| {engine} | {reason} | {'<br>'.join(tests)} |" for (engine, reason), tests in found.items()]
    return "\n".join(lines)


def example() -> str:
    """What the check says of a daemon.json with three faults."""
    wrong = {
        "runtimes": {"pyrunc": {"path": "/usr/local/bin/no-pyrunc"}},
        "exec-opts": ["native.cgroupdriver=systemd"],
        "default-runtime": "pyrun",
    }
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "daemon.json")
        file.write_text(json.dumps(wrong))
        lines = look("docker", file, systemd=False).lines
    said = [line.replace(directory, "/etc/docker") for line in [*lines, "3 wrong"]]
    return "\n".join(["    $ scripts/check-registration docker", *[f"    {line}" for line in said]])


def put(text: str, name: str, content: str) -> str:
    """The document with other content between a pair of marks."""
    pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    assert pattern.search(text), f"no marks {name} in {DOCUMENT.name}"
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def snippets(document: Path) -> Iterator[tuple[str, str]]:
    """The path of each file that a document shows, and what is shown: the indented block after `/etc/…`."""
    path = ""
    block: list[str] = []
    for line in [*document.read_text().splitlines(), "end"]:
        if line.startswith("    ") or (block and not line):
            block.append(line[4:])
            continue
        if block and path:
            yield path, "\n".join(block).strip() + "\n"
        if block:
            path = ""
        block = []
        named = re.search(r"`(/etc/[^`]+)`", line)
        if named:
            path = named[1]
