"""What a user is told when something is wrong: one message that names it, exit code 1, nothing left."""

import json
import os
import re
import subprocess
from typing import Any

import pytest
from harness import Box, alive, wait_for

NOBODY = 65534


def refused(box: Box, *words: str, save: bool = True) -> None:
    """run and create both fail with the words in one message, and leave nothing."""
    for verb in (box.run, box.create):
        result = verb(save=save)
        result.failed(*words)
        assert result.out == "", result
        box.clean()


def change(box: Box, pointer: str, value: Any) -> None:
    """Set the value at a JSON pointer of the configuration."""
    *parents, last = pointer.strip("/").split("/")
    place: Any = box.config
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[last] = value


def test_no_bundle(box: Box) -> None:
    box.verb("run", "--bundle", "/no/such/bundle", box.id).failed("/no/such/bundle")
    box.clean()


def test_no_config_json(box: Box) -> None:
    box.verb("run", "--bundle", str(box.bundle), box.id).failed("config.json", str(box.bundle))
    box.clean()


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{\n  "ociVersion": "1.0.2",\n  "process": {,}\n}', 3, 15),
        ('{"ociVersion": "1.0.2"', 1, 23),
        ("", 1, 1),
        ('{"a": tru}', 1, 7),
    ],
)
def test_not_json_says_line_and_column(box: Box, text: str, line: int, column: int) -> None:
    box.write_config(text)
    result = box.run(save=False).failed("config.json")
    if not box.is_runc:
        assert re.search(rf"line {line}\b.*column {column}\b|:{line}:{column}\b", result.err), result
    box.clean()


def test_not_utf8(box: Box) -> None:
    (box.bundle / "config.json").write_bytes(b'{"ociVersion": "\xff\xfe"}')
    box.run(save=False).failed("config.json" if not box.is_runc else "")
    box.clean()


def test_json_that_is_not_an_object(box: Box) -> None:
    box.write_config("[1, 2]")
    refused(box, "object", save=False)


@pytest.mark.beyond_runc("has no schema")
def test_every_violation_of_the_schema_is_named(box: Box) -> None:
    box.process["cwd"] = 5
    box.process["args"] = "not a list"
    box.config["hostname"] = ["no"]
    box.linux["namespaces"].append({"type": "nosuch"})
    refused(box, "/process/cwd", "/process/args", "/hostname", "/linux/namespaces/5/type", "nosuch")


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/ociVersion", None),
        ("/process/user/uid", -1),
        ("/process/user/gid", "root"),
        ("/process/args", []),
        ("/root", {}),
        ("/linux/namespaces/0/type", "pids"),
        ("/mounts/0/options", "ro"),
        ("/process/rlimits", [{"type": "RLIMIT_NOFILE", "soft": -1, "hard": 1}]),
        ("/linux/resources/memory", {"limit": "1G"}),
        ("/linux/seccomp", {"defaultAction": "ALLOW"}),
        ("/hooks", {"prestart": [{"args": ["x"]}]}),
    ],
)
def test_a_violation_is_named_by_its_pointer(box: Box, pointer: str, value: Any) -> None:
    if box.is_runc:
        pytest.skip("runc differs: it has no schema")
    change(box, pointer, value)
    refused(box, pointer)


@pytest.mark.shows("/ociVersion")
@pytest.mark.parametrize("version", ["2.0.0", "0.9.0", "1", "nonsense"])
def test_an_unsupported_oci_version(box: Box, version: str) -> None:
    if box.is_runc:
        pytest.skip("runc differs: it takes any version")
    box.config["ociVersion"] = version
    refused(box, "/ociVersion", version)


@pytest.mark.shows("/ociVersion")
@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0", "1.9.0"])
def test_a_supported_oci_version(box: Box, version: str) -> None:
    """A minor version beyond ours adds what we warn about or refuse by its key."""
    box.config["ociVersion"] = version
    box.run().ok()


def test_no_root_file_system(box: Box) -> None:
    box.config["root"]["path"] = "no-such-rootfs"
    refused(box, "/root/path", "no-such-rootfs")


def test_a_root_file_system_that_is_a_file(box: Box) -> None:
    (box.bundle / "file").touch()
    box.config["root"]["path"] = "file"
    refused(box, "/root/path", "file")


def test_no_process(box: Box) -> None:
    del box.config["process"]
    box.run().failed("/process")
    box.clean()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no-such-program"], ["no-such-program", "executable file not found in $PATH"]),
        (["/no/such/program"], ["/no/such/program", "no such file or directory"]),
        (["/etc/passwd"], ["/etc/passwd", "permission denied"]),
        (["./missing"], ["./missing", "no such file or directory"]),
        ([""], ["/process/args"]),
    ],
)
def test_a_program_that_cannot_run(box: Box, args: list[str], words: list[str]) -> None:
    box.process["args"] = args
    refused(box, *words)


