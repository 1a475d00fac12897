"""What `verify` accepts and refuses: one whole program, broken on purpose in every way that matters.

Each refusal is a container escape, a leak, or a failure at run time that a user would meet.
"""

import time
from collections.abc import Callable
from errno import EACCES, EEXIST, ENOENT, ENOSYS, EPERM
from typing import Any

import pytest

from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import STATFS_TYPE, STATX_MODE, Builder, mount_attr, vector
from pyrunc.program.model import SCRATCH, Data, Program, Scratch, Slot, Step
from pyrunc.program.verify import verify

CAP_SYS_ADMIN = 1 << 21


def capabilities(mask: int) -> Data:
    low = (mask & 0xFFFFFFFF).to_bytes(4, "little")
    return Data("capabilities", low * 3 + bytes(12), (mask, mask, mask))


def capset(b: Builder, mask: int = 0) -> None:
    b.step("capset", Data("capability_header", bytes(8), ("v3",)), capabilities(mask))


def begin() -> tuple[Builder, Slot]:
    """A program up to a root file system that is attached and reached by %rootfs."""
    b = Builder()
    b.origin = "/root/path"
    for name in ("report", "command", "listener", "state", "output"):
        b.inherit(name)
    b.clone(f.CLONE_NEWNS | f.CLONE_NEWPID)
    rootfs = b.open_tree(f.AT_FDCWD, "/bundle/rootfs", f.OPEN_TREE_CLONE | f.AT_RECURSIVE, "rootfs")
    place = b.openat2(f.AT_FDCWD, "/bundle/rootfs", f.O_PATH | f.O_DIRECTORY, resolve=0, name="place")
    b.move_mount(rootfs, place)
    b.close(place)
    return b, rootfs


def pivot(b: Builder, rootfs: Slot) -> None:
    b.origin = "/root/path"
    b.step("fchdir", rootfs)
    b.close(rootfs)
    b.step("pivot_root", ".", ".")
    b.step("umount2", ".", f.UMOUNT_MNT_DETACH)
    b.step("chdir", "/")


def prove_cwd(b: Builder) -> None:
    b.step("chdir", "/")
    b.getcwd()
    b.expect(SCRATCH, 1, ord("/"), ENOENT)
    close_others(b)


def identify(b: Builder, mask: int = 0, no_new_privs: bool = True) -> None:
    b.origin = "/process/user"
    b.step("setgroups", 0, 0)
    b.step("setresgid", 1, 1, 1)
    b.step("setresuid", 1, 1, 1)
    capset(b, mask)
    if no_new_privs:
        b.step("prctl", f.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def install_filter(b: Builder, flags: int = 0) -> None:
    b.step("seccomp", f.SECCOMP_SET_MODE_FILTER, flags, Data("sock_fprog", bytes(16), (3,)))


def listen(b: Builder, flags: int = f.SECCOMP_FILTER_FLAG_NEW_LISTENER) -> None:
    b.step("notify", flags, Data("sock_fprog", bytes(16), (3,)))


def close_others(b: Builder) -> None:
    b.step("close_range", 3, 0xFFFFFFFF, f.CLOSE_RANGE_CLOEXEC)


def execute(b: Builder) -> None:
    b.origin = "/process/args"
    b.step("execve", "/bin/sh", vector([b"sh"], "argv"), vector([b"A=1"], "envp"))


def finish(b: Builder, rootfs: Slot) -> Program:
    pivot(b, rootfs)
    prove_cwd(b)
    identify(b)
    b.sync(3)
    b.step("wait", b.inherit("listener"))
    install_filter(b)
    execute(b)
    return b.program


def whole() -> Program:
    """A program with a bit of everything."""
    b, rootfs = begin()
    b.origin = "/mounts/0"
    target = b.openat2(rootfs, "proc", f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name="target", tolerate=(ENOENT,))
    with b.if_failed(target):
        made = b.slot("made")
        b.mkdirat(rootfs, "proc", tolerate=(EEXIST,), out=made)
        b.release(made)
        b.openat2(rootfs, "proc", f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name=target)
    fs = b.fsopen("proc")
    b.fsconfig_create(fs)
    proc = b.fsmount(fs, 0, "proc")
    b.move_mount(proc, target)
    b.close(target)
    b.origin = "/linux/sysctl"
    fd = b.openat2(
        proc,
        "sys/net/ipv4/ip_forward",
        f.O_WRONLY,
        resolve=f.RESOLVE_BENEATH | f.RESOLVE_NO_XDEV,
        name="sysctl",
    )
    b.write(fd, "1")
    b.close(fd)
    b.close(proc)
    return finish(b, rootfs)


def refused(program: Program, why: str) -> Error:
    with pytest.raises(Error) as caught:
        verify(program)
    assert why in caught.value.message, caught.value.message
    assert "bug of pyrunc" in caught.value.message
    return caught.value


def find(program: Program, call: str, nth: int = 0) -> int:
    return [i for i, step in enumerate(program.steps) if step.call == call][nth]


def test_a_whole_program_is_accepted() -> None:
    verify(whole())


def test_a_refusal_names_the_step_its_line_and_its_pointer() -> None:
    program = whole()
    at = find(program, "openat2", 1)
    step = program.steps[at]
    step.args = (step.args[0], "proc/self", Data("open_how", bytes(24), (f.O_PATH | f.O_CLOEXEC, 0, 0)), 24)
    error = refused(program, "RESOLVE_IN_ROOT")
    assert error.pointer == "/mounts/0"
    assert f'step {at}, openat2(%rootfs, "proc/self", {{flags=O_PATH|O_CLOEXEC}}) = %target' in error.message


def test_it_is_fast_enough_to_run_at_every_create() -> None:
    b, rootfs = begin()
    while len(b.program.steps) < 250:
        fd = b.openat2(rootfs, "dev", f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name="dev", tolerate=(ENOENT,))
        with b.if_ok(fd):
            b.close(fd)
    program = finish(b, rootfs)
    best = 1.0
    for _ in range(50):
        start = time.perf_counter()
        verify(program)
        best = min(best, time.perf_counter() - start)
    # Some 0.4 ms; the bound only catches a second pass or worse on a slow and busy machine.
    assert best < 0.01


# -- steps taken away ------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "nth", "why"),
    [
        ("fchdir", 0, "fchdir comes first"),
        ("pivot_root", 0, "before the pivot"),
        ("umount2", 0, "old root is still mounted"),
        ("getcwd", 0, "working directory is not proven"),
        ("expect", -1, "working directory is not proven"),
        ("close_range", 0, "close_range"),
        ("setresuid", 0, "user is never set"),
        ("capset", 0, "capabilities"),
        ("open_tree", 0, "used before it is set"),
        ("fsopen", 0, "used before it is set"),
    ],
)
def test_a_program_without_a_step_that_protects_is_refused(call: str, nth: int, why: str) -> None:
    program = whole()
    del program.steps[find(program, call, nth)]
    refused(program, why)


