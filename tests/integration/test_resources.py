"""linux.resources at work: what a container's processes can no longer do, as the host sees it.

Which file holds a value is the business of tests/golden/cgroups; here a process is killed, throttled,
slowed down or refused something. Each test's cgroups are gone at its end, which the fixture `box` holds.
"""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Box, cgroup_of, cgroups_named, proc_status, wait_for

MIB = 1 << 20
HUGE = 2 * MIB
V1_MEMORY = "memory.limit_in_bytes"


def number(file: Path, key: str) -> int:
    """The number behind a key in a cgroup's file of keys and numbers."""
    for line in file.read_text().splitlines():
        if line.split()[0] == key:
            return int(line.split()[1])
    raise AssertionError(f"no {key} in {file}")


def talking(box: Box, script: str) -> tuple[int, list[str]]:
    """The pid of a detached container that runs a script and then waits, and what the script said."""
    box.script(f"{script}; echo end; exec sleep 1000")
    box.run("-d").ok()
    out = box.last_out
    wait_for(lambda: "end\n" in out.read_text(), "the end of the script")
    return box.pid(), out.read_text().splitlines()[:-1]


# -- memory ----------------------------------------------------------------------


@pytest.mark.shows("/linux/resources/memory/{limit,swap}")
def test_a_process_that_takes_more_than_the_limit_is_killed(box: Box) -> None:
    box.linux["resources"]["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    pid, said = talking(
        box,
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=8 && echo enough; "
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=48; echo status $?",
    )
    assert said == ["enough", "status 137"]
    directory = cgroup_of(pid, "memory")
    v1 = (directory / V1_MEMORY).exists()
    assert number(directory / ("memory.oom_control" if v1 else "memory.events"), "oom_kill") >= 1


@pytest.mark.shows("/linux/resources/memory/disableOOMKiller")
def test_without_the_oom_killer_a_process_waits_for_memory(box: Box, pure_v2: bool) -> None:
    box.linux["resources"]["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB, "disableOOMKiller": True}
    # The shell's own memory: a write(2) to a tmpfs gets ENOMEM, only a page fault waits.
    script = "x=xxxxxxxx; while :; do x=$x$x; done"
    if pure_v2:
        box.run_script(script).failed("/linux/resources/memory/disableOOMKiller", "OOM killer")
        box.clean()
        return
    box.script(script)
    box.run("-d").ok()
    control = cgroup_of(box.pid(), "memory") / "memory.oom_control"
    wait_for(lambda: number(control, "under_oom"), "want of memory")
    assert number(control, "oom_kill") == 0
    assert box.status() == "running"


@pytest.mark.shows("/linux/resources/memory/{reservation,swappiness,kernelTCP}")
def test_the_other_values_of_memory(box: Box, pure_v2: bool) -> None:
    memory = {"limit": 64 * MIB, "reservation": 16 * MIB}
    if not pure_v2:
        memory |= {"swappiness": 7, "kernelTCP": MIB}
    box.linux["resources"]["memory"] = memory
    directory = cgroup_of(box.sleeping(), "memory")
    files = {"memory.low": 16 * MIB} if pure_v2 else {
        "memory.soft_limit_in_bytes": 16 * MIB, "memory.swappiness": 7,
        "memory.kmem.tcp.limit_in_bytes": MIB,
    }  # fmt: skip
    assert {file: int((directory / file).read_text()) for file in files} == files


@pytest.mark.shows("/linux/resources/memory/kernel")
@pytest.mark.beyond_runc("goes on without the limit")
def test_a_limit_of_kernel_memory_is_refused(box: Box) -> None:
    box.linux["resources"]["memory"] = {"kernel": 64 * MIB, "kernelTCP": -1}
    box.run().failed("/linux/resources/memory/kernel", "use limit")
    box.clean()
    box.linux["resources"]["memory"]["kernel"] = -1
    box.run_script("exit 0").ok()


def test_no_swappiness_on_v2(box: Box, pure_v2: bool) -> None:
    if not pure_v2:
        pytest.skip("v1 has one")
    box.linux["resources"]["memory"] = {"swappiness": 7}
    box.run().failed("/linux/resources/memory/swappiness", "vm.swappiness")
    box.clean()


# -- cpu -------------------------------------------------------------------------


@pytest.mark.shows("/linux/resources/cpu/{quota,period}")
def test_a_process_beyond_its_quota_is_throttled(box: Box) -> None:
    box.linux["resources"]["cpu"] = {"quota": 2000, "period": 20000}
    box.script("while :; do :; done")
    box.run("-d").ok()
    pid = box.pid()
    wait_for(lambda: number(cgroup_of(pid, "cpu") / "cpu.stat", "nr_throttled") >= 10, "throttling")
    ticks = sum(int(word) for word in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])
    periods = number(cgroup_of(pid, "cpu") / "cpu.stat", "nr_periods")
    # A tenth of one processor, with room for the tick that a period may run over.
    assert ticks / os.sysconf("SC_CLK_TCK") <= periods * 0.02 * 0.5 + 0.1


