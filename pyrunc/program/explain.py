"""Programs and failures as a person reads them: lines like strace's, and the sentence of an error.

`plan` prints programs with it, and a failed step becomes a message with a remedy here. Pure, and
imported only for that: the verbs that go well do without.
"""

from posix import strerror

from pyrunc.linux import flags as f
from pyrunc.linux.scheduling import IOPRIO_CLASS_SHIFT, IOPRIO_CLASSES
from pyrunc.program.calls import CALLS, CONTROLS
from pyrunc.program.model import Data, Program, Scratch, Slot, Step
from pyrunc.program.names import CAPABILITY_NAMES, ENUMERATIONS, errno_name, flags, text
from pyrunc.program.remedies import remedy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Argument = int | str | bytes | Slot | Data | Scratch

def _capabilities(mask: int) -> str:
    """A set of capabilities, by those that are missing where that is shorter."""
    names = [CAPABILITY_NAMES.get(bit, str(bit)) for bit in range(mask.bit_length()) if mask >> bit & 1]
    return "|".join(names) or "0"


def _limit(value: int) -> str:
    return "RLIM_INFINITY" if value == 2**64 - 1 else str(value)


def _named(**fields: str) -> str:
    return "{" + ", ".join(f"{name}={value}" for name, value in fields.items() if value) + "}"


def _open_how(fields: "tuple[Any, ...]") -> str:
    how, mode, resolve = fields
    return _named(
        flags=flags("OPEN", how), mode=f"0{mode:o}" if mode else "",
        resolve=flags("RESOLVE", resolve) if resolve else "",
    )


def _mount_attr(fields: "tuple[Any, ...]") -> str:
    set_, clear, propagation = fields
    cleared = clear
    names = "MOUNT_ATTR__ATIME" if clear & f.MOUNT_ATTR__ATIME == f.MOUNT_ATTR__ATIME else ""
    if names:
        cleared &= ~f.MOUNT_ATTR__ATIME
        names += "|" + flags("MOUNT_ATTR", cleared) if cleared else ""
    else:
        names = flags("MOUNT_ATTR", cleared) if cleared else ""
    return _named(
        attr_set=flags("MOUNT_ATTR", set_) if set_ else "", attr_clr=names,
        propagation=flags("MS", propagation) if propagation else "",
    )


def _sched_attr(fields: "tuple[Any, ...]") -> str:
    policy, names, nice, priority, runtime, deadline, period = fields
    return _named(
        sched_policy=policy, sched_flags=names, sched_nice=nice, sched_priority=priority,
        sched_runtime=runtime, sched_deadline=deadline, sched_period=period,
    )


def _io_priority(value: int) -> str:
    names = {number: name for name, number in IOPRIO_CLASSES.items()}
    number = value >> IOPRIO_CLASS_SHIFT
    return f"{names.get(number, number)}, {value & (1 << IOPRIO_CLASS_SHIFT) - 1}"


def _vector(fields: "tuple[Any, ...]") -> str:
    return "[" + ", ".join(text(string) for string in fields) + "]"


_FORMATTERS: "dict[str, Callable[[tuple[Any, ...]], str]]" = {
    "open_how": _open_how,
    "mount_attr": _mount_attr,
    "clone_args": lambda fields: _named(flags=flags("CLONE", fields[0])),
    "argv": _vector,
    "envp": lambda fields: f"[{len(fields)} variables]" if len(fields) != 1 else "[1 variable]",
    "sock_fprog": lambda fields: f"{{{fields[0]} instructions}}",
    "capability_header": lambda fields: f"{{version={fields[0]}, pid=0}}",
    "capabilities": lambda fields: _named(
        effective=_capabilities(fields[0]), permitted=_capabilities(fields[1]),
        inheritable=_capabilities(fields[2]),
    ),
    "rlimit": lambda fields: _named(rlim_cur=_limit(fields[0]), rlim_max=_limit(fields[1])),
    "groups": lambda fields: "[" + ", ".join(map(str, fields)) + "]",
    "sched_attr": _sched_attr,
    "cpu_set": lambda fields: f"[{fields[0]}]",
    "nodemask": lambda fields: f"[{fields[0]}]",
}


