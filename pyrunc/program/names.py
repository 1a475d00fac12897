"""Names for numbers: flags, enumerations, errnos, capabilities, and strings as C writes them.

The names come from the tables in `pyrunc.linux`, found by their prefix. Imported only where a
person is told something.
"""

from errno import errorcode

from pyrunc.linux import flags as f
from pyrunc.linux.capabilities import NAMES as CAPABILITIES
from pyrunc.linux.rlimits import NAMES as RLIMITS
from pyrunc.linux.scheduling import MEMORY_POLICIES, MEMORY_POLICY_FLAGS, PERSONALITIES

# Kinds of arguments (see `calls`) and the prefixes of their names in `flags`.
_PREFIXES: dict[str, tuple[str, ...]] = {
    "OPEN": ("O_",),
    "OPEN_TREE": ("OPEN_TREE_", "AT_"),
    "PRCTL": ("PR_",),
    "BPF": ("BPF_PROG_",),
    "SECCOMP": ("SECCOMP_SET_",),
}
# Where a value is one of several, not a sum of flags.
ENUMERATIONS = frozenset(
    ("ACCESS", "BPF", "FSCONFIG", "IOCTL", "IOPRIO_WHO", "KEYCTL", "PERSONALITY", "PRCTL", "RLIMIT",
     "SECCOMP", "UMOUNT")
)
# `flags` groups these by a prefix that the kernel's names do not have.
_OWN_PREFIXES = ("ACCESS_", "IOCTL_", "UMOUNT_")
# Names that share a value with another one, and mean something else or nothing there.
_AMBIGUOUS = frozenset(
    ("AT_FDCWD", "AT_EACCESS", "BPF_PROG_TYPE_CGROUP_DEVICE", "MOUNT_ATTR__ATIME",
     "PR_CAP_AMBIENT_RAISE", "PR_CAP_AMBIENT_CLEAR_ALL")
)
CAPABILITY_NAMES: dict[int, str] = {number: name for name, number in CAPABILITIES.items()}

_tables: dict[str, dict[int, str]] = {
    "IOPRIO_WHO": {1: "IOPRIO_WHO_PROCESS"},
    "MPOL": {number: name for name, number in MEMORY_POLICY_FLAGS.items()},
    "PERSONALITY": {number: f"PER_{name}" for name, number in PERSONALITIES.items()},
    "RLIMIT": {number: name for name, number in RLIMITS.items()},
}
_MEMORY_POLICIES = tuple(MEMORY_POLICIES)


def _table(kind: str) -> dict[int, str]:
    """The names of a kind's values, by value."""
    table = _tables.get(kind)
    if table is None:
        table = _tables[kind] = {}
        for prefix in _PREFIXES.get(kind, (kind + "_",)):
            for name, value in vars(f).items():
                if name.startswith(prefix) and name not in _AMBIGUOUS and value:
                    shown = name[len(prefix):] if prefix in _OWN_PREFIXES else name
                    if kind == "UMOUNT":
                        shown = shown if shown.startswith("MNT_") else name
                    table.setdefault(value, shown)
        if kind == "FSCONFIG":
            table[f.FSCONFIG_SET_FLAG] = "FSCONFIG_SET_FLAG"
    return table


def flags(kind: str, value: int) -> str:
    """A value by its names: `O_PATH|O_CLOEXEC`; what has no name is left as a number."""
    table = _table(kind)
    if kind in ENUMERATIONS:
        return table.get(value, str(value))
    names = []
    rest = value
    if kind == "MPOL":
        # A number, with flags above it.
        rest &= ~0xFF
        names.append(_MEMORY_POLICIES[value & 0xFF])
    if kind == "OPEN":
        # Not flags: the access mode is a number, and O_PATH takes its place.
        names.append("O_PATH" if value & f.O_PATH else ("O_RDONLY", "O_WRONLY", "O_RDWR", "3")[value & 3])
        rest &= ~(f.O_PATH | 3)
    for bit, name in sorted(table.items()):
        if rest & bit == bit and not (kind == "OPEN" and bit < 4):
            names.append(name)
            rest &= ~bit
    if rest:
        names.append(hex(rest))
    return "|".join(names) or "0"


def text(value: str | bytes) -> str:
    """A string as C would write it."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    parts = []
    for char in value:
        if char in '"\\':
            parts.append("\\" + char)
        elif char in "\n\t\r":
            parts.append({"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char])
        elif "\udc80" <= char <= "\udcff":
            parts.append(f"\\x{ord(char) - 0xDC00:02x}")
        elif char.isprintable():
            parts.append(char)
        else:
            parts.append("".join(f"\\x{byte:02x}" for byte in char.encode()))
    return '"' + "".join(parts) + '"'


def errno_name(number: int) -> str:
    return errorcode.get(number, str(number))