@pytest.mark.shows("/linux/resources/cpu/{burst,shares,idle}")
def test_shares_burst_and_idle(box: Box, pure_v2: bool) -> None:
    box.linux["resources"]["cpu"] = {"quota": 20000, "burst": 5000, "shares": 512, "idle": 0}
    pid = box.sleeping()
    directory = cgroup_of(pid, "cpu")
    files = {"cpu.max.burst": 5000, "cpu.weight": 59} if pure_v2 else {
        "cpu.cfs_burst_us": 5000, "cpu.shares": 512,
    }  # fmt: skip
    assert {file: int((directory / file).read_text()) for file in files} == files
    box.delete("--force").ok()
    box.linux["resources"]["cpu"] = {"shares": 512, "idle": 1}
    assert (cgroup_of(box.sleeping(), "cpu") / "cpu.idle").read_text() == "1\n"


@pytest.mark.shows("/linux/resources/cpu/{realtimeRuntime,realtimePeriod}")
def test_a_real_time_budget_lets_processes_be_real_time(box: Box, parent_cgroup: str, pure_v2: bool) -> None:
    box.linux["resources"]["cpu"] = {"realtimeRuntime": 5000, "realtimePeriod": 1000000}
    if pure_v2:
        box.run().failed("/linux/resources/cpu/realtime", "real-time budget")
        box.clean()
        return
    if not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        pytest.skip("the kernel has no groups of real-time processes")
    # The parents are new, and have to have a budget too.
    box.linux["cgroupsPath"] = f"/{parent_cgroup}/pod/{box.id}"
    pid = box.sleeping()
    os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
    os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
    box.delete("--force").ok()
    del box.linux["resources"]["cpu"]
    with pytest.raises(PermissionError):
        os.sched_setscheduler(box.sleeping(), os.SCHED_RR, os.sched_param(1))


def test_a_real_time_budget_that_the_parent_has_not(box: Box, parent_cgroup: str, pure_v2: bool) -> None:
    cpu = Path("/sys/fs/cgroup/cpu")
    if pure_v2 or not (cpu / "cpu.rt_runtime_us").exists():
        pytest.skip("there is no real-time budget here")
    (cpu / parent_cgroup).mkdir()
    box.linux["cgroupsPath"] = f"/{parent_cgroup}/{box.id}"
    box.linux["resources"]["cpu"] = {"realtimeRuntime": 5000}
    box.run().failed("/linux/resources/cpu/realtimeRuntime", "give the parent more")
    assert (cpu / parent_cgroup / "cpu.rt_runtime_us").read_text() == "0\n"


@pytest.mark.shows("/linux/resources/cpu/{cpus,mems}")
def test_processes_stay_on_the_processors_of_the_cpuset(box: Box, parent_cgroup: str) -> None:
    last = max(os.sched_getaffinity(0))
    box.linux["resources"]["cpu"] = {"cpus": str(last), "mems": "0"}
    box.linux["cgroupsPath"] = f"/{parent_cgroup}/{box.id}"
    pid = box.sleeping()
    assert os.sched_getaffinity(pid) == {last}
    assert proc_status(pid)["Mems_allowed_list"] == "0"
    assert box.exec("/bin/nproc").ok().out == "1\n"


