"""Reads and checks a bundle's config.json (config.md), and the objects that `exec` and `update` are given.

The generated validator says yes or no; `explain` is loaded only after a no. What a schema cannot say
is left to `compile`.
"""

from pyrunc import json
from pyrunc.config import _validator
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _Unknown = list[tuple[dict[str, Any], str]]  # as _validator.check notes them

MAJOR, MINOR = 1, 3  # of the version of the specification that spec/config.json follows


def load(bundle: str) -> "dict[str, Any]":
    """The configuration of the bundle, a directory; see `load_with_text`."""
    return load_with_text(bundle)[0]


def load_with_text(bundle: str) -> "tuple[dict[str, Any], bytes]":
    """The configuration of the bundle, and the very bytes that it was read from. Whatever is wrong
    with it is one Error.

    Properties that the specification does not know are logged and stay in the result (config.md,
    "Extensibility").
    """
    path = f"{bundle}/config.json"
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise Error(
            f'no config.json in the bundle {bundle}: make one with "pyrunc spec --bundle {bundle}", '
            "or name another bundle with --bundle"
        ) from None
    except OSError as error:
        raise Error(f"cannot read {path}: {error.strerror}") from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Error(f"{path}:{line}: not JSON: this line is not UTF-8 ({error.reason})") from None
    config = _decode(text, path)
    version = config.get("ociVersion") if type(config) is dict else None
    if type(version) is str:
        fatal, problem = version_problem(version)
        if fatal:
            raise Error(problem, pointer="/ociVersion")
        if problem:
            _warn(f"/ociVersion: {problem}")
    unknown: _Unknown = []
    _settle(_validator.valid(config, unknown), config, unknown, text, path)
    assert type(config) is dict
    return config, data


def decode_process(text: str, where: str) -> "dict[str, Any]":
    """The process object in text, the content of the file that messages call where (config.md, "Process")."""
    process = _decode(text, where)
    unknown: _Unknown = []
    _settle(_validator.valid_process(process, unknown), process, unknown, text, where, "process")
    assert type(process) is dict
    return process


def decode_resources(text: str, where: str) -> "dict[str, Any]":
    """The resources object in text (config-linux.md, "Control groups"); as `decode_process`."""
    resources = _decode(text, where)
    # What an update leaves out stays as it is, of which the specification of a configuration knows nothing.
    if type(resources) is dict and resources.get("pids") == {}:
        del resources["pids"]
    unknown: _Unknown = []
    _settle(_validator.valid_resources(resources, unknown), resources, unknown, text, where, "resources")
    assert type(resources) is dict
    return resources


def version_problem(version: str) -> tuple[bool, str]:
    """What is the matter with an ociVersion: whether it is fatal, and a sentence ("" where there is none)."""
    core, _, extra = version.partition("+")[0].partition("-")
    numbers = core.split(".")
    well_formed = (
        len(numbers) == 3
        and all(each.isascii() and each.isdigit() and (each == "0" or each[0] != "0") for each in numbers)
        and not version.endswith(("-", "+", "."))
    )
    if not well_formed:
        return True, f'"{version}" is not a version as SemVer 2.0.0 writes it, such as "{MAJOR}.{MINOR}.0"'
    major, minor, patch = map(int, numbers)
    if major != MAJOR or (minor == patch == 0 and extra):
        return True, (
            f"version {version} of the runtime specification is not supported: "
            f"pyrunc supports {MAJOR}.0.0 to {MAJOR}.{MINOR}.x"
        )
    if minor > MINOR:
        return False, (
            f"version {version} is newer than the {MAJOR}.{MINOR} that pyrunc knows: "
            "what the newer version has added is not acted on"
        )
    return False, ""


def _decode(text: str, path: str) -> "Any":
    if text[:1] == "\ufeff":
        raise Error(f"{path}:1:1: not JSON: remove the byte order mark")
    try:
        return json.decode(text)
    except json.DecodeError as error:
        raise Error(f"{path}:{error.line}:{error.column}: not JSON: {error.reason}") from None


def _settle(
    valid: bool, value: "Any", unknown: "_Unknown", text: str, path: str, part: str = ""
) -> None:
    """Raises what explain finds in an invalid text, and logs the unknown properties of a valid one. part
    is the text's place in the schema, as for `explain.violations`."""
    # The kernel takes strings that end at a NUL: one in the middle would cut a path short.
    if not valid or "\\u0000" in text:
        from pyrunc.config import explain

        problems = [each for each in explain.violations(text, part) if each.severity == "error"]
        if len(problems) == 1:
            only = problems[0]
            raise Error(f"{only.message} ({path}:{only.line}:{only.column})", pointer=only.pointer)
        if problems:
            listing = "".join(f"\n  {each.text(path)}" for each in problems)
            raise Error(f"{path} has {len(problems)} errors:{listing}")
        if not valid:
            raise Error(f"{path} is refused, but no reason is found: please report this bug of pyrunc")
    if unknown:
        for pointer in _validator.pointers(value, unknown):
            _warn(f"{pointer}: the specification has no such property, it is ignored")


def _warn(message: str) -> None:
    from pyrunc import log

    log.warning(message)
