"""A cgroup below the container's for its process, by crun's annotation run.oci.delegate-cgroup.

The limits stay on the container's cgroup, which is also the root of a new cgroup namespace; what is
below it is the payload's to manage. It exists on cgroup v2 alone. Pure. cgroups(7), "Delegation".
"""

from pyrunc.compile.cgroups import Plan, clean, process_uid
from pyrunc.errors import Error
from pyrunc.linux import flags as f

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.settings import Layout
    from pyrunc.program.build import Builder
    from pyrunc.program.model import Slot

_NAME = "run.oci.delegate-cgroup"
_POINTER = f"/annotations/{_NAME}"


def add(plan: Plan, config: "dict[str, Any]", layout: "Layout") -> None:
    """Adds the cgroup to a plan."""
    name = config["annotations"][_NAME]
    if not layout.pure_v2:
        raise Error(
            "a cgroup can be delegated where cgroup v2 is mounted alone, not here; remove the annotation",
            pointer=_POINTER,
        )
    below = clean(name)
    if not below or below != name.strip("/") or "\n" in name or "\0" in name:
        raise Error(f'"{name}" is not the name of a cgroup below the container\'s', pointer=_POINTER)
    plan.delegated = f"{plan.directories['']}/{below}"
    plan.owner = process_uid(config, config.get("linux") or {})
    plan.asked = plan.asked or _POINTER


def open_file(b: "Builder", plan: Plan) -> "Slot":
    """Steps of stage 1 that open the file by which processes enter the cgroup, with the runtime's
    privilege: the kernel goes by who has opened it (cgroups(7), "Delegation containment")."""
    b.origin = _POINTER
    fd = b.openat2(
        f.AT_FDCWD, f"{plan.delegated}/cgroup.procs", f.O_WRONLY,
        resolve=f.RESOLVE_NO_SYMLINKS | f.RESOLVE_NO_MAGICLINKS, name="delegated",
    )
    b.origin = ""
    return fd


def join(b: "Builder", fd: "Slot") -> None:
    """Steps of the container's own process, once it is in the container's cgroup and in a new cgroup
    namespace."""
    b.origin = _POINTER
    b.write(fd, "0")
    b.close(fd)
    b.origin = ""
