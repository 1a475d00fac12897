"""The conformance suite must not pass a runtime that did nothing, and its table must be sound."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from conformance import model, report, requirements, suite  # noqa: E402
from conformance.model import Observation, Requirement  # noqa: E402

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the suite makes containers as root")

FAKES = {
    "does-nothing": "#!/bin/sh\nexit 0\n",
    "always-fails": "#!/bin/sh\necho no >&2\nexit 1\n",
    # Takes a process with it that would stay.
    "hangs": "#!/bin/sh\nsleep 987654\n",
    "is-killed": "#!/bin/sh\nkill -9 $$\n",
    # What neither XML nor a terminal should be given.
    "writes-controls": "#!/bin/sh\nprintf 'a \\033[31m<red> | # word\\001\\n' >&2\nexit 1\n",
    # Says what `create` is followed by, but makes no container.
    "lies": """#!/bin/sh
for word; do case $word in state|create) verb=$word;; esac; id=$word; done
[ "$verb" = state ] && printf '{"ociVersion": "1.0.2", "id": "%s", "status": "created", "pid": 1}' "$id"
exit 0
""",
}


def fake(directory: Path, name: str) -> str:
    path = directory / name
    path.write_text(FAKES[name])
    path.chmod(0o755)
    return str(path)


def test_every_requirement_has_a_case_or_a_reason_and_every_case_a_requirement() -> None:
    assert model.check_table(requirements.REQUIREMENTS, model.CASES) == []


def test_a_faulty_table_is_noticed() -> None:
    table = [
        Requirement("a", "s", "MUST", "", "t"),
        Requirement("a", "s", "OUGHT", "", "t"),
        Requirement("b", "s", "MUST", "1.3", "t", "a reason"),
    ]
    cases = [model.Case("c", ("b", "x"), lambda box: None)]
    faults = "; ".join(model.check_table(table, cases))
    for fault in ("a is there twice", "a needs either", "OUGHT", "b needs either", "x is observed"):
        assert fault in faults


@needs_root
@pytest.mark.parametrize("name", ["does-nothing", "always-fails", "lies"])
@pytest.mark.parametrize("gate", [True, False], ids=["", "case-by-case"])
def test_a_fake_runtime_meets_nothing(tmp_path: Path, name: str, gate: bool) -> None:
    # What waits for output takes its time with a runtime that gives none.
    outcome = suite.run(fake(tmp_path, name), jobs=8, patience=10, gate=gate)
    assert [id for id, (status, _) in outcome.statuses.items() if status == model.MET] == []
    assert outcome.code == (2 if gate else 1)
    assert outcome.faults == []
    assert "this is no pass" in report.tap(outcome)
    assert not list(Path(tempfile.gettempdir()).glob(f"conformance-{os.getpid()}-*"))


# A runtime with one fault: runc, given a configuration in which one thing is not as it was asked for.
SPOILED = """#!{python}
import json, os, sys
if "create" in sys.argv and "--bundle" in sys.argv:
    path = sys.argv[sys.argv.index("--bundle") + 1] + "/config.json"
    config = json.load(open(path))
    process, linux = config.get("process", {{}}), config["linux"]
    {fault}
    json.dump(config, open(path, "w"))
