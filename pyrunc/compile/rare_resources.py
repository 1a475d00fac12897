"""The sections of `linux.resources` that few configurations have: blockIO, hugepageLimits, network, rdma
and unified.

Loaded only where one of them is set. What a layout cannot express is an error with its pointer. Pure.
Specification: config-linux.md, "Block IO" to "Unified"; Documentation/admin-guide/cgroup-v1 and
cgroup-v2.rst.
"""

from errno import ENOENT

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.compile.settings import Settings

# Property of blockIO, v1 file, key of v2's io.max.
THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)

# Files of cgroup v2 that the runtime itself works with; writing them would undo that.
_OWN_FILES = (
    "cgroup.freeze", "cgroup.kill", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "cgroup.type",
)  # fmt: skip

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


# -- blockIO -----------------------------------------------------------------


def weight_to_io_weight(weight: int) -> int:
    """io.weight (1 to 10000) for a blkio weight (10 to 1000): linear, as in runc and crun."""
    return 1 + (weight - 10) * 9999 // 990


def _block_io(result: "Settings", section: "dict[str, Any]") -> None:
    controller = "blkio" if "blkio" in result.layout.v1 else "io"
    if section.get("weight"):
        key = "/blockIO/weight"
        hierarchy = result.hierarchy(controller, key)
        _weight(result, hierarchy, "", section["weight"], key)
    if section.get("leafWeight"):
        key = "/blockIO/leafWeight"
        _leaf_weight(result, result.hierarchy(controller, key), "", section["leafWeight"], key)
    for i, entry in enumerate(section.get("weightDevice") or ()):
        key = f"/blockIO/weightDevice/{i}"
        hierarchy = result.hierarchy(controller, key)
        device = _device(result, entry, key)
        if entry.get("weight"):
            _weight(result, hierarchy, f"{device} ", entry["weight"], key)
        if entry.get("leafWeight"):
            _leaf_weight(result, hierarchy, f"{device} ", entry["leafWeight"], key)
    for name, v1_file, v2_key in THROTTLES:
        for i, entry in enumerate(section.get(name) or ()):
            key = f"/blockIO/{name}/{i}"
            hierarchy = result.hierarchy(controller, key)
            device, rate = _device(result, entry, key), entry["rate"]
            if hierarchy:
                result.add(hierarchy, v1_file, f"{device} {rate}", key)
            else:
                # v1 takes 0 for no limit, which v2 refuses.
                result.add(hierarchy, "io.max", f"{device} {v2_key}={rate or 'max'}", key)


def _weight(result: "Settings", hierarchy: str, device: str, weight: int, key: str) -> None:
    """A weight, of all devices or of one ("8:0 "). BFQ has files of its own, which are absent while it
    is not loaded; v2's other file, io.weight, belongs to the cost model and has another range."""
    _check_weight(result, weight, key)
    if hierarchy:
        name = "weight_device" if device else "weight"
        result.add(
            hierarchy, f"blkio.{name}", f"{device}{weight}", key,
            instead=(f"blkio.bfq.{name}", f"{device}{weight}"),
        )
    else:
        result.add(
            hierarchy, "io.bfq.weight", f"{device}{weight}", key,
            instead=("io.weight", f"{device}{weight_to_io_weight(weight)}"),
        )


def _leaf_weight(result: "Settings", hierarchy: str, device: str, weight: int, key: str) -> None:
    _check_weight(result, weight, key)
    if not hierarchy:
        raise Error(
            "cgroup v2 has no leaf weight, since processes are in leaves only; remove the key",
            pointer=result.root + key,
        )
    result.add(hierarchy, f"blkio.leaf_weight{'_device' if device else ''}", f"{device}{weight}", key)


def _check_weight(result: "Settings", weight: int, key: str) -> None:
    if not 10 <= weight <= 1000:
        raise Error(f"{weight} is out of range: a weight goes from 10 to 1000", pointer=result.root + key)


def _device(result: "Settings", entry: "dict[str, Any]", key: str) -> str:
    for name in ("major", "minor"):
        if not 0 <= entry[name] <= 0xFFFFFFFF:
            raise Error(f"{entry[name]} is not a device number", pointer=f"{result.root}{key}/{name}")
    return f"{entry['major']}:{entry['minor']}"


