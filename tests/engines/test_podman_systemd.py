"""podman with --cgroup-manager systemd."""

from machine import wait_for
from podman import Podman
from under_systemd import APPARMOR, cgroup_of, profile_of, slice_of, unit


def test_a_container_is_a_scope_with_its_limits_from_run_to_stop(systemd_podman: Podman) -> None:
    podman = systemd_podman
    flags = ["--memory", "64m", "--pids-limit", "100", "--network", "none", "--stop-signal", "KILL"]
    flags += ["--cgroup-parent", slice_of(podman)]
    podman("run", "--detach", "--name", "web", *flags, "busybox", "sleep", "100000")
    shown = podman("inspect", "--format", "{{.Id}} {{.State.Pid}}", "web", compare=False).out.split()
    pid = int(shown[1])
    scope = f"libpod-{shown[0]}.scope"
    assert unit(scope, "MemoryMax", "TasksMax", "Slice") == {
        "MemoryMax": str(64 << 20),
        "TasksMax": "100",
        "Slice": slice_of(podman),
    }
    cgroup = cgroup_of(pid)
    assert scope in cgroup.parts
    if APPARMOR:
        assert profile_of(pid).startswith("containers-default-")
    assert podman("exec", "web", "cat", "/proc/self/cgroup").out.startswith("0::/")
    podman("stop", "--time", "5", "web")
    wait_for(lambda: unit(scope, "ActiveState") == {"ActiveState": "inactive"}, "end of the scope")
    assert not cgroup.exists()
    podman("rm", "web")
