"""Pods and containers as a kubelet makes them, through containerd's CRI plugin."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cri import BUSYBOX, GATEWAY, PAUSE, Container, Cri
from machine import CGROUPS, cgroup_file, cgroups, wait_for
from test_containerd_run import DEVOURS, VIEW

SLEEP = ("sleep", "1000")
#: Namespaces of the node, of the pod, or of the container alone.
NODE, POD, OWN = "NODE", "POD", "CONTAINER"
SHARED = ("net", "ipc", "uts")


def namespace(container: Container, kind: str) -> str:
    return os.readlink(f"/proc/{container.pid()}/ns/{kind}")


def own_namespaces(pid: str = OWN) -> dict[str, object]:
    """A security context, in which all but the processes are the pod's."""
    return {"namespace_options": {"pid": pid}}


def status_lines(text: str) -> dict[str, str]:
    """Of /proc/PID/status."""
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def cgroup_of(container: Container) -> str:
    return f"{container.cri.place.name}/pod-{container.pod.config['metadata']['name']}/{container.id}"


def test_version_status_and_images(cri: Cri) -> None:
    assert cri.call("Version")["runtime_name"] == "containerd"
    conditions = cri.call("Status")["status"]["conditions"]
    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }
    images = cri.call("ListImages", compare=False)["images"]
    assert {tag for image in images for tag in image.get("repo_tags", [])} == {BUSYBOX, PAUSE}


def test_two_containers_share_the_namespaces_of_their_pod(cri: Cri) -> None:
    pod = cri.pod("pair")
    status = pod.status()
    assert status["annotations"] == {"example.org/note": "kept"}
    script = "mkdir /tmp/w; echo served > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
    server = pod.container("server", "sh", "-c", script, security=own_namespaces())
    client = pod.container("client", *SLEEP, security=own_namespaces())
    for kind in SHARED:
        assert namespace(server, kind) == namespace(client, kind) != os.readlink(f"/proc/self/ns/{kind}")
    for kind in ("mnt", "pid"):
        assert namespace(server, kind) != namespace(client, kind)
    get = "until wget -q -O - http://127.0.0.1:8080/; do usleep 50000; done 2>/dev/null"
    assert client.shell(get) == "served\n"
    # From outside, by its own address.
    address = status["network"]["ip"]
    assert cri.place.fetch(f"http://{address}:8080/") == "served\n"
    assert client.shell("hostname; cat /proc/1/comm").split() == ["pair", "sleep"]
    assert "eth0" in client.shell("ip -o addr", ignore=r"10\.89\.7\.\d+|[0-9a-f:]{10,}|if\d+")
    # What one leaves in System V's shared memory or on /dev/shm, the other finds.
    server.shell("echo for you > /dev/shm/note")
    assert client.shell("cat /dev/shm/note") == "for you\n"
    # The pod goes on when one of them ends, with the same namespaces for what comes instead.
    before = namespace(client, "net")
    server.stop()
    server.remove()
    again = pod.container("server2", *SLEEP, security=own_namespaces())
    assert namespace(again, "net") == before


@pytest.mark.parametrize("privileged", [False, True])
def test_what_a_container_finds_is_the_same(cri: Cri, privileged: bool) -> None:
    pod = cri.pod("seen", security_context={"privileged": privileged})
    security = {"privileged": privileged, "namespace_options": {"pid": OWN}}
    resources = {"memory_limit_in_bytes": str(64 << 20), "cpu_shares": "256", "oom_score_adj": "300"}
    container = pod.container("box", *SLEEP, security=security, resources=resources)
    volatile = r"10\.89\.7\.\d+|[0-9a-f:]{10,}|if\d+|snapshots/\d+|pid \d+'s"
    assert "CapBnd" in container.shell(f"P=1{VIEW}P=$${VIEW}", ignore=volatile)


