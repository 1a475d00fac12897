"""What a command line means: the spellings that engines and people use."""

from typing import Any

import pytest

from pyrunc.cli.options import GLOBAL, VERBS
from pyrunc.cli.parser import Invocation, UsageError, parse


def options(*argv: str) -> dict[str, Any]:
    return parse(list(argv)).options


@pytest.mark.parametrize(
    "words",
    [["--bundle", "/b"], ["--bundle=/b"], ["-b", "/b"], ["-b=/b"], ["-bundle", "/b"], ["-bundle=/b"]],
)
@pytest.mark.parametrize("after", [False, True], ids=["before-id", "after-id"])
def test_a_value_may_be_spelt_in_all_of_gos_ways(words: list[str], after: bool) -> None:
    given = parse(["run", "id", *words] if after else ["run", *words, "id"])
    assert given.options["bundle"] == "/b"
    assert given.args == ["id"]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("-d", True),
        ("--detach", True),
        ("-detach", True),
        ("--detach=true", True),
        ("--detach=1", True),
        ("--detach=false", False),
        ("-d=F", False),
    ],
)
def test_a_flag_may_be_turned_on_and_off(word: str, value: bool) -> None:
    assert options("run", word, "id")["detach"] is value


def test_short_flags_may_be_grouped_and_the_last_may_take_a_value() -> None:
    given = options("exec", "-tde", "A=1", "id", "sh")
    assert (given["tty"], given["detach"], given["env"]) == (True, True, ["A=1"])


def test_a_value_may_be_empty_or_look_like_a_flag() -> None:
    assert options("run", "--pid-file", "", "id")["pid_file"] == ""
    assert options("run", "--pid-file", "-d", "id")["pid_file"] == "-d"
    assert options("exec", "-e", "A=b=c", "id", "sh")["env"] == ["A=b=c"]


def test_repeated_flags_add_up_and_a_single_one_is_overridden() -> None:
    given = options(
        "exec", "-e", "A=1", "--env=B=2", "-g", "5", "-g", "0x10", "--cwd", "/a", "--cwd", "/b", "id", "x"
    )
    assert given["env"] == ["A=1", "B=2"]
    assert given["additional_gids"] == [5, 16]
    assert given["cwd"] == "/b"


def test_lists_of_two_command_lines_are_not_mixed_up() -> None:
    options("exec", "-e", "A=1", "id", "sh")
    assert options("exec", "id", "sh")["env"] == []


@pytest.mark.parametrize(
    ("argv", "args"),
    [
        (["exec", "id", "sh", "-c", "exit 3"], ["id", "sh", "-c", "exit 3"]),
        (["exec", "id", "ls", "-d", "--help"], ["id", "ls", "-d", "--help"]),
        (["exec", "id", "--", "ls", "-d"], ["id", "ls", "-d"]),
        (["exec", "--", "id", "ls", "--"], ["id", "ls", "--"]),
        (["exec", "id", "sh", "--", "x"], ["id", "sh", "--", "x"]),
        (["exec", "id", "", "x"], ["id", "", "x"]),
        (["ps", "id", "-aux"], ["id", "-aux"]),
        (["ps", "id", "--format", "json"], ["id", "--format", "json"]),
        (["state", "--", "-id"], ["-id"]),
        (["kill", "id", "9", "-a"], ["id", "9"]),
        (["kill", "-a", "id", "9"], ["id", "9"]),
        (["kill", "id", "-9"], ["id", "-9"]),
    ],
)
def test_what_follows_the_id_belongs_to_the_command(argv: list[str], args: list[str]) -> None:
    given = parse(argv)
    assert given.args == args
    assert not given.options["help"]
    assert given.options.get("detach", False) is False


def test_global_flags_stand_before_or_after_the_verb() -> None:
    for argv in (["--root", "/r", "--debug", "state", "id"], ["state", "--root=/r", "id", "--debug"]):
        given = parse(argv)
        assert (given.common["root"], given.common["debug"], given.args) == ("/r", True, ["id"])


def test_a_verbs_flag_goes_before_the_global_one_of_its_name() -> None:
    given = parse(["--rootless", "true", "spec", "--rootless"])
    assert (given.options["rootless"], given.common["rootless"]) == (True, "true")


@pytest.mark.parametrize(
    ("value", "meaning"), [("auto", "auto"), ("true", "true"), ("1", "true"), ("F", "false")]
)
def test_rootless_takes_runcs_words(value: str, meaning: str) -> None:
    assert parse(["--rootless", value, "list"]).common["rootless"] == meaning


