"""Network devices of the host that become the container's (config-linux.md, "Network Devices").

Which devices, and under which names, is decided here; the runtime moves them (host/netdevices.py) while
the container's process waits in its network namespace. Pure.
"""

from pyrunc.compile.namespaces import Namespaces
from pyrunc.compile.syncs import SYNC_NET_DEVICE
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IFNAMSIZ = 16  # with the NUL at the end (netdevice(7))
_FORBIDDEN = frozenset("/: \t\n\v\f\r")


def wanted(config: "dict[str, Any]") -> dict[str, tuple[str, str]]:
    """Name on the host and in the container of each device, by its JSON pointer. The second may be a
    template: the kernel puts the lowest number that is free in the place of %d."""
    devices = config.get("linux", {}).get("netDevices") or {}
    result = {}
    for device, entry in devices.items():
        key = device.replace("~", "~0").replace("/", "~1")
        result[f"/linux/netDevices/{key}"] = (device, entry.get("name") or device)
    return result


def compile_devices(
    b: Builder, config: "dict[str, Any]", namespaces: Namespaces, *, rootless: bool
) -> None:
    """The points where the runtime moves one device each. Raises Error for what cannot be moved."""
    if not namespaces.own(f.CLONE_NEWNET):
        raise Error(
            "network devices need a network namespace of the container's to move to; add one to "
            "/linux/namespaces",
            pointer="/linux/netDevices",
        )
    if rootless:
        raise Error(
            "an ordinary user cannot take network devices from the host; create the container as root",
            pointer="/linux/netDevices",
        )
    taken: dict[str, str] = {}
    for pointer, (device, name) in wanted(config).items():
        _check_name(device, pointer, template=False)
        if name != device:
            _check_name(name, pointer + "/name", template=True)
        if name in taken and "%" not in name:
            raise Error(
                f"{taken[name]} and {device} cannot both be {name} in the container; rename one",
                pointer=pointer,
            )
        taken[name] = device
        b.origin = pointer
        b.sync(SYNC_NET_DEVICE, note=f"the runtime moves {device} into the container, as {name}")
    b.origin = ""


def _check_name(name: str, pointer: str, *, template: bool) -> None:
    """What the kernel takes for a device's name (dev_valid_name), or for a template of one."""
    reason = ""
    if not 0 < len(name.encode("utf-8", "surrogateescape")) < _IFNAMSIZ:
        reason = f"it has to have 1 to {_IFNAMSIZ - 1} bytes"
    elif name in (".", "..") or not _FORBIDDEN.isdisjoint(name):
        reason = '"." and "..", "/", ":" and white space are not allowed'
    elif "%" in name and not template:
        reason = "% is only for the template of a new name"
    elif "%" in name and (name.count("%") != 1 or "%d" not in name):
        reason = "a template has %d once, and no other %"
    if reason:
        raise Error(f'"{name}" cannot be the name of a network device: {reason}', pointer=pointer)
