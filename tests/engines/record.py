"""What an engine's commands printed, under pyrunc and under runc, and whether that was the same.

Each test runs once with either runtime. Its commands are kept in their order, without what is new each time
(ids, times, random names), and have to be equal, but for what `differences.toml` lists: a pattern for each
runtime's text, the tests that meet it, and the reason. A listed difference that a test no longer shows is an
error too, so that the list stays true.
"""

import difflib
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

DIFFERENCES = Path(__file__).parent / "differences.toml"

# What no two runs have in common, and what is put in its place; in this order.
VOLATILE = [
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(r"sha256:[0-9a-f]{12,64}"), "sha256:ID"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[a-z0-9]{25}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4} \w+|Z|[+-]\d\d:\d\d)?"), "TIME"),
    (re.compile(r"\b(\d+|About an?|Less than a) (second|minute|hour)s?\b"), "AGE"),
    # The docker client prints it or not, as it wins or loses a race with its own request.
    (re.compile(r'(?m)^time="TIME" level=error msg="error waiting for container: .*\n'), ""),
    (re.compile(r"\b(0x[0-9a-f]{6,}|\d+(\.\d+)?(ms|µs))\b"), "NUMBER"),
]


class Step:
    """One command: its words, exit status and output, normalised."""

    def __init__(self, words: str, code: int | None, out: str, err: str) -> None:
        self.words = words
        self.code = code
        self.out = out
        self.err = err

    def lines(self) -> list[str]:
        return [
            f"$ {self.words}",
            *self.out.splitlines(),
            *[f"stderr: {line}" for line in self.err.splitlines()],
            f"exit status {self.code}",
        ]


class Recording:
    """The steps of one test under one runtime."""

    def __init__(self, replace: list[tuple[str, str]]) -> None:
        """`replace` has fixed texts of this run (directories, names) and what to put in their place."""
        self.replace = replace
        self.steps: list[Step] = []

    def add(self, words: tuple[str, ...], code: int | None, out: str, err: str, ignore: str | None) -> None:
        """`ignore` is a regular expression for what else changes from run to run."""
        texts = [" ".join(words), out, err]
        for old, new in self.replace:
            texts = [text.replace(old, new) for text in texts]
        for pattern, stand_in in [*VOLATILE, *([(re.compile(ignore), "*")] if ignore else [])]:
            texts = [pattern.sub(stand_in, text) for text in texts]
        self.steps.append(Step(texts[0], code, texts[1], texts[2]))

    def text(self) -> str:
        return "\n".join(line for step in self.steps for line in step.lines())


class Difference:
    """An entry of differences.toml."""

    def __init__(self, tests: list[str], pyrunc: str, runc: str, reason: str) -> None:
        self.tests = tests
        self.patterns = {"pyrunc": re.compile(pyrunc), "runc": re.compile(runc)}
        self.reason = reason


def listed() -> list[Difference]:
    with DIFFERENCES.open("rb") as file:
        return [Difference(**entry) for entry in tomllib.load(file).get("difference", [])]


def compare(test: str, recordings: dict[str, Recording], known: list[Difference]) -> list[str]:
    """The differences between pyrunc's and runc's recordings that are not listed, and listed ones not met."""
    texts = {name: recording.text() for name, recording in recordings.items()}
    wrong = []
    for number, difference in enumerate(known):
        if not any(fnmatch(test, pattern) for pattern in difference.tests):
            continue
        for name, pattern in difference.patterns.items():
            texts[name], count = pattern.subn(f"<listed difference {number}>", texts[name])
            if not count:
                wrong.append(f'"{pattern.pattern}", listed in {DIFFERENCES.name}, is not in what {name} gave')
    if texts["pyrunc"] != texts["runc"]:
        wrong += difflib.unified_diff(
            texts["runc"].splitlines(), texts["pyrunc"].splitlines(), "runc", "pyrunc", n=1, lineterm=""
        )
    return wrong
