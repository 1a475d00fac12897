"""Docker with userns-remap: root inside is an ordinary user outside."""

from pathlib import Path

from engine import RemappedDocker
from look import pid_of
from runs import IMAGE

FIRST = RemappedDocker.FIRST


def test_root_is_a_subordinate_id(remapped: RemappedDocker) -> None:
    script = "id -u; touch /of-root; su bob -c 'touch /tmp/of-bob'; cat /proc/self/uid_map; exec sleep 100"
    remapped("run", "-d", "--name", "one", "-v", "/kept", "--memory", "64m", IMAGE, "sh", "-c", script)
    process = Path(f"/proc/{pid_of(remapped, 'one')}")
    for kind in ("uid_map", "gid_map"):
        assert (process / kind).read_text().split() == ["0", str(FIRST), "65536"]
    assert process.stat().st_uid == FIRST
    assert remapped("exec", "one", "sh", "-c", "until test -e /tmp/of-bob; do sleep 0.05; done").out == ""
    assert (process / "root/of-root").stat().st_uid == FIRST
    assert (process / "root/tmp/of-bob").stat().st_uid == FIRST + 1000
    assert remapped("logs", "one").out.splitlines()[0] == "0"
    # All that is in it, and mounted into it, belongs to it.
    owners = remapped(
        "exec", "one", "stat", "-c", "%n %u", "/", "/etc", "/etc/hosts", "/kept", "/dev", "/dev/shm"
    ).out
    assert all(line.endswith(" 0") for line in owners.splitlines()), owners
    # The host's files are nobody's, and its kernel's settings cannot be changed.
    assert remapped("exec", "one", "stat", "-c", "%u", "/proc/sys/kernel/hostname").out == "65534\n"
    remapped("exec", "one", "sh", "-c", "echo 1 >/proc/sysrq-trigger", code=1)
    remapped("exec", "-u", "bob", "one", "id")
    console = remapped.console("exec", "-it", "one", "sh")
    console.expect("# ")
    console.type("ls -n $(tty) | awk '{ print \"owner\", $3 }'; exit 4\n")
    console.expect("owner 0")
    assert console.end() == 4
    remapped("kill", "one")


def test_namespaces_are_shared_with_their_user_namespace(remapped: RemappedDocker) -> None:
    remapped("run", "-d", "--name", "one", "--ipc", "shareable", IMAGE, "sleep", "100")
    shared = ["--network", "container:one", "--ipc", "container:one", "--pid", "container:one"]
    script = "for ns in user net ipc pid; do stat -Lc %i /proc/self/ns/$ns; done; ps | grep -c 'sleep 100'"
    inside = remapped("run", "--rm", *shared, IMAGE, "sh", "-c", script, compare=False).out.split()
    process = pid_of(remapped, "one")
    expected = [Path(f"/proc/{process}/ns/{name}").stat().st_ino for name in ("user", "net", "ipc", "pid")]
    assert [int(number) for number in inside[:4]] == expected
    assert int(inside[4]) >= 1


def test_what_is_asked_of_the_host_is_refused_or_the_hosts(remapped: RemappedDocker) -> None:
    remapped("run", "--rm", "--network", "host", IMAGE, "true", code=125)
    remapped("run", "--rm", "--privileged", IMAGE, "true", code=125)
    assert remapped("run", "--rm", "--userns", "host", IMAGE, "cat", "/proc/self/uid_map").out.split() == [
        *["0", "0", "4294967295"],
    ]
    flags = [
        "--read-only",
        "--tmpfs",
        "/run:size=1m",
        "--user",
        "bob:staff",
        "--cap-drop",
        "ALL",
        "--sysctl",
        "net.ipv4.ip_forward=1",
    ]
    shown = remapped(
        "run", "--rm", *flags, IMAGE, "sh", "-c", "id; cat /proc/sys/net/ipv4/ip_forward; touch /x", code=1
    )
    assert shown.out == "uid=1000(bob) gid=50(staff) groups=50(staff)\n1\n"


def test_a_build_is_remapped_too(remapped: RemappedDocker) -> None:
    dockerfile = (
        "FROM busybox\nRUN cat /proc/self/uid_map; touch /made; chown bob /made\nCMD stat -c %U /made\n"
    )
    shown = remapped("build", "--no-cache", "-t", "built", "-", stdin=dockerfile).out
    assert str(FIRST) in shown
    assert remapped("run", "--rm", "built").out == "bob\n"
