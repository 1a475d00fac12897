"""Finding a container's cgroups again where the hierarchies are mounted elsewhere than at its creation.

Loaded only where a mount point that the record names has none any more. It changes the record in memory,
and nothing else.
"""

from pyrunc.host.cgroups.facts import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def relocate(cgroups: "dict[str, Any]", mounts: dict[str, str]) -> None:
    """Corrects the directories of a `Plan.record()`; mounts says where the hierarchies were. One that is
    not mounted any more is left out: there is no way to it."""
    found = layout()
    now = dict(found.v1)
    if found.v2 is not None:
        now[""] = found.v2
    directories: dict[str, str] = cgroups["directories"]
    for name, directory in list(directories.items()):
        if name not in now:
            del directories[name]
        elif name in mounts:
            directories[name] = now[name] + directory[len(mounts[name]) :]
