"""Network devices (config-linux.md): what moves, and what is refused before anything does."""

from typing import Any

import pytest
from examples import LAYOUTS, merged, ordinary

from pyrunc.compile.create import compile_create
from pyrunc.compile.facts import Facts, Request
from pyrunc.compile.netdevices import wanted
from pyrunc.compile.syncs import SYNC_NET_DEVICE
from pyrunc.errors import Error
from pyrunc.host.netdevices import Devices
from pyrunc.program.model import Program, Step


def compiled(devices: Any, *, rootless: bool = False, **linux: Any) -> Program:
    config = merged(ordinary(), {"linux": {"netDevices": devices, **linux}})
    facts = Facts("/srv/rootfs", layout=LAYOUTS["v2"], rootless=rootless)
    return compile_create(config, facts, Request("box", "/srv"))


def is_move(step: Step) -> bool:
    return step.call == "sync" and step.args[0] == SYNC_NET_DEVICE


def refused(devices: Any, pointer: str, word: str) -> None:
    with pytest.raises(Error) as caught:
        compiled(devices)
    assert caught.value.pointer == pointer
    assert word in caught.value.message


def test_each_device_is_a_point_where_the_runtime_moves_it() -> None:
    program = compiled({"eth1": {"name": "net%d"}, "ens4": {"name": ""}, "x": {"name": "y"}})
    points = [(step.origin, step.note) for step in program.steps if is_move(step)]
    assert points == [
        ("/linux/netDevices/eth1", "the runtime moves eth1 into the container, as net%d"),
        ("/linux/netDevices/ens4", "the runtime moves ens4 into the container, as ens4"),
        ("/linux/netDevices/x", "the runtime moves x into the container, as y"),
    ]


def test_pointers_escape_what_json_pointers_do() -> None:
    assert wanted({"linux": {"netDevices": {"a~b": {}}}}) == {"/linux/netDevices/a~0b": ("a~b", "a~b")}


def test_devices_are_there_before_the_kernel_parameters_are_set() -> None:
    program = compiled({"eth1": {}}, sysctl={"net.ipv4.conf.eth1.forwarding": "1"})
    origins = [step.origin for step in program.steps]
    parameter = "/linux/sysctl/net.ipv4.conf.eth1.forwarding"
    assert origins.index("/linux/netDevices/eth1") < origins.index(parameter)


@pytest.mark.parametrize("name", ["", "x" * 16, "ä" * 8, ".", "..", "a/b", "a b", "a:b", "a\tb", "eth%d"])
def test_a_name_that_no_device_has_is_refused(name: str) -> None:
    pointer = "/linux/netDevices/" + name.replace("/", "~1")
    refused({name: {"name": "net0"}}, pointer, "cannot be the name")


@pytest.mark.parametrize("name", ["x" * 16, "..", "a/b", "a b", "a:b", "a\nb", "%", "a%", "%s", "a%d%d"])
def test_a_new_name_that_the_kernel_would_refuse_is_refused(name: str) -> None:
    refused({"eth0": {"name": name}}, "/linux/netDevices/eth0/name", "cannot be the name")


@pytest.mark.parametrize("name", ["x" * 15, "ä" * 7, "eth%d", "%d", "...", "a-b.c_d"])
def test_other_names_are_accepted(name: str) -> None:
    compiled({"eth0": {"name": name}})


def test_two_devices_cannot_have_one_name_but_a_template() -> None:
    refused({"eth0": {"name": "x"}, "eth1": {"name": "x"}}, "/linux/netDevices/eth1", "cannot both be x")
    refused({"x": {}, "eth1": {"name": "x"}}, "/linux/netDevices/eth1", "cannot both be x")
    compiled({"eth0": {"name": "x%d"}, "eth1": {"name": "x%d"}})
    compiled({"eth0": {"name": "eth1"}, "eth1": {"name": "eth0"}})


def test_devices_need_a_network_namespace_and_root() -> None:
    with pytest.raises(Error, match="need a network namespace"):
        compiled({"eth0": {}}, namespaces=[{"type": "pid"}, {"type": "mount"}])
    with pytest.raises(Error, match="as root"):
        compiled({"eth0": {}}, rootless=True, namespaces=[{"type": "mount"}, {"type": "network"}])


def test_without_devices_the_runtime_is_not_asked() -> None:
    assert not [step for step in compiled(None).steps if is_move(step)]
    assert not [step for step in compiled({}).steps if is_move(step)]


def test_a_container_killed_before_its_devices_are_there_is_told_of() -> None:
    pytest.importorskip("pyroute2")
    beyond_all = 1 << 22  # PID_MAX_LIMIT
    with pytest.raises(Error, match="process was ended"):
        Devices(beyond_all, {"linux": {"netDevices": {"eth0": {}}}})
