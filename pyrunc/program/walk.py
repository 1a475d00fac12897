"""What `verify` knows of the world before each step: slots, conditions, paths, and the pivot.

The walk is linear; a condition's block is joined with the way around it when it ends. What a call
means for it is in `rules`. Nothing here runs anything.
"""

from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.model import Program, Slot, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_SLOTS = 128

# What a slot holds. A MAYBE is a descriptor or a negative errno; MIXED means that it depends on
# the branches taken; FAILED is a negative errno; a STATUS is a result that is no descriptor, and a
# VALUE a number for a later step.
UNSET, OPEN, MAYBE, FAILED, STATUS, VALUE, CLOSED, MIXED = range(8)

# Where a descriptor comes from.
INHERITED = 1  # handed over by the runtime
HOST = 2  # opened by a host path
INSIDE = 4  # in the root file system, or a mount meant for it: names in it may be hostile
DIRECTORY = 8  # may be a directory or a mount
PROC = 16  # below /proc: nothing is written before it is proven to be procfs
PROVEN = 32  # proven to be procfs
EARLY = 64  # opened before the pivot
ATTACHED = 128  # a mount that others may be mounted on
ROOT = 256  # the root file system itself
DEVPTS = 512  # the program's own devpts, where nothing is a symbolic link

ROOTFS = "rootfs"
# Calls that only open what a path leads to.
_OPENERS = frozenset(("openat2", "open_tree"))
# Uses of a host directory or mount that cannot lead out of the container.
_HARMLESS = frozenset(("close", "setns"))


class _Block:
    """A condition that is being walked: what holds where its steps are skipped.

    journal lists (slot index, state, lineage, holder) as before each change in the block.
    """

    __slots__ = ("end", "journal", "subject", "wanted")

    def __init__(self, end: int, subject: int, wanted: str) -> None:
        self.end = end
        self.subject = subject
        self.wanted = wanted
        self.journal: list[tuple[int, int, int, Slot | None]] = []


