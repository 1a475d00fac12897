"""Annotations that change what the runtime does, as crun documents them; all others are only kept."""

import json
from pathlib import Path

import pytest
from harness import Box, alive, pids_in_cgroups, proc_status, wait_for

KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


@pytest.mark.shows("/annotations")
def test_annotations_that_mean_nothing_are_shown_in_the_state(box: Box) -> None:
    annotations = {
        "org.criu.config": "/etc/criu/other.conf", "run.oci.handler": "krun", "com.example/key": "värde",
        "empty": "",
    }  # fmt: skip
    box.config["annotations"] = annotations
    box.sleeping()
    assert box.state()["annotations"] == annotations


# -- what hooks write


@pytest.mark.shows("/annotations")
@pytest.mark.beyond_runc("knows no such annotation")
def test_what_all_hooks_write_is_appended_to_files(box: Box) -> None:
    out, errors = box.place / "out.log", box.place / "errors.log"
    out.write_text("before\n")
    box.config["annotations"] = {"run.oci.hooks.stdout": str(out), "run.oci.hooks.stderr": str(errors)}
    for kind in KINDS:
        box.hook(kind, f"echo {kind} 1; echo {kind} 2 >&2")
        box.hook(kind, f"echo {kind} 3")
    box.args("/bin/echo", "from the container")
    assert box.run().ok().out == "from the container\n"
    expected = [f"{kind} {n}" for kind in KINDS for n in (1, 3)]
    assert sorted(out.read_text().splitlines()) == sorted(["before", *expected])
    assert sorted(errors.read_text().splitlines()) == sorted(f"{kind} 2" for kind in KINDS)
    assert errors.stat().st_mode & 0o777 == 0o600


@pytest.mark.beyond_runc("knows no such annotation")
def test_one_stream_goes_to_a_file_and_the_other_into_the_message(box: Box) -> None:
    out = box.place / "out.log"
    box.config["annotations"] = {"run.oci.hooks.stdout": str(out)}
    for kind in ("createRuntime", "createContainer"):
        box.config["hooks"] = {}
        box.hook(kind, "echo all; echo the reason >&2; exit 1")
        box.run().failed(f"/hooks/{kind}/0", "the reason")
    assert out.read_text() == "all\nall\n"
    box.clean()


@pytest.mark.beyond_runc("knows no such annotation")
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a_file_for_hooks_that_cannot_be_opened_is_named(box: Box, kind: str) -> None:
    box.config["annotations"] = {"run.oci.hooks.stderr": "/no/such/directory/log"}
    box.hook(kind, "exit 0")
    box.run().failed("/annotations/run.oci.hooks.stderr", "/no/such/directory/log")
    box.clean()


# -- groups


@pytest.mark.shows("/annotations")
@pytest.mark.beyond_runc("knows no such annotation")
@pytest.mark.parametrize(("value", "kept"), [("1", True), ("0", False), (None, False)])
def test_the_runtime_s_groups_are_kept(box: Box, value: str | None, kept: bool) -> None:
    if value is not None:
        box.config["annotations"] = {"run.oci.keep_original_groups": value}
    box.process["user"]["additionalGids"] = [77]
    box.args("/bin/sleep", "1000")
    box.run("-d", extra_groups=[4242]).ok()
    assert proc_status(box.pid())["Groups"].split() == ["4242" if kept else "77"]


# -- a delegated cgroup


@pytest.fixture
def delegated(box: Box, pure_v2: bool) -> Box:
    if not pure_v2:
        pytest.skip("a cgroup is delegated on cgroup v2 only")
    box.config["annotations"] = {"run.oci.delegate-cgroup": "payload"}
    box.linux.setdefault("resources", {})["pids"] = {"limit": 50}
    return box


def test_on_a_host_with_v1_hierarchies_a_delegated_cgroup_is_refused(box: Box, pure_v2: bool) -> None:
    if pure_v2 or box.is_runc:
        pytest.skip("this host has cgroup v2 alone")
    box.config["annotations"] = {"run.oci.delegate-cgroup": "payload"}
    box.run().failed("/annotations/run.oci.delegate-cgroup", "cgroup v2")
    box.clean()


@pytest.mark.shows("/annotations")
def test_the_process_is_in_a_cgroup_below_the_limited_one(delegated: Box) -> None:
    box = delegated
    box.add_namespace("cgroup")
    pid = box.sleeping()
    path = Path("/sys/fs/cgroup") / Path(f"/proc/{pid}/cgroup").read_text().strip().partition("::/")[2]
    assert path.name == "payload"
    assert path.parent.name == box.id
    assert (path.parent / "pids.max").read_text() == "50\n"
    assert (path.parent / "cgroup.procs").read_text() == ""
    # The namespace's root is the container's cgroup.
    assert box.exec_sh("cat /proc/1/cgroup") == "0::/payload\n"
    assert set(pids_in_cgroups(box.id)) == {pid}
    box.verb("kill", "--all", box.id, "KILL").ok()
    wait_for(lambda: not alive(pid), "the end")
    box.delete().ok()
    assert not path.parent.exists()


def test_a_delegated_cgroup_belongs_to_the_root_of_a_user_namespace(delegated: Box) -> None:
    box = delegated
    box.add_namespace("cgroup")
    box.user_namespace()
    box.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev"])
    out = box.sh(
        "cd /sys/fs/cgroup; mkdir payload/below; echo $$ > payload/below/cgroup.procs; "
        "cat /proc/self/cgroup; echo 5 > pids.max || echo limited; rmdir payload 2>/dev/null || echo busy"
    )
    assert out.split() == ["0::/payload/below", "limited", "busy"]
    box.clean()


@pytest.mark.parametrize("name", ["../out", "a/../..", "/", "."])
def test_a_name_that_leads_out_is_refused(delegated: Box, name: str) -> None:
    box = delegated
    box.config["annotations"]["run.oci.delegate-cgroup"] = name
    box.run().failed("/annotations/run.oci.delegate-cgroup")
    box.clean()


def test_a_hook_sees_the_annotations(box: Box) -> None:
    box.config["annotations"] = {"run.oci.keep_original_groups": "0", "key": "value"}
    box.hook("createRuntime", f"cat > {box.place}/state.json")
    box.run().ok()
    assert json.loads((box.place / "state.json").read_text())["annotations"] == box.config["annotations"]
