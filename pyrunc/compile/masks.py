"""Masked and read-only paths (config-linux.md, "Masked Paths", "Readonly Paths").

A masked directory is covered by an empty read-only tmpfs, one for all of them, a masked file by
/dev/null. Paths that do not exist are passed over, as the files of /proc and /sys differ between kernels.
"""

from errno import EAGAIN, EINVAL, ENOENT, ENOTDIR

from pyrunc.compile.devices import open_null
from pyrunc.compile.namespaces import Namespaces
from pyrunc.compile.paths import components
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder, mount_attr
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts

_COVER = f.MOUNT_ATTR_RDONLY | f.MOUNT_ATTR_NOSUID | f.MOUNT_ATTR_NODEV | f.MOUNT_ATTR_NOEXEC


def kernel_paths(config: "dict[str, Any]") -> list[str]:
    """The masked paths in file systems whose content is the kernel's, and so the host's too."""
    kinds = {mount["destination"]: mount.get("type") for mount in config.get("mounts") or ()}
    found = []
    for path in config.get("linux", {}).get("maskedPaths") or ():
        top = "/" + path.split("/", 2)[1]
        if kinds.get(top) == ("proc" if top == "/proc" else "sysfs") and top in ("/proc", "/sys"):
            found.append(path)
    return found


def compile_masks(
    b: Builder, config: "dict[str, Any]", facts: "Facts", namespaces: Namespaces, root: Slot
) -> None:
    linux = config.get("linux", {})
    readonly, masked = linux.get("readonlyPaths") or (), linux.get("maskedPaths") or ()
    if not readonly and not masked:
        return
    pointer = "/linux/readonlyPaths" if readonly else "/linux/maskedPaths"
    if not namespaces.own(f.CLONE_NEWNS):
        raise Error("masked and read-only paths need a mount namespace of the container's", pointer=pointer)
    for key, paths in (("readonlyPaths", readonly), ("maskedPaths", masked)):
        for i, path in enumerate(paths):
            if not components(path):
                raise Error(
                    "this is the root itself; name what is below it, or set /root/readonly",
                    pointer=f"/linux/{key}/{i}",
                )
    for i, path in enumerate(readonly):
        b.origin, b.note = f"/linux/readonlyPaths/{i}", f"for {path}"
        _make_readonly(b, path, root)
    if masked:
        b.origin, b.note = "/linux/maskedPaths", ""
        null = open_null(b, root)
        cover = _new_cover(b)
        for i, path in enumerate(masked):
            b.origin, b.note = f"/linux/maskedPaths/{i}", f"for {path}"
            _mask(b, path, facts.kernel_paths.get(path), root, null, cover)
        b.close(cover)
        b.close(null)
    b.origin, b.note = "", ""


def _make_readonly(b: Builder, path: str, root: Slot) -> None:
    relative = "/".join(components(path))
    there = b.openat2(
        root, relative, f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name=path, tolerate=(ENOENT, ENOTDIR),
    )
    with b.if_ok(there):
        tree = b.open_tree(there, "", f.OPEN_TREE_CLONE | f.AT_EMPTY_PATH | f.AT_RECURSIVE, "tree")
        b.mount_setattr(
            tree, "", f.AT_EMPTY_PATH | f.AT_RECURSIVE, mount_attr(f.MOUNT_ATTR_RDONLY)
        )
        b.move_mount(tree, there)
        b.close(tree)
        b.close(there)


def _mask(b: Builder, path: str, hint: int | None, root: Slot, null: Slot, cover: Slot) -> None:
    """Covers what is at the path.

    hint is what the host has there, for the kernel's own file systems, which saves the steps for
    what cannot be. A wrong hint never leaves a path unmasked: the kernel refuses to mount a file
    over a directory or the reverse, and what appears after all stops the program.
    """
    relative = "/".join(components(path))
    missing: tuple[int, ...] = (ENOENT, ENOTDIR)
    if hint is None:
        directory = b.openat2(
            root, relative, f.O_PATH | f.O_DIRECTORY, resolve=f.RESOLVE_IN_ROOT, name=path, tolerate=missing,
        )
        with b.if_ok(directory):
            _cover_directory(b, directory, cover)
        with b.if_failed(directory):
            file = b.openat2(
                root, relative, f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name=path, tolerate=missing,
            )
            with b.if_ok(file):
                _cover_file(b, file, null)
        return
    there = b.openat2(root, relative, f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name=path, tolerate=missing)
    with b.if_ok(there):
        if hint == 0:
            b.fail(EAGAIN, f"{path} has only now appeared; try again")
            b.release(there)
        elif hint & f.S_IFMT == f.S_IFDIR:
            _cover_directory(b, there, cover)
        else:
            _cover_file(b, there, null)


def _new_cover(b: Builder) -> Slot:
    """The tmpfs that covers masked directories: one superblock for all, since each costs the kernel
    memory and time, read-only itself, so that no mount of it can be made writable."""
    fs = b.fsopen("tmpfs")
    b.fsconfig_set(fs, "source", "tmpfs")
    b.fsconfig_set(fs, "nr_inodes", "2")
    b.fsconfig_set(fs, "ro", None)
    b.fsconfig_create(fs)
    return b.fsmount(fs, _COVER, "cover")


def _cover_directory(b: Builder, directory: Slot, cover: Slot) -> None:
    # Before Linux 6.15 a mount that is not attached cannot be copied: there the first directory
    # takes the cover itself, and those after it take copies.
    copy = b.open_tree(cover, "", f.OPEN_TREE_CLONE | f.AT_EMPTY_PATH, "copy", tolerate=(EINVAL,))
    with b.if_ok(copy):
        b.move_mount(copy, directory)
        b.close(copy)
    with b.if_failed(copy):
        b.move_mount(cover, directory)
    b.close(directory)


def _cover_file(b: Builder, file: Slot, null: Slot) -> None:
    cover = b.open_tree(null, "", f.OPEN_TREE_CLONE | f.AT_EMPTY_PATH, "cover")
    b.move_mount(cover, file)
    b.close(cover)
    b.close(file)
