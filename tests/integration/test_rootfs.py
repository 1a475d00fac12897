"""The root file system and mounts (config.md, "Root" and "Mounts"): what is where, with which options."""

import os
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import Box, parse_mountinfo


def mounts_of(box: Box) -> dict[str, dict[str, Any]]:
    """The mounts that a container sees, by mount point; the topmost of each."""
    return {m["at"]: m for m in parse_mountinfo(box.sh("cat /proc/self/mountinfo"))}


# -- the root


@pytest.mark.shows("/root/readonly")
def test_a_readonly_root_cannot_be_written(box: Box) -> None:
    box.config["root"]["readonly"] = True
    box.script("touch /x; touch /dev/shm/ok && echo ok")
    result = box.run()
    assert "Read-only file system" in result.err
    assert result.out == "ok\n"
    assert not (box.rootfs / "x").exists()
    (box.rootfs / "still-writable-for-the-host").touch()


@pytest.mark.shows("/root/readonly")
def test_a_writable_root_writes_through(box: Box) -> None:
    box.sh("echo text > /file")
    assert (box.rootfs / "file").read_text() == "text\n"


@pytest.mark.shows("/root/path")
def test_an_absolute_root_path_outside_the_bundle_works(box: Box) -> None:
    os.rename(box.rootfs, box.place / "elsewhere")
    box.config["root"]["path"] = str(box.place / "elsewhere")
    assert box.sh("ls /bin/busybox") == "/bin/busybox\n"


def test_the_root_may_be_a_mount_point(box: Box) -> None:
    subprocess.run(["mount", "--bind", box.rootfs, box.rootfs], check=True)
    try:
        assert box.sh("echo inside") == "inside\n"
    finally:
        subprocess.run(["umount", box.rootfs], check=True)


def test_the_old_root_cannot_be_reached_after_the_pivot(box: Box) -> None:
    box.capabilities("CAP_SYS_CHROOT", "CAP_SYS_ADMIN")
    text = box.sh("cat /proc/self/mountinfo; cd /; cd ../../../..; ls; umount -l / 2>/dev/null; ls /")
    assert (
        f"/{box.place.name}/bundle/rootfs / " in text
    )  # as the root of the mount at /, not as a mount point
    mounts = parse_mountinfo(text.split("\nbin\n")[0])
    assert sum(m["at"] == "/" for m in mounts) == 1
    assert not [m for m in mounts if m["at"].startswith(("/.", "/old", "/work", "/home"))]
    assert "lost+found" not in text


def test_the_chroot_escape_fails(box: Box) -> None:
    """A chroot alone is left with a descriptor of a directory outside; a pivoted root is not."""
    box.capabilities("CAP_SYS_CHROOT")
    script = "mkdir -p /tmp/d; chroot /tmp/d /bin/true 2>/dev/null; cd ../../../../../..; ls -a"
    assert "lost+found" not in box.sh(script)


@pytest.mark.parametrize("flag", [[], ["--no-pivot"]])
def test_a_container_without_pivot_has_the_same_view(box: Box, flag: list[str]) -> None:
    assert "busybox" in box.sh("ls /bin; ls /", *flag)
    box.clean()


def test_no_mount_of_the_container_is_seen_by_the_host(box: Box) -> None:
    box.mount("/mnt", "tmpfs", source=box.id)
    box.sleeping()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(box.place) not in mounts
    assert box.id not in mounts


@pytest.mark.shows("/linux/rootfsPropagation")
@pytest.mark.parametrize(
    ("propagation", "expected"),
    [
        ("private", []),
        ("rprivate", []),
        ("rslave", ["master:"]),
        pytest.param("slave", ["master:"], marks=pytest.mark.beyond_runc("only of the host's root")),
        pytest.param("shared", ["shared:"], marks=pytest.mark.beyond_runc("only of the host's root")),
        pytest.param("rshared", ["shared:"], marks=pytest.mark.beyond_runc("only of the host's root")),
        pytest.param("unbindable", ["unbindable:"], marks=pytest.mark.beyond_runc("only of the host's root")),
    ],
)
def test_root_propagation(box: Box, propagation: str, expected: list[str]) -> None:
    """The bundle lies on a shared mount; the propagation decides what the container keeps of it."""
    subprocess.run(["mount", "--bind", box.bundle, box.bundle], check=True)
    try:
        subprocess.run(["mount", "--make-shared", box.bundle], check=True)
        box.linux["rootfsPropagation"] = propagation
        found = mounts_of(box)["/"]["propagation"]
        assert [word.split(":")[0] + ":" for word in found] == expected
    finally:
        subprocess.run(["umount", "-R", box.bundle], check=True)