def test_every_close_before_the_pivot_matters() -> None:
    program = whole()
    pivot_at = find(program, "pivot_root")
    closes = [i for i, step in enumerate(program.steps) if step.call == "close" and i < pivot_at]
    assert len(closes) == 6
    for at in closes:
        broken = whole()
        del broken.steps[at]
        with pytest.raises(Error, match=r"still open|place of a descriptor"):
            verify(broken)


# -- rule by rule: what is added to a program, and what verify says ------------------

Change = Callable[[Builder, Slot], Any]


def in_root(
    b: Builder, r: Slot, path: str = "etc", flags: int = f.O_PATH, resolve: int = f.RESOLVE_IN_ROOT
) -> Slot:
    return b.openat2(r, path, flags, resolve=resolve, name="inside")


def tmpfs(b: Builder) -> Slot:
    fs = b.fsopen("tmpfs")
    b.fsconfig_create(fs)
    return b.fsmount(fs, 0, "tmpfs")


def procfs(b: Builder) -> Slot:
    fs = b.fsopen("proc")
    b.fsconfig_create(fs)
    return b.fsmount(fs, 0, "procfs")


def host(b: Builder, path: str, flags: int = f.O_WRONLY) -> Slot:
    return b.openat2(f.AT_FDCWD, path, flags, resolve=0, name="host")


def before(*changes: Change) -> Program:
    b, rootfs = begin()
    for change in changes:
        change(b, rootfs)
    return finish(b, rootfs)


def closed_both(b: Builder, *slots: Slot) -> None:
    for slot in slots:
        b.close(slot)


def _openat(b: Builder, r: Slot, name: str, flags: int) -> Slot:
    out = b.slot("opened")
    b.step("openat", r, name, flags, 0, out=out)
    return out


def _ptmx(b: Builder) -> tuple[Slot, Slot]:
    fs = b.fsopen("devpts")
    b.fsconfig_create(fs)
    devpts = b.fsmount(fs, 0, "devpts")
    return _openat(b, devpts, "ptmx", f.O_RDWR | f.O_CLOEXEC), devpts


def _host_pair(b: Builder) -> tuple[Slot, Slot]:
    cgroup = host(b, "/sys/fs/cgroup", f.O_PATH | f.O_DIRECTORY)
    procs = b.openat2(cgroup, "a/b/cgroup.procs", f.O_WRONLY, resolve=0, name="procs")
    b.write(procs, "0")
    return cgroup, procs


def _mount_here(b: Builder, r: Slot) -> None:
    there = in_root(b, r)
    b.step("fchdir", there)
    b.step("mount", "overlay", ".", "overlay", 0, "lowerdir=/a:/b")
    b.close(there)


def _mode(b: Builder, r: Slot) -> Slot:
    b.statx(r, "", f.AT_EMPTY_PATH, f.STATX_BASIC_STATS)
    return b.load(STATX_MODE, 2, 0o7777, "mode")


def _read_mode(b: Builder, r: Slot) -> None:
    mode = _mode(b, r)
    b.step("fchmodat", r, ".", mode)
    b.release(mode)


