"""What `plan` prints and what a failed step tells: lines that read like strace's, sentences with a remedy."""

import json
import os
from errno import EACCES, EINVAL, ELOOP, ENODEV, ENOENT, ENOSYS, EPERM, ETIMEDOUT, EXDEV
from typing import Any

import pytest

from pyrunc.linux import flags as f
from pyrunc.program.build import STATX_MODE, Builder, mount_attr, vector
from pyrunc.program.explain import document, failure, line, lines
from pyrunc.program.model import SCRATCH, Data, Scratch, Slot, Step

ROOTFS = Slot(5, "rootfs")


def step(
    call: str, *args: Any, out: Slot | None = None, tolerate: tuple[int, ...] = (), note: str = ""
) -> Step:
    return Step(call, args, out, tolerate, "/mounts/3", "mounts", note)


def one(builder: Builder) -> str:
    return line(builder.program.steps[-1])


def test_a_line_of_openat2() -> None:
    b = Builder()
    b.openat2(
        ROOTFS,
        "dev/shm",
        f.O_PATH | f.O_DIRECTORY,
        resolve=f.RESOLVE_IN_ROOT,
        name="dev/shm",
        tolerate=(ENOENT,),
    )
    assert one(b) == (
        'openat2(%rootfs, "dev/shm", {flags=O_PATH|O_DIRECTORY|O_CLOEXEC, resolve=RESOLVE_IN_ROOT})'
        " = %dev/shm  [ENOENT: go on]"
    )