def test_a_mount_made_on_the_host_later_reaches_a_slave_bind(box: Box) -> None:
    shared = box.place / "shared"
    (shared / "later").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", shared], check=True)
    try:
        subprocess.run(["mount", "--make-shared", shared], check=True)
        (shared / "later").mkdir()
        box.mount("/mnt", source=str(shared), options=["rbind", "rslave"])
        box.linux["rootfsPropagation"] = "rslave"
        box.sleeping()
        subprocess.run(["mount", "-t", "tmpfs", "none", shared / "later"], check=True)
        (shared / "later/file").touch()
        assert box.exec_sh("ls /mnt/later") == "file\n"
        box.delete("--force").ok()
    finally:
        subprocess.run(["umount", "-R", shared], check=True)


# -- bind mounts


@pytest.mark.shows("/mounts/*/{destination,source,type}")
def test_a_bind_mount_shows_the_source_and_writes_through(box: Box) -> None:
    source = box.place / "source"
    source.mkdir()
    (source / "file").write_text("text\n")
    box.mount("/mnt/data", source=str(source))
    assert box.sh("cat /mnt/data/file; echo new > /mnt/data/other") == "text\n"
    assert (source / "other").read_text() == "new\n"


def test_a_readonly_bind_mount_cannot_be_written_but_the_source_can(box: Box) -> None:
    source = box.place / "source"
    source.mkdir()
    box.mount("/mnt/data", source=str(source), options=["ro"])
    assert "Read-only" in box.run_script("touch /mnt/data/x").err
    (source / "x").touch()


def test_a_file_can_be_bound_and_its_missing_destination_is_made(box: Box) -> None:
    source = box.place / "source"
    source.write_text("text\n")
    box.mount("/etc/new/dir/resolv.conf", source=str(source), options=["ro"])
    assert box.sh("cat /etc/new/dir/resolv.conf") == "text\n"
    assert (box.rootfs / "etc/new/dir/resolv.conf").is_file()
    assert (box.rootfs / "etc/new/dir/resolv.conf").read_text() == ""


@pytest.mark.shows("/mounts/*/destination")
def test_a_directory_destination_is_made_with_its_parents(box: Box) -> None:
    box.mount("/a/b/c", "tmpfs")
    assert box.sh("stat -c %a /a /a/b") == "755\n755\n"


def test_a_bind_source_relative_to_the_bundle(box: Box) -> None:
    """config.md: "a path to be resolved relative to the bundle" for bind mounts."""
    (box.bundle / "data").mkdir()
    (box.bundle / "data/file").write_text("text\n")
    box.mount("/mnt", source="data")
    assert box.sh("cat /mnt/file") == "text\n"


def test_a_socket_and_a_fifo_can_be_bound(box: Box) -> None:
    os.mkfifo(box.place / "fifo")
    box.mount("/run/fifo", source=str(box.place / "fifo"))
    assert box.sh("stat -c %F /run/fifo") == "fifo\n"