def _keyring(b: Builder, sure: bool = True) -> None:
    ring = b.slot("keyring")
    b.step("keyctl", 1, "_ses", 0, 0, 0, out=ring, tolerate=(ENOSYS,))
    if sure:
        with b.if_ok(ring):
            b.step("keyctl", 5, ring, 0, 0, 0)
    else:
        b.step("keyctl", 5, ring, 0, 0, 0)


def _attached_proc_file(b: Builder, r: Slot, resolve: int) -> Slot:
    proc = procfs(b)
    b.move_mount(proc, in_root(b, r, "proc"))
    return b.openat2(proc, "sys/kernel/sem", f.O_WRONLY, resolve=resolve, name="sem")


def _prove(b: Builder, slot: Slot) -> None:
    b.expect_filesystem(slot, f.PROC_SUPER_MAGIC, EPERM, "not a procfs")


def _prove_other(b: Builder) -> None:
    fd = host(b, "/proc/self/oom_score_adj")
    _prove(b, host(b, "/proc/self/loginuid"))
    b.write(fd, "1")


def _prove_perhaps(b: Builder) -> None:
    fd = host(b, "/proc/self/oom_score_adj")
    b.step("fstatfs", fd, SCRATCH)
    b.expect(STATFS_TYPE, 8, f.PROC_SUPER_MAGIC, EPERM, tolerate=(EPERM,))
    b.write(fd, "1")


def _prove_in_condition(b: Builder) -> None:
    fd = host(b, "/proc/self/oom_score_adj")
    done = b.slot("done")
    b.step("setsid", out=done, tolerate=(EPERM,))
    with b.if_ok(done):
        _prove(b, fd)
    b.write(fd, "1")


def _prove_overwritten(b: Builder, r: Slot) -> None:
    fd = host(b, "/proc/self/oom_score_adj")
    b.step("fstatfs", fd, SCRATCH)
    b.statx(r, "", f.AT_EMPTY_PATH, 1)
    b.expect(STATFS_TYPE, 8, f.PROC_SUPER_MAGIC, EPERM)
    b.write(fd, "1")


def _maybe(b: Builder, r: Slot) -> Slot:
    return b.openat2(r, "x", f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name="maybe", tolerate=(ENOENT,))


def _reused(b: Builder, r: Slot) -> None:
    first = in_root(b, r)
    b.close(first)
    in_root(b, r)
    b.step("fchdir", first)


def _in_failed(b: Builder, r: Slot) -> None:
    slot = _maybe(b, r)
    with b.if_failed(slot):
        b.step("fchdir", slot)


def _half_open(b: Builder, r: Slot) -> None:
    slot = _maybe(b, r)
    with b.if_ok(slot):
        inner = in_root(b, r)
    b.step("fchdir", inner)


def _status_as_descriptor(b: Builder, r: Slot) -> None:
    made = b.slot("made")
    b.mkdirat(r, "x", tolerate=(EEXIST,), out=made)
    with b.if_ok(made):
        b.step("close", made)


def _again(b: Builder, r: Slot) -> None:
    slot = in_root(b, r)
    b.openat2(r, "y", f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name=slot)


def _attach_twice(b: Builder, r: Slot) -> None:
    for path in ("/a", "/b"):
        b.step("move_mount", r, "", f.AT_FDCWD, path, f.MOVE_MOUNT_F_EMPTY_PATH)


def _pivot_perhaps(b: Builder, r: Slot) -> None:
    b.step("fchdir", r)
    b.step("pivot_root", ".", ".", tolerate=(EPERM,))


def _after_close(b: Builder, r: Slot) -> None:
    b.close(r)
    b.mkdirat(r, "x")


def _close_twice(b: Builder, r: Slot) -> None:
    slot = in_root(b, r)
    b.close(slot)
    b.step("close", slot)


def _overlap(b: Builder, r: Slot) -> None:
    slot = _maybe(b, r)
    b.step("if_failed", slot, 1)
    b.step("if_failed", slot, 2)
    for _ in range(3):
        b.step("setsid")


