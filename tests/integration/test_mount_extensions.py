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


# Since when a tmpfs can be mapped.
OLD = tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 3)


@pytest.fixture
def source(box: Box) -> Iterator[Path]:
    """A directory of the host, of a file system that can be mapped, with a file of root's and one of
    user 5, group 6."""
    path = box.place / "source"
    path.mkdir()
    kind = subprocess.run(["stat", "-f", "-c", "%T", path], check=True, capture_output=True, text=True).stdout
    image = OLD and kind.strip() not in ("ext2/ext3", "xfs", "btrfs")
    if image:
        with (box.place / "image").open("wb") as file:
            file.truncate(8 << 20)
        words = f"mkfs.ext4 -q {box.place}/image && mount -o loop {box.place}/image {path}"
        if subprocess.run(words, shell=True, check=False).returncode:
            pytest.skip("no file system here can be mapped, and ext4 cannot be mounted")
        os.rmdir(path / "lost+found")
    for name, uid, gid in (("root", 0, 0), ("five", 5, 6)):
        (path / name).touch()
        os.chown(path / name, uid, gid)
    yield path
    if image:
        subprocess.run(["umount", path], check=True)


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


# -- id mappings


@pytest.mark.shows("/mounts/*/{uidMappings,gidMappings}/*/{containerID,hostID,size}")
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
    if result.code and option == "ridmap" and OLD:
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
        assert OLD, result
        result.failed("/mounts/6", "file system", "EINVAL")
        box.clean()
    else:
        assert result.out == "1000:2000\n"


def test_an_overlay_cannot_be_mapped(box: Box) -> None:
    for name in ("lower", "upper", "work"):
        (box.place / name).mkdir()
    options = [f"{name}dir={box.place}/{name}" for name in ("lower", "upper", "work")]
    box.mount("/mnt", "overlay", options=options)
    box.mounts[-1] |= {"uidMappings": mapping(0, 1000), "gidMappings": mapping(0, 2000)}
    box.run().failed("/mounts/6", "bind mount")


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
    assert box.processes() == []


def test_a_mapping_that_the_kernel_refuses_names_the_mount(box: Box, source: Path) -> None:
    box.mount("/mnt", source=str(source), options=["bind"])
    box.mounts[-1] |= {"uidMappings": mapping(0, 1) * 2, "gidMappings": mapping(0, 1)}
    box.run().failed("/mounts/6", "overlap")
    assert box.processes() == []


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


# -- tmpcopyup in user namespaces


def fill(directory: Path, uid: int) -> None:
    (directory / "sub").mkdir(parents=True)
    (directory / "sub/file").write_text("text\n")
    (directory / "sub/link").symlink_to("file")
    (directory / "sub").chmod(0o2751)
    (directory / "sub/file").chmod(0o4644)
    for path, offset in ((directory, 0), (directory / "sub", 1), (directory / "sub/file", 2)):
        os.chown(path, uid + offset, uid + offset)
    (directory / "sub/file").chmod(0o4644)
    os.utime(directory / "sub/file", (1000, 2000))


SHOW = "cd /data/sub; cat link; readlink link; stat -c '%a %u %g' . file; stat -c %Y file; df /data | tail -1"


@pytest.mark.parametrize("user", [False, True])
def test_tmpcopyup_in_a_user_namespace_and_out_of_it(box: Box, user: bool) -> None:
    if user:
        box.user_namespace()
    fill(box.rootfs / "data", 100000 if user else 0)
    box.mount("/data", "tmpfs", options=["tmpcopyup", "size=1m"])
    out = box.sh(SHOW).splitlines()
    assert out[:5] == ["text", "file", "2751 1 1", "4644 2 2", "2000"]
    assert out[5].split()[1] == "1024"


