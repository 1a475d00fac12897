"""scripts/check-registration: engines' files, good and bad, and what it says of them."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from registered import ENGINES, FEATURES, SCRIPT, Unreadable, look, stand_in

Text = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path) -> Path:
    return stand_in(tmp_path)


@pytest.fixture
def checked(tmp_path: Path, command: Path) -> Text:
    """Writes an engine's file, in which COMMAND and DIR stand for paths, and returns what is said of it."""

    def check(
        engine: str, text: str, *, systemd: bool = False, name: str = "pyrunc", daemon: str = ""
    ) -> str:
        text = text.replace("COMMAND", str(command)).replace("DIR", str(tmp_path))
        if engine == "crio":
            place = tmp_path / "crio"
            (place / "crio.conf.d").mkdir(parents=True, exist_ok=True)
            (place / "crio.conf.d/10-pyrunc.conf").write_text(text)
        else:
            place = tmp_path / ("daemon.json" if engine == "docker" else f"{engine}.toml")
            place.write_text(text)
        return "\n".join(look(engine, place, systemd=systemd, name=name, daemon=daemon).lines)

    return check


DOCKER = '{"runtimes": {"pyrunc": {"path": "COMMAND"}}, "exec-opts": ["native.cgroupdriver=cgroupfs"]MORE}'
V2, V3 = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
CONTAINERD = """
version = 2
TOP
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.pyrunc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.pyrunc.options]
  BinaryName = "COMMAND"
  SystemdCgroup = false
"""
PODMAN = """
[engine]
runtime = "pyrunc"
cgroup_manager = "cgroupfs"
runtime_supports_json = ["pyrunc"]
[engine.runtimes]
pyrunc = ["COMMAND"]
"""
CRIO = """
[crio.runtime]
default_runtime = "pyrunc"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
[crio.runtime.runtimes.pyrunc]
runtime_path = "COMMAND"
runtime_type = "oci"
runtime_root = "/run/pyrunc"
"""

GOOD = {
    "docker": DOCKER.replace("MORE", ""),
    "containerd": CONTAINERD.replace("TOP", ""),
    "podman": PODMAN,
    "crio": CRIO,
}
SYSTEMD = {
    "docker": ("=cgroupfs", "=systemd"),
    "containerd": ("SystemdCgroup = false", "SystemdCgroup = true"),
    "podman": ('"cgroupfs"', '"systemd"'),
    "crio": ('"cgroupfs"', '"systemd"'),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_good_file_has_nothing_wrong(checked: Text, engine: str) -> None:
    said = checked(engine, GOOD[engine])
    assert "wrong" not in said
    assert "(pyrunc 0, specification 1.3.0)" in said


@pytest.mark.parametrize("engine", ENGINES)
def test_the_systemd_driver_needs_systemd_and_a_command_that_has_it(
    checked: Text, engine: str, tmp_path: Path
) -> None:
    text = GOOD[engine].replace(*SYSTEMD[engine])
    assert "wrong" not in checked(engine, text, systemd=True)
    assert "the cgroup driver is systemd, which does not run here" in checked(engine, text)
    (tmp_path / "features").write_text(json.dumps({**FEATURES, "linux": {"cgroup": {"systemd": False}}}))
    assert "has no systemd cgroup driver" in checked(engine, text, systemd=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_other_driver_beside_systemd_is_noted(checked: Text, engine: str) -> None:
    said = checked(engine, GOOD[engine], systemd=True)
    assert "wrong" not in said
    assert "note   systemd runs here" in said


@pytest.mark.parametrize("engine", ENGINES)
def test_a_name_that_is_not_registered_comes_with_those_that_are(checked: Text, engine: str) -> None:
    said = checked(engine, GOOD[engine], name="other")
    assert 'wrong  no runtime "other" is registered (there are: pyrunc)' in said


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("DIR/absent", "does not exist"),
        ("DIR/features", "is not executable"),
        ("DIR", "is not a file"),
        ("no-such-program", "no no-such-program in PATH"),
        ("/bin/false", '"/bin/false --version" ended with 1'),
        ("/bin/echo", '"/bin/echo features" gave no features document'),
    ],
)
def test_a_command_that_cannot_be_run_is_told_with_a_remedy(
    checked: Text, engine: str, path: str, says: str
) -> None:
    said = checked(engine, GOOD[engine].replace("COMMAND", path))
    assert says in said
    assert "mend: " in said


def test_a_command_whose_interpreter_was_removed(checked: Text, command: Path) -> None:
    command.write_text("#!/opt/removed/bin/python -IS\n")
    said = checked("docker", GOOD["docker"])
    assert "needs /opt/removed/bin/python, which does not exist" in said
    assert "pyrunc.launcher" in said


