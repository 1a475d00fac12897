"""update: limits that change while the container runs, seen by what then happens in it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from harness import Box, wait_for

NONE: dict[str, Any] = {"allow": False, "access": "rwm"}
EVERY: dict[str, Any] = {"allow": True, "access": "rwm"}


def cgroup(box: Box, controller: str) -> Path:
    """The container's directory for a controller, as the kernel tells it."""
    for line in Path(f"/proc/{box.pid()}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}")
    return Path(f"/sys/fs/cgroup{path}")


def limit(box: Box, v1: str, v2: str) -> str:
    """The value of the limit's file, whichever there is."""
    directory = cgroup(box, v1.partition(".")[0])
    file = directory / v1
    return (file if file.exists() else directory / v2).read_text().strip()


def memory_limit(box: Box) -> str:
    return limit(box, "memory.limit_in_bytes", "memory.max")


def update(box: Box, *words: str, **changes: Any) -> None:
    if changes:
        box.verb("update", "--resources", "-", box.id, input=json.dumps(changes)).ok()
    else:
        box.verb("update", *words, box.id).ok()


def test_fewer_processes_are_allowed(box: Box) -> None:
    os.mkfifo(box.rootfs / "go")
    box.script("read go </go; (echo first); read go </go; (echo second); echo never")
    box.run("-d").ok()
    output = box.last_out
    (box.rootfs / "go").write_text("\n")
    wait_for(lambda: "first" in output.read_text(), "the first child")
    update(box, "--pids-limit", "1")
    (box.rootfs / "go").write_text("\n")
    box.wait_status("stopped")
    assert output.read_text() == "first\n"


def test_less_memory_kills_what_needs_more(box: Box) -> None:
    box.linux["resources"]["memory"] = {"limit": 128 << 20, "swap": 128 << 20}
    box.sleeping()
    need = "dd if=/dev/zero of=/dev/null bs=32M count=1 2>/dev/null; echo $?"
    assert box.exec_sh(need) == "0\n"
    update(box, "--memory", "16m", "--memory-swap", "16m")
    assert memory_limit(box) == str(16 << 20)
    assert "137" in box.exec_sh(f"({need})")
    update(box, "--memory", "-1")
    assert box.exec_sh(need) == "0\n"


def test_a_quota_throttles(box: Box) -> None:
    box.script("while :; do :; done")
    box.run("-d").ok()
    throttled = cgroup(box, "cpu") / "cpu.stat"
    assert "nr_throttled 0" in throttled.read_text() or "nr_throttled" not in throttled.read_text()
    update(box, "--cpu-quota", "2000", "--cpu-period", "20000")
    wait_for(lambda: "nr_throttled 0" not in throttled.read_text(), "a throttled period")
    update(box, "--cpu-quota", "-1")
    assert limit(box, "cpu.cfs_quota_us", "cpu.max") in ("-1", "max 20000")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU only")
def test_cpus_are_taken_away(box: Box) -> None:
    pid = box.sleeping()
    assert len(os.sched_getaffinity(pid)) > 1
    update(box, "--cpuset-cpus", "1")
    assert os.sched_getaffinity(pid) == {1}


def test_a_file_of_changes(box: Box) -> None:
    box.sleeping()
    file = box.place / "changes.json"
    file.write_text(json.dumps({"pids": {"limit": 30}, "memory": {"limit": 64 << 20}}))
    result = box.verb("update", "-r", str(file), "--pids-limit", "7", box.id).ok()
    assert limit(box, "pids.max", "pids.max") == "30"
    assert memory_limit(box) == str(64 << 20)
    if not box.is_runc:
        assert "--pids-limit is ignored" in result.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ("not json",)),
        ('{"memory": {"limit": "1"}}', ("/memory/limit",)),
        ('{"devices": [{"access": "r"}]}', ("/devices/0",)),
        ('{"cpu": {"cpus": "99999"}}', ("/cpu/cpus",)),
    ],
)
def test_a_mistake_in_the_changes_is_named(box: Box, text: str, words: tuple[str, ...]) -> None:
    box.sleeping()
    box.verb("update", "-r", "-", box.id, input=text).failed(*words)