ACCEPTED_BEFORE: dict[str, Change] = {
    "openat2 in the root": lambda b, r: b.close(in_root(b, r)),
    "openat2 beneath": lambda b, r: b.close(in_root(b, r, resolve=f.RESOLVE_BENEATH)),
    "openat2 without symlinks": lambda b, r: b.close(in_root(b, r, "a/b", resolve=f.RESOLVE_NO_SYMLINKS)),
    "mkdirat of a name": lambda b, r: b.mkdirat(r, "dev"),
    "mknodat of a name": lambda b, r: b.step("mknodat", r, "null", f.S_IFCHR | 0o666, 0x103),
    "symlinkat of a name": lambda b, r: b.step("symlinkat", "/proc/self/fd", r, "fd"),
    "fchownat of a name itself": lambda b, r: b.step("fchownat", r, "a", 0, 0, f.AT_SYMLINK_NOFOLLOW),
    "fchmodat of the directory itself": lambda b, r: b.step("fchmodat", r, ".", 0o755),
    "openat that does not follow": lambda b, r: b.step(
        "close", *[_openat(b, r, "a", f.O_CLOEXEC | f.O_NOFOLLOW)]
    ),
    "openat in a devpts": lambda b, r: closed_both(b, *_ptmx(b)),
    "statx of the descriptor": lambda b, r: b.statx(r, "", f.AT_EMPTY_PATH, f.STATX_BASIC_STATS),
    "statx of standard input": lambda b, r: b.statx(0, "", f.AT_EMPTY_PATH, f.STATX_BASIC_STATS),
    "mount_setattr of the descriptor": lambda b, r: b.mount_setattr(r, "", f.AT_EMPTY_PATH, mount_attr(1)),
    "mount_setattr of the root": lambda b, r: b.mount_setattr(
        f.AT_FDCWD, "/", f.AT_RECURSIVE, mount_attr(propagation=f.MS_SLAVE)
    ),
    "open_tree of a bind mount's source": lambda b, r: b.close(
        b.open_tree(f.AT_FDCWD, "/srv", f.OPEN_TREE_CLONE, "source")
    ),
    "a path of the host below its descriptor": lambda b, r: closed_both(b, *_host_pair(b)),
    "mount on the directory that was entered": _mount_here,
    "a hook": lambda b, r: b.step(
        "hook",
        "/usr/bin/hook",
        vector([b"hook"], "argv"),
        vector([], "envp"),
        b.inherit("state"),
        b.inherit("output"),
        1000,
    ),
    "a mode that was read": _read_mode,
    "a keyring's number": lambda b, r: _keyring(b),
}

