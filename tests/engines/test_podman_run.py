"""podman run with the flags that people use, seen from inside the container and from the host."""

import json
import os
import socket
import subprocess
import time

import pytest
from look import status_fields
from machine import CGROUPS
from podman import Podman

#: A program of the host in a container without libraries, once /usr is mounted at /host.
HOST = "/host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /host/lib/x86_64-linux-gnu"

NOTIFY = (
    "import os, socket;"
    "there = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
    r'there.sendto(b"STATUS=serving\\nREADY=1", os.environ["NOTIFY_SOCKET"])'
)


def limit(name: str, v1: str, v2: str, container: str, place: str) -> str:
    """A file of the container's cgroup, as the host has it in either layout."""
    for top, file in ((CGROUPS / v1.partition(".")[0], v1), (CGROUPS, v2)):
        path = top / place / f"libpod-{container}" / file
        if path.exists():
            return path.read_text().strip()
    pytest.skip(f"there is no {name} in the cgroups of this machine")


# -- a process


def test_a_process_runs_with_its_exit_status_and_output(podman: Podman) -> None:
    assert podman("run", "--rm", "busybox", "echo", "hello").out == "hello\n"
    script = "cat; echo bad >&2; exit 7"
    ended = podman("run", "--rm", "-i", "busybox", "sh", "-c", script, stdin="typed", code=7)
    assert (ended.out, ended.err) == ("typed", "bad\n")


def test_what_cannot_be_executed_has_the_status_of_a_shell(podman: Podman) -> None:
    podman("run", "--rm", "busybox", "no-such-program", code=127)
    podman("run", "--rm", "busybox", "/no/such/program", code=127)
    podman("run", "--rm", "busybox", "/etc/passwd", code=126)
    podman("run", "--rm", "busybox", "/etc", code=126)
    podman("run", "--rm", "--no-such-flag", "busybox", "true", code=125)


def test_a_working_directory_that_is_not_there_is_an_error(podman: Podman) -> None:
    podman("run", "--rm", "-w", "/no/such/directory", "busybox", "true", code=126)


def test_a_shell_on_a_terminal(podman: Podman) -> None:
    console = podman.console("run", "--rm", "-it", "busybox", "sh", lines=40, columns=100)
    console.expect("# ")
    console.type("stty size; tty; ls -l /dev/console; exit 3\n")
    console.expect("40 100\r\n/dev/pts/0\r\n.*/dev/console")
    assert console.end() == 3


def test_a_shell_is_left_and_attached_to_again(podman: Podman) -> None:
    console = podman.console("run", "-it", "--name", "shell", "busybox", "sh")
    console.expect("# ")
    console.type("echo left=$((40 + 2))\n")
    console.expect("left=42")
    for key in "\x10\x11":
        # Together they could be read as one, which is not looked at.
        time.sleep(0.2)
        console.type(key)
    assert console.end() == 0
    assert podman("ps", "--format", "{{.Names}}").out == "shell\n"
    console = podman.console("attach", "shell")
    console.type("exit 4\n")
    console.end()
    assert podman("wait", "shell").out == "4\n"


def test_who_and_where_a_process_is(podman: Podman) -> None:
    script = (
        "id; pwd; hostname; umask; date +%Z; ulimit -n; ulimit -Hn; echo $GREETING $EMPTY $container;"
        "df -k /dev/shm | tail -n 1 | cut -c 1-40; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax;"
        "cat /proc/self/oom_score_adj; cat /run/secrets/hidden; ls -l /run/secrets/hidden"
    )
    podman("secret", "create", "hidden", "-", stdin="secret\n", compare=False)
    ended = podman(
        *["run", "--rm", "-u", "1000:50", "--group-add", "33", "-w", "/home/bob", "-e", "GREETING=hello"],
        *["--hostname", "named", "--umask", "0027", "--tz", "Asia/Tokyo", "--ulimit", "nofile=500:600"],
        *["--ulimit", "nproc=900:1000", "--shm-size", "3m", "--sysctl", "net.ipv4.ip_forward=1"],
        *["--sysctl", "kernel.msgmax=9000", "--unsetenv", "container", "--oom-score-adj", "300"],
        *["--secret", "hidden,mode=0440,uid=1000,gid=50", "--network", "none", "busybox", "sh", "-c", script],
        ignore="[A-Z][a-z]{2} +[0-9]+ [0-9:]{5}",
    )
    podman("secret", "rm", "hidden", compare=False)
    lines = ended.out.splitlines()
    assert lines[0] == "uid=1000(bob) gid=50(staff) groups=33(www-data),50(staff)"
    assert lines[1:7] == ["/home/bob", "named", "0027", "JST", "500", "600"]
    assert lines[7].strip() == "hello" and " 3072 " in lines[8]
    assert lines[9:13] == ["1", "9000", "300", "secret"]
    assert lines[13].startswith("-r--r-----")


