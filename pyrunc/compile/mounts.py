"""Mounts (config.md, "Mounts"): each one made unattached, given its options, and then attached.

A mount's target is a descriptor proven to lie in the root file system and not in a procfs, so
that no image can make the runtime mount elsewhere, or over /proc (CVE-2019-16884, CVE-2021-30465).
"""

from pyrunc.compile import cgroup_mounts
from pyrunc.compile.mount_options import Options, parse
from pyrunc.compile.mounting import finish, new_mount, set_attributes, target
from pyrunc.compile.namespaces import Namespaces
from pyrunc.compile.paths import components
from pyrunc.compile.syncs import SYNC_COPY_UP
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


def bind_sources(
    b: Builder, config: "dict[str, Any]", facts: "Facts", request: "Request"
) -> dict[int, Slot]:
    """Copies of the bind mounts' sources, made by stage 1 before it enters a user namespace,
    whose root may not reach them."""
    trees: dict[int, Slot] = {}
    for i, mount in enumerate(config.get("mounts") or ()):
        options = parse(mount, i)
        if options.bind and not options.remount:
            b.origin = f"/mounts/{i}"
            trees[i] = _clone_source(b, mount, i, options, facts, request)
            b.mount_setattr(
                trees[i], "", f.AT_EMPTY_PATH | f.AT_RECURSIVE, mount_attr(propagation=f.MS_SLAVE)
            )
    return trees


def _clone_source(
    b: Builder, mount: "dict[str, Any]", i: int, options: Options, facts: "Facts", request: "Request"
) -> Slot:
    source = source_path(mount, request.bundle)
    if source not in facts.sources:
        raise Error(
            f"the source {source} of the mount at {mount['destination']} does not exist; "
            "create it or correct the path",
            pointer=f"/mounts/{i}/source",
        )
    flags = f.OPEN_TREE_CLONE | (f.AT_RECURSIVE if options.recursive else 0)
    return b.open_tree(f.AT_FDCWD, source, flags, "source", note=f"for {mount['destination']}")


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
        if options.remount:
            _remount(b, mount, options, root)
        elif options.bind:
            tree = trees.get(i) or _clone_source(b, mount, i, options, facts, request)
            _bind(b, mount, options, root, tree, facts.sources[source_path(mount, request.bundle)])
        elif kind in ("cgroup", "cgroup2"):
            cgroup_mounts.compile_mount(b, mount, options, facts, namespaces, root)
        elif not kind:
            raise Error(
                'the mount has no type; name a file system, or add "bind" to its options',
                pointer=f"/mounts/{i}/type",
            )
        elif any(len(value or "") > _FSCONFIG_STRING_MAX for _, value in options.data):
            _long_options(b, mount, options, root)
        else:
            if options.copy_up and facts.rootless:
                raise Error(
                    "tmpcopyup needs a runtime that is root; run as root, or remove the option",
                    pointer=f"/mounts/{i}/options",
                )
            _file_system(b, mount, options, root, mounted)
    b.note = ""
    b.origin = ""
    return mounted


def _bind(
    b: Builder, mount: "dict[str, Any]", options: Options, root: Slot, tree: Slot, source_mode: int
) -> None:
    directory = source_mode & f.S_IFMT == f.S_IFDIR
    set_attributes(b, tree, options)
    fd = target(b, root, mount["destination"], directory=directory)
    b.move_mount(tree, fd)
    b.close(fd)
    finish(b, tree, options)
    b.close(tree)


def _remount(b: Builder, mount: "dict[str, Any]", options: Options, root: Slot) -> None:
    relative = "/".join(components(mount["destination"]))
    fd = b.openat2(root, relative, f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name=mount["destination"])
    set_attributes(b, fd, options)
    finish(b, fd, options)
    b.close(fd)


def _file_system(
    b: Builder, mount: "dict[str, Any]", options: Options, root: Slot, mounted: Mounted
) -> None:
    kind = mount["type"]
    inherits_mode = kind == "tmpfs" and not any(key == "mode" for key, _ in options.data)
    fd = target(
        b, root, mount["destination"], directory=True, ordinary=kind in ("proc", "sysfs"),
        mode=0o1777 if inherits_mode else 0o755,
    )
    readonly = options.set & f.MOUNT_ATTR_RDONLY if inherits_mode or options.copy_up else 0
    options.set &= ~readonly
    new = new_mount(b, kind, mount.get("source", kind), options)
    if inherits_mode:
        # The mount takes the place of a directory whose mode the image chose (/tmp: 1777).
        b.statx(fd, "", f.AT_EMPTY_PATH, f.STATX_BASIC_STATS)
        mode = b.load(STATX_MODE, 2, 0o7777, "mode")
        b.step("fchmodat", new, ".", mode)
        b.release(mode)
    if options.copy_up:
        b.sync(SYNC_COPY_UP, fd, new)
    if readonly:
        b.mount_setattr(new, "", f.AT_EMPTY_PATH, mount_attr(readonly))
    b.move_mount(new, fd)
    b.close(fd)
    finish(b, new, options)
    if kind == "proc" and mounted.proc is None and not options.data:
        mounted.proc = new
    elif kind == "devpts" and mounted.devpts is None:
        mounted.devpts = new
    else:
        b.close(new)


def _long_options(b: Builder, mount: "dict[str, Any]", options: Options, root: Slot) -> None:
    """Options too long for fsconfig(2), as many overlay layers have: mount(2) on the directory
    that fchdir(2) has entered, which is again no path."""
    fd = target(b, root, mount["destination"], directory=True)
    data = ",".join(
        [*options.superblock, *(key if value is None else f"{key}={value}" for key, value in options.data)]
    )
    b.step("fchdir", fd)
    b.step("mount", mount.get("source", mount["type"]), ".", mount["type"], 0, data)
    b.close(fd)
    new = b.openat2(
        root, "/".join(components(mount["destination"])), f.O_PATH | f.O_DIRECTORY,
        resolve=f.RESOLVE_IN_ROOT, name=mount["destination"],
    )
    set_attributes(b, new, options)
    finish(b, new, options)
    b.close(new)
