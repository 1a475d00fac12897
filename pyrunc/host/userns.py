"""User namespaces as the runtime finds them: its own, and one that a container joins.

What an ordinary user, or root inside a user namespace, may do is read from the kernel before anything
is compiled; nothing here changes it. config-linux.md, "User namespace mappings"; user_namespaces(7).
"""

import fcntl
import posix

from pyrunc.errors import Error
from pyrunc.host.facts import check_namespaces
from pyrunc.host.idmaps import own_id_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts

    Mappings = list[dict[str, int]]

_NS_GET_USERNS = 0xB701  # ioctl_ns(2)
_KEYS = ("containerID", "hostID", "size")


def describe(facts: "Facts", config: "dict[str, Any]", *, run: bool) -> None:
    """Completes the facts for a runtime that is not root of the initial user namespace, and a container
    that joins no user namespace. run is False for `plan`, which needs no privilege."""
    linux = config.get("linux", {})
    new = any(n["type"] == "user" for n in linux.get("namespaces") or ())
    ordinary = posix.geteuid() != 0
    if ordinary and not new and run:
        raise Error(
            'the container of an ordinary user needs a user namespace; add one with mappings ("pyrunc spec '
            '--rootless" writes such a configuration), or run as root',
            pointer="/linux/namespaces",
        )
    facts.copies_mounts = not ordinary and _owns_mounts()
    if ordinary and new:
        facts.setgroups = not own_id_only("gid", linux.get("gidMappings") or ())
    else:
        facts.setgroups = allows_setgroups("self")


def _owns_mounts() -> bool:
    """Whether the runtime's mount namespace belongs to its user namespace, as after `unshare -Urm`."""
    fd = posix.open("/proc/self/ns/mnt", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        owner = fcntl.ioctl(fd, _NS_GET_USERNS)
    except PermissionError:
        return False  # it belongs to an outer one
    finally:
        posix.close(fd)
    try:
        return posix.fstat(owner).st_ino == posix.stat("/proc/self/ns/user").st_ino
    finally:
        posix.close(owner)


def allows_setgroups(pid: int | str) -> bool:
    """Whether the user namespace of a process allows setgroups(2)."""
    return _read(f"/proc/{pid}/setgroups").strip() != "deny"


def _read(path: str) -> str:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        # The kernel limits a map to 340 lines, which fit.
        return posix.read(fd, 65536).decode()
    finally:
        posix.close(fd)


# -- joining ---------------------------------------------------------------------


def adopt(config: "dict[str, Any]") -> bool | None:
    """Gives the configuration the mappings of the user namespace that it joins, as the runtime sees
    them; those that it has already must be the same. Whether setgroups(2) is allowed there; None for
    a configuration that joins none."""
    linux = config.get("linux", {})
    for i, namespace in enumerate(linux.get("namespaces") or ()):
        path = namespace.get("path")
        if namespace["type"] != "user" or not path:
            continue
        check_namespaces(config)
        uid, gid, setgroups = _describe(path, f"/linux/namespaces/{i}/path")
        for key, found in (("uidMappings", uid), ("gidMappings", gid)):
            given = linux.get(key)
            if given and _sorted(given) != _sorted(found):
                raise Error(
                    f"the mappings are not those of the user namespace {path}, which are {_text(found)}; "
                    "remove them, they follow from the namespace",
                    pointer=f"/linux/{key}",
                )
            linux[key] = found
        return setgroups
    return None


def _describe(path: str, pointer: str) -> "tuple[Mappings, Mappings, bool]":
    start, _, rest = path.partition("/proc/")
    pid, _, file = rest.partition("/")
    if not start and pid.isdecimal() and file == "ns/user":
        return _mappings(pid)
    # One that is kept by a bind mount: a process in it shows its mappings.
    from pyrunc.compile.namespaces import show
    from pyrunc.host.launch import Init
    from pyrunc.host.processes import reap

    init = Init(show(path, pointer), {})
    try:
        init.next()
        return _mappings(str(init.pid))
    finally:
        # The end of its command channel is init's.
        init.close()
        reap(init.pid)


def _mappings(pid: str) -> "tuple[Mappings, Mappings, bool]":
    try:
        uid, gid = (
            [dict(zip(_KEYS, map(int, line.split()), strict=True)) for line in text.splitlines()]
            for text in (_read(f"/proc/{pid}/uid_map"), _read(f"/proc/{pid}/gid_map"))
        )
        return uid, gid, allows_setgroups(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise Error(f"the process {pid}, whose user namespace is to be joined, is gone") from None


def _sorted(mappings: "Mappings") -> list[tuple[int, ...]]:
    return sorted(tuple(mapping[key] for key in _KEYS) for mapping in mappings)


def _text(mappings: "Mappings") -> str:
    return ", ".join(" ".join(map(str, row)) for row in _sorted(mappings)) or "empty"
