"""What the compiler has to know of the host, and what the host must have (compile/facts.py).

Reads only what the configuration at hand makes necessary.
"""

import posix
from errno import ENOENT, ENOTDIR

from pyrunc.compile.facts import Facts
from pyrunc.compile.kernel import changed
from pyrunc.compile.masks import kernel_paths
from pyrunc.compile.mount_options import parse
from pyrunc.compile.mounts import source_path
from pyrunc.compile.namespaces import FILES
from pyrunc.errors import Error
from pyrunc.host.paths import exists, mode, real_path
from pyrunc.linux.flags import S_IFCHR, S_IFDIR, S_IFMT, S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.cgroups import Plan
    from pyrunc.compile.settings import Layout

_KERNEL = (5, 12)
_O_PATH = posix.O_PATH | posix.O_CLOEXEC
_MAX_PASSWD = 1 << 20
_NULL = 0x103  # makedev(1, 3)
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/linux/proc_ns.h


def check_kernel(release: str) -> None:
    """Raises Error for a kernel without mount_setattr(2), which is of 5.12."""
    numbers = release.split("-", maxsplit=1)[0].split(".")
    if tuple(int(n) for n in numbers[:2] if n.isdecimal()) < _KERNEL:
        raise Error(
            f"pyrunc needs Linux {_KERNEL[0]}.{_KERNEL[1]} or later; this kernel is {release}"
        )


def gather(
    config: "dict[str, Any]", bundle: str, *, filter: bytes | None, layout: "Layout | None",
    cgroups: "Plan | None", pivot: bool, need_sources: bool = True,
) -> Facts:
    """The facts for a configuration. need_sources is False for `plan`, which runs nothing and need
    not be able to see what it would mount."""
    check_kernel(posix.uname().release)
    check_namespaces(config)
    rootfs = _rootfs(config, bundle)
    sources, links = _sources(config, bundle, need_sources)
    facts = Facts(
        rootfs,
        sources=sources,
        links=links,
        bounding=bounding(config),
        filter=filter,
        rootless=rootless(),
        cgroups=cgroups,
        layout=layout,
        kcore=exists("/proc/kcore"),
        kernel_paths={path: mode(path) for path in kernel_paths(config)},
        listen_fds=listen_fds(),
        listen_names=listen_names(),
        null_stdio=null_stdio(),
    )
    process = config.get("process") or {}
    facts.apparmor = has_apparmor(process)
    facts.selinux = has_selinux(process, config.get("linux", {}).get("mountLabel"))
    facts.limits = hard_limits(config, process)
    if not any(variable.startswith("HOME=") for variable in process.get("env") or ()):
        facts.home = home((process.get("user") or {}).get("uid", 0), rootfs)
    if not pivot:
        facts.proc_mounts = [m for m, kind in _mounts() if kind in ("proc", "sysfs")]
    if (config.get("linux", {}).get("rootfsPropagation") or "").endswith("shared"):
        facts.rootfs_mount_point = max(
            (m for m, _ in _mounts() if m == "/" or (rootfs + "/").startswith(m + "/")), key=len
        )
    return facts


def _rootfs(config: "dict[str, Any]", bundle: str) -> str:
    path = (config.get("root") or {}).get("path") or "rootfs"
    where = path if path.startswith("/") else f"{bundle}/{path}"
    try:
        if posix.stat(where).st_mode & S_IFMT == S_IFDIR:
            return real_path(where)
        reason = "is not a directory"
    except OSError as error:
        reason = f"cannot be used: {error.strerror}"
    raise Error(
        f"the root file system {where} {reason}; put one there, or correct the path", pointer="/root/path"
    )


def _sources(
    config: "dict[str, Any]", bundle: str, needed: bool
) -> tuple[dict[str, int], dict[str, str]]:
    """The sources of bind mounts, and of those that are not followed what they point to."""
    sources: dict[str, int] = {}
    links: dict[str, str] = {}
    for i, mount in enumerate(config.get("mounts") or ()):
        options = parse(mount, i)
        if not options.bind:
            continue
        source = source_path(mount, bundle)
        if options.copy_symlink or options.src_nofollow:
            try:
                links[source] = posix.readlink(source)
            except OSError:
                pass  # no link: the source is used, and missed, like any other
        try:
            sources[source] = posix.stat(source).st_mode
        except OSError as error:
            if not needed:
                sources[source] = 0o040755
            elif error.errno not in (ENOENT, ENOTDIR):
                raise Error(
                    f"the source {source} cannot be used: {error.strerror}", pointer=f"/mounts/{i}/source"
                ) from None
    return sources, links


