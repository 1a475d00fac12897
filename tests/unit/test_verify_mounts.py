"""What `verify` accepts and refuses of the mount API: id mappings, fspick, and unmounting."""

from collections.abc import Callable
from typing import Any

import pytest
from test_verify import before, host, in_root, refused, tmpfs

from pyrunc.linux import flags as f
from pyrunc.program.build import STATFS_TYPE, Builder, mount_attr
from pyrunc.program.model import SCRATCH, Data, Slot
from pyrunc.program.verify import verify

Change = Callable[[Builder, Slot], Any]


def map_ids(
    b: Builder, mount: Slot, *, store: bool = True, namespace: Slot | None = None, offset: int = 24,
    width: int = 8,
) -> None:
    attr = mount_attr(f.MOUNT_ATTR_IDMAP)
    if store:
        b.store(attr, offset, namespace or b.program.inherited["state"], width)
    b.mount_setattr(mount, "", f.AT_EMPTY_PATH, attr)
    b.close(mount)


def mapped(b: Builder, r: Slot) -> None:
    map_ids(b, b.open_tree(f.AT_FDCWD, "/srv", f.OPEN_TREE_CLONE, "tree"))


def unmounted(b: Builder, r: Slot) -> None:
    own, there = tmpfs(b), in_root(b, r)
    b.move_mount(own, there)
    b.step("fchdir", own)
    b.step("umount2", ".", f.UMOUNT_MNT_DETACH)
    b.close(own)
    b.close(there)


def reconfigured(b: Builder, r: Slot) -> None:
    there = in_root(b, r)
    fs = b.fspick(there)
    b.step("fsconfig", fs, f.FSCONFIG_CMD_RECONFIGURE, 0, 0, 0)
    b.close(fs)
    b.close(there)


def copied(b: Builder, r: Slot) -> None:
    there, own = in_root(b, r), tmpfs(b)
    b.step("copy_up", there, own)
    b.move_mount(own, there)
    b.close(own)
    b.close(there)


def remount(b: Builder, mount: Slot) -> None:
    b.step("fchdir", mount)
    b.step("mount", "", ".", "", f.MS_REMOUNT, "")


def remounted(b: Builder, r: Slot) -> None:
    own, there = tmpfs(b), in_root(b, r)
    b.move_mount(own, there)
    remount(b, own)
    b.close(own)
    b.close(there)


def _remount_bound(b: Builder, r: Slot) -> None:
    tree, there = b.open_tree(f.AT_FDCWD, "/srv", f.OPEN_TREE_CLONE, "tree"), in_root(b, r)
    b.move_mount(tree, there)
    remount(b, tree)


@pytest.mark.parametrize("change", [mapped, unmounted, reconfigured, copied, remounted])
def test_accepted(change: Change) -> None:
    verify(before(change))


def _pick(b: Builder, r: Slot, at: Any, path: str, flags: int) -> None:
    out = b.slot("fs")
    b.step("fspick", at, path, flags, out=out)


def _map_attached(b: Builder, r: Slot) -> None:
    own, there = tmpfs(b), in_root(b, r)
    b.move_mount(own, there)
    b.close(there)
    map_ids(b, own)


def _map_sometimes(b: Builder, r: Slot) -> None:
    made = b.slot("made")
    b.mkdirat(r, "x", tolerate=(17,), out=made)
    attr = mount_attr(f.MOUNT_ATTR_IDMAP)
    with b.if_ok(made):
        b.store(attr, 24, b.program.inherited["state"], 8)
    b.mount_setattr(tmpfs(b), "", f.AT_EMPTY_PATH, attr)


def _unmount_unattached(b: Builder, r: Slot) -> None:
    b.step("fchdir", tmpfs(b))
    b.step("umount2", ".", f.UMOUNT_MNT_DETACH)


def _unmount_root(b: Builder, r: Slot) -> None:
    b.step("fchdir", r)
    b.step("umount2", ".", f.UMOUNT_MNT_DETACH)