def test_a_pod_s_processes_in_one_namespace(cri: Cri) -> None:
    pod = cri.pod("shared-pids")
    first = pod.container("first", "sh", "-c", "exec sleep 1111", security=own_namespaces(POD))
    second = pod.container("second", "sh", "-c", "exec sleep 2222", security=own_namespaces(POD))
    assert namespace(first, "pid") == namespace(second, "pid")
    seen = second.shell("ps -o args")
    assert "sleep 1111" in seen
    assert "sleep 2222" in seen
    # The first process is the pod's, which nobody of them ends by stopping.
    assert "sleep 1000" in second.shell("cat /proc/1/cmdline | tr '\\0' ' '; echo")
    first.stop()
    assert first.ended()["exit_code"] == 137
    assert "sleep 1111" not in second.shell("ps -o args")
    # An ephemeral container for debugging, in the namespace of another container.
    alone = pod.container("alone", "sleep", "3333", security=own_namespaces())
    target = {"namespace_options": {"pid": "TARGET", "target_id": alone.id}}
    debugger = pod.container("debugger", *SLEEP, security=target)
    assert "sleep 3333" in debugger.shell("cat /proc/1/cmdline | tr '\\0' ' '; echo")


def test_a_security_context(cri: Cri) -> None:
    pod = cri.pod("secured")
    security = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 50},
        "supplemental_groups": [3000, 3001],
        "readonly_rootfs": True,
        "no_new_privs": True,
        "capabilities": {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["CHOWN", "MKNOD"]},
        "seccomp": {"profile_type": "RuntimeDefault"},
        "masked_paths": ["/proc/kcore", "/proc/acpi", "/sys/firmware"],
        "readonly_paths": ["/proc/sys", "/proc/bus"],
        "namespace_options": {"pid": OWN},
    }
    strict = pod.container("strict", *SLEEP, security=security)
    out = strict.shell("id; grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status")
    assert "uid=1000(bob) gid=50(staff)" in out
    status = status_lines(out)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert {"3000", "3001"} <= set(status["Groups"].split())
    bounding = int(status["CapBnd"], 16)
    # CAP_NET_ADMIN is bit 12, CAP_CHOWN 0, CAP_MKNOD 27.
    assert (bounding >> 12 & 1, bounding & 1, bounding >> 27 & 1) == (1, 0, 0)
    out = strict.shell(
        "touch /tmp/no; cat /proc/kcore | wc -c; ls /proc/acpi /sys/firmware; unshare -U true; true"
    )
    assert "Read-only file system" in out
    assert "unshare" in out
    profile = cri.place.directory / "profile.json"
    refusal = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refusal]}))
    local = {"seccomp": {"profile_type": "Localhost", "localhost_ref": str(profile)}}
    filtered = pod.container("filtered", *SLEEP, security=local)
    assert "No space left on device" in filtered.shell("mkdir /tmp/a", code=1)
    free = pod.container("free", *SLEEP, security={"run_as_username": "www-data"})
    status = status_lines(free.shell("grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid)' /proc/self/status"))
    assert status["Seccomp"] == "0"
    assert status["NoNewPrivs"] == "0"
    assert status["Uid"].split()[0] == "33"


def test_resources_are_those_of_the_cgroup_and_can_be_changed(cri: Cri) -> None:
    pod = cri.pod("limited")
    limits = {
        "cpu_period": "100000",
        "cpu_quota": "50000",
        "cpu_shares": "512",
        "memory_limit_in_bytes": str(64 << 20),
        "oom_score_adj": "500",
        "cpuset_cpus": "0",
    }
    container = pod.container("limited", *SLEEP, resources=limits)
    cgroup = cgroup_of(container)
    v2 = (CGROUPS / "cgroup.controllers").exists()

    def files() -> list[str]:
        names = (
            ["cpu.max", "cpu.weight", "memory.max", "cpuset.cpus"]
            if v2
            else ["cpu.cfs_quota_us", "cpu.shares", "memory.limit_in_bytes", "cpuset.cpus"]
        )
        return [cgroup_file(name, cgroup) for name in names]

    before = files()
    assert before == (
        ["50000 100000", "20", str(64 << 20), "0"] if v2 else ["50000", "512", str(64 << 20), "0"]
    )
    assert Path(f"/proc/{container.pid()}/oom_score_adj").read_text() == "500\n"
    more = {"cpu_quota": "70000", "cpu_shares": "1024", "memory_limit_in_bytes": str(96 << 20)}
    cri.call("UpdateContainerResources", container_id=container.id, linux=more)
    # What is not named stays.
    assert files() == (
        ["70000 100000", "39", str(96 << 20), "0"] if v2 else ["70000", "1024", str(96 << 20), "0"]
    )
    stats = cri.call("ContainerStats", container_id=container.id, compare=False)["stats"]
    assert stats["attributes"]["metadata"]["name"] == "limited"
    assert int(stats["cpu"]["usage_core_nano_seconds"]["value"]) > 0
    assert 0 < int(stats["memory"]["working_set_bytes"]["value"]) < 96 << 20
    # Impossible, and the container goes on as it was.
    absent = {"cpuset_cpus": "4000"}
    cri.call("UpdateContainerResources", container_id=container.id, linux=absent, refused="UNKNOWN")
    assert container.shell("echo on") == "on\n"