# -- pids ------------------------------------------------------------------------


@pytest.mark.shows("/linux/resources/pids/limit")
@pytest.mark.parametrize(("limit", "children"), [(-1, 4), (5, 4), (3, 2), (1, 0), (0, 0)])
def test_a_fork_beyond_the_limit_is_refused(box: Box, limit: int, children: int) -> None:
    box.linux["resources"]["pids"] = {"limit": limit}
    result = box.run_script("for i in 1 2 3 4; do sleep 5 & echo $i; done; kill $! 2>/dev/null; true")
    assert len(result.out.split()) == children, result
    assert ("can't fork" in result.err) == (children < 4)


# -- blockIO ---------------------------------------------------------------------


@pytest.fixture
def disk(box: Box) -> Iterator[tuple[int, int]]:
    """The numbers of a block device of one MiB, which the container has as /dev/disk."""
    file = box.place / "disk"
    file.write_bytes(bytes(MIB))
    subprocess.run(["modprobe", "-q", "loop"], check=False)
    made = subprocess.run(["losetup", "-f", "--show", str(file)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"there are no loop devices: {made.stderr}")
    name = made.stdout.strip()
    number = os.stat(name).st_rdev
    major, minor = os.major(number), os.minor(number)
    device = {"type": "b", "major": major, "minor": minor}
    box.linux["devices"] = [{**device, "path": "/dev/disk"}]
    box.linux["resources"]["devices"].append({**device, "allow": True, "access": "rw"})
    yield major, minor
    box.delete("--force")
    subprocess.run(["losetup", "-d", name], check=True)


READ = "dd if=/dev/disk of=/dev/null bs=256k count=4 iflag=direct 2>&1"


@pytest.mark.shows("/linux/resources/blockIO/throttleReadBpsDevice/*/{major,minor,rate}")
def test_a_disk_is_read_no_faster_than_its_throttle(box: Box, disk: tuple[int, int]) -> None:
    limit = {"major": disk[0], "minor": disk[1], "rate": 512 * 1024}
    box.linux["resources"]["blockIO"] = {"throttleReadBpsDevice": [limit]}
    start = time.monotonic()
    box.sh(READ)
    assert time.monotonic() - start > 1.0


@pytest.mark.shows("/linux/resources/blockIO/throttle{WriteBps,ReadIOPS,WriteIOPS}Device/*/{major,minor,rate}")
def test_each_throttle_is_what_the_kernel_then_shows(box: Box, disk: tuple[int, int], pure_v2: bool) -> None:
    names = {
        "ReadBps": "read_bps", "WriteBps": "write_bps", "ReadIOPS": "read_iops", "WriteIOPS": "write_iops",
    }  # fmt: skip
    rates = {name: (i + 1) * 10000 for i, name in enumerate(names)}
    box.linux["resources"]["blockIO"] = {
        f"throttle{name}Device": [{"major": disk[0], "minor": disk[1], "rate": rate}]
        for name, rate in rates.items()
    }
    directory = cgroup_of(box.sleeping(), "blkio")
    device = f"{disk[0]}:{disk[1]}"
    if pure_v2:
        shown = f"{device} rbps=10000 wbps=20000 riops=30000 wiops=40000\n"
        assert (directory / "io.max").read_text() == shown
        return
    for name, file in names.items():
        assert (directory / f"blkio.throttle.{file}_device").read_text() == f"{device} {rates[name]}\n"


def test_a_throttle_for_a_device_that_is_not_there(box: Box) -> None:
    limit = {"major": 4095, "minor": 7, "rate": 1}
    box.linux["resources"]["blockIO"] = {"throttleReadBpsDevice": [limit]}
    box.run().failed("/linux/resources/blockIO/throttleReadBpsDevice/0", "no such device")
    box.clean()


@pytest.mark.shows("/linux/resources/blockIO/{weight,weightDevice/*/weight,weightDevice/*/major,weightDevice/*/minor}")
def test_a_weight_is_set_where_a_scheduler_has_weights(box: Box, pure_v2: bool) -> None:
    box.linux["resources"]["blockIO"] = {"weight": 500}
    box.script("sleep 1000")
    result = box.run("-d")
    names = {"io.bfq.weight": "500", "io.weight": "4950"} if pure_v2 else {"blkio.bfq.weight": "500"}
    if result.code:
        # Neither BFQ nor the cost model is there: never in silence.
        result.failed("/linux/resources/blockIO/weight", f"nor {list(names)[-1]}")
        box.clean()
        return
    directory = cgroup_of(box.pid(), "blkio")
    files = [directory / name for name in names]
    shown = {file.name: file.read_text().split()[-1] for file in files if file.exists()}
    assert shown.items() & names.items()


@pytest.mark.shows("/linux/resources/blockIO/{leafWeight,weightDevice/*/leafWeight}")
@pytest.mark.parametrize("section", [
    {"leafWeight": 500}, {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 500}]},
])  # fmt: skip
def test_no_kernel_has_leaf_weights_any_more(box: Box, section: dict[str, object]) -> None:
    box.linux["resources"]["blockIO"] = section
    box.run().failed(f"/linux/resources/blockIO/{next(iter(section))}", "leaf")
    box.clean()


