"""What each call of a program has to respect, and what it changes in the walk of `verify`.

One function for each call with a rule of its own, in the table RULES; the others have none but
that their arguments fit. Sources: the CVEs and man pages named where they matter.
"""

from pyrunc.linux import flags as f
from pyrunc.program import mount_rules
from pyrunc.program.model import Data, Scratch, Slot, Step
from pyrunc.program.walk import (
    ATTACHED,
    CLOSED,
    DEVPTS,
    DIRECTORY,
    HOST,
    INHERITED,
    INSIDE,
    PROC,
    PROVEN,
    ROOT,
    VALUE,
    Walk,
    status,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

COMMAND = 1  # the command channel's slot, which `wait` closes
_FROM_DIRECTORY = HOST | INSIDE | PROC | PROVEN
_CAP_SYS_ADMIN_BYTE, _CAP_SYS_ADMIN_BIT = 2, 0x20  # bit 21 of cap_user_data_t.effective


def _openat2(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    _opened(walk, step, args[0], args[1], args[2].fields[0], args[2].fields[2])


def _openat(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    directory, flags = args[0], args[2]
    plain = isinstance(directory, Slot) and walk.lineage[directory.index] & DEVPTS
    if not plain and not flags & f.O_NOFOLLOW and flags & (f.O_CREAT | f.O_EXCL) != f.O_CREAT | f.O_EXCL:
        walk.bad("the name may be a symbolic link; openat takes O_NOFOLLOW, or O_CREAT and O_EXCL")
    _opened(walk, step, args[0], args[1], flags, f.RESOLVE_NO_XDEV)


def _opened(
    walk: Walk, step: Step, dirfd: Slot | int, path: str | bytes, flags: int, resolve: int
) -> None:
    if not flags & f.O_CLOEXEC:
        walk.bad("the descriptor needs O_CLOEXEC")
    if isinstance(dirfd, Slot):
        lineage = walk.lineage[dirfd.index]
        crossing = not resolve & f.RESOLVE_NO_XDEV
        # What is mounted on a mount's directories need not be of its file system.
        if crossing and (lineage & (ATTACHED | HOST | ROOT) or not lineage & PROVEN):
            lineage &= ~PROVEN
        if lineage & ATTACHED and crossing:
            lineage |= INSIDE | PROC
        lineage &= _FROM_DIRECTORY
        if lineage & INSIDE and not lineage & PROVEN:
            lineage |= PROC
    elif walk.pivot:
        lineage = INSIDE | PROC | ATTACHED
    else:
        lineage = HOST
        if path[:6] in ("/proc", "/proc/", b"/proc", b"/proc/"):
            lineage |= PROC
    if flags & (f.O_PATH | f.O_DIRECTORY) or flags & 3 == f.O_RDONLY:
        lineage |= DIRECTORY
    walk.result(step, lineage)


def _ioctl(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if args[1] == f.IOCTL_TIOCGPTPEER:
        if not isinstance(args[2], int) or not args[2] & f.O_CLOEXEC:
            walk.bad("the descriptor needs O_CLOEXEC")
        walk.result(step, 0)
    else:
        status(walk, step)


def _socket(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if not args[1] & f.SOCK_CLOEXEC:
        walk.bad("the descriptor needs SOCK_CLOEXEC")
    walk.result(step, 0)


def _bpf(walk: Walk, step: Step) -> None:
    # The kernel opens what bpf(2) returns with O_CLOEXEC.
    if step.args[0] == f.BPF_PROG_LOAD:
        walk.result(step, 0)
    else:
        status(walk, step)


def _number(walk: Walk, step: Step) -> None:
    if step.out is None:
        walk.bad("the value has no slot")
    walk.fill(step.out, VALUE, 0)


def _close(walk: Walk, step: Step) -> None:
    slot = step.args[0]
    if isinstance(slot, Slot):
        walk.set(slot.index, CLOSED, walk.lineage[slot.index], slot)


def _dup3(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if isinstance(args[0], Slot) and walk.lineage[args[0].index] & DIRECTORY:
        walk.bad("a copy of a directory or mount would outlive its slot")
    if not 0 <= args[1] <= 2 and not args[2] & f.O_CLOEXEC:
        walk.bad("only standard input, output and error stay open without O_CLOEXEC")


def _write(walk: Walk, step: Step) -> None:
    slot = step.args[0]
    if isinstance(slot, Slot) and walk.lineage[slot.index] & (PROC | PROVEN) == PROC:
        walk.bad(
            "what is written to /proc goes through the program's own procfs, or a descriptor that "
            "fstatfs and expect have proven to be PROC_SUPER_MAGIC"
        )


def _fstatfs(walk: Walk, step: Step) -> None:
    slot, scratch = step.args
    if isinstance(slot, Slot) and isinstance(scratch, Scratch) and not step.tolerate:
        walk.scratch = ("fstatfs", scratch.offset, slot)
    else:
        walk.scratch = ("", 0, None)
    status(walk, step)


def _getcwd(walk: Walk, step: Step) -> None:
    scratch = step.args[0]
    assert isinstance(scratch, Scratch)
    walk.scratch = ("" if step.tolerate else "getcwd", scratch.offset, None)
    status(walk, step)


def _fills_scratch(walk: Walk, step: Step) -> None:
    walk.scratch = ("", 0, None)
    status(walk, step)


def _expect(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    scratch, width, mask, value, errno = args
    if not 1 <= width <= 8 or not 0 < errno < 4096:
        walk.bad("expect takes 1 to 8 bytes, and an errno that fails it")
    what, offset, slot = walk.scratch
    if scratch.offset == offset and not step.tolerate:
        if what == "getcwd" and mask & 0xFF == 0xFF and value & 0xFF == 0x2F and not walk.blocks:
            walk.cwd_proven = True
        elif what == "fstatfs" and width >= 4 and mask & 0xFFFFFFFF == 0xFFFFFFFF:
            assert slot is not None
            index = slot.index
            # In the container any file of a procfs can have been bound over another (CVE-2025-52881):
            # there the proof is of a directory, from which the file is opened with RESOLVE_NO_XDEV.
            tells = not walk.pivot or walk.lineage[index] & DIRECTORY
            if value == f.PROC_SUPER_MAGIC and walk.holder[index] is slot and tells:
                walk.set(index, walk.state[index], walk.lineage[index] | PROVEN, slot)
    status(walk, step)


def _store(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if not 1 <= args[3] <= 8 or args[1] < 0 or args[1] + args[3] > len(args[0].payload):
        walk.bad("the value is stored outside the data")
    if args[0].kind == "mount_attr":
        mount_rules.mapping(walk, step)


def _chdir(walk: Walk, step: Step) -> None:
    if not walk.pivot:
        walk.bad("before the pivot the working directory changes by descriptor only")
    walk.changed_directory(0)
    status(walk, step)


def _fchdir(walk: Walk, step: Step) -> None:
    slot = step.args[0]
    if not isinstance(slot, Slot):
        walk.bad("fchdir takes a slot")
    lineage = walk.lineage[slot.index]
    if not lineage & (INSIDE | ROOT) and (walk.pivot or not lineage & INHERITED):
        walk.bad("the working directory has to be inside the root file system")
    walk.changed_directory(lineage if walk.certain(step) else 0)
    status(walk, step)


def _pivot_root(walk: Walk, step: Step) -> None:
    if step.args != (".", "."):
        walk.bad('the root file system is the working directory: pivot_root(".", ".")')
    walk.pivoted(step, detached=False)


def _chroot(walk: Walk, step: Step) -> None:
    if step.args != (".",):
        walk.bad('the root file system is the working directory: chroot(".")')
    walk.pivoted(step, detached=True)


def _setns(walk: Walk, step: Step) -> None:
    flags: Any = step.args[1]
    if not flags:
        walk.bad("the kind of the namespace has to be named, so that the kernel checks it")
    if flags & f.CLONE_NEWUSER and not walk.hidden:
        walk.bad("others in the namespace could trace this one; prctl(PR_SET_DUMPABLE, 0) comes first")
    if flags & f.CLONE_NEWNS and not walk.has_pivot:
        block = walk.blocks[-1] if walk.blocks else None
        if walk.certain(step):
            walk.pivot = True
        elif step.tolerate:
            walk.entering = step.out
        elif (
            block and block.wanted == "if_failed" and walk.entering and len(walk.blocks) == 1
            and block.subject == walk.entering.index
        ):
            walk.pivot = True
        walk.changed_directory(0)
    status(walk, step)


def _close_range(walk: Walk, step: Step) -> None:
    first, last, flags = step.args
    assert isinstance(first, int)
    assert isinstance(last, int)
    assert isinstance(flags, int)
    if not flags & f.CLOSE_RANGE_CLOEXEC:
        walk.bad("closing what slots hold would go unnoticed; use CLOSE_RANGE_CLOEXEC")
    if first < 3:
        walk.bad("standard input, output and error have to stay open")
    if walk.pivot and walk.certain(step) and last & 0x7FFFFFFF == 0x7FFFFFFF:
        walk.close_range = True


def _credentials(walk: Walk, step: Step) -> None:
    walk.credentials = walk.index
    if step.call == "setresuid" and walk.pivot and walk.certain(step):
        walk.identified = True
    status(walk, step)


def _capset(walk: Walk, step: Step) -> None:
    sets: Any = step.args[1]
    if walk.certain(step):
        walk.capset = walk.index
    if isinstance(sets, Data) and len(sets.payload) > _CAP_SYS_ADMIN_BYTE:
        walk.admin = bool(sets.payload[_CAP_SYS_ADMIN_BYTE] & _CAP_SYS_ADMIN_BIT)
    status(walk, step)


def _prctl(walk: Walk, step: Step) -> None:
    if walk.certain(step):
        if step.args[0] == f.PR_SET_NO_NEW_PRIVS:
            walk.no_new_privs = True
        elif step.args[0] == f.PR_SET_DUMPABLE:
            walk.hidden = step.args[1] == 0
    status(walk, step)


def _seccomp(walk: Walk, step: Step) -> None:
    flags: Any = step.args[1]
    if flags & f.SECCOMP_FILTER_FLAG_NEW_LISTENER:
        walk.bad("a filter with a listener is installed by notify, which hands the listener over")
    _filter(walk, step)


def _notify(walk: Walk, step: Step) -> None:
    flags: Any = step.args[0]
    if not flags & f.SECCOMP_FILTER_FLAG_NEW_LISTENER:
        walk.bad("there is no listener to hand over")
    if flags & f.SECCOMP_FILTER_FLAG_TSYNC:
        walk.bad("the filter would bind the thread that hands its listener over")
    walk.scratch = ("", 0, None)
    _filter(walk, step)


def _filter(walk: Walk, step: Step) -> None:
    if not walk.no_new_privs and not walk.admin:
        walk.bad("a filter needs no_new_privs or CAP_SYS_ADMIN")
    walk.filter = walk.index
    status(walk, step)


def _of_itself(walk: Walk, step: Step) -> None:
    # A number would be of another process by the time that the step runs.
    if step.args[step.call == "ioprio_set"] != 0:
        walk.bad("a process changes itself only: 0")
    data: Any = step.args[-1]
    if step.call == "sched_setaffinity" and isinstance(data, Data) and step.args[1] != len(data.payload):
        walk.bad("the size is not that of the data")
    status(walk, step)


def _sync(walk: Walk, step: Step) -> None:
    if walk.waited:
        walk.bad("after wait the runtime is gone")


def _wait(walk: Walk, step: Step) -> None:
    slot = step.args[0]
    if not isinstance(slot, Slot) or not walk.certain(step):
        walk.bad("wait takes a slot, and does not depend on anything")
    walk.require_left()
    walk.waited = True
    walk.set(slot.index, CLOSED, walk.lineage[slot.index], slot)
    command = walk.holder[COMMAND]
    if command is not None and walk.lineage[COMMAND] & INHERITED:
        walk.set(COMMAND, CLOSED, INHERITED, command)


def _clone(walk: Walk, step: Step) -> None:
    if walk.blocks:
        walk.bad("the process that goes on must not depend on anything")
    # Who it was before is not who the container's process is to be.
    walk.identified = False


def _execve(walk: Walk, step: Step) -> None:
    if not walk.executed:
        walk.require_left()
        if not walk.close_range:
            walk.bad("close_range with CLOSE_RANGE_CLOEXEC comes first")
        if not walk.cwd_proven:
            walk.bad("the working directory is not proven to be inside: chdir, getcwd, expect '/'")
        if not walk.identified:
            walk.bad("the user is never set")
        if walk.capset < walk.credentials:
            walk.bad("the capabilities are set before the user and group, or not at all")
        if walk.filter >= 0:
            if walk.program.steps[walk.filter].tolerate:
                walk.bad("the filter may be missing")
            if walk.no_new_privs and walk.capset > walk.filter:
                walk.bad("with no_new_privs the filter comes after the capabilities")
        walk.executed = True
    walk.stopped = not step.tolerate


def _end(walk: Walk, step: Step) -> None:
    walk.stopped = True


RULES: "dict[str, Callable[[Walk, Step], None]]" = {
    "bpf": _bpf,
    "capset": _capset,
    "chdir": _chdir,
    "chroot": _chroot,
    "clone": _clone,
    "close": _close,
    "close_range": _close_range,
    "dup3": _dup3,
    "execve": _execve,
    "exit": _end,
    "expect": _expect,
    "fail": _end,
    "fchdir": _fchdir,
    "fstatfs": _fstatfs,
    "getcwd": _getcwd,
    "ioctl": _ioctl,
    "ioprio_set": _of_itself,
    "load": _number,
    "notify": _notify,
    "openat": _openat,
    "openat2": _openat2,
    "pivot_root": _pivot_root,
    "prctl": _prctl,
    "prlimit64": _of_itself,
    "read": _fills_scratch,
    "sched_setaffinity": _of_itself,
    "sched_setattr": _of_itself,
    "seccomp": _seccomp,
    "setgroups": _credentials,
    "setns": _setns,
    "setresgid": _credentials,
    "setresuid": _credentials,
    "socket": _socket,
    "statx": _fills_scratch,
    "store": _store,
    "sync": _sync,
    "wait": _wait,
    "write": _write,
    "readlinkat": _fills_scratch,
    **mount_rules.RULES,
}
