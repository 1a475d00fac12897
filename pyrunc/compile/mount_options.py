"""A mount's options sorted by what they act on (config.md, "Mounts", "Linux mount options")."""

from pyrunc.errors import Error
from pyrunc.linux.mounts import ATTRIBUTES, PROPAGATION, RECURSIVE, SUPERBLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LINKS = {"copy-symlink": "copy_symlink", "src-nofollow": "src_nofollow", "dest-nofollow": "dest_nofollow"}
USER_NAMESPACE = "idmap-"


def is_mapped(mount: "dict[str, Any]", options: "Options") -> bool:
    """Whether a mount maps ids."""
    return bool(options.idmap or mount.get("uidMappings") or mount.get("gidMappings"))


class Options:
    """set and clear are MOUNT_ATTR_* of the mount itself, recursive_* of all mounts below too;
    propagation is a list of (MS_*, recursive); superblock (words) and data go to the file system; idmap is
    "idmap" or "ridmap", and mapping what follows it, as crun has it ("uids=0-1-10;gids=0-1-10")."""

    __slots__ = (
        "bind", "clear", "copy_symlink", "copy_up", "data", "dest_nofollow", "idmap", "mapping",
        "propagation", "recursive", "recursive_clear", "recursive_set", "remount", "set", "src_nofollow",
        "superblock",
    )

    def __init__(self) -> None:
        self.set = self.clear = self.recursive_set = self.recursive_clear = 0
        self.propagation: list[tuple[int, bool]] = []
        self.superblock: list[str] = []
        self.data: list[tuple[str, str | None]] = []
        self.bind = self.recursive = self.remount = self.copy_up = False
        self.copy_symlink = self.src_nofollow = self.dest_nofollow = False
        self.idmap = self.mapping = ""


def parse(mount: "dict[str, Any]", i: int) -> Options:
    """Sorts the options of /mounts/i; later ones override earlier ones, as in mount(8)."""
    result = Options()
    result.bind = mount.get("type") == "bind"
    unknown: list[tuple[str, int]] = []
    links: list[tuple[str, int]] = []
    for j, option in enumerate(mount.get("options") or ()):
        if option in ATTRIBUTES:
            on, off = ATTRIBUTES[option]
            result.set = result.set & ~off | on
            result.clear = result.clear & ~on | off
        elif option in RECURSIVE:
            on, off = RECURSIVE[option]
            result.recursive_set = result.recursive_set & ~off | on
            result.recursive_clear = result.recursive_clear & ~on | off
        elif option in PROPAGATION:
            result.propagation.append(PROPAGATION[option])
        elif option in ("bind", "rbind"):
            result.bind = True
            result.recursive = option == "rbind"
        elif option == "remount":
            result.remount = True
        elif option == "tmpcopyup":
            if mount.get("type") != "tmpfs":
                raise Error("tmpcopyup is an option of tmpfs mounts", pointer=f"/mounts/{i}/options/{j}")
            result.copy_up = True
        elif option in SUPERBLOCK:
            if SUPERBLOCK[option] != (0, 0):
                result.superblock.append(option)
        elif option in _LINKS:
            setattr(result, _LINKS[option], True)
            links.append((option, j))
        elif option.partition("=")[0] in ("idmap", "ridmap"):
            result.idmap, _, result.mapping = option.partition("=")
        elif option:
            key, equals, value = option.partition("=")
            result.data.append((key, value if equals else None))
            unknown.append((option, j))
    if result.bind and unknown:
        option, j = unknown[0]
        raise Error(
            f'"{option}" is not an option of bind mounts; remove it, or name a file system type',
            pointer=f"/mounts/{i}/options/{j}",
        )
    if links and (not result.bind or result.remount):
        option, j = links[0]
        raise Error(f'"{option}" is an option of bind mounts', pointer=f"/mounts/{i}/options/{j}")
    if result.copy_symlink and len(links) > 1:
        raise Error(
            "copy-symlink makes a link instead of a mount; remove it, or src-nofollow and dest-nofollow",
            pointer=f"/mounts/{i}/options",
        )
    return result
