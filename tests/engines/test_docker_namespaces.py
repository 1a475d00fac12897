"""docker run: names, networks and namespaces, of its own, the host's or another container's."""

import os
from pathlib import Path

from engine import Docker
from look import namespace, pid_of
from machine import wait_for

ISSUED = "busybox"
SLEEP = ("sleep", "1000")
KINDS = {"mnt", "net", "ipc", "pid", "uts", "cgroup"}


def of_the_host(pid: int) -> set[str]:
    """The kinds of namespaces that a process shares with this one; its network, with the daemon's below."""
    return {kind for kind in KINDS if namespace(pid, kind) == namespace("self", kind)}


def test_names_and_kernel_parameters(docker: Docker) -> None:
    words = ["--hostname", "one", "--domainname", "example.org", "--add-host", "far.example.org:10.1.2.3"]
    words += ["--dns", "10.4.5.6", "--dns-search", "example.org", "--dns-option", "ndots:2"]
    words += [
        "--sysctl",
        "net.ipv4.ip_forward=0",
        "--sysctl",
        "net.core.somaxconn=99",
        "--sysctl",
        "kernel.msgmax=4096",
    ]
    words += ["--mac-address", "02:42:ac:11:00:99"]
    script = """
    hostname; cat /etc/hostname /proc/sys/kernel/domainname
    grep -E 'one|far' /etc/hosts | cut -f2
    cat /etc/resolv.conf
    sysctl -n net.ipv4.ip_forward net.core.somaxconn kernel.msgmax
    cat /sys/class/net/eth0/address
    """
    assert docker("run", "--rm", *words, ISSUED, "sh", "-c", script).out.splitlines() == [
        *["one", "one", "example.org", "far.example.org", "one.example.org one"],
        *["search example.org", "nameserver 10.4.5.6", "options ndots:2", "0", "99", "4096"],
        *["02:42:ac:11:00:99"],
    ]


def test_a_container_has_namespaces_of_its_own(docker: Docker) -> None:
    docker("run", "--detach", "--name", "one", "--cgroupns", "private", ISSUED, *SLEEP)
    assert of_the_host(pid_of(docker, "one")) == set()
    # A bridge leads to others, and to the daemon's side of it.
    script = """
    ip -o -4 addr show eth0 | wc -l
    ping -c 1 -W 5 $(ip route | awk '/default/ {print $3}') > /dev/null && echo pong
    """
    assert docker("exec", "one", "sh", "-c", script).out == "1\npong\n"


def test_namespaces_of_the_host(docker: Docker) -> None:
    words = ["--network", "host", "--ipc", "host", "--pid", "host", "--uts", "host", "--userns", "host"]
    docker(
        "run",
        "--detach",
        "--name",
        "one",
        *words,
        "--cgroupns",
        "host",
        ISSUED,
        "sh",
        "-c",
        "sleep 1000 & sleep 1000",
    )
    pid = pid_of(docker, "one")
    assert of_the_host(pid) == KINDS - {"mnt", "net"}
    # The network of the host is the daemon's.
    assert namespace(pid, "net") == namespace(docker.daemon.process.pid, "net")
    assert docker("exec", "one", "hostname", compare=False).out.strip() == os.uname().nodename
    shown = docker("exec", "one", "sh", "-c", f"cat /proc/{os.getpid()}/comm", compare=False).out
    assert shown == Path("/proc/self/comm").read_text()
    # Without a PID namespace, all its processes end all the same.
    processes = docker("top", "one", "-o", "pid", compare=False).out.split()[1:]
    assert len(processes) == 2
    docker("rm", "--force", "one")
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


def test_no_network(docker: Docker) -> None:
    printed = docker(
        "run", "--rm", "--network", "none", ISSUED, "sh", "-c", "ls /sys/class/net; ip -o addr"
    ).out
    assert printed.startswith("lo\n1: lo    inet 127.0.0.1/8 ")


def test_namespaces_of_another_container(docker: Docker) -> None:
    docker(
        "run",
        "--detach",
        "--name",
        "one",
        "--ipc",
        "shareable",
        ISSUED,
        "sh",
        "-c",
        "echo x > /dev/shm/file; exec sleep 1000",
    )
    wait_for(
        lambda: docker("exec", "one", "ls", "/dev/shm", compare=False).out, "the file in the shared memory"
    )
    words = ["--network", "container:one", "--ipc", "container:one", "--pid", "container:one"]
    docker(
        "run",
        "--detach",
        "--name",
        "two",
        *words,
        ISSUED,
        "sh",
        "-c",
        "while :; do nc -l -p 8080 -e echo served; done",
    )
    one, two = pid_of(docker, "one"), pid_of(docker, "two")
    shared = {kind for kind in KINDS - {"cgroup"} if namespace(one, kind) == namespace(two, kind)}
    assert shared == {"net", "ipc", "pid"}
    assert docker("exec", "two", "cat", "/dev/shm/file").out == "x\n"
    assert docker("exec", "two", "cat", "/proc/1/comm").out == "sleep\n"
    fetch = "for i in $(seq 50); do nc 127.0.0.1 8080 < /dev/null && exit; sleep 0.1; done; exit 1"
    assert docker("exec", "one", "sh", "-c", fetch, compare=False).out == "served\n"
    # Whose PID namespace ends, ends.
    docker("kill", "one")
    assert docker("wait", "two").out == "137\n"


def test_private_ipc_is_not_for_others(docker: Docker) -> None:
    docker("run", "--detach", "--name", "one", "--ipc", "private", ISSUED, *SLEEP)
    docker("run", "--rm", "--ipc", "container:one", ISSUED, "true", code=125)
    # No shared memory at all.
    docker("run", "--rm", "--ipc", "none", ISSUED, "ls", "/dev/shm", code=1)
