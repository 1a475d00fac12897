"""Writes an outcome as TAP, JUnit, JSON or Markdown, and as a summary by section."""

import json
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, tostring

from conformance.model import LEVELS, MET, NOT_APPLICABLE, NOT_SELECTED, STATUSES, UNTESTED, VIOLATED
from conformance.requirements import REQUIREMENTS
from conformance.suite import Outcome


def tap(outcome: Outcome) -> str:
    """One line for each requirement (testanything.org, version 13); a violated SHOULD is a TODO."""
    lines = ["TAP version 13", f"1..{len(REQUIREMENTS)}"]
    for number, requirement in enumerate(REQUIREMENTS, 1):
        status, reason = outcome.statuses[requirement.id]
        line = f"{requirement.id} - {requirement.level}: {requirement.text}".replace("#", "\\#")
        directive = ""
        if status in (NOT_APPLICABLE, UNTESTED):
            directive = f" # SKIP {status}: {' '.join(reason.split())}"
        elif status == VIOLATED and not requirement.mandatory:
            directive = f" # TODO {requirement.level}"
        lines.append(f"{'not ok' if status == VIOLATED else 'ok'} {number} {line}{directive}")
        if status == VIOLATED:
            lines += [
                "  ---",
                f"  message: {json.dumps(reason)}",
                f"  section: {json.dumps(requirement.section)}",
                "  ...",
            ]
    return "\n".join([*lines, *[f"# {line}" for line in notes(outcome)], ""])


def as_json(outcome: Outcome) -> str:
    document = {
        "runtime": outcome.runtime,
        "version": outcome.version,
        "specification": outcome.specification,
        "machine": outcome.machine,
        "seconds": round(outcome.seconds, 1),
        "exitStatus": outcome.code,
        "counts": {status: {level: outcome.count(status, level) for level in LEVELS} for status in STATUSES},
        "requirements": [
            {
                "id": requirement.id,
                "section": requirement.section,
                "level": requirement.level,
                "since": requirement.since or "1.0",
                "text": requirement.text,
                "status": outcome.statuses[requirement.id][0],
                "reason": outcome.statuses[requirement.id][1],
                "cases": sorted(
                    {seen.case for seen in outcome.observations if seen.requirement == requirement.id}
                ),
            }
            for requirement in REQUIREMENTS
        ],
        "faults": outcome.faults,
        "leftBehind": outcome.left,
    }
    return json.dumps(document, indent=2) + "\n"


def junit(outcome: Outcome) -> str:
    """The form that CI systems read; what is untested or does not apply is skipped."""
    suite = Element("testsuite", name=outcome.version or outcome.runtime, tests=str(len(REQUIREMENTS)))
    for requirement in REQUIREMENTS:
        status, reason = outcome.statuses[requirement.id]
        test = SubElement(suite, "testcase", classname=requirement.section, name=requirement.id)
        if status == VIOLATED and requirement.mandatory:
            SubElement(test, "failure", message=f"{requirement.level}: {requirement.text}").text = reason
        elif status != MET:
            SubElement(test, "skipped", message=f"{status}: {reason}")
    for key, tag in (("failures", "failure"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
    suite.attrib |= {"errors": str(len(outcome.faults)), "time": f"{outcome.seconds:.1f}"}
    SubElement(suite, "system-out").text = "\n".join(notes(outcome))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(suite, encoding="unicode") + "\n"


def markdown(outcome: Outcome) -> str:
    lines = [f"# {outcome.version or outcome.runtime}", "", *[f"- {line}" for line in totals(outcome)]]
    for section, requirements in groupby(REQUIREMENTS, lambda requirement: requirement.section):
        lines += [
            "",
            f"## {section}",
            "",
            "| requirement | level | text | status |",
            "| --- | --- | --- | --- |",
        ]
        for requirement in requirements:
            status, reason = outcome.statuses[requirement.id]
            what = f"{status}: {reason}" if reason else status
            lines.append(
                f"| {requirement.id} | {requirement.level} | {requirement.text} | "
                + " ".join(what.split()).replace("|", "\\|")
                + " |"
            )
    return "\n".join([*lines, "", *[f"- {line}" for line in notes(outcome)]]) + "\n"


def totals(outcome: Outcome) -> list[str]:
    return [
        f"{status}: {outcome.count(status)} ({outcome.count(status, 'MUST')} of level MUST)"
        for status in STATUSES
    ]


def notes(outcome: Outcome) -> list[str]:
    """What a reader has to know before the counts."""
    lines = [f"fault of the suite: {fault}" for fault in outcome.faults]
    lines += [f"left behind by the runtime: {item}" for item in outcome.left]
    if not outcome.count(MET):
        lines.append("no requirement was seen to be met: this is no pass")
    return lines


def summary(outcome: Outcome) -> str:
    """For the terminal: a line for each section, what is violated and why, the totals. Where cases were
    selected, what has none is left out."""
    chosen = (UNTESTED, NOT_SELECTED) in outcome.statuses.values()
    lines = [f"{'section':36}" + "".join(f"{status:>16}" for status in STATUSES)]
    for section, requirements in groupby(REQUIREMENTS, lambda requirement: requirement.section):
        found = [outcome.statuses[requirement.id] for requirement in requirements]
        if chosen and all(status == UNTESTED for status, _ in found):
            continue
        counts = [sum(status == each for status, _ in found) for each in STATUSES]
        lines.append(f"{section:36}" + "".join(f"{count or '-':>16}" for count in counts))
    lines.append("")
    reasons: dict[tuple[str, str], list[str]] = {}
    for requirement in REQUIREMENTS:
        if outcome.statuses[requirement.id][0] != MET and not (chosen and requirement.untestable):
            named = f"{requirement.id} ({requirement.level})"
            reasons.setdefault(outcome.statuses[requirement.id], []).append(named)
    for (status, reason), names in reasons.items():
        what = ", ".join(names) if len(names) < 6 else f"{len(names)} requirements"
        lines.append(f"{status}: {what}: {' '.join(reason.split())}")
    return "\n".join([*lines, "", *totals(outcome), *notes(outcome), f"{outcome.seconds:.1f} s", ""])


FORMATS = {"tap": tap, "junit": junit, "json": as_json, "markdown": markdown}
