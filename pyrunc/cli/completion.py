"""Completion for bash, zsh and fish, made from the table of verbs and flags.

The scripts know the flags by themselves and ask pyrunc only for the ids of containers.
"""

from pyrunc.cli.options import FLAG, GLOBAL, HELP, VERBS, Option, Verb
from pyrunc.cli.usage import remark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# What a placeholder stands for.
_FILES = ("FILE", "SOCKET")
_DIRECTORIES = ("DIR",)

_NOTICE = "# Written by `python -m pyrunc.cli.manual --completion {}`.\n"


def bash() -> str:
    """A script for bash-completion's directory, as `pyrunc`."""
    verbs = "\n".join(_bash_verb(verb) for verb in VERBS.values())
    return f"""\
{_NOTICE.format("bash")}
_pyrunc_ids() {{
    COMPREPLY=($(compgen -W "$(pyrunc "${{root[@]}}" list --quiet 2>/dev/null)" -- "$cur"))
}}

_pyrunc() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}}
    local verb= word valued="{_valued(GLOBAL)}" first= index
    local -a root=()
    COMPREPLY=()
    # The verb is the first word that is neither a flag nor a flag's value; so is an argument after it.
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${{COMP_WORDS[index]}}
        if [[ " $valued " == *" $word "* ]]; then
            [[ $word == --root ]] && root=(--root "${{COMP_WORDS[index + 1]}}")
            ((index++))
        elif [[ $word != -* && -z $verb ]]; then
            verb=$word
            case $verb in
{_bash_cases(lambda verb: f'valued="$valued {_valued(verb.options)}"')}
            esac
        elif [[ $word != -* && -z $first ]]; then
            first=$word
        fi
    done
    if [[ -z $verb ]]; then
        case $prev in
{_bash_values(GLOBAL)}
        esac
        COMPREPLY=($(compgen -W "{" ".join(VERBS)} help {_spelt(GLOBAL)}" -- "$cur"))
        return
    fi
    case $verb in
{verbs}
    help) COMPREPLY=($(compgen -W "{" ".join(VERBS)}" -- "$cur")) ;;
    esac
}}

complete -o filenames -F _pyrunc pyrunc
"""


def _bash_cases(body: "Callable[[Verb], str]") -> str:
    return "\n".join(f"            {verb.name}) {body(verb)} ;;" for verb in VERBS.values() if verb.options)


def _bash_values(options: "Iterable[Option]") -> str:
    lines = []
    for option in _shown(options):
        names = "|".join(_names(option))
        if option.choices:
            action = f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur"))'
        elif option.value in _DIRECTORIES:
            action = 'COMPREPLY=($(compgen -d -- "$cur"))'
        elif option.value in _FILES:
            action = 'COMPREPLY=($(compgen -f -- "$cur"))'
        elif option.kind != FLAG:
            action = "COMPREPLY=()"
        else:
            continue
        lines.append(f"        {names}) {action}; return ;;")
    return "\n".join(lines)


def _bash_verb(verb: Verb) -> str:
    options = (*verb.options, HELP)
    values = _bash_values(verb.options)
    choose = f"        case $prev in\n{values}\n        esac\n" if values else ""
    arguments = ":"
    if verb.arguments.startswith("ID") and verb.name not in ("create", "run"):
        arguments = "_pyrunc_ids"
    elif verb.arguments.startswith("["):
        arguments = 'COMPREPLY=($(compgen -f -- "$cur"))'
    after = ":"
    if verb.name == "kill":
        after = f'COMPREPLY=($(compgen -W "{" ".join(_signals())}" -- "$cur"))'
    return f"""\
    {verb.name})
{choose}        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "{_spelt(options)}" -- "$cur"))
        elif [[ -z $first ]]; then
            {arguments}
        else
            {after}
        fi
        ;;"""


def zsh() -> str:
    """A function for a directory in $fpath, as `_pyrunc`."""
    cases = "\n".join(_zsh_verb(verb) for verb in VERBS.values())
    verbs = "\n".join(f"        {_zsh_quoted(f'{verb.name}:{verb.summary}')}" for verb in VERBS.values())
    return f"""\
#compdef pyrunc
{_NOTICE.format("zsh")}
_pyrunc_ids() {{
    local -a ids root
    [[ -n ${{opt_args[--root]}} ]] && root=(--root ${{opt_args[--root]}})
    ids=(${{(f)"$(_call_program ids pyrunc $root list --quiet 2>/dev/null)"}})
    compadd -a ids
}}

_pyrunc() {{
    local curcontext=$curcontext state line
    typeset -A opt_args
    local -a verbs
    verbs=(
{verbs}
        'help:explain a verb'
    )
    _arguments -C \\
{_zsh_options(GLOBAL)}
        '1:verb:->verb' \\
        '*::argument:->argument'
    case $state in
    verb) _describe verb verbs ;;
    argument)
        case $line[1] in
{cases}
        help) _describe verb verbs ;;
        esac
        ;;
    esac
}}

_pyrunc "$@"
"""