def _data(data: Data) -> str:
    formatter = _FORMATTERS.get(data.kind)
    if formatter is not None:
        return formatter(data.fields)
    shown = ", ".join(
        text(field) if isinstance(field, bytes) else str(field) for field in data.fields
    )
    return f"{data.kind}{{{shown}}}"


def _number(call: str, kind: str, value: int, before: "tuple[Argument, ...]") -> str:
    if kind == "dirfd":
        return "AT_FDCWD" if value == f.AT_FDCWD else str(value)
    if kind == "errno":
        return errno_name(value)
    if kind == "oct":
        return f"0{value:o}" if value else "0"
    if kind == "dev":
        # The kernel's encoding of a device number (include/linux/kdev_t.h).
        return f"makedev({value >> 8 & 0xFFF}, {value & 0xFF | value >> 12 & 0xFFF00})"
    if kind == "str":
        return "NULL" if value == 0 else str(value)
    if kind == "ioprio":
        return f"IOPRIO_PRIO_VALUE({_io_priority(value)})"
    if kind in _FORMATTERS or kind == "data":
        if call == "ioctl" and before[1] == f.IOCTL_TIOCGPTPEER:
            return flags("OPEN", value)
        return "NULL" if value == 0 and call != "ioctl" else str(value)
    if call == "faccessat2" and kind == "AT" and value & f.AT_EACCESS:
        rest = value & ~f.AT_EACCESS
        return "AT_EACCESS" + ("|" + flags("AT", rest) if rest else "")
    if call == "prctl" and kind == "int":
        return _prctl_value(before, value)
    if call == "dup3" and kind == "OPEN" and not value:
        return "0"
    if call == "close_range" and value == 0xFFFFFFFF:
        return "~0U"
    return flags(kind, value) if kind.isupper() else str(value)


def _prctl_value(before: "tuple[Argument, ...]", value: int) -> str:
    option, position = before[0], len(before)
    if option == f.PR_CAPBSET_DROP and position == 1:
        return CAPABILITY_NAMES.get(value, str(value))
    if option == f.PR_CAP_AMBIENT and position == 1:
        ambient = {
            f.PR_CAP_AMBIENT_RAISE: "PR_CAP_AMBIENT_RAISE",
            f.PR_CAP_AMBIENT_CLEAR_ALL: "PR_CAP_AMBIENT_CLEAR_ALL",
        }
        return ambient.get(value, str(value))
    if option == f.PR_CAP_AMBIENT and position == 2 and before[1] == f.PR_CAP_AMBIENT_RAISE:
        return CAPABILITY_NAMES.get(value, str(value))
    return str(value)


def argument(call: str, kind: str, arg: "Argument", before: "tuple[Argument, ...]") -> str:
    """One argument; before are those in front of it, which may give it its meaning."""
    if isinstance(arg, Slot):
        return repr(arg)
    if isinstance(arg, (str, bytes)):
        return text(arg)
    if isinstance(arg, Data):
        return _data(arg)
    if isinstance(arg, Scratch):
        return f"buffer+{arg.offset}" if arg.offset else "buffer"
    return _number(call, kind, arg, before)


def _kinds(call: str) -> tuple[str, ...]:
    entry = CALLS.get(call) or CONTROLS.get(call)
    return entry[1] if entry else ()


def _arguments(step: Step) -> list[str]:
    kinds = _kinds(step.call)
    shown = []
    for i, arg in enumerate(step.args):
        kind = kinds[i] if i < len(kinds) else "int"
        if kind == "size" and i and isinstance(step.args[i - 1], Data):
            continue  # the size of a structure tells a reader nothing
        shown.append(argument(step.call, kind, arg, step.args[:i]))
    return shown


