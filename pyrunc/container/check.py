"""`validate`: all that is wrong with a configuration as such, on whatever host; nothing has an effect."""

from typing import Any

from pyrunc import json
from pyrunc.compile import check
from pyrunc.config import _validator, explain
from pyrunc.errors import Error


def violations(text: str) -> list[explain.Violation]:
    """All that is wrong with the text of a config.json, in the text's order. Raises Error without
    jsonschema."""
    found = explain.violations(text)
    try:
        config = json.decode(text)
    except json.DecodeError:
        return found
    if not _valid(config):
        return found
    try:
        return _compiled(config, text, found)
    except RecursionError:
        return [*found, explain.too_deep()]


def _compiled(
    config: dict[str, Any], text: str, found: list[explain.Violation]
) -> list[explain.Violation]:
    """What the compilers say as well."""
    # What a rule has said already the compilers say in other words.
    said = [each.pointer for each in found]
    more = [
        finding for finding in check.findings(config, _valid, _filter)
        if not any(_same(finding[1], pointer) for pointer in said)
    ]  # fmt: skip
    return explain.sorted_violations([*found, *explain.located(more, config, text)])


def _same(pointer: str, other: str) -> bool:
    """Whether one is in the other."""
    return f"{pointer}/".startswith(f"{other}/") or f"{other}/".startswith(f"{pointer}/")


def _valid(config: Any) -> bool:
    return _validator.valid(config, [])


def _filter(profile: dict[str, Any]) -> bytes:
    """Without libseccomp, which is the host's, only what needs none is checked."""
    from pyrunc.host import libseccomp

    try:
        return libseccomp.compile_profile(profile)[0]
    except Error as error:
        if error.pointer != libseccomp.POINTER:
            raise
        return b""
