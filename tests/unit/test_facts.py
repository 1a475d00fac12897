"""What the runtime finds out about the host and the image before it compiles anything."""

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


def test_a_pipe_in_place_of_passwd_does_not_block(tmp_path: Path) -> None:
    import os

    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    assert facts.home(0, str(tmp_path)) == ""
