"""Names and kernel parameters: hostname, domainname, sysctl, oom_score_adj.

config.md "Hostname", "Domainname"; config-linux.md "Sysctl"; config.md "Process" (oomScoreAdj).
What is written to /proc goes through a procfs that is proven to be one (CVE-2025-52881).
"""

from errno import EPERM

from pyrunc.compile.mounts import Mounted
from pyrunc.compile.namespaces import CLONE_FLAGS, Namespaces
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IPC_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
    "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
)


def compile_names(b: Builder, config: "dict[str, Any]", namespaces: Namespaces) -> None:
    for key, call in (("hostname", "sethostname"), ("domainname", "setdomainname")):
        name = config.get(key)
        if not name:
            continue
        b.origin = "/" + key
        if not namespaces.own(f.CLONE_NEWUTS):
            raise Error(
                f"a {key} needs a uts namespace of the container's; add one to /linux/namespaces",
                pointer=b.origin,
            )
        b.step(call, name, len(name.encode()))
    b.origin = ""


def _path(key: str) -> str:
    """A sysctl's file below /proc/sys: the first separator in the key, "." or "/", is the one."""
    first = next((c for c in key if c in "./"), ".")
    if first == "/":
        return key
    return key.translate({ord("."): "/", ord("/"): "."})


def _pointer(key: str) -> str:
    return "/linux/sysctl/" + key.replace("~", "~0").replace("/", "~1")


def _kind(path: str) -> str:
    """The type of the namespace that a sysctl belongs to, by its file; "" for one of the host."""
    name = path.replace("/", ".")
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        return "ipc"
    if name.startswith("net."):
        return "network"
    return "uts" if name == "kernel.domainname" else ""


def changed(config: "dict[str, Any]", kind: str) -> str:
    """The pointer of something that changes the container's namespace of a type, or ""."""
    if kind == "uts":
        for key in ("hostname", "domainname"):
            if config.get(key):
                return "/" + key
    for key in config.get("linux", {}).get("sysctl") or ():
        if _kind(_path(key)) == kind:
            return _pointer(key)
    return ""


def _check_sysctl(key: str, path: str, namespaces: Namespaces, pointer: str) -> None:
    if path.replace("/", ".") == "kernel.hostname":
        raise Error(f"the sysctl {key} is what /hostname sets; use that", pointer=pointer)
    needed = _kind(path)
    if not needed:
        raise Error(
            f"the sysctl {key} is not of a namespace: it would change the host", pointer=pointer
        )
    if not namespaces.own(CLONE_FLAGS[needed]):
        raise Error(
            f"the sysctl {key} needs a {needed} namespace of the container's; without one it would "
            "change the host",
            pointer=pointer,
        )


def compile_sysctls(
    b: Builder, config: "dict[str, Any]", namespaces: Namespaces, mounted: Mounted
) -> None:
    sysctls = config.get("linux", {}).get("sysctl") or {}
    if not sysctls:
        return
    b.origin = "/linux/sysctl"
    proc = mounted.proc
    if proc is None:
        fs = b.fsopen("proc")
        b.fsconfig_create(fs)
        proc = b.fsmount(fs, 0, "proc")
    for key, value in sysctls.items():
        pointer = _pointer(key)
        path = _path(key)
        if ".." in path.split("/"):
            raise Error(f"the sysctl {key} is not a kernel parameter's name", pointer=pointer)
        _check_sysctl(key, path, namespaces, pointer)
        b.origin = pointer
        fd = b.openat2(
            proc, "sys/" + path, f.O_WRONLY,
            resolve=f.RESOLVE_BENEATH | f.RESOLVE_NO_SYMLINKS | f.RESOLVE_NO_XDEV, name=key,
            note=f"the kernel parameter {key}",
        )
        b.write(fd, value, note=f"the kernel parameter {key}")
        b.close(fd)
    if mounted.proc is None:
        b.close(proc)
    b.origin = ""


def compile_oom_score(b: Builder, process: "dict[str, Any]") -> None:
    """oom_score_adj, which the container inherits from stage 1 on the host."""
    score = process.get("oomScoreAdj")
    if score is None:
        return
    b.origin = "/process/oomScoreAdj"
    fd: Slot = b.openat2(
        f.AT_FDCWD, "/proc/self/oom_score_adj", f.O_WRONLY, resolve=0, name="oom_score_adj",
    )
    b.expect_filesystem(fd, f.PROC_SUPER_MAGIC, EPERM, "/proc is not a proc file system")
    b.write(fd, str(score), note="lowering a score needs CAP_SYS_RESOURCE")
    b.close(fd)
    b.origin = ""
