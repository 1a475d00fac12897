"""The class of service of the container (config-linux.md, "IntelRdt"; the kernel's resctrl.rst).

What `linux.intelRdt` comes to below the mount point of the resctrl file system; host/rdt.py makes the groups,
and the program's stage 1 enters them, so that every process of the container begins there. Pure.
"""

from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POINTER = "/linux/intelRdt"
# Names that the file system has for itself.
_RESERVED = (".", "..", "info", "mon_data", "mon_groups")


class Plan:
    """The groups of one container. Paths are absolute.

    clos      directory of the class of service
    monitor   directory of the container's own monitoring group, or ""
    named     whether the configuration names the class, which then belongs to its user
    checked   lines that a class which exists has to have: l3CacheSchema and memBwSchema
    lines     lines that are written after these: schemata
    """

    __slots__ = ("checked", "clos", "lines", "monitor", "named", "root")

    def __init__(
        self, root: str, clos: str, monitor: str, named: bool, checked: list[str], lines: list[str]
    ) -> None:
        self.root = root
        self.clos = clos
        self.monitor = monitor
        self.named = named
        self.checked = checked
        self.lines = lines


def plan(rdt: "dict[str, Any]", root: str, container_id: str, *, rootless: bool = False) -> Plan:
    """The plan for an intelRdt object; root is the mount point of resctrl."""
    if rootless:
        raise Error(
            "an ordinary user cannot use a class of service; create the container as root", pointer=POINTER
        )
    name = rdt.get("closID") or ""
    clos = name or container_id
    if clos != "/" and (clos in _RESERVED or any(letter in clos for letter in "/\n\0")):
        raise Error(
            f'"{clos}" cannot be the name of a class of service; use one without "/", or "/" for the '
            "default class",
            pointer=f"{POINTER}/closID" if name else POINTER,
        )
    checked = []
    for key in ("l3CacheSchema", "memBwSchema"):
        checked += [line for line in (rdt.get(key) or "").split("\n") if line.strip()]
    lines = list(rdt.get("schemata") or ())
    for index, line in enumerate(lines):
        if "\n" in line:
            raise Error("each entry is one line, without a line's end", pointer=f"{POINTER}/schemata/{index}")
    directory = root if clos == "/" else f"{root}/{clos}"
    monitor = f"{directory}/mon_groups/{container_id}" if rdt.get("enableMonitoring") else ""
    return Plan(root, directory, monitor, bool(name), checked, lines)


def join(b: Builder, clos: str, monitor: str) -> None:
    """Steps that put the process that runs them into its groups: first the class, then the monitoring group,
    which takes only processes of its class. 0 stands for the process itself (rdtgroup_move_task)."""
    b.origin = POINTER
    for directory in (clos, monitor):
        if directory:
            fd = b.openat2(f.AT_FDCWD, f"{directory}/tasks", f.O_WRONLY, resolve=0, name="tasks")
            b.write(fd, "0", note="in the class of service")
            b.close(fd)
    b.origin = ""
