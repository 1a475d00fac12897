"""Docker with the systemd cgroup driver: containers are scopes, and AppArmor confines them."""

import pytest
from engine import Docker
from machine import wait_for
from under_systemd import APPARMOR, cgroup_of, profile_of, slice_of, unit

MEBIBYTE = 1 << 20


def identity(docker: Docker, name: str) -> tuple[str, int]:
    shown = docker("inspect", "--format", "{{.Id}} {{.State.Pid}}", name, compare=False).out.split()
    return shown[0], int(shown[1])


def test_a_container_is_a_scope_with_its_limits_from_run_to_stop(systemd_docker: Docker) -> None:
    docker = systemd_docker
    flags = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "100", "--network", "none"]
    docker("run", "--detach", "--name", "web", *flags, "--init", "busybox", "sleep", "100000")
    full, pid = identity(docker, "web")
    scope = f"docker-{full}.scope"

    shown = unit(scope, "ActiveState", "Slice", "MemoryMax", "CPUQuotaPerSecUSec", "TasksMax", "Delegate")
    assert shown == {
        "ActiveState": "active",
        "Slice": slice_of(docker),
        "MemoryMax": str(64 * MEBIBYTE),
        "CPUQuotaPerSecUSec": "500ms",
        "TasksMax": "100",
        "Delegate": "yes",
    }
    cgroup = cgroup_of(pid)
    assert (cgroup.name, cgroup.parent.name) == (scope, slice_of(docker))
    files = {name: (cgroup / name).read_text().strip() for name in ("memory.max", "cpu.max", "pids.max")}
    assert files == {"memory.max": str(64 * MEBIBYTE), "cpu.max": "50000 100000", "pids.max": "100"}

    # A process of exec is in the scope too.
    assert docker("exec", "web", "cat", "/proc/self/cgroup").out == "0::/\n"
    docker("update", "--memory", "96m", "--memory-swap", "-1", "web")
    assert unit(scope, "MemoryMax") == {"MemoryMax": str(96 * MEBIBYTE)}
    assert (cgroup / "memory.max").read_text() == f"{96 * MEBIBYTE}\n"

    docker("stop", "--time", "5", "web")
    docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "web")
    wait_for(lambda: unit(scope, "ActiveState") == {"ActiveState": "inactive"}, "end of the scope")
    assert not cgroup.exists()
    docker("rm", "web")


@pytest.mark.skipif(not APPARMOR, reason="this kernel has no AppArmor")
def test_the_default_profile_of_apparmor_confines_run_and_exec(systemd_docker: Docker) -> None:
    docker = systemd_docker
    # The profile forbids mount(2) whatever capability there is; without it the mount succeeds.
    run = ["run", "--detach", "--network", "none", "--cap-add", "SYS_ADMIN"]
    mount = ["mount", "-t", "tmpfs", "none", "/tmp"]
    docker(*run, "--name", "confined", "busybox", "sleep", "100000")
    assert profile_of(identity(docker, "confined")[1]) == "docker-default (enforce)"
    assert docker("exec", "confined", "cat", "/proc/self/attr/current").out == "docker-default (enforce)\n"
    assert "Permission denied" in docker("exec", "confined", *mount, code=None).err

    docker(*run, "--name", "free", "--security-opt", "apparmor=unconfined", "busybox", "sleep", "100000")
    assert profile_of(identity(docker, "free")[1]) == "unconfined"
    docker("exec", "free", *mount)
    docker("rm", "--force", "confined", "free")


@pytest.mark.skipif(not APPARMOR, reason="this kernel has no AppArmor")
def test_a_profile_that_is_not_loaded_is_named(systemd_docker: Docker) -> None:
    option = ["--security-opt", "apparmor=no-such-profile"]
    answer = systemd_docker("run", "--rm", "--network", "none", *option, "busybox", "true", code=None)
    assert answer.code in (125, 126, 127)
    assert "no-such-profile" in answer.err or "apparmor" in answer.err