def _zsh_verb(verb: Verb) -> str:
    if verb.name == "exec":
        arguments = "'1:id:_pyrunc_ids' '*::command:_normal'"
    elif verb.name == "kill":
        arguments = f"'1:id:_pyrunc_ids' '2:signal:({' '.join(_signals())})'"
    elif verb.name in ("create", "run"):
        arguments = "'1:id:'"
    elif verb.arguments.startswith("ID"):
        arguments = "'1:id:_pyrunc_ids'"
    elif verb.arguments:
        arguments = "'1:bundle:_files'"
    else:
        arguments = ""
    options = _zsh_options((*verb.options, HELP), 16)
    return f"""\
        {verb.name})
            _arguments \\
{options}
                {arguments}
            ;;"""


def _zsh_options(options: "Iterable[Option]", indent: int = 8) -> str:
    lines = []
    for option in _shown(options):
        names = _names(option)
        text = remark(option).replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
        if option.choices:
            value = f":{option.value}:({' '.join(option.choices)})"
        elif option.value in _DIRECTORIES:
            value = f":{option.value}:_files -/"
        elif option.value in _FILES:
            value = f":{option.value}:_files"
        elif option.kind != FLAG:
            value = ":" + option.value.replace("[", "").replace("]", "").replace(":", " ") + ":"
        else:
            value = ""
        equals = "=" if value else ""
        if option.many:
            spelt = [f"*{name}{equals if name.startswith('--') else ''}" for name in names]
        else:
            spelt = [f"({' '.join(names)}){name}{equals if name.startswith('--') else ''}" for name in names]
        lines += [f"{' ' * indent}{_zsh_quoted(f'{name}[{text}]{value}')} \\" for name in spelt]
    return "\n".join(lines)


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_FISH_FUNCTIONS = """\
function __pyrunc_ids
    pyrunc list --quiet 2>/dev/null
end

# Whether there is a verb: the one that is wanted, or any.
function __pyrunc_verb --argument-names wanted
    set -l value 0
    for word in (commandline -opc)[2..]
        if test $value = 1
            set value 0
        else if contains -- $word VALUED
            set value 1
        else if not string match -q -- '-*' $word
            test -z "$wanted" -o "$wanted" = $word
            return
        end
    end
    return 1
end
"""


def fish() -> str:
    """A script for fish's directory of completions, as `pyrunc.fish`."""
    lines = [
        _NOTICE.format("fish"),
        _FISH_FUNCTIONS.replace("VALUED", _valued(GLOBAL)),
        "complete -c pyrunc -f",
    ]
    for option in _shown(GLOBAL):
        lines.append(f"complete -c pyrunc -n 'not __pyrunc_verb'{_fish_option(option)}")
    for verb in VERBS.values():
        summary = _fish_quoted(verb.summary)
        lines.append(f"complete -c pyrunc -n 'not __pyrunc_verb' -a {verb.name} -d {summary}")
    lines.append("complete -c pyrunc -n 'not __pyrunc_verb' -a help -d 'explain a verb'")
    lines.append(f"complete -c pyrunc -n '__pyrunc_verb help' -a '{' '.join(VERBS)}'")
    for verb in VERBS.values():
        when = f"complete -c pyrunc -n '__pyrunc_verb {verb.name}'"
        lines += [f"{when}{_fish_option(option)}" for option in _shown((*verb.options, HELP))]
        if verb.arguments.startswith("ID") and verb.name not in ("create", "run"):
            lines.append(f"{when} -a '(__pyrunc_ids)'")
        elif verb.arguments.startswith("["):
            lines.append(f"{when} -F")
        if verb.name == "kill":
            lines.append(f"{when} -a '{' '.join(_signals())}'")
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    text = f" -l {option.name}" + (f" -s {option.short}" if option.short else "")
    if option.choices:
        text += f" -x -a '{' '.join(option.choices)}'"
    elif option.value in _DIRECTORIES:
        text += " -x -a '(__fish_complete_directories)'"
    elif option.value in _FILES:
        text += " -r -F"
    elif option.kind != FLAG:
        text += " -x"
    return f"{text} -d {_fish_quoted(option.help)}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _shown(options: "Iterable[Option]") -> list[Option]:
    return [option for option in options if not option.hidden]


def _names(option: Option) -> list[str]:
    return [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]


def _spelt(options: "Iterable[Option]") -> str:
    return " ".join(name for option in _shown(options) for name in _names(option))


def _valued(options: "Iterable[Option]") -> str:
    """The flags whose value is the next word."""
    return _spelt(option for option in options if option.kind != FLAG)


def _signals() -> list[str]:
    from pyrunc.linux.signals import NAMES

    return [name.removeprefix("SIG") for name in NAMES]


SHELLS: "dict[str, Callable[[], str]]" = {"bash": bash, "zsh": zsh, "fish": fish}
