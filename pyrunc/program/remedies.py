"""What the person who meets a failed call can do about it, by call and errno.

One table; an entry for a call goes before the one for any call. A remedy is a hint, so it says
"may" where the kernel gives one errno for several reasons.
"""

from errno import (
    E2BIG,
    EACCES,
    EAGAIN,
    EBADF,
    EBUSY,
    EEXIST,
    EINVAL,
    EIO,
    ELOOP,
    EMFILE,
    ENFILE,
    ENODEV,
    ENOENT,
    ENOEXEC,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    ENOTBLK,
    ENOTDIR,
    ENXIO,
    EOPNOTSUPP,
    EPERM,
    EROFS,
    ETXTBSY,
    EUSERS,
    EXDEV,
)  # fmt: skip

from pyrunc.linux.flags import MOUNT_ATTR_IDMAP
from pyrunc.program.model import Data, Step

_OLD_KERNEL = "the kernel does not have this call; pyrunc needs Linux 5.12 or later"
_LEAVES_ROOT = "a symbolic link on the way leads out of the root file system, or in a circle"
_PRIVILEGE = "it needs privilege that the runtime does not have here"
_MOUNT_PRIVILEGE = (
    "mounting needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace; a user namespace may "
    "mount few file systems, and proc and sysfs only where they are fully visible"
)
_NO_IDMAP = (
    "this kernel cannot map the ids of this type of file system (or of one below it, with ridmap); "
    "use another, or remove the mapping"
)
_MAY_NOT_MAP = (
    "mapping ids needs CAP_SYS_ADMIN where the file system was mounted, and a mount that is not mapped yet"
)

