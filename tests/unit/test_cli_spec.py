"""`spec`: a configuration to start from, and the root file system that goes with it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pyrunc import cli
from pyrunc.cli import sample
from pyrunc.config import load

needs_busybox = pytest.mark.skipif(
    not any(os.path.exists(path) and sample.static(path) for path in sample.BUSYBOXES),
    reason="there is no static busybox",
)


def test_spec_writes_a_configuration_that_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["spec"]) == 0
    config = load.load(str(tmp_path))
    assert config["process"]["args"] == ["sh"]
    assert config["root"] == {"path": "rootfs", "readonly": True}


def test_a_rootless_spec_maps_the_caller_to_root(tmp_path: Path) -> None:
    assert cli.main(["spec", "--rootless", "--bundle", str(tmp_path)]) == 0
    config = load.load(str(tmp_path))
    assert {"type": "user"} in config["linux"]["namespaces"]
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]


def test_spec_never_overwrites(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("mine")
    assert cli.main(["spec", "-b", str(tmp_path), "--rootfs"]) == 1
    assert f"{tmp_path}/config.json exists already" in capfd.readouterr().err
    assert (tmp_path / "config.json").read_text() == "mine"
    assert not (tmp_path / "rootfs").exists()


def test_spec_names_a_directory_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["spec", "-b", f"{tmp_path}/no"]) == 1
    assert f"there is no directory {tmp_path}/no" in capfd.readouterr().err


@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
def test_the_configuration_has_the_parts_of_runcs(tmp_path: Path) -> None:
    subprocess.run(["runc", "spec", "-b", tmp_path], check=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    assert cli.main(["spec", "-b", str(tmp_path)]) == 0
    ours = json.loads((tmp_path / "config.json").read_text())
    assert ours["mounts"] == theirs["mounts"]
    assert ours["process"].keys() == theirs["process"].keys()
    assert ours["linux"]["resources"] == theirs["linux"]["resources"]
    for key in ("namespaces", "maskedPaths", "readonlyPaths"):
        assert all(entry in ours["linux"][key] for entry in theirs["linux"][key])


@needs_busybox
def test_rootfs_is_filled_from_busybox(tmp_path: Path) -> None:
    assert cli.main(["spec", "-b", str(tmp_path), "--rootfs"]) == 0
    root = tmp_path / "rootfs"
    assert os.readlink(root / "bin/sh") == "busybox"
    assert subprocess.run([root / "bin/sh", "-c", "exit 3"], check=False).returncode == 3
    assert (root / "usr/bin/env").resolve() == root / "bin/busybox"
    assert (root / "etc/passwd").read_text().startswith("root:x:0:0:")
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (root / "bin").stat().st_mode & 0o7777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "rootfs"]


@needs_busybox
def test_the_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        sample.fill(f"{tmp_path}/rootfs")
    finally:
        os.umask(before)
    for name in ("", "bin", "etc", "etc/passwd", "usr"):
        assert (tmp_path / "rootfs" / name).stat().st_mode & 0o044 == 0o044, name


def test_a_rootfs_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    assert cli.main(["spec", "-b", str(tmp_path), "--rootfs"]) == 0
    assert list((tmp_path / "rootfs").iterdir()) == []


def test_without_busybox_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy("/bin/sh", tmp_path / "dynamic")
    monkeypatch.setattr(sample, "BUSYBOXES", (f"{tmp_path}/none", f"{tmp_path}/dynamic"))
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    assert cli.main(["spec", "-b", str(bundle), "--rootfs"]) == 1
    assert "apt-get install busybox-static" in capfd.readouterr().err
    assert list(bundle.iterdir()) == []