def test_tmpcopyup_of_files_whose_owner_is_not_mapped_is_an_error(box: Box) -> None:
    box.user_namespace(100000, 10)
    (box.rootfs / "data").mkdir(mode=0o755)
    (box.rootfs / "data/foreign").touch(mode=0o644)
    box.mount("/data", "tmpfs", options=["tmpcopyup"])
    box.run().failed("/mounts/6", "foreign", "not mapped")
    box.clean()


def test_tmpcopyup_of_a_large_file_and_of_many(box: Box) -> None:
    data = box.rootfs / "data"
    data.mkdir()
    content = os.urandom((5 << 20) + 17)
    (data / "large").write_bytes(content)
    for number in range(500):
        (data / f"file-{'x' * 200}-{number}").touch()
    box.mount("/data", "tmpfs", options=["tmpcopyup"])
    assert box.sh("ls /data | wc -l") == "501\n"
    box.sleeping()
    assert Path(f"/proc/{box.pid()}/root/data/large").read_bytes() == content


# -- what an ordinary user of the host may

USER = 64322


@pytest.fixture
def mine(box: Box) -> Box:
    """A bundle that an ordinary user of the host may run: its own id alone is mapped."""
    box.user_namespace(USER, 1)
    box.drop_namespace("network")
    for mount in box.mounts:
        mount["options"] = [word for word in mount.get("options", []) if word != "gid=5"]
    box.config["mounts"] = [mount for mount in box.mounts if mount["type"] != "sysfs"]
    box.linux.pop("resources", None)
    box.root.mkdir()
    os.chown(box.root, USER, USER)
    return box


def run_as_user(box: Box, script: str) -> Any:
    box.script(script)
    box.save()
    words = ("run", "--bundle", str(box.bundle), box.id)
    try:
        return box.verb(*words, user=USER, group=USER, extra_groups=[])
    except PermissionError:
        pytest.skip("the command lies in a directory that is closed to other users")


@pytest.fixture
def locked(mine: Box) -> Iterator[Path]:
    """A file system of the host's root, whose options the user cannot undo."""
    path = mine.place / "locked"
    path.mkdir()
    options = "nosuid,nodev,noexec,relatime,mode=777"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("kind", ["bind", "rbind"])
@pytest.mark.parametrize("options", [[], ["ro"], ["nosuid", "ro"], ["rro"], ["ro", "rnosymfollow"]])
def test_locked_options_stay_where_others_are_added(
    mine: Box, locked: Path, kind: str, options: list[str]
) -> None:
    mine.mount("/mnt", source=str(locked), options=[kind, *options])
    out = run_as_user(mine, "grep ' /mnt ' /proc/self/mountinfo").ok().out
    (mount,) = parse_mountinfo(out)
    assert {"nosuid", "nodev", "noexec", "relatime"} <= mount["options"]
    assert ("ro" in mount["options"]) == (len(options) > 0)
    assert ("nosymfollow" in mount["options"]) == ("rnosymfollow" in options)


@pytest.mark.parametrize("options", [["ro"], ["nosymfollow"]])
def test_locked_options_stay_when_a_mount_is_made_again(
    mine: Box, locked: Path, options: list[str]
) -> None:
    mine.mount("/mnt", source=str(locked), options=["bind"])
    mine.mount("/mnt", "none", options=["bind", "remount", *options])
    out = run_as_user(mine, "grep ' /mnt ' /proc/self/mountinfo").ok().out
    (mount,) = parse_mountinfo(out)
    assert {"nosuid", "nodev", "noexec", "relatime", *options} <= mount["options"]


@pytest.mark.parametrize("option", ["suid", "dev", "exec", "rsuid", "noatime", "ratime,rdev"])
@pytest.mark.parametrize("remount", [False, True])
def test_an_option_that_undoes_a_locked_one_is_an_error(
    mine: Box, locked: Path, option: str, remount: bool
) -> None:
    options = option.split(",")
    mine.mount("/mnt", source=str(locked), options=["bind"] if remount else ["bind", *options])
    if remount:
        mine.mount("/mnt", "none", options=["bind", "remount", *options])
    number = len(mine.mounts) - 1
    run_as_user(mine, "true").failed(f"/mounts/{number}", "mount_setattr", "cannot be undone")
    assert mine.processes() == []


