"""podman run with namespaces of its own, the host's, and other containers', and with mapped users."""

import os
from pathlib import Path

import pytest
from podman import Podman

ALL = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
SHOW = "for kind in cgroup ipc net pid user uts; do readlink /proc/self/ns/$kind; done"


def namespaces(output: str) -> dict[str, str]:
    """What `SHOW` printed, by kind."""
    found = (line for line in output.splitlines() if ":[" in line)
    return {line.partition(":")[0]: line for line in found}


def of_host(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def started(podman: Podman, *flags: str) -> int:
    """A container that sleeps; the pid of its first process on the host."""
    name = flags[-1]
    podman("run", "-d", "--name", name, *flags[:-1], "busybox", "sleep", "1000")
    return int(podman("inspect", name, "--format", "{{.State.Pid}}", compare=False).out)


def test_namespaces_are_the_container_s_own_or_the_host_s(podman: Podman) -> None:
    own = namespaces(podman("run", "--rm", "busybox", "sh", "-c", SHOW, compare=False).out)
    for kind in ("ipc", "net", "pid", "uts"):
        assert own[kind] != of_host(kind), kind
    flags = ["--ipc", "host", "--pid", "host", "--uts", "host", "--cgroupns", "host"]
    shared = namespaces(podman("run", "--rm", *flags, "busybox", "sh", "-c", SHOW, compare=False).out)
    for kind in ("ipc", "pid", "uts", "cgroup"):
        assert shared[kind] == of_host(kind), kind
    script = "readlink /proc/self/ns/cgroup; cat /proc/self/cgroup"
    ended = podman("run", "--rm", "--cgroupns", "private", "busybox", "sh", "-c", script, ignore=r"\[\d+\]")
    assert of_host("cgroup") not in ended.out
    assert all(line.endswith(":/") for line in ended.out.splitlines()[1:])


def test_namespaces_of_another_container_are_joined(podman: Podman) -> None:
    first = started(podman, "--ipc", "shareable", "--hostname", "one", "first")
    flags = ["--ipc", "container:first", "--pid", "container:first", "--network", "container:first"]
    script = f"{SHOW}; hostname; tr '\\0' ' ' </proc/1/cmdline; ls /sys/class/net"
    ended = podman("run", "--rm", *flags, "busybox", "sh", "-c", script, ignore=r"\w+:\[\d+\]")
    joined = namespaces(ended.out)
    for kind in ("ipc", "pid", "net"):
        assert joined[kind] == os.readlink(f"/proc/{first}/ns/{kind}"), kind
    assert "sleep 1000" in ended.out


# -- networks


def test_a_published_port_is_fetched(podman: Podman) -> None:
    serve = "echo page >/tmp/page; exec httpd -f -p 80 -h /tmp"
    podman("run", "-d", "--name", "web", "-p", "8081:80", "busybox", "sh", "-c", serve)
    assert "0.0.0.0:8081" in podman("port", "web").out
    shown = podman("inspect", "web", "--format", "{{.NetworkSettings.IPAddress}}", compare=False)
    address = shown.out.strip()
    assert podman.place.fetch(f"http://{address}/page") == "page\n"
    assert podman.place.fetch("http://127.0.0.1:8081/page") == "page\n"


def test_networks_of_none_and_of_the_host(podman: Podman) -> None:
    script = "ls /sys/class/net; cat /etc/hosts | wc -l"
    assert podman("run", "--rm", "--network", "none", "busybox", "sh", "-c", script).out.split()[0] == "lo"
    show = ["readlink", "/proc/self/ns/net"]
    ended = podman("run", "--rm", "--network", "host", "busybox", *show, compare=False)
    assert ended.out == podman.look(*show)


def test_containers_of_a_network_find_each_other_by_name(podman: Podman) -> None:
    podman("network", "create", "--subnet", "10.77.0.0/24", "meeting")
    try:
        serve = "echo met >/tmp/page; exec httpd -f -p 80 -h /tmp"
        podman("run", "-d", "--network", "meeting", "--name", "server", "busybox", "sh", "-c", serve)
        script = "for n in $(seq 20); do wget -q -O - http://server/page && exit; sleep 0.2; done; exit 1"
        flags = ["--network", "meeting", "--ip", "10.77.0.9"]
        ended = podman("run", "--rm", *flags, "busybox", "sh", "-c", script)
        assert ended.out == "met\n"
    finally:
        podman("rm", "-f", "-t", "0", "server", compare=False)
        podman("network", "rm", "meeting")


# -- users


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--userns", "host"], ["0 0 4294967295"]),
        (["--uidmap", "0:100000:5000", "--gidmap", "0:200000:3000"], ["0 100000 5000", "0 200000 3000"]),
        (["--userns", "auto:size=2000"], ["0 3000000 2000"]),
    ],
    ids=["host", "mapped", "auto"],
)
def test_users_are_mapped(podman: Podman, flags: list[str], wanted: list[str]) -> None:
    script = (
        "cat /proc/self/uid_map /proc/self/gid_map; id; stat -c '%u %g' / /etc/passwd /proc/self; touch /new;"
        "cat /proc/self/oom_score_adj"
    )
    ended = podman("run", "--rm", *flags, "busybox", "sh", "-c", script)
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert [line for line in wanted if line not in lines] == []


def test_a_mapped_container_has_volumes_devices_and_a_user(podman: Podman) -> None:
    shared = podman.place.directory / "mapped"
    shared.mkdir(exist_ok=True)
    (shared / "file").write_text("of the host\n")
    flags = ["--uidmap", "0:100000:5000", "-v", f"{shared}:/shared:U", "-u", "bob", "--shm-size", "1m"]
    script = (
        "id; cat /shared/file; touch /shared/new; stat -c %u /shared/file; echo x >/dev/null;"
        "touch /home/bob/x; mount | grep -c cgroup"
    )
    ended = podman("run", "--rm", *flags, "busybox", "sh", "-c", script)
    assert "uid=1000(bob)" in ended.out and "of the host" in ended.out
    assert (shared / "new").stat().st_uid == 101000


def test_containers_share_a_user_namespace(podman: Podman) -> None:
    first = started(podman, "--uidmap", "0:100000:5000", "first")
    flags = ["--userns", "container:first"]
    ended = podman("run", "--rm", *flags, "busybox", "sh", "-c", f"{SHOW}; id", compare=False)
    assert namespaces(ended.out)["user"] == os.readlink(f"/proc/{first}/ns/user")


# -- without cgroups


def test_conmon_without_a_cgroup_of_its_own(podman: Podman) -> None:
    ended = podman("run", "--rm", "--cgroups", "no-conmon", "busybox", "echo", "hello")
    assert ended.out == "hello\n"


def test_a_container_without_a_cgroup_of_its_own(podman: Podman) -> None:
    """Which takes a runtime of podman's list runtime_supports_nocgroup; runc has no flag for it."""
    flags = ["--cgroups", "disabled", "--name", "free"]
    if podman.runtime.name == "runc":
        podman("run", "--rm", *flags, "busybox", "true", code=125, compare=False)
        return
    podman("run", "-d", *flags, "busybox", "sleep", "1000", compare=False)
    pid = podman("inspect", "--format", "{{.State.Pid}}", "free", compare=False).out.strip()
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    assert podman("exec", "free", "echo", "hello", compare=False).out == "hello\n"
    podman("rm", "--force", "--time", "0", "free", compare=False)
    limited = ["--cgroups", "disabled", "--pids-limit", "20"]
    ended = podman("run", "--rm", *limited, "busybox", "true", code=126, compare=False)
    assert "/linux/resources/pids/limit: with --cgroup-manager disabled" in ended.err
