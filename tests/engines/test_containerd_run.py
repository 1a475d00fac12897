"""ctr run in its variants, seen from inside the container and from the host."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from engine import Containerd
from machine import CGROUPS, cgroup_file, cgroups, wait_for
from tasks import IMAGE, VIEW, pid_of


def specification(ctr: Containerd, container: str) -> dict[str, object]:
    """The OCI configuration that ctr makes by default for a command in the image."""
    ctr("containers", "create", IMAGE, container, "sleep", "1000", compare=False)
    info = json.loads(ctr("containers", "info", container, compare=False).out)
    ctr("containers", "delete", container, compare=False)
    spec: dict[str, object] = info["Spec"]
    return spec


def test_a_process_runs_with_its_exit_status_and_output(ctr: Containerd) -> None:
    flags = ["--rm", "--runc-binary", ctr.runtime.path]
    assert ctr("run", *flags, IMAGE, "one", *ctr.shell("echo hello")).out == "hello\n"
    # And by the name runc, found in the PATH.
    assert ctr("run", "--rm", IMAGE, "two", *ctr.shell("echo bad >&2; (exit 7)"), code=7).err == "bad\n"
    assert ctr("containers", "list", "--quiet").out == ""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/program", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_what_cannot_be_executed_is_named_and_nothing_is_left(
    ctr: Containerd, command: str, said: str
) -> None:
    failed = ctr("run", "--rm", IMAGE, "absent", command, code=1)
    assert said in failed.err
    assert command in failed.err
    assert ctr("tasks", "list", "--quiet").out == ctr("containers", "list", "--quiet").out == ""
    assert not cgroups(f"{ctr.place.name}/absent")


def test_environment_directory_mounts_and_a_read_only_root(ctr: Containerd) -> None:
    place = ctr.place.directory
    (place / "env").write_text("FROM_FILE=2\n")
    (place / "shared").mkdir(exist_ok=True)
    (place / "shared/note").write_text("from the host\n")
    flags = [
        *["--env", "GIVEN=1", "--env-file", str(place / "env"), "--cwd", "/var", "--read-only"],
        *["--mount", f"type=bind,src={place}/shared,dst=/ro,options=rbind:ro"],
        *["--mount", f"type=bind,src={place}/shared,dst=/rw,options=rbind:rw"],
        *["--mount", "type=tmpfs,src=tmpfs,dst=/scratch,options=size=1m:mode=1700"],
        *["--label", "a=b", "--annotation", "org.example.note=c", "--device", "/dev/fuse"],
    ]
    script = (
        "echo $GIVEN $FROM_FILE; pwd; touch /etc/no; cat /ro/note; touch /ro/no; echo back > /rw/answer; "
        "stat -c %a /scratch; df -k /scratch | tail -1; ls -l /dev; stat -c %t,%T /dev/fuse; "
        "cut -d' ' -f3- /proc/self/mountinfo | cut -d' ' -f3-4 | grep -v /dev/ | sort"
    )
    ended = ctr("run", "--rm", *flags, IMAGE, "flags", *ctr.shell(script), ignore=r"\w{3} +\d+ \d\d:\d\d")
    assert ended.out.startswith("1 2\n/var\nfrom the host\n")
    assert "touch: /etc/no: Read-only file system\ntouch: /ro/no: Read-only file system" in ended.err
    assert (place / "shared/answer").read_text() == "back\n"
    assert "1700" in ended.out
    assert "a,e5" in ended.out


def test_capabilities_privilege_and_new_privileges(ctr: Containerd) -> None:
    def status(*flags: str) -> dict[str, str]:
        script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"
        out = ctr("run", "--rm", *flags, IMAGE, "caps", *ctr.shell(script)).out
        return {line.split()[0].rstrip(":"): line.split()[1] for line in out.splitlines()}

    usual = status()
    assert usual["NoNewPrivs"] == "1"
    assert usual["Seccomp"] == "0"
    changed = status(
        *["--cap-add", "CAP_SYS_PTRACE", "--cap-drop", "CAP_CHOWN", "--allow-new-privs", "--seccomp"]
    )
    # CAP_CHOWN is bit 0, CAP_SYS_PTRACE bit 19.
    assert int(changed["CapEff"], 16) == int(usual["CapEff"], 16) & ~1 | 1 << 19
    assert changed["NoNewPrivs"] == "0"
    assert changed["Seccomp"] == "2"
    # As far as the daemon itself has privilege: containerd gives all of its own capabilities.
    privileged = ctr(
        *["run", "--rm", "--privileged", IMAGE, "mighty"],
        *ctr.shell(
            "grep CapEff /proc/self/status; grep -c 'sysfs.*ro,' /proc/mounts; "
            "mount -t tmpfs none /tmp && echo mounted"
        ),
    )
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line)
    assert privileged.out.split()[:2] == own.split()
    assert privileged.out.endswith("mounted\n")


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"],
        ["--privileged", "--cgroup", ""],
        ["--net-host", "--read-only", "--seccomp", "--memory-limit", "67108864", "--cwd", "/made/for/it"],
    ],
    ids=["plain", "mapped", "privileged", "others"],
)
def test_what_a_process_finds_is_the_same(ctr: Containerd, flags: list[str]) -> None:
    volatile = r"snapshots/\d+|pid \d+'s"
    seen = ctr("run", "--rm", *flags, IMAGE, "seen", *ctr.shell(f"P=1{VIEW}"), ignore=volatile)
    assert "CapBnd" in seen.out
    ctr("run", "--detach", *flags, IMAGE, "base", "sleep", "1000")
    look = ctr.shell(f"P=$${VIEW}")
    ctr("tasks", "exec", "--exec-id", "look", "base", *look, ignore=volatile)


def test_seccomp_profiles(ctr: Containerd) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    path = ctr.place.directory / "profile.json"
    path.write_text(json.dumps(profile))
    flags = ["--seccomp", "--seccomp-profile", str(path)]
    refused = ctr("run", "--rm", *flags, IMAGE, "filtered", *ctr.shell("mkdir /tmp/a"), code=1)
    assert "No space left on device" in refused.err
    # containerd's default profile: no new user namespaces without CAP_SYS_ADMIN.
    refused = ctr("run", "--rm", "--seccomp", IMAGE, "filtered", *ctr.shell("unshare -U true"), code=1)
    assert "Operation not permitted" in refused.err


def test_memory_and_cpu_limits(ctr: Containerd) -> None:
    flags = ["--memory-limit", str(64 << 20), "--cpus", "0.5", "--cpu-shares", "512"]
    ctr("run", "--detach", *flags, IMAGE, "limited", "sleep", "1000")
    cgroup = f"{ctr.place.name}/limited"
    if (CGROUPS / "cgroup.controllers").exists():
        files = {"memory.max": str(64 << 20), "cpu.max": "50000 100000"}
        # Of 512 shares, as runc converts them before version 1.3.2 and from then on.
        assert cgroup_file("cpu.weight", cgroup) in {"20", "59"}
    else:
        files = {
            "memory.limit_in_bytes": str(64 << 20),
            "cpu.cfs_quota_us": "50000",
            "cpu.cfs_period_us": "100000",
            "cpu.shares": "512",
        }
    assert {name: cgroup_file(name, cgroup) for name in files} == files
    ctr("run", "--rm", "--cpu-quota", "20000", "--cpu-period", "40000", IMAGE, "quota", "true")


def test_a_cgroup_of_one_s_choice_or_none(ctr: Containerd) -> None:
    name = ctr.place.name
    ctr("run", "--detach", "--cgroup", f"/{name}/chosen/deep", IMAGE, "there", "sleep", "1000")
    pid = pid_of(ctr, "there")
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert any(line.endswith(f":/{name}/chosen/deep") for line in lines)
    ctr("tasks", "delete", "--force", "there", ignore=r"\d+")
    assert not cgroups(f"{name}/chosen/deep")
    # The empty path is no cgroup of its own for ctr; what the runtime makes of that is the same as runc.
    ctr("run", "--detach", "--cgroup", "", IMAGE, "nowhere", "sleep", "1000")
    pid = pid_of(ctr, "nowhere")
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    kinds = sorted({line.split(":")[2].replace("nowhere", "ID") for line in lines})
    ctr.recording.add(("the cgroups",), None, "\n".join(kinds), "", None)
    ctr("tasks", "delete", "--force", "nowhere", ignore=r"\d+")
    assert not cgroups("nowhere")


def test_a_user_namespace(ctr: Containerd) -> None:
    flags = ["--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"]
    script = (
        "cat /proc/self/uid_map /proc/self/gid_map; id -u; ls -ldn /etc /dev/null; touch /mine; "
        "readlink /proc/self/ns/user"
    )
    ended = ctr("run", "--rm", *flags, IMAGE, "mapped", *ctr.shell(script), ignore=r"user:\[\d+\]")
    assert ended.out.split()[:7] == ["0", "100000", "65536", "0", "200000", "65536", "0"]
    assert ended.out.split()[-1] != os.readlink("/proc/self/ns/user")


def test_no_pivot_root(ctr: Containerd) -> None:
    """The root is moved over instead; the container's view is the same."""
    script = "ls /; cut -d' ' -f5 /proc/self/mountinfo | sort; cat /etc/group; pwd"
    pivoted = ctr("run", "--rm", IMAGE, "pivoted", *ctr.shell(script)).out
    moved = ctr("run", "--rm", "--no-pivot", IMAGE, "moved", *ctr.shell(script)).out
    assert moved == pivoted