def has_apparmor(process: "dict[str, Any]") -> bool:
    """Whether a process with a profile finds AppArmor on this host."""
    if not process.get("apparmorProfile"):
        return False
    try:
        fd = posix.open("/sys/module/apparmor/parameters/enabled", posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return posix.read(fd, 1) == b"Y"
    finally:
        posix.close(fd)


def has_selinux(process: "dict[str, Any]", mount_label: str | None = None) -> bool:
    """Whether labels, if there are any, find SELinux on this host: its file system, and a policy in it."""
    return bool(process.get("selinuxLabel") or mount_label) and exists("/sys/fs/selinux/enforce")


def hard_limits(config: "dict[str, Any]", process: "dict[str, Any]") -> dict[str, int]:
    """The runtime's own hard limits, by the names of those that a process in a user namespace asks for."""
    wanted = {limit["type"] for limit in process.get("rlimits") or ()}
    if not wanted or not any(n["type"] == "user" for n in config.get("linux", {}).get("namespaces") or ()):
        return {}
    from pyrunc.linux.rlimits import NAMES

    with open("/proc/self/limits", encoding="ascii") as file:
        lines = file.readlines()[1:]
    found = {}
    # The kernel lists them by number, each with a title of 25 columns, the soft limit and the hard one.
    for name, line in zip(NAMES, lines, strict=False):
        if name in wanted:
            hard = line[25:].split()[1]
            found[name] = 2**64 - 1 if hard == "unlimited" else int(hard)
    return found


def bounding(config: "dict[str, Any]") -> int:
    """The capability bounding set that a process of the container begins with: the runtime's own, or in a
    user namespace all that the kernel has, whoever enters it (user_namespaces(7))."""
    if any(namespace["type"] == "user" for namespace in config.get("linux", {}).get("namespaces") or ()):
        fd = posix.open("/proc/sys/kernel/cap_last_cap", posix.O_RDONLY | posix.O_CLOEXEC)
        last = int(posix.read(fd, 16))
        posix.close(fd)
        return (2 << last) - 1
    fd = posix.open("/proc/self/status", posix.O_RDONLY | posix.O_CLOEXEC)
    text = posix.read(fd, 8192)
    posix.close(fd)
    return int(text.partition(b"\nCapBnd:")[2].split(None, 1)[0], 16)


def rootless() -> bool:
    """Whether the runtime is not root of the initial user namespace."""
    return posix.geteuid() != 0 or posix.stat("/proc/self/ns/user").st_ino != _INITIAL_USER_NAMESPACE


def check_namespaces(config: "dict[str, Any]") -> None:
    """Raises Error for a path that is not a namespace of the type that it is to be."""
    for i, namespace in enumerate(config.get("linux", {}).get("namespaces") or ()):
        path = namespace.get("path")
        if not path:
            continue
        kind = namespace["type"]
        pointer = f"/linux/namespaces/{i}/path"
        try:
            found = real_path(path).partition(":[")
        except OSError as error:
            raise Error(
                f"the {kind} namespace {path} cannot be joined: {error.strerror}; "
                "is its process still there?",
                pointer=pointer,
            ) from None
        if found[1] and found[0] != FILES.get(kind, kind):
            raise Error(f"{path} is a namespace of another type ({found[0]}), not {kind}", pointer=pointer)
        if not found[1] and not _on_nsfs(path):
            raise Error(f"{path} is not a namespace", pointer=pointer)
        # Docker gives the host's network namespace by a path too.
        setting = changed(config, kind)
        if setting and posix.stat(path).st_ino == posix.stat(f"/proc/self/ns/{FILES.get(kind, kind)}").st_ino:
            raise Error(
                f"it would change the host: {path} is the runtime's own {kind} namespace; give the container "
                "another one, or leave this out",
                pointer=setting,
            )


def _on_nsfs(path: str) -> bool:
    """A namespace that is kept by a bind mount: its link in /proc/self/fd is that mount's path."""
    device = posix.stat(path).st_dev
    return device == posix.stat("/proc/self/ns/net").st_dev


def listen_fds() -> int:
    """How many sockets were passed to this process by the protocol of sd_listen_fds(3)."""
    count = posix.environ.get(b"LISTEN_FDS", b"")
    pid = posix.environ.get(b"LISTEN_PID", b"")
    if not count.isdigit() or (pid.isdigit() and int(pid) != posix.getpid()):
        return 0
    return int(count)


def listen_names() -> str:
    """The names of these sockets (sd_listen_fds_with_names(3)), separated by colons."""
    return posix.environ.get(b"LISTEN_FDNAMES", b"").decode("utf-8", "surrogateescape")


def null_stdio() -> tuple[int, ...]:
    """Those of standard input, output and error that are /dev/null."""
    found = []
    for fd in (0, 1, 2):
        stat = posix.fstat(fd)
        if stat.st_mode & S_IFMT == S_IFCHR and stat.st_rdev == _NULL:
            found.append(fd)
    return tuple(found)


def check_preserved(preserve_fds: int) -> None:
    """Raises Error unless all descriptors that are to be passed on are the caller's: has to come before
    any other is opened, which would take the number of a missing one and be passed on instead of it."""
    for fd in range(3, 3 + preserve_fds + listen_fds()):
        try:
            posix.fstat(fd)
        except OSError:
            raise Error(
                f"--preserve-fds and LISTEN_FDS cover descriptor {fd}, which is not open"
            ) from None


def _mounts() -> list[tuple[str, str]]:
    """Mount points and file system types of this mount namespace (proc_pid_mountinfo(5))."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
            found.append((point, fields[fields.index("-") + 1]))
    return found


def home(uid: int, rootfs: str) -> str:
    """A user's home directory in the root file system's /etc/passwd, "" if that does not tell.

    The file is the image's: symbolic links are not followed, and only a regular file is opened. No list
    of devices binds the runtime, and some act on being opened: a watchdog, a tape.
    """
    flags = _O_PATH | posix.O_NOFOLLOW
    text = b""
    opened: list[int] = []
    try:
        opened.append(posix.open(rootfs, _O_PATH | posix.O_DIRECTORY))
        opened.append(posix.open("etc", flags | posix.O_DIRECTORY, dir_fd=opened[0]))
        opened.append(posix.open("passwd", flags, dir_fd=opened[1]))
        if posix.fstat(opened[2]).st_mode & S_IFMT == S_IFREG:
            # The very file that was looked at (proc_pid_fd(5)).
            opened.append(posix.open(f"/proc/self/fd/{opened[2]}", posix.O_RDONLY | posix.O_CLOEXEC))
            text = posix.read(opened[3], _MAX_PASSWD)
    except OSError:
        return ""
    finally:
        for fd in opened:
            posix.close(fd)
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 5 and fields[2] == b"%d" % uid:
            return fields[5].decode("utf-8", "surrogateescape")
    return ""