REFUSED_BEFORE: dict[str, tuple[Change, str]] = {
    "openat2 without RESOLVE_IN_ROOT": (lambda b, r: in_root(b, r, resolve=0), "RESOLVE_IN_ROOT"),
    "openat2 with a path out": (
        lambda b, r: in_root(b, r, "../etc", resolve=f.RESOLVE_NO_SYMLINKS),
        "leads out by itself",
    ),
    "openat2 with an absolute path": (
        lambda b, r: in_root(b, r, "/etc", resolve=f.RESOLVE_NO_SYMLINKS),
        "leads out by itself",
    ),
    "openat2 below a slot from inside": (
        lambda b, r: in_root(b, in_root(b, r), "x", resolve=0),
        "RESOLVE_IN_ROOT",
    ),
    "openat2 below a new mount": (lambda b, r: in_root(b, tmpfs(b), "a", resolve=0), "RESOLVE_IN_ROOT"),
    "openat2 of the container's file by the host's path": (
        lambda b, r: b.openat2(f.AT_FDCWD, "rootfs/etc", f.O_PATH, resolve=0, name="x"),
        "absolute",
    ),
    "mkdirat of a path": (lambda b, r: b.mkdirat(r, "dev/shm"), "one name"),
    "mkdirat of ..": (lambda b, r: b.mkdirat(r, ".."), "one name"),
    "mkdirat by a path of the host": (
        lambda b, r: b.step("mkdirat", f.AT_FDCWD, "/srv", 0o755),
        "path of the host",
    ),
    "symlinkat at a path": (lambda b, r: b.step("symlinkat", "x", r, "dev/fd"), "one name"),
    "fchmodat, which follows": (lambda b, r: b.step("fchmodat", r, "tmp", 0o1777), "symbolic link"),
    "fchownat that follows": (lambda b, r: b.step("fchownat", r, "tmp", 0, 0, 0), "symbolic link"),
    "statx that follows": (lambda b, r: b.statx(r, "tmp", 0, 1), "symbolic link"),
    "openat that follows": (lambda b, r: _openat(b, r, "a", f.O_CLOEXEC), "symbolic link"),
    "open_tree of a path inside": (lambda b, r: b.open_tree(r, "etc/x", 0, "x"), "one name"),
    "open_tree that follows": (lambda b, r: b.open_tree(r, "etc", 0, "x"), "symbolic link"),
    "an empty path without its flag": (lambda b, r: b.mount_setattr(r, "", 0, mount_attr(1)), "flag"),
    "mount_setattr by path": (
        lambda b, r: b.mount_setattr(f.AT_FDCWD, "/srv", 0, mount_attr(1)),
        "descriptor",
    ),
    "move_mount to a path": (
        lambda b, r: b.step("move_mount", tmpfs(b), "", f.AT_FDCWD, "/mnt", f.MOVE_MOUNT_F_EMPTY_PATH),
        "only the root file system",
    ),
    "move_mount to a path twice": (_attach_twice, "by descriptor"),
    "chdir before the pivot": (lambda b, r: b.step("chdir", "/"), "by descriptor only"),
    "umount2 before the pivot": (lambda b, r: b.step("umount2", "/mnt", 2), "unmounted by path"),
    "execve before the pivot": (lambda b, r: execute(b), "never leaves the host's root"),
    "mount on a path": (lambda b, r: b.step("mount", "x", "/mnt", "tmpfs", 0, 0), "fchdir"),
    "fchdir to the host": (
        lambda b, r: b.step("fchdir", host(b, "/srv", f.O_PATH | f.O_DIRECTORY)),
        "inside the root",
    ),
    "pivot to a path": (lambda b, r: b.step("pivot_root", "/a", "/b"), "working directory"),
    "a pivot that may fail": (
        _pivot_perhaps,
        "must not depend",
    ),
    # /proc
    "a write to the host's /proc": (
        lambda b, r: b.write(host(b, "/proc/self/oom_score_adj"), "1"),
        "PROC_SUPER_MAGIC",
    ),
    "a write to /proc in the image": (
        lambda b, r: b.write(in_root(b, r, "proc/sys/kernel/sem", f.O_WRONLY), "1"),
        "PROC_SUPER_MAGIC",
    ),
    "a write over what is mounted on the procfs": (
        lambda b, r: b.write(_attached_proc_file(b, r, resolve=f.RESOLVE_BENEATH), "1"),
        "PROC_SUPER_MAGIC",
    ),
    "a proof of another descriptor": (lambda b, r: _prove_other(b), "PROC_SUPER_MAGIC"),
    "a proof that may fail": (lambda b, r: _prove_perhaps(b), "PROC_SUPER_MAGIC"),
    "a proof in a condition": (lambda b, r: _prove_in_condition(b), "PROC_SUPER_MAGIC"),
    "a proof that something else wrote over": (_prove_overwritten, "PROC_SUPER_MAGIC"),
    # slots
    "a slot that is never set": (lambda b, r: b.step("fchdir", b.slot("x")), "before it is set"),
    "a slot after its close": (_after_close, "is closed"),
    "a slot closed twice": (_close_twice, "is closed"),
    "a slot that took another's place": (_reused, "before it is set"),
    "a slot that may hold an errno": (lambda b, r: b.step("fchdir", _maybe(b, r)), "if_ok"),
    "a slot that surely holds an errno": (_in_failed, "holds an errno"),
    "a slot that one way leaves open": (_half_open, "one of two ways"),
    "a status for a descriptor": (_status_as_descriptor, "is no descriptor"),
    "a number for a descriptor": (lambda b, r: b.step("fchdir", _mode(b, r)), "is no descriptor"),
    "a number that may be an errno": (lambda b, r: _keyring(b, sure=False), "is no descriptor"),
    "a descriptor that gets lost": (_again, "place of a descriptor"),
    "a descriptor without a slot": (lambda b, r: b.step("fsopen", "tmpfs", 1), "no slot"),
    "a descriptor as a number": (lambda b, r: b.step("fchdir", 7), "in a slot"),
    "a directory descriptor as a number": (lambda b, r: b.step("mkdirat", 7, "x", 0o755), "in a slot"),
    "too many slots": (lambda b, r: [in_root(b, r) for _ in range(128)], "beyond the 128 slots"),
    "a condition on nothing": (lambda b, r: b.if_ok(b.slot("x")).__exit__(), "before it is set"),
    "a condition past the end": (lambda b, r: b.step("if_ok", _maybe(b, r), 1000), "outside the steps"),
    "conditions that overlap": (_overlap, "outside the steps"),
    # data
    "openat2 without O_CLOEXEC": (
        lambda b, r: b.step(
            "openat2", r, "x", Data("open_how", bytes(24), (f.O_PATH, 0, 16)), 24, out=b.slot("x")
        ),
        "O_CLOEXEC",
    ),
    "openat without O_CLOEXEC": (lambda b, r: _openat(b, r, "a", f.O_NOFOLLOW), "O_CLOEXEC"),
    "fsopen without CLOEXEC": (lambda b, r: b.step("fsopen", "tmpfs", 0, out=b.slot("x")), "FSOPEN_CLOEXEC"),
    "fsmount without CLOEXEC": (
        lambda b, r: b.step("fsmount", b.fsopen("tmpfs"), 0, 0, out=b.slot("x")),
        "FSMOUNT_CLOEXEC",
    ),
    "open_tree without CLOEXEC": (
        lambda b, r: b.step("open_tree", f.AT_FDCWD, "/srv", 1, out=b.slot("x")),
        "OPEN_TREE_CLOEXEC",
    ),
    "dup3 beyond standard error": (lambda b, r: b.step("dup3", b.inherit("output"), 5, 0), "O_CLOEXEC"),
    "dup3 of a directory": (lambda b, r: b.step("dup3", r, 0, 0), "copy of a directory"),
    "a size beyond the data": (
        lambda b, r: b.step("write", b.inherit("output"), "abc", 9),
        "beyond the data",
    ),
    "a size beyond the structure": (
        lambda b, r: b.step("mount_setattr", r, "", f.AT_EMPTY_PATH, mount_attr(1), 64),
        "beyond the data",
    ),
    "another structure": (
        lambda b, r: b.step("mount_setattr", r, "", f.AT_EMPTY_PATH, Data("rlimit", bytes(32)), 32),
        "no mount_attr",
    ),
    "an argument of another kind": (lambda b, r: b.step("mkdirat", r, 5, 0o755), "does not take"),
    "too many arguments": (lambda b, r: b.step("setsid", 1), "too many arguments"),
    "a missing size": (lambda b, r: b.step("write", b.inherit("output"), "abc"), "size is missing"),
    "a value stored outside": (lambda b, r: b.store(mount_attr(1), 30, r, 4), "outside the data"),
    "too many tolerated errnos": (lambda b, r: b.step("setsid", tolerate=tuple(range(1, 10))), "at most 8"),
    "an errno that does not fit": (lambda b, r: b.step("setsid", tolerate=(256,)), "below 256"),
    "an unknown call": (lambda b, r: b.step("open_by_handle_at"), "there is no call"),
    "setns into anything": (
        lambda b, r: b.step("setns", host(b, "/proc/1/ns/net", 0), 0),
        "kind of the namespace",
    ),
    "an expectation of nothing": (lambda b, r: b.step("expect", SCRATCH, 0, -1, 0, EPERM), "1 to 8 bytes"),
}


