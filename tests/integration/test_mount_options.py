"""Mount options that reach below a mount, change one that is there, or say where later ones appear."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Box, parse_mountinfo

pytestmark = pytest.mark.beyond_runc("1.1 lacks some of these")


def mounts_of(box: Box) -> dict[str, dict[str, Any]]:
    """The mounts of a running container, as the host sees them, by mount point."""
    return {m["at"]: m for m in parse_mountinfo(Path(f"/proc/{box.pid()}/mountinfo").read_text())}


@pytest.fixture
def tree(box: Box) -> Iterator[Path]:
    """A file system with another one mounted in it, which is shared with whoever binds it."""
    path = box.place / "tree"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    subprocess.run(["mount", "--make-shared", path], check=True)
    (path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", path / "below"], check=True)
    (path / "below/later").mkdir()
    yield path
    subprocess.run(["umount", "-R", path], check=True)


# -- recursive options

RECURSIVE = [
    (["rro"], {"ro"}, {"rw"}),
    (["ro", "rrw"], {"rw"}, {"ro"}),
    (["rnosuid"], {"nosuid"}, set()),
    (["rnosuid", "rsuid"], set(), {"nosuid"}),
    (["rnodev"], {"nodev"}, set()),
    (["rnodev", "rdev"], set(), {"nodev"}),
    (["rnoexec"], {"noexec"}, set()),
    (["rnoexec", "rexec"], set(), {"noexec"}),
    (["rnoatime"], {"noatime"}, {"relatime"}),
    (["rnoatime", "ratime"], {"relatime"}, {"noatime"}),
    (["rrelatime"], {"relatime"}, set()),
    (["rnorelatime"], set(), {"relatime", "noatime"}),
    (["rstrictatime"], set(), {"relatime", "noatime"}),
    (["rnostrictatime"], {"relatime"}, set()),
    (["rnodiratime"], {"nodiratime"}, set()),
    (["rnodiratime", "rdiratime"], set(), {"nodiratime"}),
    (["rnosymfollow"], {"nosymfollow"}, set()),
    (["rnosymfollow", "rsymfollow"], set(), {"nosymfollow"}),
    (["rro", "rnosuid", "rnodev", "rnoexec"], {"ro", "nosuid", "nodev", "noexec"}, {"rw"}),
]


@pytest.mark.shows("/mounts/*/options")
@pytest.mark.parametrize(("options", "expected", "absent"), RECURSIVE)
@pytest.mark.parametrize("user", [False, True])
def test_a_recursive_option_is_in_effect_on_mounts_below(
    box: Box, tree: Path, options: list[str], expected: set[str], absent: set[str], user: bool
) -> None:
    if user:
        box.user_namespace()
    box.mount("/mnt", source=str(tree), options=["rbind", *options])
    box.sleeping()
    mounts = mounts_of(box)
    for at in ("/mnt", "/mnt/below"):
        assert expected <= mounts[at]["options"]
        assert not absent & mounts[at]["options"]


def test_an_option_that_is_not_recursive_stays_above(box: Box, tree: Path) -> None:
    box.mount("/mnt", source=str(tree), options=["rbind", "ro", "nosuid", "nosymfollow"])
    box.sleeping()
    mounts = mounts_of(box)
    assert {"ro", "nosuid", "nosymfollow"} <= mounts["/mnt"]["options"]
    assert not {"ro", "nosuid", "nosymfollow"} & mounts["/mnt/below"]["options"]


def test_symbolic_links_on_a_nosymfollow_mount_are_not_followed(box: Box, tree: Path) -> None:
    (tree / "below/file").write_text("text\n")
    (tree / "below/link").symlink_to("file")
    box.mount("/mnt", source=str(tree), options=["rbind", "rnosymfollow"])
    result = box.run_script("readlink /mnt/below/link; cat /mnt/below/file; cat /mnt/below/link")
    assert result.out == "file\ntext\n"
    assert "Too many" in result.err or "symbolic link" in result.err.lower()


@pytest.mark.parametrize("options", [["ro", "rnoatime"], ["noatime", "rstrictatime", "rro"]])
def test_recursive_options_hold_for_new_mounts_too(box: Box, options: list[str]) -> None:
    box.mount("/mnt", "tmpfs", options=options)
    box.sleeping()
    found = mounts_of(box)["/mnt"]["options"]
    assert "ro" in found
    assert ("noatime" in found) == ("rnoatime" in options)


# -- remount


@pytest.mark.shows("/mounts/*/options")
def test_a_remount_changes_a_file_system(box: Box) -> None:
    box.mount("/mnt", "tmpfs", options=["size=64k", "nosuid"])
    box.mount("/mnt", "tmpfs", options=["remount", "size=2m", "noexec"])
    box.sleeping()
    mount = mounts_of(box)["/mnt"]
    assert "size=2048k" in mount["super"]
    assert {"nosuid", "noexec"} <= mount["options"]


def test_a_remount_with_an_option_that_the_file_system_refuses_names_both(box: Box) -> None:
    box.mount("/mnt", "tmpfs")
    box.mount("/mnt", "tmpfs", options=["remount", "size=many"])
    box.run().failed("/mounts/7", "size=many")
    box.clean()


def test_a_bind_mount_that_is_remounted_keeps_what_is_not_named(box: Box, tree: Path) -> None:
    box.mount("/mnt", source=str(tree), options=["bind", "nosuid", "nodev", "noexec", "noatime"])
    box.mount("/mnt", "none", options=["bind", "remount", "ro", "exec"])
    box.sleeping()
    found = mounts_of(box)["/mnt"]["options"]
    assert {"ro", "nosuid", "nodev", "noatime"} <= found
    assert "noexec" not in found
    (tree / "still-writable-for-the-host").touch()


def test_a_remount_of_a_bind_mount_takes_no_options_of_file_systems(box: Box, tree: Path) -> None:
    box.mount("/mnt", source=str(tree), options=["bind"])
    box.mount("/mnt", "none", options=["bind", "remount", "size=1m"])
    box.run().failed("/mounts/7/options/2", "size=1m")


def test_a_remount_of_what_is_no_mount_is_an_error(box: Box) -> None:
    box.mount("/etc", "none", options=["remount", "bind", "ro"])
    box.run().failed("/mounts/6", "/etc")
    box.clean()


# -- flags of file systems

@pytest.mark.shows("/mounts/*/options")
@pytest.mark.parametrize("user", [False, True])
def test_iversion_leaves_a_mount_s_other_options_as_they_are(box: Box, user: bool) -> None:
    """What it does itself no file shows; fsconfig(2) refuses the word."""
    if user:
        box.user_namespace()
    options = ["ro", "nosuid", "noexec", "noatime", "sync", "mode=711", "size=64k"]
    box.mount("/plain", "tmpfs", options=options)
    box.mount("/counted", "tmpfs", options=["iversion", *options])
    box.mount("/not", "tmpfs", options=["noiversion", *options])
    box.mount("/host", "proc", options=["iversion"])
    box.sleeping()
    mounts = mounts_of(box)
    for at in ("/counted", "/not"):
        assert mounts[at]["options"] == mounts["/plain"]["options"]
        assert mounts[at]["super"] == mounts["/plain"]["super"]
    assert {"ro", "nosuid", "noexec", "noatime"} <= mounts["/counted"]["options"]
    assert {"rw", "sync", "size=64k", "mode=711"} <= mounts["/counted"]["super"]


def test_acl_is_the_file_system_s_to_take_or_refuse(box: Box) -> None:
    box.mount("/mnt", "tmpfs", options=["acl"])
    box.run().failed("/mounts/6", "acl")
    box.clean()


def test_a_superblock_s_option_on_a_bind_mount_is_a_warning(box: Box, tree: Path) -> None:
    box.mount("/mnt", source=str(tree), options=["bind", "sync"])
    result = box.run().ok()
    assert "/mounts/6/options" in result.err
    assert "sync" in result.err


# -- propagation

PROPAGATION = [
    ("shared", {"shared"}, set()), ("rshared", {"shared"}, {"shared"}),
    ("slave", {"master"}, set()), ("rslave", {"master"}, {"master"}),
    ("private", set(), None), ("rprivate", set(), set()),
    ("unbindable", {"unbindable"}, None), ("runbindable", {"unbindable"}, {"unbindable"}),
]  # fmt: skip


@pytest.mark.shows("/mounts/*/options")
@pytest.mark.parametrize(("option", "above", "below"), PROPAGATION)
def test_every_propagation_of_a_mount(
    box: Box, tree: Path, option: str, above: set[str], below: set[str] | None
) -> None:
    box.mount("/mnt", source=str(tree), options=["rbind", option])
    box.linux["rootfsPropagation"] = "rslave"
    box.sleeping()
    mounts = mounts_of(box)
    found = {word.split(":")[0] for word in mounts["/mnt"]["propagation"]}
    found_below = {word.split(":")[0] for word in mounts["/mnt/below"]["propagation"]}
    assert above <= found
    assert above or not found
    assert below is None or (below <= found_below and (below or option != "rprivate" or not found_below))


@pytest.mark.parametrize(("option", "seen"), [("rshared", True), ("rslave", False), ("rprivate", False)])
def test_what_is_mounted_inside_reaches_the_host_only_through_a_shared_mount(
    box: Box, tree: Path, option: str, seen: bool
) -> None:
    box.capabilities("CAP_SYS_ADMIN")
    box.linux["rootfsPropagation"] = "rshared" if option == "rshared" else "rslave"
    box.mount("/mnt", source=str(tree), options=["rbind", option])
    box.script("mount -t tmpfs none /mnt/below/later && touch /mnt/below/later/file && sleep 1000")
    box.run("-d").ok()
    pid = box.pid()
    for _ in range(100):
        if Path(f"/proc/{pid}/root/mnt/below/later/file").exists():
            break
        subprocess.run(["sleep", "0.05"], check=True)
    assert (tree / "below/later/file").exists() == seen


@pytest.mark.shows("/linux/rootfsPropagation")
@pytest.mark.parametrize(
    "value",
    ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"],
)
def test_every_root_propagation(box: Box, tree: Path, value: str) -> None:
    box.linux["rootfsPropagation"] = value
    box.mount("/mnt", source=str(tree), options=["rbind"])
    box.sleeping()
    mounts = mounts_of(box)
    found = {word.split(":")[0] for word in mounts["/"]["propagation"]}
    below = {word.split(":")[0] for word in mounts["/mnt/below"]["propagation"]}
    wanted = {"shared": "shared", "unbindable": "unbindable"}.get(value.removeprefix("r"))
    if wanted:
        assert wanted in found
        assert (wanted in below) == (value.startswith("r") or wanted == "shared")
    else:
        assert not found & {"shared", "unbindable"}
    # Nothing that the runtime mounts is seen on the host, whatever the propagation.
    assert str(box.rootfs) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("value", ["shared", "rshared", "rslave"])
@pytest.mark.parametrize("flag", [[], ["--no-pivot"]])
def test_the_host_keeps_its_mounts(box: Box, tree: Path, value: str, flag: list[str]) -> None:
    """The old root goes with all its mounts; those that are shared with the host must not go there."""
    before = Path("/proc/self/mountinfo").read_text()
    box.linux["rootfsPropagation"] = value
    box.run(*flag).ok()
    after = Path("/proc/self/mountinfo").read_text()
    assert f"{tree}/below" in after
    assert [line for line in before.splitlines() if str(box.place) in line] == [
        line for line in after.splitlines() if str(box.place) in line
    ]


@pytest.mark.parametrize(("root", "option"), [("rshared", "private"), ("runbindable", "shared")])
def test_a_mount_s_own_propagation_wins_over_the_root_s(
    box: Box, tree: Path, root: str, option: str
) -> None:
    box.linux["rootfsPropagation"] = root
    box.mount("/mnt", source=str(tree), options=["rbind", option])
    box.sleeping()
    found = {word.split(":")[0] for word in mounts_of(box)["/mnt"]["propagation"]}
    assert ("shared" in found) == (option == "shared")
    assert "unbindable" not in found
