"""The verbs that compile modules write programs with.

Each method appends one step and reads like the system call it becomes. `origin` (a JSON pointer)
and `phase` are set by the caller for the steps that follow. Conditions are blocks: the steps in
`with b.if_failed(slot):` run only where the step that filled the slot met an errno it tolerates.
"""

from _struct import Struct

from pyrunc.linux import flags as f
from pyrunc.program.model import SCRATCH, SCRATCH_SIZE, Data, Program, Scratch, Slot, Step

_u64x3 = Struct("=3Q").pack
_u64x4 = Struct("=4Q").pack
_u32 = Struct("=I").pack
_u64x2 = Struct("=2Q").pack

# File systems that take no SELinux label as an option: their content has labels of its own.
_OWN_LABELS = frozenset(("proc", "sysfs", "mqueue", "cgroup", "cgroup2"))

_open_hows: dict[tuple[int, int, int], Data] = {}

# Where struct statx and struct statfs keep what `expect` looks at (x86-64 and aarch64 alike).
STATX_MODE = Scratch(28)
STATX_SIZE = Scratch(40)
STATX_RDEV_MAJOR = Scratch(128)
STATX_RDEV_MINOR = Scratch(132)
STATFS_TYPE = Scratch(0)


def open_how(flags: int, mode: int, resolve: int) -> Data:
    """struct open_how of openat2(2)."""
    key = (flags, mode, resolve)
    how = _open_hows.get(key)
    if how is None:
        how = _open_hows[key] = Data("open_how", _u64x3(*key), key)
    return how


def mount_attr(set_: int = 0, clear: int = 0, propagation: int = 0) -> Data:
    """struct mount_attr of mount_setattr(2); a user namespace's descriptor is stored at offset 24."""
    return Data("mount_attr", _u64x4(set_, clear, propagation, 0), (set_, clear, propagation))


def vector(strings: "list[bytes]", kind: str) -> Data:
    """A NULL-terminated array of strings, as execve(2) takes."""
    pointers = tuple((8 * i, string) for i, string in enumerate(strings))
    return Data(kind, bytes(8 * len(strings) + 8), tuple(strings), pointers)


class _Block:
    """A condition's block: sets the count of steps to skip when the block ends."""

    __slots__ = ("builder", "position")

    def __init__(self, builder: "Builder", position: int) -> None:
        self.builder = builder
        self.position = position

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        steps = self.builder.program.steps
        step = steps[self.position]
        step.args = (step.args[0], len(steps) - self.position - 1)


