"""An overlay with more layers than fsconfig(2) or a page of mount(2)'s options take as paths.

Each directory gets a symbolic link with a short name in a tmpfs of the program's own, and the options
name those, relative to the working directory: the option lowerdir+ would need Linux 6.8. The tmpfs lies
on the destination while the overlay is made in it; then it is unmounted, and a copy of the overlay's
mount takes its place.
"""

from pyrunc.compile import mounting
from pyrunc.compile.mount_options import Options
from pyrunc.compile.paths import components
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# mount(2) takes a page of options with their NUL.
_MAX_OPTIONS = 4095
_PATHS = ("lowerdir", "upperdir", "workdir")


def compile_mount(b: Builder, mount: "dict[str, Any]", i: int, options: Options, root: Slot) -> None:
    links: list[str] = []
    words = []
    for key, value in options.data:
        if key in _PATHS and value:
            separated = split(value) if key == "lowerdir" else [value]
            words.append(f"{key}=" + ":".join(_name(path, links, i) for path in separated))
        else:
            words.append(key if value is None else f"{key}={value}")
    data = mounting.option_text(b, words)
    if len(data) > _MAX_OPTIONS:
        raise Error(
            f"the overlay's options are longer than {_MAX_OPTIONS} bytes even with short names for its "
            f"{len(links)} directories; use fewer layers",
            pointer=f"/mounts/{i}/options",
        )
    fd = mounting.target(b, root, mount["destination"], directory=True)
    tmpfs = b.fsopen("tmpfs")
    b.fsconfig_create(tmpfs)
    attributes = f.MOUNT_ATTR_NOSUID | f.MOUNT_ATTR_NODEV | f.MOUNT_ATTR_NOEXEC
    names = b.fsmount(tmpfs, attributes, "names")
    b.move_mount(names, fd)
    for number, path in enumerate(links):
        b.step("symlinkat", path, names, str(number))
    b.mkdirat(names, "overlay")
    place = _open(b, names, "overlay")
    b.step("fchdir", place)
    b.step(
        "mount", mount.get("source", "overlay"), ".", "overlay", mounting.superblock_flags(options), data,
    )
    b.close(place)
    made = _open(b, names, "overlay")
    overlay = b.open_tree(made, "", f.OPEN_TREE_CLONE | f.AT_EMPTY_PATH, "overlay")
    b.close(made)
    b.step("fchdir", names)
    b.step("umount2", ".", f.UMOUNT_MNT_DETACH)
    b.step("fchdir", root)
    b.close(names)
    mounting.set_attributes(b, overlay, options)
    b.move_mount(overlay, fd)
    b.close(fd)
    mounting.finish(b, overlay, options)
    b.close(overlay)


def _open(b: Builder, directory: Slot, name: str) -> Slot:
    return b.openat2(directory, name, f.O_PATH | f.O_DIRECTORY, resolve=f.RESOLVE_IN_ROOT, name=name)


def _name(path: str, links: list[str], i: int) -> str:
    """The short name of a directory, seen from the overlay's mount point; "" separates data layers."""
    if not path:
        return ""
    plain = _unescape(path)
    if not components(plain) or plain[0] != "/":
        raise Error(
            f"the overlay's directory {plain} has to be an absolute path", pointer=f"/mounts/{i}/options"
        )
    links.append(plain)
    return f"../{len(links) - 1}"


def split(value: str) -> list[str]:
    """The parts of lowerdir, which colons separate that no backslash is before."""
    parts = [""]
    escaped = False
    for char in value:
        if char == ":" and not escaped:
            parts.append("")
        else:
            parts[-1] += char
        escaped = char == "\\" and not escaped
    return parts


def _unescape(path: str) -> str:
    result = ""
    escaped = False
    for char in path:
        escaped = char == "\\" and not escaped
        if not escaped:
            result += char
    return result