_COMPARISONS = ("expect", "refuse")


def _expectation(step: Step) -> str:
    args: tuple[Any, ...] = step.args
    scratch, width, mask, value, errno = args
    place = f"buffer[{scratch.offset}:{scratch.offset + width}]"
    full = (1 << 8 * width) - 1
    relation = "==" if step.call == "expect" else "!="
    if mask & full != full:
        return f"{step.call}({place} & 0{mask & full:o} {relation} 0{value:o}, else {errno_name(errno)})"
    shown = text(bytes((value,))) if width == 1 and 0x20 <= value < 0x7F else hex(value)
    return f"{step.call}({place} {relation} {shown}, else {errno_name(errno)})"


def line(step: Step) -> str:
    """A step like strace shows it: `openat2(%rootfs, "dev", {…}) = %dev  [ENOENT: go on]`."""
    if step.call in ("if_ok", "if_failed") and step.args:
        return f"{step.call}({step.args[0]!r}):"
    try:
        compares = step.call in _COMPARISONS
        shown = _expectation(step) if compares else f"{step.call}({', '.join(_arguments(step))})"
    except (TypeError, ValueError, IndexError, AttributeError):
        # verify describes with this what it refuses, and that may be anything.
        shown = f"{step.call}({', '.join(map(repr, step.args))})"
    if step.call == "sync" and step.note:
        shown += f": {step.note}"
    if step.out is not None:
        shown += f" = {step.out!r}"
    if step.tolerate:
        shown += f"  [{', '.join(errno_name(number) for number in step.tolerate)}: go on]"
    return shown


def depths(program: Program) -> list[int]:
    """How many conditions each step is in."""
    ends: list[int] = []
    result = []
    for index, step in enumerate(program.steps):
        ends = [end for end in ends if end > index]
        result.append(len(ends))
        if step.call in ("if_ok", "if_failed") and isinstance(step.args[1], int):
            ends.append(index + 1 + step.args[1])
    return result


def lines(program: Program, pointers: bool = True) -> list[str]:
    """The program for people: phases as headings, steps by number, each with the key that asked."""
    rows = []
    for index, (step, depth) in enumerate(zip(program.steps, depths(program), strict=True)):
        rows.append((step, f"{index:5}  {'  ' * depth}{line(step)}"))
    column = min(max((len(row) for _, row in rows), default=0), 100)
    result: list[str] = []
    phase = None
    for step, row in rows:
        if step.phase != phase:
            phase = step.phase
            result += [""] * bool(result) + [f"{phase or 'program'}:"]
        result.append(f"{row:{column}}  {step.origin}" if pointers and step.origin else row)
    return result


def _structured(arg: "Argument") -> object:
    if isinstance(arg, Slot):
        return {"slot": arg.name}
    if isinstance(arg, Scratch):
        return {"buffer": arg.offset}
    if isinstance(arg, Data):
        return {"data": arg.kind, "fields": [_plain(field) for field in arg.fields]}
    return _plain(arg)