def test_tmpcopyup_of_an_ordinary_user(mine: Box) -> None:
    fill(mine.rootfs / "data", USER)
    for path in (mine.rootfs / "data").rglob("*"):
        os.lchown(path, USER, USER)
    mine.mount("/data", "tmpfs", options=["tmpcopyup"])
    out = run_as_user(mine, SHOW).ok().out.splitlines()
    assert [line.split()[1:] for line in out[2:4]] == [["0", "0"], ["0", "0"]]
    assert out[:2] == ["text", "file"]


def test_an_id_mapped_mount_of_an_ordinary_user_is_refused(mine: Box, locked: Path) -> None:
    mine.mount("/mnt", source=str(locked), options=["bind", "idmap"])
    run_as_user(mine, "true").failed(f"/mounts/{len(mine.mounts) - 1}", "root")


# -- control groups


@pytest.mark.shows("/mounts/*/type")
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("user", [True, False])
@pytest.mark.parametrize("option", ["ro", "rw"])
def test_what_a_container_can_write_of_its_control_groups(
    box: Box, own: bool, user: bool, option: str, pure_v2: bool
) -> None:
    """Read-only is read-only, and what is of the host's is never writable in a user namespace."""
    if own:
        box.add_namespace("cgroup")
    if user:
        box.user_namespace()
    box.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", option])
    at = "/sys/fs/cgroup" if pure_v2 else "/sys/fs/cgroup/pids"
    if not own and not user and pure_v2:
        at = f"$(sed -n 's,^0::,{at},p' /proc/self/cgroup)"
    out = box.sh(f"cat /proc/self/mountinfo; d={at}/sub; mkdir $d && rmdir $d && echo made; true")
    mounts = {m["at"]: m for m in parse_mountinfo("\n".join(x for x in out.splitlines() if " - " in x))}
    mount = mounts["/sys/fs/cgroup" if pure_v2 else "/sys/fs/cgroup/pids"]
    assert mount["type"] == ("cgroup2" if pure_v2 else "cgroup")
    protected = pure_v2 and user and not own
    assert ("ro" in mount["options"]) == (option == "ro" or protected)
    # The controllers of v1 are not given to the container's root.
    assert ("made" in out) == (option == "rw" and not protected and (pure_v2 or not user))


def test_the_unified_hierarchy_beside_v1_controllers(box: Box) -> None:
    box.add_namespace("cgroup")
    box.mount("/sys/fs/cgroup", "cgroup2", "cgroup", ["ro", "nosuid", "noexec", "nodev"])
    out = box.sh("cat /proc/self/mountinfo; ls /sys/fs/cgroup")
    mounts = {m["at"]: m for m in parse_mountinfo("\n".join(x for x in out.splitlines() if " - " in x))}
    assert mounts["/sys/fs/cgroup"]["type"] == "cgroup2"
    assert "cgroup.procs" in out


def test_control_groups_of_an_ordinary_user_cannot_be_written(mine: Box, pure_v2: bool) -> None:
    """CVE-2023-25809: without a cgroup of its own, the container would have its user's."""
    mine.add_namespace("cgroup")
    mine.mount("/cgroup", "cgroup", "cgroup", ["rw"])
    result = run_as_user(mine, "grep ' - cgroup' /proc/self/mountinfo").ok()
    for mount in parse_mountinfo(result.out):
        assert "ro" in mount["options"], mount
    assert pure_v2 == ("read-only" in result.err)


# -- masked paths and devices


