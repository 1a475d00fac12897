"""The AppArmor profile that the process gets when it is executed (config.md, "Linux Process").

What is written to /proc goes through a descriptor that is proven to be of a procfs: in the container
another file could have been put there (CVE-2019-16884, CVE-2025-52881).
"""

from errno import EINVAL, ENOENT

from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder

POINTER = "/process/apparmorProfile"


def apparmor(b: Builder, profile: str, *, enabled: bool) -> None:
    """Asks for a profile from execve(2) on; enabled tells whether the host has AppArmor.

    "unconfined" is what a process has without AppArmor, too.
    """
    if not enabled:
        if profile == "unconfined":
            return
        raise Error(
            f'this host has no AppArmor, which the profile "{profile}" is for; remove it', pointer=POINTER
        )
    b.origin = POINTER
    # The first is AppArmor's own where several security modules share the second.
    fd = b.openat2(
        f.AT_FDCWD, "/proc/self/attr/apparmor/exec", f.O_WRONLY, resolve=0, name="label", tolerate=(ENOENT,),
    )
    with b.if_failed(fd):
        b.openat2(
            f.AT_FDCWD, "/proc/self/attr/exec", f.O_WRONLY, resolve=0, name=fd,
            note="an AppArmor profile needs a proc file system at /proc",
        )
    b.expect_filesystem(fd, f.PROC_SUPER_MAGIC, EINVAL, "/proc in the container is not a proc file system")
    b.write(fd, f"exec {profile}", note=f'the AppArmor profile "{profile}" has to be loaded on the host')
    b.close(fd)
    b.origin = ""
