"""Mounts (config.md, "Mounts"): each one made unattached, given its options, and then attached.

A mount's target is a descriptor proven to lie in the root file system and not in a procfs, so
that no image can make the runtime mount elsewhere, or over /proc (CVE-2019-16884, CVE-2021-30465).
"""

from pyrunc.compile import cgroup_mounts
from pyrunc.compile.mount_options import USER_NAMESPACE, Options, is_mapped, parse
from pyrunc.compile.mounting import (
    KERNEL_FILE_SYSTEMS,
    attributes,
    configure,
    finish,
    new_mount,
    option_text,
    set_attributes,
    superblock_flags,
    target,
)
from pyrunc.compile.namespaces import Namespaces
from pyrunc.compile.paths import components
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import STATX_MODE, Builder, mount_attr
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts, Request

# fsconfig(2) takes strings of at most 256 bytes with their NUL; longer ones go through mount(2).
_FSCONFIG_STRING_MAX = 255


class Mounted:
    """Descriptors of the container's own proc and devpts mounts, for the steps that need them."""

    __slots__ = ("devpts", "proc")

    def __init__(self) -> None:
        self.proc: Slot | None = None
        self.devpts: Slot | None = None


def source_path(mount: "dict[str, Any]", bundle: str) -> str:
    """The absolute path of a bind mount's source, which may be relative to the bundle."""
    source: str = mount.get("source", "")
    return source if source.startswith("/") else f"{bundle}/{source}"


def inherit(b: Builder, config: "dict[str, Any]", facts: "Facts") -> None:
    """Gives the user namespaces of id mappings their slots."""
    for i, mount in enumerate(config.get("mounts") or ()):
        words = mount.get("options") or ()
        if "uidMappings" not in mount and "gidMappings" not in mount and not any("idmap" in w for w in words):
            continue  # without parsing once more
        if is_mapped(mount, parse(mount, i)):
            from pyrunc.compile import idmaps

            if facts.rootless:
                raise Error(
                    "an id-mapped mount needs a runtime that is root; run as root, or remove the mapping",
                    pointer=f"/mounts/{i}",
                )
            for name in idmaps.namespaces(config)[0]:
                b.inherit(name)
            return


def bind_sources(
    b: Builder, config: "dict[str, Any]", facts: "Facts", request: "Request"
) -> dict[int, Slot]:
    """Copies of the bind mounts' sources, made by stage 1 before it enters a user namespace,
    whose root may not reach them."""
    trees: dict[int, Slot] = {}
    for i, mount in enumerate(config.get("mounts") or ()):
        options = parse(mount, i)
        if options.bind and not options.remount and not _copied(mount, options, facts, request):
            b.origin = f"/mounts/{i}"
            trees[i] = _clone_source(b, config, mount, i, options, facts, request)
            b.mount_setattr(
                trees[i], "", f.AT_EMPTY_PATH | f.AT_RECURSIVE, mount_attr(propagation=f.MS_SLAVE)
            )
    return trees


def _copied(mount: "dict[str, Any]", options: Options, facts: "Facts", request: "Request") -> bool:
    """Whether a symbolic link is made instead of the mount."""
    return options.copy_symlink and source_path(mount, request.bundle) in facts.links


def _clone_source(
    b: Builder, config: "dict[str, Any]", mount: "dict[str, Any]", i: int, options: Options, facts: "Facts",
    request: "Request",
) -> Slot:
    """An unattached copy of a bind mount's source, with its id mapping, which is part of the copy."""
    source = source_path(mount, request.bundle)
    link = options.src_nofollow and source in facts.links
    if source not in facts.sources and not link:
        raise Error(
            f"the source {source} of the mount at {mount['destination']} does not exist; "
            "create it or correct the path",
            pointer=f"/mounts/{i}/source",
        )
    flags = f.OPEN_TREE_CLONE | (f.AT_RECURSIVE if options.recursive else 0)
    flags |= f.AT_SYMLINK_NOFOLLOW if link else 0
    tree = b.open_tree(f.AT_FDCWD, source, flags, "source", note=f"for {mount['destination']}")
    if is_mapped(mount, options):
        from pyrunc.compile import idmaps

        idmaps.apply(b, config, i, options, tree)
    return tree


def compile_mounts(
    b: Builder, config: "dict[str, Any]", facts: "Facts", request: "Request", namespaces: Namespaces,
    root: Slot, trees: dict[int, Slot],
) -> Mounted:
    """All mounts, in the order of the configuration."""
    mounted = Mounted()
    for i, mount in enumerate(config.get("mounts") or ()):
        b.origin = f"/mounts/{i}"
        b.note = f"for {mount['destination']}"
        options = parse(mount, i)
        if not components(mount["destination"]):
            raise Error("a mount's destination cannot be the root itself", pointer=f"/mounts/{i}/destination")
        kind = mount.get("type", "")
        direct = any(len(value or "") > _FSCONFIG_STRING_MAX for _, value in options.data)
        if superblock_flags(options) & f.MS_I_VERSION and not options.bind:
            if options.remount or (kind in KERNEL_FILE_SYSTEMS and kind != "tmpfs"):
                b.warn(f"/mounts/{i}/options", '"iversion" does nothing on this mount')
            else:
                direct = direct or kind != "tmpfs"
        unmappable = direct or options.remount or kind in ("cgroup", "cgroup2", "overlay")
        if unmappable and is_mapped(mount, options):
            raise Error(
                "the ids of this mount cannot be mapped, only those of a bind mount or a new, simple one",
                pointer=f"/mounts/{i}",
            )
        if options.remount:
            _remount(b, mount, options, root)
        elif options.bind and _copied(mount, options, facts, request):
            from pyrunc.compile import symlinks

            symlinks.copy(b, root, mount["destination"], facts.links[source_path(mount, request.bundle)])
        elif options.bind:
            tree = trees.get(i) or _clone_source(b, config, mount, i, options, facts, request)
            _bind(b, mount, i, options, root, tree, facts.sources.get(source_path(mount, request.bundle), 0))
        elif kind in ("cgroup", "cgroup2"):
            cgroup_mounts.compile_mount(b, mount, options, facts, namespaces, root)
        elif not kind:
            raise Error(
                'the mount has no type; name a file system, or add "bind" to its options',
                pointer=f"/mounts/{i}/type",
            )
        elif direct:
            if kind == "overlay":
                from pyrunc.compile import overlay

                overlay.compile_mount(b, mount, i, options, root)
            else:
                _directly(b, mount, options, root)
        else:
            _file_system(b, config, mount, i, options, root, mounted)
    for name, slot in b.program.inherited.items():
        if name.startswith(USER_NAMESPACE):
            b.close(slot)
    b.note = ""
    b.origin = ""
    return mounted


