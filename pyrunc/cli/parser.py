"""The parser of the command line, which reads the table in `options`.

It accepts what runc's does: one dash or two, --flag VALUE and --flag=VALUE, flags before and after
arguments, global flags after the verb. It is written by hand because argparse alone costs more than a
whole verb may.
"""

from pyrunc.cli.options import FLAG, GLOBAL, HELP, NUMBER, TEXT, TEXTS, VERBS, Option, Verb, defaults, named
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class UsageError(Error):
    """A command line that cannot be understood; `verb` is the one that was asked for, or ""."""

    def __init__(self, message: str, verb: str = "", status: int = 1) -> None:
        super().__init__(f"{verb}: {message}" if verb else message, status=status)
        self.verb = verb


class Invocation:
    """A command line, parsed: the verb's name, its flags and the global ones by name with their
    defaults filled in, and the arguments. Names are spelt with underscores."""

    __slots__ = ("args", "common", "options", "verb")

    def __init__(
        self, verb: str, options: "dict[str, Any]", common: "dict[str, Any]", args: list[str]
    ) -> None:
        self.verb = verb
        self.options = options
        self.common = common
        self.args = args


_YES = ("1", "t", "T", "true", "True", "TRUE")
_NO = ("0", "f", "F", "false", "False", "FALSE")


def parse(argv: list[str], common: "dict[str, Any] | None" = None) -> Invocation:
    """Parses the command line after the program's name. Raises UsageError.

    The verb is "" when none is named. Global flags are taken before and after the verb; they are put
    into `common` as they are found, so that a caller knows of --log even when what follows is wrong.
    """
    common = {} if common is None else common
    common.update(defaults(GLOBAL))
    globally = named(GLOBAL)
    words, _ = _scan(argv, "", globally, common, {}, common, True)
    if not words:
        return Invocation("", {}, common, [])
    name = words.pop(0)
    if name in ("help", "h"):
        return Invocation("help", {}, common, words)
    verb = VERBS.get(name)
    if verb is None:
        raise UsageError(f"there is no verb {name!r}{_likely(name, tuple(VERBS))}", status=3)
    values = defaults(verb.options)
    values["help"] = False
    table = named((*verb.options, HELP))
    del globally["version"], globally["v"]
    args, stopped = _scan(words, name, table, values, globally, common, verb.stops)
    # `exec ID -- COMMAND`: the dashes end the flags, which the id did already.
    if stopped and len(args) > 1 and args[1] == "--":
        del args[1]
    if not values["help"]:
        _count(verb, args)
    return Invocation(name, values, common, args)


def _scan(
    words: list[str],
    verb: str,
    table: dict[str, Option],
    values: "dict[str, Any]",
    further: dict[str, Option],
    common: "dict[str, Any]",
    stops: bool,
) -> tuple[list[str], bool]:
    """Takes the flags out of words; returns the arguments, and whether one of them ended the flags."""
    args: list[str] = []
    index, count = 0, len(words)
    while index < count:
        word = words[index]
        index += 1
        if word == "--":
            return args + words[index:], False
        # "-" and negative numbers are arguments.
        if word[:1] != "-" or not (word[1:2] == "-" or word[1:2].isalpha()):
            args.append(word)
            if stops:
                return args + words[index:], True
            continue
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        into = values
        option = table.get(name)
        if option is None:
            option, into = further.get(name), common
        if option is None:
            # -td is -t -d, when no flag is called "td".
            group = [table.get(letter) for letter in name] if word[1] != "-" and len(name) > 1 else []
            if not group or not all(group) or any(one.kind != FLAG for one in group[:-1] if one):
                candidates = tuple(table) + tuple(further)
                raise UsageError(
                    f"unknown flag {word.partition('=')[0]}{_likely(name, candidates, '--')}", verb
                )
            for one in group[:-1]:
                if one:
                    _put(one, "true", values, verb)
            option, into = group[-1], values
            assert option is not None
        if option.kind == FLAG:
            _put(option, value if equals else "true", into, verb)
            continue
        if not equals:
            if index == count:
                raise UsageError(f"--{option.name} needs a value: --{option.name} {option.value}", verb)
            value = words[index]
            index += 1
        _put(option, value, into, verb)
    return args, False


def _put(option: Option, value: str, values: "dict[str, Any]", verb: str) -> None:
    key = option.name.replace("-", "_")
    kind = option.kind
    if kind == FLAG:
        if value not in _YES and value not in _NO:
            raise UsageError(f"--{option.name}={value}: a flag is either true or false", verb)
        values[key] = value in _YES
    elif kind == TEXT:
        # runc takes the boolean spellings of --rootless as well.
        if option.name == "rootless" and (value in _YES or value in _NO):
            value = "true" if value in _YES else "false"
        if option.choices and value not in option.choices:
            raise UsageError(f"--{option.name} {value}: it is one of {', '.join(option.choices)}", verb)
        values[key] = value
    elif kind == TEXTS:
        values[key].append(value)
    else:
        try:
            number = int(value, 0)
        except ValueError:
            raise UsageError(f"--{option.name} {value}: it takes a number", verb) from None
        if number < 0:
            raise UsageError(f"--{option.name} {value}: it takes no negative number", verb)
        if kind == NUMBER:
            values[key] = number
        else:
            values[key].append(number)


def _count(verb: Verb, args: list[str]) -> None:
    given = len(args)
    if given < verb.least:
        what = verb.arguments.split()[given]
        raise UsageError(f"{what} is missing", verb.name)
    if verb.most is not None and given > verb.most:
        extra = args[verb.most]
        takes = (
            "no argument" if not verb.most else f"no argument after {verb.arguments.split()[verb.most - 1]}"
        )
        raise UsageError(f"{extra!r} is one too many: it takes {takes}", verb.name)


def _likely(word: str, names: tuple[str, ...], prefix: str = "") -> str:
    """A suggestion for a misspelt word, or ""."""
    from difflib import get_close_matches

    matches = get_close_matches(word, [name for name in names if len(name) > 1], 1)
    return f"; did you mean {prefix}{matches[0]}?" if matches else ""
