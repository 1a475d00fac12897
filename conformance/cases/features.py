"""features.md and features-linux.md: the features document, and whether the runtime does what it says."""

import json
import platform
import re
from collections.abc import Callable
from typing import Any

from conformance.box import Box
from conformance.cases.options import NO_IDS
from conformance.container import Container
from conformance.host import can_map_ids
from conformance.model import NotApplicable, RuntimeFailed, case
from conformance.requirements import OPTIONS

# The properties that the specification knows, down to lists and plain values.
KNOWN: dict[str, Any] = {
    "ociVersionMin": None,
    "ociVersionMax": None,
    "hooks": None,
    "mountOptions": None,
    "annotations": None,
    "potentiallyUnsafeConfigAnnotations": None,
    "linux": {
        "namespaces": None,
        "capabilities": None,
        "cgroup": {"v1": None, "v2": None, "systemd": None, "systemdUser": None, "rdma": None},
        "seccomp": {
            "enabled": None,
            "actions": None,
            "operators": None,
            "archs": None,
            "knownFlags": None,
            "supportedFlags": None,
        },
        "apparmor": {"enabled": None},
        "selinux": {"enabled": None},
        "intelRdt": {"enabled": None, "schemata": None, "monitoring": None},
        "memoryPolicy": {"modes": None, "flags": None},
        "mountExtensions": {"idmap": {"enabled": None}},
        "netDevices": {"enabled": None},
    },
}
# With an r before them, recursive options of bind mounts.
PLAIN = {name for names in OPTIONS.values() for name in names}
# Of file systems, and none of the runtime's.
DATA = re.compile("(size|mode|uid|gid|nr_inodes|hidepid|lowerdir|upperdir|workdir|errors|data)(=|$)")
# By number, as in the kernel's linux/capability.h.
CAPABILITIES = [
    f"CAP_{name}"
    for name in """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
    SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
    AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
    PERFMON BPF CHECKPOINT_RESTORE
    """.split()
]
# crun's options of bind mounts.
BINDS = ("copy-symlink", "src-nofollow", "dest-nofollow")
# A filter is for one byte order, and for what the machine can execute.
FAMILIES = {
    "x86_64": {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"},
    "aarch64": {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"},
}


def document(box: Box) -> dict[str, Any]:
    result = box.call("features")
    if not result:
        raise NotApplicable("the runtime has no features document, which is its choice")
    try:
        found = json.loads(result.out)
    except ValueError as error:
        raise RuntimeFailed(f"features printed no JSON: {result.out[:200]!r}") from error
    if not isinstance(found, dict):
        raise RuntimeFailed("features printed JSON that is no object")
    # A container, so that this is not the word of a program that makes none.
    plain = box.container()
    plain.run()
    return found


def part(found: dict[str, Any], *keys: str) -> list[str]:
    value: Any = found
    for key in keys:
        value = (value or {}).get(key)
    return list(value or [])


def strange(found: dict[str, Any], known: dict[str, Any], where: str = "") -> list[str]:
    names = [f"{where}{key}" for key in found if key not in known]
    for key, value in found.items():
        if isinstance(value, dict) and isinstance(known.get(key), dict):
            names += strange(value, known[key], f"{where}{key}.")
    return names


def parsed(version: object) -> tuple[tuple[int, ...], bool, str] | None:
    """A version in SemVer's order: a release comes after its candidates."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+.*)?", str(version))
    return (tuple(map(int, match.group(1, 2, 3))), not match[4], match[4] or "") if match else None


@case("features.versions", "features.version-order", "features.accepts-versions", "features.known")
def versions_of_the_document(box: Box) -> None:
    found = document(box)
    least, most = found.get("ociVersionMin"), found.get("ociVersionMax")
    box.check("features.versions", parsed(least) and parsed(most), f"they are {least!r} and {most!r}")
    first, last = parsed(least), parsed(most)
    box.check("features.version-order", first and last and first <= last, f"{least} and {most}")
    for version in (least, most):
        container = box.container()
        container.config["ociVersion"] = version
        result = container.try_create()
        box.check("features.accepts-versions", result, f"{version}: {result}")
    # runc's own, before the specification had a place for them.
    names = strange(found, KNOWN)
    box.check("features.known", not names, f"the specification does not know {', '.join(names)}")


def recognised(
    box: Box, requirement: str, names: list[str], change: Callable[[Container, list[str]], None]
) -> None:
    """All the names in one container, and where that is refused, in halves, to find out which it is."""
    if not names:
        box.not_applicable(requirement, "the document does not name any")
        return
    container = box.container()
    change(container, names)
    result = container.try_create()
    if result or len(names) == 1:
        box.check(requirement, result, f"{names[0]}: {result}")
    else:
        recognised(box, requirement, names[: len(names) // 2], change)
        recognised(box, requirement, names[len(names) // 2 :], change)


def with_options(container: Container, names: list[str]) -> None:
    for name in names:
        if name in ("bind", "rbind"):
            container.mount(f"/{name}", "none", str(container.rootfs / "bin"), name)
        elif name in ("idmap", "ridmap"):
            container.mount(f"/{name}", "none", str(container.rootfs / "bin"), "rbind", name)
            for kind in ("uidMappings", "gidMappings"):
                container.config["mounts"][-1][kind] = [{"containerID": 0, "hostID": 1000, "size": 100}]
        elif name == "remount":
            container.mount(f"/{name}", "tmpfs", "tmpfs")
            container.mount(f"/{name}", "tmpfs", "tmpfs", name)
        elif name in BINDS:
            (container.rootfs / name).mkdir()  # crun's dest-nofollow does not make its destination
            container.mount(f"/{name}", "none", str(container.rootfs / "bin"), "rbind", name)
        elif name[0] == "r" and name[1:] in PLAIN:
            container.mount(f"/{name}", "none", str(container.rootfs / "bin"), "rbind", name)
        else:
            container.mount(f"/{name}", "tmpfs", "tmpfs", name)


def with_namespaces(container: Container, names: list[str]) -> None:
    for name in names:
        container.namespace(name)
        if name == "user":
            for kind in ("uidMappings", "gidMappings"):
                container.linux[kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]


def with_capabilities(container: Container, names: list[str]) -> None:
    container.process["capabilities"] = {"bounding": names, "permitted": names}


@case(
    "features.annotations",
    "features.idmap",
    "features.memory-policy-modes",
    "features.memory-policy-flags",
)
def other_parts_of_the_document(box: Box) -> None:
    found = document(box)
    annotations = found.get("annotations") or {}
    good = all(key and isinstance(value, str) for key, value in annotations.items())
    box.check("features.annotations", good, f"they are {annotations}")
    container = box.container("stat:/idmap")
    with_options(container, ["idmap"])
    try:
        mapped = container.run().op("stat:/idmap").get("uid") == 1000
    except RuntimeFailed:
        mapped = False
    if mapped:
        idmap = (((found.get("linux") or {}).get("mountExtensions") or {}).get("idmap") or {}).get("enabled")
        box.check("features.idmap", idmap is True, f"it maps ids, and the document has {idmap}")
    else:
        reason = "the runtime makes no id-mapped mounts" if can_map_ids(box.directory) else NO_IDS
        box.not_applicable("features.idmap", reason)

    def modes(container: Container, names: list[str]) -> None:
        # One at a time: a container has one policy.
        nodes = {} if names[0] in ("MPOL_DEFAULT", "MPOL_LOCAL") else {"nodes": "0"}
        container.linux["memoryPolicy"] = {"mode": names[0], **nodes}

    def flags(container: Container, names: list[str]) -> None:
        container.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": names[:1]}

    # Not every kernel knows all of them: recognised is what is refused by the kernel only, if at all.
    new = {"MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY", "MPOL_F_NUMA_BALANCING"}
    for requirement, key, change in (
        ("features.memory-policy-modes", "modes", modes),
        ("features.memory-policy-flags", "flags", flags),
    ):
        names = [name for name in part(found, "linux", "memoryPolicy", key) if name not in new]
        for name in names:
            recognised(box, requirement, [name], change)
        if not names:
            recognised(box, requirement, [], change)


@case(
    "features.hooks",
    "features.mount-options",
    "features.mount-options-own",
    "features.namespaces",
    "features.capabilities",
)
def names_of_the_document(box: Box) -> None:
    found = document(box)
    hooks = part(found, "hooks")
    if hooks:
        container = box.container()
        for name in hooks:
            container.hook(name, name)
        container.run()
        container.ended()
        container.delete()
        missing = set(hooks) - set(container.labels())
        box.check("features.hooks", not missing, f"these were not run: {', '.join(sorted(missing))}")
    else:
        box.not_applicable("features.hooks", "the document does not name any")
    options = part(found, "mountOptions")
    if not can_map_ids(box.directory):
        options = [name for name in options if name not in ("idmap", "ridmap")]
    recognised(box, "features.mount-options", options, with_options)
    foreign = [name for name in options if DATA.match(name)]
    box.check("features.mount-options-own", not foreign, f"{', '.join(foreign)} are of file systems")
    recognised(box, "features.namespaces", part(found, "linux", "namespaces"), with_namespaces)
    # What the suite has not got, the runtime cannot grant.
    bounding = next(line for line in open("/proc/self/status") if line.startswith("CapBnd:"))
    known = part(found, "linux", "capabilities")
    granted = [name for number, name in enumerate(CAPABILITIES) if int(bounding.split()[1], 16) >> number & 1]
    recognised(box, "features.capabilities", [name for name in known if name in granted], with_capabilities)


@case(
    "features.seccomp-actions",
    "features.seccomp-operators",
    "features.seccomp-archs",
    "features.seccomp-flags",
)
def seccomp_names_of_the_document(box: Box) -> None:
    found = document(box)

    def profile(container: Container, **more: Any) -> None:
        container.process["noNewPrivileges"] = True
        container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", **more}

    def actions(container: Container, names: list[str]) -> None:
        # System calls that neither the runtime nor the probe makes; SCMP_ACT_NOTIFY would need an agent.
        calls = ["swapon", "swapoff", "acct", "reboot", "settimeofday", "mq_unlink", "vhangup", "syslog"]
        rules = [name for name in names if name not in ("SCMP_ACT_NOTIFY", "SCMP_ACT_ALLOW")]
        chosen = zip(calls, rules, strict=False)
        profile(container, syscalls=[{"names": [call], "action": name} for call, name in chosen])

    def operators(container: Container, names: list[str]) -> None:
        rules = [
            {
                "names": ["swapon"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": 1, "valueTwo": 1, "op": name}],
            }
            for name in names
        ]
        profile(container, syscalls=rules)

    def archs(container: Container, names: list[str]) -> None:
        profile(container, architectures=names)

    def flags(container: Container, names: list[str]) -> None:
        # Without a rule for an agent, the flag about agents means nothing.
        chosen = [name for name in names if name != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
        profile(container, flags=chosen)

    recognised(box, "features.seccomp-actions", part(found, "linux", "seccomp", "actions"), actions)
    recognised(box, "features.seccomp-operators", part(found, "linux", "seccomp", "operators"), operators)
    family = FAMILIES.get(platform.machine(), set())
    names = [name for name in part(found, "linux", "seccomp", "archs") if name in family]
    recognised(box, "features.seccomp-archs", names, archs)
    recognised(box, "features.seccomp-flags", part(found, "linux", "seccomp", "supportedFlags"), flags)
