"""From a command line to an exit status, with the containers played by a stand-in."""

import json
import os
import posix
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pyrunc import cli, log
from pyrunc.errors import Error, NotFound

CHECKOUT = Path(__file__).resolve().parents[2]

STATE = {"ociVersion": "1.3.0", "id": "c1", "pid": 42, "status": "running", "bundle": "/b", "annotations": {}}


class Runtime:
    """Keeps what the global flags became."""

    def __init__(self, root: str, *, cgroup_manager: str, rootless: bool | None, debug: bool) -> None:
        self.given = (root, cgroup_manager, rootless, debug)


class Containers:
    """Stands in for pyrunc.container: notes the calls, answers what a test sets."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}

    def function(self, name: str) -> Any:
        def call(runtime: Runtime, *args: Any, **named: Any) -> Any:
            self.calls.append((name, (runtime.given, *args), named))
            answer = self.answers.get(name)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch) -> Containers:
    stand_in = Containers()
    package = ModuleType("pyrunc.container")
    package.Runtime = Runtime  # type: ignore[attr-defined]
    modules = {
        "create": ("create", "run"),
        "lifecycle": ("start", "kill", "delete", "pause", "resume"),
        "inspect": ("state", "containers", "pids"),
        "execute": ("execute",),
        "plan": ("plan",),
    }
    for name, functions in modules.items():
        module = ModuleType(f"pyrunc.container.{name}")
        for function in functions:
            setattr(module, function, stand_in.function(function))
        setattr(package, name, module)
        monkeypatch.setitem(sys.modules, f"pyrunc.container.{name}", module)
    monkeypatch.setitem(sys.modules, "pyrunc.container", package)
    return stand_in


@pytest.fixture(autouse=True)
def _log_to_stderr() -> Any:
    yield
    log.configure("")


def test_create_hands_its_flags_over(
    containers: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = "--pid-file p --console-socket s --pidfd-socket f --no-pivot --no-new-keyring --preserve-fds 2"
    assert (
        cli.main(["--root", "state", "--rootless=true", "create", "-b", "x/../b", *flags.split(), "c1"]) == 0
    )
    assert containers.calls == [
        (
            "create",
            ((f"{tmp_path}/state", "cgroupfs", True, False), "c1", f"{tmp_path}/b"),
            {
                "pid_file": f"{tmp_path}/p",
                "console_socket": f"{tmp_path}/s",
                "pidfd_socket": f"{tmp_path}/f",
                "no_pivot": True,
                "no_new_keyring": True,
                "preserve_fds": 2,
            },
        )
    ]


def test_the_bundle_is_the_current_directory_by_default(
    containers: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    containers.answers["run"] = 0
    cli.main(["run", "c1"])
    assert containers.calls[0][1][1:] == ("c1", str(tmp_path))
    assert containers.calls[0][2]["pid_file"] is None


def test_run_and_exec_end_with_the_containers_status(containers: Containers) -> None:
    containers.answers.update({"run": 143, "execute": 7})
    assert cli.main(["run", "c1"]) == 143
    assert cli.main(["exec", "c1", "sh"]) == 7


def test_exec_hands_its_flags_over(containers: Containers) -> None:
    containers.answers["execute"] = 0
    flags = "-t -e A=1 -u 5:6 -g 7 --cap CAP_KILL --no-new-privs --cwd /w --cgroup x --ignore-paused"
    assert cli.main(["exec", *flags.split(), "c1", "ls", "-l"]) == 0
    name, args, named = containers.calls[0]
    assert (name, args[1:]) == ("execute", ("c1",))
    assert named == {
        "process": None, "args": ["ls", "-l"], "tty": True, "detach": False, "cwd": "/w", "env": ["A=1"],
        "user": "5:6", "additional_gids": [7], "caps": ["CAP_KILL"], "no_new_privs": True, "apparmor": None,
        "process_label": None, "pid_file": None, "console_socket": None, "pidfd_socket": None,
        "preserve_fds": 0, "ignore_paused": True, "cgroup": ["x"],
    }  # fmt: skip


def test_exec_reads_a_process_file(containers: Containers, tmp_path: Path) -> None:
    containers.answers["execute"] = 0
    process = {"cwd": "/", "args": ["id"], "user": {"uid": 1, "gid": 2}}
    file = tmp_path / "process.json"
    file.write_text(json.dumps(process))
    assert cli.main(["exec", "--process", str(file), "c1"]) == 0
    assert containers.calls[0][2]["process"] == process


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["exec", "c1"], "exec needs a command after the container's ID, or --process FILE"),
        (["exec", "-p", "/nowhere", "c1"], "/nowhere cannot be read: No such file or directory"),
        (["exec", "-p", "/dev/null", "c1"], "not JSON"),
        (["exec", "-p", "/dev/null", "c1", "sh"], "exclude each other"),
        (["exec", "-u", "root", "c1", "sh"], "--user root: it takes numbers"),
        (["exec", "-u", "0:4294967295", "c1", "sh"], "it takes numbers"),
    ],
)
def test_an_exec_that_cannot_be_meant_ends_with_255(
    containers: Containers, capfd: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    assert cli.main(argv) == 255
    assert words in capfd.readouterr().err
    assert not containers.calls


def test_kill_takes_names_and_numbers(containers: Containers) -> None:
    for words, number, everyone in (
        (["c1"], 15, False),
        (["c1", "hup"], 1, False),
        (["-a", "c1", "9"], 9, True),
    ):
        containers.calls.clear()
        assert cli.main(["kill", *words]) == 0
        name, args, named = containers.calls[0]
        assert (name, args[1:], named) == ("kill", ("c1", number), {"all": everyone})


def test_delete_takes_an_unknown_id_only_by_force(
    containers: Containers, capfd: pytest.CaptureFixture[str]
) -> None:
    containers.answers["delete"] = NotFound('there is no container "c1"')
    assert cli.main(["delete", "c1"]) == 1
    assert capfd.readouterr().err == 'pyrunc: there is no container "c1"\n'
    assert cli.main(["delete", "--force", "c1"]) == 0
    assert capfd.readouterr().err == ""


def test_state_is_printed_like_runcs(containers: Containers, capfd: pytest.CaptureFixture[str]) -> None:
    containers.answers["state"] = STATE
    assert cli.main(["state", "c1"]) == 0
    assert capfd.readouterr().out == json.dumps(STATE, indent=2) + "\n"


def listed(name: str, **more: Any) -> dict[str, Any]:
    return {
        **STATE,
        "id": name,
        "created": "2026-01-02T03:04:05.678Z",
        "rootfs": "/b/r",
        "owner": "root",
        **more,
    }


def test_list_is_laid_out_like_runcs(containers: Containers, capfd: pytest.CaptureFixture[str]) -> None:
    containers.answers["containers"] = [listed("c1"), listed("a-long-name-of-one", bundle="/some/where")]
    assert cli.main(["list"]) == 0
    assert capfd.readouterr().out == (
        "ID                   PID         STATUS      BUNDLE        CREATED                    OWNER\n"
        "c1                   42          running     /b            2026-01-02T03:04:05.678Z   root\n"
        "a-long-name-of-one   42          running     /some/where   2026-01-02T03:04:05.678Z   root\n"
    )
    assert cli.main(["list", "--quiet"]) == 0
    assert capfd.readouterr().out == "c1\na-long-name-of-one\n"
    assert cli.main(["list", "-f", "json"]) == 0
    assert json.loads(capfd.readouterr().out) == containers.answers["containers"]


def test_an_empty_list_has_a_heading(containers: Containers, capfd: pytest.CaptureFixture[str]) -> None:
    containers.answers["containers"] = []
    assert cli.main(["list"]) == 0
    assert capfd.readouterr().out == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"


def test_ps_shows_the_containers_processes_only(
    containers: Containers, capfd: pytest.CaptureFixture[str]
) -> None:
    containers.answers["pids"] = [os.getpid()]
    for words in ([], ["-o", "comm,pid"], ["aux"]):
        assert cli.main(["ps", "c1", *words]) == 0
        heading, *lines = capfd.readouterr().out.splitlines()
        assert "PID" in heading.split()
        column = heading.split().index("PID")
        assert [line.split()[column] for line in lines] == [str(os.getpid())]
    assert cli.main(["ps", "--format", "json", "c1"]) == 0
    assert capfd.readouterr().out == f"[{os.getpid()}]\n"


def test_ps_says_why_ps_failed(containers: Containers, capfd: pytest.CaptureFixture[str]) -> None:
    containers.answers["pids"] = [1]
    assert cli.main(["ps", "c1", "-o", "comm"]) == 1
    assert "no column PID" in capfd.readouterr().err
    assert cli.main(["ps", "c1", "--nope"]) == 1
    assert "ps --nope failed with" in capfd.readouterr().err


def test_an_error_is_told_on_stderr_and_in_the_log(
    containers: Containers, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    containers.answers["create"] = Error("fsopen failed", pointer="/mounts/3", status=4)
    file = tmp_path / "log.json"
    assert cli.main(["--log", str(file), "--log-format", "json", "create", "c1"]) == 4
    assert capfd.readouterr().err == "pyrunc: /mounts/3: fsopen failed\n"
    record = json.loads(file.read_text())
    assert (record["level"], record["msg"]) == ("error", "/mounts/3: fsopen failed")


def test_a_wrong_command_line_is_told_with_the_usage(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "log"
    assert cli.main(["--log", str(file), "state"]) == 1
    assert capfd.readouterr().err == (
        "pyrunc: state: ID is missing\nusage: pyrunc state [OPTION...] ID\n`pyrunc help state` explains it\n"
    )
    assert file.read_text().count("\n") == 1
    assert cli.main(["stat"]) == 3
    assert "did you mean state?" in capfd.readouterr().err


def test_what_the_kernel_refuses_is_told_with_its_path(
    containers: Containers, capfd: pytest.CaptureFixture[str]
) -> None:
    containers.answers["start"] = PermissionError(13, "Permission denied", "/run/x")
    assert cli.main(["start", "c1"]) == 1
    assert capfd.readouterr().err == "pyrunc: Permission denied: /run/x\n"


def test_a_bug_is_called_one_and_traced_when_debugging(
    containers: Containers, capfd: pytest.CaptureFixture[str]
) -> None:
    containers.answers["start"] = ZeroDivisionError("division by zero")
    assert cli.main(["start", "c1"]) == 1
    assert capfd.readouterr().err == "pyrunc: this is a bug in pyrunc: ZeroDivisionError: division by zero\n"
    assert cli.main(["--debug", "start", "c1"]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_an_interrupt_is_quiet(containers: Containers, capfd: pytest.CaptureFixture[str]) -> None:
    containers.answers["start"] = KeyboardInterrupt()
    assert cli.main(["start", "c1"]) == 130
    assert capfd.readouterr().err == ""


def test_a_log_that_cannot_be_opened_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--log", "/nowhere/log", "list"]) == 1
    assert (
        capfd.readouterr().err == "pyrunc: the log /nowhere/log cannot be opened: No such file or directory\n"
    )


def test_an_obsolete_flag_is_a_warning(containers: Containers, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--criu", "/usr/bin/criu", "start", "c1"]) == 0
    assert capfd.readouterr().err.startswith("pyrunc: warning: --criu is ignored")


def test_state_is_kept_where_the_user_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", b"/run/user/7")
    monkeypatch.setattr(posix, "geteuid", lambda: 7)
    assert cli.default_root() == "/run/user/7/pyrunc"
    monkeypatch.setattr(posix, "geteuid", lambda: 0)
    assert cli.default_root() == "/run/pyrunc"


@pytest.mark.parametrize(
    ("path", "clean"), [("/a/./b//c/../d/", "/a/b/d"), ("/../x", "/x"), ("/", "/"), ("..", None), (".", None)]
)
def test_paths_are_made_absolute_as_posixpath_does(path: str, clean: str | None) -> None:
    assert cli.absolute(path) == (clean or os.path.abspath(path)) == os.path.abspath(path)


@pytest.mark.parametrize(
    "argv", [[], ["help"], ["h"], ["--help"], ["-h"], ["list", "--help"], ["help", "exec"]]
)
def test_help_is_printed_to_stdout(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    out, err = capfd.readouterr()
    assert "usage: pyrunc" in out
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100


def test_help_for_an_unknown_verb_ends_with_3(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help", "nope"]) == 3
    assert "there is no verb 'nope'" in capfd.readouterr().err


def test_the_version_can_be_read_by_engines(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[0].startswith("pyrunc version ")
    assert out[1] == "spec: 1.3.0"


def command(script: str) -> "subprocess.CompletedProcess[str]":
    """Runs a shell script in which $pyrunc is the command, as bare as it is installed."""
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from pyrunc.cli import main; "
        "from pyrunc.start import finish; finish(main())"
    )
    words = {"python": sys.executable, "code": code}
    return subprocess.run(
        ["sh", "-c", f'pyrunc() {{ "$python" -I -S -c "$code" "$@"; }}; {script}'],
        env={**os.environ, **words}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_full_disk_under_stdout_is_an_error() -> None:
    done = command("pyrunc --version > /dev/full")
    assert (done.returncode, done.stderr) == (
        1,
        "pyrunc: stdout cannot be written: No space left on device\n",
    )


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = command('{ pyrunc features; echo "status $?" >&2; } | true')
    assert done.stderr in ("status 141\n", "status 0\n")


def test_closed_descriptors_are_not_taken_by_the_next_file(tmp_path: Path) -> None:
    file = tmp_path / "log"
    done = command(f"pyrunc --log {file} --version <&- >&-; pyrunc --log {file} nope 2>&-; cat {file}")
    assert "pyrunc version" not in done.stdout
    assert done.stdout.count("level=error") == 1


@pytest.mark.parametrize(
    ("flags", "manager"),
    [
        ([], "cgroupfs"),
        (["--systemd-cgroup"], "systemd"),
        (["--cgroup-manager", "systemd"], "systemd"),
        (["--systemd-cgroup", "--cgroup-manager=systemd"], "systemd"),
        (["--cgroup-manager", "disabled"], "disabled"),
    ],
)
def test_who_makes_the_cgroups(containers: Containers, flags: list[str], manager: str) -> None:
    assert cli.main([*flags, "start", "c1"]) == 0
    assert containers.calls[0][1][0][1] == manager
