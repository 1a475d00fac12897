"""The system calls and control steps that a program can hold.

One table serves three readers: `encode` takes a call's position as its operation code, the build
makes `init/calls.h` from it (names become numbers when the C compiler sees them, so programs do
not depend on the architecture), and `explain` and `verify` take the meaning of each argument.

Argument kinds:
  fd       a descriptor                        dirfd   a descriptor that a path starts from, or AT_FDCWD
  path     a path                              str     another NUL-terminated string
  name     one path component, never followed when it is a symbolic link
  int      a number, printed in decimal        oct     a mode
  data     a structure or buffer               size    the size of the data before it
  NAME     flags or values from the table `flags.NAME`
Result kinds: "fd" a new descriptor, "value" a number, "" nothing of interest.
"""

# Control steps: what the interpreter does itself. Order is the operation code.
CONTROLS: dict[str, tuple[str, tuple[str, ...]]] = {
    # skip the next n steps unless the slot's step succeeded / failed
    "if_ok": ("", ("slot", "count")),
    "if_failed": ("", ("slot", "count")),
    # put a slot's value into the data, for structures that hold descriptors
    "store": ("", ("data", "offset", "slot", "width")),
    # fail with an errno unless a field of the scratch area, masked, has a value
    "expect": ("", ("scratch", "width", "mask", "value", "errno")),
    # clone3; the parent reports the child's pid and exits, the child goes on
    "clone": ("", ("clone_args", "size")),
    # tell the runtime, naming up to two descriptors, and wait until it answers
    "sync": ("", ("int", "fd", "fd")),
    # wait for `start` on a listening socket, which becomes the report channel
    "wait": ("", ("fd",)),
    # run a hook: path, argv, envp, state descriptor, output descriptor, milliseconds (0: no limit)
    "hook": ("", ("path", "argv", "envp", "fd", "fd", "int")),
    # give up with an errno
    "fail": ("", ("errno",)),
    "exit": ("", ("int",)),
    # a masked field of the scratch area as a slot's value
    "load": ("value", ("scratch", "width", "mask")),
    # the opposite of expect: fail with an errno where the field has the value
    "refuse": ("", ("scratch", "width", "mask", "value", "errno")),
    # copy what is in one directory into another
    "copy_up": ("", ("fd", "fd")),
    # the hooks that follow write their standard output and error there
    "hook_streams": ("", ("fd", "fd")),
    # seccomp(2) with a listener, which is sent to the runtime before the filter can meet a call
    "notify": ("", ("SECCOMP_FILTER_FLAG", "sock_fprog")),
}

CALLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "capset": ("", ("data", "data")),
    "chdir": ("", ("path",)),
    "chroot": ("", ("path",)),
    "close": ("", ("fd",)),
    "close_range": ("", ("int", "int", "CLOSE_RANGE")),
    "dup3": ("", ("fd", "int", "OPEN")),
    "execve": ("", ("path", "argv", "envp")),
    "faccessat2": ("", ("dirfd", "path", "ACCESS", "AT")),
    "fchdir": ("", ("fd",)),
    "fchmod": ("", ("fd", "oct")),
    "fchmodat": ("", ("dirfd", "path", "oct")),
    "fchown": ("", ("fd", "int", "int")),
    "fchownat": ("", ("dirfd", "path", "int", "int", "AT")),
    "fsconfig": ("", ("fd", "FSCONFIG", "str", "str", "int")),
    "fsmount": ("fd", ("fd", "FSMOUNT", "MOUNT_ATTR")),
    "fsopen": ("fd", ("str", "FSOPEN")),
    "fstatfs": ("", ("fd", "scratch")),
    "getcwd": ("", ("scratch", "size")),
    "ioctl": ("fd", ("fd", "IOCTL", "data")),
    "keyctl": ("", ("KEYCTL", "str", "int", "int", "int")),
    "mkdirat": ("", ("dirfd", "name", "oct")),
    "mknodat": ("", ("dirfd", "name", "oct", "dev")),
    "mount": ("", ("str", "path", "str", "MS", "str")),
    "mount_setattr": ("", ("dirfd", "path", "AT", "mount_attr", "size")),
    "move_mount": ("", ("dirfd", "path", "dirfd", "path", "MOVE_MOUNT")),
    "open_tree": ("fd", ("dirfd", "path", "OPEN_TREE")),
    "openat": ("fd", ("dirfd", "name", "OPEN", "oct")),
    "openat2": ("fd", ("dirfd", "path", "open_how", "size")),
    "personality": ("", ("PERSONALITY",)),
    "pivot_root": ("", ("path", "path")),
    "prctl": ("", ("PRCTL", "int", "int", "int", "int")),
    "prlimit64": ("", ("int", "RLIMIT", "rlimit", "int")),
    "read": ("", ("fd", "scratch", "size")),
    "seccomp": ("", ("SECCOMP", "SECCOMP_FILTER_FLAG", "sock_fprog")),
    "sendmsg": ("", ("fd", "data", "int")),
    "setdomainname": ("", ("str", "size")),
    "setgroups": ("", ("int", "data")),
    "sethostname": ("", ("str", "size")),
    "setns": ("", ("fd", "CLONE")),
    "setresgid": ("", ("int", "int", "int")),
    "setresuid": ("", ("int", "int", "int")),
    "setsid": ("", ()),
    "socket": ("fd", ("int", "int", "int")),
    "statx": ("", ("dirfd", "path", "AT", "STATX", "scratch")),
    "symlinkat": ("", ("str", "dirfd", "name")),
    "umask": ("", ("oct",)),
    "umount2": ("", ("path", "UMOUNT")),
    "unlinkat": ("", ("dirfd", "name", "AT")),
    "unshare": ("", ("CLONE",)),
    "write": ("", ("fd", "str", "size")),
    "bpf": ("fd", ("BPF", "bpf_attr", "size")),
    "fsetxattr": ("", ("fd", "str", "str", "size", "int")),
    "ioprio_set": ("", ("IOPRIO_WHO", "int", "ioprio")),
    "sched_setaffinity": ("", ("int", "int", "cpu_set")),
    "sched_setattr": ("", ("int", "sched_attr", "int")),
    "set_mempolicy": ("", ("MPOL", "nodemask", "int")),
    "fspick": ("fd", ("dirfd", "path", "FSPICK")),
    "readlinkat": ("", ("dirfd", "name", "scratch", "size")),
}

# Operation codes: the controls first, the calls from 64 on.
FIRST_CALL = 64
CODES: dict[str, int] = {name: code for code, name in enumerate(CONTROLS)}
CODES.update({name: FIRST_CALL + code for code, name in enumerate(CALLS)})


def header() -> str:
    """The C header with the numbers of the calls, in the order of the table."""
    lines = ["/* Made from pyrunc/program/calls.py. */"]
    lines += [f"#define OP_{name.upper()} {code}" for name, code in CODES.items() if name in CONTROLS]
    lines += [f"#define FIRST_CALL {FIRST_CALL}", f"#define CALL_COUNT {len(CALLS)}"]
    lines += ["static const short call_numbers[] = {"]
    lines += [f"  __NR_{name}," for name in CALLS]
    lines += ["};", ""]
    return "\n".join(lines)
