"""Configurations to compile without a host: the engines', one for each property, and resources.

tests/golden/properties/NAME.json is what a bundle with the property adds to the configuration that `spec`
writes, merged as in RFC 7386; a key "mounts+" appends to the list "mounts". tests/golden/cgroups/NAME.json
has `linux.resources` by name, as a pair with those in force before for an update. What a host would have told
the compiler is made up here.
"""

import json
from pathlib import Path
from stat import S_IFDIR, S_IFREG
from typing import Any

from pyrunc.compile import cgroups
from pyrunc.compile.create import compile_create
from pyrunc.compile.facts import Facts, Request
from pyrunc.compile.masks import kernel_paths
from pyrunc.compile.settings import Layout
from pyrunc.compile.systemd import Unit
from pyrunc.config.default import default
from pyrunc.program.model import Program

GOLDEN = Path(__file__).parent.parent / "golden"
PROPERTIES = GOLDEN / "properties"
ENGINES = sorted(path.stem for path in GOLDEN.glob("*.json"))
EXAMPLES = sorted(path.stem for path in PROPERTIES.glob("*.json"))
RESOURCES = GOLDEN / "cgroups"
V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "name=systemd")
LAYOUTS = {
    "v1": Layout(
        {name: f"/sys/fs/cgroup/{name.rpartition('=')[2]}" for name in V1}, "/sys/fs/cgroup/unified", (), {}
    ),
    "v2": Layout({}, "/sys/fs/cgroup", ("cpuset", "cpu", "io", "memory", "pids"), {}),
}
# Machines with more controllers: for resources alone, since each v1 controller is more steps in a program.
_OLD = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
MACHINES = {
    "v1": Layout(
        {name: f"/sys/fs/cgroup/{name}" for name in (*_OLD, "net_cls", "net_prio", "hugetlb", "rdma")},
        None, (), {},
    ),
    "hybrid": Layout(
        {name: f"/sys/fs/cgroup/{name}" for name in _OLD}, "/sys/fs/cgroup/unified", ("hugetlb", "rdma"), {}
    ),
    "v2": Layout({}, "/sys/fs/cgroup", ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"), {}),
}  # fmt: skip
DIRECTORIES = ("/srv/src", "/_data", "/shm")
# Masked paths as a host has them: absent, a file, or a directory.
KERNEL_PATHS = {
    "/proc/acpi": S_IFDIR | 0o555,
    "/proc/asound": 0,
    "/proc/kcore": S_IFREG | 0o400,
    "/proc/keys": S_IFREG | 0o444,
    "/proc/latency_stats": 0,
    "/proc/sched_debug": 0,
    "/proc/scsi": S_IFDIR | 0o555,
    "/proc/timer_list": S_IFREG | 0o400,
    "/proc/timer_stats": 0,
    "/sys/dev/block": S_IFDIR | 0o755,
    "/sys/devices/virtual/tpm": 0,
    "/sys/firmware": S_IFDIR | 0o755,
    "/sys/fs/selinux": 0,
}
FILTER = bytes(8) * 5


def configuration(name: str) -> dict[str, Any]:
    """The config.json of an engine."""
    config: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return config


def ordinary() -> dict[str, Any]:
    """What the examples of properties are added to."""
    config = default(cgroup_v2=True)
    config["process"]["terminal"] = False
    return config


def merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.endswith("+"):
            result[key[:-1]] = result.get(key[:-1], []) + value
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def example(name: str) -> dict[str, Any]:
    """The configuration of a property's example."""
    patch = json.loads((PROPERTIES / f"{name}.json").read_text())
    config: dict[str, Any] = merged(ordinary(), patch)
    return config


def resources(name: str) -> dict[str, tuple[dict[str, Any], dict[str, Any] | None]]:
    """Resources by title, with those in force before an update."""
    cases = json.loads((RESOURCES / f"{name}.json").read_text())
    return {title: tuple(case) if isinstance(case, list) else (case, None) for title, case in cases.items()}


def compiled(
    config: dict[str, Any], layout: Layout, *, wait: bool = True, unit: Unit | None = None
) -> tuple[Program, cgroups.Plan]:
    """The program of a configuration on a made-up host, and what it does with cgroups."""
    bundle = "/run/engine/box"
    root = config["root"]["path"]
    sources = {
        mount["source"]: S_IFDIR | 0o755 if mount["source"].endswith(DIRECTORIES) else S_IFREG | 0o644
        for mount in config["mounts"]
        if mount["type"] == "bind"
    }
    plan = cgroups.plan(config, layout, "box", unit=unit)
    facts = Facts(
        root if root.startswith("/") else f"{bundle}/{root}",
        sources=sources,
        links={source: "file" for source in sources if source.endswith("/link")},
        filter=FILTER if "seccomp" in config["linux"] else None,
        cgroups=plan,
        layout=layout,
        home="/root",
        apparmor=True,
        selinux=True,
        limits={"RLIMIT_NOFILE": 524288},
        kernel_paths={path: KERNEL_PATHS[path] for path in kernel_paths(config)},
    )
    program = compile_create(config, facts, Request("box", bundle, wait=wait))
    return program, plan
