"""The cgroup hierarchies that this process sees, from /proc/self/mountinfo and /proc/self/cgroup.

It reads three small files and changes nothing. Formats: proc(5) and cgroups(7).
"""

from pyrunc.compile.settings import Layout
from pyrunc.host.cgroups.files import read_text

_PREFERRED = "/sys/fs/cgroup"


def layout() -> Layout:
    """The layout now. Raises OSError where /proc is not mounted."""
    mounts = read_text("/proc/self/mountinfo")
    own = read_text("/proc/self/cgroup")
    result = parse(mounts, own)
    if result.v2 is not None:
        result.v2_controllers = tuple(read_text(f"{result.v2}/cgroup.controllers").split())
    return result


def parse(mountinfo: str, own: str) -> Layout:
    """The layout without v2's controllers, from the texts of the two files."""
    v1: dict[str, tuple[str, str]] = {}
    v2: tuple[str, str] | None = None
    paths: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        names[controllers] = controllers.split(",")
        for name in names[controllers]:
            paths[name] = path
    for root, mount, kind, options in _visible(mountinfo):
        if kind == "cgroup2":
            if v2 is None or _better(mount, v2[0]):
                v2 = (mount, root)
        elif kind == "cgroup":
            for option in options.split(","):
                if option in paths and (option not in v1 or _better(mount, v1[option][0])):
                    v1[option] = (mount, root)
    relative = {name: _relative(paths[name], root) for name, (_, root) in v1.items()}
    if v2 is not None:
        relative[""] = _relative(paths.get("", "/"), v2[1])
    return Layout({name: mount for name, (mount, _) in v1.items()}, v2[0] if v2 else None, (), relative)


def _visible(mountinfo: str) -> list[tuple[str, str, str, str]]:
    """Root, mount point, type and options of the cgroup mounts that no other mount covers.

    A mount on the very root of another hides that one and all that is mounted below it.
    """
    points: dict[str, str] = {}
    covered: set[str] = set()
    found = []
    for line in mountinfo.splitlines():
        # Most mounts have nothing to do with cgroups: this test decides how long the function takes.
        if " - cgroup" not in line and _PREFERRED not in line:
            continue
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        id, parent, _, root, mount = before.split(" ", 5)[:5]
        points[id] = mount
        if points.get(parent) == mount:
            covered.add(parent)
        if kind in ("cgroup", "cgroup2"):
            found.append((id, parent, root, mount, kind, options))
    return [
        (_unescape(root), _unescape(mount), kind, options)
        for id, parent, root, mount, kind, options in found
        if id not in covered and (parent not in covered or points[parent] == mount)
    ]


def _better(mount: str, than: str) -> bool:
    return mount.startswith(_PREFERRED) and not than.startswith(_PREFERRED)


def _relative(path: str, root: str) -> str:
    """The path below a mount whose own root is not the hierarchy's: in a container without a
    cgroup namespace, /proc/self/cgroup still shows the host's path."""
    if root == "/":
        return path if not path.startswith("/..") else "/"
    if path == root:
        return "/"
    return path[len(root) :] if path.startswith(f"{root}/") else "/"


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text