@pytest.mark.parametrize(
    "flags",
    [
        ("--memory", "lots"), ("--cpu-share", "-5"), ("--cpuset-cpus", "99999"), ("--blkio-weight", "5"),
        ("--l3-cache-schema", "L3:0=f"), ("--mem-bw-schema", "MB:0=10"), ("--cpu-quota", "5"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_flag_is_named(box: Box, flags: tuple[str, str]) -> None:
    box.sleeping()
    box.verb("update", *flags, box.id).failed(flags[0])


def test_a_failed_update_leaves_the_old_limits(box: Box) -> None:
    box.linux["resources"] |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 30}, "cpu": {"shares": 512}}
    box.sleeping()
    read = (
        ("memory.limit_in_bytes", "memory.max"), ("memory.memsw.limit_in_bytes", "memory.swap.max"),
        ("cpu.shares", "cpu.weight"), ("cpu.cfs_quota_us", "cpu.max"), ("pids.max", "pids.max"),
    )  # fmt: skip
    before = [limit(box, *files) for files in read]
    record = (box.root / box.id / "state.json").read_text()
    box.verb(
        "update", "--memory", "32m", "--memory-swap", "48m", "--cpu-share", "100", "--cpu-quota", "5000",
        "--cpuset-mems", "77", "--pids-limit", "5", box.id,
    ).failed("--cpuset-mems")  # fmt: skip
    assert [limit(box, *files) for files in read] == before
    assert (box.root / box.id / "state.json").read_text() == record


def test_later_updates_know_of_earlier_ones(box: Box) -> None:
    box.linux["resources"]["cpu"] = {"quota": 30000, "period": 60000}
    box.sleeping()
    update(box, "--cpu-quota", "40000")
    update(box, "--cpu-period", "80000")
    files = (("cpu.cfs_quota_us", "cpu.max"), ("cpu.cfs_period_us", "cpu.max"))
    assert [limit(box, *each) for each in files] in (["40000", "80000"], ["40000 80000"] * 2)


def test_a_device_is_allowed_and_denied_again(box: Box) -> None:
    kmsg = {"type": "c", "major": 1, "minor": 11}
    box.linux["devices"] = [{"path": "/dev/kmsg", **kmsg}]
    box.capabilities("CAP_SYSLOG")
    box.sleeping()
    script = "(: </dev/kmsg) 2>/dev/null && echo read; (: >/dev/kmsg) 2>/dev/null && echo write; : </dev/null"
    assert box.exec_sh(script) == ""
    update(box, devices=[NONE, {"allow": True, **kmsg, "access": "r"}])
    assert box.exec_sh(script) == "read\n"
    update(box, devices=[NONE, {"allow": True, **kmsg, "access": "w"}])
    assert box.exec_sh(script) == "write\n"
    update(box, devices=[EVERY])
    assert box.exec_sh(script) == "read\nwrite\n"
    update(box, devices=[EVERY, {"allow": False, **kmsg, "access": "w"}])
    assert box.exec_sh(script) == "read\n"
    update(box, devices=[NONE])
    assert box.exec_sh(script) == ""
    # What is not told stays.
    update(box, pids={"limit": 100})
    assert box.exec_sh(script) == ""


def test_a_privileged_container_can_be_restricted(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    box.linux["resources"]["devices"] = [EVERY]
    box.capabilities("CAP_SYSLOG")
    box.sleeping()
    assert box.exec_sh("(: </dev/kmsg) && echo read") == "read\n"
    update(box, devices=[NONE])
    assert box.exec_sh("(: </dev/kmsg) 2>/dev/null || echo denied; : </dev/null") == "denied\n"


def test_devices_that_fail_leave_the_old_list(box: Box) -> None:
    box.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    box.capabilities("CAP_SYSLOG")
    box.sleeping()
    changes = {"devices": [EVERY], "cpu": {"cpus": "99999"}}
    box.verb("update", "-r", "-", box.id, input=json.dumps(changes)).failed("/cpu/cpus")
    assert box.exec_sh("(: </dev/kmsg) 2>/dev/null || echo denied") == "denied\n"


def test_a_paused_container_takes_new_limits_and_stays_paused(box: Box) -> None:
    box.sleeping()
    box.verb("pause", box.id).ok()
    update(box, "--pids-limit", "17")
    update(box, devices=[EVERY])
    assert box.status() == "paused"
    assert limit(box, "pids.max", "pids.max") == "17"
    box.verb("resume", box.id).ok()
    assert box.status() == "running"


def test_a_created_container_starts_under_its_new_limits(box: Box) -> None:
    box.script("(echo one); echo two")
    box.create().ok()
    output = box.last_out
    update(box, "--pids-limit", "1")
    box.start().ok()
    box.wait_status("stopped")
    assert output.read_text() == ""


def test_why_a_process_cannot_be_executed_is_told_after_an_update_too(box: Box) -> None:
    box.args("/bin/later")
    shutil.copyfile(box.rootfs / "bin/busybox", box.rootfs / "bin/later")
    (box.rootfs / "bin/later").chmod(0o755)
    box.create().ok()
    update(box, "--pids-limit", "1")
    (box.rootfs / "bin/later").unlink()
    box.start().failed("/process/args", "later")


def test_what_cannot_be_updated(box: Box) -> None:
    box.verb("update", "--pids-limit", "5", box.id).failed("does not exist")
    box.args("/bin/true")
    box.run("-d").ok()
    box.wait_status("stopped")
    box.verb("update", "--pids-limit", "5", box.id).failed("stopped")


@pytest.mark.shows("/linux/resources/memory/checkBeforeUpdate")
def test_memory_in_use_is_not_taken_away_where_that_is_asked(box: Box) -> None:
    """v1's kernel refuses it by itself, as long as it cannot swap."""
    box.linux["resources"]["memory"] = {"limit": 128 << 20, "swap": 128 << 20}
    # 32 MiB of a tmpfs count as the container's memory.
    box.script("dd if=/dev/zero of=/dev/shm/file bs=1M count=32 2>/dev/null; echo done; sleep 1000")
    box.run("-d").ok()
    output = box.last_out
    wait_for(output.read_text, "the file")
    changes = {"memory": {"limit": 16 << 20, "checkBeforeUpdate": True}}
    box.verb("update", "-r", "-", box.id, input=json.dumps(changes)).failed("/memory/limit", "in use")
    assert memory_limit(box) == str(128 << 20)
    assert box.status() == "running"


def test_another_driver_on_the_command_line_changes_nothing_for_a_container(box: Box) -> None:
    """The record says which cgroups it has; --systemd-cgroup is for new ones."""
    box.sleeping()
    flag = ("--systemd-cgroup",)
    box.verb("update", "--pids-limit", "19", box.id, glob=flag).ok()
    assert limit(box, "pids.max", "pids.max") == "19"
    assert json.loads(box.verb("ps", "--format", "json", box.id, glob=flag).ok().out) == [box.pid()]
    box.verb("exec", box.id, "/bin/true", glob=flag).ok()
    box.verb("pause", box.id, glob=flag).ok()
    box.verb("resume", box.id, glob=flag).ok()
    box.verb("delete", "--force", box.id, glob=flag).ok()
    box.clean()