HIGH_CAPS = Data("capabilities", bytes(24), (1 << 21 | 1 << 40, 1, 0))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (step("mkdirat", ROOTFS, "dev", 0o755), 'mkdirat(%rootfs, "dev", 0755)'),
        (
            step("openat", ROOTFS, "a", f.O_RDWR | f.O_CREAT | f.O_EXCL, 0o600),
            'openat(%rootfs, "a", O_RDWR|O_CREAT|O_EXCL, 0600)',
        ),
        (
            step("mknodat", ROOTFS, "null", f.S_IFCHR | 0o666, 0x103),
            'mknodat(%rootfs, "null", 020666, makedev(1, 3))',
        ),
        (step("unlinkat", ROOTFS, "x", f.AT_REMOVEDIR), 'unlinkat(%rootfs, "x", AT_REMOVEDIR)'),
        (
            step("faccessat2", f.AT_FDCWD, "/bin/sh", 1, f.AT_EACCESS),
            'faccessat2(AT_FDCWD, "/bin/sh", X_OK, AT_EACCESS)',
        ),
        (
            step("open_tree", f.AT_FDCWD, b"/srv", f.OPEN_TREE_CLONE | f.OPEN_TREE_CLOEXEC | f.AT_RECURSIVE),
            'open_tree(AT_FDCWD, "/srv", OPEN_TREE_CLONE|AT_RECURSIVE|OPEN_TREE_CLOEXEC)',
        ),
        (
            step("fsconfig", ROOTFS, f.FSCONFIG_SET_STRING, "size", "1m", 0),
            'fsconfig(%rootfs, FSCONFIG_SET_STRING, "size", "1m", 0)',
        ),
        (
            step("fsconfig", ROOTFS, f.FSCONFIG_SET_FLAG, "ro", 0, 0),
            'fsconfig(%rootfs, FSCONFIG_SET_FLAG, "ro", NULL, 0)',
        ),
        (
            step("fsmount", ROOTFS, 1, f.MOUNT_ATTR_NOSUID | f.MOUNT_ATTR_NODEV),
            "fsmount(%rootfs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV)",
        ),
        (
            step(
                "mount_setattr",
                ROOTFS,
                "",
                f.AT_EMPTY_PATH | f.AT_RECURSIVE,
                mount_attr(1, 0x70 | 2, f.MS_SLAVE),
                32,
            ),
            (
                'mount_setattr(%rootfs, "", AT_EMPTY_PATH|AT_RECURSIVE, {attr_set=MOUNT_ATTR_RDONLY, '
                "attr_clr=MOUNT_ATTR__ATIME|MOUNT_ATTR_NOSUID, propagation=MS_SLAVE})"
            ),
        ),
        (step("umount2", ".", f.UMOUNT_MNT_DETACH), 'umount2(".", MNT_DETACH)'),
        (step("unshare", f.CLONE_NEWUSER), "unshare(CLONE_NEWUSER)"),
        (step("prctl", f.PR_CAPBSET_DROP, 21, 0, 0, 0), "prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0)"),
        (
            step("prctl", f.PR_CAP_AMBIENT, f.PR_CAP_AMBIENT_RAISE, 5, 0, 0),
            "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)",
        ),
        (step("prctl", f.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)"),
        (
            step("prlimit64", 0, 7, Data("rlimit", bytes(16), (1024, 2**64 - 1)), 0),
            "prlimit64(0, RLIMIT_NOFILE, {rlim_cur=1024, rlim_max=RLIM_INFINITY}, 0)",
        ),
        (
            step("capset", Data("capability_header", bytes(8), ("v3",)), HIGH_CAPS),
            (
                "capset({version=v3, pid=0}, {effective=CAP_SYS_ADMIN|CAP_CHECKPOINT_RESTORE, "
                "permitted=CAP_CHOWN, inheritable=0})"
            ),
        ),
        (step("setgroups", 2, Data("groups", bytes(8), (5, 6))), "setgroups(2, [5, 6])"),
        (
            step("seccomp", 1, f.SECCOMP_FILTER_FLAG_LOG, Data("sock_fprog", bytes(16), (42,))),
            "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, {42 instructions})",
        ),
        (
            step("bpf", f.BPF_PROG_LOAD, Data("bpf_attr", bytes(64), (15, 9)), 64),
            "bpf(BPF_PROG_LOAD, bpf_attr{15, 9})",
        ),
        (
            step("ioctl", ROOTFS, f.IOCTL_TIOCGPTPEER, f.O_RDWR | f.O_NOCTTY),
            "ioctl(%rootfs, TIOCGPTPEER, O_RDWR|O_NOCTTY)",
        ),
        (step("ioctl", ROOTFS, f.IOCTL_TIOCSCTTY, 0), "ioctl(%rootfs, TIOCSCTTY, 0)"),
        (
            step("close_range", 3, 0xFFFFFFFF, f.CLOSE_RANGE_CLOEXEC),
            "close_range(3, ~0U, CLOSE_RANGE_CLOEXEC)",
        ),
        (
            step(
                "execve",
                "/bin/sh",
                vector([b"sh", b"-c", b"exit 1"], "argv"),
                vector([b"A=1", b"B=2"], "envp"),
            ),
            'execve("/bin/sh", ["sh", "-c", "exit 1"], [2 variables])',
        ),
        (
            step("statx", ROOTFS, "", f.AT_EMPTY_PATH, f.STATX_TYPE, SCRATCH),
            'statx(%rootfs, "", AT_EMPTY_PATH, STATX_TYPE, buffer)',
        ),
        (
            step("expect", STATX_MODE, 2, f.S_IFMT, f.S_IFCHR, EXDEV),
            "expect(buffer[28:30] & 0170000 == 020000, else EXDEV)",
        ),
        (
            step("expect", Scratch(0), 8, -1, f.PROC_SUPER_MAGIC, EPERM),
            "expect(buffer[0:8] == 0x9fa0, else EPERM)",
        ),
        (step("expect", Scratch(0), 1, -1, 0x2F, ENOENT), 'expect(buffer[0:1] == "/", else ENOENT)'),
        (step("fail", EACCES), "fail(EACCES)"),
        (step("if_failed", ROOTFS, 4), "if_failed(%rootfs):"),
        (
            step("symlinkat", 'a"b\\\n\x01é\udcff', ROOTFS, "x"),
            r'symlinkat("a\"b\\\n\x01é\xff", %rootfs, "x")',
        ),
        (step("setns", ROOTFS, f.CLONE_NEWNS | 1 << 50), "setns(%rootfs, CLONE_NEWNS|0x4000000000000)"),
    ],
)
def test_lines_read_like_strace(given: Step, shown: str) -> None:
    assert line(given) == shown


