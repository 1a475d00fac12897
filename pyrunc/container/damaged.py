"""`delete --force` of a container whose record is damaged: it removes what follows from the container's id
and from the copy of its configuration. What else there was, only the record knew."""

from pyrunc import json, log
from pyrunc.container import record as records
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrunc.container import Runtime
    from pyrunc.state import Directory

_SIGKILL = 9


def remove(rt: "Runtime", directory: "Directory") -> None:
    """Ends the container's processes and removes its cgroups, its groups of resctrl and its directory."""
    from pyrunc.host.cgroups import members, tree

    config = _config(directory)
    for cgroups in _cgroups(rt, config, directory.id):
        members.kill_all(cgroups, _SIGKILL)
        tree.destroy(cgroups)
    if (config.get("linux") or {}).get("intelRdt") is not None:
        _resctrl(config, directory.id)
    directory.remove()


def _config(directory: "Directory") -> "dict[str, Any]":
    """The copy of the configuration; an empty one where that is damaged too."""
    if directory.has(records.CONFIG):
        try:
            config = json.decode(directory.get(records.CONFIG).decode())
        except ValueError:
            config = None
        if isinstance(config, dict):
            return config
        log.warning(
            f"{directory.path}/{records.CONFIG} is damaged too: cgroups are looked for where the id alone "
            "puts them"
        )
    return {}


def _cgroups(rt: "Runtime", config: "dict[str, Any]", id: str) -> "Iterator[dict[str, Any]]":
    """The cgroups that the container may have: those of the command line's driver, and a scope of systemd,
    which whoever deletes a container does not name otherwise."""
    from pyrunc.compile.cgroups import plan
    from pyrunc.container.plan import is_rootless, unit_for
    from pyrunc.host.cgroups import facts, systemd

    units = [unit_for(rt, config, id)]
    path = (config.get("linux") or {}).get("cgroupsPath") or ""
    if units == [None] and (not path or path.count(":") == 2):
        try:
            units.append(systemd.unit_for(config, id, users=rt.rootless))
        except Error as error:
            log.debug(f"no scope: {error}")
    for unit in units:
        yield plan(config, facts.layout(), id, rootless=is_rootless(rt), unit=unit).record()


def _resctrl(config: "dict[str, Any]", id: str) -> None:
    from pyrunc.container.plan import rdt_plan
    from pyrunc.host import rdt

    try:
        groups = rdt_plan(config, id)
    except Error as error:
        log.debug(f"no groups of resctrl: {error}")
        return
    # A class that the configuration does not name has the container's id, and is nobody else's.
    rdt.destroy({"clos": groups.clos, "monitor": groups.monitor, "made": True, "named": groups.named})
