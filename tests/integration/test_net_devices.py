"""Network devices that move into the container (config-linux.md, "Network Devices").

The runtime runs in a network namespace that the test has made, which is "the host" here: with a veth pair,
whose one end moves. What happened is told by ip(8) from either side.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Box, wait_for

pytestmark = pytest.mark.beyond_runc("network devices came with 1.4")


class Host:
    """A network namespace kept by a file, with the pair dev0 (up, with addresses) and peer0."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        subprocess.run(["unshare", f"--net={path}", "true"], check=True)

    def ip(self, *words: str) -> str:
        return self.inside(f"--net={self.path}", *words)

    @staticmethod
    def inside(where: str, *words: str) -> str:
        """ip(8) in the network namespace that an option of nsenter(1) names."""
        command = ["nsenter", where, "ip", *words]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def device(self, name: str, where: str | None = None) -> dict[str, Any]:
        """What ip(8) knows of a device: on the host, or where another option of nsenter(1) says."""
        text = self.inside(where or f"--net={self.path}", "-json", "address", "show", "dev", name)
        found: dict[str, Any] = json.loads(text)[0]
        return found

    def names(self, where: str | None = None) -> set[str]:
        text = self.inside(where or f"--net={self.path}", "-json", "link")
        return {link["ifname"] for link in json.loads(text)} - {"lo"}

    def wait_until_empty(self) -> None:
        """Until the pair has gone with the container's namespace, which the kernel ends when it finds the
        time; and loading pyroute2 takes an emulated machine long."""
        wait_for(lambda: not self.names(), "end of the container's network namespace", timeout=60)


def addresses(device: dict[str, Any]) -> list[str]:
    """The addresses, each as ADDRESS[ peer PEER]/PREFIX, without the one that IPv6 makes by itself."""
    return [
        each["local"] + (f" peer {each['address']}" if "address" in each else "") + f"/{each['prefixlen']}"
        for each in device["addr_info"]
        if not each["local"].startswith("fe80:")
    ]


@pytest.fixture
def host(box: Box, tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "host")
    command = box.command
    try:
        made.ip("link", "add", "dev0", "mtu", "1400", "type", "veth", "peer", "name", "peer0")
        for words in ADDRESSES:
            made.ip("address", "add", *words.split(), "dev", "dev0")
        made.ip("link", "set", "dev0", "up")
        box.command = ["nsenter", f"--net={made.path}", *command]
        yield made
        box.delete("--force")
    finally:
        box.command = command
        subprocess.run(["umount", made.path], check=True)


ADDRESSES = [
    "10.1.0.2/24",
    "10.1.0.3/24",
    "10.1.0.7 peer 10.9.0.1/32 metric 77",
    "169.254.3.4/16 scope link",
    "fd00::3/64 noprefixroute",
    "fd00::2/64 nodad",
]
# In the order in which the kernel lists them.
GLOBAL = ["10.1.0.2/24", "10.1.0.7 peer 10.9.0.1/32", "10.1.0.3/24", "fd00::2/64", "fd00::3/64"]


def as_before(host: Host, before: dict[str, Any]) -> None:
    """Asserts that dev0 is on the host as it was, but for its index."""
    after = host.device("dev0")
    assert addresses(after) == addresses(before)
    assert "169.254.3.4/16" in addresses(after)
    for key in ("mtu", "address"):
        assert after[key] == before[key]
    assert "UP" in after["flags"]
    assert host.names() == {"dev0", "peer0"}


@pytest.mark.shows("/linux/netDevices", "/linux/netDevices/*/name")
def test_a_device_is_the_container_s_with_its_new_name_and_its_addresses(box: Box, host: Host) -> None:
    before = host.device("dev0")
    box.linux["netDevices"] = {"dev0": {"name": "net0"}}
    pid = box.sleeping()
    assert host.names() == {"peer0"}
    assert host.names(f"--net=/proc/{pid}/ns/net") == {"net0"}
    device = host.device("net0", f"--net=/proc/{pid}/ns/net")
    assert addresses(device) == GLOBAL
    assert "UP" in device["flags"]
    assert (device["mtu"], device["address"]) == (1400, before["address"])
    by_address = {each["local"]: each for each in device["addr_info"]}
    assert by_address["10.1.0.7"]["metric"] == 77
    assert by_address["fd00::2"].get("nodad")
    assert by_address["fd00::3"].get("noprefixroute")
    assert "net0@" in box.exec_sh("ip -o link show net0")


