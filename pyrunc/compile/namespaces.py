"""Namespaces: joining those given by path, creating the others (config-linux.md, "Namespaces").

Stage 1 of init joins and then clones the container's first process into the new ones.
"""

from _struct import Struct
from errno import EPERM

from pyrunc.compile.syncs import SYNC_ID_MAPS
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder
from pyrunc.program.model import Data, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts
    from pyrunc.program.model import Program

CLONE_FLAGS: dict[str, int] = {
    "pid": f.CLONE_NEWPID,
    "network": f.CLONE_NEWNET,
    "mount": f.CLONE_NEWNS,
    "ipc": f.CLONE_NEWIPC,
    "uts": f.CLONE_NEWUTS,
    "user": f.CLONE_NEWUSER,
    "cgroup": f.CLONE_NEWCGROUP,
    "time": f.CLONE_NEWTIME,
}
# The names under /proc/PID/ns.
FILES: dict[str, str] = {"network": "net", "mount": "mnt"}


class Namespaces:
    """The namespaces of a configuration: which are new, which are joined, which are the host's.

    new     CLONE_NEW* of those to create
    joined  (CLONE_NEW*, path, index in /linux/namespaces) of those to join
    """

    __slots__ = ("joined", "new")

    def __init__(self, config: "dict[str, Any]") -> None:
        self.new = 0
        self.joined: list[tuple[int, str, int]] = []
        for i, namespace in enumerate(config.get("linux", {}).get("namespaces") or ()):
            flag = CLONE_FLAGS[namespace["type"]]
            path = namespace.get("path")
            if path:
                self.joined.append((flag, path, i))
            else:
                self.new |= flag

    def own(self, flag: int) -> bool:
        """Whether the container has a namespace of this kind that is not simply the host's."""
        return bool(self.new & flag) or any(kind == flag for kind, _, _ in self.joined)


def check(config: "dict[str, Any]") -> None:
    """What the schema cannot say about namespaces."""
    linux = config.get("linux", {})
    seen: set[str] = set()
    for i, namespace in enumerate(linux.get("namespaces") or ()):
        kind = namespace["type"]
        if kind in seen:
            raise Error(
                f"the namespace type {kind} is listed twice; remove one of the entries",
                pointer=f"/linux/namespaces/{i}",
            )
        seen.add(kind)
        for key in ("uidMappings", "gidMappings"):
            if kind == "user" and not namespace.get("path") and not linux.get(key):
                raise Error(
                    "a new user namespace needs uidMappings and gidMappings", pointer=f"/linux/{key}"
                )
    for key in ("uidMappings", "gidMappings"):
        if linux.get(key) and "user" not in seen:
            raise Error(
                "there are id mappings but no user namespace; add one to /linux/namespaces",
                pointer=f"/linux/{key}",
            )
    if linux.get("timeOffsets") and not any(
        n["type"] == "time" and not n.get("path") for n in linux.get("namespaces") or ()
    ):
        raise Error(
            "time offsets need a new time namespace; add one to /linux/namespaces",
            pointer="/linux/timeOffsets",
        )


def join(b: Builder, namespaces: Namespaces) -> None:
    """Enters the namespaces given by path.

    All are opened first, since entering one may hide the paths of the others. Those that belong
    to the host are entered before a user namespace takes the privilege for them away; those that
    belong to the user namespace refuse that (EPERM) and are entered after it.
    """
    opened: list[tuple[int, Slot, int]] = []
    for flag, path, i in namespaces.joined:
        b.origin = f"/linux/namespaces/{i}"
        opened.append((flag, b.openat2(f.AT_FDCWD, path, f.O_RDONLY, resolve=0, name=path), i))
    user = [entry for entry in opened if entry[0] == f.CLONE_NEWUSER]
    others = sorted((e for e in opened if e not in user), key=lambda e: e[0] == f.CLONE_NEWNS)
    late: list[tuple[int, Slot, int, Slot]] = []
    for flag, fd, i in others:
        b.origin = f"/linux/namespaces/{i}"
        if user:
            done = b.slot("joined")
            b.step("setns", fd, flag, tolerate=(EPERM,), out=done)
            late.append((flag, fd, i, done))
        else:
            b.step("setns", fd, flag)
            b.close(fd)
    for flag, fd, i in user:
        b.origin = f"/linux/namespaces/{i}"
        b.step("setns", fd, flag)
        b.close(fd)
    for flag, fd, i, done in late:
        b.origin = f"/linux/namespaces/{i}"
        with b.if_failed(done):
            b.step("setns", fd, flag)
        b.close(fd)
        b.release(done)
    b.origin = ""