@pytest.mark.parametrize("name", ACCEPTED_BEFORE)
def test_accepted_before_the_pivot(name: str) -> None:
    verify(before(ACCEPTED_BEFORE[name]))


@pytest.mark.parametrize("name", REFUSED_BEFORE)
def test_refused_before_the_pivot(name: str) -> None:
    change, why = REFUSED_BEFORE[name]
    refused(before(change), why)


def test_proven_procfs_may_be_written() -> None:
    def host_file(b: Builder, r: Slot) -> None:
        fd = host(b, "/proc/self/oom_score_adj")
        _prove(b, fd)
        b.write(fd, "1")
        b.close(fd)

    def below_proven_directory(b: Builder, r: Slot) -> None:
        proc = host(b, "/proc", f.O_PATH | f.O_DIRECTORY)
        _prove(b, proc)
        fd = b.openat2(proc, "self/attr/exec", f.O_WRONLY, resolve=f.RESOLVE_NO_XDEV, name="attr")
        b.write(fd, "x")
        closed_both(b, fd, proc)

    def own(b: Builder, r: Slot) -> None:
        proc = procfs(b)
        fd = b.openat2(proc, "sys/kernel/sem", f.O_WRONLY, resolve=f.RESOLVE_BENEATH, name="sem")
        b.write(fd, "x")
        closed_both(b, fd, proc)

    verify(before(host_file, below_proven_directory, own))


def test_an_alternative_makes_a_slot_sure() -> None:
    def alternative(b: Builder, r: Slot) -> None:
        slot = _maybe(b, r)
        with b.if_failed(slot):
            b.openat2(r, "y", f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name=slot)
        b.close(slot)

    def giving_up(b: Builder, r: Slot) -> None:
        slot = _maybe(b, r)
        with b.if_failed(slot):
            b.fail(ENOENT, "there is none")
        b.close(slot)

    def nested(b: Builder, r: Slot) -> None:
        slot = _maybe(b, r)
        with b.if_ok(slot):
            inner = _maybe(b, slot)
            with b.if_ok(inner):
                b.close(inner)
            b.close(slot)
        with b.if_failed(slot):
            other = _maybe(b, r)
            with b.if_ok(other):
                b.close(other)

    verify(before(alternative, giving_up, nested))


# -- after the pivot ------------------------------------------------------------------


def after(*changes: Callable[[Builder], Any], open_first: Callable[[Builder], Slot] | None = None) -> Program:
    b, rootfs = begin()
    slot = open_first(b) if open_first else None
    pivot(b, rootfs)
    for change in changes:
        change(b) if slot is None else change(b, slot)  # type: ignore[call-arg]
    prove_cwd(b)
    identify(b)
    b.step("wait", b.inherit("listener"))
    execute(b)
    return b.program


def test_paths_after_the_pivot_are_the_containers() -> None:
    def look(b: Builder) -> None:
        fd = b.openat2(f.AT_FDCWD, "/etc/passwd", 0, resolve=0, name="passwd")
        b.step("faccessat2", f.AT_FDCWD, "/bin/sh", 1, f.AT_EACCESS)
        b.close(fd)

    verify(after(look))


@pytest.mark.parametrize(
    "use",
    [
        lambda b, s: b.step("fchdir", s),
        lambda b, s: b.mkdirat(s, "x"),
        lambda b, s: b.openat2(s, "etc", f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name="etc"),
        lambda b, s: b.step("mount_setattr", s, "", f.AT_EMPTY_PATH, mount_attr(1), 32),
    ],
)
def test_no_directory_of_the_host_is_used_after_the_pivot(use: Callable[[Builder, Slot], None]) -> None:
    def directory(b: Builder) -> Slot:
        return host(b, "/srv", f.O_PATH | f.O_DIRECTORY)

    refused(after(use, open_first=directory), "the pivot is over")  # type: ignore[arg-type]


def test_an_inherited_descriptor_is_no_way_back_to_the_host() -> None:
    def climb(b: Builder) -> None:
        b.openat2(b.inherit("state"), "etc", f.O_PATH, resolve=0, name="etc")

    refused(after(climb), "comes from the host")


def test_descriptors_from_before_the_pivot_are_closed_before_start() -> None:
    refused(after(lambda b, s: None, open_first=lambda b: host(b, "/tmp/file")), "still open")  # type: ignore[arg-type,misc]
    verify(after(lambda b, s: b.close(s), open_first=lambda b: host(b, "/tmp/file")))  # type: ignore[arg-type,misc]


