"""What is wrong with a configuration whatever the host is: what the compilers say of it for made-up hosts
that have everything.

The compilers raise the first error that they meet. What it is about is taken out of the configuration, as far
as the rest stays valid, and the rest compiled again. Nothing here knows any property. Not for the hot path.
"""

import copy
from collections.abc import Callable, Iterator
from stat import S_IFDIR, S_IFREG
from typing import Any

from pyrunc.compile import cgroups
from pyrunc.compile.create import compile_create
from pyrunc.compile.facts import Facts, Request
from pyrunc.compile.masks import kernel_paths
from pyrunc.compile.settings import Layout
from pyrunc.errors import Error
from pyrunc.linux.rlimits import NAMES

# severity, pointer, message
Finding = tuple[str, str, str]
Filter = Callable[[dict[str, Any]], bytes]
Valid = Callable[[dict[str, Any]], bool]

_V1 = (
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls", "net_prio",
    "hugetlb", "rdma", "misc", "perf_event",
)  # fmt: skip
_V2 = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc", "perf_event")
# What is wrong for each of them is wrong for all; the words are taken from the first.
_LAYOUTS = (
    Layout({}, "/sys/fs/cgroup", _V2, {}),
    Layout({name: f"/sys/fs/cgroup/{name}" for name in _V1}, None, (), {}),
)
_ID, _BUNDLE = "validate", "/bundle"
_ALL_IDS = [{"containerID": 0, "hostID": 0, "size": 0xFFFFFFFF}]
# Whatever else is wrong may follow from these, so that an error in one of them is the last.
_BASES = ("/process/args", "/root", "/linux/namespaces")
_MOST = 100


class _Everywhere(dict[str, int]):
    """Sources of bind mounts: each is there, and a directory."""

    def __contains__(self, path: object) -> bool:
        return True

    def get(self, path: str, default: Any = None) -> Any:
        return S_IFDIR | 0o755


def findings(config: dict[str, Any], valid: Valid, filter: Filter) -> Iterator[Finding]:
    """The errors and warnings. config is what the schema allows, valid tells whether another one is, and
    filter compiles a seccomp profile."""
    first, *others = [dict(_collect(config, layout, valid, filter)) for layout in _LAYOUTS]
    for pointer, (severity, message) in first.items():
        if all(other.get(pointer, ("", ""))[0] == severity for other in others):
            yield severity, pointer, message


def _collect(
    config: dict[str, Any], layout: Layout, valid: Valid, filter: Filter
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Pointers, each with severity and message."""
    rest = _Rest(config)
    for _ in range(_MOST):
        try:
            warnings = _compile(copy.deepcopy(rest.config), layout, filter)
        except Error as error:
            pointer = rest.original(error.pointer)
            yield pointer, ("error", error.message)
            if pointer.startswith(_BASES) or not rest.remove(error.pointer, valid):
                return
            continue
        for pointer, text in warnings:
            yield rest.original(pointer), ("warning", text)
        return


def _compile(config: dict[str, Any], layout: Layout, filter: Filter) -> list[tuple[str, str]]:
    """The warnings. Raises Error."""
    linux = config.setdefault("linux", {})
    if any(each["type"] == "user" and each.get("path") for each in linux.get("namespaces") or ()):
        for key in ("uidMappings", "gidMappings"):
            # Those of a namespace that is joined are read from it.
            if not linux.get(key):
                linux[key] = _ALL_IDS
    plan = cgroups.plan(config, layout, _ID)
    facts = Facts(
        f"{_BUNDLE}/rootfs",
        apparmor=True,
        selinux=True,
        filter=filter(linux["seccomp"]) if linux.get("seccomp") else None,
        cgroups=plan,
        layout=layout,
        kernel_paths=dict.fromkeys(kernel_paths(config), S_IFREG | 0o444),
        limits=dict.fromkeys(NAMES, 2**64 - 1),
    )
    facts.sources = _Everywhere()
    if linux.get("intelRdt") is not None:
        from pyrunc.compile import rdt

        groups = rdt.plan(linux["intelRdt"], "/sys/fs/resctrl", _ID)
        facts.rdt = (groups.clos, groups.monitor)
    if linux.get("seccomp"):
        from pyrunc.compile import seccomp

        seccomp.agent(linux["seccomp"])
    return compile_create(config, facts, Request(_ID, _BUNDLE)).warnings


class _Rest:
    """A configuration without what was wrong with it; pointers into it as they were before."""

    __slots__ = ("_indices", "config")

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = copy.deepcopy(config)
        # Of a list from which something was taken, by its pointer: the indices that its items had.
        self._indices: dict[str, list[int]] = {}

    def original(self, pointer: str) -> str:
        """The pointer into the whole configuration."""
        result = ""
        here: Any = self.config
        for part in _parts(pointer):
            known = self._indices.get(result)
            if isinstance(here, list) and part.isdecimal() and known is not None and int(part) < len(known):
                inner, part = _inner(here, part), str(known[int(part)])
            else:
                inner = _inner(here, part)
            result += "/" + part.replace("~", "~0").replace("/", "~1")
            here = inner
        return result

    def remove(self, pointer: str, valid: Valid) -> bool:
        """Takes out what is there, or if it has to be there the least part around it that has not; whether
        that could be done."""
        parts = _parts(pointer)
        while len(parts) > 1:
            *above, last = parts
            holder = self._at(above)
            if isinstance(holder, dict) and last in holder:
                value = holder.pop(last)
                if valid(self.config):
                    return True
                holder[last] = value
            elif isinstance(holder, list) and last.isdecimal() and int(last) < len(holder):
                value = holder.pop(int(last))
                if valid(self.config):
                    where = self.original("".join(f"/{each}" for each in above))
                    kept = self._indices.setdefault(where, list(range(len(holder) + 1)))
                    del kept[int(last)]
                    return True
                holder.insert(int(last), value)
            elif not isinstance(self._at(above[:-1]), list):
                # What is missing has to be added; taken out is at most the item of a list that lacks it.
                return False
            parts = above
        return False

    def _at(self, parts: list[str]) -> Any:
        here: Any = self.config
        for part in parts:
            here = _inner(here, part)
        return here


def _parts(pointer: str) -> list[str]:
    return [each.replace("~1", "/").replace("~0", "~") for each in pointer.split("/")[1:]]


def _inner(value: Any, part: str) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    return None
