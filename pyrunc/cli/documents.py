"""The verbs that print what pyrunc knows: its features, what is wrong with a configuration, and the
program that a configuration compiles to."""

from pyrunc.cli import absolute, runtime, text
from pyrunc.cli.output import write
from pyrunc.cli.parser import UsageError
from pyrunc.host.paths import is_directory
from pyrunc.json import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.cli.parser import Invocation


def features(given: "Invocation") -> int:
    """`features`"""
    from pyrunc.features import document

    write(encode(document(), 4) + "\n")
    return 0


def validate(given: "Invocation") -> int:
    """`validate [BUNDLE|FILE]`: exits with 1 when the configuration is invalid."""
    from pyrunc.container import check

    path = _path(given)
    if is_directory(path):
        path += "/config.json"
    violations = check.violations(text(path))
    if given.options["format"] == "json":
        write(encode([each.document() for each in violations], 2) + "\n")
    else:
        write("".join(each.text(path) + "\n" for each in violations))
    return 1 if any(each.severity == "error" for each in violations) else 0


def plan(given: "Invocation") -> int:
    """`plan [BUNDLE]`"""
    from pyrunc.container import plan as container
    from pyrunc.program import explain

    flags = given.options
    program = container.plan(
        runtime(given.common),
        _path(given),
        no_pivot=flags["no_pivot"],
        no_new_keyring=flags["no_new_keyring"],
    )
    if flags["format"] == "json":
        write(encode(explain.document(program), 2) + "\n")
    else:
        write("".join(line + "\n" for line in explain.lines(program)))
    return 0


def _path(given: "Invocation") -> str:
    """The bundle, from --bundle or the argument."""
    if given.args and given.options["bundle"]:
        raise UsageError("name the bundle once, as --bundle or as the argument", given.verb)
    return absolute(given.args[0] if given.args else given.options["bundle"] or ".")


VERBS: "dict[str, Callable[[Invocation], int]]" = {"features": features, "plan": plan, "validate": validate}