def _write_attribute(b: Builder, *, proven: bool, crossing: bool, whole: bool = True) -> None:
    """A write to a file of /proc, which is proven as a directory, or (whole=False) as that file."""
    resolve = f.RESOLVE_BENEATH | (0 if crossing else f.RESOLVE_NO_XDEV)
    if whole:
        proc = b.openat2(-100, "/proc", f.O_PATH | f.O_DIRECTORY, resolve=0, name="proc")
        if proven:
            _prove(b, proc)
        fd = b.openat2(proc, "thread-self/attr/exec", f.O_WRONLY, resolve=resolve, name="attribute")
        b.close(proc)
    else:
        fd = b.openat2(-100, "/proc/thread-self/attr/exec", f.O_WRONLY, resolve=resolve, name="attribute")
        _prove(b, fd)
    b.write(fd, "label")
    b.close(fd)


def test_an_attribute_is_written_through_a_proc_that_is_proven() -> None:
    verify(after(lambda b, *_: _write_attribute(b, proven=True, crossing=False)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda b: b.write(b.openat2(-100, "/proc/sys/x", 1, resolve=0, name="x"), "1"), "PROC_SUPER_MAGIC"),
        (lambda b: _write_attribute(b, proven=True, crossing=False, whole=False), "PROC_SUPER_MAGIC"),
        (lambda b: _write_attribute(b, proven=True, crossing=True), "PROC_SUPER_MAGIC"),
        (lambda b: _write_attribute(b, proven=False, crossing=False), "PROC_SUPER_MAGIC"),
        (lambda b: b.step("pivot_root", ".", "."), "one pivot"),
        (lambda b: b.step("mount_setattr", -100, "/proc", 0, mount_attr(1), 32), "by descriptor"),
        (lambda b: b.step("close_range", 3, 0xFFFFFFFF, 0), "CLOSE_RANGE_CLOEXEC"),
        (lambda b: b.step("close_range", 0, 0xFFFFFFFF, 4), "have to stay open"),
    ],
)
def test_refused_after_the_pivot(change: Callable[[Builder], Any], why: str) -> None:
    refused(after(change), why)


def test_the_working_directory_is_proven_after_its_last_change() -> None:
    program = after()
    at = find(program, "expect") + 1
    program.steps.insert(at, Step("chdir", ("/srv",), None, (), "", "", ""))
    refused(program, "working directory is not proven")


def test_a_working_directory_that_is_unreachable_is_no_proof() -> None:
    program = after()
    step = program.steps[find(program, "expect")]
    step.args = (*step.args[:3], ord("("), ENOENT)
    refused(program, "working directory is not proven")
    program = after()
    step = program.steps[find(program, "expect")]
    step.args = (Scratch(8), *step.args[1:])
    refused(program, "working directory is not proven")


def test_chroot_stands_for_the_pivot() -> None:
    b, rootfs = begin()
    b.step("umount2", "/sys", f.UMOUNT_MNT_DETACH)
    b.step("move_mount", rootfs, "", f.AT_FDCWD, "/", f.MOVE_MOUNT_F_EMPTY_PATH)
    b.step("fchdir", rootfs)
    b.close(rootfs)
    b.step("chroot", ".")
    prove_cwd(b)
    identify(b)
    execute(b)
    verify(b.program)


def joining(flags: int) -> Program:
    """The program of exec: it enters a container's namespaces."""
    b = Builder()
    for name in ("report", "command", "pidfd"):
        b.inherit(name)
    cgroup = host(b, "/sys/fs/cgroup/x/cgroup.procs")
    b.write(cgroup, "0")
    b.close(cgroup)
    b.step("prctl", f.PR_SET_DUMPABLE, 0, 0, 0, 0)
    b.step("setns", b.inherit("pidfd"), flags)
    b.clone(0)
    prove_cwd(b)
    identify(b)
    execute(b)
    return b.program


def test_entering_a_mount_namespace_stands_for_the_pivot() -> None:
    verify(joining(f.CLONE_NEWNS | f.CLONE_NEWPID))
    refused(joining(f.CLONE_NEWPID), "before the pivot")


def test_who_a_process_was_before_its_clone_is_not_its_user() -> None:
    program = joining(f.CLONE_NEWNS | f.CLONE_NEWUSER | f.CLONE_NEWPID)
    user = program.steps[find(program, "setresuid")]
    program.steps.insert(find(program, "clone"), user)
    verify(program)
    del program.steps[find(program, "setresuid", 1)]
    refused(program, "user is never set")


def test_who_joins_a_user_namespace_cannot_be_traced_from_it() -> None:
    program = joining(f.CLONE_NEWNS | f.CLONE_NEWUSER)
    hiding = program.steps[find(program, "prctl")]
    hiding.args = (f.PR_SET_DUMPABLE, 1, 0, 0, 0)
    refused(program, "could trace this one")
    hiding.args = (f.PR_SET_DUMPABLE, 0, 0, 0, 0)
    program.steps.insert(find(program, "setns") + 1, program.steps.pop(find(program, "prctl")))
    refused(program, "could trace this one")


