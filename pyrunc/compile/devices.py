"""Devices: the default ones, those of the configuration, and the links in /dev.

config-linux.md, "Devices", "Default Devices", "Dev symbolic links". Nodes are made by mknod; in a
user namespace, where that is not allowed, the host's nodes are bound instead.
"""

from errno import EEXIST, ENOENT, ENOTDIR

from pyrunc.compile.mount_options import parse
from pyrunc.compile.mounting import target
from pyrunc.compile.namespaces import Namespaces
from pyrunc.compile.paths import components, ensure_parent, open_or_create
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import STATX_MODE, STATX_SIZE, Builder
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts

# path: (major, minor); all character devices with mode 0666
DEFAULTS: dict[str, tuple[int, int]] = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}
TYPES: dict[str, int] = {"c": f.S_IFCHR, "u": f.S_IFCHR, "b": f.S_IFBLK, "p": f.S_IFIFO}
LINKS: tuple[tuple[str, str], ...] = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
)


# Twelve and twenty bits of a device number.
_MAX_MAJOR, _MAX_MINOR = 4095, 1048575


def makedev(major: int, minor: int) -> int:
    """The kernel's encoding of a device number for mknod(2) (include/linux/kdev_t.h)."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


def needs_dev(config: "dict[str, Any]") -> bool:
    """Whether /dev is the runtime's to fill: not where the configuration binds one from the host."""
    for i, mount in enumerate(config.get("mounts") or ()):
        if components(mount["destination"]) == ["dev"] and parse(mount, i).bind:
            return False
    return True


def compile_devices(
    b: Builder, config: "dict[str, Any]", facts: "Facts", namespaces: Namespaces, root: Slot
) -> None:
    configured = config.get("linux", {}).get("devices") or ()
    bind = facts.rootless or namespaces.own(f.CLONE_NEWUSER)
    paths = ["/" + "/".join(components(device["path"])) for device in configured]
    fill = needs_dev(config)
    if fill:
        b.origin = "/linux/devices"
        dev = open_or_create(b, root, "/dev", directory=True)
        for path, (major, minor) in DEFAULTS.items():
            if path not in paths:
                b.note = f"for {path}"
                _node(b, root, path, f.S_IFCHR | 0o666, major, minor, 0, 0, bind=bind, parent=dev)
        _links(b, dev, facts)
        b.close(dev)
    for i, device in enumerate(configured):
        if fill and paths[i] == "/dev/ptmx":
            # Engines list all devices of the host for a privileged container; the link above stays.
            continue
        b.origin = f"/linux/devices/{i}"
        b.note = f"for {device['path']}"
        kind = TYPES[device["type"]]
        _check(device, kind, f"/linux/devices/{i}")
        major, minor = (0, 0) if kind == f.S_IFIFO else (device["major"], device["minor"])
        _node(
            b, root, device["path"], kind | device.get("fileMode", 0o666) & 0o7777, major, minor,
            device.get("uid", 0), device.get("gid", 0), bind=bind and kind != f.S_IFIFO,
        )
    b.note = ""
    b.origin = ""


def _check(device: "dict[str, Any]", kind: int, pointer: str) -> None:
    """Refuses what names no node, and numbers that the kernel would take for others (makedev(3))."""
    if not components(device["path"]):
        raise Error("a device cannot be at the root itself; give it a name", pointer=f"{pointer}/path")
    if kind == f.S_IFIFO:
        return
    for key, most in (("major", _MAX_MAJOR), ("minor", _MAX_MINOR)):
        if key not in device:
            raise Error(f"the device {device['path']} needs major and minor numbers", pointer=pointer)
        if not 0 <= device[key] <= most:
            raise Error(
                f"there is no {key} device number {device[key]}; Linux has 0 to {most}",
                pointer=f"{pointer}/{key}",
            )


def _node(
    b: Builder, root: Slot, path: str, mode: int, major: int, minor: int, uid: int, gid: int, *,
    bind: bool, parent: Slot | None = None,
) -> None:
    if bind:
        fd = target(b, root, path, directory=False)
        if parent is None:
            _expect_nothing_else(b, fd, path, mode & f.S_IFMT, major, minor)
        tree = b.open_tree(f.AT_FDCWD, path, f.OPEN_TREE_CLONE, path, note=f"the host's {path}")
        b.expect_device(tree, mode & f.S_IFMT, major, minor, EEXIST, f"the host's {path} is another device")
        b.move_mount(tree, fd)
        b.close(tree)
        b.close(fd)
        return
    names = components(path)
    directory = ensure_parent(b, root, names) if parent is None else parent
    made = b.slot("made")
    b.step(
        "mknodat", directory, names[-1], mode, makedev(major, minor), tolerate=(EEXIST,), out=made,
    )
    with b.if_failed(made):
        there = b.openat2(
            directory, names[-1], f.O_PATH | f.O_NOFOLLOW, resolve=f.RESOLVE_IN_ROOT, name=path,
        )
        b.expect_device(
            there, mode & f.S_IFMT, major, minor, EEXIST, f"something else is already at {path}"
        )
        b.close(there)
    b.release(made)
    if uid or gid:
        b.step("fchownat", directory, names[-1], uid, gid, f.AT_SYMLINK_NOFOLLOW)
    if parent is None and directory is not root:
        b.close(directory)


def _expect_nothing_else(b: Builder, fd: Slot, path: str, kind: int, major: int, minor: int) -> None:
    """What a device is bound over is the same device, or an empty file, as one is made for that."""
    note = f"something else is already at {path}"
    file = b.slot("file")
    b.statx(fd, "", f.AT_EMPTY_PATH, f.STATX_BASIC_STATS)
    b.expect(STATX_MODE, 2, f.S_IFREG, EEXIST, mask=f.S_IFMT, tolerate=(EEXIST,), out=file)
    with b.if_ok(file):
        b.expect(STATX_SIZE, 8, 0, EEXIST, note=note)
    with b.if_failed(file):
        b.expect_device(fd, kind, major, minor, EEXIST, note)
    b.release(file)


def _links(b: Builder, dev: Slot, facts: "Facts") -> None:
    made = b.slot("made")
    for goal, name in LINKS:
        b.note = f"for /dev/{name}"
        b.step("symlinkat", goal, dev, name, tolerate=(EEXIST,), out=made)
    if facts.kcore:
        b.note = "for /dev/core"
        b.step("symlinkat", "/proc/kcore", dev, "core", tolerate=(EEXIST,), out=made)
    # The container's terminals come from its own devpts, whatever the image has here.
    b.note = "for /dev/ptmx"
    b.step("unlinkat", dev, "ptmx", 0, tolerate=(ENOENT,), out=made)
    b.step("symlinkat", "pts/ptmx", dev, "ptmx")
    b.note = ""
    b.release(made)


def open_null(b: Builder, root: Slot) -> Slot:
    """The container's /dev/null, proven to be that: an image may have put a link there to make the
    runtime bind something else over masked files (CVE-2025-31133)."""
    null = b.openat2(root, "dev/null", f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name="null")
    b.expect_device(null, f.S_IFCHR, 1, 3, ENOTDIR, "/dev/null in the container is not the null device")
    return null
