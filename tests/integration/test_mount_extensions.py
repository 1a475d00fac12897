"""Mounts beyond the ordinary: id mappings, symbolic links, layers, locked options (config.md, "Mounts")."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Box, parse_mountinfo

pytestmark = pytest.mark.beyond_runc("1.1 has none of these")


def mapping(inside: int, outside: int, size: int = 10) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size}]


@pytest.fixture
def source(box: Box) -> Path:
    """A directory of the host with a file of root's and one of user 5, group 6."""
    path = box.place / "source"
    path.mkdir()
    for name, uid, gid in (("root", 0, 0), ("five", 5, 6)):
        (path / name).touch()
        os.chown(path / name, uid, gid)
    return path


@pytest.fixture
def below(source: Path) -> Iterator[Path]:
    """A tmpfs mounted below the source, with such files too."""
    path = source / "below"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", path], check=True)
    (path / "five").touch()
    os.chown(path / "five", 5, 6)
    yield path
    subprocess.run(["umount", path], check=True)


def owners(*paths: str) -> str:
    return "stat -c '%u:%g' " + " ".join(paths)


def mount_of(box: Box, at: str) -> dict[str, Any]:
    """The mount at a path as the host sees it in the container's mountinfo."""
    mounts = parse_mountinfo(Path(f"/proc/{box.pid()}/mountinfo").read_text())
    return [m for m in mounts if m["at"] == at][-1]


# -- id mappings


@pytest.mark.shows("/mounts/*/uidMappings", "/mounts/*/gidMappings")
@pytest.mark.parametrize("options", [["bind"], ["bind", "idmap"], ["rbind", "ridmap"]])
def test_a_mount_with_mappings_shows_other_owners(box: Box, source: Path, options: list[str]) -> None:
    box.mount("/mnt", source=str(source), options=options)
    box.mounts[-1] |= {"uidMappings": mapping(0, 1000), "gidMappings": mapping(0, 2000)}
    assert box.run_script(owners("/mnt/root", "/mnt/five")).out == "1000:2000\n1005:2006\n"
    assert "idmapped" in box.sh("grep ' /mnt ' /proc/self/mountinfo")
    # The host's files are what they were, and what is written goes the other way.
    box.process["user"] = {"uid": 1005, "gid": 2006}
    source.chmod(0o777)
    assert box.sh("touch /mnt/new; " + owners("/mnt/new")) == "1005:2006\n"
    found = (source / "new").stat()
    assert (found.st_uid, found.st_gid) == (5, 6)


@pytest.mark.shows("/mounts/*/uidMappings")
def test_ids_beyond_the_mapping_are_nobody_s(box: Box, source: Path) -> None:
    box.mount("/mnt", source=str(source), options=["bind", "idmap"])
    box.mounts[-1] |= {"uidMappings": mapping(0, 1000, 1), "gidMappings": mapping(6, 2000, 1)}
    assert box.sh(owners("/mnt/root", "/mnt/five")) == "1000:65534\n65534:2000\n"


@pytest.mark.parametrize(("option", "expected"), [("idmap", "5:6"), ("ridmap", "1005:2006")])
def test_idmap_leaves_mounts_below_and_ridmap_does_not(
    box: Box, source: Path, below: Path, option: str, expected: str
) -> None:
    box.mount("/mnt", source=str(source), options=["rbind", option])
    box.mounts[-1] |= {"uidMappings": mapping(0, 1000), "gidMappings": mapping(0, 2000)}
    result = box.run_script(owners("/mnt/below/five", "/mnt/five"))
    if result.code and option == "ridmap" and os.uname().release < "6.3":
        result.failed("/mounts/6", "file system", "EINVAL")  # a tmpfs cannot be mapped before 6.3
        return
    assert result.out == f"{expected}\n1005:2006\n"


@pytest.mark.shows("/mounts/*/options")
@pytest.mark.parametrize("own", [True, False])
def test_in_a_user_namespace_the_host_s_ids_are_the_container_s(box: Box, source: Path, own: bool) -> None:
    """Files of the host's ids 0 and 5 look in the container as they do on the host."""
    box.user_namespace()
    box.mount("/mnt", source=str(source), options=["bind", "idmap"])
    if own:
        box.mounts[-1] |= {"uidMappings": mapping(0, 100000), "gidMappings": mapping(0, 100000)}
    assert box.sh(owners("/mnt/root", "/mnt/five") + "; echo x > /mnt/root") == "0:0\n5:6\n"
    assert (source / "root").read_text() == "x\n"
    assert (source / "root").stat().st_uid == 0


def test_idmap_takes_the_mapping_of_a_user_namespace_that_is_joined(
    box: Box, source: Path, new_box: Any
) -> None:
    other = new_box()
    other.user_namespace()
    pid = other.sleeping()
    box.user_namespace()
    del box.linux["uidMappings"], box.linux["gidMappings"]
    box.add_namespace("user", f"/proc/{pid}/ns/user")
    box.mount("/mnt", source=str(source), options=["bind", "idmap"])
    assert box.sh(owners("/mnt/root", "/mnt/five")) == "0:0\n5:6\n"