def hide(b: Builder) -> None:
    """Keeps this process from being traced, and its memory, root and descriptors from being reached
    through /proc (prctl(2), PR_SET_DUMPABLE): without the host's capabilities, which processes of a user
    namespace that is joined do not have (ptrace(2), "Ptrace access mode checking")."""
    b.step("prctl", f.PR_SET_DUMPABLE, 0, 0, 0, 0)


def show(path: str, pointer: str) -> "Program":
    """A program that joins a user namespace and waits, so that the runtime can read its mappings."""
    b = Builder()
    b.inherit("report")
    b.inherit("command")
    b.phase, b.origin = "join", pointer
    hide(b)
    fd = b.openat2(f.AT_FDCWD, path, f.O_RDONLY, resolve=0, name=path)
    b.step("setns", fd, f.CLONE_NEWUSER)
    b.close(fd)
    b.sync(SYNC_ID_MAPS)
    return b.program


def loopback(b: Builder, namespaces: Namespaces) -> None:
    """Brings the loopback interface of a new network namespace up, which programs count on (netdevice(7))."""
    if not namespaces.new & f.CLONE_NEWNET:
        return
    b.origin = "/linux/namespaces"
    fd = b.slot("socket")
    b.step("socket", f.AF_INET, f.SOCK_DGRAM | f.SOCK_CLOEXEC, 0, out=fd)
    # struct ifreq: ifr_name, ifr_flags
    request = Data("ifreq", Struct("=16sh22x").pack(b"lo", f.IFF_UP), ("lo", "IFF_UP"))
    b.step("ioctl", fd, f.IOCTL_SIOCSIFFLAGS, request)
    b.close(fd)
    b.origin = ""


def new_user(b: Builder, namespaces: Namespaces) -> None:
    """A new user namespace; the runtime writes its id mappings while stage 1 waits."""
    if namespaces.new & f.CLONE_NEWUSER:
        b.origin = "/linux/uidMappings"
        b.step("unshare", f.CLONE_NEWUSER)
        b.sync(SYNC_ID_MAPS)
        b.origin = ""


def open_offsets(b: Builder, namespaces: Namespaces, config: "dict[str, Any]") -> Slot | None:
    """The file for the offsets of a new time namespace, if there are any: to be opened before `hide`, after
    which it is root's."""
    if not namespaces.new & f.CLONE_NEWTIME or not config["linux"].get("timeOffsets"):
        return None
    b.origin = "/linux/timeOffsets"
    fd = b.openat2(f.AT_FDCWD, "/proc/self/timens_offsets", f.O_WRONLY, resolve=0, name="timens_offsets")
    b.expect_filesystem(fd, f.PROC_SUPER_MAGIC, EPERM, "/proc is not a proc file system")
    b.origin = ""
    return fd


def new_time(b: Builder, namespaces: Namespaces, config: "dict[str, Any]", offsets: Slot | None) -> None:
    """A new time namespace, whose offsets can be written only before a process is in it."""
    if not namespaces.new & f.CLONE_NEWTIME:
        return
    b.origin = "/linux/timeOffsets"
    b.step("unshare", f.CLONE_NEWTIME)
    if offsets is not None:
        text = "".join(
            f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n"
            for clock, offset in config["linux"]["timeOffsets"].items()
        )
        b.write(offsets, text)
        b.close(offsets)
    b.origin = ""


def groups(config: "dict[str, Any]", facts: "Facts") -> str:
    """What becomes of the runtime's own supplementary groups: they are replaced ("set"), or stay, by the
    configuration's wish ("kept", an annotation of crun's) or because a user namespace forbids setgroups(2)
    ("denied"), as one does that an ordinary user has mapped without newgidmap(1)."""
    # As crun: anything but "0" asks for it.
    if (config.get("annotations") or {}).get("run.oci.keep_original_groups", "0") != "0":
        return "kept"
    return "set" if facts.setgroups else "denied"


def become_root(b: Builder, namespaces: Namespaces, config: "dict[str, Any]", facts: "Facts") -> None:
    """The ids that the first process takes in a user namespace, so that what it makes belongs to its root."""
    if not namespaces.own(f.CLONE_NEWUSER):
        return
    mappings = config["linux"].get("uidMappings")
    if mappings and not any(m["containerID"] == 0 for m in mappings):
        return
    if groups(config, facts) == "set":
        b.step("setgroups", 0, 0)
    b.step("setresgid", 0, 0, 0)
    b.step("setresuid", 0, 0, 0)
