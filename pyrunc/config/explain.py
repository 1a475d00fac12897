"""Says everything that is wrong with a configuration, for people: `validate`, and a refused `create`.

Works from the same spec/config.json as the hot path's validator, with jsonschema, and adds what the
schema leaves open: unknown and repeated keys, and rules of config.md and config-linux.md between
values (in `rules`). Nothing here decides whether a container starts; only errors stop one.
"""

import difflib
import json
from collections.abc import Iterable
from typing import Any

from pyrunc import libraries
from pyrunc.config import rules, schema
from pyrunc.config.load import version_problem
from pyrunc.config.position import Places, join
from pyrunc.errors import Error
from pyrunc.json import DecodeError, decode

Schema = dict[str, Any]

# What the patterns of spec/config.json ask for.
_PATTERNS = {
    "^/": "an absolute path",
    "^(?![^/])": "an absolute path or nothing",
    "^(?!.*[^rwm])": "only the letters r, w and m",
    "^(?!.*[^0-9, -])": "numbers and ranges of numbers, such as 0-3,7",
    "^MB:(?!.*\\n)": "one line beginning with MB:",
    "^[1-9][0-9]*[KMG]B$(?!\\n)": "a size such as 64KB, 2MB or 1GB",
}

_TYPES = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


class Violation:
    """One thing that is wrong. severity is "error" (the configuration is refused) or "warning".

    pointer is a JSON pointer; line and column count from 1. found and allowed are short texts, and
    suggestion is what was probably meant; each is "" where it does not apply. message is a sentence
    without the pointer.
    """

    __slots__ = ("allowed", "column", "found", "line", "message", "pointer", "severity", "suggestion")

    def __init__(
        self,
        message: str,
        pointer: str,
        place: tuple[int, int],
        *,
        severity: str = "error",
        found: str = "",
        allowed: str = "",
        suggestion: str = "",
    ) -> None:
        self.severity, self.message, self.pointer = severity, message, pointer
        self.line, self.column = place
        self.found, self.allowed, self.suggestion = found, allowed, suggestion

    def text(self, path: str) -> str:
        """One line for people, with the place as compilers write it."""
        where = f"{self.pointer}: " if self.pointer else ""
        kind = "" if self.severity == "error" else f"{self.severity}: "
        return f"{path}:{self.line}:{self.column}: {kind}{where}{self.message}"

    def document(self) -> dict[str, Any]:
        """All of it, ready to be printed as JSON."""
        order = ("severity", "pointer", "line", "column", "message", "found", "allowed", "suggestion")
        return {name: getattr(self, name) for name in order}


def violations(text: str, part: str = "") -> list[Violation]:
    """All that is wrong with the text of a config.json, in the text's order; empty if nothing is.

    With a part the text is such an object alone: "process", as `exec` reads, or "resources", as `update`
    does. Raises Error without jsonschema.
    """
    try:
        return _violations(text, part)
    except DecodeError as error:
        return [Violation(f"not JSON: {error.reason}", "", (error.line, error.column))]
    except RecursionError:
        return [too_deep()]


def too_deep() -> Violation:
    """For a text that JSON allows and nobody writes by hand."""
    return Violation("it is nested too deeply to be looked at", "", (1, 1))


def _violations(text: str, part: str) -> list[Violation]:
    value = decode(text)
    root = schema.document("config")
    start = schema.resolve({"$ref": f"#/$defs/{part}"}, root) if part else root
    places = Places(text)
    found = [*_schema_errors(value, start, root, places), *_unknown(value, start, root, places)]
    for pointer in places.twice:
        message = "this key is there twice; the last one counts"
        found.append(Violation(message, pointer, places.of_key(pointer), severity="warning"))
    if isinstance(value, dict):
        found += _rule_violations(value, part, places)
    return sorted_violations(found)


def sorted_violations(found: list[Violation]) -> list[Violation]:
    """In the order of the text."""
    return sorted(found, key=lambda each: (each.line, each.column))


def located(findings: Iterable[tuple[str, str, str]], value: Any, text: str) -> list[Violation]:
    """Violations of what others have found in a configuration: severity, pointer and message of each."""
    places = Places(text)
    found = []
    for severity, pointer, message in findings:
        facts = {"severity": severity, "found": _show(_at(value, _existing(value, pointer)))}
        found.append(Violation(message, pointer, places.of_value(pointer), **facts))
    return found


def _existing(value: Any, pointer: str) -> str:
    """The pointer, or if nothing is there that of what it would be in."""
    here, found = value, ""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(here, list) and key.isdecimal() and int(key) < len(here):
            here = here[int(key)]
        elif isinstance(here, dict) and key in here:
            here = here[key]
        else:
            break
        found += "/" + part
    return found


def _rule_violations(value: dict[str, Any], part: str, places: Places) -> list[Violation]:
    found = []
    version = value.get("ociVersion")
    if not part and isinstance(version, str):
        fatal, problem = version_problem(version)
        if problem:
            severity = "error" if fatal else "warning"
            place = places.of_value("/ociVersion")
            found.append(Violation(problem, "/ociVersion", place, severity=severity, found=_show(version)))
    for finding in rules.part_findings(value, part) if part else rules.findings(value):
        severity, pointer, message, suggestion = finding
        found.append(
            Violation(
                _hint(message, suggestion),
                pointer,
                places.of_value(pointer),
                severity=severity,
                found=_show(_at(value, pointer)),
                suggestion=suggestion,
            )
        )
    return found