# -- devices ---------------------------------------------------------------------


@pytest.mark.shows("/linux/resources/devices", "/linux/resources/devices/*/{allow,type,major,minor,access}")
@pytest.mark.parametrize(
    ("rules", "opened"),
    [
        ([], ""),
        ([{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}], "read\n"),
        ([{"allow": True, "type": "c", "major": 1, "access": "rw"}], "read\nwrite\n"),
        ([{"allow": True, "type": "b", "major": 1, "minor": 11, "access": "rw"}], ""),
        ([{"allow": True, "access": "rwm"}], "read\nwrite\n"),
        (
            [
                {"allow": True, "type": "a", "access": "rwm"},
                {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "r"},
            ],
            "write\n",
        ),
    ],
)
def test_a_device_opens_as_the_rules_say(box: Box, rules: list[dict[str, object]], opened: str) -> None:
    box.capabilities("CAP_SYSLOG")  # which reading it takes
    box.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    box.linux["resources"]["devices"] += rules
    script = "(exec 3</dev/kmsg) && echo read; (exec 3>/dev/kmsg) && echo write; exec 3<>/dev/null"
    result = box.run_script(script).ok()
    assert result.out == opened, result
    assert result.err.count("Operation not permitted") == 2 - opened.count("\n"), result


# -- huge pages ------------------------------------------------------------------


@pytest.fixture
def huge_pages() -> Iterator[None]:
    """Some huge pages for who asks for them."""
    file = Path("/proc/sys/vm/nr_overcommit_hugepages")
    if not file.exists() or not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists():
        pytest.skip("the kernel has no huge pages of 2 MiB")
    before = file.read_text()
    file.write_text("8")
    yield
    file.write_text(before)


