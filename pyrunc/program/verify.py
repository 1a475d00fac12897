"""What has to be true of every program before init may run it.

`verify` walks a program once and raises on the first step that breaks a rule: how the root file
system is reached before the pivot, what must be gone after it, what may be written to /proc, in
which order privileges are given up, and how slots are used. It trusts nothing of what `compile`
meant; a violation is a bug of pyrunc. It runs at every create, so it does no more than one pass.
"""

from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.calls import CALLS, CONTROLS
from pyrunc.program.model import Data, Program, Scratch, Slot, Step
from pyrunc.program.rules import RULES
from pyrunc.program.walk import INHERITED, INSIDE, OPEN, ROOT, ROOTFS, Walk, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_INHERITED, MAX_TOLERATED = 32, 8

# The calls between the filter and execve: the filter has to allow all that come after it.
_AFTER_FILTER = frozenset(("seccomp", "capset", "execve", "fail", "exit", "if_ok", "if_failed"))

# -- what the kinds of `calls` mean for an argument ----------------------------

_DESCRIPTOR = frozenset((Slot, int))
_TEXT = frozenset((str, bytes))
_CLASSES: dict[str, frozenset[type]] = {
    "fd": _DESCRIPTOR,
    "dirfd": frozenset((Slot, int)),
    "slot": frozenset((Slot,)),
    "path": _TEXT,
    "name": _TEXT,
    "str": frozenset((str, bytes, int, Slot)),
    "scratch": frozenset((Scratch,)),
    "store data": frozenset((Data,)),
}
_CLASSES.update(
    dict.fromkeys(("open_how", "mount_attr", "clone_args", "argv", "envp"), frozenset((Data,)))
)
_CLASSES.update(
    dict.fromkeys(
        ("data", "rlimit", "sock_fprog", "bpf_attr", "cpu_set", "nodemask", "sched_attr"),
        frozenset((Data, Scratch, int, Slot)),
    )
)
_NUMBER = frozenset((int, Slot))
_STRING = _CLASSES["str"]  # or NULL, or for keyctl a number
# The flags that allow an empty path, by (call, position of the path); and where the flags are.
_EMPTY: dict[tuple[str, int], tuple[int, int]] = {
    ("move_mount", 1): (4, f.MOVE_MOUNT_F_EMPTY_PATH),
    ("move_mount", 3): (4, f.MOVE_MOUNT_T_EMPTY_PATH),
    ("fspick", 1): (2, f.FSPICK_EMPTY_PATH),
}
_FLAG_KINDS = ("AT", "OPEN_TREE")

_Path = tuple[int, int, bool, int, int]
_Entry = tuple[list[frozenset[type]], list[_Path], int, "Callable[[Walk, Step], None]"]


def _entry(call: str, kinds: tuple[str, ...]) -> "_Entry":
    """The table entry of a call: classes of its arguments, its paths, its data's size, its rule."""
    classes = [_CLASSES.get(kind, _NUMBER) for kind in kinds]
    paths = []
    for i, kind in enumerate(kinds[1:], 1):
        if kind not in ("path", "name"):
            continue
        dirfd = i - 1 if kinds[i - 1] == "dirfd" else -1
        if dirfd < 0:
            continue
        flags = next((j for j, k in enumerate(kinds) if k in _FLAG_KINDS), -1)
        flags, bit = _EMPTY.get((call, i), (flags, f.AT_EMPTY_PATH))
        paths.append((dirfd, i, kind == "name", flags, bit))
    size = kinds.index("size") if "size" in kinds else -1
    return classes, paths, size, RULES.get(call, status)


_CALLS: dict[str, _Entry] = {
    call: _entry(call, kinds) for table in (CONTROLS, CALLS) for call, (_, kinds) in table.items()
}
_STRUCTURES = frozenset(("open_how", "mount_attr", "clone_args"))


def _check_data(walk: Walk, step: Step, size: int) -> None:
    """The size that a call is told is that of the data before it."""
    args: tuple[Any, ...] = step.args
    if len(args) <= size:
        walk.bad("the size is missing")
    data, length = args[size - 1], args[size]
    kind = (CALLS.get(step.call) or CONTROLS[step.call])[1][size - 1]
    if isinstance(data, Data):
        if kind in _STRUCTURES and data.kind != kind:
            walk.bad(f"the data is no {kind}")
        room = len(data.payload)
    elif isinstance(data, Scratch):
        room = 4096 - data.offset
    elif isinstance(data, str):
        room = len(data) if data.isascii() else len(data.encode("utf-8", "surrogateescape"))
    elif isinstance(data, bytes):
        room = len(data)
    else:
        return
    if not 0 <= length <= room:
        walk.bad("the size is beyond the data")


def _check_tolerated(walk: Walk, errnos: tuple[int, ...]) -> None:
    if len(errnos) > MAX_TOLERATED or not all(0 < errno < 256 for errno in errnos):
        walk.bad(f"at most {MAX_TOLERATED} errnos below 256 can be tolerated")


def _inherit(walk: Walk) -> None:
    inherited = walk.program.inherited
    for name, slot in inherited.items():
        if not 0 <= slot.index < MAX_INHERITED:
            raise Error(f"bug of pyrunc: the inherited {name} is beyond the first {MAX_INHERITED} slots")
        walk.state[slot.index] = OPEN
        walk.lineage[slot.index] = INHERITED | (ROOT | INSIDE if name == ROOTFS else 0)
        walk.holder[slot.index] = slot
    if len({slot.index for slot in inherited.values()}) != len(inherited):
        raise Error("bug of pyrunc: two inherited descriptors have the same slot")


def verify(program: Program) -> None:
    """Raises `Error`, with the step's number, line and pointer, for a program that breaks a rule."""
    walk = Walk(program)
    _inherit(walk)
    use = walk.use
    for index, step in enumerate(program.steps):
        walk.index = index
        if index == walk.end:
            walk.leave_blocks()
        walk.step = step
        walk.stopped = False
        call = step.call
        entry = _CALLS.get(call)
        if entry is None:
            raise Error(f"bug of pyrunc: step {index}: there is no call {call}", pointer=step.origin)
        if walk.filter >= 0 and call not in _AFTER_FILTER:
            walk.bad("the filter would have to allow this call; it comes before the filter")
        if call == "if_ok" or call == "if_failed":
            walk.enter_block(step)
            continue
        classes, paths, size, rule = entry
        args: tuple[Any, ...] = step.args
        if len(args) > len(classes):
            walk.bad("there are too many arguments")
        for arg, allowed in zip(args, classes):  # noqa: B905
            cls = arg.__class__
            if cls not in allowed:
                walk.bad(f"an argument is {cls.__name__}, which the call does not take")
            if cls is Slot:
                use(arg, allowed is _NUMBER or allowed is _STRING)
            elif cls is int and allowed is _DESCRIPTOR and not 0 <= arg <= 2:
                walk.bad("a descriptor has to be in a slot")
        if step.tolerate:
            _check_tolerated(walk, step.tolerate)
        if size >= 0:
            _check_data(walk, step, size)
        for at, path_at, name, flags_at, bit in paths:
            flags = args[flags_at] if 0 <= flags_at < len(args) else 0
            walk.path(step, args[at], args[path_at], name, flags, bit)
        rule(walk, step)
    walk.index = len(program.steps)
    stopped = walk.stopped and walk.end != walk.index
    if walk.blocks:
        walk.leave_blocks()
    if walk.executed and not stopped:
        walk.bad("the program goes past its end")
