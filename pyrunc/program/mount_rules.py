"""What the calls of the mount API have to respect in a program, beside what holds for all paths.

Descriptors are closed on execve, mount(2) has no path, only a mount of the program's own is unmounted
before the pivot, and an id mapping has a user namespace. See `rules` for the other calls.
"""

from pyrunc.linux import flags as f
from pyrunc.program.model import Slot, Step
from pyrunc.program.walk import (
    ATTACHED,
    DEVPTS,
    DIRECTORY,
    HOST,
    INHERITED,
    INSIDE,
    PROC,
    PROVEN,
    ROOT,
    Walk,
    status,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_USERNS_OFFSET, _USERNS_WIDTH = 24, 8  # userns_fd in struct mount_attr


def _open_tree(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if not args[2] & f.OPEN_TREE_CLOEXEC:
        walk.bad("the descriptor needs OPEN_TREE_CLOEXEC")
    if isinstance(args[0], Slot):
        lineage = walk.lineage[args[0].index] & (HOST | INSIDE | PROC)
    elif walk.pivot:
        lineage = INSIDE | PROC
    else:
        lineage = HOST | (PROC if args[1][:6] in ("/proc", "/proc/", b"/proc", b"/proc/") else 0)
    if args[2] & f.OPEN_TREE_CLONE:
        lineage |= INSIDE
    walk.result(step, lineage | DIRECTORY)


def _fsopen(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if not args[1] & f.FSOPEN_CLOEXEC:
        walk.bad("the descriptor needs FSOPEN_CLOEXEC")
    walk.result(step, {"proc": PROVEN, "devpts": DEVPTS}.get(args[0], 0))


def _fsmount(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if not args[1] & f.FSMOUNT_CLOEXEC:
        walk.bad("the descriptor needs FSMOUNT_CLOEXEC")
    walk.result(step, walk.lineage[args[0].index] & (PROVEN | DEVPTS) | INSIDE | DIRECTORY)


def _fspick(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if not args[2] & f.FSPICK_CLOEXEC:
        walk.bad("the descriptor needs FSPICK_CLOEXEC")
    if args[1] or not isinstance(args[0], Slot) or not walk.lineage[args[0].index] & INSIDE:
        walk.bad("a file system is changed by a descriptor of a mount inside the root file system")
    walk.result(step, 0)


def _move_mount(walk: Walk, step: Step) -> None:
    source = step.args[0]
    if isinstance(source, Slot):
        index = source.index
        walk.set(index, walk.state[index], walk.lineage[index] | ATTACHED, source)


def mapping(walk: Walk, step: Step) -> None:
    """A value is stored into a struct mount_attr: it can only be the user namespace of an id mapping."""
    args: tuple[Any, ...] = step.args
    slot = args[2]
    if args[1] != _USERNS_OFFSET or args[3] != _USERNS_WIDTH or not isinstance(slot, Slot):
        walk.bad("a mount's attributes take nothing but a user namespace")
    if not walk.lineage[slot.index] & INHERITED:
        walk.bad("the user namespace of an id mapping is handed over by the runtime")
    if not walk.blocks:
        walk.mapped.add(id(args[0]))


def _mount_setattr(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    attr: Any = args[3]
    if attr.fields[0] & f.MOUNT_ATTR_IDMAP:
        # Without it, descriptor 0 would be taken for one.
        if id(attr) not in walk.mapped:
            walk.bad("the user namespace of the id mapping is not stored")
        if not isinstance(args[0], Slot) or walk.lineage[args[0].index] & ATTACHED:
            walk.bad("ids are mapped before the mount is attached")
    status(walk, step)


def _mount(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if args[1] != "." or not walk.cwd & INSIDE:
        walk.bad('mount(2) takes "." after an fchdir into the root file system')
    if args[3] & f.MS_REMOUNT and (not walk.cwd & ATTACHED or walk.cwd & (HOST | ROOT)):
        walk.bad("only a file system that the program has made is remounted")
    status(walk, step)


def _umount2(walk: Walk, step: Step) -> None:
    args: tuple[Any, ...] = step.args
    if walk.pivot:
        if args[0] == "." and args[1] & f.UMOUNT_MNT_DETACH and walk.certain(step):
            walk.detached = True
    elif args[0] == ".":
        if not walk.cwd & ATTACHED or walk.cwd & ROOT:
            walk.bad("before the pivot only a mount that the program has made is unmounted")
        walk.changed_directory(0)
    elif not walk.has_chroot or args[0][:1] not in ("/", b"/"):
        # Below a root that was moved over the host's, the host's mounts stay unless they are unmounted.
        walk.bad("before the pivot nothing is unmounted by path")
    status(walk, step)


def _copy_up(walk: Walk, step: Step) -> None:
    source, target = step.args
    for slot in (source, target):
        if not isinstance(slot, Slot) or not walk.lineage[slot.index] & INSIDE:
            walk.bad("only a directory of the root file system is copied, and into a mount for it")
    assert isinstance(target, Slot)
    if walk.lineage[target.index] & ATTACHED:
        walk.bad("what is copied must not be seen before it is complete")
    # Names of links pass through the scratch area.
    walk.scratch = ("", 0, None)
    status(walk, step)


RULES: "dict[str, Callable[[Walk, Step], None]]" = {
    "copy_up": _copy_up,
    "fsmount": _fsmount,
    "fsopen": _fsopen,
    "fspick": _fspick,
    "mount": _mount,
    "mount_setattr": _mount_setattr,
    "move_mount": _move_mount,
    "open_tree": _open_tree,
    "umount2": _umount2,
}
