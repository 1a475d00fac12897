"""The pieces that every mount is made of: its target, its attributes, a new file system.

Used by `mounts` and `cgroup_mounts`; what a configuration asks for is theirs to know.
"""

from errno import EPERM

from pyrunc.compile.mount_options import Options
from pyrunc.compile.paths import components, open_or_create
from pyrunc.linux import flags as f
from pyrunc.linux.mounts import MOUNT_ONLY, SUPERBLOCK
from pyrunc.program.build import STATFS_TYPE, Builder, mount_attr
from pyrunc.program.model import SCRATCH, Slot

# File systems whose superblock the kernel makes or shares by itself: "ro" is of the mount only.
KERNEL_FILE_SYSTEMS = ("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2")

# What lxcfs and its like put into /proc, where nothing else may be mounted.
_PROC_EXCEPTIONS = (
    "proc/cpuinfo", "proc/diskstats", "proc/meminfo", "proc/stat", "proc/swaps", "proc/uptime",
    "proc/loadavg", "proc/slabinfo", "proc/sys/kernel/ns_last_pid", "proc/sys/crypto/fips_enabled",
)


def target(
    b: Builder, root: Slot, destination: str, *, directory: bool, ordinary: bool = False, mode: int = 0o755,
    nofollow: bool = False,
) -> Slot:
    """What is mounted on: a descriptor inside the root, and in no procfs.

    ordinary refuses symbolic links on the way, as proc and sysfs demand: other steps, and the
    container's processes, rely on finding them at that very path (CVE-2019-19921). nofollow takes a
    symbolic link at the destination's end as the target itself; it has to be there.
    """
    relative = "/".join(components(destination))
    exception = relative in _PROC_EXCEPTIONS
    if nofollow:
        fd = b.openat2(
            root, relative, f.O_PATH | f.O_NOFOLLOW, resolve=f.RESOLVE_IN_ROOT, name=destination,
        )
    else:
        fd = open_or_create(
            b, root, destination, directory=directory, mode=mode,
            resolve=f.RESOLVE_NO_SYMLINKS if ordinary or exception else 0,
        )
    if not exception:
        b.step("fstatfs", fd, SCRATCH)
        b.refuse(
            STATFS_TYPE, 8, f.PROC_SUPER_MAGIC, EPERM,
            f"{destination} is inside /proc, where only files that the runtime knows may be mounted",
        )
    return fd


def finish(b: Builder, mount: Slot, options: Options) -> None:
    """What is set once a mount is attached: its propagation."""
    for flag, recursive in options.propagation:
        at = f.AT_EMPTY_PATH | (f.AT_RECURSIVE if recursive else 0)
        b.mount_setattr(mount, "", at, mount_attr(propagation=flag))


def set_attributes(b: Builder, mount: Slot, options: Options) -> None:
    if options.set or options.clear:
        b.mount_setattr(mount, "", f.AT_EMPTY_PATH, mount_attr(options.set, options.clear))
    if options.recursive_set or options.recursive_clear:
        b.mount_setattr(
            mount, "", f.AT_EMPTY_PATH | f.AT_RECURSIVE,
            mount_attr(options.recursive_set, options.recursive_clear),
        )


def new_mount(b: Builder, kind: str, source: str, options: Options) -> Slot:
    """A new, unattached mount of a file system."""
    fs = b.fsopen(kind)
    if source:
        b.fsconfig_set(fs, "source", source)
    if attributes(options) & f.MOUNT_ATTR_RDONLY and kind not in KERNEL_FILE_SYSTEMS:
        b.fsconfig_set(fs, "ro", None)
    configure(b, fs, options)
    b.fsconfig_create(fs)
    mount = b.fsmount(fs, attributes(options), kind)
    if kind == "mqueue" and b.mount_label:
        from pyrunc.compile import labels

        labels.file_label(b, mount)
    return mount


def configure(b: Builder, fs: Slot, options: Options) -> None:
    """The options of a file system, given to the context that will make or change it."""
    for word in options.superblock:
        if word not in MOUNT_ONLY:
            b.fsconfig_set(fs, word, None)
    for key, value in options.data:
        text = key if value is None else f"{key}={value}"
        b.fsconfig_set(fs, key, value, note=f'option "{text}", {b.note}')


def option_text(b: Builder, words: list[str]) -> str:
    """The options of a file system as mount(2) takes them."""
    # A label may have commas, which the quotes keep from separating.
    return ",".join([*words, f'{b.label_option}="{b.mount_label}"'] if b.mount_label else words)


def attributes(options: Options) -> int:
    """The attributes of a new mount, which has none below it."""
    return options.set & ~options.recursive_clear | options.recursive_set


def superblock_flags(options: Options) -> int:
    """The flags of the superblock as mount(2) takes them."""
    result = f.MS_RDONLY if attributes(options) & f.MOUNT_ATTR_RDONLY else 0
    for word in options.superblock:
        on, off = SUPERBLOCK[word]
        result = result & ~off | on
    return result
