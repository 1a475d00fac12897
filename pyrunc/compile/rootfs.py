"""The root file system: attached in the container's mount namespace, and made its root.

config.md "Root", config-linux.md "Rootfs Mount Propagation". Between `attach` and `enter`
everything inside is reached below the descriptor that `attach` returns.
"""

from errno import EINVAL, EPERM

from pyrunc.compile.mount_options import parse
from pyrunc.compile.namespaces import Namespaces
from pyrunc.compile.paths import components
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.linux.mounts import PROPAGATION
from pyrunc.program.build import Builder, mount_attr
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts


def _propagation(config: "dict[str, Any]") -> tuple[int, bool] | None:
    name = config.get("linux", {}).get("rootfsPropagation")
    return PROPAGATION[name] if name else None


def _set_propagation(b: Builder, path: str, flag: int, recursive: bool) -> None:
    root = b.open_tree(f.AT_FDCWD, path, 0, path)
    at = f.AT_EMPTY_PATH | (f.AT_RECURSIVE if recursive else 0)
    b.mount_setattr(root, "", at, mount_attr(propagation=flag))
    b.close(root)


def clone_tree(b: Builder, facts: "Facts") -> Slot:
    """An unattached copy of the root file system's mount tree."""
    b.origin = "/root/path"
    return b.open_tree(
        f.AT_FDCWD, facts.rootfs, f.OPEN_TREE_CLONE | f.AT_RECURSIVE, "rootfs",
        note=f"the root file system {facts.rootfs}",
    )


def attach(
    b: Builder, config: "dict[str, Any]", facts: "Facts", namespaces: Namespaces, tree: Slot | None
) -> Slot:
    """Attaches the root file system over its own path; returns its descriptor.

    tree is a copy made by stage 1, where the container's user may not reach the path.
    Without a mount namespace nothing is attached: that would change the host.
    """
    if not namespaces.own(f.CLONE_NEWNS):
        b.origin = "/root/path"
        return b.openat2(
            f.AT_FDCWD, facts.rootfs, f.O_PATH | f.O_DIRECTORY, resolve=0, name="rootfs",
        )
    # Nothing that is mounted from here on may reach the host's mount namespace.
    b.origin = "/linux/rootfsPropagation"
    wanted = _propagation(config)
    if wanted is not None and wanted[0] == f.MS_SHARED:
        _set_propagation(b, "/", f.MS_SHARED, wanted[1])
        # pivot_root(2) refuses a root whose parent mount is shared, and attaching to a shared
        # mount would show on the host.
        _set_propagation(b, facts.rootfs_mount_point, f.MS_PRIVATE, False)
    elif wanted is not None and wanted[0] == f.MS_PRIVATE:
        _set_propagation(b, "/", f.MS_PRIVATE, True)
    else:
        _set_propagation(b, "/", f.MS_SLAVE, True)
    if tree is None:
        tree = clone_tree(b, facts)
    else:
        b.origin = "/root/path"
        # A copy made in the host's mount namespace would still propagate to it.
        b.mount_setattr(tree, "", f.AT_EMPTY_PATH | f.AT_RECURSIVE, mount_attr(propagation=f.MS_SLAVE))
    target = b.openat2(
        f.AT_FDCWD, facts.rootfs, f.O_PATH | f.O_DIRECTORY, resolve=0, name="rootfs-path",
    )
    b.move_mount(tree, target)
    b.close(target)
    return tree


def make_readonly(b: Builder, config: "dict[str, Any]", namespaces: Namespaces, root: Slot) -> None:
    """A read-only root, which leaves the mounts below it as they are."""
    if config["root"].get("readonly"):
        b.origin = "/root/readonly"
        if not namespaces.own(f.CLONE_NEWNS):
            raise Error(
                "a read-only root needs a mount namespace; add one to /linux/namespaces",
                pointer="/root/readonly",
            )
        b.mount_setattr(root, "", f.AT_EMPTY_PATH, mount_attr(f.MOUNT_ATTR_RDONLY))


def enter(
    b: Builder, config: "dict[str, Any]", facts: "Facts", namespaces: Namespaces, root: Slot, *, pivot: bool
) -> None:
    """Makes the root file system the root; closes its descriptor."""
    wanted = _propagation(config)
    shared = wanted is not None and wanted[0] == f.MS_SHARED
    b.origin = "/root/path"
    b.step("fchdir", root)
    if not namespaces.own(f.CLONE_NEWNS):
        b.close(root)
        b.step("chroot", ".")
    elif pivot:
        b.close(root)
        # Mounts that are still shared with the host's would be unmounted there too.
        old = None
        if shared:
            old = b.openat2(f.AT_FDCWD, "/", f.O_PATH | f.O_DIRECTORY, resolve=0, name="old-root")
        # pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one, and
        # is unmounted there, so that no directory for it is needed in the root file system.
        b.step("pivot_root", ".", ".")
        if old is not None:
            b.mount_setattr(old, "", f.AT_EMPTY_PATH | f.AT_RECURSIVE, mount_attr(propagation=f.MS_SLAVE))
            b.close(old)
        b.step("umount2", ".", f.UMOUNT_MNT_DETACH)
    else:
        _move_over_root(b, facts, root, shared=shared)
    b.step("chdir", "/")
    if wanted is not None:
        b.origin = "/linux/rootfsPropagation"
        _propagate(b, config, *wanted)


def _propagate(b: Builder, config: "dict[str, Any]", flag: int, recursive: bool) -> None:
    """The propagation of the container's root, and with the recursive forms of all its mounts but
    those that have an option of their own. Slave and private they already are."""
    recursive = recursive and flag in (f.MS_SHARED, f.MS_UNBINDABLE)
    _set_propagation(b, "/", flag, recursive)
    if recursive:
        for i, mount in enumerate(config.get("mounts") or ()):
            b.origin = f"/mounts/{i}"
            for option in parse(mount, i).propagation:
                _set_propagation(b, "/" + "/".join(components(mount["destination"])), *option)


def _move_over_root(b: Builder, facts: "Facts", root: Slot, *, shared: bool) -> None:
    """--no-pivot: the root file system is moved over a root that cannot be pivoted (a ramfs).

    The host's proc and sysfs would stay mounted below, fully visible, which lets a user namespace
    inside mount new ones in spite of masked paths; so they are unmounted, or covered.
    """
    for path in facts.proc_mounts:
        if shared:
            _set_propagation(b, path, f.MS_SLAVE, True)
        gone = b.slot("unmounted")
        b.step("umount2", path, f.UMOUNT_MNT_DETACH, tolerate=(EINVAL, EPERM), out=gone)
        with b.if_failed(gone):
            fs = b.fsopen("tmpfs")
            b.fsconfig_create(fs)
            cover = b.fsmount(fs, f.MOUNT_ATTR_RDONLY, "cover")
            under = b.openat2(f.AT_FDCWD, path, f.O_PATH | f.O_DIRECTORY, resolve=0, name=path)
            b.move_mount(cover, under)
            b.close(cover)
            b.close(under)
        b.release(gone)
    top = b.openat2(f.AT_FDCWD, "/", f.O_PATH | f.O_DIRECTORY, resolve=0, name="/")
    b.move_mount(root, top)
    b.close(top)
    b.close(root)
    b.step("chroot", ".")