BAD: dict[str, list[tuple[str, ...]]] = {
    "docker": [
        (', "default-runtime": "crun"', 'the default runtime is "crun", which is not registered'),
        (', "cgroup-parent": "box.slice"', "does not fit the driver cgroupfs"),
        (', "exec-opts": ["native.cgroupdriver=v2"]', "the cgroup driver is 'v2'"),
        (
            ', "runtimes": {"pyrunc": {"path": "COMMAND", "runtimeArgs": ["--x"]}}',
            '--x --version" ended with 3',
        ),
        (', "runtimes": {"pyrunc": {"runtimeType": "io.containerd.kata.v2"}}', "runtimeType is"),
        (', "runtimes": {"pyrunc": "COMMAND"}', "the path is None"),
    ],
    "containerd": [
        ("version = 2", "version = 1", "it is of version 1"),
        ("version = 2", "", "it is of version 1"),
        ("version = 2", "version = 3", "in the table of version 2, and the file is of version 3"),
        (V2, V3, "in the table of version 3, and the file is of version 2"),
        ('"io.containerd.runc.v2"', '"io.containerd.runtime.v1.linux"', "runtime_type is"),
        ("TOP", 'disabled_plugins = ["cri"]', "disabled_plugins has cri"),
        ("BinaryName", "binary_name", "the option binary_name is not known"),
        ("SystemdCgroup = false", 'SystemdCgroup = "false"', "SystemdCgroup is 'false'"),
        ('runc.v2"', 'runc.v2"\n  BinaryName = "COMMAND"', "BinaryName is beside runtime_type"),
        (
            "TOP",
            f'[plugins."{V2}".containerd]\n  default_runtime_name = "x"',
            'the default runtime is "x", which is not registered',
        ),
    ],
    "podman": [
        ('["COMMAND"]', '"COMMAND"', "a list: pyrunc = ["),
        ('"cgroupfs"', '"none"', "the cgroup driver is 'none'"),
        ('["pyrunc"]', '["runc"]', 'runtime_supports_json does not name "pyrunc"'),
        ('runtime = "pyrunc"', 'runtime = "x"', 'the default runtime is "x", which is not registered'),
    ],
    "crio": [
        ('conmon_cgroup = "pod"', "", "conmon_cgroup is None"),
        ('"oci"', '"vm"', "runtime_type is 'vm'"),
        (
            "[crio.runtime.runtimes.pyrunc]",
            '[crio.runtime.runtimes.runc]\nruntime_root = "/run/pyrunc"\n[crio.runtime.runtimes.pyrunc]',
            "runtime_root /run/pyrunc is also that of runc",
        ),
        ('default_runtime = "pyrunc"', 'default_runtime = "x"', 'the default runtime is "x"'),
    ],
}


@pytest.mark.parametrize(("more", "says"), BAD["docker"])
def test_what_is_wrong_in_daemon_json(checked: Text, more: str, says: str) -> None:
    assert says in checked("docker", DOCKER.replace("MORE", more))


@pytest.mark.parametrize(
    ("engine", "old", "new", "says"),
    [(engine, *each) for engine, cases in BAD.items() if engine != "docker" for each in cases],
)
def test_what_is_wrong_in_other_files(checked: Text, engine: str, old: str, new: str, says: str) -> None:
    text = CONTAINERD if engine == "containerd" else GOOD[engine]
    assert old in text
    assert says in checked(engine, text.replace(old, new).replace("TOP", ""))


def test_containerd_s_imports_are_read(checked: Text, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/pyrunc.toml").write_text(
        GOOD["containerd"].replace("COMMAND", str(tmp_path / "pyrunc"))
    )
    assert "wrong" not in checked("containerd", 'version = 2\nimports = ["DIR/conf.d/*.toml"]\n')


def test_podman_s_drop_ins_are_read(checked: Text, tmp_path: Path) -> None:
    (tmp_path / "podman.toml.d").mkdir()
    (tmp_path / "podman.toml.d/10.conf").write_text('[engine]\nruntime = "absent"\n')
    assert 'the default runtime is "absent"' in checked("podman", PODMAN)


@pytest.mark.parametrize("engine", ["docker", "containerd", "podman", "crio"])
def test_a_file_that_cannot_be_read_is_named_with_the_place(checked: Text, engine: str) -> None:
    with pytest.raises(Unreadable, match=r"line 2|at line"):
        checked(engine, '{\n"a" "b"' if engine == "docker" else "a = 1\nb = = 2")


def test_a_daemon_that_started_before_the_file_changed_is_told(checked: Text, tmp_path: Path) -> None:
    """This process listens, as the daemon."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "sock"))
        listening.listen()
        said = checked("containerd", GOOD["containerd"], daemon=str(tmp_path / "sock"))
        assert f"the daemon (process {os.getpid()}) runs since before" in said
        assert "systemctl restart containerd" in said
    assert "so none was asked" in checked("containerd", GOOD["containerd"], daemon=str(tmp_path / "sock"))


def script(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=60, check=False)


def test_exit_statuses(tmp_path: Path, command: Path) -> None:
    empty = [f"--{engine}={tmp_path}/none" for engine in ENGINES]
    assert script(*empty).returncode == 1
    file = tmp_path / "daemon.json"
    file.write_text(GOOD["docker"].replace("COMMAND", str(command)))
    with_docker = [*empty, f"--docker={file}", "--files-only", "--systemd=no"]
    done = script(*with_docker)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "nothing wrong"), done
    # Engines that are named are checked whether their files name the runtime or not.
    done = script("docker", "podman", *with_docker)
    assert done.returncode == 1
    assert "none does not exist" in done.stdout
    assert script("dockr", *with_docker).returncode == 2