def test_commands_are_executed_with_exit_status_and_time_limit(cri: Cri) -> None:
    pod = cri.pod("exec")
    container = pod.container(
        "box",
        *SLEEP,
        envs=[{"key": "GIVEN", "value": "of the container"}],
        working_dir="/var",
        security=own_namespaces(),
    )
    said = container.shell("echo $GIVEN; pwd; echo bad >&2; (exit 3)", code=3)
    assert said == "of the container\n/var\nbad\n"
    refused = cri.call("ExecSync", container_id=container.id, cmd=["no-such-program"], refused="UNKNOWN")
    assert "executable file not found in $PATH" in refused["details"]
    cri.call(
        "ExecSync", container_id=container.id, cmd=["sleep", "1234"], timeout=1, refused="DEADLINE_EXCEEDED"
    )
    # What did not end in time is killed.
    wait_for(lambda: "1234" not in container.shell("ps -o args"), "the end of what took too long")
    # A container's death ends what is executed in it.
    assert container.stop() < 5


def test_commands_are_executed_over_the_streaming_server(cri: Cri) -> None:
    container = cri.pod("stream").container("box", *SLEEP)
    shell = "read x; echo got $x; echo bad >&2; usleep 200000; exit 4"
    out, err, status = container.stream("sh", "-c", shell, stdin="words\n")
    assert (out, err) == ("got words\n", "bad\n")
    assert status["status"] == "Failure"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "4"}]
    out, err, status = container.stream("sh", "-c", "tty; usleep 200000", tty=True)
    assert (out, err, status["status"]) == ("/dev/pts/0\r\n", "", "Success")


def test_logs(cri: Cri) -> None:
    pod = cri.pod("logging")
    script = "echo one; usleep 100000; echo two >&2; usleep 100000; echo -n partial; usleep 200000"
    done = pod.container("lines", "sh", "-c", script)
    assert done.ended().get("exit_code", 0) == 0
    assert done.log() == [("stdout", "one"), ("stderr", "two"), ("stdout", "partial")]
    # On a terminal both are one.
    terminal = pod.container("terminal", "sh", "-c", f"tty; {script}", tty=True)
    terminal.ended()
    assert [line.strip() for _, line in terminal.log()] == ["/dev/pts/0", "one", "two", "partial"]
    # A rotated log.
    ticking = pod.container("ticking", "sh", "-c", "while :; do echo tick; usleep 50000; done")
    path = Path(pod.config["log_directory"], "ticking.log")
    wait_for(lambda: path.exists() and path.stat().st_size, "line")
    path.rename(path.with_suffix(".old"))
    cri.call("ReopenContainerLog", container_id=ticking.id)
    wait_for(lambda: path.exists() and path.stat().st_size, "line")


def test_containers_are_stopped_with_patience_and_removed(cri: Cri) -> None:
    pod = cri.pod("stopping")
    polite = "trap 'echo bye; usleep 200000; exit 7' TERM; echo ready; while :; do usleep 10000; done"
    container = pod.container("polite", "sh", "-c", polite)
    wait_for(lambda: container.log() == [("stdout", "ready")], "trap")
    assert container.stop(20) < 15
    status = container.ended()
    assert (status["exit_code"], status["reason"]) == (7, "Error")
    assert container.log()[-1] == ("stdout", "bye")
    # As process 1 it gets no SIGTERM that it does not catch.
    deaf = pod.container("deaf", *SLEEP, security=own_namespaces())
    assert deaf.stop(1) >= 1
    assert deaf.ended()["exit_code"] == 137
    deaf.stop()
    container.remove()
    cri.call("ContainerStatus", container_id=container.id, refused="NOT_FOUND")
    # Containers of a pod that is stopped end, too; then it is removed with what it has.
    lasting = pod.container("lasting", *SLEEP)
    pid = lasting.pid()
    pod.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert pod.status()["state"] == "SANDBOX_NOTREADY"
    pod.stop()
    pod.remove()
    cri.call("PodSandboxStatus", pod_sandbox_id=pod.id, refused="NOT_FOUND")
    assert cri.call("ListContainers").get("containers", []) == []
    assert not cgroups(f"{cri.place.name}/pod-stopping/{pod.id}")
    assert not cgroups(cgroup_of(lasting))
    assert not [*(cri.place.directory / "usual").glob(f"*/{pod.id}")]


