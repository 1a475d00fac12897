"""Rules of config.md and config-linux.md that the text of a configuration alone can break, and that a
JSON Schema cannot state or would not state well: between values, and about names from tables.

Values of the wrong type are passed over, since the schema reports them. Not for the hot path.
"""

import difflib
from collections.abc import Iterator
from typing import Any

from pyrunc.linux import capabilities
from pyrunc.linux.seccomp import AGENT_ACTIONS

# severity, pointer, message, suggestion
Finding = tuple[str, str, str, str]


def findings(config: dict[str, Any]) -> Iterator[Finding]:
    """What is wrong with a configuration beyond the schema."""
    yield from _nul(config, "", skip=("annotations",))
    yield from process_findings(_object(config.get("process")), "/process")
    linux = _object(config.get("linux"))
    types = [_object(item).get("type") for item in _array(linux.get("namespaces"))]
    yield from _twice(types, "/linux/namespaces/{}/type", "namespace")
    for key, kind in (("hostname", "uts"), ("domainname", "uts")):
        if isinstance(config.get(key), str) and config[key] and kind not in types:
            message = f'needs a namespace of type "{kind}" in /linux/namespaces: the host\'s would be changed'
            yield "error", f"/{key}", message, ""
    needs = {"uidMappings": "user", "gidMappings": "user", "timeOffsets": "time", "netDevices": "network"}
    for key, kind in needs.items():
        if linux.get(key) and kind not in types:
            yield "error", f"/linux/{key}", f'needs a namespace of type "{kind}" in /linux/namespaces', ""
    for index, mount in enumerate(_array(config.get("mounts"))):
        destination = _object(mount).get("destination")
        if isinstance(destination, str) and destination[:1] != "/":
            message = "a relative destination is deprecated: it counts from the container's root"
            yield "warning", f"/mounts/{index}/destination", message, "/" + destination
        for has, lacks in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
            if _object(mount).get(has) and not _object(mount).get(lacks):
                yield "error", f"/mounts/{index}/{has}", f"has to come with {lacks}", ""
    if _object(config.get("root")).get("path") == "":
        yield "error", "/root/path", "the path of the root file system is empty", "rootfs"
    if _object(config.get("hooks")).get("prestart"):
        yield "warning", "/hooks/prestart", "prestart hooks are deprecated", "createRuntime"
    yield from _cpu(_object(_object(linux.get("resources")).get("cpu")), "/linux/resources")
    yield from _seccomp(_object(linux.get("seccomp")))


def part_findings(value: dict[str, Any], part: str) -> Iterator[Finding]:
    """What is wrong with a process or resources object that stands alone, beyond the schema."""
    yield from _nul(value, "")
    if part == "process":
        yield from process_findings(value, "")
    else:
        yield from _cpu(_object(value.get("cpu")), "")


def process_findings(process: dict[str, Any], where: str) -> Iterator[Finding]:
    """What is wrong with a process object, which is at the pointer where, beyond the schema."""
    types = [_object(item).get("type") for item in _array(process.get("rlimits"))]
    yield from _twice(types, where + "/rlimits/{}/type", "limit")
    for index, limit in enumerate(_array(process.get("rlimits"))):
        soft, hard = _object(limit).get("soft"), _object(limit).get("hard")
        if type(soft) is int and type(hard) is int and soft > hard:
            message = f"the soft limit is above the hard limit {hard}"
            yield "error", f"{where}/rlimits/{index}/soft", message, ""
    yield from _capabilities(_object(process.get("capabilities")), where + "/capabilities")
    for index, entry in enumerate(_array(process.get("env"))):
        if isinstance(entry, str) and "=" not in entry[1:]:
            yield "warning", f"{where}/env/{index}", "an entry of the environment has the form NAME=value", ""


def _capabilities(sets: dict[str, Any], where: str) -> Iterator[Finding]:
    # config.md wants a warning here, so that a configuration can name what only newer kernels have.
    for key, names in sets.items():
        for index, name in enumerate(_array(names)):
            if isinstance(name, str) and name not in capabilities.NAMES:
                message = "no such capability, it is left out"
                folded = name.upper() if name.upper().startswith("CAP_") else "CAP_" + name.upper()
                close = difflib.get_close_matches(folded, capabilities.NAMES, n=1, cutoff=0.8)
                yield "warning", f"{where}/{key}/{index}", message, close[0] if close else ""


def _cpu(cpu: dict[str, Any], where: str) -> Iterator[Finding]:
    quota, burst = cpu.get("quota"), cpu.get("burst")
    if type(quota) is int and type(burst) is int and 0 < quota < burst:
        yield "error", f"{where}/cpu/burst", f"burst is above quota, {quota} microseconds", ""


def _seccomp(seccomp: dict[str, Any]) -> Iterator[Finding]:
    with_errno = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
    pointer = "/linux/seccomp"
    used = [(f"{pointer}/defaultErrnoRet", seccomp.get("defaultErrnoRet"), seccomp.get("defaultAction"))]
    for index, each in enumerate(_array(seccomp.get("syscalls"))):
        rule = _object(each)
        used.append((f"{pointer}/syscalls/{index}/errnoRet", rule.get("errnoRet"), rule.get("action")))
        for number, argument in enumerate(_array(rule.get("args"))):
            position = _object(argument).get("index")
            if type(position) is int and position > 5:
                where = f"{pointer}/syscalls/{index}/args/{number}/index"
                yield "error", where, "system calls have six arguments, 0 to 5", ""
    if not seccomp.get("listenerPath"):
        if seccomp.get("listenerMetadata"):
            yield "error", f"{pointer}/listenerMetadata", "metadata for a seccomp agent need listenerPath", ""
        if any(action in AGENT_ACTIONS for _, _, action in used):
            yield "error", pointer, "SCMP_ACT_NOTIFY needs listenerPath, the socket of a seccomp agent", ""
    for where, errno, action in used:
        if errno is not None and str(action).startswith("SCMP_ACT_") and action not in with_errno:
            yield "error", where, f"{action} takes no errno, only {' and '.join(with_errno)} do", ""


def _twice(names: list[Any], pointer: str, what: str) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if isinstance(name, str) and name in names[:index]:
            message = f'the {what} "{name}" is there twice; only one is allowed'
            yield "error", pointer.format(index), message, ""


def _nul(value: Any, where: str, skip: tuple[str, ...] = ()) -> Iterator[Finding]:
    # System calls take strings that end at a NUL, so the rest of such a string would be lost.
    if isinstance(value, str) and "\0" in value:
        yield "error", where, "a NUL character (\\u0000) cannot be passed to the kernel", ""
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nul(item, f"{where}/{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in skip:
                yield from _nul(item, f"{where}/{key.replace('~', '~0').replace('/', '~1')}")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _array(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