def test_crun_s_mappings_in_the_option(box: Box, source: Path) -> None:
    box.user_namespace()
    text = "idmap=uids=0-100001-2#@5-7-1;gids=@0-0-10"
    box.mount("/mnt", source=str(source), options=["bind", text])
    assert box.sh(owners("/mnt/root", "/mnt/five")) == "1:0\n7:6\n"


def test_mounts_with_the_same_mapping_share_a_namespace_and_others_do_not(box: Box, source: Path) -> None:
    for number in range(8):
        box.mount(f"/mnt/{number}", source=str(source), options=["bind", "idmap"])
        first = 1000 + number % 4
        box.mounts[-1] |= {"uidMappings": mapping(0, first), "gidMappings": mapping(0, first)}
    out = box.sh("; ".join(owners(f"/mnt/{number}/root") for number in range(8)))
    assert out.split() == [f"{1000 + n % 4}:{1000 + n % 4}" for n in range(8)]


def test_a_mapped_tmpfs_or_a_clear_error(box: Box) -> None:
    box.mount("/mnt", "tmpfs", options=["idmap"])
    box.mounts[-1] |= {"uidMappings": mapping(0, 1000), "gidMappings": mapping(0, 2000)}
    result = box.run_script(owners("/mnt"))
    if result.code:
        assert os.uname().release < "6.3", result
        result.failed("/mounts/6", "file system", "EINVAL")
        box.clean()
    else:
        assert result.out == "1000:2000\n"


def test_a_file_system_that_cannot_be_mapped_is_named(box: Box) -> None:
    box.mount("/mnt", source="/proc", options=["bind", "idmap"])
    box.mounts[-1] |= {"uidMappings": mapping(0, 1000), "gidMappings": mapping(0, 2000)}
    box.run().failed("/mounts/6", "file system", "EINVAL")
    box.clean()


@pytest.mark.parametrize(
    ("fields", "options", "words"),
    [
        ({"uidMappings": mapping(0, 1)}, ["bind", "idmap"], ["/mounts/6/gidMappings", "uidMappings"]),
        ({"gidMappings": mapping(0, 1)}, ["bind"], ["/mounts/6/uidMappings", "gidMappings"]),
        ({}, ["bind", "idmap"], ["/mounts/6/options", "user namespace"]),
        ({}, ["bind", "idmap=uids=0-1-1"], ["/mounts/6/options", "gids="]),
        ({}, ["bind", "idmap=uids=0-1;gids=0-1-1"], ["/mounts/6/options", "0-1"]),
        ({}, ["bind", "idmap=uids=@0-1-1;gids=0-1-1"], ["/mounts/6/options", "@0-1-1"]),
        ({"uidMappings": mapping(0, 1), "gidMappings": mapping(0, 1)}, ["bind", "remount"], ["/mounts/6"]),
    ],
)
def test_mappings_that_mean_nothing_are_refused(
    box: Box, source: Path, fields: dict[str, Any], options: list[str], words: list[str]
) -> None:
    box.mount("/mnt", source=str(source), options=options)
    box.mounts[-1] |= fields
    box.run().failed(*words)
    box.clean()


def test_a_mapping_that_the_kernel_refuses_names_the_mount(box: Box, source: Path) -> None:
    box.mount("/mnt", source=str(source), options=["bind"])
    box.mounts[-1] |= {"uidMappings": mapping(0, 1) * 2, "gidMappings": mapping(0, 1)}
    box.run().failed("/mounts/6", "overlap")
    box.clean()


def test_no_process_or_namespace_of_the_mapping_stays(box: Box, source: Path) -> None:
    box.mount("/mnt", source=str(source), options=["bind"])
    box.mounts[-1] |= {"uidMappings": mapping(0, 1000), "gidMappings": mapping(0, 2000)}
    box.create().ok()
    assert len(box.processes()) == 0
    for fd in os.listdir(f"/proc/{box.pid()}/fd"):
        assert "user:" not in os.readlink(f"/proc/{box.pid()}/fd/{fd}")


# -- symbolic links


@pytest.fixture
def link(box: Box) -> Path:
    (box.place / "real").write_text("the real file\n")
    path = box.place / "link"
    path.symlink_to("real")
    return path


@pytest.mark.shows("/mounts/*/options")
def test_copy_symlink_makes_the_link_in_the_container(box: Box, link: Path) -> None:
    box.mount("/etc/a/link", source=str(link), options=["bind", "copy-symlink"])
    assert box.sh("readlink /etc/a/link; grep /etc/a /proc/self/mountinfo; true") == "real\n"
    assert os.readlink(box.rootfs / "etc/a/link") == "real"
    box.run().ok()  # the same link may be there already