def _plain(value: object) -> object:
    """A value that JSON has: bytes that are not UTF-8 become what a text shows for them."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return value if isinstance(value, int) else str(value)


def document(program: Program) -> "dict[str, Any]":
    """The program for `plan --format json`.

    Each step has its index, phase, call, text (as `line`), arguments (what the text shows) and
    values (as data), the slot of its result or null, tolerated errnos by name, its JSON pointer,
    note, and depth (the number of conditions around it).
    """
    steps = []
    for index, (step, depth) in enumerate(zip(program.steps, depths(program), strict=True)):
        kinds = _kinds(step.call)
        steps.append({
            "index": index,
            "phase": step.phase,
            "call": step.call,
            "text": line(step),
            "arguments": [
                _plain(argument(step.call, kind, arg, step.args[:i]))
                for i, (kind, arg) in enumerate(zip(kinds, step.args, strict=False))
            ],
            "values": [_structured(arg) for arg in step.args],
            "result": None if step.out is None else step.out.name,
            "tolerates": [errno_name(number) for number in step.tolerate],
            "pointer": step.origin,
            "note": step.note,
            "depth": depth,
        })  # fmt: skip
    return {
        "inherited": list(program.inherited),
        "warnings": [{"pointer": pointer, "text": warning} for pointer, warning in program.warnings],
        "steps": steps,
    }


# -- failures -----------------------------------------------------------------


def _short(step: Step) -> str:
    """The call with what tells it apart: names, strings and enumerations, else its descriptors."""
    if step.call == "execve":
        return f"exec {text(_string(step.args[0]))}"
    kinds = _kinds(step.call)
    telling, others = [], []
    for i, (kind, arg) in enumerate(zip(kinds, step.args, strict=False)):
        if isinstance(arg, (str, bytes)):
            if arg:
                telling.append(text(arg))
        elif isinstance(arg, Slot):
            others.append(repr(arg))
        elif isinstance(arg, int) and (kind in ENUMERATIONS or kind == "CLONE"):
            telling.append(flags(kind, arg))
        elif isinstance(arg, int) and step.call == "prctl" and arg:
            telling.append(_prctl_value(step.args[:i], arg))
        elif isinstance(arg, Data) and arg.kind == "clone_args":
            telling.append(_data(arg))
    return f"{step.call}({', '.join(telling or others)})"


def _string(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _note(note: str) -> str:
    """A note after a call: "for /dev/shm" goes on the sentence, anything else is set apart."""
    if not note:
        return ""
    if note.startswith("/"):
        return f" for {note}"
    return f" {note}" if note.startswith(("for ", "of ", "on ", "to ", "from ", "in ")) else f": {note}"


def _sentence(parts: "Iterable[str]") -> str:
    return ": ".join(part for part in parts if part)


def _hook(step: Step, value: int, output: str) -> str:
    """The failure of a hook: value is a negative errno, or the hook's wait status."""
    path = text(_string(step.args[0]))
    limit = step.args[5] if len(step.args) > 5 else 0
    if value > 0 and value & 0x7F:
        reason = f"was killed by signal {value & 0x7F}"
    elif value > 0:
        reason = f"failed with exit status {value >> 8}"
    elif errno_name(-value) == "ETIMEDOUT" and isinstance(limit, int):
        reason = f"did not end within {limit / 1000:g} s and was killed; raise its timeout or mend it"
    else:
        reason = f"could not run: {strerror(-value)} ({errno_name(-value)}): {remedy('hook', -value, step)}"
    return _sentence((f"the hook {path} {reason}".rstrip(": "), output.strip()))


def failure(step: Step, errno: int, value: int, output: str) -> str:
    """The sentence for a step that failed, without its pointer.

    errno is positive; value is the step's result, which for a hook may be a wait status; output
    is what a hook wrote.
    """
    if step.call == "hook":
        return _hook(step, value, output)
    reason = f"{strerror(errno)} ({errno_name(errno)})"
    if step.call == "fail":
        return step.note or reason
    if step.call == "copy_up":
        what = f"tmpcopyup cannot copy {text(output)}" if output else "tmpcopyup cannot copy the directory"
        return _sentence((what + _note(step.note), reason, remedy("copy_up", errno, step)))
    # Of what is executed, engines look for the C library's words in lower case.
    lower = reason[0].lower() + reason[1:]
    if step.call in _COMPARISONS:
        return _sentence((step.note or line(step), lower if step.note.startswith("exec ") else reason))
    if step.call in ("execve", "faccessat2"):
        path = text(_string(step.args[0 if step.call == "execve" else 1]))
        return _sentence((f"exec {path}", lower, remedy("execve", errno, step)))
    return _sentence((_short(step) + _note(step.note), reason, remedy(step.call, errno, step)))