def test_a_broken_step_still_has_a_line() -> None:
    assert line(step("expect", 1, 2)) == "expect(1, 2)"
    assert line(step("no_such_call", 1)) == "no_such_call(1)"


def small() -> Builder:
    b = Builder()
    b.phase, b.origin = "rootfs", "/root/path"
    rootfs = b.open_tree(f.AT_FDCWD, "/b/rootfs", f.OPEN_TREE_CLONE, "rootfs")
    b.phase, b.origin = "devices", ""
    found = b.openat2(rootfs, "dev", f.O_PATH, resolve=f.RESOLVE_IN_ROOT, name="dev", tolerate=(ENOENT,))
    with b.if_failed(found):
        b.mkdirat(rootfs, "dev")
        with b.if_ok(rootfs):
            b.fail(ENOENT, "no /dev")
    b.close(rootfs)
    b.warn("/process/capabilities", "CAP_X is not a capability; it is left out")
    return b


def test_a_plan_is_grouped_by_phase_numbered_and_indented() -> None:
    shown = lines(small().program)
    assert [row.strip() for row in shown if row.endswith(":") and not row.startswith(" ")] == [
        "rootfs:",
        "devices:",
    ]
    numbered = [row for row in shown if row[:5].strip().isdigit()]
    assert [int(row[:5]) for row in numbered] == list(range(7))
    assert [len(row[7:]) - len(row[7:].lstrip()) for row in numbered] == [0, 0, 0, 2, 2, 4, 0]


def test_pointers_stand_in_a_column_and_can_be_left_out() -> None:
    shown = lines(small().program)
    pointed = [row for row in shown if row.endswith("  /root/path")]
    assert len(pointed) == 1
    # One long line does not push the pointers out of sight.
    assert pointed[0].index("/root/path") == 102
    assert not any("/root/path" in row for row in lines(small().program, pointers=False))


def test_the_document_is_json_and_complete() -> None:
    b = small()
    b.step("write", b.inherit("output"), b"\xff\0", 2)
    found = json.loads(json.dumps(document(b.program)))
    assert found["inherited"] == ["output"]
    assert found["warnings"][0]["pointer"] == "/process/capabilities"
    steps = found["steps"]
    assert [entry["index"] for entry in steps] == list(range(8))
    assert steps[1]["call"] == "openat2"
    assert steps[1]["arguments"] == [
        "%rootfs",
        '"dev"',
        "{flags=O_PATH|O_CLOEXEC, resolve=RESOLVE_IN_ROOT}",
        "24",
    ]
    assert steps[1]["values"][2] == {
        "data": "open_how",
        "fields": [f.O_PATH | f.O_CLOEXEC, 0, f.RESOLVE_IN_ROOT],
    }
    assert (steps[1]["result"], steps[1]["tolerates"]) == ("dev", ["ENOENT"])
    assert (steps[0]["pointer"], steps[0]["phase"]) == ("/root/path", "rootfs")
    assert [entry["depth"] for entry in steps] == [0, 0, 0, 1, 1, 2, 0, 0]


# -- failures ---------------------------------------------------------------------------


def told(given: Step, errno: int) -> str:
    return failure(given, errno, -errno, "")


def test_a_failed_mount_names_call_destination_errno_and_remedy() -> None:
    message = told(step("fsopen", "tmpfs", 1, note="for /dev/shm"), EPERM)
    assert message.startswith('fsopen("tmpfs") for /dev/shm: Operation not permitted (EPERM): ')
    assert "CAP_SYS_ADMIN" in message


