"""Several reports of the suite side by side: what docs/conformance.md is made of.

Reports are those of `conformance/run --format json`, of one version of the suite. Reports of one runtime on
several machines share a column. Nothing is run here.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from conformance.model import LEVELS, MET, NOT_APPLICABLE, STATUSES, UNTESTED, VIOLATED, Requirement
from conformance.requirements import REQUIREMENTS

SPECIFICATION = "https://github.com/opencontainers/runtime-spec/blob/v1.3.0/"
SHOWN = 220  # characters of a reason

# What differs from run to run, and is nobody's reason.
VOLATILE = (
    (re.compile(r'time="[^"]*" level=\w+ msg='), ""),
    (re.compile(r"/[\w/]*/conformance-\w+/\d+/bundle-conformance-\d+-\d+-\d+"), "BUNDLE"),
    (re.compile(r"/[\w/]*/conformance-\w+/\d+"), "DIRECTORY"),
    (re.compile(r"conformance-\d+-\d+-\d+"), "ID"),
    (re.compile(r"\b(nr_inodes|size)=\d+k?,?|\binode64,"), ""),
    (re.compile(r"config\.json:\d+:\d+"), "config.json"),
    (re.compile(r"fd/\d+"), "fd/N"),
    (re.compile(r"20\d\d-\d\d-\d\dT[\d:.]+Z:? ?"), ""),
)


class Report(NamedTuple):
    """One run: the runtime's name, where it ran, and (status, reason) by requirement."""

    name: str
    version: str
    specification: str
    machine: str
    statuses: dict[str, tuple[str, str]]

    def total(self, status: str, level: str) -> int:
        """Of the requirements whose level begins with a word."""
        return sum(
            self.statuses[requirement.id][0] == status
            for requirement in REQUIREMENTS
            if requirement.level.startswith(level)
        )


class Mismatch(ValueError):
    """Reports that cannot stand side by side; the text says why."""


def read(documents: Iterable[dict[str, Any]]) -> list[Report]:
    """The reports of decoded JSON documents; they have to be of this suite's requirements."""
    reports: list[Report] = []
    for document in documents:
        statuses = {row["id"]: (row["status"], row["reason"]) for row in document["requirements"]}
        name = document["version"].partition(" ")[0] or document["runtime"].rpartition("/")[2]
        if statuses.keys() != {requirement.id for requirement in REQUIREMENTS}:
            raise Mismatch(f"the report of {name} is of another version of the suite: run it again")
        if document["faults"]:
            raise Mismatch(f"the report of {name} has faults of the suite: {'; '.join(document['faults'])}")
        found = Report(name, document["version"], document["specification"], document["machine"], statuses)
        if any((each.name, each.machine) == (found.name, found.machine) for each in reports):
            raise Mismatch(f"there are two reports of {name} on one machine, {found.machine}")
        reports.append(found)
    return reports


def letters(reports: Sequence[Report]) -> dict[str, str]:
    """A letter for each machine, in the order of the reports."""
    machines = dict.fromkeys(report.machine for report in reports)
    return dict(zip(machines, "ABCDEFGHIJ", strict=False))


def names(reports: Sequence[Report]) -> list[str]:
    return list(dict.fromkeys(report.name for report in reports))


def cell(reports: Sequence[Report], requirement: Requirement, known: dict[str, str]) -> str:
    """What a runtime's reports say of a requirement: one word where all machines that can tell agree."""
    found = {report.machine: report.statuses[requirement.id][0] for report in reports}
    if len(set(found.values())) == 1:
        return word(next(iter(found.values())))
    parts = []
    for status in (VIOLATED, MET, UNTESTED):
        at = [known[machine] for machine, each in found.items() if each == status]
        if at:
            parts.append(f"{word(status)} ({', '.join(at)})")
    return "; ".join(parts)


def word(status: str) -> str:
    return {VIOLATED: "**violated**", NOT_APPLICABLE: "n/a", UNTESTED: "-"}.get(status, status)


def plain(text: str) -> str:
    """A reason in one line, without what differs from run to run."""
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    text = " ".join(text.split()).replace("\\n", " ")
    return text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " …"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def deviations(reports: Sequence[Report], name: str) -> list[str]:
    """A line for each requirement that a runtime violates somewhere."""
    known = letters(reports)
    lines = []
    for requirement in REQUIREMENTS:
        reasons: dict[str, list[str]] = {}
        for report in reports:
            status, reason = report.statuses[requirement.id]
            if report.name == name and status == VIOLATED:
                reasons.setdefault(plain(reason), []).append(known[report.machine])
        for reason, at in reasons.items():
            where = f" ({', '.join(at)})" if len(known) > 1 else ""
            new = f", since {requirement.since}" if requirement.since else ""
            lines.append(f"- `{requirement.id}` ({requirement.level}{new}){where}: {escaped(reason)}")
    return lines


def unseen(reports: Sequence[Report]) -> list[str]:
    """Why requirements have no verdict of any runtime: a line for each reason."""
    reasons: dict[str, list[str]] = {}
    for requirement in REQUIREMENTS:
        statuses = [report.statuses[requirement.id] for report in reports]
        if not any(status in (MET, VIOLATED) for status, _ in statuses):
            reasons.setdefault(plain(statuses[0][1]), []).append(f"`{requirement.id}`")
    return [f"- {escaped(reason)}: {', '.join(ids)}" for reason, ids in reasons.items()]


def document(reports: Sequence[Report], head: str) -> str:
    """The comparison as Markdown; head is what comes before, with a title."""
    known, runtimes = letters(reports), names(reports)
    lines = [head.rstrip(), "", "## Machines", ""]
    lines += [f"- {letter}: {machine}" for machine, letter in known.items()]
    lines += ["", "## Figures", ""]
    lines.append(f"| runtime | its specification | machine | level | {' | '.join(STATUSES)} |")
    lines.append("| --- | --- | --- | --- |" + " --- |" * len(STATUSES))
    for report in reports:
        for level in LEVELS:
            counts = " | ".join(str(report.total(status, level)) for status in STATUSES)
            first = f"{report.version} | {report.specification} | {known[report.machine]}"
            lines.append(f"| {first} | {level} | {counts} |")
    lines += ["", "## Deviations", "", *DEVIATIONS]
    for name in runtimes:
        found = deviations(reports, name)
        lines += ["", f"### {name}", "", *(found or ["None."])]
    lines += ["", "## Without a verdict", "", *unseen(reports), "", "## Requirements", "", *TABLE]
    for section, requirements in groupby(REQUIREMENTS, lambda requirement: requirement.section):
        title = section if section == "engines" else f"[{section}]({SPECIFICATION}{section})"
        lines += ["", f"### {title}", "", f"| requirement | level | text | {' | '.join(runtimes)} |"]
        lines.append("| --- | --- | --- |" + " --- |" * len(runtimes))
        for requirement in requirements:
            own = [[each for each in reports if each.name == name] for name in runtimes]
            cells = [cell(each, requirement, known) for each in own]
            new = f" (since {requirement.since})" if requirement.since else ""
            what = f"`{requirement.id}` | {requirement.level} | {escaped(requirement.text)}{new}"
            lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


DEVIATIONS = [
    "What the suite saw, in its words or the runtime's own. *since* is the version of the specification that",
    "made the demand, where that is after 1.0: a runtime that implements an older one cannot know it.",
]
TABLE = [
    "**violated** is explained above. n/a: a machine, or a choice that the specification leaves to runtimes,",
    "does not allow it to be seen. A hyphen: no case observes it. A letter names the machines that an answer",
    "holds for, where they do not give the same.",
]
