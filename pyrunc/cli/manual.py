"""Writes the manual page and the shell completions from the table of verbs and flags.

python -m pyrunc.cli.manual                     docs/man/pyrunc.8, on stdout
python -m pyrunc.cli.manual --completion bash   (or zsh, or fish)
"""

import sys

import pyrunc
from pyrunc.cli import completion
from pyrunc.cli.options import GLOBAL, VERBS, Option, Verb
from pyrunc.cli.usage import remark

_INTRODUCTION = """\
.B pyrunc
creates, starts, signals and deletes containers that are described by OCI bundles: directories with a
.B config.json
and a root file system. It compiles
.B config.json
to a list of system calls, which a tiny static executable runs; the verb
.B plan
prints that list. Verbs, flags and exit statuses are those of
.BR runc (8),
so that engines can use either."""

_REMARKS = """\
Flags are spelt \\-\\-flag VALUE or \\-\\-flag=VALUE, with one dash or two. Short flags without a value may be
grouped, as in \\-td. They may stand before and after the arguments, and global flags after the verb too;
for
.B exec
and
.B ps
the first argument ends the flags. So does \\-\\-."""

_STATUS = (
    ("0", "The verb did what it was asked for."),
    ("1", "It failed, or the command line is wrong; stderr and the log say why."),
    ("3", "There is no such verb."),
    ("130", "It was interrupted."),
    ("255", "exec could not run the command."),
    ("other", "Foreground run and exec: the status of the process, or 128 and the signal that ended it."),
)

_FILES = (
    ("/run/pyrunc/ID/state.json", "What pyrunc knows about a container."),
    ("$XDG_RUNTIME_DIR/pyrunc", "The same, for an ordinary user."),
)

_EXAMPLES = (
    (
        "Make a bundle with a root file system to try, and look around in it:",
        ("mkdir bundle && cd bundle", "pyrunc spec \\-\\-rootfs", "pyrunc run first"),
    ),
    (
        "The same in two steps, as engines do it:",
        ("pyrunc create \\-\\-bundle bundle \\-\\-console\\-socket tty.sock second", "pyrunc start second"),
    ),
    ("See what it would do, and check a configuration:", ("pyrunc plan bundle", "pyrunc validate bundle")),
)


def page() -> str:
    """The manual page in man(7)'s macros."""
    lines = [
        f'.TH PYRUNC 8 "" "pyrunc {pyrunc.__version__}" "System Administration"',
        ".SH NAME",
        "pyrunc \\- an OCI container runtime",
        ".SH SYNOPSIS",
        ".B pyrunc",
        "[\\fIGLOBAL OPTION\\fR...] \\fIVERB\\fR [\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]",
        ".SH DESCRIPTION",
        _INTRODUCTION,
        ".PP",
        _REMARKS,
        ".SH GLOBAL OPTIONS",
        *(line for option in GLOBAL for line in _option(option)),
        ".SH VERBS",
        *(line for verb in VERBS.values() for line in _verb(verb)),
        ".SS help [\\fIVERB\\fR]",
        "Explains a verb, as does \\-\\-help after it.",
        ".SH EXIT STATUS",
        *(line for status, text in _STATUS for line in (".TP", f".B {status}", _escaped(text))),
        ".SH FILES",
        *(line for name, text in _FILES for line in (".TP", f".I {_escaped(name)}", _escaped(text))),
        ".SH EXAMPLES",
    ]
    for text, commands in _EXAMPLES:
        lines += [_escaped(text), ".PP", ".in +4n", ".nf", *commands, ".fi", ".in", ".PP"]
    lines += [".SH SEE ALSO", ".BR runc (8),", ".BR cgroups (7),", ".BR namespaces (7)"]
    return "\n".join(lines) + "\n"


def _verb(verb: Verb) -> list[str]:
    options = " [\\fIOPTION\\fR...]" if verb.options else ""
    arguments = f" {_escaped(verb.arguments)}" if verb.arguments else ""
    # `words` of pyrunc's own are bold.
    parts = _escaped(verb.text).split("`")
    text = "".join(f"\\fB{part}\\fR" if index % 2 else part for index, part in enumerate(parts))
    lines = [f".SS {verb.name}{options}{arguments}", text]
    for option in verb.options:
        lines += _option(option)
    return lines


def _option(option: Option) -> list[str]:
    if option.hidden:
        return []
    names = f"\\fB{_escaped('--' + option.name)}\\fR"
    if option.short:
        names += f", \\fB{_escaped('-' + option.short)}\\fR"
    if option.value:
        names += f" \\fI{_escaped(option.value)}\\fR"
    text = _escaped(remark(option))
    return [".TP", names, text[0].upper() + text[1:] + "."]


def _escaped(text: str) -> str:
    """Text for roff: dashes that can be copied, and no line that begins with a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in ("'", ".") else text


def main(argv: list[str]) -> int:
    """Prints what the arguments ask for; the exit status."""
    if not argv:
        sys.stdout.write(page())
        return 0
    if len(argv) == 2 and argv[0] == "--completion" and argv[1] in completion.SHELLS:
        sys.stdout.write(completion.SHELLS[argv[1]]())
        return 0
    sys.stderr.write(f"usage: python -m pyrunc.cli.manual [--completion {'|'.join(completion.SHELLS)}]\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