def _bind(
    b: Builder, mount: "dict[str, Any]", i: int, options: Options, root: Slot, tree: Slot, source_mode: int
) -> None:
    for word in options.superblock:
        b.warn(f"/mounts/{i}/options", f'"{word}" acts on file systems, and does nothing on a bind mount')
    directory = source_mode & f.S_IFMT == f.S_IFDIR
    set_attributes(b, tree, options)
    fd = target(b, root, mount["destination"], directory=directory, nofollow=options.dest_nofollow)
    b.move_mount(tree, fd)
    b.close(fd)
    finish(b, tree, options)
    b.close(tree)


def _remount(b: Builder, mount: "dict[str, Any]", options: Options, root: Slot) -> None:
    relative = "/".join(components(mount["destination"]))
    fd = b.openat2(root, relative, f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name=mount["destination"])
    if options.data or options.superblock:
        fs = b.fspick(fd)
        configure(b, fs, options)
        b.step("fsconfig", fs, f.FSCONFIG_CMD_RECONFIGURE, 0, 0, 0)
        b.close(fs)
    set_attributes(b, fd, options)
    finish(b, fd, options)
    b.close(fd)


def _file_system(
    b: Builder, config: "dict[str, Any]", mount: "dict[str, Any]", i: int, options: Options, root: Slot,
    mounted: Mounted,
) -> None:
    kind = mount["type"]
    inherits_mode = kind == "tmpfs" and not any(key == "mode" for key, _ in options.data)
    fd = target(
        b, root, mount["destination"], directory=True, ordinary=kind in ("proc", "sysfs"),
        mode=0o1777 if inherits_mode else 0o755,
    )
    readonly = attributes(options) & f.MOUNT_ATTR_RDONLY if inherits_mode or options.copy_up else 0
    options.set &= ~readonly
    options.recursive_set &= ~readonly
    new = new_mount(b, kind, mount.get("source", kind), options)
    if inherits_mode:
        # The mount takes the place of a directory whose mode the image chose (/tmp: 1777).
        b.statx(fd, "", f.AT_EMPTY_PATH, f.STATX_BASIC_STATS)
        mode = b.load(STATX_MODE, 2, 0o7777, "mode")
        b.step("fchmodat", new, ".", mode)
        b.release(mode)
    if options.copy_up:
        b.step("copy_up", fd, new)
    if readonly:
        b.mount_setattr(new, "", f.AT_EMPTY_PATH, mount_attr(readonly))
    if is_mapped(mount, options):
        from pyrunc.compile import idmaps

        idmaps.apply(b, config, i, options, new)
    b.move_mount(new, fd)
    b.close(fd)
    if kind == "tmpfs" and superblock_flags(options) & f.MS_I_VERSION:
        _count_versions(b, options, new, attributes(options) | readonly)
    finish(b, new, options)
    if kind == "proc" and mounted.proc is None and not options.data:
        mounted.proc = new
    elif kind == "devpts" and mounted.devpts is None:
        mounted.devpts = new
    else:
        b.close(new)


def _count_versions(b: Builder, options: Options, new: Slot, attributes: int) -> None:
    """The option iversion of a tmpfs, for which fsconfig(2) has no word: mount(2) changes a mount that is
    attached. It takes the file system's options and the mount's attributes once more, but for the access
    times (path_mount() in the kernel)."""
    b.step("fchdir", new)
    b.step("mount", "", ".", "", f.MS_REMOUNT | superblock_flags(options) & ~f.MS_RDONLY, _data(b, options))
    attributes &= ~(f.MOUNT_ATTR__ATIME | f.MOUNT_ATTR_NODIRATIME)
    if attributes:
        b.mount_setattr(new, "", f.AT_EMPTY_PATH, mount_attr(attributes))


def _data(b: Builder, options: Options) -> str:
    return option_text(b, [key if value is None else f"{key}={value}" for key, value in options.data])


def _directly(b: Builder, mount: "dict[str, Any]", options: Options, root: Slot) -> None:
    """Options that fsconfig(2) does not take, by length or kind: mount(2) on the directory that fchdir(2)
    has entered, which is again no path. It leaves the flags of a file system alone that the host has
    mounted already."""
    fd = target(b, root, mount["destination"], directory=True)
    b.step("fchdir", fd)
    b.step(
        "mount", mount.get("source", mount["type"]), ".", mount["type"], superblock_flags(options),
        _data(b, options),
    )
    b.close(fd)
    new = b.openat2(
        root, "/".join(components(mount["destination"])), f.O_PATH | f.O_DIRECTORY,
        resolve=f.RESOLVE_IN_ROOT, name=mount["destination"],
    )
    set_attributes(b, new, options)
    finish(b, new, options)
    b.close(new)
