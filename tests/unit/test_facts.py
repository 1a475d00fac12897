"""What the runtime finds out about the host and the image before it compiles anything."""

import ctypes
import os
import stat
from pathlib import Path

import pytest

from pyrunc.errors import Error
from pyrunc.host import facts


@pytest.mark.parametrize("release", ["5.12.0", "5.12", "6.1.0-56-amd64", "6.18.44-fc-v595", "10.0"])
def test_a_kernel_with_mount_setattr_will_do(release: str) -> None:
    facts.check_kernel(release)


@pytest.mark.parametrize("release", ["5.11.22-generic", "4.19.0", "3.10.0-1160.el7.x86_64"])
def test_an_older_kernel_is_refused_by_its_version(release: str) -> None:
    with pytest.raises(Error, match=r"needs Linux 5\.12 or later; this kernel is " + release):
        facts.check_kernel(release)


def passwd(rootfs: Path, text: str) -> None:
    (rootfs / "etc").mkdir()
    (rootfs / "etc/passwd").write_text(text)


def test_the_home_directory_is_the_image_s(tmp_path: Path) -> None:
    passwd(tmp_path, "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    assert facts.home(1000, str(tmp_path)) == "/home/user"
    assert facts.home(0, str(tmp_path)) == "/root"
    assert facts.home(5, str(tmp_path)) == ""


def test_a_damaged_passwd_is_no_error(tmp_path: Path) -> None:
    passwd(tmp_path, "short:x:7\n\n:::::::\n\xff")
    assert facts.home(7, str(tmp_path)) == ""


@pytest.mark.parametrize("link", ["etc", "etc/passwd"])
def test_the_host_s_passwd_is_not_read_through_the_image_s_links(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    passwd(outside, "user:x:1000:1000::/outside:/bin/sh\n")
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    if link == "etc/passwd":
        (rootfs / "etc").mkdir()
    (rootfs / link).symlink_to(outside / link)
    assert facts.home(1000, str(rootfs)) == ""


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR])
def test_what_is_no_file_in_place_of_passwd_is_not_opened(tmp_path: Path, kind: int) -> None:
    """To open a tape rewinds it, to open a watchdog arms it; CAP_MKNOD is a default of engines."""
    (tmp_path / "etc").mkdir()
    node = tmp_path / "etc/passwd"
    try:
        os.mknod(node, kind | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    libc = ctypes.CDLL(None)
    opened = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        assert libc.inotify_add_watch(opened, os.fsencode(node), 0x20) > 0  # IN_OPEN
        assert facts.home(0, str(tmp_path)) == ""
        with pytest.raises(BlockingIOError):
            os.read(opened, 4096)
    finally:
        os.close(opened)
