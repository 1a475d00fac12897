"""SELinux labels as a host that has SELinux would get them: no machine of the integration tests does."""

from typing import Any

import pytest
from examples import LAYOUTS, compiled, example, ordinary

from pyrunc.compile.create import compile_create
from pyrunc.compile.exec import compile_exec
from pyrunc.compile.facts import Facts, Request
from pyrunc.errors import Error
from pyrunc.program.model import Program, Step
from pyrunc.program.verify import verify

LABEL, FILE_LABEL = "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"


def exec_program(label: str, *, selinux: bool = True, new_keyring: bool = True) -> Program:
    config = ordinary()
    process = {**config["process"], "selinuxLabel": label}
    request = Request("box", "/b", new_keyring=new_keyring)
    program = compile_exec(config, process, Facts("/b/rootfs", selinux=selinux), request, None, [])
    verify(program)
    return program


def asked_for(program: Program, pointer: str) -> list[Step]:
    return [step for step in program.steps if step.origin == pointer]


def at(program: Program, call: str) -> int:
    return [step.call for step in program.steps].index(call)


@pytest.mark.shows("/process/selinuxLabel")
def test_a_label_is_for_the_keyring_and_then_for_what_is_executed() -> None:
    program = compiled(example("selinux"), LAYOUTS["v2"])[0]
    steps = asked_for(program, "/process/selinuxLabel")
    writes = [step for step in steps if step.call == "write"]
    assert [step.args[1] for step in writes] == [LABEL, LABEL]
    first, last = (program.steps.index(step) for step in writes)
    assert first < at(program, "clone") < at(program, "keyctl")
    # With the ids and capabilities that the process has, after the last step that executes something else.
    assert at(program, "capset") < at(program, "wait") < last < at(program, "execve")


def test_a_label_comes_after_the_hooks_and_before_the_filter() -> None:
    config = example("selinux")
    config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    program = compiled(config, LAYOUTS["v2"])[0]
    verify(program)
    last = program.steps.index(asked_for(program, "/process/selinuxLabel")[-1])
    assert at(program, "hook") < last < at(program, "seccomp")


def test_exec_has_a_label_of_its_own() -> None:
    program = exec_program(LABEL)
    writes = [step for step in asked_for(program, "/process/selinuxLabel") if step.call == "write"]
    first, last = (program.steps.index(step) for step in writes)
    assert first < at(program, "setns") < at(program, "keyctl") < at(program, "setresuid") < last


def test_the_caller_s_keyring_keeps_its_label() -> None:
    program = exec_program(LABEL, new_keyring=False)
    assert len([s for s in asked_for(program, "/process/selinuxLabel") if s.call == "write"]) == 1


def test_an_empty_label_is_none() -> None:
    assert asked_for(exec_program("", selinux=False), "/process/selinuxLabel") == []


@pytest.mark.parametrize(
    ("part", "key", "label"),
    [("process", "selinuxLabel", LABEL), ("linux", "mountLabel", FILE_LABEL)],
)
def test_a_label_without_selinux_is_refused(part: str, key: str, label: str) -> None:
    config = ordinary()
    config[part][key] = label
    with pytest.raises(Error, match=f'no SELinux, which the label "{label}" is for') as caught:
        compile_create(config, Facts("/b/rootfs"), Request("box", "/b"))
    assert caught.value.pointer == f"/{part}/{key}"


# -- mounts


def contexts(program: Program) -> list[str]:
    """The file systems that are made with the mounts' label, by type."""
    kinds = {id(step.out): step.args[0] for step in program.steps if step.call == "fsopen"}
    return [
        str(kinds[id(step.args[0])])
        for step in program.steps
        if step.call == "fsconfig" and step.args[2:4] == ("context", FILE_LABEL)
    ]


def labelled(*mounts: dict[str, Any]) -> Program:
    config = ordinary()
    config["linux"].update(mountLabel=FILE_LABEL, maskedPaths=[])
    config["mounts"] = list(mounts)
    program = compiled(config, LAYOUTS["v1"])[0]
    verify(program)
    return program


@pytest.mark.shows("/linux/mountLabel")
@pytest.mark.parametrize("kind", ["tmpfs", "devpts", "overlay", "ext4", "ramfs"])
def test_a_new_file_system_has_the_label(kind: str) -> None:
    program = labelled({"destination": "/x", "type": kind, "source": "x"})
    assert contexts(program) == [kind]
    context = next(s for s in program.steps if s.call == "fsconfig" and s.args[2] == "context")
    assert context.origin == "/linux/mountLabel"


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_what_has_labels_of_its_own_has_no_other(kind: str) -> None:
    assert contexts(labelled({"destination": f"/{kind}", "type": kind, "source": kind})) == []


def test_a_bind_mount_keeps_the_labels_of_its_files() -> None:
    assert contexts(labelled({"destination": "/x", "type": "bind", "source": "/srv/src"})) == []


def test_cgroups_v1_have_a_labelled_directory_for_hierarchies_with_labels_of_their_own() -> None:
    assert contexts(labelled({"destination": "/x", "type": "cgroup", "source": "cgroup"})) == ["tmpfs"]


def test_message_queues_have_a_labelled_root() -> None:
    program = labelled({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"})
    assert contexts(program) == []
    (step,) = [step for step in program.steps if step.call == "fsetxattr"]
    assert step.args[1:4] == ("security.selinux", FILE_LABEL, len(FILE_LABEL))
    assert step.origin == "/linux/mountLabel"


def test_masked_directories_are_covered_by_labelled_ones() -> None:
    config = ordinary()
    config["linux"]["mountLabel"] = FILE_LABEL
    config["mounts"] = [each for each in config["mounts"] if each["type"] in ("proc", "sysfs")]
    covers = [step for step in compiled(config, LAYOUTS["v2"])[0].steps if step.call == "fsopen"]
    assert contexts(compiled(config, LAYOUTS["v2"])[0]) == [
        "tmpfs" for step in covers if step.args[0] == "tmpfs"
    ]


@pytest.mark.parametrize(("kind", "key"), [("overlay", "lowerdir"), ("other", "x")])
def test_options_too_long_for_fsconfig_have_the_label_in_quotes(kind: str, key: str) -> None:
    """A label with categories has commas, which separate options in mount(2)."""
    option = key + "=" + ":".join(f"/layers/{n}" for n in range(100))
    program = labelled({"destination": "/x", "type": kind, "source": "x", "options": [option]})
    (data,) = [step.args[4] for step in program.steps if step.call == "mount"]
    assert isinstance(data, str)
    assert data.endswith(f',context="{FILE_LABEL}"')
