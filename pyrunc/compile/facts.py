"""What the compiler is told: facts about the host, and what the caller asked for.

Plain data. `pyrunc.host.facts` gathers the facts; tests write them down.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.compile.cgroups import Plan
    from pyrunc.compile.settings import Layout


class Facts:
    """The host as the compiler sees it.

    rootfs       absolute path of the root file system
    sources      st_mode of each bind mount's source, by absolute path
    links        what a source of bind mounts points to where it is a symbolic link that an option
                 (copy-symlink, src-nofollow) keeps from being followed, by absolute path
    apparmor     whether AppArmor is on (asked only for a process with a profile)
    selinux      whether SELinux is on (asked only where there is a label)
    limits       the runtime's own hard resource limits by name (asked only where a user namespace would
                 keep the process from raising them)
    bounding     the capability bounding set that the process begins with, as a mask: the runtime's own, or a
                 user namespace's
    rootless     whether the effective user is not root of the initial user namespace
    copies_mounts whether it may copy mounts of the mount namespace that the runtime is in
    setgroups    whether the container's user namespace allows setgroups(2)
    cgroups      the compiled control group plan, or None where none can be used
    layout       where control groups are mounted, or None where they are not
    filter       the compiled seccomp filter, or None without linux.seccomp
    home         the process user's home directory in the container's /etc/passwd, or ""
    proc_mounts  mount points of proc and sysfs on the host (for --no-pivot)
    rootfs_mount_point  the mount that holds the root file system (for shared propagation)
    kernel_paths st_mode on the host (0: absent) of masked paths in the kernel's file systems
    kcore        whether the host has /proc/kcore
    listen_fds   number of sockets passed by LISTEN_FDS
    listen_names their names, LISTEN_FDNAMES
    null_stdio   those of descriptors 0 to 2 that are the host's /dev/null
    rdt          directories of the class of service and of the monitoring group ("": none), or None
                 without linux.intelRdt
    """

    __slots__ = (
        "apparmor", "bounding", "cgroups", "copies_mounts", "filter", "home", "kcore", "kernel_paths",
        "layout", "limits", "links", "listen_fds", "listen_names", "null_stdio", "proc_mounts", "rdt",
        "rootfs", "rootfs_mount_point", "rootless", "selinux", "setgroups", "sources",
    )

    def __init__(
        self,
        rootfs: str,
        *,
        sources: dict[str, int] | None = None,
        links: dict[str, str] | None = None,
        apparmor: bool = False,
        selinux: bool = False,
        bounding: int = (1 << 41) - 1,
        filter: bytes | None = None,
        rootless: bool = False,
        copies_mounts: bool = True,
        setgroups: bool = True,
        cgroups: "Plan | None" = None,
        layout: "Layout | None" = None,
        home: str = "",
        proc_mounts: list[str] | None = None,
        rootfs_mount_point: str = "/",
        kcore: bool = True,
        kernel_paths: dict[str, int] | None = None,
        limits: dict[str, int] | None = None,
        listen_fds: int = 0,
        listen_names: str = "",
        null_stdio: tuple[int, ...] = (),
        rdt: tuple[str, str] | None = None,
    ) -> None:
        self.rootfs = rootfs
        self.sources = sources or {}
        self.links = links or {}
        self.apparmor = apparmor
        self.selinux = selinux
        self.bounding = bounding
        self.filter = filter
        self.rootless = rootless
        self.copies_mounts = copies_mounts
        self.setgroups = setgroups
        self.cgroups = cgroups
        self.layout = layout
        self.home = home
        self.proc_mounts = proc_mounts or []
        self.rootfs_mount_point = rootfs_mount_point
        self.kcore = kcore
        self.kernel_paths = kernel_paths or {}
        self.limits = limits or {}
        self.listen_fds = listen_fds
        self.listen_names = listen_names
        self.null_stdio = null_stdio
        self.rdt = rdt


class Request:
    """What the command line asked for.

    wait         the container waits for `start` (create), or goes on by itself (run)
    preserve_fds descriptors 3, 4 … that the process keeps, LISTEN_FDS not counted
    console_size (rows, columns) of the caller's terminal, for a process that does not name its own
    """

    __slots__ = ("bundle", "console_size", "id", "new_keyring", "pivot", "preserve_fds", "wait")

    def __init__(
        self, id: str, bundle: str, *, wait: bool = True, pivot: bool = True,
        new_keyring: bool = True, preserve_fds: int = 0, console_size: tuple[int, int] | None = None,
    ) -> None:
        self.id = id
        self.bundle = bundle
        self.wait = wait
        self.pivot = pivot
        self.new_keyring = new_keyring
        self.preserve_fds = preserve_fds
        self.console_size = console_size
