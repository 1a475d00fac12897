"""What Linux security modules are told: AppArmor's profile and SELinux's labels.

config.md "Linux Process" (apparmorProfile, selinuxLabel), config-linux.md "Mount Label". Imported only for a
configuration that has one of these.
"""

from errno import EINVAL, ENOENT, EPERM

from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CONTEXT_TYPES = ("context", "fscontext", "defcontext", "rootcontext")
_PROFILE, _LABEL, _MOUNT_LABEL = "/process/apparmorProfile", "/process/selinuxLabel", "/linux/mountLabel"
_COVERED = "in /proc, where nothing may be mounted over it"
_RESOLVE = f.RESOLVE_BENEATH | f.RESOLVE_NO_XDEV | f.RESOLVE_NO_MAGICLINKS


def check(process: "dict[str, Any]", mount_label: str, *, selinux: bool) -> None:
    """Refuses SELinux labels where the host has no SELinux."""
    for label, pointer in ((process.get("selinuxLabel"), _LABEL), (mount_label, _MOUNT_LABEL)):
        if label and not selinux:
            raise Error(
                f'this host has no SELinux, which the label "{label}" is for; remove it', pointer=pointer
            )


def on_exec(b: Builder, process: "dict[str, Any]", *, apparmor: bool) -> str:
    """Asks for the profile and the label that the process has from execve(2) on. Returns what execve may be
    refused for: a note for its step, "" without any.

    "unconfined" is what a process has without AppArmor, too.
    """
    profile: str = process.get("apparmorProfile") or ""
    if profile and not apparmor:
        if profile != "unconfined":
            raise Error(
                f'this host has no AppArmor, which the profile "{profile}" is for; remove it',
                pointer=_PROFILE,
            )
        profile = ""
    label: str = process.get("selinuxLabel") or ""
    if profile:
        # The first is AppArmor's own where several security modules share the second.
        _write(
            b, _PROFILE, ("apparmor/exec", "exec"), f"exec {profile}",
            f'the AppArmor profile "{profile}" has to be loaded on the host, and to be one that the runtime '
            "may change to (with noNewPrivileges, one that allows no more than the runtime's own)",
        )
    if label:
        _write(b, _LABEL, ("exec",), label, f'the SELinux label "{label}" has to be one of the loaded policy')
    asked = [f'the AppArmor profile "{profile}"'] if profile else []
    asked += [f'the SELinux label "{label}"'] if label else []
    return f"with {' and '.join(asked)}" if asked else ""


def _write(b: Builder, pointer: str, names: tuple[str, ...], text: str, note: str) -> None:
    """Writes to the first that exists of these attributes of this process (proc_pid_attr(5)).

    The container's /proc is proven to be a procfs, and no mount in it is crossed: another of its files
    could have been bound over the attribute (CVE-2019-16884, CVE-2025-52881).
    """
    b.origin = pointer
    proc = b.openat2(
        f.AT_FDCWD, "/proc", f.O_PATH | f.O_DIRECTORY, resolve=0, name="proc",
        note="security labels need a proc file system at /proc",
    )
    b.expect_filesystem(proc, f.PROC_SUPER_MAGIC, EINVAL, "/proc in the container is not a proc file system")
    fd = b.slot("label")
    for i, name in enumerate(names):
        path = f"thread-self/attr/{name}"
        if i + 1 < len(names):
            b.openat2(
                proc, path, f.O_WRONLY, resolve=_RESOLVE, name=fd, tolerate=(ENOENT,), note=_COVERED,
            )
            continue
        block = b.if_failed(fd) if i else None
        b.openat2(proc, path, f.O_WRONLY, resolve=_RESOLVE, name=fd, note=_COVERED)
        if block is not None:
            block.end()
    b.close(proc)
    b.write(fd, text, note=note)
    b.close(fd)
    b.origin = ""


def context_type(b: Builder, config: "dict[str, Any]") -> None:
    """Which of the options of mount(8) a mount label is given by: an annotation of crun's and Podman's."""
    name = "run.oci.mount_context_type"
    kind = (config.get("annotations") or {}).get(name, "context")
    if kind not in _CONTEXT_TYPES:
        raise Error(f'"{kind}" is none of {", ".join(_CONTEXT_TYPES)}', pointer=f"/annotations/{name}")
    b.label_option = kind


def on_keys(b: Builder, process: "dict[str, Any]") -> None:
    """Labels the session keyring that is made later: stage 1 says so, on the host, and its children inherit
    it until they execute something."""
    label = process.get("selinuxLabel")
    if not label:
        return
    b.origin = _LABEL
    fd = b.openat2(
        f.AT_FDCWD, "/proc/thread-self/attr/keycreate", f.O_WRONLY, resolve=0, name="keycreate",
    )
    b.expect_filesystem(fd, f.PROC_SUPER_MAGIC, EPERM, "/proc is not a proc file system")
    b.write(fd, label, note=f'the SELinux label "{label}" has to be one of the loaded policy')
    b.close(fd)
    b.origin = ""


def file_label(b: Builder, mount: Slot) -> None:
    """Labels the root of a mount whose file system takes no label as an option."""
    origin, b.origin = b.origin, _MOUNT_LABEL
    directory = b.openat2(mount, ".", f.O_RDONLY | f.O_DIRECTORY, resolve=f.RESOLVE_IN_ROOT, name="labelled")
    size = len(b.mount_label.encode())
    b.step("fsetxattr", directory, "security.selinux", b.mount_label, size, 0)
    b.close(directory)
    b.origin = origin
