"""Statistics from cgroup files that are written down here: each layout gives runc's document."""

from pathlib import Path
from typing import Any

import pytest

from pyrunc.cli.resources import seconds
from pyrunc.errors import Error
from pyrunc.host.cgroups import oom
from pyrunc.host.cgroups.stats import stats

NO_PRESSURE = {"avg10": 0, "avg60": 0, "avg300": 0, "total": 0}


def fake(place: Path, files: dict[str, str]) -> str:
    """A directory with these files, as cgroup."""
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text)
    return str(place)


def read(**directories: str) -> dict[str, Any]:
    return stats({"directories": directories})


def test_nothing_readable_gives_runcs_empty_document() -> None:
    assert read() == {
        "cpu": {"usage": {"kernel": 0, "user": 0}, "throttling": {}},
        "cpuset": {
            "cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0,
            "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0,
            "sched_load_balance": 0, "sched_relax_domain_level": 0,
        },
        "memory": {
            "usage": {"limit": 0, "failcnt": 0}, "swap": {"limit": 0, "failcnt": 0},
            "kernel": {"limit": 0, "failcnt": 0}, "kernelTCP": {"limit": 0, "failcnt": 0},
        },
        "pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {}, "network_interfaces": None,
    }  # fmt: skip


def test_cgroup_v2(tmp_path: Path) -> None:
    directory = fake(
        tmp_path,
        {
            "cpu.stat": "usage_usec 70\nuser_usec 50\nsystem_usec 20\nnr_periods 3\nnr_throttled 2\n"
            "throttled_usec 9\n",
            "cpu.pressure": "some avg10=0.00 avg60=1.25 avg300=10.00 total=42\n",
            "memory.current": "1000\n", "memory.max": "4096\n", "memory.peak": "2000\n",
            "memory.swap.current": "10\n", "memory.swap.max": "100\n",
            "memory.stat": "anon 7\nfile 5\n",
            "pids.current": "4\n", "pids.max": "max\n",
            "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=0 dbytes=9 dios=9\n252:1 \n",
            "hugetlb.2MB.max": "max\n", "hugetlb.2MB.current": "5\n", "hugetlb.2MB.events": "max 6\n",
            "hugetlb.1GB.max": "max\n", "hugetlb.1GB.rsvd.max": "max\n", "hugetlb.1GB.current": "5\n",
            "hugetlb.1GB.rsvd.current": "7\n",
        },
    )  # fmt: skip
    found = read(**{"": directory})
    assert found["cpu"] == {
        "usage": {"total": 70000, "kernel": 20000, "user": 50000},
        "throttling": {"periods": 3, "throttledPeriods": 2, "throttledTime": 9000},
        "psi": {"some": {"avg10": 0, "avg60": 1.25, "avg300": 10, "total": 42}, "full": NO_PRESSURE},
    }
    assert found["memory"] == {
        "cache": 5,
        "usage": {"limit": 4096, "usage": 1000, "max": 2000, "failcnt": 0},
        "swap": {"limit": 4196, "usage": 1010, "failcnt": 0},
        "kernel": {"limit": 0, "failcnt": 0}, "kernelTCP": {"limit": 0, "failcnt": 0},
        "raw": {"anon": 7, "file": 5},
    }  # fmt: skip
    assert found["pids"] == {"current": 4}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 1}, {"major": 8, "op": "Write", "value": 2}
        ],
        "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 3}, {"major": 8, "op": "Write"}],
    }  # fmt: skip
    assert found["hugetlb"] == {"1GB": {"usage": 7, "failcnt": 0}, "2MB": {"usage": 5, "failcnt": 6}}


def test_unlimited_memory_and_swap_stay_the_highest_number(tmp_path: Path) -> None:
    directory = fake(
        tmp_path,
        {"memory.current": "1", "memory.max": "max", "memory.swap.current": "0", "memory.swap.max": "max"},
    )
    memory = read(**{"": directory})["memory"]
    assert memory["usage"]["limit"] == memory["swap"]["limit"] == 2**64 - 1


def test_processes_are_counted_where_the_v2_controller_is_off(tmp_path: Path) -> None:
    directory = fake(tmp_path, {"cgroup.procs": "12\n13\n"})
    assert read(**{"": directory})["pids"] == {"current": 2}


