"""events: what a container uses, and that it ran out of memory, until it ends.

It only looks, and takes no lock. The documents are runc's (types/events.go).
"""

import posix
from time import monotonic

from pyrunc import json
from pyrunc.container import record as records
from pyrunc.errors import Error
from pyrunc.host.cgroups.stats import stats
from pyrunc.host.paths import exists
from pyrunc.host.processes import open_pidfd
from pyrunc.state import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.container import Runtime

_STDOUT = 1


def once(rt: "Runtime", id: str) -> "dict[str, Any]":
    """One stats event."""
    return _stats(id, _running(rt, id))


def follow(rt: "Runtime", id: str, interval: float, tell: "Callable[[dict[str, Any]], None]") -> None:
    """Passes a stats event to `tell` every interval seconds, and an oom event whenever the kernel has
    killed for want of memory. Returns when the container's process has ended, or nobody reads
    standard output any more."""
    from select import POLLERR, POLLHUP, POLLIN, poll

    from pyrunc.host.cgroups import oom

    record = _running(rt, id)
    process = open_pidfd(record["pid"], record["started"])
    if process < 0:
        raise _stopped(id)
    watch = oom.watch(record["cgroups"])
    if watch is None:
        from pyrunc import log

        log.warning(
            "the container has no memory cgroup that may be watched: it is not told when the kernel kills "
            "for want of memory"
        )
    waiting = poll()
    waiting.register(process, POLLIN)
    waiting.register(_STDOUT, 0)
    if watch is not None:
        waiting.register(watch.fd, watch.mask)
    due = monotonic() + interval
    try:
        while True:
            ready = dict(waiting.poll(max(0.0, due - monotonic()) * 1000))
            ended = process in ready
            # Who was killed last may have been the container's process: it is told before the end.
            killed = watch.happened() if watch is not None and (ended or watch.fd in ready) else 0
            for _ in range(killed):
                tell({"type": "oom", "id": id})
            if ended or ready.get(_STDOUT, 0) & (POLLERR | POLLHUP):
                return
            if killed < 0 and watch is not None:
                waiting.unregister(watch.fd)
                watch.close()
                watch = None
            if monotonic() >= due:
                tell(_stats(id, record))
                # The pace is kept, but what a stopped reader has missed is not made up for.
                due = max(due + interval, monotonic())
    finally:
        posix.close(process)
        if watch is not None:
            watch.close()


def _running(rt: "Runtime", id: str) -> "dict[str, Any]":
    directory = Directory.open(rt.root, id, lock=False)
    try:
        record = directory.read()
        if records.status(directory, record) in ("stopped", "creating"):
            raise _stopped(id)
        config = directory.get(records.CONFIG)
        if b'"intelRdt"' in config:
            rdt = json.decode(config.decode())["linux"].get("intelRdt")
            if rdt is not None:
                record["resctrl"] = rdt.get("closID") or id
        records.locate(record)
        records.check_cgroup(record)
        if not any(map(exists, record["cgroups"]["directories"].values())):
            raise Error(f"the cgroups of the container {id} have gone, which would know what it uses")
        return record
    finally:
        directory.close()


def _stopped(id: str) -> Error:
    return Error(f"container with id {id} is not running, and so has no events")


def _stats(id: str, record: "dict[str, Any]") -> "dict[str, Any]":
    data = stats(record["cgroups"])
    if "resctrl" in record:
        from pyrunc.host import resctrl

        data["intel_rdt"] = resctrl.stats(record["resctrl"], id)
    return {"type": "stats", "id": id, "data": data}
