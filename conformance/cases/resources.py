"""config-linux.md: the limits of control groups, read from the files of the cgroup that the process is in."""

import errno
import os
from pathlib import Path
from typing import Any, NamedTuple

from conformance.box import Box
from conformance.cases.cgroups import has_controller, limit_file, v2_mount
from conformance.cases.operations import plain
from conformance.container import Container
from conformance.model import NotApplicable, RuntimeFailed, case

MIB = 1 << 20


class Value(NamedTuple):
    """A resource, and each file's name and value: of v1, and of v2. Without a name there is none; a value
    of None is any but the default, and a tuple has all that are right."""

    requirement: str
    controller: str
    resources: dict[str, Any]
    v1: tuple[str, str | tuple[str, ...] | None]
    v2: tuple[str, str | tuple[str, ...] | None]


VALUES = (
    Value("cgroups.memory-limit", "memory", {"memory": {"limit": 32 * MIB}},
          ("memory.limit_in_bytes", str(32 * MIB)), ("memory.max", str(32 * MIB))),
    Value("cgroups.memory-unlimited", "memory", {"memory": {"limit": -1}},
          ("memory.limit_in_bytes", "9223372036854771712"), ("memory.max", "max")),
    Value("cgroups.memory-reservation", "memory", {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}},
          ("memory.soft_limit_in_bytes", str(32 * MIB)), ("memory.low", str(32 * MIB))),
    Value("cgroups.memory-swap", "memory", {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
          ("memory.memsw.limit_in_bytes", str(96 * MIB)), ("memory.swap.max", str(32 * MIB))),
    Value("cgroups.memory-swappiness", "memory", {"memory": {"swappiness": 35}},
          ("memory.swappiness", "35"), ("", "")),
    Value("cgroups.memory-oom-killer", "memory", {"memory": {"limit": 64 * MIB, "disableOOMKiller": True}},
          ("memory.oom_control", "oom_kill_disable 1"), ("", "")),
    Value("cgroups.pids-limit", "pids", {"pids": {"limit": 77}}, ("pids.max", "77"), ("pids.max", "77")),
    Value("cgroups.pids-unlimited", "pids", {"pids": {"limit": -1}}, ("pids.max", "max"),
          ("pids.max", "max")),
    # There is one task already: neither value lets it make another.
    Value("cgroups.pids-zero", "pids", {"pids": {"limit": 0}}, ("pids.max", ("0", "1")),
          ("pids.max", ("0", "1"))),
    Value("cgroups.cpu-quota", "cpu", {"cpu": {"quota": 50000, "period": 200000}},
          ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 200000")),
    Value("cgroups.cpu-quota", "cpu", {"cpu": {"quota": 50000, "period": 200000}},
          ("cpu.cfs_period_us", "200000"), ("cpu.max", "50000 200000")),
    Value("cgroups.cpu-burst", "cpu", {"cpu": {"quota": 50000, "period": 100000, "burst": 20000}},
          ("cpu.cfs_burst_us", "20000"), ("cpu.max.burst", "20000")),
    Value("cgroups.cpu-shares", "cpu", {"cpu": {"shares": 512}}, ("cpu.shares", "512"), ("cpu.weight", None)),
    Value("cgroups.cpu-idle", "cpu", {"cpu": {"idle": 1}}, ("cpu.idle", "1"), ("cpu.idle", "1")),
    Value("cgroups.cpu-realtime", "cpu", {"cpu": {"realtimeRuntime": 2000, "realtimePeriod": 500000}},
          ("cpu.rt_runtime_us", "2000"), ("", "")),
    Value("cgroups.cpu-realtime", "cpu", {"cpu": {"realtimeRuntime": 2000, "realtimePeriod": 500000}},
          ("cpu.rt_period_us", "500000"), ("", "")),
    Value("cgroups.cpuset", "cpuset", {"cpu": {"cpus": "0"}}, ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    Value("cgroups.cpuset-mems", "cpuset", {"cpu": {"mems": "0"}}, ("cpuset.mems", "0"),
          ("cpuset.mems", "0")),
)  # fmt: skip
DEFAULTS = {"cpu.weight": "100"}
# What says that there is no limit must not be an error, nor one of another kind.
UNLIMITED = ("cgroups.memory-unlimited", "cgroups.pids-unlimited")


def content(container: Container, controller: str, name: str) -> str:
    """The first line of a file of the container's cgroup."""
    return limit_file(container, controller, name, name).read_text().strip().partition("\n")[0]


def exists(control: Container, controller: str, name: str) -> bool:
    try:
        limit_file(control, controller, name, name)
    except RuntimeFailed:
        return False
    return True


def observe(box: Box, value: Value, control: Container) -> None:
    """Look at one value; control is a container without limits, whose cgroup tells which files there are."""
    requirement = value.requirement
    if not has_controller(value.controller):
        box.not_applicable(requirement, f"there is no cgroup controller {value.controller}")
        return
    if v2_mount() and not value.v2[0]:
        box.not_applicable(requirement, "cgroup v2 has no such limit")
        return
    name, wanted = value.v2 if v2_mount() else value.v1
    if not exists(control, value.controller, name):
        box.not_applicable(requirement, f"this kernel's cgroups have no {name}")
        return
    if wanted == content(control, value.controller, name) and requirement not in UNLIMITED:
        box.not_applicable(requirement, f"on this machine, {name} is {wanted} without it too")
        return
    container = box.container().runs("hold")
    container.linux["resources"] = value.resources
    container.run()
    found = content(container, value.controller, name)
    if wanted is None:
        box.check(requirement, found != DEFAULTS[name], f"{name} has its default {found}")
    elif isinstance(wanted, tuple):
        box.check(requirement, found in wanted, f"{name} is {found!r}, not {' or '.join(wanted)}")
    else:
        box.equal(requirement, found, wanted, name)
    container.stop()


@case(*dict.fromkeys(value.requirement for value in VALUES))
def values_of_cgroups(box: Box) -> None:
    control = box.container().create()
    for value in VALUES:
        try:
            observe(box, value, control)
        except RuntimeFailed as error:
            box.check(value.requirement, False, str(error))


# What cgroup v2 has no counterpart of.
ONLY_V1: tuple[dict[str, Any], ...] = (
    {"memory": {"swappiness": 35}},
    {"memory": {"limit": 64 * MIB, "kernelTCP": 32 * MIB}},
    {"memory": {"limit": 64 * MIB, "disableOOMKiller": True}},
    {"cpu": {"realtimeRuntime": 5000, "realtimePeriod": 100000}},
    {"network": {"classID": 0x100001}},
)


@case("cgroups.unconvertible", "errors.unchanged")
def limits_without_a_counterpart(box: Box) -> None:
    if not v2_mount():
        raise NotApplicable("this machine has cgroup v1")
    for resources in ONLY_V1:
        box.refused(
            "cgroups.unconvertible",
            plain,
            lambda bad, resources=resources: bad.linux.update(resources=resources),  # type: ignore[misc]
            f"{resources} on cgroup v2",
            "errors.unchanged",
        )


def disk() -> tuple[int, int]:
    """A block device of the machine's, for a limit that nobody will feel."""
    blocks = Path("/sys/block")
    for path in sorted(blocks.iterdir()) if blocks.is_dir() else []:
        if (path / "queue").is_dir() and not path.name.startswith(("loop", "ram", "zram", "dm-", "md")):
            major, minor = (path / "dev").read_text().strip().split(":")
            return int(major), int(minor)
    raise NotApplicable("the machine has no block device to name")


# Property, file of v1, word of v2's io.max.
RATES = (
    ("throttleReadBpsDevice", "read_bps", "rbps", 100 * MIB),
    ("throttleWriteBpsDevice", "write_bps", "wbps", 200 * MIB),
    ("throttleReadIOPSDevice", "read_iops", "riops", 2000),
    ("throttleWriteIOPSDevice", "write_iops", "wiops", 3000),
)


@case("cgroups.block-io")
def rates_of_block_devices(box: Box) -> None:
    major, minor = disk()
    controller = "io" if v2_mount() else "blkio"
    if not has_controller(controller):
        raise NotApplicable(f"there is no cgroup controller {controller}")
    container = box.container().runs("hold")
    numbers = {"major": major, "minor": minor}
    rates = {name: [{**numbers, "rate": rate}] for name, _, _, rate in RATES}
    container.linux["resources"] = {"blockIO": rates}
    container.run()
    if v2_mount():
        text = limit_file(container, "io", "", "io.max").read_text()
        wanted = {f"{word}={rate}" for _, _, word, rate in RATES}
        lines = [line.split() for line in text.splitlines()]
        found = next((words for words in lines if words[0] == f"{major}:{minor}"), [])
        box.check("cgroups.block-io", wanted <= set(found), f"io.max is {text!r}")
    else:
        for _, name, _, rate in RATES:
            file = limit_file(container, "blkio", f"blkio.throttle.{name}_device", "")
            box.equal("cgroups.block-io", file.read_text().strip(), f"{major}:{minor} {rate}", file.name)
    container.stop()


@case("cgroups.block-io-weight")
def weight_of_block_devices(box: Box) -> None:
    # A file is there when the machine's scheduler of block devices has weights.
    controller = "io" if v2_mount() else "blkio"
    names = [f"{controller}.weight", f"{controller}.bfq.weight"]
    control = box.container().create()
    there = [name for name in names if exists(control, controller, name)]
    if not there:
        raise NotApplicable(f"this kernel's cgroups have no {' and no '.join(names)}")
    container = box.container().runs("hold")
    container.linux["resources"] = {"blockIO": {"weight": 300}}
    container.run()
    found = {}
    for name in there:
        files = [limit_file(each, controller, name, name) for each in (control, container)]
        found[name] = [file.read_text().strip() for file in files]
    # v2's scale is another one: how 300 is converted is the runtime's affair.
    changed = [name for name, (before, after) in found.items() if before != after]
    box.check("cgroups.block-io-weight", changed, f"the weights before and after are {found}")
    container.stop()


@case("cgroups.network-class", "cgroups.network-priorities")
def class_and_priorities_of_the_network(box: Box) -> None:
    for requirement, controller, resources, name, wanted in (
        ("cgroups.network-class", "net_cls", {"classID": 0x100001}, "net_cls.classid", str(0x100001)),
        (
            "cgroups.network-priorities",
            "net_prio",
            {"priorities": [{"name": "lo", "priority": 7}]},
            "net_prio.ifpriomap",
            "lo 7",
        ),
    ):
        if not has_controller(controller) or v2_mount():
            box.not_applicable(requirement, f"there is no cgroup controller {controller}")
            continue
        container = box.container().runs("hold")
        container.linux["resources"] = {"network": resources}
        container.run()
        text = limit_file(container, controller, name, "").read_text()
        box.check(requirement, wanted in text.splitlines(), f"{name} is {text!r}")
        container.stop()


@case("cgroups.hugepages", "cgroups.hugepages-reservations", "cgroups.hugepages-unknown")
def huge_pages(box: Box) -> None:
    sizes = Path("/sys/kernel/mm/hugepages")
    if not has_controller("hugetlb") or not sizes.is_dir() or not list(sizes.iterdir()):
        raise NotApplicable("there is no cgroup controller hugetlb, or no size of huge pages")
    kibibytes = min(int(path.name.split("-")[1].removesuffix("kB")) for path in sizes.iterdir())
    size = f"{kibibytes >> 10}MB" if kibibytes >> 10 else f"{kibibytes}KB"
    container = box.container().runs("hold")
    limit = kibibytes << 12  # four of them
    container.linux["resources"] = {"hugepageLimits": [{"pageSize": size, "limit": limit}]}
    container.run()
    file = limit_file(container, "hugetlb", f"hugetlb.{size}.limit_in_bytes", f"hugetlb.{size}.max")
    box.equal("cgroups.hugepages", file.read_text().strip(), str(limit), file.name)
    parts = file.name.rpartition(".")
    reserved = file.with_name(f"{parts[0]}.rsvd.{parts[2]}")
    if reserved.exists():
        found = reserved.read_text().strip()
        box.equal("cgroups.hugepages-reservations", found, str(limit), reserved.name)
    else:
        box.not_applicable("cgroups.hugepages-reservations", f"this kernel's cgroups have no {reserved.name}")
    container.stop()
    box.refused(
        "cgroups.hugepages-unknown",
        lambda good: good.linux.update(resources=container.linux["resources"]),
        lambda bad: bad.linux.update(resources={"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}),
        "a page size that the machine does not have",
    )


@case("cgroups.device-list")
def the_device_list(box: Box) -> None:
    if os.path.exists("/proc/self/uid_map") and Path("/proc/self/uid_map").read_text().split()[:2] != [
        "0",
        "0",
    ]:
        raise NotApplicable("the suite runs in a user namespace")
    container = box.container(
        "openr:/dev/allowed", "openr:/dev/denied", "openw:/dev/allowed", "openr:/dev/other", "openr:/dev/null"
    )
    # Majors 240 to 254 are for local use (devices.txt). Without a driver, opening gives ENXIO, but only after
    # the device list has let it pass.
    container.linux["devices"] = [
        {"path": "/dev/denied", "type": "c", "major": 240, "minor": 1, "fileMode": 0o666},
        {"path": "/dev/allowed", "type": "c", "major": 240, "minor": 2, "fileMode": 0o666},
        {"path": "/dev/other", "type": "c", "major": 241, "minor": 2, "fileMode": 0o666},
    ]
    container.linux["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 240, "minor": 1, "access": "rwm"},
            {"allow": True, "type": "c", "major": 240, "minor": 2, "access": "r"},
            {"allow": False, "type": "c", "major": 240, "minor": 1, "access": "rwm"},
        ]
    }
    report = container.run()
    box.equal(
        "cgroups.device-list",
        report.op("openr:/dev/denied")["errno"],
        errno.EPERM,
        "the errno of what is denied",
    )
    found = report.op("openr:/dev/other")["errno"]
    box.equal("cgroups.device-list", found, errno.EPERM, "the errno of what is like it, but of another major")
    found = report.op("openr:/dev/allowed")["errno"]
    box.check("cgroups.device-list", found != errno.EPERM, "what is allowed cannot be opened")
    box.equal(
        "cgroups.device-list", report.op("openw:/dev/allowed")["errno"], errno.EPERM, "the errno of writing"
    )
    box.equal("cgroups.device-list", report.op("openr:/dev/null")["errno"], 0, "the errno of /dev/null")