os.execv("{runc}", ["runc", *sys.argv[1:]])
"""


@needs_root
@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
@pytest.mark.parametrize(
    ("requirement", "fault"),
    [
        ("root.readonly", 'config["root"].pop("readonly", None)'),
        ("root.missing", 'config["root"].update(path="rootfs")'),
        ("json.utf-8", 'process["env"] = [v.replace("\u20ac", "?") for v in process.get("env", [])]'),
        ("mounts.bind-option", '[m.update(options=[]) for m in config["mounts"][5:]]'),
        ("user.umask", 'process.get("user", {}).pop("umask", None)'),
        ("user.additional-gids", 'process.get("user", {}).pop("additionalGids", None)'),
        ("process.capabilities", 'process.get("capabilities", {}).pop("ambient", None)'),
        ("process.no-new-privileges", 'process.pop("noNewPrivileges", None)'),
        ("process.oom-score-adj-unset", 'process.setdefault("oomScoreAdj", 500)'),
        ("hooks.poststop", 'config.get("hooks", {}).pop("poststop", None)'),
        (
            "mounts.bind-readonly",
            '[m["options"].remove("ro") for m in config["mounts"][5:] if "ro" in m["options"]]',
        ),
        (
            "namespaces.new-ipc",
            'linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "ipc"]',
        ),
        ("namespaces.path", '[n.pop("path", None) for n in linux["namespaces"]]'),
        ("sysctl", 'linux.pop("sysctl", None)'),
        ("seccomp.errno", 'linux.pop("seccomp", None)'),
        ("seccomp.operators", 'linux.pop("seccomp", None)'),
        ("seccomp.actions", 'linux.pop("seccomp", None)'),
        ("seccomp.architectures", 'linux.get("seccomp", {}).pop("architectures", None)'),
        ("masked-paths", 'linux.pop("maskedPaths", None)'),
        ("readonly-paths", 'linux.pop("readonlyPaths", None)'),
        ("cgroups.absolute", 'linux["cgroupsPath"] += "-elsewhere"'),
    ],
)
def test_a_fault_is_seen(tmp_path: Path, requirement: str, fault: str) -> None:
    path = tmp_path / "spoiled"
    path.write_text(SPOILED.format(python=sys.executable, fault=fault, runc=shutil.which("runc")))
    path.chmod(0o755)
    outcome = suite.run(str(path), [requirement], jobs=2)
    assert outcome.statuses[requirement][0] == model.VIOLATED
    assert outcome.code == 1
    assert outcome.left == []


@needs_root
def test_the_command_refuses_to_pass_when_nothing_ran(tmp_path: Path) -> None:
    command = [str(ROOT / "conformance/run"), "--runtime", fake(tmp_path, "does-nothing")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "cannot run the plainest container" in result.stderr
    result = subprocess.run(
        [*command, "--select", "nothing-like-it"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 2
    assert "no case matches" in result.stderr


def command(*arguments: str) -> list[str]:
    return [str(ROOT / "conformance/run"), *arguments]


def said(*arguments: str, **more: Any) -> tuple[int, str, str]:
    result = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=100, check=False, **more
    )
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runtime", "no-such-runtime"], "no-such-runtime is no command"),
        (["--runtime", "./README.md"], "./README.md is not executable"),
        (["--runtime", "sh", "--jobs", "0"], "argument --jobs: it takes one at least"),
        (["--runtime", "sh", "--patience", "0"], "argument --patience: a runtime needs a second at least"),
        (["--runtime", "sh", "--select", "hostname", "--select", "hotsname"], "no case matches hotsname"),
        (["--runtime", "sh", "--select", "config.required"], "config.required: a demand on configurations"),
    ],
)
def test_a_wrong_argument_is_a_sentence(arguments: list[str], message: str) -> None:
    code, out, err = said(*arguments, cwd=ROOT)
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"conformance/run: .*{re.escape(message)}.*\n", err)


@needs_root
def test_who_is_not_root_is_told(tmp_path: Path) -> None:
    code, _, err = said("--runtime", "sh", user=65534, group=65534, extra_groups=[])
    assert code == 2
    assert err == "conformance/run: the suite makes containers as root; it is not root\n"


@needs_root
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hangs", "create: did not return in time"),
        ("is-killed", "create: was ended by signal 9"),
        ("writes-controls", "create: exit status 1: a [31m<red> | # word"),
    ],
)
def test_a_broken_runtime_is_reported_in_each_format(tmp_path: Path, name: str, reason: str) -> None:
    runtime = os.path.relpath(fake(tmp_path, name), ROOT)
    arguments = ["--runtime", runtime, "--patience", "1", "--quiet", "--format"]
    code, out, err = said(*arguments, "junit", cwd=ROOT)
    assert (code, err) == (2, "")
    tree = ElementTree.fromstring(out)
    tests = tree.findall("testcase")
    assert len(tests) == int(tree.attrib["tests"]) == len(requirements.REQUIREMENTS)
    assert len(tree.findall("testcase/skipped")) == int(tree.attrib["skipped"]) == len(tests)
    assert reason in str(tests[0].find("skipped").attrib["message"])  # type: ignore[union-attr]
    assert "no requirement was seen to be met" in str(tree.findtext("system-out"))
    code, out, _ = said(*arguments, "json", cwd=ROOT)
    document = json.loads(out)
    assert code == document["exitStatus"] == 2
    assert document["leftBehind"] == []
    assert reason in document["requirements"][0]["reason"]
    assert subprocess.run(["pgrep", "-f", "sleep 987654"], check=False).returncode == 1


def test_json_has_these_keys() -> None:
    document = json.loads(report.as_json(outcome_of(Observation("kill.signal", "case", model.MET, ""))))
    assert list(document) == [
        "runtime", "version", "specification", "machine", "seconds", "exitStatus", "counts", "requirements",
        "faults", "leftBehind",
    ]  # fmt: skip
    keys = ["id", "section", "level", "since", "text", "status", "reason", "cases"]
    assert all(list(each) == keys for each in document["requirements"])
    assert list(document["counts"]) == list(model.STATUSES)
    assert document["counts"][model.MET] == {"MUST": 1, "SHOULD": 0, "ENGINE": 0}
    assert sum(sum(each.values()) for each in document["counts"].values()) == len(requirements.REQUIREMENTS)


def test_tap_numbers_every_requirement_and_gives_a_directive_to_what_is_no_verdict() -> None:
    violated = (
        Observation("mounts.data", "case", model.VIOLATED, "why"),
        Observation("sysctl", "case", model.VIOLATED, "a reason"),
    )
    version, plan, *lines = report.tap(outcome_of(*violated)).splitlines()
    assert (version, plan) == ("TAP version 13", f"1..{len(requirements.REQUIREMENTS)}")
    form = r"(?:not )?ok (\d+) ([\w.-]+) - [^#]*?(?: # (SKIP .+|TODO SHOULD))?"
    tests = [match for match in (re.fullmatch(form, line.replace("\\#", "")) for line in lines) if match]
    assert [int(match[1]) for match in tests] == list(range(1, len(requirements.REQUIREMENTS) + 1))
    directives = {match[2]: match[3] for match in tests}
    assert directives["mounts.data"] == "TODO SHOULD" and directives["sysctl"] is None
    assert directives["kill.signal"].startswith("SKIP untested: ")
    assert '  message: "a reason"' in lines


@needs_root
@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        command("--runtime", "runc", "--jobs", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/*/state/*")):  # of a container
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    process.send_signal(number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert out == "" and err == "\nconformance/run: interrupted, cleaning up\n"
    assert list(tmp_path.iterdir()) == []
    mounts = Path("/proc/self/mountinfo").read_text()
    assert f"conformance-{process.pid}-" not in mounts
    assert not list(Path("/sys/fs/cgroup").glob(f"**/conformance-{process.pid}-*"))


def outcome_of(*observations: Observation) -> suite.Outcome:
    statuses = {
        requirement.id: model.status(requirement, observations) for requirement in requirements.REQUIREMENTS
    }
    said = "fake version 1", "1.3.0", "a machine"
    return suite.Outcome("/fake", *said, 0, list(observations), statuses, [], [])


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        ([model.MET], model.MET),
        ([model.MET, model.VIOLATED, model.MET], model.VIOLATED),
        ([model.MET, model.UNTESTED], model.UNTESTED),
        ([model.MET, model.NOT_APPLICABLE], model.MET),
        ([model.NOT_APPLICABLE], model.NOT_APPLICABLE),
        ([], model.UNTESTED),
    ],
)
def test_one_bad_observation_outweighs_many_good_ones(statuses: list[str], wanted: str) -> None:
    seen = [Observation("kill.signal", "case", status, "why") for status in statuses]
    assert model.status(requirements.BY_ID["kill.signal"], seen)[0] == wanted


def test_the_exit_status_tells_a_violated_must_from_a_violated_should() -> None:
    good = Observation("kill.signal", "case", model.MET, "")
    assert outcome_of(good).code == 0
    assert outcome_of(good, Observation("mounts.data", "case", model.VIOLATED, "why")).code == 0
    assert outcome_of(good, Observation("sysctl", "case", model.VIOLATED, "why")).code == 1
    assert outcome_of(good)._replace(left=["process 1"]).code == 1
    assert outcome_of(good)._replace(faults=["a case failed"]).code == 2
    assert outcome_of().code == 2


def test_reports_give_every_requirement_and_the_reason() -> None:
    outcome = outcome_of(Observation("kill.signal", "case", model.VIOLATED, "it did | not arrive"))
    for write in report.FORMATS.values():
        text = write(outcome)
        assert all(requirement.id in text for requirement in requirements.REQUIREMENTS)
        assert "not arrive" in text
    assert "\nnot ok " in report.tap(outcome)