@pytest.mark.shows("/linux/resources/hugepageLimits/*/{pageSize,limit}")
def test_a_reservation_of_huge_pages_beyond_the_limit_is_refused(box: Box, huge_pages: None) -> None:
    box.linux["resources"]["hugepageLimits"] = [{"pageSize": "2MB", "limit": HUGE}]
    result = box.create()
    if "hugetlb" in result.err:
        pytest.skip(f"no controller for huge pages: {result.err}")
    result.ok()
    procs = cgroup_of(box.pid(), "hugetlb") / "cgroup.procs"
    program = (
        "import mmap, sys\n"
        "open(sys.argv[1], 'w').write('0')\n"
        "for size in 1, 2:\n"
        "    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000\n"  # MAP_HUGETLB
        f"    try: mmap.mmap(-1, size * {HUGE}, flags=flags).close()\n"
        "    except OSError as error: print(error.errno)\n"
        "    else: print(0)\n"
    )
    command = [sys.executable, "-c", program, str(procs)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert out.split() == ["0", str(errno.ENOMEM)]


def test_a_size_of_huge_pages_that_the_kernel_has_not(box: Box) -> None:
    box.linux["resources"]["hugepageLimits"] = [{"pageSize": "3MB", "limit": 0}]
    box.run().failed("/linux/resources/hugepageLimits/0", "3MB")
    box.clean()


# -- network, rdma, unified ------------------------------------------------------


@pytest.mark.shows("/linux/resources/network/{classID,priorities/*/name,priorities/*/priority}")
def test_traffic_is_marked_where_v1_can(box: Box) -> None:
    """The hierarchy is mounted for pyrunc alone; the kernel keeps it while the container is in it."""
    box.linux["resources"]["network"] = {
        "classID": 0x100001, "priorities": [{"name": "lo", "priority": 5}],
    }  # fmt: skip
    box.run().failed("/linux/resources/network/classID", "net_cls")
    box.clean()
    where = box.place / "net"
    where.mkdir()
    box.args("/bin/sleep", "1000")
    box.save()
    runtime = " ".join([*box.command, "--root", str(box.root)])
    script = (
        f"mount -t cgroup -o net_cls,net_prio cgroup {where} || exit 77\n"
        f"{runtime} create --bundle {box.bundle} {box.id} </dev/null >/dev/null || exit 1\n"
        f"cd {where}/{box.id} && cat net_cls.classid && grep '^lo ' net_prio.ifpriomap && wc -l <tasks\n"
        f"cd /; {runtime} delete --force {box.id}; ls {where} | grep -c {box.id}\n"
        # Once the removed cgroup is gone, the end of a mount ends the hierarchy. An engine that finds one
        # without a mount in /proc/self/cgroup does not watch for OOM kills.
        f"for attempt in $(seq 50); do\n"
        f"umount {where}; grep -q net_cls /proc/self/cgroup || exit 0\n"
        f"sleep 0.1; mount -t cgroup -o net_cls,net_prio cgroup {where}\n"
        f"done\n"
    )
    command = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=box.environment(), timeout=60
    )
    if done.returncode == 77:
        pytest.skip(f"the kernel has no net_cls and net_prio: {done.stderr}")
    assert done.stdout.split("\n") == [str(0x100001), "lo 5", "1", "0", ""], done


@pytest.mark.shows("/linux/resources/rdma/*/{hcaHandles,hcaObjects}")
def test_rdma_needs_its_controller_and_the_device(box: Box) -> None:
    box.linux["resources"]["rdma"] = {"mlx5_none": {"hcaHandles": 3, "hcaObjects": 4}}
    box.run().failed("/linux/resources/rdma/mlx5_none", "device" if "rdma" in controllers() else '"rdma"')
    box.clean()


def controllers() -> list[str]:
    for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if Path(place, "cgroup.controllers").exists():
            return Path(place, "cgroup.controllers").read_text().split()
    return []


@pytest.mark.shows("/linux/resources/unified/*")
def test_any_file_of_v2_can_be_set(box: Box, pure_v2: bool) -> None:
    files = {"cgroup.max.depth": "3", "hugetlb.2MB.max": "2097152"}
    if pure_v2:
        files |= {"memory.high": "33554432", "memory.oom.group": "1", "cpu.weight.nice": "5"}
    if "hugetlb" not in controllers():
        del files["hugetlb.2MB.max"]
    box.linux["resources"]["unified"] = files
    directory = cgroup_of(box.sleeping(), "")
    assert {file: (directory / file).read_text().strip() for file in files} == files


@pytest.mark.parametrize(("file", "words"), [
    ("nosuch.max", '"nosuch"'), ("cgroup.nosuch", "this kernel has no"), ("../x/memory.max", "cgroup file"),
    ("cgroup.procs", "the runtime itself"),
])  # fmt: skip
def test_a_file_of_v2_that_cannot_be_had(box: Box, file: str, words: str) -> None:
    box.linux["resources"]["unified"] = {file: "1"}
    box.run().failed(f"/linux/resources/unified/{file.replace('/', '~1')}", words)
    box.clean()


# -- where the cgroup is ---------------------------------------------------------