@pytest.mark.parametrize(
    ("given", "errno", "parts"),
    [
        (step("fsopen", "nfs9", 1), ENODEV, ['fsopen("nfs9")', "(ENODEV)", "type of file system"]),
        (step("fsconfig", ROOTFS, 1, "sise", "1m", 0), EINVAL, ['"sise"', "refused the option"]),
        (
            step("openat2", ROOTFS, "etc", Data("open_how", bytes(24), (0, 0, 16)), 24),
            ELOOP,
            ["symbolic link"],
        ),
        (
            step("openat2", ROOTFS, "etc", Data("open_how", bytes(24), (0, 0, 16)), 24),
            EXDEV,
            ["leads out of the root"],
        ),
        (step("move_mount", ROOTFS, "", ROOTFS, "", 0), EINVAL, ["move_mount(%rootfs, %rootfs)"]),
        (step("statx", ROOTFS, "a", 0, 1, SCRATCH), ENOSYS, ["Linux 5.12"]),
        (
            step("prctl", f.PR_CAPBSET_DROP, 5, 0, 0, 0),
            EPERM,
            ["prctl(PR_CAPBSET_DROP, CAP_KILL)", "privilege"],
        ),
        (
            step("write", ROOTFS, "1", 1, note="the kernel parameter x.y"),
            EINVAL,
            [": the kernel parameter x.y: "],
        ),
    ],
)
def test_failures_tell_what_to_do(given: Step, errno: int, parts: list[str]) -> None:
    message = told(given, errno)
    assert os.strerror(errno) in message
    for part in parts:
        assert part in message


def test_a_missing_executable_reads_as_engines_expect() -> None:
    missing = step("execve", "/bin/foo", vector([b"foo"], "argv"), vector([], "envp"))
    assert 'exec "/bin/foo": no such file or directory' in told(missing, ENOENT)
    assert 'exec "/bin/foo": permission denied' in told(missing, EACCES)
    looked_up = step("faccessat2", f.AT_FDCWD, "/bin/foo", 1, 0)
    assert 'exec "/bin/foo": permission denied' in told(looked_up, EACCES)
    directory = step("refuse", 28, 2, 0xF000, 0x4000, EACCES, note='exec "/bin": it is a directory')
    assert told(directory, EACCES) == 'exec "/bin": it is a directory: permission denied (EACCES)'
    given_up = step("fail", ENOENT, note='"foo": executable file not found in $PATH')
    assert told(given_up, ENOENT) == '"foo": executable file not found in $PATH'


@pytest.mark.parametrize("errno", [EPERM, EACCES])
def test_a_process_with_a_label_may_be_refused_for_that(errno: int) -> None:
    words = (vector([b"foo"], "argv"), vector([], "envp"))
    labelled = step("execve", "/bin/foo", *words, note='with the SELinux label "box_t"')
    assert 'the security module forbids it with the SELinux label "box_t"' in told(labelled, errno)
    assert "security module" not in told(step("execve", "/bin/foo", *words), errno)


def test_an_expectation_tells_what_was_expected() -> None:
    proof = step(
        "expect", Scratch(0), 8, -1, f.PROC_SUPER_MAGIC, EPERM, note="/proc is not a proc file system"
    )
    assert told(proof, EPERM) == "/proc is not a proc file system: Operation not permitted (EPERM)"


@pytest.mark.parametrize(
    ("value", "output", "message"),
    [
        (
            3 << 8,
            "no such interface\n",
            'the hook "/usr/bin/net" failed with exit status 3: no such interface',
        ),
        (9, "", 'the hook "/usr/bin/net" was killed by signal 9'),
        (11 | 0x80, "", 'the hook "/usr/bin/net" was killed by signal 11'),
        (
            -ETIMEDOUT,
            "",
            'the hook "/usr/bin/net" did not end within 2.5 s and was killed; raise its timeout or mend it',
        ),
        (
            -EACCES,
            "",
            'the hook "/usr/bin/net" could not run: Permission denied (EACCES): make it executable',
        ),
    ],
)
def test_a_failed_hook_tells_how_and_what_it_said(value: int, output: str, message: str) -> None:
    hook = step("hook", "/usr/bin/net", vector([], "argv"), vector([], "envp"), ROOTFS, ROOTFS, 2500)
    assert failure(hook, max(-value, 0), value, output) == message