@pytest.mark.parametrize(("kind", "seen"), [("bind", False), ("rbind", True)])
def test_rbind_takes_mounts_below_and_bind_does_not(box: Box, kind: str, seen: bool) -> None:
    source = box.place / "source"
    (source / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", source / "below"], check=True)
    try:
        (source / "below/file").touch()
        box.mount("/mnt", source=str(source), options=[kind])
        assert box.sh("ls /mnt/below") == ("file\n" if seen else "")
    finally:
        subprocess.run(["umount", source / "below"], check=True)


@pytest.mark.shows("/mounts/*/options")
@pytest.mark.parametrize(("option", "below"), [("ro", False), ("rro", True)])
def test_recursive_readonly_reaches_mounts_below_and_ro_does_not(box: Box, option: str, below: bool) -> None:
    source = box.place / "source"
    (source / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", source / "below"], check=True)
    try:
        box.mount("/mnt", source=str(source), options=["rbind", option])
        assert (box.run_script("touch /mnt/below/x").code != 0) == below
        assert not (source / "x").exists()
    finally:
        subprocess.run(["umount", source / "below"], check=True)


@pytest.mark.beyond_runc("drops them")
def test_a_bind_mount_keeps_the_flags_of_its_source(box: Box) -> None:
    """A remount for `ro` must not drop nosuid or noexec of the source."""
    source = box.place / "source"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec", "none", source], check=True)
    try:
        box.mount("/mnt", source=str(source), options=["rbind", "ro"])
        assert {"ro", "nosuid", "nodev", "noexec"} <= mounts_of(box)["/mnt"]["options"]
    finally:
        subprocess.run(["umount", source], check=True)


@pytest.mark.shows("/mounts/*/options")
@pytest.mark.parametrize(
    ("options", "expected", "absent"),
    [
        (["nosuid"], {"nosuid", "rw"}, {"nodev", "noexec"}),
        (["nodev", "noexec"], {"nodev", "noexec"}, {"nosuid"}),
        (["ro", "noatime"], {"ro", "noatime"}, {"relatime"}),
        (["nodiratime"], {"nodiratime"}, {"noatime"}),
        (["strictatime"], set(), {"relatime", "noatime"}),
        (["relatime"], {"relatime"}, {"noatime"}),
        (["noexec", "exec"], set(), {"noexec"}),
        (["ro", "rw"], {"rw"}, {"ro"}),
        (["nosymfollow"], {"nosymfollow"}, set()),
    ],
)
def test_bind_mount_options_are_in_effect(
    box: Box, options: list[str], expected: set[str], absent: set[str]
) -> None:
    if box.is_runc and options == ["nosymfollow"]:
        pytest.skip("runc differs: nosymfollow came with 1.2")
    source = box.place / "source"
    source.mkdir()
    box.mount("/mnt", source=str(source), options=["bind", *options])
    found = mounts_of(box)["/mnt"]["options"]
    assert expected <= found
    assert not absent & found


@pytest.mark.shows("/mounts/*/options")
@pytest.mark.parametrize(
    ("option", "expected"),
    [("private", []), ("shared", ["shared"]), ("slave", ["master"]), ("unbindable", ["unbindable"])],
)
def test_mount_propagation_options(box: Box, option: str, expected: list[str]) -> None:
    source = box.place / "source"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", source], check=True)
    try:
        subprocess.run(["mount", "--make-shared", source], check=True)
        box.mount("/mnt", source=str(source), options=["bind", option])
        box.linux["rootfsPropagation"] = "slave"
        found = [word.split(":")[0] for word in mounts_of(box)["/mnt"]["propagation"]]
        assert set(expected) <= set(found)  # a shared mount may be a slave of the host's as well
        assert expected or not found
    finally:
        subprocess.run(["umount", source], check=True)


# -- other types


@pytest.mark.shows("/mounts/*/options")
def test_tmpfs_options(box: Box) -> None:
    box.mount(
        "/new",
        "tmpfs",
        options=["nosuid", "nodev", "size=1m", "mode=1757", "uid=12", "gid=34", "nr_inodes=99"],
    )
    fill = "dd if=/dev/zero of=/new/x bs=1M count=2 2>&1"
    out = box.sh(f"stat -c '%a %u %g' /new; grep ' /new ' /proc/self/mountinfo; {fill}; true")
    assert out.startswith("1757 12 34\n")
    mount = parse_mountinfo(out.splitlines()[1])[0]
    assert {"nosuid", "nodev"} <= mount["options"]
    assert {"size=1024k", "nr_inodes=99"} <= mount["super"]
    assert "No space left" in out


def test_a_tmpfs_without_a_mode_takes_that_of_the_directory_it_covers(box: Box) -> None:
    (box.rootfs / "private").mkdir(mode=0o700)
    box.mount("/private", "tmpfs")
    assert box.sh("stat -c %a /private") == "700\n"


def test_a_readonly_tmpfs(box: Box) -> None:
    (box.rootfs / "private").mkdir(mode=0o700)
    box.mount("/private", "tmpfs", options=["ro"])
    assert box.sh("touch /private/x 2>/dev/null || stat -c %a /private") == "700\n"


def test_tmpcopyup_fills_a_tmpfs_with_what_it_covers(box: Box) -> None:
    (box.rootfs / "data/sub").mkdir(parents=True)
    (box.rootfs / "data/file").write_text("text\n")
    (box.rootfs / "data/sub/link").symlink_to("../file")
    (box.rootfs / "data/file").chmod(0o640)
    box.mount("/data", "tmpfs", options=["tmpcopyup"])
    script = (
        "cd /data; cat sub/link; stat -c %a file; echo changed > file; grep ' /data ' /proc/self/mountinfo"
    )
    out = box.sh(script)
    assert out.startswith("text\n640\n")
    assert " - tmpfs " in out
    assert (box.rootfs / "data/file").read_text() == "text\n"


def test_tmpcopyup_keeps_owners_modes_and_links_and_may_be_readonly(box: Box) -> None:
    data = box.rootfs / "data"
    (data / "sub").mkdir(parents=True)
    (data / "program").touch()
    os.chown(data / "program", 12, 34)
    (data / "program").chmod(0o4755)
    (data / "sub/out").symlink_to("/etc/passwd")
    os.chown(data / "sub", 56, 78)
    (data / "sub").chmod(0o2711)
    os.mkfifo(data / "pipe")
    box.mount("/data", "tmpfs", options=["tmpcopyup", "ro", "mode=750"])
    script = "cd /data; stat -c '%a %u %g' . program sub; readlink sub/out; test -p pipe && touch x || echo"
    out = box.sh(script + " ro")
    assert out.splitlines() == ["750 0 0", "4755 12 34", "2711 56 78", "/etc/passwd", "ro"]


def test_tmpcopyup_into_a_tmpfs_that_is_too_small_is_an_error(box: Box) -> None:
    (box.rootfs / "data").mkdir()
    (box.rootfs / "data/large").write_bytes(bytes(1 << 20))
    box.mount("/data", "tmpfs", options=["tmpcopyup", "size=64k"])
    box.run().failed("/mounts/6", "tmpcopyup", "No space left")
    assert box.leftovers() == []


def test_tmpcopyup_of_a_tree_that_is_too_deep_is_an_error(box: Box) -> None:
    (box.rootfs / "data" / "/".join("d" * 201)).mkdir(parents=True)
    box.mount("/data", "tmpfs", options=["tmpcopyup"])
    box.run().failed("/mounts/6", "tmpcopyup", "200 levels")
    assert box.leftovers() == []


def test_tmpcopyup_of_something_else_than_a_tmpfs_is_refused(box: Box) -> None:
    box.mount("/data", "mqueue", options=["tmpcopyup"])
    box.run().failed("/mounts/6/options/0", "tmpcopyup")


@pytest.mark.shows("/mounts/*/{type,options}")
def test_the_default_mounts_are_of_their_types_with_their_options(box: Box) -> None:
    mounts = mounts_of(box)
    assert mounts["/proc"]["type"] == "proc"
    assert (mounts["/dev"]["type"], mounts["/dev/shm"]["type"]) == ("tmpfs", "tmpfs")
    assert {"size=65536k", "mode=755"} <= mounts["/dev"]["super"]
    assert mounts["/dev"]["options"] >= {"rw", "nosuid"}
    assert mounts["/dev/shm"]["options"] >= {"nosuid", "nodev", "noexec"}
    assert mounts["/dev/pts"]["type"] == "devpts"
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= mounts["/dev/pts"]["super"]
    assert mounts["/dev/mqueue"]["type"] == "mqueue"
    assert (mounts["/sys"]["type"], "ro" in mounts["/sys"]["options"]) == ("sysfs", True)


def test_a_new_proc_shows_only_the_container_s_processes(box: Box) -> None:
    assert box.sh("ls -d /proc/[0-9]*; true").split() in (["/proc/1", "/proc/2"], ["/proc/1"])


def test_a_proc_with_options(box: Box) -> None:
    box.mounts[0]["options"] = ["nosuid", "noexec", "nodev", "hidepid=2"]
    mount = mounts_of(box)["/proc"]
    assert {"nosuid", "noexec", "nodev"} <= mount["options"]
    assert mount["super"] & {"hidepid=2", "hidepid=invisible"}


def test_overlay_writes_to_the_upper_directory(box: Box) -> None:
    for name in ("lower", "upper", "work"):
        (box.place / name).mkdir()
    (box.place / "lower/file").write_text("text\n")
    options = [f"{key}dir={box.place}/{key}" for key in ("lower", "upper", "work")]
    box.mount("/mnt", "overlay", options=options)
    assert box.sh("cat /mnt/file; echo new > /mnt/other") == "text\n"
    assert (box.place / "upper/other").read_text() == "new\n"
    assert not (box.place / "lower/other").exists()


def test_an_overlay_with_many_lower_directories(box: Box) -> None:
    """Docker passes more than 4 KiB of lowerdir; fsconfig takes 256 bytes a string only."""
    names = []
    for number in range(12):
        directory = box.place / f"lower-{'x' * 30}-{number}"
        directory.mkdir()
        (directory / f"f{number}").touch()
        names.append(str(directory))
    box.mount("/mnt", "overlay", options=["lowerdir=" + ":".join(names)])
    assert len(box.sh("ls /mnt").split()) == 12


def test_a_cgroup_mount_shows_the_container_s_cgroups(box: Box, pure_v2: bool) -> None:
    box.add_namespace("cgroup")
    box.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"])
    out = box.sh("ls /sys/fs/cgroup; cat /proc/self/mountinfo")
    mounts = {m["at"]: m for m in parse_mountinfo("\n".join(x for x in out.splitlines() if " - " in x))}
    if pure_v2:
        assert mounts["/sys/fs/cgroup"]["type"] == "cgroup2"
        assert "cgroup.procs" in out
    else:
        for controller in ("memory", "pids", "cpu", "devices", "freezer"):
            mount = mounts[f"/sys/fs/cgroup/{controller}"]
            assert mount["type"] == "cgroup"
            assert "ro" in mount["options"]
    if not box.is_runc:
        assert "ro" in mounts["/sys/fs/cgroup"]["options"]


def test_a_cgroup_mount_without_a_cgroup_namespace_shows_no_other_container(box: Box, pure_v2: bool) -> None:
    box.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"])
    where = "/sys/fs/cgroup/cgroup.procs" if pure_v2 else "/sys/fs/cgroup/pids/cgroup.procs"
    out = box.sh(f"cat {where}; true").split()
    assert out
    if not pure_v2:
        assert out[0] == "1"


def test_a_later_mount_covers_an_earlier_one(box: Box) -> None:
    for name in ("one", "two"):
        (box.place / name).mkdir()
        (box.place / name / name).touch()
        box.mount("/mnt", source=str(box.place / name))
    assert box.sh("ls /mnt") == "two\n"


def test_a_mount_can_lie_on_an_earlier_mount(box: Box) -> None:
    (box.place / "inner").mkdir()
    (box.place / "inner/file").touch()
    box.mount("/mnt", "tmpfs")
    box.mount("/mnt/a/b", source=str(box.place / "inner"))
    assert box.sh("ls /mnt/a/b") == "file\n"
    assert not (box.rootfs / "mnt/a").exists()


# -- what is wrong with a mount


def test_a_missing_bind_source_names_the_mount(box: Box) -> None:
    box.mount("/mnt", source="/no/such/source")
    box.run().failed("/mounts/6", "/no/such/source", "/mnt")
    box.clean()


@pytest.mark.shows("/mounts/*/type")
def test_an_unknown_file_system_names_the_mount(box: Box) -> None:
    box.mount("/mnt", "nosuchfs")
    box.run().failed("/mounts/6", "nosuchfs")
    box.clean()


def test_a_bad_tmpfs_option_names_the_mount_and_the_option(box: Box) -> None:
    box.mount("/mnt", "tmpfs", options=["size=many"])
    box.run().failed("/mounts/6", "size")
    box.clean()


def test_a_file_on_a_directory_is_refused(box: Box) -> None:
    (box.place / "file").touch()
    box.mount("/mnt", source=str(box.place / "file"))
    box.run().failed("/mounts/6")
    box.clean()


# -- destinations that lead out


@pytest.mark.parametrize("target", ["../../../../../../../../../../..{outside}", "{outside}"])
def test_a_destination_through_a_symlink_that_leads_out_stays_inside(box: Box, target: str) -> None:
    """CVE-2019-16884 and kin: the mount lands inside the root or fails, the host is not touched."""
    outside = box.place / "outside"
    outside.mkdir()
    (box.rootfs / "etc/evil").symlink_to(target.format(outside=outside))
    source = box.place / "source"
    source.mkdir()
    (source / "file").touch()
    box.mount("/etc/evil/deep/er", source=str(source))
    result = box.run_script("ls /etc/evil/deep/er")
    assert result.code in (0, 1)
    if result.code == 0:
        assert result.out == "file\n"
        assert (box.rootfs / str(outside).lstrip("/") / "deep/er").is_dir()
    assert list(outside.iterdir()) == []
    box.clean()


def test_a_destination_that_is_a_symlink_out_stays_inside(box: Box) -> None:
    outside = box.place / "outside"
    outside.write_text("the host's\n")
    (box.rootfs / "etc/evil").symlink_to(outside)
    (box.place / "source").write_text("the container's\n")
    box.mount("/etc/evil", source=str(box.place / "source"))
    result = box.run_script("cat /etc/evil")
    assert (result.code, result.out) in ((0, "the container's\n"), (1, ""))
    assert outside.read_text() == "the host's\n"
    box.clean()


def test_a_destination_with_dots_stays_inside(box: Box) -> None:
    box.mount("/../../../../../mnt/x", "tmpfs")
    box.script("grep ' /mnt/x ' /proc/self/mountinfo")
    result = box.run()
    assert result.code in (0, 1)
    assert not Path("/mnt/x").exists()
    box.clean()


def test_a_symlink_inside_the_root_is_followed(box: Box) -> None:
    (box.rootfs / "var").mkdir()
    (box.rootfs / "var/run").symlink_to("/run")
    box.mount("/var/run/data", "tmpfs")
    assert " /run/data " in box.sh("cat /proc/self/mountinfo")


def test_a_dangling_symlink_as_destination_stays_inside(box: Box) -> None:
    (box.rootfs / "etc/dangling").symlink_to("/no/such/dir")
    box.mount("/etc/dangling", "tmpfs")
    result = box.run_script("grep tmpfs /proc/self/mountinfo")
    assert result.code in (0, 1)
    if result.code == 0:
        assert " /no/such/dir " in result.out
    assert not Path("/no/such").exists()
    box.clean()


def test_proc_on_a_symlink_is_refused_or_lands_inside(box: Box) -> None:
    """CVE-2019-19921: a /proc that is a symlink of the image would redirect what is written to /proc."""
    (box.rootfs / "proc").rmdir()
    (box.rootfs / "elsewhere").mkdir()
    (box.rootfs / "proc").symlink_to("/elsewhere")
    box.run().failed("/mounts/0", "/proc")
    box.clean()


def test_a_regular_mount_over_a_part_of_proc_is_refused(box: Box) -> None:
    (box.place / "fake").write_text("fake\n")
    box.mount("/proc/self/attr/exec", source=str(box.place / "fake"))
    box.run().failed("/mounts/6")
    box.clean()


def test_the_files_of_proc_that_lxcfs_replaces_can_be_bound(box: Box) -> None:
    (box.place / "meminfo").write_text("MemTotal: 1 kB\n")
    box.mount("/proc/meminfo", source=str(box.place / "meminfo"))
    assert box.sh("cat /proc/meminfo") == "MemTotal: 1 kB\n"


# -- masked and read-only paths


@pytest.mark.shows("/linux/maskedPaths")
def test_masked_files_read_empty_and_directories_list_nothing(box: Box) -> None:
    (box.rootfs / "secret-dir").mkdir()
    (box.rootfs / "secret-dir/file").write_text("secret\n")
    (box.rootfs / "secret-file").write_text("secret\n")
    box.linux["maskedPaths"] += ["/secret-dir", "/secret-file", "/no/such/path"]
    assert box.sh("ls -A /secret-dir; cat /secret-file") == ""
    assert (box.rootfs / "secret-file").read_text() == "secret\n"


@pytest.mark.shows("/linux/maskedPaths")
def test_a_masked_directory_cannot_be_written(box: Box) -> None:
    (box.rootfs / "secret-dir").mkdir()
    box.linux["maskedPaths"] += ["/secret-dir"]
    assert "Read-only" in box.run_script("touch /secret-dir/x").err


@pytest.mark.shows("/linux/readonlyPaths")
def test_readonly_paths_cannot_be_written(box: Box) -> None:
    (box.rootfs / "fixed/sub").mkdir(parents=True)
    box.linux["readonlyPaths"] += ["/fixed", "/no/such/path"]
    for path in ("/fixed/x", "/fixed/sub/x"):
        assert "Read-only" in box.run_script(f"touch {path}").err
    assert "Read-only" in box.run_script("echo 1 > /proc/sys/kernel/domainname").err


def test_a_readonly_path_keeps_the_flags_of_its_mount(box: Box) -> None:
    box.mounts[0]["options"] = ["nosuid", "noexec", "nodev"]
    assert {"ro", "nosuid", "noexec", "nodev"} <= mounts_of(box)["/proc/sys"]["options"]


# -- devices


def test_default_devices_exist_with_their_numbers_and_modes(box: Box) -> None:
    names = "null zero full random urandom tty"
    out = box.sh(f"cd /dev; for f in {names}; do stat -c '%n %F %t:%T %a %u:%g' $f; done")
    numbers = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
    assert out.splitlines() == [f"{n} character special file {numbers[n]} 666 0:0" for n in names.split()]


def test_the_links_in_dev(box: Box) -> None:
    out = box.sh(
        "cd /dev; for f in fd stdin stdout stderr ptmx; do echo $f $(readlink $f); done; echo ok >> stdout"
    )
    assert out.splitlines() == [
        "fd /proc/self/fd",
        "stdin /proc/self/fd/0",
        "stdout /proc/self/fd/1",
        "stderr /proc/self/fd/2",
        "ptmx pts/ptmx",
        "ok",
    ]


def test_null_and_zero_work_and_mknod_of_a_disk_does_not(box: Box) -> None:
    box.capabilities("CAP_MKNOD")
    out = box.sh(
        "cd /dev; echo x > null; head -c3 zero | od -An -tx1; mknod /tmp/d b 8 0 2>&1; cat /tmp/d 2>&1; :"
    )
    assert out.splitlines()[0].split() == ["00", "00", "00"]
    assert "Operation not permitted" in out or "Permission denied" in out or "No such device" in out


@pytest.mark.shows("/linux/devices/*/{type,path,major,minor,fileMode,uid,gid}")
def test_a_configured_device(box: Box) -> None:
    box.linux["devices"] = [
        {
            "path": "/dev/mine/dev",
            "type": "c",
            "major": 1,
            "minor": 7,
            "fileMode": 0o640,
            "uid": 12,
            "gid": 34,
        },
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600, "major": 2**40, "minor": -(2**40)},
    ]
    box.linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "rwm"}
    )
    out = box.sh("stat -c '%F %t:%T %a %u:%g' /dev/mine/dev /dev/pipe")
    assert out.splitlines()[0] == "character special file 1:7 640 12:34"
    assert out.splitlines()[1].startswith("fifo 0:0 600")


