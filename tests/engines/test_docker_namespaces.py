"""docker run: names, networks and namespaces, of its own, the host's or another container's."""

import os
from pathlib import Path

from engine import Docker
from look import namespace
from runs import run, script, start

KINDS = {"mnt", "net", "ipc", "pid", "uts", "cgroup"}


def shared_with(pid: int, other: int | str) -> set[str]:
    """The kinds of namespaces that two processes have in common."""
    return {kind for kind in KINDS if namespace(pid, kind) == namespace(other, kind)}


def test_names_and_kernel_parameters(docker: Docker) -> None:
    flags = (
        "--hostname one --domainname example.org --add-host far.example.org:10.1.2.3"
        " --dns 10.4.5.6 --dns-search example.org --dns-option ndots:2 --mac-address 02:42:ac:11:00:99"
        " --sysctl net.ipv4.ip_forward=0 --sysctl net.core.somaxconn=99 --sysctl kernel.msgmax=4096"
    )
    text = """
    hostname; cat /etc/hostname /proc/sys/kernel/domainname
    grep -E 'one|far' /etc/hosts | cut -f2
    cat /etc/resolv.conf
    sysctl -n net.ipv4.ip_forward net.core.somaxconn kernel.msgmax
    cat /sys/class/net/eth0/address
    """
    assert script(docker, flags, text).out.splitlines() == [
        *["one", "one", "example.org", "far.example.org", "one.example.org one"],
        *["search example.org", "nameserver 10.4.5.6", "options ndots:2", "0", "99", "4096"],
        "02:42:ac:11:00:99",
    ]


def test_a_container_has_namespaces_of_its_own(docker: Docker) -> None:
    assert shared_with(start(docker, "--cgroupns private"), "self") == set()
    # A bridge leads to others, and to the daemon's side of it.
    text = "ping -c 1 -W 5 $(ip route | awk '/default/ {print $3}') > /dev/null && echo pong"
    assert docker("exec", "one", "sh", "-c", text).out == "pong\n"


def test_namespaces_of_the_host(docker: Docker) -> None:
    flags = "--network host --ipc host --pid host --uts host --userns host --cgroupns host"
    pid = start(docker, flags, "sh", "-c", "sleep 1000 & sleep 1000")
    assert shared_with(pid, "self") == KINDS - {"mnt", "net"}
    # The network of the host is the daemon's.
    assert shared_with(pid, docker.daemon.process.pid) == KINDS - {"mnt"}
    assert docker("exec", "one", "hostname", compare=False).out.strip() == os.uname().nodename
    shown = docker("exec", "one", "cat", f"/proc/{os.getpid()}/comm", compare=False).out
    assert shown == Path("/proc/self/comm").read_text()
    # Without a PID namespace, all its processes end all the same.
    processes = docker("top", "one", "-o", "pid", compare=False).out.split()[1:]
    assert len(processes) == 2
    docker("rm", "--force", "one")
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


def test_no_network(docker: Docker) -> None:
    printed = script(docker, "--network none", "ls /sys/class/net; ip -o addr").out
    assert printed.startswith("lo\n1: lo    inet 127.0.0.1/8 ")


def test_namespaces_of_another_container(docker: Docker) -> None:
    one = start(docker, "--ipc shareable", "sh", "-c", "echo x > /dev/shm/file; exec sleep 1000")
    server = "while :; do nc -l -p 8080 -e echo served; done"
    flags = "--network container:one --ipc container:one --pid container:one"
    two = start(docker, flags, "sh", "-c", server, name="two")
    assert shared_with(one, two) - {"cgroup"} == {"net", "ipc", "pid"}
    assert docker("exec", "two", "sh", "-c", "until cat /dev/shm/file; do sleep 0.1; done").out == "x\n"
    assert docker("exec", "two", "cat", "/proc/1/comm").out == "sleep\n"
    fetch = "for i in $(seq 50); do nc 127.0.0.1 8080 < /dev/null && exit; sleep 0.1; done; exit 1"
    assert docker("exec", "one", "sh", "-c", fetch, compare=False).out == "served\n"
    # Its processes end with the PID namespace.
    docker("kill", "one")
    assert docker("wait", "two").out == "137\n"


def test_private_ipc_is_not_for_others(docker: Docker) -> None:
    start(docker, "--ipc private")
    run(docker, "--ipc container:one", "true", code=125)
    # No shared memory at all.
    run(docker, "--ipc none", "ls", "/dev/shm", code=1)
