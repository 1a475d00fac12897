"""Annotations of crun's in plans and programs."""

from typing import Any

import pytest
from examples import LAYOUTS, compiled, ordinary

from pyrunc import features
from pyrunc.compile import cgroups
from pyrunc.errors import Error
from pyrunc.program.verify import verify


def delegating(name: str, **linux: Any) -> dict[str, Any]:
    config = {**ordinary(), "annotations": {"run.oci.delegate-cgroup": name}}
    config["linux"].update(linux)
    return config


@pytest.mark.parametrize(("name", "below"), [("payload", "payload"), ("/a/b/", "a/b")])
def test_a_delegated_cgroup_is_below_the_container_s(name: str, below: str) -> None:
    plan = cgroups.plan(delegating(name), LAYOUTS["v2"], "box")
    assert plan.delegated == f"{plan.directories['']}/{below}"
    assert plan.asked == "/annotations/run.oci.delegate-cgroup"


def test_an_empty_name_delegates_nothing() -> None:
    assert cgroups.plan(delegating(""), LAYOUTS["v2"], "box").delegated == ""


@pytest.mark.parametrize("name", ["/", ".", "..", "../x", "a/../../b", "a//b", "a\nb"])
def test_a_name_that_is_not_below_is_refused(name: str) -> None:
    with pytest.raises(Error) as caught:
        cgroups.plan(delegating(name), LAYOUTS["v2"], "box")
    assert caught.value.pointer == "/annotations/run.oci.delegate-cgroup"


def test_a_delegated_cgroup_belongs_to_the_process_s_user() -> None:
    config = delegating(
        "payload",
        namespaces=[{"type": "user"}],
        uidMappings=[{"containerID": 0, "hostID": 100000, "size": 10}],
        gidMappings=[{"containerID": 0, "hostID": 100000, "size": 10}],
    )
    assert cgroups.plan(config, LAYOUTS["v2"], "box").owner == 100000
    assert cgroups.plan(delegating("payload"), LAYOUTS["v2"], "box").owner is None


def test_its_file_is_opened_before_the_clone_and_written_after_it() -> None:
    program, _ = compiled(delegating("payload"), LAYOUTS["v2"])
    verify(program)
    calls = [step.call for step in program.steps]
    own = [i for i, step in enumerate(program.steps) if step.origin == "/annotations/run.oci.delegate-cgroup"]
    opened, written, closed = own
    assert [calls[i] for i in own] == ["openat2", "write", "close"]
    assert opened < calls.index("clone") < written < closed


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_streams_of_hooks_are_set_for_those_that_init_runs(stream: str) -> None:
    config = ordinary()
    config["annotations"] = {f"run.oci.hooks.{stream}": "/var/log/hooks"}
    program, _ = compiled(config, LAYOUTS["v2"])
    assert f"run.oci.hooks.{stream}" not in program.inherited
    config["hooks"] = {"poststop": [{"path": "/hook"}]}
    program, _ = compiled(config, LAYOUTS["v2"])
    assert f"run.oci.hooks.{stream}" not in program.inherited
    config["hooks"] = {kind: [{"path": "/hook"}] for kind in ("createContainer", "startContainer")}
    program, _ = compiled(config, LAYOUTS["v2"])
    verify(program)
    assert f"run.oci.hooks.{stream}" in program.inherited
    assert [step.call for step in program.steps].count("hook_streams") == 2


def test_features_names_them_as_potentially_unsafe() -> None:
    unsafe = features.document()["potentiallyUnsafeConfigAnnotations"]
    assert {"run.oci.hooks.stdout", "run.oci.delegate-cgroup", "run.oci.mount_context_type"} <= set(unsafe)
