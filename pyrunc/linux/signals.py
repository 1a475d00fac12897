"""Signals by name (signal(7)); the numbers are those of x86-64 and aarch64."""

from pyrunc.errors import Error

# fmt: off
_ORDER = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO", "PWR", "SYS",
)
# fmt: on

NAMES: dict[str, int] = {"SIG" + name: number for number, name in enumerate(_ORDER, 1)}
NAMES.update({"SIGIOT": NAMES["SIGABRT"], "SIGCLD": NAMES["SIGCHLD"], "SIGPOLL": NAMES["SIGIO"]})

# glibc keeps the kernel's first two real-time signals for itself.
RTMIN = 34
RTMAX = 64


def parse(text: str) -> int:
    """The number of a signal given as a number, or as a name in any case, with or without SIG.

    Real-time signals are RTMIN, RTMIN+N, RTMAX-N and RTMAX. 0 sends nothing and asks whether the
    process exists (kill(2)). Raises Error that says the likely one.
    """
    if text.isascii() and text.isdecimal():
        number = int(text)
        if number <= RTMAX:
            return number
        raise Error(f"there is no signal {text}: they go up to {RTMAX}")
    name = text.upper()
    if not name.startswith("SIG"):
        name = "SIG" + name
    if name in NAMES:
        return NAMES[name]
    for base, first, sign in (("SIGRTMIN", RTMIN, "+"), ("SIGRTMAX", RTMAX, "-")):
        offset = name.removeprefix(base)
        if offset == name:
            continue
        steps = offset[1:] if offset[:1] == sign else "" if offset else "0"
        if steps.isascii() and steps.isdecimal() and int(steps) <= RTMAX - RTMIN:
            return first + int(steps) if sign == "+" else first - int(steps)
        raise Error(f"there is no signal {text}: real-time signals are RTMIN to RTMIN+{RTMAX - RTMIN}")
    from difflib import get_close_matches

    matches = get_close_matches(name[3:], [known[3:] for known in NAMES], 1)
    hint = f"did you mean SIG{matches[0]}?" if matches else "`kill -l` lists them"
    raise Error(f"there is no signal {text!r}; {hint}")