@pytest.mark.shows("/linux/devices/*/{type,path,major,minor}")
def test_a_configured_device_is_usable(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/filled", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666}]
    box.linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "rwm"}
    )
    assert "No space left" in box.run_script("echo x > /dev/filled").err


def test_a_configured_device_may_replace_a_default_one(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}]
    box.linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
    )
    assert box.sh("stat -c '%t:%T' /dev/null") == "1:3\n"


def test_the_ptmx_of_the_container_opens_its_own_terminals(box: Box) -> None:
    assert stat.S_ISLNK(os.lstat(box.rootfs / "bin/sh").st_mode)
    assert box.sh("ls /dev/pts") == "ptmx\n"


def test_a_dev_bound_from_the_host_is_left_alone(box: Box) -> None:
    """With /dev bound from the host no device may be made in it: Docker's `-v /dev:/dev`."""
    box.mounts[:] = [m for m in box.mounts if not m["destination"].startswith("/dev")]
    before = sorted(os.listdir("/dev"))
    box.mount("/dev", source="/dev", options=["rbind", "rprivate"])
    box.sh("ls /dev/null")
    assert sorted(os.listdir("/dev")) == before


def test_renames_elsewhere_on_the_host_do_not_make_a_run_fail(box: Box) -> None:
    """The kernel gives up a look-up with ".." below a root when something is renamed meanwhile."""
    (box.rootfs / "run").mkdir(exist_ok=True)
    (box.rootfs / "var").mkdir(exist_ok=True)
    (box.rootfs / "var/run").symlink_to("../run")
    for number in range(20):
        box.mount(f"/var/run/{number}", "tmpfs")
    one, other, done = box.place / "one", box.place / "other", threading.Event()
    one.touch()

    def rename() -> None:
        while not done.is_set():
            one.rename(other)
            other.rename(one)

    busy = threading.Thread(target=rename)
    busy.start()
    try:
        for _ in range(5):
            box.run().ok()
    finally:
        done.set()
        busy.join()
