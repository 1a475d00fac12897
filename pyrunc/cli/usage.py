"""Help: what `--help`, `help VERB`, `--version` and a usage error print, from the table of options."""

from textwrap import fill, wrap

import pyrunc
from pyrunc.cli.options import GLOBAL, HELP, VERBS, Option, Verb
from pyrunc.cli.output import write
from pyrunc.cli.parser import Invocation, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 100
_USAGE = "usage: pyrunc [GLOBAL OPTION...] VERB [OPTION...] [ARGUMENT...]"


def show(given: Invocation) -> int:
    """Prints the help or the version that was asked for; the exit status."""
    if given.common["version"]:
        write(version())
        return 0
    name = given.verb
    if name == "help":
        name = given.args[0] if given.args and not given.common["help"] else ""
    elif given.common["help"]:
        name = ""
    if name and name not in VERBS:
        raise UsageError(f"there is no verb {name!r}", status=3)
    write(verb(VERBS[name]) if name else overview())
    return 0


def version() -> str:
    """The text of --version; engines look for the words before "version" and after "spec:"."""
    import sys

    python = ".".join(map(str, sys.version_info[:3]))
    return f"pyrunc version {pyrunc.__version__}\nspec: {pyrunc.OCI_VERSION}\npython: {python}\n"


def overview() -> str:
    """The text of `pyrunc --help`."""
    verbs = "".join(f"  {one.name:<12}{one.summary}\n" for one in VERBS.values())
    return (
        f"{pyrunc.__doc__}\n\n"
        f"{_USAGE}\n\n"
        f"verbs:\n{verbs}  {'help':<12}explain a verb: pyrunc help VERB\n\n"
        f"global options:\n{_options(GLOBAL)}"
    )


def verb(one: Verb) -> str:
    """The text of `pyrunc VERB --help`."""
    options = (*one.options, HELP)
    return f"{_usage(one)}\n\n{fill(one.text, _WIDTH)}\n\noptions:\n{_options(options)}"


def synopsis(name: str) -> str:
    """The lines that follow the message of a usage error."""
    if name not in VERBS:
        return f"{_USAGE}\n`pyrunc help` lists the verbs\n"
    return f"{_usage(VERBS[name])}\n`pyrunc help {name}` explains it\n"


def spelling(option: Option, sign: str = "--{}", short: str = "-{}") -> str:
    """An option with its short form, as in "--bundle, -b DIR"."""
    names = sign.format(option.name) + (f", {short.format(option.short)}" if option.short else "")
    return f"{names} {option.value}" if option.value else names


def remark(option: Option) -> str:
    """An option's help with its default, its choices and whether it may be repeated."""
    notes = []
    if option.choices:
        notes.append(" or ".join(option.choices) if len(option.choices) == 2 else ", ".join(option.choices))
    if option.default not in (None, "", False, 0):
        notes.append(f"default: {option.default}")
    if option.many:
        notes.append("may be repeated")
    return f"{option.help} ({'; '.join(notes)})" if notes else option.help


def _usage(one: Verb) -> str:
    parts = [f"usage: pyrunc {one.name}", "[OPTION...]", one.arguments]
    return " ".join(part for part in parts if part)


def _options(options: "Sequence[Option]") -> str:
    shown = [option for option in options if not option.hidden]
    column = max(len(spelling(option)) for option in shown) + 4
    text = ""
    for option in shown:
        lines = wrap(remark(option), _WIDTH - column)
        text += f"  {spelling(option):<{column - 2}}" + f"\n{' ' * column}".join(lines) + "\n"
    return text
