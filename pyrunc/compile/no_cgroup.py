"""--cgroup-manager disabled: a container without cgroups of its own, which stays in the runtime's.

Loaded only with that flag. What needs a cgroup is an error (runtime.md, "Create": a property that cannot be
applied), where crun passes it over. Pure.
"""

from pyrunc.compile import device_filter
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.cgroups import Plan
    from pyrunc.program.build import Builder


def settle(plan: "Plan", config: "dict[str, Any]") -> None:
    """Makes a plan without directories one that is meant so. Raises Error for a key that needs them."""
    linux = config.get("linux") or {}
    if not plan.asked and linux.get("cgroupsPath"):
        plan.asked = "/linux/cgroupsPath"
    if not plan.asked and (config.get("annotations") or {}).get("run.oci.delegate-cgroup"):
        plan.asked = "/annotations/run.oci.delegate-cgroup"
    if plan.asked:
        raise Error(
            "with --cgroup-manager disabled there is no cgroup for it; remove the key, or leave the flag out",
            pointer=plan.asked,
        )
    plan.disabled = True
    rules = device_filter.devices((linux.get("resources") or {}).get("devices") or [])
    # An unprivileged runtime has no devices to give.
    plan.unrestricted = not plan.rootless and (not rules.allow or bool(rules.rules))


def warn(b: "Builder", plan: "Plan") -> None:
    """Engines send a list of devices whatever they are told, so that it is no error."""
    if plan.unrestricted:
        b.warn(
            "/linux/resources/devices",
            "not in force: with --cgroup-manager disabled there is no cgroup that could restrict devices",
        )
