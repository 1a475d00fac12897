"""docker run: what a container may do, and what is kept from it."""

import json

import pytest
from engine import Docker
from look import CAPABILITIES, DEFAULT_CAPABILITIES, bounding, status
from runs import run, script, start

# Where AppArmor is on, Docker's profile would refuse mounts as well.
UNCONFINED = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
# Writes to $file what is there.
WRITE = "echo $(cat $file) > $file && echo $file"


def capabilities(*names: str) -> int:
    return sum(1 << CAPABILITIES[name] for name in names)


def test_capabilities_are_dockers_and_the_flags(docker: Docker) -> None:
    def sets(flags: str) -> tuple[int, int, int]:
        """The effective, bounding and ambient ones."""
        printed = script(docker, flags, "grep Cap /proc/self/status").out
        found = dict(line.split(":", 1) for line in printed.splitlines())
        return int(found["CapEff"], 16), int(found["CapBnd"], 16), int(found["CapAmb"], 16)

    assert sets("") == (DEFAULT_CAPABILITIES, DEFAULT_CAPABILITIES, 0)
    some = capabilities("CHOWN", "SYS_TIME")
    assert sets("--cap-drop ALL --cap-add CHOWN --cap-add CAP_SYS_TIME") == (some, some, 0)
    less = DEFAULT_CAPABILITIES & ~capabilities("NET_RAW")
    assert sets("--cap-drop net_raw --user bob") == (0, less, 0)


def test_masked_and_read_only_paths_hold(docker: Docker) -> None:
    text = f"""
    for file in /proc/keys /proc/timer_list; do wc -c < $file; done
    for path in /sys/firmware /proc/acpi /proc/scsi; do ls $path 2> /dev/null; done
    for file in /proc/sys/kernel/hostname /proc/sys/kernel/panic; do {WRITE}; done
    file=/proc/irq/default_smp_affinity; {WRITE}
    [ -d /sys/fs/cgroup/memory ] && cd /sys/fs/cgroup/memory || cd /sys/fs/cgroup
    mkdir new
    mount -o remount,rw /proc/sys
    umount /proc/keys
    echo end
    """
    ended = script(docker, "", text)
    assert ended.out == "0\n0\nend\n"
    refused = [line.rsplit(": ", 1)[1] for line in ended.err.splitlines()]
    read_only, no_mount, no_umount = refused[:4], refused[4], refused[5]
    assert read_only == ["Read-only file system"] * 4
    assert (no_mount, no_umount) == ("permission denied (are you root?)", "Operation not permitted")


def test_system_paths_are_there_when_asked_for(docker: Docker) -> None:
    text = f"file=/proc/sys/kernel/hostname; {WRITE}; [ $(wc -c < /proc/keys) -gt 0 ] && echo keys"
    ended = script(docker, "--security-opt systempaths=unconfined", text)
    assert ended.out == "/proc/sys/kernel/hostname\nkeys\n"


def test_dockers_seccomp_profile_is_effective(docker: Docker) -> None:
    text = "unshare -U true; unshare -m true; grep Seccomp: /proc/self/status"
    default = script(docker, "", text)
    assert default.err.count("Operation not permitted") == 2
    assert default.out == "Seccomp:\t2\n"
    # The profile follows the capabilities; masked and read-only paths do not.
    text += f"; wc -c < /proc/keys; file=/proc/sys/kernel/panic; {WRITE}"
    admin = script(docker, "--cap-add SYS_ADMIN --security-opt apparmor=unconfined", text, code=1)
    assert admin.out == "Seccomp:\t2\n0\n"
    assert admin.err == "sh: can't create /proc/sys/kernel/panic: Read-only file system\n"


def test_a_seccomp_profile_of_ones_own(docker: Docker) -> None:
    # Of kill(2), signal 10 alone.
    signal = {"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}
    rules = [
        # EOPNOTSUPP; without errnoRet, EPERM; ESRCH.
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        {"names": ["rmdir", "unlinkat", "no_such_call"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 3, "args": [signal]},
        {"names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS"},
    ]
    profile = docker.place.directory / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    text = "mkdir /x; rmdir /tmp; kill -10 $$; kill -0 $$; echo $?; hostname new; echo $?"
    ended = script(docker, f"--security-opt seccomp={profile} --cap-add SYS_ADMIN", text)
    # 159: by signal 31, SIGSYS.
    assert ended.out == "0\n159\n"
    errors = ["Operation not supported", "Operation not permitted", "No such process"]
    assert [line.rsplit(": ", 1)[1] for line in ended.err.splitlines() if ": " in line][:3] == errors


def test_no_new_privileges(docker: Docker) -> None:
    text = "grep -E 'NoNewPrivs|Seccomp:|CapBnd' /proc/self/status; unshare -U true"
    ended = script(docker, "--security-opt no-new-privileges --user bob", text, code=1)
    assert ended.out == f"CapBnd:\t{DEFAULT_CAPABILITIES:016x}\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    assert "Operation not permitted" in ended.err


def test_privileged(docker: Docker) -> None:
    if docker.runtime.name == "runc" and not bounding() & capabilities("SYS_RESOURCE"):
        pytest.skip("runc fails where root has not all capabilities, and CAP_SYS_RESOURCE is missing here")
    pid = start(docker, "--privileged")
    effective = int(status(pid, "CapEff"), 16)
    assert effective & ~bounding() == 0
    assert effective & ~DEFAULT_CAPABILITIES & capabilities("SYS_ADMIN", "SYS_TIME")
    assert status(pid, "Seccomp") == "0"
    text = f"""
    for file in /proc/sys/kernel/hostname /proc/irq/default_smp_affinity; do {WRITE}; done
    grep -cE ' /(proc|sys)(/[^ ]*)? ro[ ,]' /proc/self/mountinfo
    mount -t tmpfs none /tmp && mkdir /tmp/new && echo mounted
    head -c 0 /dev/kmsg && echo device
    """
    printed = docker("exec", "--privileged", "one", "sh", "-c", text).out
    assert printed == "/proc/sys/kernel/hostname\n/proc/irq/default_smp_affinity\n0\nmounted\ndevice\n"


def test_all_that_privileged_gives_but_one_capability(docker: Docker) -> None:
    flags = f"--cap-add ALL --cap-drop SYS_RESOURCE {UNCONFINED} --security-opt systempaths=unconfined"
    text = """
    unshare -m sh -c 'mount -t proc none /tmp && [ -e /tmp/self ]' && echo mounted
    mknod /kmsg c 1 11 && head -c 0 /kmsg && echo device
    hostname other && hostname
    grep Seccomp: /proc/self/status
    """
    ended = script(docker, f"{flags} --device-cgroup-rule 'a *:* rwm'", text)
    assert ended.out == "mounted\ndevice\nother\nSeccomp:\t0\n"
    printed = run(docker, flags, "grep", "CapEff", "/proc/self/status").out
    effective = int(printed.split()[1], 16)
    assert effective & capabilities("SYS_ADMIN", "SYS_RESOURCE") == capabilities("SYS_ADMIN")
