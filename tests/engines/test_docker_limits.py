"""docker run: what a container may use, as its cgroup says on the host and as it feels inside."""

import os
from pathlib import Path

import pytest
from engine import Docker
from look import CAPABILITIES, bounding, cgroup, limit, unified
from machine import CGROUPS
from runs import run, script, start

MIB = 1 << 20
SYS_RESOURCE = 1 << CAPABILITIES["SYS_RESOURCE"]


def test_limits_are_in_the_cgroup(docker: Docker) -> None:
    pid = start(
        docker,
        "--memory 64m --memory-reservation 32m --memory-swap 128m --cpus 0.5 --cpu-shares 512"
        " --cpuset-cpus 0 --cpuset-mems 0 --pids-limit 20 --oom-score-adj 300",
    )
    # Below the daemon's cgroup, where nothing else is asked for.
    assert cgroup(pid, "memory").parent.name == docker.place.name
    assert limit(pid, "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert limit(pid, "memory.soft_limit_in_bytes", "memory.low") == str(32 * MIB)
    # Docker leaves swap alone on a machine that has none. v1 counts memory and swap together.
    if docker("info", "--format", "{{.SwapLimit}}", compare=False).out == "true\n":
        swap = 64 * MIB if unified() else 128 * MIB
        assert limit(pid, "memory.memsw.limit_in_bytes", "memory.swap.max") == str(swap)
    assert limit(pid, "cpuset.cpus", "cpuset.cpus") == "0"
    assert limit(pid, "cpuset.mems", "cpuset.mems") == "0"
    assert limit(pid, "pids.max", "pids.max") == "20"
    if unified():
        assert limit(pid, "", "cpu.max") == "50000 100000"
        # Of 512 shares, as runc converts them before version 1.3.2 and from then on.
        assert limit(pid, "", "cpu.weight") in {"20", "59"}
    else:
        assert limit(pid, "cpu.cfs_quota_us", "") == "50000"
        assert limit(pid, "cpu.cfs_period_us", "") == "100000"
        assert limit(pid, "cpu.shares", "") == "512"
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "300\n"
    # The first process is on the CPU that it has, and there is no room for a bomb.
    text = "grep Cpus_allowed_list /proc/1/status; for i in $(seq 30); do sleep 5 & done; echo unreached"
    bomb = docker("exec", "one", "sh", "-c", text, code=2)
    assert bomb.out == "Cpus_allowed_list:\t0\n"
    assert "can't fork: Resource temporarily unavailable" in bomb.err


def test_quota_period_and_what_v1_alone_has(docker: Docker) -> None:
    v1 = "" if unified() else " --memory-swappiness 10 --memory 64m --oom-kill-disable"
    pid = start(docker, f"--cpu-period 50000 --cpu-quota 20000 --pids-limit -1{v1}")
    assert limit(pid, "pids.max", "pids.max") == "max"
    if unified():
        assert limit(pid, "", "cpu.max") == "20000 50000"
        return
    assert [limit(pid, f"cpu.cfs_{name}_us", "") for name in ("period", "quota")] == ["50000", "20000"]
    assert limit(pid, "memory.swappiness", "") == "10"
    assert limit(pid, "memory.oom_control", "").startswith("oom_kill_disable 1\n")


def test_the_rate_of_a_disk(docker: Docker) -> None:
    disk = next((path.name for path in Path("/sys/block").iterdir() if (path / "device").exists()), None)
    if disk is None or not Path(f"/dev/{disk}").exists():
        pytest.skip("there is no disk whose rate could be limited")
    number = Path(f"/sys/block/{disk}/dev").read_text().strip()
    pid = start(docker, f"--device-read-bps /dev/{disk}:1mb --device-write-iops /dev/{disk}:50")
    if unified():
        assert limit(pid, "", "io.max") == f"{number} rbps=1048576 wbps=max riops=max wiops=50"
    else:
        assert limit(pid, "blkio.throttle.read_bps_device", "") == f"{number} 1048576"
        assert limit(pid, "blkio.throttle.write_iops_device", "") == f"{number} 50"


def test_weights_of_disks(docker: Docker) -> None:
    if not list(CGROUPS.glob("blkio/blkio.*weight")) and not list(CGROUPS.glob("*/io.*weight")):
        pytest.skip("the kernel has no weights of block devices (BFQ)")
    pid = start(docker, "--blkio-weight 300")
    assert limit(pid, "blkio.bfq.weight", "io.bfq.weight").endswith("300")


def test_resource_limits_of_processes(docker: Docker) -> None:
    flags = "--ulimit nofile=500:600 --ulimit core=0 --ulimit nproc=300:400 --ulimit fsize=4096"
    printed = run(docker, flags, "cat", "/proc/self/limits").out
    limits = {line[:25].strip(): line[25:67].split() for line in printed.splitlines()}
    assert limits["Max open files"] == ["500", "600"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max processes"] == ["300", "400"]
    assert limits["Max file size"] == ["4096", "4096"]


def test_raising_a_limit_beyond_the_machines(docker: Docker) -> None:
    if bounding() & SYS_RESOURCE:
        pytest.skip("CAP_SYS_RESOURCE is there: it can be raised")
    refused = run(docker, "--ulimit nofile=1000000", "true", code=125)
    assert "operation not permitted" in refused.err.lower()


def test_a_negative_oom_score(docker: Docker) -> None:
    if not bounding() & SYS_RESOURCE:
        pytest.skip("a negative score needs CAP_SYS_RESOURCE, which is missing here")
    assert run(docker, "--oom-score-adj -500", "cat", "/proc/self/oom_score_adj").out == "-500\n"


def test_the_parent_cgroup(docker: Docker) -> None:
    parent = f"/{docker.place.name}/chosen/parent"
    directory = cgroup(start(docker, f"--cgroup-parent {parent}"), "memory")
    container = docker("inspect", "--format", "{{.Id}}", "one").out.strip()
    assert str(directory).endswith(f"{parent}/{container}")
    assert os.path.isdir(directory)
    docker("rm", "--force", "one")
    assert not os.path.exists(directory)


def test_the_cgroup_namespace(docker: Docker) -> None:
    text = "cut -d: -f3 /proc/self/cgroup | sort -u; ls -d /sys/fs/cgroup/memory* | grep -c ."
    private = script(docker, "--cgroupns private", text).out.splitlines()
    assert private[0] == "/"
    assert int(private[1]) > 0
    host = script(docker, "--cgroupns host", text).out.splitlines()
    assert host[0].startswith(f"/{docker.place.name}/")
