"""`features` promises what the code does, in the form that the specification asks for."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pyrunc import cli, features
from pyrunc.compile import mount_options
from pyrunc.linux import capabilities, scheduling, seccomp

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def document(capfd: pytest.CaptureFixture[str]) -> Any:
    assert cli.main(["features"]) == 0
    return json.loads(capfd.readouterr().out)


def test_the_document_is_valid(document: Any) -> None:
    schema = json.loads((CHECKOUT / "spec/features.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)


def test_the_document_would_not_be_valid_with_a_wrong_name(document: Any) -> None:
    schema = json.loads((CHECKOUT / "spec/features.json").read_text())
    document["linux"]["namespaces"].append("network2")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(document)


def test_every_mount_option_that_is_promised_is_accepted(document: Any) -> None:
    for option in document["mountOptions"]:
        kind = "tmpfs" if option == "tmpcopyup" else "bind"
        mount_options.parse({"destination": "/x", "type": kind, "options": [option]}, 0)


def test_the_lists_are_those_of_the_code(document: Any) -> None:
    assert document["linux"]["capabilities"] == list(capabilities.NAMES)
    assert set(document["linux"]["seccomp"]["actions"]) == set(seccomp.ACTIONS)
    assert document["linux"]["memoryPolicy"] == {
        "modes": sorted(scheduling.MEMORY_POLICIES), "flags": sorted(scheduling.MEMORY_POLICY_FLAGS),
    }  # fmt: skip
    assert set(document["linux"]["namespaces"]) == {
        "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time",
    }  # fmt: skip


def test_hooks_are_named_in_the_order_in_which_they_run() -> None:
    assert features.HOOKS == (
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
    )  # fmt: skip
