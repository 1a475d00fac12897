"""ctr with --runc-systemd-cgroup and with AppArmor's default profile."""

from engine import Containerd
from machine import wait_for
from under_systemd import APPARMOR, cgroup_of, profile_of, slice_of, unit

IMAGE = "docker.io/library/busybox:latest"


def test_a_task_is_a_scope_with_its_limit(systemd_ctr: Containerd) -> None:
    ctr = systemd_ctr
    flags = ["--runc-systemd-cgroup", "--cgroup", f"{slice_of(ctr)}:ctr:web"]
    if APPARMOR:
        flags += ["--apparmor-default-profile", "pyrunc-tests-default"]
    ctr("run", "--detach", *flags, "--memory-limit", str(64 << 20), IMAGE, "web", "sleep", "100000")
    pid = int(ctr("tasks", "list", compare=False).out.split()[-2])
    assert cgroup_of(pid).name == "ctr-web.scope"
    assert unit("ctr-web.scope", "MemoryMax", "Slice") == {"MemoryMax": str(64 << 20), "Slice": slice_of(ctr)}
    if APPARMOR:
        assert profile_of(pid) == "pyrunc-tests-default (enforce)"
        seen = ctr("tasks", "exec", "--exec-id", "one", "web", "cat", "/proc/self/attr/current")
        assert seen.out == "pyrunc-tests-default (enforce)\n"
    else:
        ctr("tasks", "exec", "--exec-id", "one", "web", "true")
    metrics = ctr("tasks", "metrics", "web", compare=False).out.split()
    assert metrics[metrics.index("memory.usage_limit") + 1] == str(64 << 20)
    ctr("tasks", "kill", "--signal", "SIGKILL", "web")
    wait_for(lambda: "STOPPED" in ctr("tasks", "list", compare=False).out, "end of the task")
    ctr("tasks", "delete", "web", code=None)
    wait_for(lambda: unit("ctr-web.scope", "ActiveState") == {"ActiveState": "inactive"}, "end of the scope")
    ctr("containers", "delete", "web")
