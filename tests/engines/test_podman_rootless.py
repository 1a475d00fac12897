"""podman of an ordinary user with subordinate ids: user namespaces, networks, exec, pods, build."""

import os

import pytest
from podman import RootlessPodman

SHOW = "id -u; id -g; cat /proc/self/uid_map; stat -c '%u %g' / /etc/passwd; touch /new && echo written"


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_root_of_the_container_is_the_user(rootless: RootlessPodman) -> None:
    ended = rootless("run", "--rm", "--network", "none", "busybox", "sh", "-c", SHOW)
    assert lines(ended.out) == [
        *["0", "0", f"0 {rootless.uid} 1", f"1 {rootless.first} 65536"],
        *["0 0", "0 0", "written"],
    ]
    rootless("run", "-d", "--name", "one", "--network", "none", "-u", "bob", "busybox", "sleep", "1000")
    pid = rootless("inspect", "one", "--format", "{{.State.Pid}}", compare=False).out.strip()
    assert os.stat(f"/proc/{pid}").st_uid == rootless.first + 999


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("keep-id", ["64777", "64777", "0 1 64777", "64777 0 1"]),
        ("nomap", ["0", "0", "0 1 65536"]),
        ("auto:size=500", ["0", "0", "0 1 500"]),
    ],
    ids=["keep-id", "nomap", "auto"],
)
def test_users_are_mapped(rootless: RootlessPodman, flags: str, wanted: list[str]) -> None:
    script = SHOW.partition("stat")[0]
    ended = rootless("run", "--rm", "--network", "none", "--userns", flags, "busybox", "sh", "-c", script)
    assert lines(ended.out)[: len(wanted)] == wanted


def test_the_user_s_files_are_a_volume(rootless: RootlessPodman) -> None:
    shared = rootless.home / "shared"
    shared.mkdir(mode=0o700)
    os.chown(shared, rootless.uid, rootless.uid)
    script = "id -u; echo written >/shared/file; stat -c %u /shared; echo x >/dev/null; touch /ro/x"
    flags = ["--userns", "keep-id", "-v", f"{shared}:/shared", "--tmpfs", "/tmp", "-v", f"{shared}:/ro:ro"]
    ended = rootless("run", "--rm", "--network", "host", *flags, "busybox", "sh", "-c", script, code=1)
    assert ended.out == f"{rootless.uid}\n{rootless.uid}\n"
    assert (shared / "file").stat().st_uid == rootless.uid


def test_a_group_of_the_user_stays_with_keep_groups(rootless: RootlessPodman) -> None:
    """Which podman asks of the runtime by an annotation of crun's."""
    shared = rootless.home / "of-the-team"
    shared.mkdir()
    (shared / "file").write_text("of the team\n")
    os.chown(shared, 0, rootless.team)
    shared.chmod(0o750)
    words = ["--network", "none", "-v", f"{shared}:/shared", "busybox", "cat", "/shared/file"]
    assert "Permission denied" in rootless("run", "--rm", *words, code=1).err
    ended = rootless("run", "--rm", "--group-add", "keep-groups", *words, code=None)
    assert (ended.code, ended.out) == ((1, "") if rootless.runtime.name == "runc" else (0, "of the team\n"))


def test_the_network_of_slirp4netns_has_published_ports(rootless: RootlessPodman) -> None:
    serve = "echo page >/tmp/page; exec httpd -f -p 80 -h /tmp"
    rootless("run", "-d", "--name", "web", "-p", "8085:80", "busybox", "sh", "-c", serve)
    rootless.until("exec", "web", "test", "-e", "/tmp/page")
    assert rootless.place.fetch("http://127.0.0.1:8085/page") == "page\n"
    assert "tap0" in rootless("exec", "web", "ls", "/sys/class/net").out


def test_the_life_of_a_user_s_container(rootless: RootlessPodman) -> None:
    script = 'trap "exit 9" TERM; while :; do sleep 0.05; done'
    flags = ["--network", "none", "--init", "--read-only", "--cap-add", "sys_admin"]
    rootless("run", "-d", "--name", "one", *flags, "busybox", "sh", "-c", script)
    assert rootless("exec", "-u", "bob", "one", "id", "-u").out == "1000\n"
    rootless("exec", "one", "no-such-program", code=127, compare=False)
    console = rootless.console("exec", "-it", "one", "sh", lines=30, columns=70)
    console.expect("# ")
    console.type("stty size; exit 5\n")
    console.expect("30 70")
    assert console.end() == 5
    rootless("stop", "one")
    assert rootless("wait", "one").out == "9\n"
    rootless("rm", "one")


def test_a_pod_of_the_user(rootless: RootlessPodman) -> None:
    rootless("pod", "create", "--name", "pod", "--network", "none", "--share", "net,uts,ipc,pid")
    rootless("run", "-d", "--pod", "pod", "--name", "one", "busybox", "sleep", "1000")
    script = "hostname; ps -o args | grep -c 'sleep [1]000'"
    assert rootless("run", "--rm", "--pod", "pod", "busybox", "sh", "-c", script).out == "pod\n1\n"


def test_an_image_is_built_by_the_user(rootless: RootlessPodman) -> None:
    context = rootless.place.directory / "context"
    context.mkdir()
    steps = "FROM localhost/busybox:latest\nRUN id -u >/made && chown bob /made\n"
    (context / "Containerfile").write_text(steps)
    built = rootless(
        *["build", "--isolation", "oci", "--network", "none", "--layers=false", "-t", "made", str(context)],
        ignore="--> [0-9a-f]+",
    )
    assert "STEP 2/2" in built.out
    shown = rootless("run", "--rm", "--network", "none", "made", "sh", "-c", "cat /made; stat -c %u /made")
    assert shown.out == "0\n1000\n"