def test_a_runtime_class_is_a_handler(cri: Cri) -> None:
    pod = cri.pod("classy", handler="special")
    assert pod.status()["runtime_handler"] == "special"
    container = pod.container("box", *SLEEP)
    roots = {path.parent.parent.name for path in cri.place.directory.glob(f"*/*/{container.id}")}
    assert "special" in roots
    assert "usual" not in roots
    other = {**pod.config, "metadata": {"name": "x", "uid": "x"}}
    refused = cri.call("RunPodSandbox", config=other, runtime_handler="none", refused="UNKNOWN")
    assert "none" in refused["details"]


def test_an_oom_kill_is_the_reason_of_the_end(cri: Cri) -> None:
    # The shim begins to watch a moment after the start, and may miss what comes with the end.
    script = f"usleep 400000; ({DEVOURS}); status=$?; usleep 500000; exit $status"
    limits = {"memory_limit_in_bytes": str(16 << 20)}
    container = cri.pod("hungry").container("hungry", "sh", "-c", script, resources=limits)
    status = container.ended()
    assert (status["exit_code"], status["reason"]) == (137, "OOMKilled")


def test_what_cannot_be_started_says_why(cri: Cri) -> None:
    pod = cri.pod("failing")
    container = pod.created("absent", "no-such-program")
    refused = cri.call("StartContainer", container_id=container.id, refused="UNKNOWN")
    assert '"no-such-program": executable file not found in $PATH' in refused["details"]
    status = container.ended()
    assert (status["exit_code"], status["reason"]) == (128, "StartError")
    container.remove()
    # The pod is none the worse for it.
    assert pod.container("next", *SLEEP).shell("echo on") == "on\n"


def test_mounts_and_devices(cri: Cri) -> None:
    volume = cri.place.directory / "volume"
    (volume / "sub").mkdir(parents=True)
    (volume / "note").write_text("of the host\n")
    container = cri.pod("mounting").container(
        "box",
        *SLEEP,
        mounts=[
            {"container_path": "/volume", "host_path": str(volume)},
            {"container_path": "/fixed", "host_path": str(volume), "readonly": True},
            {"container_path": "/etc/note", "host_path": str(volume / "note"), "readonly": True},
        ],
        devices=[{"container_path": "/dev/tuned", "host_path": "/dev/fuse", "permissions": "rwm"}],
    )
    out = container.shell(
        "cat /etc/note; echo x > /volume/made; touch /fixed/no; stat -c %t,%T /dev/tuned; "
        "head -c 0 /dev/tuned && echo opened"
    )
    assert out.startswith("of the host\na,e5\nopened\n")
    assert "Read-only file system" in out
    assert (volume / "made").read_text() == "x\n"


def test_namespaces_of_the_node(cri: Cri) -> None:
    options = {"namespace_options": {"network": NODE, "pid": NODE, "ipc": NODE}}
    pod = cri.pod("noded", security_context=options, hostname="")
    container = pod.container("box", *SLEEP, security=options)
    # The node's network is containerd's.
    assert os.stat(f"/proc/{container.pid()}/ns/net").st_ino == os.stat(cri.place.netns).st_ino
    for kind in ("pid", "ipc", "uts"):
        assert namespace(container, kind) == os.readlink(f"/proc/self/ns/{kind}")
    # Its processes are among all those of the node, and still the cgroup's own ones end with it.
    assert container.shell("test $$ != 1 && echo among others") == "among others\n"
    container.shell("sleep 1000 > /dev/null 2>&1 &")
    pids = [int(pid) for pid in cgroup_file("cgroup.procs", cgroup_of(container)).split()]
    assert len(pids) == 2
    container.stop()
    container.remove()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of all")
    assert Path(f"/proc/{os.getpid()}").exists()


