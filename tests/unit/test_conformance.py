"""The conformance suite must not pass a runtime that did nothing, and its table must be sound."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from conformance import model, report, requirements, suite  # noqa: E402
from conformance.model import Observation, Requirement  # noqa: E402

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the suite makes containers as root")

FAKES = {
    "does-nothing": "#!/bin/sh\nexit 0\n",
    "always-fails": "#!/bin/sh\necho no >&2\nexit 1\n",
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
@pytest.mark.parametrize("name", FAKES)
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
