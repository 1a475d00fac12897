"""Writes the id mappings of a user namespace (config-linux.md, "User namespace mappings"), and makes
user namespaces for the mappings of mounts.

With privilege they are written directly; an ordinary user may map only itself, and everything else
through newuidmap(1) and newgidmap(1), which read /etc/subuid and /etc/subgid.
"""

import posix

from pyrunc.compile.syncs import SYNC_ID_MAPS
from pyrunc.errors import Error
from pyrunc.host.processes import exit_status, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.idmaps import Mapping

_HELPERS = {"uid": "newuidmap", "gid": "newgidmap"}


def write(pid: int, linux: "dict[str, Any]", *, rootless: bool) -> None:
    """Writes both mappings for the process, which is alone in a new user namespace."""
    for kind in ("uid", "gid"):
        mappings = linux.get(f"{kind}Mappings") or ()
        pointer = f"/linux/{kind}Mappings"
        if not mappings:
            raise Error("a new user namespace needs these mappings", pointer=pointer)
        if rootless and not _own_id_only(kind, mappings):
            _with_helper(pid, kind, mappings, pointer)
            continue
        if rootless and kind == "gid":
            # user_namespaces(7): an unprivileged process must deny setgroups(2) first
            _write(f"/proc/{pid}/setgroups", "deny", pointer)
        text = "".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in mappings)
        _write(f"/proc/{pid}/{kind}_map", text, pointer)


def user_namespace(mapping: "Mapping") -> int:
    """A descriptor of a user namespace for an id-mapped mount. init makes the namespace: the short
    program ends when it is told nothing more."""
    if mapping.path:
        return posix.open(mapping.path, posix.O_RDONLY | posix.O_CLOEXEC)
    from pyrunc.host.launch import Init
    from pyrunc.linux.flags import CLONE_NEWUSER
    from pyrunc.program.build import Builder

    pointer = f"/mounts/{mapping.index}"
    b = Builder()
    b.origin = pointer
    for name in ("report", "command"):
        b.inherit(name)
    b.step("unshare", CLONE_NEWUSER, note="a user namespace for the mapping of ids")
    b.sync(SYNC_ID_MAPS)
    init = Init(b.program, {})
    try:
        init.next()
        for kind, text in (("uid", mapping.uids), ("gid", mapping.gids)):
            _write(f"/proc/{init.pid}/{kind}_map", text, pointer)
        return posix.open(f"/proc/{init.pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)
    finally:
        init.close()
        reap(init.pid)


def _own_id_only(kind: str, mappings: "list[dict[str, Any]]") -> bool:
    own = posix.geteuid() if kind == "uid" else posix.getegid()
    return len(mappings) == 1 and mappings[0]["size"] == 1 and mappings[0]["hostID"] == own


def _write(path: str, text: str, pointer: str) -> None:
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(fd, text.encode())
    except OSError as error:
        raise Error(
            f"the kernel refused the mapping ({error.strerror}); check that no two entries overlap and "
            "that the runtime may use the host ids",
            pointer=pointer,
        ) from None
    finally:
        posix.close(fd)


def _with_helper(pid: int, kind: str, mappings: "list[dict[str, Any]]", pointer: str) -> None:
    helper = _HELPERS[kind]
    args = [helper, str(pid)]
    for mapping in mappings:
        args += [str(mapping["containerID"]), str(mapping["hostID"]), str(mapping["size"])]
    remedy = f"install uidmap and give the user a range in /etc/sub{kind}, or map only the user's own id"
    for directory in ("/usr/bin", "/bin", "/usr/local/bin"):
        try:
            child = posix.posix_spawn(f"{directory}/{helper}", args, posix.environ)
        except FileNotFoundError:
            continue
        status = exit_status(reap(child))
        if status:
            raise Error(f"{helper} failed with exit status {status}; {remedy}", pointer=pointer)
        return
    raise Error(f"{helper} is not installed; {remedy}", pointer=pointer)