@pytest.mark.parametrize("there", ["another", "rea", "reals", "reap", "x", "file"])
def test_copy_symlink_does_not_replace_what_is_there(box: Box, link: Path, there: str) -> None:
    if there == "file":
        (box.rootfs / "at").write_text("text")
    else:
        (box.rootfs / "at").symlink_to(there)
    box.mount("/at", source=str(link), options=["bind", "copy-symlink"])
    box.run().failed("/mounts/6", "/at", "real")
    assert there == "file" or os.readlink(box.rootfs / "at") == there


def test_copy_symlink_of_something_else_is_a_bind_mount(box: Box, source: Path) -> None:
    box.mount("/mnt", source=str(source), options=["bind", "copy-symlink"])
    assert box.sh("ls /mnt") == "five\nroot\n"


def test_copy_symlink_stays_inside(box: Box, link: Path) -> None:
    outside = box.place / "outside"
    outside.mkdir()
    (box.rootfs / "way").symlink_to(outside)
    box.mount("/way/link", source=str(link), options=["bind", "copy-symlink"])
    box.run()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("source_too", [False, True])
def test_dest_nofollow_mounts_on_the_link(box: Box, link: Path, source_too: bool, user: bool) -> None:
    if user:
        box.user_namespace()
    (box.rootfs / "target").symlink_to("nowhere")
    box.mount("/target", source=str(link), options=["bind", "dest-nofollow"])
    if source_too:
        box.mounts[-1]["options"].append("src-nofollow")
    script = "readlink /target" if source_too else "cat /target"
    assert box.sh(script) == ("real\n" if source_too else "the real file\n")
    assert os.readlink(box.rootfs / "target") == "nowhere"
    assert not (box.rootfs / "nowhere").exists()


def test_dest_nofollow_needs_its_destination(box: Box, link: Path) -> None:
    box.mount("/no/such", source=str(link), options=["bind", "dest-nofollow"])
    box.run().failed("/mounts/6", "/no/such")
    box.clean()


def test_src_nofollow_takes_a_dangling_link(box: Box) -> None:
    (box.place / "dangling").symlink_to("/no/such/file")
    box.mount("/mnt/link", source=str(box.place / "dangling"), options=["bind", "src-nofollow"])
    assert box.sh("readlink /mnt/link") == "/no/such/file\n"


@pytest.mark.parametrize(
    ("kind", "options"),
    [("bind", ["copy-symlink", "src-nofollow"]), ("bind", ["copy-symlink", "dest-nofollow"]),
     ("tmpfs", ["src-nofollow"]), ("bind", ["remount", "dest-nofollow"])],
)  # fmt: skip
def test_options_for_links_that_mean_nothing_are_refused(
    box: Box, link: Path, kind: str, options: list[str]
) -> None:
    box.mount("/mnt", kind, source=str(link), options=options)
    box.run().failed("/mounts/6/options")


# -- overlays


@pytest.mark.parametrize("layers", [3, 70, 300])
@pytest.mark.parametrize("user", [False, True])
def test_an_overlay_of_many_layers_with_long_paths(box: Box, layers: int, user: bool) -> None:
    if user:
        box.user_namespace()
    box.place.chmod(0o755)
    base = box.place / "layers"
    base.mkdir()
    names = []
    for number in range(layers):
        directory = base / f"layer-{'x' * 100}-{number}"
        directory.mkdir()
        (directory / f"f{number}").touch()
        (directory / "same").write_text(f"{number}\n")
        names.append(str(directory))
    names[1] += ":colon"
    os.rename(base / Path(names[1].removesuffix(":colon")).name, names[1])
    for name in ("upper", "work"):
        (box.place / name).mkdir()
        os.chown(box.place / name, 100000 * user, 100000 * user)
    lower = ":".join(name.replace(":", "\\:") for name in names)
    options = [f"lowerdir={lower}", f"upperdir={box.place}/upper", f"workdir={box.place}/work", "nosuid"]
    box.mount("/mnt", "overlay", options=options)
    if user:
        box.mounts[-1]["options"].append("userxattr")
    out = box.sh("ls /mnt | wc -l; cat /mnt/same; echo new > /mnt/new; cat /proc/self/mountinfo")
    count, same, *rest = out.splitlines()
    assert (count, same) == (str(layers + 1), "0")
    assert (box.place / "upper/new").read_text() == "new\n"
    mounts = [m for m in parse_mountinfo("\n".join(rest)) if m["at"].startswith("/mnt")]
    assert [(m["type"], "nosuid" in m["options"]) for m in mounts] == [("overlay", True)]


def test_an_overlay_of_too_many_layers_is_refused_clearly(box: Box) -> None:
    names = [f"{box.place}/{'x' * 30}{number}" for number in range(700)]
    box.mount("/mnt", "overlay", options=["lowerdir=" + ":".join(names)])
    box.run().failed("/mounts/6/options", "700", "fewer layers")
    box.clean()


def test_a_missing_layer_is_an_error_with_the_mount_s_pointer(box: Box) -> None:
    names = [f"{box.place}/{'x' * 30}{number}" for number in range(70)]
    box.mount("/mnt", "overlay", options=["lowerdir=" + ":".join(names)])
    box.run().failed("/mounts/6", "No such file")
    box.clean()