def test_a_root_that_cannot_be_written(podman: Podman) -> None:
    script = (
        "touch /etc/new; for at in /tmp /run /dev/shm /mine /dev; do touch $at/new && echo $at; done;"
        "stat -c '%a %u' /mine; df -k /mine | tail -n 1; grep ' /mine ' /proc/mounts"
    )
    ended = podman(
        *["run", "--rm", "--read-only", "--tmpfs", "/mine:size=1m,mode=1770,noexec"],
        *["busybox", "sh", "-c", script],
        ignore=r"\d+% ",
    )
    assert "Read-only file system" in ended.err
    lines = ended.out.splitlines()
    assert {"/tmp", "/run", "/dev/shm", "/mine"} <= set(lines)
    assert "1770 0" in lines and "noexec" in lines[-1] and "size=1024k" in lines[-1]


def test_a_root_file_system_of_a_directory(podman: Podman) -> None:
    rootfs = podman.place.directory / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    podman.look("cp", "/bin/busybox", str(rootfs / "bin/sh"))
    script = "echo here > /left; exec sh -c 'ls -d /proc /sys /dev /etc/hosts'"
    assert "/etc/hosts" in podman("run", "--rm", "--rootfs", str(rootfs), "/bin/sh", "-c", script).out
    assert (rootfs / "left").read_text() == "here\n"
    podman("run", "--rm", "--rootfs", f"{rootfs}:O", "sh", "-c", "echo other > /left")
    assert (rootfs / "left").read_text() == "here\n"


# -- files


def test_volumes(podman: Podman) -> None:
    shared = podman.place.directory / "shared"
    owned = podman.place.directory / "owned"
    (shared / "below").mkdir(parents=True)
    owned.mkdir(exist_ok=True)
    (shared / "file").write_text("of the host\n")
    script = (
        "cat /ro/file; touch /ro/new; touch /rw/new; touch /named/new; ls /with; touch /bind/x;"
        "stat -c %u /owned; touch /tmpfs/x && df -k /tmpfs | tail -n 1 | cut -c 1-40;"
        "for at in /ro /slave /bind; do grep \" $at \" /proc/self/mountinfo | cut -d ' ' -f 4-7; done"
    )
    ended = podman(
        *["run", "--rm", "-v", f"{shared}:/ro:ro", "-v", f"{shared}:/rw", "-v", "named:/named"],
        *["-v", f"{shared}:/slave:rslave", "-v", f"{owned}:/owned:U", "--user", "1000"],
        *["--mount", f"type=bind,source={shared},target=/bind,readonly,bind-propagation=rprivate"],
        *["--mount", "type=tmpfs,target=/tmpfs,tmpfs-size=2m,tmpfs-mode=1777", "-v", f"{shared}/below:/with"],
        *["busybox", "sh", "-c", script],
        ignore=r"master:\d+",
    )
    assert ended.out.startswith("of the host\n1000\n") and " 2048 " in ended.out
    assert "touch: /ro/new: Read-only file system" in ended.err
    assert "touch: /bind/x: Read-only file system" in ended.err
    assert owned.stat().st_uid == 1000 and ended.out.count("master:") == 1
    podman("volume", "rm", "named")


def test_mounts_go_between_host_and_container(podman: Podman) -> None:
    shared = podman.place.directory / "between"
    (shared / "host").mkdir(parents=True)
    (shared / "container").mkdir()
    podman(
        *["run", "-d", "--name", "mounting", "--cap-add", "sys_admin", "-v", f"{shared}:/shared:rshared"],
        *["busybox", "sleep", "100"],
    )
    podman.look("mount", "-t", "tmpfs", "mine", str(shared / "host"))
    podman("exec", "mounting", "mount", "-t", "tmpfs", "its", "/shared/container")
    assert "mine" in podman("exec", "mounting", "grep", " /shared/host ", "/proc/mounts").out
    assert f"its {shared}/container" in podman.look("cat", "/proc/mounts")
    podman("rm", "-f", "-t", "0", "mounting", compare=False)
    podman.look("umount", str(shared / "host"), str(shared / "container"))


# -- privileges


