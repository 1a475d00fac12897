"""Pods as a kubelet makes them, through containerd's CRI plugin: their namespaces, network and life."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cri import GATEWAY, NODE, PAUSE, POD, SLEEP, Cri, own_namespaces
from machine import cgroup_file, cgroups, wait_for
from tasks import IMAGE

SHARED = ("net", "ipc", "uts")


def test_version_status_and_images(cri: Cri) -> None:
    assert cri.call("Version")["runtime_name"] == "containerd"
    conditions = cri.call("Status")["status"]["conditions"]
    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }
    images = cri.call("ListImages", compare=False)["images"]
    assert {tag for image in images for tag in image.get("repo_tags", [])} == {IMAGE, PAUSE}


def test_two_containers_share_the_namespaces_of_their_pod(cri: Cri) -> None:
    pod = cri.pod("pair")
    status = pod.status()
    assert status["annotations"] == {"example.org/note": "kept"}
    script = "mkdir /tmp/w; echo served > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
    server = pod.container("server", "sh", "-c", script, security=own_namespaces())
    client = pod.container("client", *SLEEP, security=own_namespaces())
    for kind in SHARED:
        assert server.namespace(kind) == client.namespace(kind) != os.readlink(f"/proc/self/ns/{kind}")
    for kind in ("mnt", "pid"):
        assert server.namespace(kind) != client.namespace(kind)
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
    before = client.namespace("net")
    server.stop()
    server.remove()
    again = pod.container("server2", *SLEEP, security=own_namespaces())
    assert again.namespace("net") == before


def test_a_pod_s_processes_in_one_namespace(cri: Cri) -> None:
    pod = cri.pod("shared-pids")
    first = pod.container("first", "sh", "-c", "exec sleep 1111", security=own_namespaces(POD))
    second = pod.container("second", "sh", "-c", "exec sleep 2222", security=own_namespaces(POD))
    assert first.namespace("pid") == second.namespace("pid")
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
    assert not cgroups(lasting.cgroup())
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


def test_namespaces_of_the_node(cri: Cri) -> None:
    options = {"namespace_options": {"network": NODE, "pid": NODE, "ipc": NODE}}
    pod = cri.pod("noded", security_context=options, hostname="")
    container = pod.container("box", *SLEEP, security=options)
    # The node's network is containerd's.
    assert os.stat(f"/proc/{container.pid()}/ns/net").st_ino == os.stat(cri.place.netns).st_ino
    for kind in ("pid", "ipc", "uts"):
        assert container.namespace(kind) == os.readlink(f"/proc/self/ns/{kind}")
    # Its processes are among all those of the node, and still the cgroup's own ones end with it.
    assert container.shell("test $$ != 1 && echo among others") == "among others\n"
    container.shell("sleep 1000 > /dev/null 2>&1 &")
    pids = [int(pid) for pid in cgroup_file("cgroup.procs", container.cgroup()).split()]
    assert len(pids) == 2
    container.stop()
    container.remove()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of all")
    assert Path(f"/proc/{os.getpid()}").exists()


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


def test_a_port_of_a_pod_is_forwarded(cri: Cri) -> None:
    """It is one of the pod's own loopback."""
    pod = cri.pod("forwarded")
    script = "mkdir /tmp/w; echo forwarded > /tmp/w/index.html; exec httpd -f -p 127.0.0.1:80 -h /tmp/w"
    server = pod.container("server", "sh", "-c", script)
    server.shell("until wget -q -O /dev/null http://127.0.0.1/; do usleep 50000; done 2>/dev/null")
    assert pod.forward(80, b"GET / HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nforwarded\n")


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