class Walk:
    """The state of the world as far as it is known before each step."""

    __slots__ = (
        "admin", "attached", "blocks", "capset", "close_range", "credentials", "cwd", "cwd_proven",
        "detached", "end", "entering", "executed", "filter", "has_chroot", "has_pivot", "hidden", "holder",
        "identified", "index", "lineage", "mapped", "no_new_privs", "pivot", "program", "scratch", "state",
        "step", "stopped", "waited",
    )

    def __init__(self, program: Program) -> None:
        self.program = program
        self.state = [UNSET] * MAX_SLOTS
        self.lineage = [0] * MAX_SLOTS
        self.holder: list[Slot | None] = [None] * MAX_SLOTS
        self.blocks: list[_Block] = []
        self.end = -1  # where the innermost block ends
        self.index = 0
        self.step: Step = _NOTHING
        self.stopped = False  # the step before this one never goes on
        self.scratch: tuple[str, int, Slot | None] = ("", 0, None)  # what filled the scratch area
        # pivot_root, chroot, or for exec the entering of the mount namespace
        calls = {step.call for step in program.steps}
        self.has_chroot = "chroot" in calls and "pivot_root" not in calls
        self.has_pivot = self.has_chroot or "pivot_root" in calls
        self.pivot = False
        self.entering: Slot | None = None
        self.detached = True  # the old root is not mounted any more
        self.attached = False
        self.cwd = 0  # lineage of the working directory
        self.cwd_proven = False
        self.close_range = False
        self.mapped: set[int] = set()  # id() of the structures that hold a user namespace
        self.credentials = -1
        self.identified = False
        self.hidden = False  # it cannot be traced any more
        self.capset = -1
        self.admin = True
        self.no_new_privs = False
        self.filter = -1
        self.waited = False
        self.executed = False

    # -- errors --------------------------------------------------------------

    def bad(self, why: str) -> "NoReturn":
        from pyrunc.program.explain import line

        raise Error(
            f"bug of pyrunc: step {self.index}, {line(self.step)}: {why}", pointer=self.step.origin
        )

    # -- slots ---------------------------------------------------------------

    def set(self, index: int, state: int, lineage: int, holder: Slot | None) -> None:
        if self.blocks:
            self.blocks[-1].journal.append(
                (index, self.state[index], self.lineage[index], self.holder[index])
            )
        self.state[index] = state
        self.lineage[index] = lineage
        self.holder[index] = holder

    def use(self, slot: Slot, number: bool) -> None:
        """A slot as a descriptor, or where a number will do, as that."""
        index = slot.index
        if not 0 <= index < MAX_SLOTS:
            self.bad(f"{slot!r} is beyond the {MAX_SLOTS} slots")
        state = self.state[index]
        if self.holder[index] is not slot or state == UNSET:
            self.bad(f"{slot!r} is used before it is set")
        if state != OPEN and not (number and state == VALUE):
            self.bad(f"{slot!r} {_WHY_UNUSABLE[state]}")
        if self.pivot and self.lineage[index] & (HOST | DIRECTORY) == (HOST | DIRECTORY):
            call = self.step.call
            # The old root may still have to be made private, so that its unmounting does not spread.
            if call not in _HARMLESS and (call != "mount_setattr" or self.detached):
                self.bad(f"{slot!r} is a directory or mount of the host, and the pivot is over")

    def result(self, step: Step, lineage: int) -> None:
        """The descriptor that a step opens."""
        out = step.out
        if out is None:
            self.bad("the new descriptor has no slot")
        if out.name == ROOTFS:
            lineage = lineage & ~(HOST | PROC) | ROOT | INSIDE | DIRECTORY
        self.fill(out, MAYBE if step.tolerate else OPEN, lineage if self.pivot else lineage | EARLY)

    def fill(self, out: Slot, state: int, lineage: int) -> None:
        if not 0 <= out.index < MAX_SLOTS:
            self.bad(f"{out!r} is beyond the {MAX_SLOTS} slots")
        if self.state[out.index] in (OPEN, MAYBE, MIXED):
            self.bad(f"{out!r} takes the place of a descriptor that is still open")
        self.set(out.index, state, lineage, out)

    # -- conditions ----------------------------------------------------------

    def enter_block(self, step: Step) -> None:
        if len(step.args) != 2:
            self.bad("a condition has a slot and a count")
        slot, count = step.args
        if not isinstance(slot, Slot) or not isinstance(count, int):
            self.bad("a condition has a slot and a count")
        end = self.index + 1 + count
        if count < 0 or end > len(self.program.steps) or (self.blocks and end > self.end):
            self.bad("the condition's block ends outside the steps around it")
        index = slot.index
        state = self.state[index] if 0 <= index < MAX_SLOTS else UNSET
        if state == UNSET or self.holder[index] is not slot:
            self.bad(f"{slot!r} is used before it is set")
        if state == MIXED:
            self.bad(f"{slot!r} {_WHY_UNUSABLE[MIXED]}")
        lineage = self.lineage[index]
        skipped = inside = state
        if state == MAYBE:
            inside, skipped = (OPEN, FAILED) if step.call == "if_ok" else (FAILED, OPEN)
        elif state == STATUS:
            inside, skipped = (VALUE, STATUS) if step.call == "if_ok" else (STATUS, VALUE)
        self.set(index, skipped, lineage, slot)
        self.blocks.append(_Block(end, index, step.call))
        self.set(index, inside, lineage, slot)
        self.end = end

    def leave_blocks(self) -> None:
        while self.blocks and self.blocks[-1].end == self.index:
            self.leave_block(self.blocks.pop())
        self.end = self.blocks[-1].end if self.blocks else -1

    def leave_block(self, block: _Block) -> None:
        """Joins what holds after the block's steps with what holds where they were skipped."""
        before: dict[int, tuple[int, int, int, Slot | None]] = {}
        for entry in block.journal:
            before.setdefault(entry[0], entry)
        for index, skipped, lineage, holder in before.values():
            if self.blocks:
                self.blocks[-1].journal.append((index, skipped, lineage, holder))
            if self.stopped:
                self.state[index], self.lineage[index], self.holder[index] = skipped, lineage, holder
                continue
            now, now_lineage, now_holder = self.state[index], self.lineage[index], self.holder[index]
            self.state[index] = _join(now, skipped)
            both = now_lineage | lineage
            if not now_lineage & lineage & PROVEN and skipped == OPEN:
                both &= ~PROVEN
            self.lineage[index] = both
            if skipped == UNSET or now_holder is holder:
                self.holder[index] = now_holder
            else:
                self.holder[index] = None
        self.stopped = False
        self.scratch = ("", 0, None)

    def certain(self, step: Step) -> bool:
        """Whether the step surely runs and succeeds."""
        return not self.blocks and not step.tolerate

    # -- paths ---------------------------------------------------------------

    def path(
        self, step: Step, dirfd: Slot | int, path: str | bytes, name: bool, flags: int, empty: int
    ) -> None:
        """A path and the descriptor that it starts from."""
        if not path:
            if not isinstance(dirfd, Slot) and not 0 <= dirfd <= 2:
                self.bad("an empty path needs a descriptor")
            if not flags & empty:
                self.bad("an empty path needs the flag that allows it")
            return
        text = path if isinstance(path, str) else path.decode("utf-8", "surrogateescape")
        if not isinstance(dirfd, Slot):
            self.path_of_process(step, dirfd, text)
            return
        lineage = self.lineage[dirfd.index]
        if self.pivot:
            if lineage & (INHERITED | ROOT) == INHERITED:
                self.bad(f"{dirfd!r} comes from the host, and the pivot is over")
            return
        if not lineage & INSIDE:
            return
        if step.call == "openat2":
            how: Any = step.args[2]
            resolve = how.fields[2]
            if resolve & (f.RESOLVE_IN_ROOT | f.RESOLVE_BENEATH):
                return
            if not resolve & f.RESOLVE_NO_SYMLINKS:
                self.bad("a path in the root file system needs RESOLVE_IN_ROOT")
            if text[0] == "/" or ".." in text.split("/"):
                self.bad("RESOLVE_NO_SYMLINKS does not stop a path that leads out by itself")
            return
        if text == "." and not name:
            return
        if "/" in text or text in (".", ".."):
            self.bad("only openat2 may resolve a path in the root file system; others take one name")
        if not name and not flags & f.AT_SYMLINK_NOFOLLOW:
            self.bad("the name may be a symbolic link, which the call follows")

    def path_of_process(self, step: Step, dirfd: int, path: str) -> None:
        """A path that starts from the root or the working directory of the process."""
        call = step.call
        if dirfd != f.AT_FDCWD:
            self.bad("a descriptor has to be in a slot")
        if call == "mount_setattr":
            if path not in ("/", "."):
                self.bad("mounts are changed by descriptor")
        elif call == "move_mount":
            if path == "/":
                return
            source: Any = step.args[0]
            if self.pivot or path[0] != "/" or self.attached:
                self.bad("mounts are attached by descriptor")
            if not isinstance(source, Slot) or not self.lineage[source.index] & ROOT:
                self.bad("only the root file system is attached by path")
            self.attached = True
        elif not self.pivot:
            if call not in _OPENERS:
                self.bad("before the pivot only openat2 and open_tree take a path of the host")
            if path[0] != "/":
                self.bad("a path of the host is absolute")

    # -- leaving the host ----------------------------------------------------

    def pivoted(self, step: Step, detached: bool) -> None:
        if not self.certain(step):
            self.bad("the pivot must not depend on anything")
        if self.pivot:
            self.bad("there is one pivot")
        if not self.cwd & ROOT:
            self.bad("the working directory is not the root file system; fchdir comes first")
        self.pivot = True
        self.detached = detached
        self.changed_directory(0)

    def changed_directory(self, lineage: int) -> None:
        self.cwd = lineage
        self.cwd_proven = False

    def require_left(self) -> None:
        """Nothing of the host is left: at `wait` and at execve."""
        if not self.pivot:
            self.bad("the program never leaves the host's root file system")
        if not self.detached:
            self.bad("the old root is still mounted; umount2 with MNT_DETACH comes first")
        for state, lineage, holder in zip(self.state, self.lineage, self.holder, strict=True):
            if state in (OPEN, MAYBE, MIXED) and lineage & EARLY and not lineage & INHERITED:
                self.bad(f"{holder!r}, opened before the pivot, is still open")


def status(walk: Walk, step: Step) -> None:
    """The rule of a call whose result, if anybody looks at it, is no descriptor."""
    if step.out is not None:
        walk.fill(step.out, STATUS, 0)


_NOTHING = Step("exit", (0,), None, (), "", "", "")
_WHY_UNUSABLE = {
    MAYBE: "may hold an errno; only if_ok proves that it is a descriptor",
    FAILED: "holds an errno",
    STATUS: "is no descriptor",
    VALUE: "is no descriptor",
    CLOSED: "is closed",
    MIXED: "is set or closed on one of two ways only",
}


def _join(a: int, b: int) -> int:
    """What a slot holds when it holds a on one way and b on the other."""
    if a == b:
        return a
    pair = {a, b}
    if pair <= {OPEN, MAYBE, FAILED}:
        return MAYBE
    if pair & {OPEN, MAYBE, MIXED}:
        return MIXED
    if pair == {VALUE, STATUS}:
        return STATUS
    # No descriptor either way: usable for nothing but being set again.
    return CLOSED if CLOSED in pair else UNSET
