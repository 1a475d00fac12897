"""The table of docs/cgroups.md: every property of linux.resources, and what becomes of it in each layout.

Cells are what `compile.resources` does with a sample of the property on the machines of examples.py; only
NOTES and DEVICES are written by hand. `PYRUNC_UPDATE_GOLDEN=1 pytest tests/unit/test_cgroups_values.py`
puts a new table into the document.
"""

from typing import Any

from examples import MACHINES

from pyrunc.compile import systemd as driver
from pyrunc.compile.resources import settings
from pyrunc.compile.settings import Layout, Write
from pyrunc.errors import Error

DEVICE = {"major": 8, "minor": 0}

# A property, and resources in which it alone is set as far as it can be.
SAMPLES: dict[str, dict[str, Any]] = {
    "memory/limit": {"memory": {"limit": 2}},
    "memory/swap": {"memory": {"limit": 2, "swap": 3}},
    "memory/reservation": {"memory": {"reservation": 2}},
    "memory/kernel": {"memory": {"kernel": 2}},
    "memory/kernelTCP": {"memory": {"kernelTCP": 2}},
    "memory/swappiness": {"memory": {"swappiness": 2}},
    "memory/disableOOMKiller": {"memory": {"disableOOMKiller": True}},
    "memory/useHierarchy": {"memory": {"useHierarchy": False}},
    "memory/checkBeforeUpdate": {"memory": {"limit": 2, "checkBeforeUpdate": True}},
    "cpu/shares": {"cpu": {"shares": 2}},
    "cpu/quota": {"cpu": {"quota": 2}},
    "cpu/period": {"cpu": {"period": 2}},
    "cpu/burst": {"cpu": {"burst": 2}},
    "cpu/idle": {"cpu": {"idle": 1}},
    "cpu/realtimeRuntime": {"cpu": {"realtimeRuntime": 2}},
    "cpu/realtimePeriod": {"cpu": {"realtimePeriod": 2}},
    "cpu/cpus": {"cpu": {"cpus": "0"}},
    "cpu/mems": {"cpu": {"mems": "0"}},
    "pids/limit": {"pids": {"limit": 2}},
    "blockIO/weight": {"blockIO": {"weight": 20}},
    "blockIO/leafWeight": {"blockIO": {"leafWeight": 20}},
    "blockIO/weightDevice/*/weight": {"blockIO": {"weightDevice": [{**DEVICE, "weight": 20}]}},
    "blockIO/weightDevice/*/leafWeight": {"blockIO": {"weightDevice": [{**DEVICE, "leafWeight": 20}]}},
    "blockIO/throttleReadBpsDevice": {"blockIO": {"throttleReadBpsDevice": [{**DEVICE, "rate": 2}]}},
    "blockIO/throttleWriteBpsDevice": {"blockIO": {"throttleWriteBpsDevice": [{**DEVICE, "rate": 2}]}},
    "blockIO/throttleReadIOPSDevice": {"blockIO": {"throttleReadIOPSDevice": [{**DEVICE, "rate": 2}]}},
    "blockIO/throttleWriteIOPSDevice": {"blockIO": {"throttleWriteIOPSDevice": [{**DEVICE, "rate": 2}]}},
    "hugepageLimits": {"hugepageLimits": [{"pageSize": "2MB", "limit": 2}]},
    "network/classID": {"network": {"classID": 2}},
    "network/priorities": {"network": {"priorities": [{"name": "eth0", "priority": 2}]}},
    "rdma": {"rdma": {"mlx5_1": {"hcaHandles": 2}}},
    "unified": {"unified": {"memory.high": "2"}},
}

NOTES = {
    "memory/swap": "memory and swap together; v2 gets it less the limit",
    "memory/kernel": "no kernel since 5.16 has such a limit",
    "memory/useHierarchy": "`true` is what every kernel does",
    "memory/checkBeforeUpdate": "of an update; the v1 kernel refuses what is too little by itself",
    "cpu/shares": "by the curve of runc and crun: 1024 is 100; not with `idle`",
    "cpu/quota": "v2 has one file for both; an update keeps the other",
    "cpu/realtimeRuntime": "new parents get the same budget",
    "cpu/cpus": "v1: new cgroups take what is not given from their parent",
    "pids/limit": "0 is 1; negative is `max`",
    "blockIO/weight": "BFQ's file, else that of the cost model, whose 1 to 10000 stand for 10 to 1000",
    "blockIO/throttleReadBpsDevice": "0 lifts the limit",
    "blockIO/leafWeight": "no file since Linux 5.0, which is an error",
    "blockIO/weightDevice/*/leafWeight": "no file since Linux 5.0, which is an error",
    "hugepageLimits": "pages in use, and reservations where the kernel counts them",
    "network/classID": "beside v2 too, where its hierarchy is mounted",
    "network/priorities": "beside v2 too, where its hierarchy is mounted",
    "unified": "any file; beside v1 those of the controllers that v2 has there",
}

DEVICES = (
    "| `devices` | `devices.allow`, `devices.deny` | as v1 | eBPF program | `DevicePolicy`, `DeviceAllow`, "
    "and as without | the rules in order, then the default devices |"
)


def table() -> list[str]:
    """The table's lines."""
    lines = [
        "| property | v1 | v1 and v2 (as on a hybrid system) | v2 | systemd driver | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for pointer, resources in SAMPLES.items():
        cells = {name: cell(pointer, resources, layout) for name, layout in MACHINES.items()}
        if cells["hybrid"] == cells["v1"]:
            cells["hybrid"] = "as v1"
        elif cells["hybrid"] == cells["v2"]:
            cells["hybrid"] = "as v2"
        row = (f"`{pointer}`", *cells.values(), systemd(pointer, resources), NOTES.get(pointer, ""))
        lines.append(f"| {' | '.join(row)} |")
    return [*lines, DEVICES]


def asked(pointer: str, resources: dict[str, Any], layout: Layout) -> list[Write]:
    """The writes that carry the property's pointer."""
    parts = pointer.replace("/*", "").split("/")
    found = settings(resources, layout).writes
    return [w for w in found if set(parts[:2]) <= set(w.pointer.split("/"))]


def cell(pointer: str, resources: dict[str, Any], layout: Layout) -> str:
    try:
        found = settings(resources, layout, before={})
    except Error:
        return "refused"
    if pointer.endswith("checkBeforeUpdate"):
        return ", ".join(f"compared with `{file}`" for _, file, _, _ in found.checks) or "nothing"
    names = []
    for write in asked(pointer, resources, layout):
        names.append(f"`{write.file.replace('2MB', 'SIZE')}`")
        if write.instead:
            names[-1] += f" or `{write.instead.file}`"
    return ", ".join(names) or "nothing"


def systemd(pointer: str, resources: dict[str, Any]) -> str:
    """The properties of the unit; what has none is in the files alone."""
    found: dict[str, str] = {}
    for name, layout in (("v2", MACHINES["v2"]), ("v1", MACHINES["v1"])):
        try:
            writes = asked(pointer, resources, layout)
        except Error:
            continue
        for property, _ in driver.properties(writes, 9999):
            found.setdefault(f"`{property}`", name)
    same = len(set(found.values())) == 1
    return ", ".join(name if same else f"{name} ({place})" for name, place in found.items())
