"""What a user is told about a bundle's configuration, and what loading one costs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pyrunc
from pyrunc import log
from pyrunc.config import explain, load
from pyrunc.config.default import default
from pyrunc.config.position import Places
from pyrunc.errors import Error

PACKAGES = Path(pyrunc.__file__).resolve().parents[1]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(log, "warning", told.append)
    return told


def bundle(tmp_path: Path, content: Any) -> str:
    """A bundle with content, text or a document, as its config.json."""
    text = content if isinstance(content, str | bytes) else json.dumps(content, indent=2)
    (tmp_path / "config.json").write_bytes(text.encode() if isinstance(text, str) else text)
    return str(tmp_path)


def refusal(directory: str) -> Error:
    with pytest.raises(Error) as caught:
        load.load(directory)
    return caught.value


def test_a_valid_configuration_is_returned_as_it_is(tmp_path: Path, warnings: list[str]) -> None:
    config = default(cgroup_v2=True)
    assert load.load(bundle(tmp_path, config)) == config
    assert warnings == []


def test_without_a_configuration_the_message_says_how_to_make_one(tmp_path: Path) -> None:
    for directory in (str(tmp_path), str(tmp_path / "none")):
        error = refusal(directory)
        assert f"no config.json in the bundle {directory}" in str(error)
        assert f"pyrunc spec --bundle {directory}" in str(error)
    (tmp_path / "config.json").mkdir()
    assert str(refusal(str(tmp_path))) == f"cannot read {tmp_path}/config.json: Is a directory"


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        ('{\n  "ociVersion" "1.0.0"\n}', ":2:16", "not JSON: expecting ':' delimiter"),
        ("", ":1:1", "not JSON: a value is expected here"),
        (b"\xef\xbb\xbf{}", ":1:1", "not JSON: remove the byte order mark"),
        (b'{\n"a": "\xff"}', ":2", "not JSON: this line is not UTF-8 (invalid start byte)"),
    ],
)
def test_what_is_not_json_is_named_by_line_and_column(
    content: str | bytes, place: str, reason: str, tmp_path: Path
) -> None:
    assert str(refusal(bundle(tmp_path, content))) == f"{tmp_path}/config.json{place}: {reason}"


def test_one_violation_is_one_message_with_its_pointer(tmp_path: Path) -> None:
    config = default(cgroup_v2=True)
    config["process"]["cwd"] = "tmp"
    error = refusal(bundle(tmp_path, config))
    assert error.pointer == "/process/cwd"
    assert error.message == f'expected an absolute path, not "tmp" ({tmp_path}/config.json:16:12)'


def test_all_violations_are_told_at_once(tmp_path: Path, warnings: list[str]) -> None:
    config = default(cgroup_v2=True)
    config["process"]["cwd"] = "tmp"
    config["process"]["rlimits"][0]["type"] = "RLIMIT_NOFIL"
    config["linux"]["namespaces"].append({"type": "pid"})
    config["linux"]["strange"] = 1
    lines = str(refusal(bundle(tmp_path, config))).splitlines()
    assert lines[0] == f"{tmp_path}/config.json has 3 errors:"
    assert [line.split(": ")[1] for line in lines[1:]] == [
        "/process/cwd",
        "/process/rlimits/0/type",
        "/linux/namespaces/6/type",
    ]


@pytest.mark.parametrize("content", ["[]", "null", '"x"', "1"])
def test_a_configuration_that_is_no_object_is_refused(content: str, tmp_path: Path) -> None:
    assert "expected an object, not " in str(refusal(bundle(tmp_path, content)))


@pytest.mark.parametrize(
    "version", ["1.0.0", "1.0.2-dev", "1.0.2", "1.1.0-rc.1", "1.2.1+build.5", "1.3.0", "1.3.9", "1.0.1-rc1"]
)
def test_versions_of_the_specification_that_are_accepted(
    version: str, tmp_path: Path, warnings: list[str]
) -> None:
    load.load(bundle(tmp_path, {**default(cgroup_v2=True), "ociVersion": version}))
    assert warnings == []


@pytest.mark.parametrize("version", ["1.4.0", "1.10.2-rc.1"])
def test_a_newer_version_of_the_specification_is_a_warning(
    version: str, tmp_path: Path, warnings: list[str]
) -> None:
    load.load(bundle(tmp_path, {**default(cgroup_v2=True), "ociVersion": version}))
    assert len(warnings) == 1
    assert warnings[0].startswith(f"/ociVersion: version {version} is newer than the 1.3 that pyrunc knows")


@pytest.mark.parametrize("version", ["0.5.0-dev", "2.0.0", "1.0.0-rc5"])
def test_versions_of_the_specification_that_are_not_supported(version: str, tmp_path: Path) -> None:
    error = refusal(bundle(tmp_path, {"ociVersion": version}))
    assert error.pointer == "/ociVersion"
    assert error.message == (
        f"version {version} of the runtime specification is not supported: pyrunc supports 1.0.0 to 1.3.x"
    )


@pytest.mark.parametrize(
    "version", ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.x.0", "1.0.0-", "1.\u0663.0"]
)
def test_a_version_that_is_none_is_refused(version: str, tmp_path: Path) -> None:
    error = refusal(bundle(tmp_path, {**default(cgroup_v2=True), "ociVersion": version}))
    assert error.pointer == "/ociVersion"
    assert "is not a version as SemVer 2.0.0 writes it" in error.message


def test_unknown_properties_are_warnings_with_their_pointers(tmp_path: Path, warnings: list[str]) -> None:
    config: Any = default(cgroup_v2=True)
    config["mounts"][1]["com/example~x"] = {"inner": 1}
    config["process"]["user"]["shell"] = "sh"
    config["unknown"] = None
    config["windows"] = {"layerFolders": ["x"]}
    config["annotations"] = {"any.thing": "x"}
    assert load.load(bundle(tmp_path, config)) == config
    assert warnings == [
        f"{pointer}: the specification has no such property, it is ignored"
        for pointer in ("/process/user/shell", "/mounts/1/com~1example~0x", "/unknown")
    ]


def test_a_nul_in_a_path_is_refused(tmp_path: Path) -> None:
    config = default(cgroup_v2=True)
    config["root"]["path"] = "rootfs\0/../.."
    error = refusal(bundle(tmp_path, config))
    assert error.pointer == "/root/path"
    assert "a NUL character" in error.message
    config["root"]["path"] = "rootfs"
    config["annotations"] = {"a": "\0"}
    load.load(bundle(tmp_path, config))


def test_the_process_of_exec_is_checked_too(warnings: list[str]) -> None:
    process = {"cwd": "/", "args": ["sh"], "new": 1}
    assert load.decode_process(json.dumps(process), "process.json") == process
    assert warnings == ["/new: the specification has no such property, it is ignored"]
    with pytest.raises(Error, match=r'^/cwd: expected an absolute path, not "" \(process.json:1:8\)$'):
        load.decode_process('{"cwd":"", "args": ["sh"]}', "process.json")
    with pytest.raises(Error, match=r"^process.json:1:2: not JSON: "):
        load.decode_process("{", "process.json")
    with pytest.raises(Error, match="expected an object"):
        load.decode_process("[]", "process.json")


def test_without_jsonschema_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    assert "pip install jsonschema, or Debian's python3-jsonschema" in str(refusal(bundle(tmp_path, {})))


def test_loading_a_valid_configuration_imports_only_what_is_cheap(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(PACKAGES)!r}); before = set(sys.modules)\n"
        f"from pyrunc.config.load import load; load({bundle(tmp_path, default(cgroup_v2=True))!r})\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    own = {"pyrunc", "pyrunc.config", "pyrunc.config._validator", "pyrunc.config.load", "pyrunc.errors"}
    assert set(output.split()) <= own | {"pyrunc.json", "_json"}


def test_the_default_configuration_suits_the_host_and_the_user() -> None:
    def types(config: Any) -> list[str]:
        return [namespace["type"] for namespace in config["linux"]["namespaces"]]

    assert types(default(cgroup_v2=False)) == ["pid", "network", "ipc", "uts", "mount"]
    assert types(default(cgroup_v2=True)) == ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    rootless = default(True, cgroup_v2=True)
    assert types(rootless) == ["pid", "ipc", "uts", "mount", "cgroup", "user"]
    assert rootless["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert rootless["linux"]["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert "resources" not in rootless["linux"]
    mounts = {mount["destination"]: mount for mount in rootless["mounts"]}
    assert mounts["/sys"] == {
        "destination": "/sys",
        "type": "none",
        "source": "/sys",
        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
    }
    options = [option for mount in mounts.values() for option in mount.get("options", ())]
    assert not any(option.startswith(("uid=", "gid=")) for option in options)


# Pairs of lines: a member with one thing wrong, and the line that `validate` prints for it.
PAIRS = Path(__file__).with_name("test_config_messages.txt").read_text()
MESSAGES = [pair.split("\n") for pair in PAIRS.strip().split("\n\n")]


@pytest.mark.parametrize(("member", "message"), MESSAGES)
def test_each_violation_reads_like_a_sentence(member: str, message: str) -> None:
    head = '{"ociVersion": "1.3.0"' + ("" if member.startswith('"root"') else ', "root": {"path": "rootfs"}')
    found = [each.text("f") for each in explain.violations(f"{head},\n{member}\n}}")]
    assert f"f:{message}" in found
    # What a misspelt key is, is told too.
    assert len(found) == 1 or '"Path"' in message


def test_a_violation_as_a_document_has_all_its_parts() -> None:
    text = '{"ociVersion": "1.3.0", "root": {"path": "r"},\n "linux": {"namespaces": [{"type": "utc"}]}}'
    assert [each.document() for each in explain.violations(text)] == [
        {
            "severity": "error",
            "pointer": "/linux/namespaces/0/type",
            "line": 2,
            "column": 36,
            "message": '"utc" is not among the values allowed here: mount, pid, network, uts, ipc, user, '
            'cgroup, time; did you mean "uts"?',
            "found": '"utc"',
            "allowed": "mount, pid, network, uts, ipc, user, cgroup, time",
            "suggestion": "uts",
        }
    ]


def test_what_is_not_json_is_one_violation() -> None:
    assert [each.text("f") for each in explain.violations('{"a": 1,\n}')] == [
        "f:2:1: not JSON: expecting property name enclosed in double quotes"
    ]


def test_violations_come_in_the_order_of_the_text() -> None:
    text = '{\n"zzz": 1,\n"root": {"path": 1},\n"hostname": 2\n}'
    assert [(each.line, each.pointer) for each in explain.violations(text)] == [
        (1, ""),
        (2, "/zzz"),
        (3, "/root/path"),
        (4, "/hostname"),
    ]


def test_a_long_value_is_shortened() -> None:
    text = json.dumps({"ociVersion": "1.3.0", "root": {"path": "r"}, "mounts": {"a" * 200: 1}})
    (violation,) = explain.violations(text)
    assert len(violation.found) <= 60


def test_places_are_found_in_any_layout() -> None:
    text = '{"a":[ {"b" : [1,\n[]\n,{}, "x\\"]" ]},2 ] ,\n"c~/\\u0041" :\n{ } }'
    places = Places(text)
    assert places.of_value("") == (1, 1)
    assert places.of_key("/a") == (1, 2)
    assert places.of_value("/a") == (1, 6)
    assert places.of_value("/a/0") == (1, 8)
    assert places.of_value("/a/0/b/0") == (1, 16)
    assert places.of_value("/a/0/b/1") == (2, 1)
    assert places.of_value("/a/0/b/2") == (3, 2)
    assert places.of_value("/a/0/b/3") == (3, 6)
    assert places.of_value("/a/1") == (3, 16)
    assert places.of_key("/c~0~1A") == (4, 1)
    assert places.of_value("/c~0~1A") == (5, 1)
    assert places.of_value("/a/1/missing/9") == (3, 16)
