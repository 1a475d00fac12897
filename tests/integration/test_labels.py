"""AppArmor profiles: confinement that a process has from its first instruction on."""

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