def test_namespaces_that_exist_are_joined(ctr: Containerd) -> None:
    network = ctr.place.netns
    look = ctr.shell("stat -L -c %i /proc/self/ns/net")
    host = ctr("run", "--rm", "--net-host", IMAGE, "host", *look, ignore=r"\d+")
    # containerd runs in it.
    assert int(host.out) == os.stat(network).st_ino
    joined = ctr(
        *["run", "--rm", "--with-ns", f"network:{network}", IMAGE, "joined", *look],
        ignore=r"\d+",
    )
    assert int(joined.out) == os.stat(network).st_ino
    ctr("run", "--detach", IMAGE, "first", "sleep", "1000")
    pid = pid_of(ctr, "first")
    kinds = ("ipc", "uts", "pid")
    flags = [word for kind in kinds for word in ("--with-ns", f"{kind}:/proc/{pid}/ns/{kind}")]
    script = "cat /proc/1/comm; for k in ipc uts pid; do readlink /proc/self/ns/$k; done"
    second = ctr("run", "--rm", *flags, IMAGE, "second", *ctr.shell(script), compare=False)
    comm, *namespaces = second.out.split()
    assert comm == "sleep"
    assert namespaces == [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]
    # It was not the namespaces' first process: the first container goes on.
    assert pid_of(ctr, "first") == pid
    ctr("tasks", "kill", "--signal", "KILL", "first")
    ctr(
        *["run", "--rm", "--with-ns", f"network:{ctr.place.directory}/none", IMAGE, "third", "true"], code=1
    )


