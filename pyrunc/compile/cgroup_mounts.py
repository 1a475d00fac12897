"""Mounts of type cgroup: the container's view of its control groups, in each layout.

On v2 it is one file system. On v1 it is a tmpfs with a directory for each hierarchy. With a cgroup
namespace the hierarchies are mounted anew and show the container's group as their root; without one,
the container's own groups (v1) or the host's tree (v2) are bound. What is not the container's alone is
read-only where its root is an ordinary user of the host, to whom it may belong (CVE-2023-25809).
"""

from errno import EEXIST

from pyrunc.compile import mounting
from pyrunc.compile.mount_options import Options
from pyrunc.compile.namespaces import Namespaces
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder, mount_attr
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts


def compile_mount(
    b: Builder, mount: "dict[str, Any]", options: Options, facts: "Facts", namespaces: Namespaces, root: Slot
) -> None:
    layout = facts.layout
    own = namespaces.own(f.CLONE_NEWCGROUP)
    if layout is None or not (layout.v1 or layout.v2):
        raise Error(
            "no cgroup file system is mounted on this host; remove the mount",
            pointer=b.origin,
        )
    if layout.pure_v2 or (mount["type"] == "cgroup2" and layout.v2 is not None):
        if not own or not _has_own(facts, ""):
            _protect(b, options, facts, namespaces)
        fd = mounting.target(b, root, mount["destination"], directory=True)
        if own:
            tree = mounting.new_mount(b, "cgroup2", mount.get("source", "cgroup"), options)
        else:
            # A new mount from the host's namespace would reset the tree's own options
            # (nsdelegate, memory_recursiveprot), see cgroup_get_tree() in the kernel.
            tree = b.open_tree(f.AT_FDCWD, layout.v2 or "", f.OPEN_TREE_CLONE, "cgroup2")
            mounting.set_attributes(b, tree, options)
        b.move_mount(tree, fd)
        b.close(fd)
        mounting.finish(b, tree, options)
        b.close(tree)
        return
    _hierarchies(b, mount, options, facts, namespaces, root)


def _has_own(facts: "Facts", controller: str) -> bool:
    """Whether the container has a cgroup of its own in a hierarchy, and not only the runtime's."""
    return facts.cgroups is not None and controller in facts.cgroups.directories


def _protect(b: Builder, options: Options, facts: "Facts", namespaces: Namespaces) -> None:
    """Makes a mount read-only that shows cgroups of others, if the container's root may own them."""
    if options.set & f.MOUNT_ATTR_RDONLY or not (facts.rootless or namespaces.own(f.CLONE_NEWUSER)):
        return
    options.set |= f.MOUNT_ATTR_RDONLY
    options.clear &= ~f.MOUNT_ATTR_RDONLY
    b.warn(
        b.origin,
        "the mount shows control groups that are not the container's alone, and so is read-only; "
        "a cgroup namespace and a cgroup of its own make it writable",
    )


def _hierarchies(
    b: Builder, mount: "dict[str, Any]", options: Options, facts: "Facts", namespaces: Namespaces, root: Slot
) -> None:
    """Every v1 hierarchy below a tmpfs, and a symbolic link for each controller mounted jointly."""
    assert facts.layout is not None
    own = namespaces.own(f.CLONE_NEWCGROUP)
    fd = mounting.target(b, root, mount["destination"], directory=True)
    fs = b.fsopen("tmpfs")
    b.fsconfig_set(fs, "source", "tmpfs")
    b.fsconfig_set(fs, "mode", "755")
    b.fsconfig_create(fs)
    attributes = f.MOUNT_ATTR_NOSUID | f.MOUNT_ATTR_NODEV | f.MOUNT_ATTR_NOEXEC
    tmpfs = b.fsmount(fs, attributes, "cgroups")
    b.move_mount(tmpfs, fd)
    b.close(fd)
    by_mount_point: dict[str, list[str]] = {}
    for controller, mount_point in facts.layout.v1.items():
        by_mount_point.setdefault(mount_point, []).append(controller)
    directories = facts.cgroups.directories if facts.cgroups is not None else {}
    for mount_point, controllers in by_mount_point.items():
        name = mount_point.rsplit("/", 1)[1]
        b.mkdirat(tmpfs, name)
        below = b.openat2(
            tmpfs, name, f.O_PATH | f.O_DIRECTORY, resolve=f.RESOLVE_IN_ROOT, name=name,
        )
        source = directories.get(controllers[0])
        if source is None:
            # Of the hierarchies of others the container sees the runtime's group, in which it stays.
            source = mount_point + facts.layout.own.get(controllers[0], "/").rstrip("/")
        foreign = 0 if controllers[0] in directories else f.MOUNT_ATTR_RDONLY
        if own:
            tree = _new_hierarchy(b, controllers, mounting.attributes(options) | foreign)
        else:
            tree = b.open_tree(f.AT_FDCWD, source, f.OPEN_TREE_CLONE, f"{name}-tree")
            mounting.set_attributes(b, tree, options)
            if foreign:
                b.mount_setattr(tree, "", f.AT_EMPTY_PATH, mount_attr(foreign))
        b.move_mount(tree, below)
        b.close(tree)
        b.close(below)
        for controller in controllers:
            if controller != name and not controller.startswith("name="):
                made = b.slot("made")
                b.step("symlinkat", name, tmpfs, controller, tolerate=(EEXIST,), out=made)
                b.release(made)
    if options.set & f.MOUNT_ATTR_RDONLY:
        b.mount_setattr(tmpfs, "", f.AT_EMPTY_PATH, mount_attr(f.MOUNT_ATTR_RDONLY))
    mounting.finish(b, tmpfs, options)
    b.close(tmpfs)


def _new_hierarchy(b: Builder, controllers: list[str], attributes: int) -> Slot:
    fs = b.fsopen("cgroup")
    b.fsconfig_set(fs, "source", "cgroup")
    for controller in controllers:
        if controller.startswith("name="):
            b.fsconfig_set(fs, "none", None)
            b.fsconfig_set(fs, "name", controller[5:])
        else:
            b.fsconfig_set(fs, controller, None)
    b.fsconfig_create(fs)
    return b.fsmount(fs, attributes, controllers[0])