class Builder:
    """Appends steps to a program. See the module's text for `origin`, `phase` and blocks.

    mount_label is the SELinux label of new file systems (/linux/mountLabel), or "", and label_option
    the mount option for it.
    """

    __slots__ = ("_free", "_top", "label_option", "mount_label", "note", "origin", "phase", "program")

    def __init__(self) -> None:
        self.program = Program()
        self.origin = ""
        self.phase = ""
        self.note = ""
        self.mount_label = ""
        self.label_option = "context"
        self._free: list[int] = []
        self._top = 0

    # -- slots ---------------------------------------------------------------

    def slot(self, name: str) -> Slot:
        """A slot that is not in use."""
        if self._free:
            return Slot(self._free.pop(), name)
        self._top += 1
        return Slot(self._top - 1, name)

    def inherit(self, name: str) -> Slot:
        """The slot of a descriptor that the runtime hands over under this name."""
        slot = self.program.inherited.get(name)
        if slot is None:
            self._top += 1
            slot = self.program.inherited[name] = Slot(self._top - 1, name)
        return slot

    def warn(self, pointer: str, text: str) -> None:
        self.program.warnings.append((pointer, text))

    # -- steps ---------------------------------------------------------------

    def step(
        self,
        call: str,
        *args: int | str | bytes | Slot | Data | Scratch,
        out: Slot | None = None,
        tolerate: tuple[int, ...] = (),
        note: str = "",
    ) -> None:
        self.program.steps.append(
            Step(call, args, out, tolerate, self.origin, self.phase, note or self.note)
        )

    def _fd(
        self,
        name: str | Slot,
        tolerate: tuple[int, ...],
        note: str,
        call: str,
        *args: int | str | bytes | Slot | Data | Scratch,
    ) -> Slot:
        out = name if isinstance(name, Slot) else self.slot(name)
        self.program.steps.append(
            Step(call, args, out, tolerate, self.origin, self.phase, note or self.note)
        )
        return out

    def if_ok(self, slot: Slot) -> _Block:
        """A block that runs where the slot's step succeeded."""
        self.step("if_ok", slot, 0)
        return _Block(self, len(self.program.steps) - 1)

    def if_failed(self, slot: Slot) -> _Block:
        """A block that runs where the slot's step met a tolerated errno."""
        self.step("if_failed", slot, 0)
        return _Block(self, len(self.program.steps) - 1)

    def store(self, data: Data, offset: int, slot: Slot, width: int) -> None:
        self.step("store", data, offset, slot, width)

    def expect(
        self, scratch: Scratch, width: int, value: int, errno: int, *,
        mask: int = -1, note: str = "", tolerate: tuple[int, ...] = (), out: Slot | None = None,
    ) -> None:
        self.step("expect", scratch, width, mask, value, errno, note=note, tolerate=tolerate, out=out)

    def refuse(
        self, scratch: Scratch, width: int, value: int, errno: int, note: str, *, mask: int = -1
    ) -> None:
        """Fails with an errno where a field of the scratch area has a value."""
        self.step("refuse", scratch, width, mask, value, errno, note=note)

    def load(self, scratch: Scratch, width: int, mask: int, name: str) -> Slot:
        """A field of the scratch area as a slot's value."""
        return self._fd(name, (), "", "load", scratch, width, mask)

    def release(self, slot: Slot) -> None:
        """Gives a slot that holds no descriptor back."""
        self._free.append(slot.index)

    def sync(self, point: int, *descriptors: Slot, note: str = "") -> None:
        self.step("sync", point, *descriptors, note=note)

    def clone(self, flags: int, cgroup: Slot | None = None) -> None:
        """clone3 with CLONE_PARENT: the child goes on with the program, the parent ends."""
        flags |= f.CLONE_PARENT
        if cgroup is not None:
            flags |= f.CLONE_INTO_CGROUP
        # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size,
        # tls, set_tid, set_tid_size, cgroup. The kernel refuses an exit_signal with CLONE_PARENT.
        args = Data("clone_args", Struct("=11Q").pack(flags, *[0] * 10), (flags,))
        if cgroup is not None:
            self.store(args, 80, cgroup, 8)
        self.step("clone", args, 88)

    def fail(self, errno: int, note: str = "") -> None:
        self.step("fail", errno, note=note)

    # -- files ---------------------------------------------------------------

    def openat2(
        self, dirfd: Slot | int, path: str | bytes, flags: int, *, resolve: int, name: str | Slot,
        mode: int = 0, tolerate: tuple[int, ...] = (), note: str = "",
    ) -> Slot:
        how = open_how(flags | f.O_CLOEXEC, mode, resolve)
        return self._fd(name, tolerate, note, "openat2", dirfd, path, how, 24)

    def close(self, slot: Slot) -> None:
        self.step("close", slot)
        self._free.append(slot.index)

    def mkdirat(
        self, dirfd: Slot, name: str | bytes, mode: int = 0o755,
        tolerate: tuple[int, ...] = (), out: Slot | None = None,
    ) -> None:
        self.step("mkdirat", dirfd, name, mode, tolerate=tolerate, out=out)

    def statx(
        self, dirfd: Slot | int, path: str, at: int, mask: int,
        tolerate: tuple[int, ...] = (), out: Slot | None = None,
    ) -> None:
        self.step("statx", dirfd, path, at, mask, SCRATCH, tolerate=tolerate, out=out)

    def statx_name(self, directory: Slot, name: str) -> None:
        """The metadata of what has this name, which may be a symbolic link."""
        self.step("statx", directory, name, f.AT_SYMLINK_NOFOLLOW, f.STATX_BASIC_STATS, SCRATCH)

    def expect_filesystem(self, fd: Slot, magic: int, errno: int, note: str) -> None:
        """Proves that a descriptor belongs to a kind of file system (statfs(2)'s f_type)."""
        self.step("fstatfs", fd, SCRATCH)
        self.expect(STATFS_TYPE, 8, magic, errno, note=note)

    def expect_device(self, fd: Slot, mode: int, major: int, minor: int, errno: int, note: str) -> None:
        """Proves that a descriptor is the device node (type, major, minor)."""
        self.statx(fd, "", f.AT_EMPTY_PATH, f.STATX_BASIC_STATS)
        self.expect(STATX_MODE, 2, mode, errno, mask=f.S_IFMT, note=note)
        self.expect(STATX_RDEV_MAJOR, 4, major, errno, note=note)
        self.expect(STATX_RDEV_MINOR, 4, minor, errno, note=note)

    def write(
        self, fd: Slot, text: str | bytes, tolerate: tuple[int, ...] = (), note: str = ""
    ) -> None:
        size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogateescape"))
        self.step("write", fd, text, size, tolerate=tolerate, note=note)

    # -- mounts --------------------------------------------------------------

    def fsopen(self, fstype: str, note: str = "") -> Slot:
        """A file system to be configured, with the label that the container's mounts have."""
        fs = self._fd(f"{fstype}fs", (), note, "fsopen", fstype, f.FSOPEN_CLOEXEC)
        if self.mount_label and fstype not in _OWN_LABELS:
            origin, self.origin = self.origin, "/linux/mountLabel"
            self.fsconfig_set(fs, self.label_option, self.mount_label, note)
            self.origin = origin
        return fs

    def fsconfig_set(self, fs: Slot, key: str, value: str | None, note: str = "") -> None:
        if value is None:
            self.step("fsconfig", fs, f.FSCONFIG_SET_FLAG, key, 0, 0, note=note)
        else:
            self.step("fsconfig", fs, f.FSCONFIG_SET_STRING, key, value, 0, note=note)

    def fsconfig_create(self, fs: Slot, note: str = "") -> None:
        self.step("fsconfig", fs, f.FSCONFIG_CMD_CREATE, 0, 0, 0, note=note)

    def fspick(self, mount: Slot) -> Slot:
        """A context that changes the file system of a mount."""
        return self._fd("fs", (), "", "fspick", mount, "", f.FSPICK_CLOEXEC | f.FSPICK_EMPTY_PATH)

    def fsmount(self, fs: Slot, attributes: int, name: str, note: str = "") -> Slot:
        """A new, unattached mount with MOUNT_ATTR_* attributes; the context is closed."""
        mount = self._fd(name, (), note, "fsmount", fs, f.FSMOUNT_CLOEXEC, attributes)
        self.close(fs)
        return mount

    def open_tree(
        self, dirfd: Slot | int, path: str | bytes, flags: int, name: str | Slot,
        note: str = "", tolerate: tuple[int, ...] = (),
    ) -> Slot:
        return self._fd(name, tolerate, note, "open_tree", dirfd, path, flags | f.OPEN_TREE_CLOEXEC)

    def move_mount(self, mount: Slot, target: Slot, note: str = "") -> None:
        """Attaches an unattached mount on what the target descriptor stands for."""
        self.step(
            "move_mount", mount, "", target, "",
            f.MOVE_MOUNT_F_EMPTY_PATH | f.MOVE_MOUNT_T_EMPTY_PATH, note=note,
        )

    def mount_setattr(
        self, fd: Slot | int, path: str, at: int, attr: Data, note: str = "",
        tolerate: tuple[int, ...] = (), out: Slot | None = None,
    ) -> None:
        self.step("mount_setattr", fd, path, at, attr, 32, note=note, tolerate=tolerate, out=out)

    def getcwd(self) -> None:
        self.step("getcwd", SCRATCH, SCRATCH_SIZE)