def test_capabilities(podman: Podman) -> None:
    show = ["busybox", "cat", "/proc/self/status"]
    lines = r"(?m)^(?!Cap|Seccomp|NoNew|Groups|Uid|Gid).*$"
    fields = status_fields(podman("run", "--rm", *show, ignore=lines).out)
    assert int(fields["CapEff"], 16) >> 0 & 1 and not int(fields["CapEff"], 16) >> 12 & 1
    assert fields["Seccomp"] == "2"
    flags = ["--cap-drop", "all", "--cap-add", "net_admin,sys_time"]
    fields = status_fields(podman("run", "--rm", *flags, *show, ignore=lines).out)
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 1 << 12 | 1 << 25
    fields = status_fields(podman("run", "--rm", "-u", "bob", *flags, *show, ignore=lines).out)
    # As podman has it: what is asked for by name is the user's too.
    assert int(fields["CapEff"], 16) == int(fields["CapAmb"], 16) == 1 << 12 | 1 << 25


def test_security_options(podman: Podman) -> None:
    profile = podman.place.directory / "profile.json"
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    script = (
        "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; mkdir /tmp/x; cat /proc/version;"
        "ls /sys/firmware; cat /etc/group;"
        "mount | grep -E ' on (/proc|/etc/group|/sys/firmware)' | cut -d ' ' -f 1-5"
    )
    masks = ["--security-opt", "mask=/etc/group:/proc/version", "--security-opt", "unmask=/proc/*"]
    ended = podman(
        *["run", "--rm", "--security-opt", f"seccomp={profile}", "--security-opt", "no-new-privileges"],
        *[*masks, "--cap-drop", "all", "busybox", "sh", "-c", script],
    )
    assert ended.out.splitlines()[:2] == ["NoNewPrivs:\t1", "Seccomp:\t2"]
    assert "mkdir: can't create directory '/tmp/x': No space left on device" in ended.err
    assert " on /proc/version " in ended.out and " on /etc/group " in ended.out
    assert " on /sys/firmware " in ended.out and " on /proc/keys " not in ended.out
    script = "grep Seccomp: /proc/self/status; ls /proc/acpi /sys/firmware; mount | grep -c ' /proc/'"
    options = ["--security-opt", "seccomp=unconfined", "--security-opt", "unmask=ALL"]
    assert podman("run", "--rm", *options, "busybox", "sh", "-c", script, code=1).out.split()[1] == "0"


def test_devices(podman: Podman) -> None:
    script = (
        "ls /dev; stat -c '%F %t %T' /dev/mine; (: >/dev/mine) && echo opened; (: </dev/mine);"
        "mknod /tmp/null c 1 3 && echo x > /tmp/null; mknod /tmp/full c 1 7 && head -c 1 /tmp/full | wc -c;"
        "mknod /tmp/port c 1 4 && cat /tmp/port; true"
    )
    ended = podman(
        *["run", "--rm", "--device", "/dev/kmsg:/dev/mine:w", "--device-cgroup-rule", "c 1:7 r"],
        *["--cap-add", "mknod", "busybox", "sh", "-c", script],
    )
    assert "character special file 1 b\nopened\n1\n" in ended.out
    assert "can't open /dev/mine: Operation not permitted" in ended.err
    assert "can't open '/tmp/port': Operation not permitted" in ended.err


# -- limits


def test_limits_are_in_the_cgroup(podman: Podman) -> None:
    started = podman(
        *["run", "-d", "-m", "64m", "--memory-swap", "96m", "--cpus", "0.5", "--cpu-shares", "512"],
        *["--pids-limit", "20", "--cpuset-cpus", "0", "--memory-reservation", "32m"],
        *["busybox", "sleep", "100"],
    )
    names = [
        ("memory limit", "memory.limit_in_bytes", "memory.max", "67108864", "67108864"),
        ("swap limit", "memory.memsw.limit_in_bytes", "memory.swap.max", "100663296", "33554432"),
        ("reservation", "memory.soft_limit_in_bytes", "memory.low", "33554432", "33554432"),
        ("cpu quota", "cpu.cfs_quota_us", "cpu.max", "50000", "50000 100000"),
        ("pids limit", "pids.max", "pids.max", "20", "20"),
        ("cpuset", "cpuset.cpus", "cpuset.cpus", "0", "0"),
    ]
    container = started.out.strip()
    for name, v1, v2, old, new in names:
        assert limit(name, v1, v2, container, podman.place.name) in (old, new), name
    # In v2 as runc converts them before version 1.3.2 and from then on.
    shares = limit("cpu shares", "cpu.shares", "cpu.weight", container, podman.place.name)
    assert shares in {"512", "20", "59"}
    script = "for n in $(seq 30); do sleep 1 & done; echo all"
    assert "can't fork" in podman("exec", "--latest", "sh", "-c", script, code=None, compare=False).err
    podman("rm", "-f", "-t", "0", "-l", compare=False)


