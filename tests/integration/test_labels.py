"""AppArmor profiles and SELinux labels: confinement that a process has from its first instruction on."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Box

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
HAS_APPARMOR = ENABLED.exists() and ENABLED.read_text().startswith("Y")

PROFILE = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  signal,
  ptrace,
  deny /secret rw,
}}
"""
CURRENT = "cat /proc/self/attr/current; cat /secret"


@pytest.fixture
def profile(box: Box) -> Iterator[str]:
    if not HAS_APPARMOR:
        pytest.skip("this host has no AppArmor")
    file = box.place / "profile"
    file.write_text(PROFILE.format(name=box.id))
    (box.rootfs / "secret").write_text("secret")
    subprocess.run(["apparmor_parser", "-r", "-K", str(file)], check=True)
    yield box.id
    subprocess.run(["apparmor_parser", "-R", "-K", str(file)], check=True)


@pytest.mark.shows("/process/apparmorProfile")
def test_the_process_is_confined_by_its_profile(box: Box, profile: str) -> None:
    box.process["apparmorProfile"] = profile
    result = box.run_script(CURRENT)
    assert result.out == f"{profile} (enforce)\n"
    assert "Permission denied" in result.err


def test_the_profile_holds_for_another_user_and_without_new_privileges(box: Box, profile: str) -> None:
    box.process["apparmorProfile"] = profile
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["noNewPrivileges"] = True
    assert box.run_script(CURRENT).out == f"{profile} (enforce)\n"


def test_exec_has_the_container_s_profile_or_the_one_it_is_given(box: Box, profile: str) -> None:
    box.process["apparmorProfile"] = profile
    box.sleeping()
    assert box.exec_sh("cat /proc/self/attr/current") == f"{profile} (enforce)\n"
    assert box.exec_sh("cat /proc/self/attr/current", "--apparmor", "unconfined") == "unconfined\n"


# May do all that a runtime does, and change to other profiles.
RUNTIME = """
profile {name}-runtime flags=(attach_disconnected,mediate_deleted) {{
  file, capability, network, mount, remount, umount, pivot_root, signal, ptrace, unix,
  change_profile -> **,
}}
"""


def test_a_profile_that_the_runtime_may_not_change_to(box: Box, profile: str) -> None:
    """With no_new_privs AppArmor lets nobody change to a profile that is no subset of the one before."""
    file = box.place / "runtime-profile"
    file.write_text(RUNTIME.format(name=box.id))
    subprocess.run(["apparmor_parser", "-r", "-K", str(file)], check=True)
    box.process["apparmorProfile"] = profile
    box.process["noNewPrivileges"] = True
    box.args("/bin/true")

    def confine() -> None:
        Path("/proc/thread-self/attr/apparmor/exec").write_text(f"exec {box.id}-runtime")

    try:
        box.run(preexec_fn=confine).failed("EPERM", f'profile "{box.id}"', "change to", "noNewPrivileges")
    finally:
        subprocess.run(["apparmor_parser", "-R", "-K", str(file)], check=True)
    box.clean()


def test_exec_of_a_process_file_without_a_profile_has_the_container_s(box: Box, profile: str) -> None:
    """What is confined must not become free because a caller left the profile out."""
    box.process["apparmorProfile"] = profile
    box.sleeping()
    document = {**box.process, "args": ["/bin/cat", "/proc/self/attr/current"]}
    del document["apparmorProfile"]
    path = box.place / "process.json"
    path.write_text(json.dumps(document))
    assert box.verb("exec", "--process", str(path), box.id).ok().out == f"{profile} (enforce)\n"


def test_a_profile_is_not_written_to_what_is_bound_over_the_attribute(box: Box, profile: str) -> None:
    """CVE-2025-52881: another file of a procfs, which would take the text for its own."""
    box.process["apparmorProfile"] = profile
    proc = box.rootfs / "proc"
    box.hook(
        "createContainer",
        f"for name in 1/task/1/attr/apparmor/exec 1/attr/apparmor/exec; do "
        f"/bin/mount --bind {proc}/sys/kernel/domainname {proc}/$name || exit 1; done",
    )
    box.run().failed("/process/apparmorProfile", "attr/apparmor/exec", "mounted over", "EXDEV")
    assert profile not in Path("/proc/sys/kernel/domainname").read_text()
    box.clean()


def test_a_profile_that_is_not_loaded_is_named(box: Box) -> None:
    if not HAS_APPARMOR:
        pytest.skip("this host has no AppArmor")
    box.process["apparmorProfile"] = "pyrunc-no-such-profile"
    box.run().failed("/process/apparmorProfile", "pyrunc-no-such-profile", "loaded")
    assert box.leftovers() == []


@pytest.mark.shows("/process/apparmorProfile")
def test_a_profile_on_a_host_without_apparmor_is_an_error(box: Box) -> None:
    if HAS_APPARMOR:
        pytest.skip("this host has AppArmor")
    box.process["apparmorProfile"] = "docker-default"
    box.run().failed("/process/apparmorProfile", "docker-default", "AppArmor")


def test_unconfined_is_no_profile(box: Box) -> None:
    box.process["apparmorProfile"] = "unconfined"
    assert box.sh("echo ran") == "ran\n"


# -- SELinux: what it is told where it is on, is in the unit tests

needs_no_selinux = pytest.mark.skipif(
    Path("/sys/fs/selinux/enforce").exists(), reason="this host has SELinux"
)


@needs_no_selinux
def test_labels_on_a_host_without_selinux_are_errors(box: Box) -> None:
    box.process["selinuxLabel"] = "system_u:system_r:container_t:s0"
    box.run().failed("/process/selinuxLabel", "container_t", "no SELinux")
    del box.process["selinuxLabel"]
    box.linux["mountLabel"] = "system_u:object_r:container_file_t:s0"
    box.run().failed("/linux/mountLabel", "container_file_t", "no SELinux")
    box.clean()


@needs_no_selinux
def test_exec_with_a_label_on_a_host_without_selinux_is_an_error(box: Box) -> None:
    box.sleeping()
    result = box.exec("true", flags=["--process-label", "system_u:system_r:container_t:s0"])
    result.failed("/process/selinuxLabel", "container_t", "no SELinux", code=255)
    assert box.status() == "running"