def test_the_device_s_packets_go_out_of_the_container(box: Box, host: Host) -> None:
    host.ip("address", "add", "10.1.0.1/24", "dev", "peer0")
    host.ip("link", "set", "peer0", "up")
    box.linux["netDevices"] = {"dev0": {}}
    pid = box.sleeping()
    reply = ["nsenter", f"--net=/proc/{pid}/ns/net", "bash", "-c", "echo hello > /dev/udp/10.1.0.1/9"]
    subprocess.run(reply, check=True)
    neighbours = host.ip("neigh", "show", "dev", "peer0")
    assert host.device("dev0", f"--net=/proc/{pid}/ns/net")["operstate"] == "UP"
    assert "10.1.0.2" in neighbours


def test_without_a_name_a_device_keeps_its_own(box: Box, host: Host) -> None:
    box.linux["netDevices"] = {"dev0": {}, "peer0": {"name": ""}}
    pid = box.sleeping()
    assert host.names(f"--net=/proc/{pid}/ns/net") == {"dev0", "peer0"}
    assert host.names() == set()


def test_the_kernel_numbers_the_names_of_a_template(box: Box, host: Host) -> None:
    box.linux["netDevices"] = {"dev0": {"name": "net%d"}, "peer0": {"name": "net%d"}}
    pid = box.sleeping()
    assert host.names(f"--net=/proc/{pid}/ns/net") == {"net0", "net1"}
    assert addresses(host.device("net0", f"--net=/proc/{pid}/ns/net")) == GLOBAL


@pytest.fixture
def joined(box: Box, host: Host, tmp_path: Path) -> Iterator[Host]:
    """Another namespace, which the container joins; it has a device net0."""
    other = Host(tmp_path / "other")
    other.ip("link", "add", "net0", "type", "veth", "peer", "name", "other0")
    box.add_namespace("network", str(other.path))
    yield other
    box.delete("--force")
    subprocess.run(["umount", other.path], check=True)


def test_a_device_moves_into_a_namespace_that_is_joined(box: Box, host: Host, joined: Host) -> None:
    box.linux["netDevices"] = {"dev0": {"name": "net1"}}
    box.sleeping()
    assert joined.names() == {"net0", "other0", "net1"}
    assert addresses(joined.device("net1")) == GLOBAL


def test_a_device_whose_name_the_joined_namespace_has_too_can_be_renamed(
    box: Box, host: Host, joined: Host
) -> None:
    host.ip("link", "set", "peer0", "down")
    host.ip("link", "set", "peer0", "name", "net0")
    box.linux["netDevices"] = {"net0": {"name": "net%d"}}
    box.sleeping()
    assert joined.names() == {"net0", "other0", "net1"}


def test_a_device_stays_in_a_joined_namespace_when_the_container_is_deleted(
    box: Box, host: Host, joined: Host
) -> None:
    """The specification forbids the runtime to move it out: it belongs to the namespace's owner."""
    box.linux["netDevices"] = {"dev0": {}}
    box.sleeping()
    box.delete("--force").ok()
    assert "dev0" in joined.names()
    assert host.names() == {"peer0"}


def test_a_name_that_is_taken_is_refused_and_nothing_moves(box: Box, host: Host, joined: Host) -> None:
    before = host.device("dev0")
    box.linux["netDevices"] = {"dev0": {"name": "net0"}}
    box.run().failed("/linux/netDevices/dev0", "has a device net0 already", "eth%d")
    box.clean()
    as_before(host, before)


def test_two_devices_with_one_name_are_refused(box: Box, host: Host) -> None:
    box.linux["netDevices"] = {"dev0": {"name": "net0"}, "peer0": {"name": "net0"}}
    box.run().failed("/linux/netDevices/peer0", "cannot both be net0")
    assert host.names() == {"dev0", "peer0"}


def test_a_device_that_is_not_there_is_named(box: Box, host: Host) -> None:
    box.linux["netDevices"] = {"dev0": {}, "dev9": {}}
    box.run().failed("/linux/netDevices/dev9", "no network device dev9")
    box.clean()
    assert host.names() == {"dev0", "peer0"}