REMEDIES: dict[tuple[str, int], str] = {
    ("", EPERM): _PRIVILEGE,
    ("", ENOSYS): _OLD_KERNEL,
    ("", ELOOP): _LEAVES_ROOT,
    ("", ENOSPC): "no space, or no more of these, is left",
    ("", ENOMEM): "the memory limit, or the host's memory, is too small",
    ("", EMFILE): "too many descriptors are open; raise RLIMIT_NOFILE of the runtime",
    ("", ENFILE): "the host has too many open files",
    ("", EROFS): "the file system is read-only",
    ("", EIO): "the kernel refused it",
    ("bpf", EPERM): "a device filter needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, on the host",
    ("bpf", EINVAL): "the kernel needs CONFIG_CGROUP_BPF",
    ("capset", EPERM): "the runtime does not have a capability that the process asks for; remove it",
    ("chdir", ENOENT): "the directory does not exist in the container; create it, or correct the path",
    ("chdir", EACCES): "the process's user may not enter the directory; change its mode, or the user",
    ("chdir", ENOTDIR): "it is no directory",
    ("clone", EINVAL): "the kernel lacks one of the namespaces; remove it from linux.namespaces",
    ("clone", ENOSPC): "too many namespaces; raise user.max_*_namespaces (sysctl)",
    ("clone", EACCES): "the runtime's user may not move a process into the cgroup from where the runtime is",
    ("clone", EPERM): "new namespaces need root, or a user namespace among them",
    ("clone", EBUSY): "the cgroup takes no processes; it has controllers enabled for its children",
    ("clone", EUSERS): "user namespaces are nested too deep",
    ("copy_up", EACCES): "make it readable for the container's root, or remove the option",
    ("copy_up", EINVAL): "its owner is not mapped in the container's user namespace",
    ("copy_up", ELOOP): "there are more than 200 levels of directories, or a link took a file's place",
    ("copy_up", ENOSPC): "give the tmpfs a larger size=",
    ("copy_up", EPERM): "a device node needs CAP_MKNOD in the initial user namespace",
    ("execve", E2BIG): "args and env are too long together",
    ("execve", EACCES): "make the file executable for the process's user, and see to noexec mounts",
    ("execve", ENOENT): "it, or the interpreter or loader that it names, is not in the container",
    ("execve", ENOEXEC): "it is for another architecture, or a script without #!",
    ("execve", ENOTDIR): "a part of its path is no directory",
    ("execve", ETXTBSY): "the file is open for writing",
    ("execve", EPERM): "a file with capabilities or set-user-id cannot be executed here",
    ("fchownat", EINVAL): "the id is not mapped in the container's user namespace",
    ("fchown", EINVAL): "the id is not mapped in the container's user namespace",
    ("fsconfig", EACCES): "the file system or its source may not be used like this",
    ("fsconfig", EBUSY): "the file system is in use with other options",
    ("fsconfig", EINVAL): (
        "the kernel refused an option; look for a misspelt or unsupported one, or an id that is not mapped "
        "in the container's user namespace"
    ),
    ("fsconfig", ENOENT): "the source, or a directory named in the options, does not exist",
    ("fsconfig", ENOTBLK): "the source has to be a block device",
    ("fsconfig", ENXIO): "there is no such device",
    ("fsconfig", EPERM): _MOUNT_PRIVILEGE,
    ("fsmount", EPERM): _MOUNT_PRIVILEGE,
    ("fsmount", EBUSY): "the file system is in use with other options",
    ("fsopen", ENODEV): "the kernel does not know this type of file system; correct it, or load its module",
    ("fsopen", EPERM): _MOUNT_PRIVILEGE,
    ("hook", EACCES): "make it executable",
    ("hook", ENOENT): "it does not exist; correct the hook's path",
    ("hook", ENOEXEC): "it is for another architecture, or a script without #!",
    ("ioprio_set", EPERM): "IOPRIO_CLASS_RT needs CAP_SYS_NICE or CAP_SYS_ADMIN on the host",
    ("mkdirat", EACCES): "the directory above belongs to an id that is not mapped, or forbids it",
    ("mknodat", EPERM): "device nodes need CAP_MKNOD in the initial user namespace",
    ("mount", EINVAL): "the kernel refused an option; look for a misspelt or unsupported one",
    ("mount", ENODEV): "the kernel does not know this type of file system; correct it, or load its module",
    ("mount", ENOENT): "the source, or a directory named in the options, does not exist",
    ("mount", EPERM): _MOUNT_PRIVILEGE,
    ("mount_setattr", EINVAL): "the kernel or the file system does not support a mount option",
    ("mount_setattr", EPERM): "an option that the host locks (ro, nosuid, nodev …) cannot be undone here",
    ("move_mount", EINVAL): "one of source and destination is not a directory, or one is shared or locked",
    ("move_mount", ENOTDIR): "source and destination have to be both directories, or both files",
    ("open_tree", ENOENT): "the source does not exist; create it, or correct the path",
    ("open_tree", EACCES): "the runtime's user may not reach the source",
    ("open_tree", EINVAL): "the source is not in the runtime's mount namespace, or may not be bound",
    ("open_tree", EPERM): _MOUNT_PRIVILEGE,
    ("openat2", EACCES): "a directory on the way forbids it",
    ("openat2", ENOENT): "it does not exist",
    ("openat2", ENOTDIR): "the path, or a part of it, is no directory",
    ("openat2", EXDEV): "a symbolic link or a mount on the way leads out of the root file system",
    ("openat2", ENXIO): "there is no such device",
    ("pivot_root", EINVAL): "the root cannot be pivoted, as that of an initramfs; use --no-pivot",
    ("pivot_root", EBUSY): "the root file system is the host's root",
    ("prlimit64", EPERM): "a hard limit cannot be raised above the runtime's own without CAP_SYS_RESOURCE",
    ("prlimit64", EINVAL): "the soft limit is above the hard limit",
    ("sched_setaffinity", EINVAL): "none of these CPUs is online and in the cgroup's cpuset",
    ("sched_setattr", EBUSY): "no CPU time is left for SCHED_DEADLINE; ask for less of it",
    ("sched_setattr", EINVAL): "the kernel refused the values or flags; see sched_setattr(2)",
    ("sched_setattr", EOPNOTSUPP): "the kernel lacks CONFIG_UCLAMP_TASK; remove SCHED_FLAG_UTIL_CLAMP_…",
    ("sched_setattr", EPERM): (
        "a lower nice value, a real-time policy and SCHED_DEADLINE need CAP_SYS_NICE on the host; a "
        "real-time policy may also need linux.resources.cpu.realtimeRuntime, and SCHED_DEADLINE every CPU"
    ),
    ("seccomp", EACCES): "a filter needs process.noNewPrivileges, or CAP_SYS_ADMIN",
    ("seccomp", EINVAL): "the kernel refused the filter or one of its flags",
    ("set_mempolicy", EINVAL): (
        "the kernel refused the mode with these nodes and flags: nodes have to be online and in the cgroup's "
        "cpuset, MPOL_DEFAULT and MPOL_LOCAL take none; see set_mempolicy(2)"
    ),
    ("set_mempolicy", ENOSYS): "the kernel lacks CONFIG_NUMA; remove memoryPolicy",
    ("notify", EACCES): "a filter needs process.noNewPrivileges, or CAP_SYS_ADMIN",
    ("notify", EAGAIN): "a limit on processes may leave no room for the thread that sends the listener",
    ("notify", EBUSY): "the runtime itself is under a filter with a seccomp agent, and there can be only one",
    ("notify", EINVAL): "the kernel refused the filter or one of its flags; "
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs Linux 5.19",
    ("setgroups", EINVAL): "a group id is not mapped in the container's user namespace",
    ("setgroups", EPERM): "the user namespace denies setgroups; remove additionalGids",
    ("setns", EINVAL): "the path is a namespace of another type, or may not be joined from here",
    ("setns", EPERM): "joining needs CAP_SYS_ADMIN in the user namespace that owns it",
    ("setns", EBADF): "the path is no namespace",
    ("setresgid", EINVAL): "the group id is not mapped in the container's user namespace",
    ("setresuid", EINVAL): "the user id is not mapped in the container's user namespace",
    ("symlinkat", EEXIST): "the name is taken",
    ("unshare", EINVAL): "the kernel lacks one of the namespaces; remove it from linux.namespaces",
    ("unshare", ENOSPC): "too many namespaces; raise user.max_*_namespaces (sysctl)",
    ("unshare", EPERM): "new namespaces need root, or a kernel that lets users make user namespaces",
    ("write", EACCES): "the kernel lets nobody, or only its owner, write it",
    ("write", EINVAL): "the kernel refused the value; correct it",
    ("write", EBUSY): "the cgroup takes no processes; it has controllers enabled for its children",
    ("write", EOPNOTSUPP): "the cgroup takes no processes; it is of the threaded type",
}


