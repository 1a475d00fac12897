"""docker run: what a container may do, and what is kept from it."""

import json

import pytest
from engine import Docker
from look import CAPABILITIES, DEFAULT_CAPABILITIES, bounding, pid_of, status

ISSUED = "busybox"
# Where AppArmor is on, Docker's profile would refuse mounts as well.
UNCONFINED = ("--security-opt", "apparmor=unconfined")


def capabilities(*names: str) -> int:
    return sum(1 << CAPABILITIES[name] for name in names)


def test_capabilities_are_dockers_and_the_flags(docker: Docker) -> None:
    def run(*words: str) -> tuple[int, int, int]:
        """Its effective, bounding and ambient sets."""
        printed = docker("run", "--rm", *words, ISSUED, "cat", "/proc/self/status", compare=False).out
        found = dict(line.split(":", 1) for line in printed.splitlines())
        return int(found["CapEff"], 16), int(found["CapBnd"], 16), int(found["CapAmb"], 16)

    assert run() == (DEFAULT_CAPABILITIES, DEFAULT_CAPABILITIES, 0)
    some = capabilities("CHOWN", "SYS_TIME")
    assert run("--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "CAP_SYS_TIME") == (some, some, 0)
    less = DEFAULT_CAPABILITIES & ~capabilities("NET_RAW")
    assert run("--cap-drop", "net_raw", "--user", "bob") == (0, less, 0)
    # All that this machine has; docker's list of them may be older than the kernel's.
    effective, _, _ = run("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE")
    assert effective & ~bounding() == 0
    assert effective & capabilities("SYS_ADMIN", "SYS_TIME", "SYS_RESOURCE") == capabilities(
        "SYS_ADMIN", "SYS_TIME"
    )


def test_dockers_seccomp_profile_is_effective(docker: Docker) -> None:
    script = "unshare -U true; unshare -m true; grep Seccomp: /proc/self/status"
    default = docker("run", "--rm", ISSUED, "sh", "-c", script)
    assert default.err.count("Operation not permitted") == 2
    assert default.out == "Seccomp:\t2\n"
    # The profile follows the capabilities.
    admin = docker("run", "--rm", "--cap-add", "SYS_ADMIN", *UNCONFINED, ISSUED, "sh", "-c", script)
    assert (admin.out, admin.err) == ("Seccomp:\t2\n", "")


def test_seccomp_unconfined(docker: Docker) -> None:
    words = ("--security-opt", "seccomp=unconfined", *UNCONFINED)
    script = "unshare -U sh -c 'echo $?'; grep Seccomp: /proc/self/status"
    assert docker("run", "--rm", *words, ISSUED, "sh", "-c", script).out == "0\nSeccomp:\t0\n"


def test_a_seccomp_profile_of_ones_own(docker: Docker) -> None:
    rules = [
        # 95 is EOPNOTSUPP; 1 is EPERM, and the default of an action without errnoRet.
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        {"names": ["rmdir", "unlinkat", "no_such_call"], "action": "SCMP_ACT_ERRNO"},
        # Of kill(2), signal 10 alone.
        {
            "names": ["kill"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 3,
            "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}],
        },
        {"names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS"},
    ]
    profile = docker.place.directory / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    script = "mkdir /x; rmdir /tmp; kill -10 $$; kill -0 $$; echo $?; hostname new; echo $?"
    words = ("--security-opt", f"seccomp={profile}", "--cap-add", "SYS_ADMIN")
    ended = docker("run", "--rm", *words, ISSUED, "sh", "-c", script)
    # 159: by signal 31, SIGSYS.
    assert ended.out == "0\n159\n"
    errors = ["Operation not supported", "Operation not permitted", "No such process"]
    assert [line.rsplit(": ", 1)[1] for line in ended.err.splitlines() if ": " in line][:3] == errors


def test_no_new_privileges(docker: Docker) -> None:
    words = ("--security-opt", "no-new-privileges", "--user", "bob")
    script = "grep -E 'NoNewPrivs|Seccomp:|CapBnd' /proc/self/status; unshare -U true"
    ended = docker("run", "--rm", *words, ISSUED, "sh", "-c", script, code=1)
    assert ended.out == f"CapBnd:\t{DEFAULT_CAPABILITIES:016x}\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    assert "Operation not permitted" in ended.err


# What it writes is what is there.
WRITE = "echo $(cat $file) > $file && echo $file"
LOOK = f"""
for file in /proc/keys /proc/timer_list; do wc -c < $file; done
ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null
for file in /proc/sys/kernel/hostname /proc/sys/kernel/panic /proc/irq/default_smp_affinity; do {WRITE}; done
[ -d /sys/fs/cgroup/memory ] && cd /sys/fs/cgroup/memory || cd /sys/fs/cgroup
mkdir new
mount -o remount,rw /proc/sys
umount /proc/keys
echo end
"""


def test_masked_and_read_only_paths_hold(docker: Docker) -> None:
    ended = docker("run", "--rm", ISSUED, "sh", "-c", LOOK)
    assert [line for line in ended.out.splitlines() if line and not line.endswith(":")] == ["0", "0", "end"]
    refused = [line.rsplit(": ", 1)[1] for line in ended.err.splitlines()]
    assert refused == [
        *["Read-only file system"] * 4,
        "permission denied (are you root?)",
        "Operation not permitted",
    ]
    # They are the same for who may mount, and so could undo them.
    words = (
        "--cap-add",
        "SYS_ADMIN",
        ISSUED,
        "sh",
        "-c",
        f"wc -c < /proc/keys; file=/proc/sys/kernel/panic; {WRITE}",
    )
    admin = docker("run", "--rm", *words, code=1)
    assert admin.out == "0\n"
    assert "Read-only file system" in admin.err


def test_system_paths_are_there_when_asked_for(docker: Docker) -> None:
    words = ("--security-opt", "systempaths=unconfined")
    script = f"file=/proc/sys/kernel/hostname; {WRITE}; [ $(wc -c < /proc/keys) -gt 0 ] && echo keys"
    assert (
        docker("run", "--rm", *words, ISSUED, "sh", "-c", script).out == "/proc/sys/kernel/hostname\nkeys\n"
    )


def test_privileged(docker: Docker) -> None:
    if docker.runtime.name == "runc" and not bounding() & capabilities("SYS_RESOURCE"):
        pytest.skip("runc fails where root has not all capabilities, and CAP_SYS_RESOURCE is missing here")
    docker("run", "--detach", "--name", "one", "--privileged", ISSUED, "sleep", "1000")
    pid = pid_of(docker, "one")
    assert int(status(pid, "CapEff"), 16) & capabilities("SYS_ADMIN", "SYS_TIME")
    assert int(status(pid, "CapEff"), 16) & ~bounding() == 0
    assert status(pid, "Seccomp") == "0"
    script = f"""
    for file in /proc/sys/kernel/hostname /proc/irq/default_smp_affinity; do {WRITE}; done
    grep -cE ' /(proc|sys)(/[^ ]*)? ro[ ,]' /proc/self/mountinfo
    mount -t tmpfs none /tmp && mkdir /tmp/new && echo mounted
    head -c 0 /dev/kmsg && echo device
    """
    printed = docker("exec", "--privileged", "one", "sh", "-c", script).out
    assert printed == "/proc/sys/kernel/hostname\n/proc/irq/default_smp_affinity\n0\nmounted\ndevice\n"


def test_all_that_privileged_gives_but_one_capability(docker: Docker) -> None:
    words = [
        "--cap-add",
        "ALL",
        "--cap-drop",
        "SYS_RESOURCE",
        "--security-opt",
        "seccomp=unconfined",
        *UNCONFINED,
    ]
    words += ["--security-opt", "systempaths=unconfined", "--device-cgroup-rule", "a *:* rwm"]
    script = """
    unshare -m sh -c 'mount -t proc none /tmp && [ -e /tmp/self ]' && echo mounted
    mknod /kmsg c 1 11 && head -c 0 /kmsg && echo device
    hostname other && hostname
    """
    assert docker("run", "--rm", *words, ISSUED, "sh", "-c", script).out == "mounted\ndevice\nother\n"
