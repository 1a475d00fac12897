"""A mount's options sorted by what they act on (config.md, "Mounts", "Linux mount options")."""

from pyrunc.errors import Error
from pyrunc.linux.mounts import ATTRIBUTES, PROPAGATION, RECURSIVE, SUPERBLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LATER = ("idmap", "ridmap")


class Options:
    """set and clear are MOUNT_ATTR_* of the mount itself, recursive_* of all mounts below too;
    propagation is a list of (MS_*, recursive); superblock and data go to the file system."""

    __slots__ = (
        "bind", "clear", "copy_up", "data", "propagation", "recursive", "recursive_clear", "recursive_set",
        "remount", "set", "superblock",
    )

    def __init__(self) -> None:
        self.set = self.clear = self.recursive_set = self.recursive_clear = 0
        self.propagation: list[tuple[int, bool]] = []
        self.superblock: list[str] = []
        self.data: list[tuple[str, str | None]] = []
        self.bind = self.recursive = self.remount = self.copy_up = False


def parse(mount: "dict[str, Any]", i: int) -> Options:
    """Sorts the options of /mounts/i; later ones override earlier ones, as in mount(8)."""
    result = Options()
    result.bind = mount.get("type") == "bind"
    unknown: list[tuple[str, int]] = []
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
            if SUPERBLOCK[option]:
                result.superblock.append(SUPERBLOCK[option])
        elif option in _LATER:
            raise Error(
                f'the mount option "{option}" is not supported', pointer=f"/mounts/{i}/options/{j}"
            )
        elif option:
            key, equals, value = option.partition("=")
            result.data.append((key, value if equals else None))
            unknown.append((option, j))
    if result.bind and not result.remount and unknown:
        option, j = unknown[0]
        raise Error(
            f'"{option}" is not an option of bind mounts; remove it, or name a file system type',
            pointer=f"/mounts/{i}/options/{j}",
        )
    return result