def test_devices_need_a_network_namespace(box: Box, host: Host) -> None:
    box.drop_namespace("network")
    box.linux["netDevices"] = {"dev0": {}}
    box.run().failed("/linux/netDevices", "need a network namespace")
    box.clean()


def test_the_runtime_s_own_network_namespace_is_no_place_to_move_to(box: Box, host: Host) -> None:
    box.add_namespace("network", str(host.path))
    box.linux["netDevices"] = {"dev0": {"name": "net0"}}
    box.run().failed("/linux/netDevices", "the runtime's own")
    box.clean()
    assert host.names() == {"dev0", "peer0"}


def test_a_device_that_cannot_move_brings_the_others_back(box: Box, host: Host) -> None:
    before = host.device("dev0")
    box.linux["netDevices"] = {"dev0": {"name": "net0"}, "lo": {"name": "lo1"}}
    box.run().failed("/linux/netDevices/lo", "cannot move the network device lo")
    box.clean()
    as_before(host, before)


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize("failure", ["hook", "process"])
def test_a_failure_later_on_brings_the_devices_back(box: Box, host: Host, verb: str, failure: str) -> None:
    before = host.device("dev0")
    box.linux["netDevices"] = {"dev0": {"name": "net%d"}, "peer0": {}}
    if failure == "hook":
        box.hook("createRuntime", "exit 3")
    else:
        box.args("/no/such/program")
    {"create": box.create, "run": box.run}[verb]().failed()
    box.clean()
    as_before(host, before)


def test_hooks_before_the_process_find_the_device_in_the_container(box: Box, host: Host) -> None:
    seen = box.place / "seen"
    box.hook(
        "createRuntime",
        f"exec > {seen}; pid=$(sed 's/.*\"pid\":\\s*\\([0-9]*\\).*/\\1/');"
        " nsenter --net=/proc/$pid/ns/net ip -o addr",
        env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
    )
    box.linux["netDevices"] = {"dev0": {"name": "net0"}}
    box.run().ok()
    assert "net0" in seen.read_text()
    assert "10.1.0.2/24" in seen.read_text()


def test_kernel_parameters_of_a_device_are_set_after_it_has_come(box: Box, host: Host) -> None:
    box.linux["netDevices"] = {"dev0": {"name": "net0"}}
    box.linux["sysctl"] = {"net.ipv4.conf.net0.forwarding": "1"}
    box.linux["readonlyPaths"] = []
    assert box.sh("cat /proc/sys/net/ipv4/conf/net0/forwarding") == "1\n"


def test_a_container_with_a_user_namespace_gets_the_device(box: Box, host: Host) -> None:
    box.user_namespace()
    box.linux["netDevices"] = {"dev0": {"name": "net0"}}
    pid = box.sleeping()
    assert addresses(host.device("net0", f"--net=/proc/{pid}/ns/net")) == GLOBAL


def test_a_virtual_device_ends_with_the_container_s_namespace(box: Box, host: Host) -> None:
    """Also while the foreground run that moved it goes on: it does not keep the namespace.

    Physical devices return to the initial namespace (network_namespaces(7)), which a test cannot see.
    """
    box.linux["netDevices"] = {"dev0": {}}
    box.hook("poststop", "exec sleep 1000", timeout=30)
    box.script("exit 0")
    box.save()
    box.spawn("run", "--bundle", str(box.bundle), box.id)
    host.wait_until_empty()


def test_a_created_container_has_the_device_and_takes_it_along_when_deleted(box: Box, host: Host) -> None:
    box.linux["netDevices"] = {"dev0": {}}
    box.create().ok()
    assert host.names() == {"peer0"}
    box.delete("--force").ok()
    box.clean()
    host.wait_until_empty()


def test_plan_says_what_moves(box: Box, host: Host) -> None:
    box.linux["netDevices"] = {"dev0": {"name": "net0"}}
    box.save()
    lines = box.verb("plan", "--bundle", str(box.bundle)).ok().out.splitlines()
    (line,) = [line for line in lines if "/linux/netDevices/dev0" in line]
    assert "moves dev0 into the container, as net0" in line
    assert host.names() == {"dev0", "peer0"}
