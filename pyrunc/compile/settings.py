"""The cgroup hierarchies that there are, and what is written to a container's cgroup in them.

Plain data that `compile.resources` fills from `linux.resources`, `compile.cgroups` puts into its plan
and `host.cgroups.values` carries out. It must not know any property of the configuration.
"""

from pyrunc.errors import Error


class Layout:
    """The cgroup hierarchies that the runtime sees.

    v1 maps each v1 controller ("memory", or "name=systemd") to the mount point of its hierarchy;
    v2 is the mount point of the unified hierarchy; v2_controllers what that one offers; own maps
    a controller ("" for v2) to the runtime's own cgroup, relative to the mount point.
    """

    __slots__ = ("own", "v1", "v2", "v2_controllers")

    def __init__(
        self, v1: dict[str, str], v2: str | None, v2_controllers: tuple[str, ...], own: dict[str, str]
    ) -> None:
        self.v1 = v1
        self.v2 = v2
        self.v2_controllers = v2_controllers
        self.own = own

    @property
    def pure_v2(self) -> bool:
        return self.v2 is not None and not any("=" not in name for name in self.v1)

    def offered(self) -> str:
        """All controllers as a list for messages."""
        return ", ".join((*(name for name in self.v1 if "=" not in name), *self.v2_controllers)) or "none"


class Write:
    """One value for one file of the container's cgroup, written with one write(2).

    hierarchy  the v1 controller whose hierarchy has the file, or "" for cgroup v2
    file       the file's name
    pointer    JSON pointer of the key that asks for it
    tolerate   errnos after which what is asked for holds anyway
    instead    what is written where the kernel has no such file
    """

    __slots__ = ("file", "hierarchy", "instead", "pointer", "tolerate", "value")

    def __init__(
        self, hierarchy: str, file: str, value: str, pointer: str, tolerate: tuple[int, ...] = (),
        instead: "Write | None" = None,
    ) -> None:
        self.hierarchy = hierarchy
        self.file = file
        self.value = value
        self.pointer = pointer
        self.tolerate = tolerate
        self.instead = instead


class Settings:
    """What `linux.resources` comes to in a layout, without its device list.

    writes    in the order in which they suit a new cgroup; in one that has values already, a write
              that is refused with EINVAL can fit after the others
    checks    (hierarchy, file, limit, pointer): before any write, the number in the file has to be
              below the limit
    pids      the limit of processes, or -1 where none is set
    asked     pointer of the first key that is set, "" if there is none
    """

    __slots__ = ("asked", "checks", "layout", "pids", "root", "writes")

    def __init__(self, layout: Layout, root: str) -> None:
        """root is the JSON pointer of the resources."""
        self.layout = layout
        self.root = root
        self.writes: list[Write] = []
        self.checks: list[tuple[str, str, int, str]] = []
        self.pids = -1
        self.asked = ""

    def hierarchy(self, controller: str, key: str) -> str:
        """Where the files of a controller are: its v1 hierarchy if it has one, else "" for v2.

        key is the pointer below `root` of what needs it. Raises Error where the system has no such
        controller.
        """
        if not self.asked:
            self.asked = self.root + key
        if controller in self.layout.v1:
            return controller
        if controller in self.layout.v2_controllers:
            return ""
        raise Error(
            f'it needs the cgroup controller "{controller}", which this system does not offer '
            f"(offered: {self.layout.offered()}); remove the key or enable the controller",
            pointer=self.root + key,
        )

    def add(
        self, hierarchy: str, file: str, value: object, key: str, *, tolerate: tuple[int, ...] = (),
        instead: tuple[str, object] | None = None,
    ) -> None:
        """Appends a write; instead is (file, value)."""
        pointer = self.root + key
        other = Write(hierarchy, instead[0], str(instead[1]), pointer) if instead else None
        self.writes.append(Write(hierarchy, file, str(value), pointer, tolerate, other))