def test_a_directory_as_root_and_a_configuration_as_file(ctr: Containerd) -> None:
    place = ctr.place.directory
    root = place / "rootfs"
    (root / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("proc", "dev", "sys", "run", "etc", "tmp"):
        (root / name).mkdir(exist_ok=True)
    if not (root / "bin/busybox").exists():
        (root / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (root / "bin/busybox").chmod(0o755)
    ended = ctr("run", "--rm", "--rootfs", str(root), "tree", "/bin/busybox", *ctr.shell("ls /"))
    assert ended.out.split() == ["bin", "dev", "etc", "proc", "run", "sys", "tmp"]
    # What ctr of this version has no flags for comes in a specification.
    spec = specification(ctr, "asked")
    process = spec["process"]
    assert isinstance(process, dict)
    process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [50]}
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 1000, "soft": 500}]
    process["oomScoreAdj"] = 300
    process["args"] = [
        *["/bin/busybox", "sh", "-c"],
        "hostname; id; ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj; usleep 200000",
    ]
    spec["hostname"] = "from-a-file"
    spec["root"] = {"path": str(root)}
    spec["linux"]["cgroupsPath"] = f"/{ctr.place.name}/filed"  # type: ignore[index]
    (place / "spec.json").write_text(json.dumps(spec))
    ended = ctr("run", "--rm", "--config", str(place / "spec.json"), "filed")
    assert ended.out.splitlines() == [
        *["from-a-file", "uid=1000 gid=1000 groups=50", "500", "1000", "300"],
    ]


