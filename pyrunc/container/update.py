"""update: other limits for a container that exists (runtime.md leaves it to the runtime; runc's verb).

The limits that hold are kept in the record as `resources`, from where the next update takes them; the
configuration that the container was made from stays as it is.
"""

from pyrunc import json
from pyrunc.compile import device_filter
from pyrunc.compile.settings import Write
from pyrunc.compile.update import layout_of
from pyrunc.compile.update import update as compile_update
from pyrunc.container import record as records
from pyrunc.errors import Error
from pyrunc.host.cgroups.change import change
from pyrunc.host.cgroups.files import read_text
from pyrunc.state import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.container import Runtime


def update(
    rt: "Runtime", id: str, changes: "dict[str, Any]", *, l3_cache: str = "", memory_bandwidth: str = ""
) -> None:
    """Changes a container's limits; changes is an object like `linux.resources`, of which what is not
    there stays. Either all of it holds afterwards, or, with an Error, nothing.

    l3_cache and memory_bandwidth are schemas for Intel's Resource Director Technology.
    """
    directory = Directory.open(rt.root, id)
    try:
        record = directory.read()
        status = records.status(directory, record)
        if status in ("stopped", "creating"):
            raise Error(f"cannot update the container {id}: it is {status}")
        records.locate(record)
        records.check_cgroup(record)
        before = resources(directory, record)
        back = _change_rdt(directory, l3_cache, memory_bandwidth)
        try:
            after = apply(record["cgroups"], changes, before)
        except Error:
            back()
            raise
        if after != before:
            record.pop("creating")
            directory.write({**record, "resources": after})
    finally:
        directory.close()


def _change_rdt(directory: Directory, l3_cache: str, memory_bandwidth: str) -> "Callable[[], None]":
    """Writes the schemata that are given; the result undoes it."""
    if not l3_cache and not memory_bandwidth:
        return lambda: None
    from pyrunc.host import resctrl

    config = json.decode(directory.get(records.CONFIG).decode())
    rdt = (config.get("linux") or {}).get("intelRdt") or {}
    return resctrl.change(rdt.get("closID") or directory.id, l3_cache, memory_bandwidth)


def resources(directory: Directory, record: "dict[str, Any]") -> "dict[str, Any]":
    """The resources in force: of the last update, or else of the configuration."""
    if "resources" in record:
        found: dict[str, Any] = record["resources"]
        return found
    config = json.decode(directory.get(records.CONFIG).decode())
    return (config.get("linux") or {}).get("resources") or {}


def apply(
    cgroups: "dict[str, Any]", changes: "dict[str, Any]", before: "dict[str, Any]"
) -> "dict[str, Any]":
    """Applies changes to the cgroups of a record, and returns what is in force then.

    The one place where the limits of an existing container change, whatever the driver.
    """
    unified = cgroups["directories"].get("")
    controllers: tuple[str, ...] = ()
    if unified:
        try:
            controllers = tuple(read_text(f"{unified}/cgroup.controllers").split())
        except FileNotFoundError:
            raise Error(f"the cgroup {unified} has gone: was the container deleted?") from None
    layout = layout_of(cgroups, controllers)
    result = compile_update(changes, before, layout)
    old = device_filter.devices(before.get("devices") or []) if result.devices else None
    lines = device_filter.v1_rules(old) if old else []
    change(cgroups, result, [Write("devices", file, line, "/devices") for file, line in lines])
    return result.resources
