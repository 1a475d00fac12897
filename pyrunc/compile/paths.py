"""Reaching things inside the root file system: every step here resolves below a descriptor.

The root file system is hostile: any name in it may be a symbolic link to anywhere, and another
container may change it at any moment. So a path is resolved in one openat2(2) call with
RESOLVE_IN_ROOT, and what is missing is created one component at a time, relative to descriptors
(CVE-2019-19921, CVE-2021-30465, CVE-2024-45310).
"""

from errno import EEXIST, ENOENT

from pyrunc.linux import flags as f
from pyrunc.program.build import Builder
from pyrunc.program.model import Slot


def components(path: str) -> list[str]:
    """The path's names, "." and ".." taken out as in a path below a root."""
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]
        elif name and name != ".":
            names.append(name)
    return names


def ensure_parent(b: Builder, root: Slot, names: list[str]) -> Slot:
    """The directory above the last name, made with its parents where they are missing."""
    parent = root
    for depth in range(1, len(names)):
        made = b.slot("made")
        b.mkdirat(parent, names[depth - 1], 0o755, tolerate=(EEXIST,), out=made)
        b.release(made)
        below = b.openat2(
            root, "/".join(names[:depth]), f.O_PATH | f.O_DIRECTORY,
            resolve=f.RESOLVE_IN_ROOT, name=names[depth - 1],
        )
        if parent is not root:
            b.close(parent)
        parent = below
    return parent


def open_or_create(
    b: Builder, root: Slot, path: str, *, directory: bool, mode: int = 0o755,
    resolve: int = 0, note: str = "",
) -> Slot:
    """A descriptor (O_PATH) of what is at the path, an empty directory or file where nothing is.

    Where a directory is asked for, anything else is an error (ENOTDIR).
    """
    names = components(path)
    relative = "/".join(names) or "."
    flags = f.O_PATH | (f.O_DIRECTORY if directory else 0)
    found = b.openat2(
        root, relative, flags, resolve=f.RESOLVE_IN_ROOT | resolve, name=path,
        tolerate=(ENOENT,), note=note,
    )
    if not names:
        return found
    with b.if_failed(found):
        parent = ensure_parent(b, root, names)
        made = b.slot("made")
        if directory:
            b.mkdirat(parent, names[-1], mode, tolerate=(EEXIST,), out=made)
        else:
            # mknod makes a regular file without opening anything that is already there
            b.step("mknodat", parent, names[-1], f.S_IFREG | 0o644, 0, tolerate=(EEXIST,), out=made)
        b.release(made)
        if parent is not root:
            b.close(parent)
        b.openat2(root, relative, flags, resolve=f.RESOLVE_IN_ROOT | resolve, name=found, note=note)
    return found