def test_cgroup_v1(tmp_path: Path) -> None:
    found = read(
        cpu=fake(tmp_path / "cpu", {"cpu.stat": "nr_periods 3\nnr_throttled 2\nthrottled_time 9\n"}),
        cpuacct=fake(
            tmp_path / "cpuacct",
            {
                "cpuacct.usage": "99\n", "cpuacct.usage_percpu": "90 9 \n",
                "cpuacct.stat": "user 2\nsystem 1\n",
                "cpuacct.usage_all": "cpu user system\n0 1 2\n1 3 4\n",
            },
        ),
        cpuset=fake(
            tmp_path / "cpuset",
            {"cpuset.cpus": "0-1,3\n", "cpuset.mems": "0\n", "cpuset.sched_relax_domain_level": "-1\n"},
        ),
        memory=fake(
            tmp_path / "memory",
            {
                "memory.usage_in_bytes": "5", "memory.limit_in_bytes": "9", "memory.max_usage_in_bytes": "7",
                "memory.failcnt": "2", "memory.memsw.usage_in_bytes": "6",
                "memory.memsw.limit_in_bytes": "10",
                "memory.stat": "rss 3\ncache 4\n",
            },
        ),
        pids=fake(tmp_path / "pids", {"pids.current": "1\n", "pids.max": "20\n"}),
        blkio=fake(
            tmp_path / "blkio",
            {
                "blkio.bfq.io_serviced_recursive": "Total 0\n",
                "blkio.throttle.io_serviced_recursive": "8:16 Read 1\n8:16 Total 1\nTotal 1\n",
                "blkio.throttle.io_service_bytes_recursive": "8:16 Read 4096\nTotal 4096\n",
            },
        ),
        hugetlb=fake(
            tmp_path / "hugetlb",
            {
                "hugetlb.2MB.limit_in_bytes": "9", "hugetlb.2MB.usage_in_bytes": "5",
                "hugetlb.2MB.max_usage_in_bytes": "6", "hugetlb.2MB.failcnt": "1",
            },
        ),
    )  # fmt: skip
    assert found["cpu"] == {
        "usage": {
            "total": 99, "percpu": [90, 9], "percpu_kernel": [2, 4], "percpu_user": [1, 3],
            "kernel": 10_000_000, "user": 20_000_000,
        },
        "throttling": {"periods": 3, "throttledPeriods": 2, "throttledTime": 9},
    }  # fmt: skip
    assert found["cpuset"]["cpus"] == [0, 1, 3]
    assert found["cpuset"]["mems"] == [0]
    assert found["cpuset"]["sched_relax_domain_level"] == -1
    assert found["memory"]["usage"] == {"limit": 9, "usage": 5, "max": 7, "failcnt": 2}
    assert found["memory"]["swap"] == {"limit": 10, "usage": 6, "failcnt": 0}
    assert found["memory"]["cache"] == 4
    assert found["pids"] == {"current": 1, "limit": 20}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [{"major": 8, "minor": 16, "op": "Read", "value": 4096}],
        "ioServicedRecursive": [
            {"major": 8, "minor": 16, "op": "Read", "value": 1},
            {"major": 8, "minor": 16, "op": "Total", "value": 1},
        ],
    }
    assert found["hugetlb"] == {"2MB": {"usage": 5, "max": 6, "failcnt": 1}}


def test_a_kill_is_counted_once(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("oom 0\noom_kill 3\n")
    watch = oom.Watch(str(tmp_path), v1=False)
    assert watch.happened() == 0
    events.write_text("oom 9\noom_kill 5\n")
    assert [watch.happened(), watch.happened()] == [2, 0]
    watch.close()


def test_no_memory_cgroup_cannot_be_watched(tmp_path: Path) -> None:
    assert oom.watch({"directories": {}}) is None
    assert oom.watch({"directories": {"": str(tmp_path)}}) is None
    assert oom.watch({"directories": {"memory": str(tmp_path)}}) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), ("10us", 1e-5), ("10µs", 1e-5), (".5s", 0.5)],
)
def test_intervals_are_written_as_for_runc(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "5", "0s", "-5s", "s", "5x", "5 s", "1.2.3s", "5s1", "inf"])
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(Error, match="--interval"):
        seconds(text)