def test_a_container_out_of_memory_is_killed(podman: Podman) -> None:
    flags = ["--name", "big", "-m", "16m", "--memory-swap", "16m"]
    podman("run", *flags, "busybox", "sh", "-c", "exec tail /dev/zero", code=137)
    shown = podman("inspect", "big", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}")
    assert shown.out.endswith(" 137\n")


# -- processes beside it


def test_an_init_collects_what_its_processes_leave(podman: Podman) -> None:
    script = "tr '\\0' ' ' </proc/1/cmdline; (sleep 0.1 &); sleep 0.3; ps -o stat | grep -c Z"
    ended = podman("run", "--rm", "--init", "busybox", "sh", "-c", script, code=1)
    assert ended.out.startswith("/run/podman-init -- sh -c ") and ended.out.endswith("0\n")


def test_a_time_limit(podman: Podman) -> None:
    podman("run", "--rm", "--timeout", "1", "--stop-signal", "KILL", "busybox", "sleep", "100", code=None)


def test_descriptors_are_handed_on(podman: Podman) -> None:
    script = 'exec 3<"$1" 4>"$2"; shift 2; exec "$@"'
    read, written = podman.place.directory / "read", podman.place.directory / "written"
    read.write_text("from the host\n")
    inner = "cat <&3; echo to the host >&4; ls /proc/self/fd | wc -l"
    command = [*podman.command(), *podman.arguments(("run", "--rm", "--preserve-fds", "2"))]
    done = subprocess.run(
        ["sh", "-c", script, "sh", read, written, *command, "busybox", "sh", "-c", inner],
        env={**os.environ, **podman.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "from the host\n6\n"), done.stderr
    assert written.read_text() == "to the host\n"


@pytest.mark.parametrize("mode", ["container", "conmon"])
def test_readiness_is_notified(podman: Podman, mode: str) -> None:
    path = podman.place.directory / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(20)
        podman.environment["NOTIFY_SOCKET"] = str(path)
        try:
            script = f"test -z \"$NOTIFY_SOCKET\" || {HOST} /host/bin/python3 -S -c '{NOTIFY}'; sleep 100"
            podman(
                *["run", "-d", "--name", "ready", "--sdnotify", mode, "-v", "/usr:/host:ro"],
                *["-e", "PYTHONHOME=/host", "busybox", "sh", "-c", script],
            )
        finally:
            del podman.environment["NOTIFY_SOCKET"]
        heard = ""
        while "READY=1" not in heard:
            heard += listener.recv(4096).decode() + "\n"
    conmon = podman("inspect", "ready", "--format", "{{.State.ConmonPid}}", compare=False).out.strip()
    assert f"MAINPID={conmon}" in heard
    print(heard)


def test_what_hooks_write_goes_where_an_annotation_says(podman: Podman) -> None:
    """By crun's annotations, which runc does not know."""
    hooks, written = podman.place.directory / "hooks", podman.place.directory / "written-by-hooks"
    hooks.mkdir()
    stages = ["createRuntime", "createContainer", "poststart"]
    for stage in stages:
        hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo {stage}; echo {stage} failed >&2"]}
        description = {"version": "1.0.0", "hook": hook, "when": {"always": True}, "stages": [stage]}
        (hooks / f"{stage}.json").write_text(json.dumps(description))
    podman(
        *["run", "--hooks-dir", str(hooks), "--annotation", f"run.oci.hooks.stdout={written}", "--rm"],
        *["--network", "none", "busybox", "echo", "from the container"],
    )
    lines = written.read_text().splitlines() if written.exists() else []
    assert lines == ([] if podman.runtime.name == "runc" else stages)


def test_a_name_is_taken_over(podman: Podman) -> None:
    podman("run", "-d", "--name", "one", "--stop-timeout", "0", "busybox", "sleep", "100")
    podman("run", "-d", "--name", "one", "busybox", "sleep", "100", code=125)
    podman("run", "-d", "--name", "one", "--replace", "--stop-timeout", "0", "busybox", "sleep", "100")
    assert podman("ps", "-a", "--format", "{{.Names}}").out == "one\n"


def test_a_container_for_systemd(podman: Podman) -> None:
    script = "mount | grep -E ' on (/run|/tmp|/run/lock|/var/log/journal|/sys/fs/cgroup.*) ' | sort"
    ended = podman("run", "--rm", "--systemd", "always", "busybox", "sh", "-c", script, ignore="uuid=.*")
    assert " on /run type tmpfs" in ended.out and " on /var/log/journal type tmpfs" in ended.out
