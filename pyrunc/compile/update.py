"""What an update of a container's limits comes to: writes, a list of devices or an eBPF program for them,
and the resources that are in force afterwards.

Pure; `host.cgroups.change` carries it out. Specification: config-linux.md, "Control groups"; what may be
left out of an update is left as it is.
"""

from pyrunc.compile import device_filter
from pyrunc.compile.resources import settings
from pyrunc.compile.settings import Layout, Settings, Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Properties whose 0 means something; that of any other is what engines send for what they do not set.
_ZERO_COUNTS = frozenset(("idle", "burst", "swappiness", "classID", "useHierarchy"))


class Update:
    """An update, ready to be carried out.

    settings   values for the container's cgroup, in order
    devices    lines for the v1 device lists, in order
    stop       whether the container has to be frozen for these: they do not lead straight from the
               old list to the new one, so that it could meanwhile use what neither allows
    program    eBPF instructions that take the place of the container's device filter, or None
    rules      what the device rules came to before, and come to now; None where they stay
    resources  `linux.resources` as it is in force afterwards
    """

    __slots__ = ("devices", "program", "resources", "rules", "settings", "stop")

    def __init__(self, settings: Settings, resources: "dict[str, Any]") -> None:
        self.settings = settings
        self.resources = resources
        self.devices: list[Write] = []
        self.stop = False
        self.program: bytes | None = None
        self.rules: tuple[device_filter.Devices, device_filter.Devices] | None = None


def layout_of(record: "dict[str, Any]", controllers: "tuple[str, ...]") -> Layout:
    """The layout as the container has it, from its `Plan.record()` and the v2 controllers of its cgroup."""
    directories: dict[str, str] = record["directories"]
    v1 = {name: directory for name, directory in directories.items() if name}
    return Layout(v1, directories.get(""), controllers, {})


def update(
    changes: "dict[str, Any]", before: "dict[str, Any]", layout: Layout, *, root: str = ""
) -> Update:
    """The update for changes, an object like `linux.resources`, to a container whose resources are before.

    root is the JSON pointer of changes, for errors. Raises Error for what cannot be meant or expressed.
    """
    result = Update(settings(changes, layout, before=before, root=root), merged(before, changes))
    memory = changes.get("memory") or {}
    if memory.get("limit") == -1 and not memory.get("swap"):
        result.resources["memory"]["swap"] = -1
    if changes.get("pids"):
        result.resources["pids"] = changes["pids"]  # 0 is a limit there
    rules = changes.get("devices")
    if rules:
        _devices(result, layout, before.get("devices") or [], rules, f"{root}/devices")
    return result


def merged(before: "dict[str, Any]", changes: "dict[str, Any]") -> "dict[str, Any]":
    """What is in force after changes: sections by member, and lists as a whole."""
    result = dict(before)
    for name, value in changes.items():
        if isinstance(value, dict):
            result[name] = merged(result.get(name) or {}, value)
        elif value or name in _ZERO_COUNTS:
            result[name] = value
    return result


def _devices(
    result: Update, layout: Layout, before: "list[dict[str, Any]]", rules: "list[dict[str, Any]]",
    pointer: str,
) -> None:
    old, new = device_filter.devices(before), device_filter.devices(rules, pointer)
    if old.allow == new.allow and old.rules == new.rules:
        # Engines send the whole list with each update; what others have allowed beside it stays.
        return
    result.rules = old, new
    if "devices" in layout.v1:
        lines = device_filter.v1_changes(old, new)
        result.stop = lines is None
        result.devices = [
            Write("devices", file, line, pointer)
            for file, line in (device_filter.v1_rules(new) if lines is None else lines)
        ]
    else:
        result.program = device_filter.program(new) or device_filter.ALLOW_ALL