def _unmount_twice(b: Builder, r: Slot) -> None:
    unmounted(b, r)
    b.step("umount2", ".", f.UMOUNT_MNT_DETACH)


def _copy_late(b: Builder, r: Slot) -> None:
    there, own = in_root(b, r), tmpfs(b)
    b.move_mount(own, there)
    b.step("copy_up", there, own)


def _copy_proof_away(b: Builder, r: Slot) -> None:
    fd = host(b, "/proc/self/oom_score_adj")
    b.step("fstatfs", fd, SCRATCH)
    b.step("copy_up", in_root(b, r), tmpfs(b))
    b.expect(STATFS_TYPE, 8, f.PROC_SUPER_MAGIC, 1)
    b.write(fd, "1")


def _other_bytes(b: Builder, r: Slot) -> None:
    b.store(mount_attr(), 0, b.program.inherited["state"], 8)


REFUSED: dict[str, tuple[Change, str]] = {
    "a mapping without a namespace": (lambda b, r: map_ids(b, tmpfs(b), store=False), "not stored"),
    "a mapping with one only sometimes": (_map_sometimes, "not stored"),
    "a namespace that is opened by path": (
        lambda b, r: map_ids(b, tmpfs(b), namespace=host(b, "/proc/1/ns/user", 0)),
        "handed over",
    ),
    "a namespace in another place": (lambda b, r: map_ids(b, tmpfs(b), offset=16), "nothing but"),
    "half a namespace": (lambda b, r: map_ids(b, tmpfs(b), width=4), "nothing but"),
    "other attributes from a slot": (_other_bytes, "nothing but"),
    "a mapping of what is attached": (_map_attached, "before the mount is attached"),
    "a host's file system by path": (
        lambda b, r: _pick(b, r, f.AT_FDCWD, "/", f.FSPICK_CLOEXEC),
        "only openat2",
    ),
    "a file system by name": (lambda b, r: _pick(b, r, r, "etc", f.FSPICK_CLOEXEC), "may be a symbolic link"),
    "a host's file system": (
        lambda b, r: _pick(b, r, host(b, "/srv", f.O_PATH), "", f.FSPICK_CLOEXEC | f.FSPICK_EMPTY_PATH),
        "inside the root file system",
    ),
    "a context that stays open": (
        lambda b, r: _pick(b, r, r, "", f.FSPICK_EMPTY_PATH),
        "FSPICK_CLOEXEC",
    ),
    "remounting the root": (remount, "is remounted"),
    "remounting what lies in the root": (lambda b, r: remount(b, in_root(b, r)), "is remounted"),
    "remounting a host's file system": (_remount_bound, "is remounted"),
    "unmounting what is not attached": (_unmount_unattached, "only a mount that the program has made"),
    "unmounting the root file system": (_unmount_root, "only a mount that the program has made"),
    "unmounting what is below": (_unmount_twice, "only a mount that the program has made"),
    "unmounting by path": (lambda b, r: b.step("umount2", "/proc", 0), "unmounted by path"),
    "a copy of the host's": (
        lambda b, r: b.step("copy_up", host(b, "/srv", f.O_PATH), tmpfs(b)),
        "only a directory of the root file system",
    ),
    "a copy into the host": (
        lambda b, r: b.step("copy_up", in_root(b, r), host(b, "/srv", f.O_PATH)),
        "only a directory of the root file system",
    ),
    "a copy in everybody's sight": (_copy_late, "before it is complete"),
    "a proof that a copy has overwritten": (_copy_proof_away, "what is written to /proc"),
    "attributes that are none": (
        lambda b, r: b.step("mount_setattr", r, "", f.AT_EMPTY_PATH, Data("rlimit", bytes(32), (0, 0)), 32),
        "no mount_attr",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    change, why = REFUSED[name]
    refused(before(change), why)