def test_a_directory_is_no_program(box: Box) -> None:
    box.args("/etc")
    box.run().failed('exec "/etc": it is a directory: permission denied (EACCES)')
    box.clean()


def test_the_words_that_engines_look_for_come_at_create_already(box: Box) -> None:
    """Docker and containerd make exit codes 126 and 127 of them, which needs create to fail."""
    box.args("no-such-program")
    box.create().failed("executable file not found in $PATH")
    if box.is_runc:
        assert "executable file not found in $PATH" in box.errors()
    box.clean()


def test_a_script_without_its_interpreter_fails_at_start(box: Box) -> None:
    script = box.rootfs / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    box.args("/script")
    box.run().failed("/script", "no such file or directory")
    box.clean()


def test_a_file_that_is_no_program(box: Box) -> None:
    script = box.rootfs / "data"
    script.write_bytes(b"\x00\x01\x02\x03")
    script.chmod(0o755)
    box.args("/data")
    box.run().failed("/data", "exec format error")
    box.clean()


@pytest.mark.parametrize(
    ("pointer", "value", "words"),
    [
        ("/process/rlimits", [{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}], ["RLIMIT_NOSUCH"]),
        ("/process/rlimits", [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}], ["RLIMIT_NOFILE"]),
        (
            "/process/rlimits",
            [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 2, "hard": 2}],
            ["RLIMIT_CORE"],
        ),
        ("/linux/rootfsPropagation", "sideways", ["/linux/rootfsPropagation"]),
        ("/linux/maskedPaths", ["relative"], ["/linux/maskedPaths/0"]),
        ("/linux/devices", [{"path": "/dev/x", "type": "q"}], ["/linux/devices/0"]),
        ("/linux/devices", [{"path": "/dev/x", "type": "c"}], ["/linux/devices/0", "major"]),
        ("/process/oomScoreAdj", 5000, ["/process/oomScoreAdj"]),
        ("/annotations", {"": "x"}, ["/annotations/", "empty"]),
    ],
)
def test_a_value_without_sense_is_refused(box: Box, pointer: str, value: Any, words: list[str]) -> None:
    if box.is_runc and pointer != "/process/rlimits":
        pytest.skip("runc differs: it finds out late or never")
    change(box, pointer, value)
    box.run().failed(*words)
    box.clean()


@pytest.mark.parametrize("value", ["no-such-option", "size=1m=2"])
def test_a_mount_option_of_another_file_system_names_the_mount(box: Box, value: str) -> None:
    box.mount("/mnt", "tmpfs", options=[value])
    refused(box, "/mounts/6")


def test_a_key_the_specification_does_not_know_is_a_warning(box: Box) -> None:
    box.process["cmdline"] = "x"
    box.config["hostnam"] = "y"
    box.script("exit 0")
    result = box.run().ok()
    if not box.is_runc:
        assert "/process/cmdline" in result.err
        assert "/hostnam" in result.err


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/linux/personality", {"domain": "LINUX16"}),
        ("/linux/intelRdt", {"closID": "x"}),
        ("/linux/memoryPolicy", {"mode": "MPOL_NO_SUCH", "nodes": "0"}),
    ],
)
def test_what_is_not_supported_is_refused_by_its_pointer(box: Box, pointer: str, value: Any) -> None:
    if box.is_runc:
        pytest.skip("runc differs: it ignores them")
    change(box, pointer, value)
    box.run().failed(pointer)
    box.clean()


def test_a_failing_step_reads_like_a_sentence(box: Box) -> None:
    if box.is_runc:
        pytest.skip("runc differs: its messages are its own")
    box.mount("/mnt", "nosuchfs")
    result = box.run()
    line = next(x for x in result.err.splitlines() if "/mounts/6" in x)
    for words in ('fsopen("nosuchfs")', "/mnt", "No such device (ENODEV)"):
        assert words in line
    assert line.startswith("pyrunc: /mounts/6")


@pytest.mark.parametrize("content", ["", "{", '{"id": "x"}', "[]", "\x00\x01", '{"version": 999}'])
def test_a_truncated_or_foreign_state_file(box: Box, content: str) -> None:
    box.sleeping()
    (file,) = box.root.rglob("state.json")
    good = file.read_text()
    file.write_text(content)
    result = box.verb("state", box.id).failed("state.json")
    assert result.out == ""
    box.verb("start", box.id).failed()
    box.verb("list").ok()  # the others are still listed
    file.write_text(good)
    assert box.status() == "running"