def _schema_errors(value: Any, start: Schema, root: Schema, places: Places) -> list[Violation]:
    document = root if start is root else {**start, "$defs": root["$defs"]}
    found = []
    for error in _validator()(document).iter_errors(value):
        path: list[str | int] = list(error.absolute_path)
        found += _worded(error, join(path), places)
    return found


def _validator() -> Any:
    """jsonschema's validator, with 1.0 not taken for a whole number.

    (JSON Schema takes it for one since draft 6; Go's decoder, and so every other runtime, does not.)
    """
    libraries.enable()
    try:
        import jsonschema
    except ImportError as error:
        raise Error(
            f"to say what is wrong with a configuration, pyrunc needs the Python package {error.name}: "
            f"install it with pip install {error.name}, or Debian's python3-{error.name}"
        ) from None
    base = jsonschema.Draft202012Validator

    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    extend: Any = jsonschema.validators.extend
    return extend(base, type_checker=types)


def _worded(error: Any, pointer: str, places: Places) -> list[Violation]:
    """The violations that one error of jsonschema's stands for."""
    value, rule, asked = error.instance, error.validator, error.validator_value
    place = places.of_value(pointer)

    def one(message: str, allowed: str = "", suggestion: str = "") -> list[Violation]:
        facts = {"found": _show(value), "allowed": allowed, "suggestion": suggestion}
        return [Violation(_hint(message, suggestion), pointer, place, **facts)]

    if rule == "type":
        allowed = _TYPES[asked]
        return one(f"expected {allowed}, not {_show(value)}", allowed)
    if rule == "enum":
        choice = [each for each in asked if each]
        allowed = ", ".join(choice)
        message = f"{_show(value)} is not among the values allowed here: {allowed}"
        return one(message, allowed, _closest(value, choice))
    if rule == "pattern":
        allowed = _PATTERNS[asked]
        return one(f"expected {allowed}, not {_show(value)}", allowed)
    if rule in ("minimum", "maximum"):
        low, high = error.schema.get("minimum"), error.schema.get("maximum")
        allowed = f"at least {low}" if high is None else f"{low} to {high}"
        return one(f"{_show(value)} is out of range: {allowed} is allowed", allowed)
    if rule == "minItems":
        return one("at least one entry is needed", "at least one entry")
    if rule == "minLength":  # of the names that an object's properties may have
        message, inner = "a key must not be empty; remove it", pointer + join([value])
        return [Violation(message, inner, places.of_key(inner), found=_show(value))]
    if rule == "required":
        # jsonschema makes one error of each missing key, and names it only in its message.
        missing = next(key for key in asked if key not in value and error.message.startswith(repr(key)))
        wrong = _closest(missing, [key for key in value if key not in error.schema.get("properties", {})])
        hint = f'; is "{wrong}" meant to be it?' if wrong else ""
        message = f'the property "{missing}" is missing{hint}'
        suggestion = missing if wrong else ""
        return [Violation(message, pointer, place, found="nothing", allowed=missing, suggestion=suggestion)]
    if rule == "anyOf":
        allowed = " or ".join(_alternative(each) for each in asked)
        return one(f"{allowed} is needed", allowed)
    if rule == "additionalProperties":
        known = error.schema.get("properties", {})
        allowed = ", ".join(known)
        found = []
        for key in value:
            if key not in known:
                meant, inner = _closest(key, known), pointer + join([key])
                message = _hint(f'"{key}" is not among the keys allowed here: {allowed}', meant)
                facts = {"found": key, "allowed": allowed, "suggestion": meant}
                found.append(Violation(message, inner, places.of_key(inner), **facts))
        return found
    return one(str(error.message))


def _alternative(part: Schema) -> str:
    names = [f'"{key}"' for key in part.get("required", ())]
    names += [f"{key} {json.dumps(rule['const'])}" for key, rule in part.get("properties", {}).items()]
    return " with ".join(names)


def _unknown(value: Any, here: Schema, root: Schema, places: Places) -> list[Violation]:
    """Warnings of the properties that the schema does not know."""
    found = []

    def visit(value: Any, here: Schema, path: list[str | int]) -> None:
        if isinstance(value, list):
            members: Any = enumerate(value)
        elif isinstance(value, dict):
            members = value.items()
        else:
            return
        for key, item in members:
            inner = schema.member(here, key, root)
            if inner is not None:
                visit(item, inner, [*path, key])
            elif here.get("additionalProperties") is not False:
                known = here.get("properties", {})
                meant = _closest(key, known)
                pointer = join([*path, key])
                message = _hint("the specification has no such property, it is ignored", meant)
                facts = {"severity": "warning", "found": key, "suggestion": meant}
                found.append(Violation(message, pointer, places.of_key(pointer), **facts))

    visit(value, here, [])
    return found


def _closest(word: object, known: Any) -> str:
    """The known word that a misspelt one is likely to stand for, or ""."""
    if not isinstance(word, str):
        return ""
    folded = {str(each).lower(): str(each) for each in known if each}
    close = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.6)
    if not close:
        # Prefixes such as SCMP_ACT_ and RLIMIT_ are what is left out most often.
        close = [each for each in folded if word and each.rpartition("_")[2] == word.lower()]
    return folded[close[0]] if close else ""


def _hint(message: str, suggestion: str) -> str:
    return f'{message}; did you mean "{suggestion}"?' if suggestion else message


def _at(value: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def _show(value: Any) -> str:
    """A value as JSON, shortened where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:56] + " ..."
