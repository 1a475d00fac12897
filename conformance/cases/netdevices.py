"""config-linux.md: network devices that move into the container.

The runtime runs in a network namespace that the case makes, which is "the host" here, so that no device of
the machine is touched. In it is a pair of virtual devices, whose one end moves.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conformance.box import Box
from conformance.container import Container
from conformance.model import NotApplicable, case

HERE, PEER = "conf0", "conf1"
MTU = 1400
KEPT = {"10.77.0.2", "fd77::2"}  # permanent, of global scope
LINK = "169.254.77.2"


class Network:
    """A network namespace, kept by a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ip(self, *words: str, where: str = "") -> str:
        command = ["nsenter", f"--net={where or self.path}", "ip", *words]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def devices(self, where: str = "") -> dict[str, dict[str, Any]]:
        found = json.loads(self.ip("-json", "address", where=where))
        return {device["ifname"]: device for device in found if device["ifname"] != "lo"}


@contextmanager
def network(box: Box) -> Iterator[Network]:
    """A host for the runtime, with HERE (up, with addresses) and PEER; the box's calls are made in it."""
    missing = [name for name in ("ip", "nsenter", "unshare", "umount") if not shutil.which(name)]
    if missing:
        raise NotApplicable(f"there is no command {', '.join(missing)} to make network devices with")
    made = Network(box.directory / "network")
    made.path.touch()
    subprocess.run(["unshare", f"--net={made.path}", "true"], check=True)
    prefix = box.prefix
    try:
        add = ["link", "add", HERE, "mtu", str(MTU), "type", "veth", "peer", "name", PEER]
        try:
            made.ip(*add)
        except subprocess.CalledProcessError:
            raise NotApplicable("this kernel has no pairs of virtual devices") from None
        made.ip("address", "add", "10.77.0.2/24", "dev", HERE)
        made.ip("address", "add", "fd77::2/64", "dev", HERE, "nodad")
        made.ip("address", "add", f"{LINK}/16", "scope", "link", "dev", HERE)
        box.prefix = ["nsenter", f"--net={made.path}"]
        yield made
    finally:
        box.end_containers()
        box.prefix = prefix
        subprocess.run(["umount", made.path], check=True)


def moves(container: Container, **names: str) -> Container:
    """The device goes into the container, under another name if there is one."""
    container.linux["netDevices"] = {HERE: names}
    return container


def addresses(device: dict[str, Any]) -> set[str]:
    return {each["local"] for each in device["addr_info"] if not each["local"].startswith("fe80:")}


@case(
    "net-devices.available",
    "net-devices.name",
    "net-devices.attributes",
    "net-devices.addresses",
    "net-devices.up",
    "net-devices.stays",
)
def a_network_device(box: Box) -> None:
    with network(box) as host:
        hardware = host.devices()[HERE]["address"]
        for name in (HERE, "conf77"):
            container = moves(box.container().runs("hold"), **({"name": name} if name != HERE else {}))
            container.run()
            inside = host.devices(f"/proc/{container.pid}/ns/net")
            requirement = "net-devices.available" if name == HERE else "net-devices.name"
            box.check(
                requirement,
                name in inside and HERE not in host.devices(),
                f"the container has {sorted(inside)}, and the host {sorted(host.devices())}",
            )
            if name not in inside:
                for other in ("name", "attributes", "addresses", "up", "stays"):
                    box.check(f"net-devices.{other}", False, "the device is not in the container")
                container.stop()
                return
            device = inside[name]
            box.equal(
                "net-devices.attributes",
                (device["mtu"], device["address"]),
                (MTU, hardware),
                "the MTU and hardware address",
            )
            found = addresses(device)
            box.check("net-devices.addresses", found >= KEPT, f"the addresses are {sorted(found)}")
            box.check("net-devices.up", "UP" in device["flags"], f"its flags are {device['flags']}")
            container.stop()
            container.delete()
            # The kernel destroys it with the namespace: one that the runtime took out would be there.
            back = [each for each in host.devices() if each in (HERE, name)]
            box.check("net-devices.stays", not back, f"after delete, the host has {back}")
            if name == HERE:
                host.ip("link", "add", HERE, "mtu", str(MTU), "address", hardware, "type", "veth",
                        "peer", "name", f"{PEER}a")  # fmt: skip
                for words in (["10.77.0.2/24"], ["fd77::2/64", "nodad"]):
                    host.ip("address", "add", words[0], "dev", HERE, *words[1:])


@case("net-devices.conflict", "net-devices.template", "net-devices.possible", "errors.unchanged")
def names_of_network_devices(box: Box) -> None:
    with network(box) as host:

        def refused(requirement: str, bad: Callable[[Container], object], what: str) -> None:
            box.refused(requirement, lambda good: None, bad, what, "errors.unchanged")
            box.check(requirement, HERE in host.devices(), f"{what}: the device is gone from the host")

        refused("net-devices.conflict", lambda bad: moves(bad, name="lo"), "a name that is taken")
        refused(
            "net-devices.possible",
            lambda bad: bad.linux.update(netDevices={"no-such-dev": {}}),
            "a device that the host does not have",
        )
        refused(
            "net-devices.possible",
            lambda bad: bad.linux.update(netDevices={"lo": {"name": "conf77"}}),
            "lo, which the kernel does not move",
        )
        container = moves(box.container().runs("hold"), name="conf%d").create().start()
        container.report()
        inside = host.devices(f"/proc/{container.pid}/ns/net")
        good = len(inside) == 1 and next(iter(inside)).removeprefix("conf").isdigit()
        box.check("net-devices.template", good, f"the container has {sorted(inside)}")
        container.stop()


