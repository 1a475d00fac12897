"""Changing the limits of a container that exists: all of an update, or nothing of it.

What `compile.update` found out is carried out here; where the kernel refuses a part of it, what was there
before is written back. No process is moved.
"""

from errno import EACCES, EINVAL, ENODEV, ENOENT, EPERM, EROFS

from pyrunc.compile.settings import Write
from pyrunc.errors import Error
from pyrunc.host.cgroups.files import apply, check, read_text, reason, write_each, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.device_filter import Devices
    from pyrunc.compile.update import Update

# What a file with one line for each device says of a device that it does not mention.
_NO_LINE = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default", "io.bfq.weight": "default",
    "blkio.weight_device": "0", "blkio.leaf_weight_device": "0", "blkio.bfq.weight_device": "0",
    "blkio.throttle.read_bps_device": "0", "blkio.throttle.write_bps_device": "0",
    "blkio.throttle.read_iops_device": "0", "blkio.throttle.write_iops_device": "0",
    "rdma.max": "hca_handle=max hca_object=max", "misc.max": "max", "net_prio.ifpriomap": "0",
}  # fmt: skip


def change(record: "dict[str, Any]", update: "Update", old_devices: "list[Write]") -> None:
    """Carries an update out, from a container's `Plan.record()`; old_devices are the lines that bring the
    v1 device list back. Raises Error, with the old limits in force again."""
    directories: dict[str, str] = record["directories"]
    # systemd applies what it is told at once.
    check(directories, update.settings)
    old = [as_it_is(directories, write) for write in update.settings.writes]
    systemd = record["driver"] == "systemd"
    try:
        if systemd:
            # Before the files, which have the exact values.
            _tell_systemd(record, update.settings.writes, update.rules[1] if update.rules else None)
        apply(directories, update.settings)
        if update.devices:
            _change_devices(record, update, old_devices)
        if update.program is not None:
            _change_filter(directories[""], update.program)
    except Error:
        before = [write for write in old if write is not None]
        if systemd:
            try:
                _tell_systemd(record, before, update.rules[0] if update.rules else None)
            except Error as error:
                from pyrunc.log import warning

                warning(f"the former limits are in force, but systemd does not know them: {error}")
        _restore(directories, before)
        raise


def _tell_systemd(record: "dict[str, Any]", writes: "list[Write]", rules: "Devices | None") -> None:
    from pyrunc.host.cgroups import members, systemd

    # v1 has all devices denied for a moment, at which the container must not look.
    stop = rules is not None and "freezer" in record["directories"] and not members.frozen(record)
    if stop:
        members.freeze(record)
    try:
        systemd.set_properties(record, writes, rules)
    finally:
        if stop:
            members.thaw(record)


def _change_devices(record: "dict[str, Any]", update: "Update", old: "list[Write]") -> None:
    from pyrunc.host.cgroups import members

    stop = update.stop and "freezer" in record["directories"] and not members.frozen(record)
    if stop:
        members.freeze(record)
    try:
        try:
            write_each(record["directories"], update.devices)
        except Error:
            _restore(record["directories"], list(reversed(old)))
            raise
    finally:
        if stop:
            members.thaw(record)


def _change_filter(directory: str, program: bytes) -> None:
    from pyrunc.host.bpf import replace_device_filter

    try:
        replace_device_filter(directory, program)
    except OSError as e:
        remedy = "see bpf(2)"
        if e.errno in (EPERM, EACCES):
            remedy = "a device filter needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN"
        elif e.errno == EINVAL:
            remedy = "the kernel needs CONFIG_CGROUP_BPF, and Linux 5.6 to exchange a filter"
        raise Error(
            f"exchanging the device filter of {directory}: {reason(e)}: {remedy}", pointer="/devices"
        ) from e


# -- the way back --------------------------------------------------------------


def as_it_is(directories: dict[str, str], write: Write) -> Write | None:
    """The write that brings back what a file says now; None where there is none, or it cannot be told."""
    try:
        text = read_text(f"{directories[write.hierarchy]}/{write.file}")
    except OSError as e:
        if e.errno == ENOENT and write.instead is not None:
            return as_it_is(directories, write.instead)
        if e.errno in (ENOENT, EACCES, EPERM, EINVAL, ENODEV):
            return None
        raise
    key, space, _ = write.value.partition(" ")
    lines = text.splitlines()
    if space and write.file in _NO_LINE:
        found = [line for line in lines if line.startswith(f"{key} ")]
        value = found[0] if found else f"{key} {_NO_LINE[write.file]}"
    elif write.file == "memory.oom_control":
        value = lines[0].split()[-1]
    elif len(lines) == 1 or not lines:
        value = lines[0] if lines else ""
    else:
        # One weight for all devices stands in the line that has no device.
        found = [line.split()[-1] for line in lines if line.startswith("default ")]
        if not found:
            return None
        value = found[0]
    return Write(write.hierarchy, write.file, value, write.pointer)


def _restore(directories: dict[str, str], writes: "list[Write]") -> None:
    """Writes old values, last changed first; limits bound each other, so that those refused are tried
    again. What cannot be had back is a warning, beside the error that led here."""
    from pyrunc import log

    left = list(reversed(writes))
    for last in (False, True):
        refused = []
        for write in left:
            path = f"{directories[write.hierarchy]}/{write.file}"
            try:
                # An empty list takes a line too: a write of nothing is none.
                write_text(path, write.value or "\n")
            except OSError as e:
                if e.errno == EINVAL and not last:
                    refused.append(write)
                elif e.errno not in (ENOENT, ENODEV, EROFS):
                    log.warning(f'{path} could not be set back to "{write.value}": {reason(e)}')
        left = refused