@pytest.mark.shows("/linux/maskedPaths")
@pytest.mark.parametrize("user", [False, True])
def test_masked_directories_share_one_readonly_tmpfs(box: Box, user: bool) -> None:
    if user:
        box.user_namespace()
    names = [f"/secret-{number}" for number in range(4)]
    for name in names:
        (box.rootfs / name[1:]).mkdir()
        (box.rootfs / name[1:] / "file").touch()
    box.linux["maskedPaths"] += names
    box.sleeping()
    mounts = parse_mountinfo(Path(f"/proc/{box.pid()}/mountinfo").read_text())
    covers = [m for m in mounts if m["at"] in (*names, "/sys/firmware")]
    assert len(covers) >= 4
    for mount in covers:
        assert mount["type"] == "tmpfs"
        assert {"ro", "nosuid", "nodev", "noexec"} <= mount["options"]
        assert "ro" in mount["super"]
        assert os.listdir(f"/proc/{box.pid()}/root{mount['at']}") == []
    devices = {os.stat(f"/proc/{box.pid()}/root{mount['at']}").st_dev for mount in covers}
    assert len(devices) == 1


@pytest.mark.shows("/linux/maskedPaths")
def test_a_masked_file_is_the_null_device(box: Box) -> None:
    (box.rootfs / "secret").write_text("text")
    box.linux["maskedPaths"] += ["/secret"]
    box.sleeping()
    found = os.stat(f"/proc/{box.pid()}/root/secret")
    assert (found.st_rdev, found.st_mode & 0o170000) == (os.makedev(1, 3), 0o020000)


@pytest.mark.shows("/linux/devices")
@pytest.mark.parametrize(
    ("kind", "seen"), [("c", "character special file"), ("u", "character special file"),
                       ("b", "block special file"), ("p", "fifo")],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/dev/made", "/srv/deep/made"])
def test_devices_of_every_type_in_dev_and_elsewhere(box: Box, kind: str, seen: str, path: str) -> None:
    device = {"path": path, "type": kind, "fileMode": 0o640, "uid": 12, "gid": 34}
    if kind != "p":
        device |= {"major": 7, "minor": 260}
    box.linux["devices"] = [device]
    numbers = "0:0" if kind == "p" else "7:104"
    out = box.sh(f"stat -c '%F|%t:%T|%a|%u:%g' {path}")
    assert out == f"{seen}|{numbers}|640|12:34\n"
    box.run().ok()  # the same node may be there already


def test_a_device_needs_its_numbers(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/made", "type": "b"}]
    box.run().failed("/linux/devices/0", "major")


def put(place: Path, there: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if there == "file":
        place.write_text("text")
    elif there == "directory":
        place.mkdir()
    elif there == "link":
        place.symlink_to("/bin/busybox")
    elif there == "fifo":
        os.mkfifo(place)
    else:
        os.mknod(place, 0o020666, os.makedev(1, 5))


@pytest.mark.shows("/linux/devices")
@pytest.mark.parametrize("there", ["file", "directory", "link", "fifo", "other"])
@pytest.mark.parametrize("user", [False, True])
def test_something_else_in_a_device_s_place_is_an_error(box: Box, there: str, user: bool) -> None:
    """In a user namespace the host's node is bound, over an empty file but over nothing else."""
    box.mounts[:] = [m for m in box.mounts if not m["destination"].startswith("/dev")]
    put(box.rootfs / "dev/null", there)
    if user:
        box.user_namespace()
    box.linux["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]
    box.linux["maskedPaths"] = []
    box.run().failed("/linux/devices/0", "/dev/null")
    box.clean()


@pytest.mark.parametrize("there", ["same", "empty"])
def test_the_same_device_or_an_empty_file_may_be_there_in_a_user_namespace(box: Box, there: str) -> None:
    box.mounts[:] = [m for m in box.mounts if not m["destination"].startswith("/dev")]
    place = box.rootfs / "dev/null"
    if there == "same":
        os.mknod(place, 0o020666, os.makedev(1, 3))
    else:
        place.touch()
    box.user_namespace()
    box.linux["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]
    assert box.sh("stat -c %t:%T /dev/null") == "1:3\n"
