"""Mount options of config.md's section "Mounts", and what each one asks of the kernel.

An option is an attribute of the mount (MOUNT_ATTR_*), a propagation type, a flag of the
superblock, or a word for pyrunc itself. What is not in these tables is handed to the file system.
"""

from pyrunc.linux import flags as f

_ATIME = f.MOUNT_ATTR__ATIME

# option: (attributes to set, attributes to clear); a leading "r" makes it recursive
ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (f.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, f.MOUNT_ATTR_RDONLY),
    "nosuid": (f.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, f.MOUNT_ATTR_NOSUID),
    "nodev": (f.MOUNT_ATTR_NODEV, 0),
    "dev": (0, f.MOUNT_ATTR_NODEV),
    "noexec": (f.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, f.MOUNT_ATTR_NOEXEC),
    "noatime": (f.MOUNT_ATTR_NOATIME, _ATIME),
    "atime": (f.MOUNT_ATTR_RELATIME, _ATIME),
    "relatime": (f.MOUNT_ATTR_RELATIME, _ATIME),
    "norelatime": (f.MOUNT_ATTR_STRICTATIME, _ATIME),
    "strictatime": (f.MOUNT_ATTR_STRICTATIME, _ATIME),
    "nostrictatime": (f.MOUNT_ATTR_RELATIME, _ATIME),
    "nodiratime": (f.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, f.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (f.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, f.MOUNT_ATTR_NOSYMFOLLOW),
}
RECURSIVE: dict[str, tuple[int, int]] = {"r" + name: bits for name, bits in ATTRIBUTES.items()}

PROPAGATION: dict[str, tuple[int, bool]] = {
    "shared": (f.MS_SHARED, False),
    "rshared": (f.MS_SHARED, True),
    "slave": (f.MS_SLAVE, False),
    "rslave": (f.MS_SLAVE, True),
    "private": (f.MS_PRIVATE, False),
    "rprivate": (f.MS_PRIVATE, True),
    "unbindable": (f.MS_UNBINDABLE, False),
    "runbindable": (f.MS_UNBINDABLE, True),
}

# option: (flags of the superblock to set, flags to clear), as mount(2) has them. "acl" and "noacl" are not
# among them: MS_POSIXACL is the kernel's own, and the file systems that know these words take them as data
# (fs/fs_context.c).
SUPERBLOCK: dict[str, tuple[int, int]] = {
    "sync": (f.MS_SYNCHRONOUS, 0),
    "async": (0, f.MS_SYNCHRONOUS),
    "dirsync": (f.MS_DIRSYNC, 0),
    "lazytime": (f.MS_LAZYTIME, 0),
    "nolazytime": (0, f.MS_LAZYTIME),
    "mand": (f.MS_MANDLOCK, 0),
    "nomand": (0, f.MS_MANDLOCK),
    "iversion": (f.MS_I_VERSION, 0),
    "noiversion": (0, f.MS_I_VERSION),
    "silent": (0, 0),
    "loud": (0, 0),
    "defaults": (0, 0),
}
# What fsconfig(2) has no word for.
MOUNT_ONLY = frozenset(("iversion", "noiversion"))

# Options that pyrunc carries out itself. The symbolic links' are crun's (crun(1), "Extensions to the
# OCI specs").
OWN = (
    "bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap", "copy-symlink", "src-nofollow",
    "dest-nofollow",
)  # fmt: skip

# Every option that has a meaning here; the file systems' own come in addition.
OPTIONS: tuple[str, ...] = tuple(sorted({*ATTRIBUTES, *RECURSIVE, *PROPAGATION, *SUPERBLOCK, *OWN}))