@pytest.mark.shows("/linux/cgroupsPath")
def test_below_a_frozen_cgroup_there_is_no_container(box: Box, parent_cgroup: str, pure_v2: bool) -> None:
    root, file, frozen, thawed = (
        ("/sys/fs/cgroup", "cgroup.freeze", "1", "0")
        if pure_v2
        else ("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN", "THAWED")
    )
    parent = Path(root, parent_cgroup)
    parent.mkdir()
    box.linux["cgroupsPath"] = f"/{parent_cgroup}/{box.id}"
    (parent / file).write_text(frozen)
    box.run().failed("/linux/cgroupsPath", "frozen")
    assert cgroups_named(box.id) == []
    (parent / file).write_text(thawed)
    assert box.sh("echo thawed") == "thawed\n"


def test_below_a_threaded_cgroup_there_is_no_container(box: Box, parent_cgroup: str) -> None:
    root = next(p for p in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if Path(p, "cgroup.procs").exists())
    parent = Path(root, parent_cgroup)
    parent.mkdir()
    (parent / "cgroup.type").write_text("threaded")
    box.linux["cgroupsPath"] = f"/{parent_cgroup}/{box.id}"
    box.run().failed("/linux/cgroupsPath", "threaded")
    assert cgroups_named(box.id) == []


def test_a_controller_that_the_parent_cannot_enable_is_named(
    box: Box, parent_cgroup: str, pure_v2: bool
) -> None:
    """A cgroup with processes has no controllers for its children ("no internal processes")."""
    if not pure_v2:
        pytest.skip("v1 has no such rule")
    parent = Path("/sys/fs/cgroup", parent_cgroup)
    parent.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            (parent / "cgroup.procs").write_text(str(process.pid))
            box.linux["cgroupsPath"] = f"/{parent_cgroup}/{box.id}"
            box.linux["resources"]["memory"] = {"limit": 64 * MIB}
            box.run().failed("/linux/resources/memory/limit", '"memory"', "processes")
            assert cgroups_named(box.id) == []
        finally:
            process.kill()


@pytest.mark.shows("/linux/cgroupsPath")
def test_delete_removes_what_the_container_made_in_its_cgroup(box: Box, pure_v2: bool) -> None:
    pid = box.sleeping()
    below = cgroup_of(pid, "freezer") / "a" / "b"
    below.mkdir(parents=True)
    (below / "cgroup.procs").write_text(str(pid))
    box.delete("--force").ok()
    box.clean()


# -- delegation ------------------------------------------------------------------


def test_a_container_with_namespaces_of_its_own_manages_its_cgroup(box: Box, pure_v2: bool) -> None:
    if not pure_v2:
        pytest.skip("v1 cgroups are not delegated")
    box.user_namespace()
    box.add_namespace("cgroup")
    box.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "nodev", "noexec"])
    box.linux["resources"]["memory"] = {"limit": 64 * MIB}
    pid, said = talking(
        box,
        "cd /sys/fs/cgroup; mkdir inner && echo 0 >inner/cgroup.procs; echo +memory >cgroup.subtree_control; "
        "echo 1048576 >inner/memory.max && cat inner/memory.max; (echo max >memory.max) || echo kept",
    )
    assert said == ["1048576", "kept"]
    directory = cgroup_of(pid, "memory").parent
    owned = {entry.name for entry in directory.iterdir() if entry.is_file() and entry.stat().st_uid == 100000}
    listed = set(Path("/sys/kernel/cgroup/delegate").read_text().split())
    assert directory.stat().st_uid == 100000
    box.exec_sh("echo -memory >/sys/fs/cgroup/cgroup.subtree_control")
    assert owned == {name for name in listed if (directory / name).exists()}


def test_a_cgroup_that_is_mounted_read_only_keeps_its_owner(box: Box, pure_v2: bool) -> None:
    if not pure_v2:
        pytest.skip("v1 cgroups are not delegated")
    box.user_namespace()
    box.add_namespace("cgroup")
    box.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "nodev", "noexec", "ro"])
    assert cgroup_of(box.sleeping(), "").stat().st_uid == 0