def remedy(call: str, errno: int, step: Step) -> str:
    """What to do, or "". step tells more where the call and the errno do not suffice."""
    if errno == EPERM and call == "fsopen" and step.args[0] == "sysfs":
        return (
            "a user namespace may mount sysfs only with a network namespace of its own; add one to "
            "/linux/namespaces, or bind the host's /sys (type none, source /sys, options rbind, ro)"
        )
    if errno == EINVAL and call == "fsconfig" and len(step.args) > 2:
        key = step.args[2]
        if key in ("uid", "gid"):
            return f"the {key} is not mapped in the container's user namespace; map it, or remove the option"
        if isinstance(key, str):
            return f'the kernel\'s file system refused the option "{key}"; correct or remove it'
    if call == "execve" and errno in (EPERM, EACCES) and step.note:
        # Only a process with a profile or a label has a note here (compile.labels).
        return (
            f"{REMEDIES[call, errno]}; or the security module forbids it {step.note}: allow it in the host's "
            "policy (its audit log tells what is missing), or set noNewPrivileges to false if that is why"
        )
    if call == "mount_setattr" and len(step.args) > 3:
        attr = step.args[3]
        if isinstance(attr, Data) and attr.fields and attr.fields[0] == MOUNT_ATTR_IDMAP:
            return _NO_IDMAP if errno == EINVAL else _MAY_NOT_MAP
    return REMEDIES.get((call, errno)) or REMEDIES.get(("", errno), "")