# -- hugepageLimits ----------------------------------------------------------


def _huge_pages(result: "Settings", limits: "list[dict[str, Any]]") -> None:
    """For each size the limit of pages in use, and that of reservations where the kernel counts them."""
    for i, entry in enumerate(limits):
        key = f"/hugepageLimits/{i}"
        hierarchy = result.hierarchy("hugetlb", key)
        file = f"hugetlb.{entry['pageSize']}"
        suffix = "limit_in_bytes" if hierarchy else "max"
        result.add(hierarchy, f"{file}.{suffix}", entry["limit"], key)
        # Since Linux 5.7.
        result.add(hierarchy, f"{file}.rsvd.{suffix}", entry["limit"], key, tolerate=(ENOENT,))


# -- network -----------------------------------------------------------------


def _network(result: "Settings", section: "dict[str, Any]") -> None:
    if section.get("classID"):
        hierarchy = _v1_only(result, "net_cls", "/network/classID")
        result.add(hierarchy, "net_cls.classid", section["classID"], "/network/classID")
    for i, entry in enumerate(section.get("priorities") or ()):
        key = f"/network/priorities/{i}"
        hierarchy = _v1_only(result, "net_prio", key)
        name = entry["name"]
        if not name or not name.isprintable() or " " in name or "/" in name:
            raise Error(
                f'"{name}" is not the name of a network interface', pointer=f"{result.root}{key}/name"
            )
        result.add(hierarchy, "net_prio.ifpriomap", f"{name} {entry['priority']}", key)


def _v1_only(result: "Settings", controller: str, key: str) -> str:
    if controller not in result.layout.v1:
        raise Error(
            f'it needs the cgroup v1 controller "{controller}", which is not mounted, and cgroup v2 has '
            "none like it; remove the key, and mark the traffic by nftables",
            pointer=result.root + key,
        )
    return result.hierarchy(controller, key)


# -- rdma --------------------------------------------------------------------


def _rdma(result: "Settings", devices: "dict[str, Any]") -> None:
    for name, limits in devices.items():
        key = f"/rdma/{name.replace('~', '~0').replace('/', '~1')}"
        hierarchy = result.hierarchy("rdma", key)
        if not name or not set(name) <= _NAME:
            raise Error(f'"{name}" is not the name of an RDMA device', pointer=result.root + key)
        words = [name]
        for property, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if limits.get(property) is not None:
                words.append(f"{word}={limits[property]}")
        result.add(hierarchy, "rdma.max", " ".join(words), key)


# -- unified -----------------------------------------------------------------


def _unified(result: "Settings", files: "dict[str, str]") -> None:
    """Any file of cgroup v2, line by line, after everything else and so with the last word."""
    for file, text in files.items():
        if not text:
            continue
        key = f"/unified/{file.replace('~', '~0').replace('/', '~1')}"
        _check_file(result, file, key)
        for line in text.split("\n"):
            if line:
                result.add("", file, line, key)


def _check_file(result: "Settings", file: str, key: str) -> None:
    pointer = result.root + key
    controller, dot, parameter = file.partition(".")
    if not set(file) <= _NAME or not (controller and dot and parameter):
        raise Error(f'"{file}" is not a cgroup file: give its name, such as "memory.high"', pointer=pointer)
    if file in _OWN_FILES:
        raise Error(f"{file} is what the runtime itself works with; remove the key", pointer=pointer)
    layout = result.layout
    if layout.v2 is None:
        raise Error("cgroup v2 is not mounted, which alone has such files; remove the key", pointer=pointer)
    if controller in layout.v1:
        raise Error(
            f'the controller "{controller}" belongs to cgroup v1 on this system, so that v2 has no {file}; '
            "use the property of its own, or boot with cgroup v2 alone",
            pointer=pointer,
        )
    if controller == "cgroup":
        result.asked = result.asked or pointer
    else:
        result.hierarchy(controller, key)


ADD: "dict[str, Callable[[Settings, Any], None]]" = {
    "blockIO": _block_io,
    "hugepageLimits": _huge_pages,
    "network": _network,
    "rdma": _rdma,
    "unified": _unified,
}