def test_the_pid_file_and_a_root_of_the_runtime_s_own(ctr: Containerd) -> None:
    place = ctr.place.directory
    flags = ["--pid-file", str(place / "pid"), "--runc-root", str(place / "runtime-root")]
    ctr("run", "--detach", *flags, IMAGE, "rooted", "sleep", "1000")
    pid = int((place / "pid").read_text())
    assert pid == pid_of(ctr, "rooted")
    # Below it a directory for each namespace of containerd, below that one for each container.
    assert [path.name for path in (place / "runtime-root").glob("*/*")] == ["rooted"]
    ctr("tasks", "delete", "--force", "rooted", ignore=r"\d+")
    assert not [*(place / "runtime-root").glob("*/*")]
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process")


def test_a_terminal(ctr: Containerd) -> None:
    console = ctr.console("run", "--rm", "--tty", IMAGE, "terminal", "sh", lines=40, columns=100)
    console.expect("# ")
    # ctr gives the terminal its size a moment after the start.
    console.type("tty; while ! stty size | grep 40; do usleep 10000; done; exit 3\n")
    console.expect("/dev/pts/0")
    console.expect("40 100")
    assert console.end() == 3


def test_rootfs_propagation(ctr: Containerd) -> None:
    script = "grep ' / / ' /proc/self/mountinfo | grep -o 'shared:\\|master:' || echo private"
    for kind in ("rslave", "private"):
        flags = ["--rm", "--rootfs-propagation", kind]
        ctr("run", *flags, IMAGE, "propagating", *ctr.shell(script))


def test_several_namespaces_of_containerd_at_once(ctr: Containerd) -> None:
    other = f"{ctr.place.name}-other"

    def elsewhere(*words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = [*ctr.command()[:-1], other, *words]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert code is None or ended.returncode == code, ended
        return ended

    archive = next(iter(ctr.archives))
    elsewhere("images", "import", "--no-unpack", str(archive))
    try:
        ctr("run", "--detach", IMAGE, "same", "sleep", "1000")
        elsewhere("run", "--detach", "--cgroup", f"/{ctr.place.name}/other", IMAGE, "same", "sleep", "2000")
        look = ["tasks", "exec", "--exec-id", "look", "same", *ctr.shell("ps -o args")]
        assert "sleep 1000" in ctr(*look).out
        assert "sleep 2000" in elsewhere(*look).stdout
        ctr("tasks", "delete", "--force", "same", ignore=r"\d+")
        assert elsewhere("tasks", "list", "--quiet").stdout == "same\n"
    finally:
        elsewhere("tasks", "delete", "--force", "same", code=None)
        elsewhere("containers", "delete", "same", code=None)
        elsewhere("images", "remove", IMAGE, code=None)
        elsewhere("namespaces", "remove", other, code=None)