def test_a_privileged_container(cri: Cri) -> None:
    pod = cri.pod("mighty", security_context={"privileged": True})
    container = pod.container("box", *SLEEP, security={"privileged": True, "namespace_options": {"pid": OWN}})
    own = status_lines(Path("/proc/self/status").read_text())
    inside = status_lines(container.shell("cat /proc/self/status | grep -E '^(Cap|Seccomp:)'"))
    # All that containerd has.
    assert inside["CapEff"] == own["CapEff"]
    assert inside["Seccomp"] == "0"
    out = container.shell("mount -t tmpfs none /tmp && echo mounted; test -e /dev/fuse && echo fuse")
    assert out == "mounted\nfuse\n"
    # Neither masked nor read-only.
    mounts = container.shell("cut -d' ' -f2,4 /proc/mounts | grep -E '^/(proc|sys)' | cut -d, -f1 | sort")
    assert "/proc rw" in mounts
    assert "/proc/kcore" not in mounts


def test_sysctls_of_a_pod(cri: Cri) -> None:
    sysctls = {
        "net.ipv4.ip_unprivileged_port_start": "80",
        "kernel.shm_rmid_forced": "1",
        "net.core.somaxconn": "99",
    }
    container = cri.pod("tuned", sysctls=sysctls).container("box", *SLEEP)
    names = " ".join("/proc/sys/" + name.replace(".", "/") for name in sysctls)
    assert container.shell(f"cat {names}").split() == [*sysctls.values()]
    refused = {
        "metadata": {"name": "y", "uid": "y"},
        "hostname": "y",
        "linux": {"cgroup_parent": f"/{cri.place.name}", "sysctls": {"kernel.pid_max": "1000"}},
    }
    answer = cri.call("RunPodSandbox", config=refused, refused="UNKNOWN")
    assert "kernel.pid_max" in answer["details"]
    # Nothing is left of the attempt.
    assert [pod["metadata"]["name"] for pod in cri.call("ListPodSandbox")["items"]] == ["tuned"]


def test_a_port_of_a_pod_is_mapped(cri: Cri) -> None:
    ports = [{"container_port": 80, "host_port": 8088}]
    pod = cri.pod("mapped", port_mappings=ports)
    script = "mkdir /tmp/w; echo mapped > /tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"
    server = pod.container("server", "sh", "-c", script)
    server.shell("until wget -q -O /dev/null http://127.0.0.1/; do usleep 50000; done 2>/dev/null")
    assert cri.place.fetch(f"http://{GATEWAY}:8088/") == "mapped\n"


def test_pods_go_on_while_containerd_restarts(cri: Cri) -> None:
    pod = cri.pod("lasting")
    container = pod.container("box", "sh", "-c", "while :; do echo tick; usleep 50000; done")
    pid = container.pid()
    cri.restart()
    assert "state" not in pod.status()
    assert container.pid() == pid
    assert container.shell("echo on") == "on\n"
    lines = len(container.log())
    wait_for(lambda: len(container.log()) > lines, "line")
    container.stop()
    assert container.ended()["exit_code"] == 137


def test_pods_that_are_made_at_once(cri: Cri) -> None:
    # In no order that could be compared.
    cri.record()

    def life(number: int) -> str:
        pod = cri.pod(f"at-once-{number}")
        said = pod.container("box", *SLEEP).shell("hostname")
        pod.stop()
        pod.remove()
        assert not cgroups(f"{cri.place.name}/pod-at-once-{number}/{pod.id}")
        return said.strip()

    with ThreadPoolExecutor(6) as pool:
        assert [*pool.map(life, range(6))] == [f"at-once-{number}" for number in range(6)]
    assert cri.call("ListPodSandbox").get("items", []) == []
    assert not [path for path in cri.place.directory.glob("usual/*/*") if path.name != "@seccomp"]


@pytest.mark.parametrize("victim", ["sandbox", "container"])
def test_a_killed_process_is_noticed(cri: Cri, victim: str) -> None:
    pod = cri.pod("killed")
    container = pod.container("box", *SLEEP, security=own_namespaces())
    if victim == "container":
        os.kill(container.pid(), 9)
        assert container.ended()["exit_code"] == 137
        assert "state" not in pod.status()
        return
    info = cri.call("ListPodSandbox", compare=False)["items"]
    assert [item["id"] for item in info] == [pod.id]
    cgroup = f"{cri.place.name}/pod-killed/{pod.id}"
    os.kill(int(cgroup_file("cgroup.procs", cgroup).split()[0]), 9)
    wait_for(
        lambda: cri.call("PodSandboxStatus", pod_sandbox_id=pod.id, compare=False)["status"].get("state"),
        "state of the pod",
    )
    assert pod.status()["state"] == "SANDBOX_NOTREADY"
