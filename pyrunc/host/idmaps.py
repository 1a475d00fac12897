"""Writes the id mappings of a user namespace (config-linux.md, "User namespace mappings"), and makes
user namespaces for the mappings of mounts.

With privilege they are written directly; an ordinary user may map only itself, and everything else
through newuidmap(1) and newgidmap(1), which read /etc/subuid and /etc/subgid.
"""

import posix

from pyrunc.compile.syncs import SYNC_ID_MAPS
from pyrunc.errors import Error
from pyrunc.host.launch import memory_file
from pyrunc.host.processes import exit_status, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyrunc.compile.idmaps import Mapping

_MAX_OUTPUT = 1024
_HELPERS = {"uid": "newuidmap", "gid": "newgidmap"}


def write(pid: int, linux: "dict[str, Any]") -> None:
    """Writes both mappings for the process, which is alone in a new user namespace."""
    # Root of a user namespace has the privilege for the ids that are mapped there.
    ordinary = posix.geteuid() != 0
    for kind in ("uid", "gid"):
        mappings = linux.get(f"{kind}Mappings") or ()
        pointer = f"/linux/{kind}Mappings"
        if not mappings:
            raise Error("a new user namespace needs these mappings", pointer=pointer)
        if ordinary and not own_id_only(kind, mappings):
            _with_helper(pid, kind, mappings, pointer)
            continue
        if ordinary and kind == "gid":
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


def own_id_only(kind: str, mappings: "Sequence[dict[str, Any]]") -> bool:
    """Whether a user may write the mapping, which has no id but the user's own."""
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
    remedy = f"give the user a range in /etc/sub{kind} that holds these ids, or map only the user's own id"
    said = memory_file("said", b"", seal=False)
    try:
        status = _run(helper, args, said)
        text = posix.pread(said, _MAX_OUTPUT, 0).decode("utf-8", "replace").strip()
    finally:
        posix.close(said)
    if status is None:
        raise Error(f"{helper} is not in $PATH; install the package uidmap, and {remedy}", pointer=pointer)
    if status:
        raise Error(
            f"{helper} failed with exit status {status}" + (f" ({text})" if text else "") + f"; {remedy}",
            pointer=pointer,
        )


def _run(helper: str, args: list[str], output: int) -> int | None:
    """The exit status of a program in $PATH, None where it is not there."""
    path = posix.environ.get(b"PATH", b"/usr/local/bin:/usr/bin:/bin").decode("utf-8", "surrogateescape")
    actions = [(posix.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)]
    for directory in path.split(":"):
        try:
            # Signals that a foreground `run` holds back are not the helper's to miss.
            child = posix.posix_spawn(
                f"{directory or '.'}/{helper}", args, posix.environ, file_actions=actions, setsigmask=()
            )
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        return exit_status(reap(child))
    return None