def test_defaults_are_filled_in() -> None:
    given = parse(["run", "id"])
    assert given.options == {
        "bundle": "", "console_socket": "", "pidfd_socket": "", "pid_file": "", "no_pivot": False,
        "no_new_keyring": False, "preserve_fds": 0, "detach": False, "keep": False, "no_subreaper": False,
        "help": False,
    }  # fmt: skip
    assert given.common == {
        "debug": False, "log": "", "log_format": "text", "root": "", "systemd_cgroup": False,
        "cgroup_manager": "", "rootless": "auto", "criu": "", "help": False, "version": False,
    }  # fmt: skip


def test_no_new_privs_says_whether_it_was_named() -> None:
    assert options("exec", "id", "sh")["no_new_privs"] is None
    assert options("exec", "--no-new-privs=false", "id", "sh")["no_new_privs"] is False


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run", "--bundel", "x", "id"], "--bundel; did you mean --bundle?"),
        (["--rot", "x", "list"], "did you mean --root?"),
        (["list", "--log-formt", "x"], "did you mean --log-format?"),
        (["exec", "-tx", "id", "sh"], "unknown flag -tx"),
        (["exec", "-et", "id", "sh"], "unknown flag -et"),
        (["run", "--detach=maybe", "id"], "true or false"),
        (["run", "--detach=", "id"], "true or false"),
        (["run", "id", "--bundle"], "--bundle needs a value"),
        (["run", "--preserve-fds", "x", "id"], "a number"),
        (["run", "--preserve-fds=-1", "id"], "no negative number"),
        (["exec", "-g", "-5", "id", "sh"], "no negative number"),
        (["list", "--format", "xml"], "one of table, json"),
        (["--log-format", "xml", "list"], "one of text, json"),
        (["--rootless", "perhaps", "list"], "one of auto, true, false"),
        (["run"], "ID is missing"),
        (["exec"], "ID is missing"),
        (["state", "a", "b"], "'b' is one too many: it takes no argument after ID"),
        (["list", "x"], "it takes no argument"),
        (["kill", "id", "9", "9"], "one too many"),
        (["state", "-v", "id"], "unknown flag -v"),
    ],
)
def test_a_wrong_command_line_is_refused_in_words(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argv)
    assert words in str(caught.value)
    assert caught.value.status == 1


def test_an_unknown_verb_has_a_status_of_its_own() -> None:
    with pytest.raises(UsageError, match="did you mean delete") as caught:
        parse(["delte", "id"])
    assert caught.value.status == 3


def test_help_needs_no_arguments() -> None:
    assert parse(["run", "--help"]).options["help"]
    assert parse(["run", "-h"]).options["help"]
    assert parse(["help", "run"]).args == ["run"]
    assert parse([]).verb == ""


def test_the_log_is_known_even_when_what_follows_is_wrong() -> None:
    common: dict[str, Any] = {}
    with pytest.raises(UsageError):
        parse(["--log", "/l", "--log-format", "json", "run", "--nope"], common)
    assert (common["log"], common["log_format"]) == ("/l", "json")


def test_no_two_flags_of_a_verb_share_a_name() -> None:
    for verb in VERBS.values():
        names = [name for option in verb.options for name in (option.name, option.short) if name]
        assert len(names) == len(set(names)), verb.name
        assert "h" not in names
        assert "help" not in names


def test_every_verb_is_carried_out_somewhere() -> None:
    from importlib import import_module

    for verb in VERBS.values():
        assert verb.name in import_module(f"pyrunc.cli.{verb.module}").VERBS


def test_every_flag_of_runc_1_5_is_there() -> None:
    """The list is that of runc's own manual pages."""
    creating = "bundle b console-socket pidfd-socket no-pivot no-new-keyring preserve-fds pid-file"
    flags = {
        "create": creating,
        "run": f"{creating} detach d keep no-subreaper",
        "exec": "console-socket pidfd-socket cwd env e tty t user u additional-gids g process p detach d "
        "pid-file process-label apparmor no-new-privs cap c preserve-fds cgroup ignore-paused",
        "kill": "all a",
        "delete": "force f",
        "list": "format f quiet q",
        "ps": "format f",
        "spec": "bundle b rootless",
        "start": "",
        "state": "",
        "pause": "",
        "resume": "",
        "features": "",
    }
    for name, wanted in flags.items():
        verb = VERBS[name]
        names = {name for option in verb.options for name in (option.name, option.short)}
        assert set(wanted.split()) <= names
    assert {option.name for option in GLOBAL} >= {
        "debug",
        "log",
        "log-format",
        "root",
        "systemd-cgroup",
        "cgroup-manager",
        "rootless",
    }


def test_an_invocation_keeps_its_verb() -> None:
    given: Invocation = parse(["--debug", "list", "-q"])
    assert given.verb == "list"