def test_a_mount_namespace_joined_on_the_second_try_counts() -> None:
    b = Builder()
    for name in ("report", "command"):
        b.inherit(name)
    mnt = host(b, "/proc/7/ns/mnt", 0)
    done = b.slot("done")
    b.step("setns", mnt, f.CLONE_NEWNS, tolerate=(EPERM,), out=done)
    with b.if_failed(done):
        b.step("setns", mnt, f.CLONE_NEWNS)
    b.close(mnt)
    prove_cwd(b)
    identify(b)
    execute(b)
    verify(b.program)
    del b.program.steps[find(b.program, "setns", 1)]
    b.program.steps[find(b.program, "if_failed")].args = (done, 0)
    refused(b.program, "before the pivot")


# -- the order on the way to execve ---------------------------------------------------


def ending(*changes: Callable[[Builder], Any]) -> Program:
    b, rootfs = begin()
    pivot(b, rootfs)
    prove_cwd(b)
    for change in changes:
        change(b)
    execute(b)
    return b.program


NO_PRIVS: Callable[[Builder], Any] = lambda b: b.step("prctl", f.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # noqa: E731


@pytest.mark.parametrize(
    "changes",
    [
        (identify, install_filter),
        (lambda b: identify(b, CAP_SYS_ADMIN, False), install_filter, capset),
        (lambda b: identify(b, CAP_SYS_ADMIN, False), install_filter),
        (lambda b: identify(b, 0, False),),
    ],
)
def test_orders_that_the_kernel_and_the_filter_allow(changes: tuple[Callable[[Builder], Any], ...]) -> None:
    verify(ending(*changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ((capset, lambda b: b.step("setresuid", 1, 1, 1)), "before the user and group"),
        ((identify, lambda b: b.step("setgroups", 0, 0)), "before the user and group"),
        ((lambda b: b.step("setresuid", 1, 1, 1),), "or not at all"),
        ((lambda b: identify(b, 0, False), install_filter, NO_PRIVS), "needs no_new_privs"),
        ((lambda b: identify(b, 1 << 21, False), install_filter, NO_PRIVS), "before the filter"),
        ((identify, install_filter, capset), "comes after the capabilities"),
        ((identify, install_filter, lambda b: b.step("setsid")), "before the filter"),
        ((identify, install_filter, close_others), "before the filter"),
        ((identify, listen, lambda b: b.sync(3)), "before the filter"),
        ((lambda b: identify(b, 0, False), listen, NO_PRIVS), "needs no_new_privs"),
        ((identify, lambda b: install_filter(b, f.SECCOMP_FILTER_FLAG_NEW_LISTENER)), "by notify"),
        ((identify, lambda b: listen(b, 0)), "no listener"),
        ((identify, lambda b: listen(b, f.SECCOMP_FILTER_FLAG_NEW_LISTENER | 1)), "bind the thread"),
        ((identify, install_filter, lambda b: b.sync(3)), "before the filter"),
        (
            (identify, lambda b: b.step(
                "seccomp", 1, 0, Data("sock_fprog", bytes(16), (3,)), tolerate=(EACCES,), out=b.slot("x")
            )),
            "may be missing",
        ),
        ((identify, lambda b: b.step("wait", b.inherit("listener")), lambda b: b.sync(3)), "runtime is gone"),
    ],
)  # fmt: skip
def test_orders_that_leave_privilege_or_cannot_work(
    changes: tuple[Callable[[Builder], Any], ...], why: str
) -> None:
    refused(ending(*changes), why)


def test_a_path_lookup_needs_an_end() -> None:
    program = whole()
    step = program.steps[-1]
    step.out, step.tolerate = Slot(40, "execve"), (ENOENT,)
    refused(program, "goes past its end")
    program.steps.append(Step("fail", (ENOENT,), None, (), "", "", "not found"))
    verify(program)


def test_too_many_inherited_descriptors_are_refused() -> None:
    program = Program()
    program.inherited = {str(i): Slot(i, str(i)) for i in range(33)}
    with pytest.raises(Error, match="beyond the first 32"):
        verify(program)
    program.inherited = {"a": Slot(1, "a"), "b": Slot(1, "b")}
    with pytest.raises(Error, match="same slot"):
        verify(program)


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("prlimit64", (17, 7, 0, 0)),
        ("sched_setattr", (17, Data("sched_attr", bytes(56)), 0)),
        ("sched_setaffinity", (17, 8, Data("cpu_set", bytes(8)))),
        ("ioprio_set", (1, 17, 0)),
    ],
)
def test_a_process_changes_no_other(call: str, args: tuple[Any, ...]) -> None:
    b, rootfs = begin()
    b.step(call, *args)
    refused(finish(b, rootfs), "a process changes itself only")


def test_a_mask_of_cpus_is_as_long_as_the_kernel_is_told() -> None:
    b, rootfs = begin()
    b.step("sched_setaffinity", 0, 16, Data("cpu_set", bytes(8)))
    refused(finish(b, rootfs), "the size is not that of the data")
