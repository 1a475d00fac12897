"""Id-mapped mounts (config.md, "Mounts"; mount_setattr(2), "ID-mapped mounts").

The kernel takes a mapping from a user namespace. The runtime makes one for each mapping before the
program runs, or opens the one that the container joins, and the program inherits its descriptor; what
those are is decided here. Pure.
"""

from pyrunc.compile.mount_options import USER_NAMESPACE, Options, is_mapped, parse
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder, mount_attr
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of the slots that a program can inherit, some are for other purposes.
_MAX_NAMESPACES = 20


class Mapping:
    """The user namespace of an id mapping.

    uids and gids are texts for uid_map and gid_map (user_namespaces(7)), which map ids of the source's
    file system to ids of the host; or path is a user namespace that exists. index is the mount's that
    asked for it first.
    """

    __slots__ = ("gids", "index", "path", "uids")

    def __init__(self, index: int, uids: str = "", gids: str = "", path: str = "") -> None:
        self.index = index
        self.uids = uids
        self.gids = gids
        self.path = path


def namespaces(config: "dict[str, Any]") -> tuple[dict[str, Mapping], dict[int, str]]:
    """The user namespaces that a configuration's mounts need by their descriptors' names, and those names
    by the mounts' indices. Raises Error for mappings that mean nothing."""
    found: dict[str, Mapping] = {}
    names: dict[int, str] = {}
    known: dict[tuple[str, str, str], str] = {}
    for i, mount in enumerate(config.get("mounts") or ()):
        options = parse(mount, i)
        if not is_mapped(mount, options):
            continue
        mapping = _mapping(config, mount, i, options)
        key = (mapping.uids, mapping.gids, mapping.path)
        if key not in known:
            known[key] = f"{USER_NAMESPACE}{len(found)}"
            found[known[key]] = mapping
        names[i] = known[key]
    if len(found) > _MAX_NAMESPACES:
        raise Error(
            f"the mounts have {len(found)} different id mappings, and more than {_MAX_NAMESPACES} are not "
            "supported; use fewer",
            pointer="/mounts",
        )
    return found, names


def apply(b: Builder, config: "dict[str, Any]", i: int, options: Options, mount: Slot) -> None:
    """Maps the ids of an unattached mount, with "ridmap" also of those below it."""
    attr = mount_attr(f.MOUNT_ATTR_IDMAP)
    b.store(attr, 24, b.inherit(namespaces(config)[1][i]), 8)
    at = f.AT_EMPTY_PATH | (f.AT_RECURSIVE if options.idmap == "ridmap" else 0)
    b.mount_setattr(mount, "", at, attr)


def _mapping(config: "dict[str, Any]", mount: "dict[str, Any]", i: int, options: Options) -> Mapping:
    linux = config.get("linux") or {}
    uids, gids = mount.get("uidMappings") or (), mount.get("gidMappings") or ()
    if bool(uids) != bool(gids):
        has, lacks = ("uidMappings", "gidMappings") if uids else ("gidMappings", "uidMappings")
        raise Error(f"a mount with {has} needs {lacks} too", pointer=f"/mounts/{i}/{lacks}")
    if uids:
        return Mapping(i, _text(uids), _text(gids))
    if options.mapping:
        return _of_option(linux, i, options.mapping)
    for space in linux.get("namespaces") or ():
        if space["type"] == "user":
            if space.get("path"):
                return Mapping(i, path=space["path"])
            return Mapping(i, _text(linux.get("uidMappings") or ()), _text(linux.get("gidMappings") or ()))
    raise Error(
        f"{options.idmap} without uidMappings and gidMappings takes those of the container's user namespace, "
        "and there is none; give the mount its mappings",
        pointer=f"/mounts/{i}/options",
    )


def _text(mappings: "Any") -> str:
    return "".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in mappings)


def _of_option(linux: "dict[str, Any]", i: int, text: str) -> Mapping:
    """crun's way to write mappings: "uids=0-1-10#10-11-10;gids=@0-100-10" (crun(1), "idmap mount
    options")."""
    pointer = f"/mounts/{i}/options"
    parts: dict[str, str] = {}
    for word in text.split(";"):
        kind, _, ranges = word.partition("=")
        if kind not in ("uids", "gids") or kind in parts:
            raise Error(f'"{word}" in an idmap option is not uids= or gids=; correct it', pointer=pointer)
        container = linux.get(f"{kind[:-1]}Mappings") or ()
        parts[kind] = "".join(_range(part, container, pointer) for part in ranges.split("#"))
    if len(parts) < 2:
        raise Error("an idmap option with mappings needs both uids= and gids=", pointer=pointer)
    return Mapping(i, parts["uids"], parts["gids"])


def _range(text: str, container: "Any", pointer: str) -> str:
    """A line of uid_map; with "@" the host's id is one of the container's user namespace."""
    numbers = text.removeprefix("@").split("-")
    if len(numbers) != 3 or not all(number.isdigit() for number in numbers):
        raise Error(f'the id range "{text}" is not of the form ID-HOSTID-SIZE', pointer=pointer)
    inside, outside, size = map(int, numbers)
    if text[0] == "@":
        for m in container:
            if m["containerID"] <= outside and outside + size <= m["containerID"] + m["size"]:
                outside += m["hostID"] - m["containerID"]
                break
        else:
            raise Error(
                f'the id range "{text}" is not within one range of the container\'s user namespace; split it',
                pointer=pointer,
            )
    return f"{inside} {outside} {size}\n"