@pytest.mark.beyond_runc("says it is gone and leaves it")
def test_a_container_with_a_broken_state_file_can_be_deleted_by_force(box: Box) -> None:
    pid = box.sleeping()
    (file,) = box.root.rglob("state.json")
    good = file.read_text()
    file.write_text(good[: len(good) // 2])
    box.delete("--force").ok()
    wait_for(lambda: not alive(pid), "its end")
    box.clean()


def test_what_follows_from_the_id_goes_where_nothing_can_be_read(box: Box) -> None:
    if box.is_runc:
        pytest.skip("it leaves the container")
    box.linux.pop("cgroupsPath", None)
    pid = box.sleeping()
    for name in ("state.json", "config.json"):
        (box.root / box.id / name).write_text("{")
    result = box.delete("--force").ok()
    assert "config.json is damaged too" in result.err
    wait_for(lambda: not alive(pid), "its end")
    box.clean()


def test_a_full_disk_under_the_state_directory(box: Box) -> None:
    box.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", box.root], check=True)
    try:
        with open(box.root / "filler", "wb") as filler:
            try:
                filler.write(b"x" * 100000)
                filler.flush()
            except OSError:
                pass
        box.create().failed("No space left", str(box.root) if not box.is_runc else "")
        (box.root / "filler").unlink()
        assert list(box.root.iterdir()) == []
        assert box.leftovers() == [f"mount {box.root}"]
    finally:
        subprocess.run(["umount", "-l", box.root], check=True)
    box.clean()


def test_a_state_root_that_cannot_be_made(box: Box) -> None:
    (box.place / "file").touch()
    box.root = box.place / "file/state"
    box.create().failed("file/state")
    box.root = box.place / "state"
    box.clean()


def test_without_privilege_the_message_says_what_is_missing(box: Box) -> None:
    box.save()
    box.root.mkdir()
    os.chown(box.root, NOBODY, NOBODY)
    try:
        result = box.verb(
            "run", "--bundle", str(box.bundle), box.id, user=NOBODY, group=NOBODY, extra_groups=[]
        )
    except PermissionError:
        pytest.skip("the command lies in a directory that is closed to other users")
    result.failed("/linux/namespaces", "user namespace", "run as root")
    box.clean()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["run"],
        ["create"],
        ["state"],
        ["nosuchverb"],
        ["run", "--nosuchflag", "x"],
        ["state", "a", "b"],
        ["kill"],
        ["--nosuchglobal", "list"],
        ["exec"],
    ],
)
def test_a_wrong_command_line_is_told_on_stderr_and_is_no_success(box: Box, words: list[str]) -> None:
    result = box.verb(*words)
    assert "Traceback" not in result.err
    if words:
        assert result.code != 0, result
        assert result.err
    box.clean()


def test_the_log_file_holds_the_reason_in_json(box: Box) -> None:
    log = box.place / "log.json"
    box.mount("/mnt", source="/no/such/source")
    box.save()
    glob = ["--log", str(log), "--log-format", "json"]
    result = box.verb("create", "--bundle", str(box.bundle), box.id, glob=glob)
    assert result.code == 1
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert entries[-1]["level"] == "error"
    assert "/no/such/source" in entries[-1]["msg"]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$", entries[-1]["time"])
    if not box.is_runc:
        assert "/mounts/6" in entries[-1]["msg"]
        assert "/no/such/source" in result.err  # a person sees it as well
    box.clean()


def test_the_log_file_in_text(box: Box) -> None:
    log = box.place / "log"
    glob = ["--log", str(log)]
    box.verb("state", "no-such-box", glob=glob).failed("does not exist")
    assert "does not exist" in log.read_text()
    assert "level=error" in log.read_text()


def test_the_log_is_appended_to(box: Box) -> None:
    log = box.place / "log.json"
    for _ in range(2):
        box.verb("state", "no-such-box", glob=["--log", str(log), "--log-format", "json"])
    assert len([x for x in log.read_text().splitlines() if json.loads(x)["level"] == "error"]) == 2


def test_warnings_go_to_the_log_too(box: Box) -> None:
    if box.is_runc:
        pytest.skip("runc differs: it says nothing of unknown keys")
    log = box.place / "log.json"
    box.config["hostnam"] = "y"
    box.save()
    glob = ["--log", str(log), "--log-format", "json"]
    box.verb("run", "--bundle", str(box.bundle), box.id, glob=glob).ok()
    assert [e["level"] for e in map(json.loads, log.read_text().splitlines()) if "/hostnam" in e["msg"]] == [
        "warning"
    ]


@pytest.mark.parametrize("word", ["yaml", "JSON "])
def test_an_unknown_log_format_is_refused(box: Box, word: str) -> None:
    result = box.verb("list", glob=["--log-format", word])
    assert result.code == 1
    assert "log" in result.err.lower()


def test_a_log_file_that_cannot_be_opened_is_an_error(box: Box) -> None:
    result = box.verb("list", glob=["--log", "/no/such/dir/log"])
    assert result.code == 1
    assert "/no/such/dir/log" in result.err
