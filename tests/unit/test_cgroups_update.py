"""What an update comes to, from flags to writes; and the way back where the kernel refuses a part."""

import json
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cli.resources import limits, size
from pyrunc.compile import device_filter, systemd
from pyrunc.compile.settings import Layout, Write
from pyrunc.compile.update import Update, layout_of, merged, update
from pyrunc.config import explain, load
from pyrunc.errors import Error
from pyrunc.host import resctrl
from pyrunc.host.cgroups.change import as_it_is, change

V1 = Layout(
    {name: f"/cg/{name}" for name in ("memory", "cpu", "cpuset", "pids", "blkio", "devices")}, None, (), {}
)
V2 = Layout({}, "/cg", ("memory", "cpu", "cpuset", "pids", "io"), {})
NONE: dict[str, Any] = {"allow": False, "access": "rwm"}
EVERY: dict[str, Any] = {"allow": True, "access": "rwm"}
KMSG: dict[str, Any] = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}


def writes(found: Update) -> list[tuple[str, str]]:
    return [(write.file, write.value) for write in found.settings.writes]


# -- flags -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("512", 512), ("512b", 512), ("1k", 1024), ("64m", 64 << 20), ("64MB", 64 << 20),
        ("1.5GiB", 3 << 29), ("1 gb", 1 << 30), ("2t", 2 << 40), ("1P", 1 << 50), ("-1", -1), (".5k", 512),
    ],
)  # fmt: skip
def test_sizes_are_written_as_for_runc(text: str, value: int) -> None:
    assert size("memory", text) == value


@pytest.mark.parametrize(
    "text", ["-2", "m", "64x", "64mm", "1.2.3m", "64  m", "i", "1bb", "9999p", "1e3", "64 ki b"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(Error, match=f"--memory {text}"):
        size("memory", text)


def test_flags_become_an_object_like_the_configurations() -> None:
    found, names = limits(
        {"memory": "64m", "cpu-share": "512", "cpu-quota": "-1", "pids-limit": "-1", "cpu-burst": ""}
    )
    assert found == {
        "memory": {"limit": 64 << 20}, "cpu": {"shares": 512, "quota": -1}, "pids": {"limit": -1},
    }  # fmt: skip
    assert names["/pids/limit"] == "pids-limit"


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("cpu-share", "-1"), ("cpu-share", "1k"),
        ("cpu-period", "x"), ("cpu-quota", "1.5"),
        ("cpu-quota", "--1"), ("pids-limit", "many"), ("cpuset-cpus", "a"),
        ("blkio-weight", ""), ("cpu-idle", "yes"),
        ("cpu-rt-runtime", "9" * 30),
    ],
)  # fmt: skip
def test_a_flag_that_cannot_be_read_is_named(flag: str, text: str) -> None:
    if not text:
        assert limits({flag: text}) == ({}, {})
        return
    with pytest.raises(Error, match=f"--{flag} {text}"):
        limits({flag: text})


# -- the file ----------------------------------------------------------------


def test_a_file_is_checked_like_the_configuration() -> None:
    assert load.decode_resources('{"memory": {"limit": 5}}', "f") == {"memory": {"limit": 5}}
    with pytest.raises(Error) as caught:
        load.decode_resources('{\n "memory": {"limit": "5"}}', "f")
    assert caught.value.pointer == "/memory/limit"
    assert "f:2:22" in str(caught.value)
    with pytest.raises(Error, match="burst is above quota"):
        explain_first('{"cpu": {"quota": 5, "burst": 6}}')


def explain_first(text: str) -> None:
    (violation,) = explain.violations(text, "resources")
    raise Error(violation.message, pointer=violation.pointer)


# -- what it comes to --------------------------------------------------------


def test_only_what_is_asked_for_is_written() -> None:
    found = update({"memory": {"limit": 5}, "cpu": {}, "pids": {"limit": 7}}, {"cpu": {"shares": 9}}, V1)
    assert writes(found) == [("memory.limit_in_bytes", "5"), ("pids.max", "7")]


DOCKER = {
    "memory": {"limit": 5, "reservation": 0, "swap": 9},
    "cpu": {
        "shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "",
        "mems": "",
    },
    "blockIO": {"weight": 0},
}  # fmt: skip


def test_what_docker_sends_for_what_is_not_set_changes_nothing() -> None:
    changes = load.decode_resources(json.dumps(DOCKER), "-")
    assert writes(update(changes, {}, V1)) == [
        ("memory.limit_in_bytes", "5"), ("memory.memsw.limit_in_bytes", "9"),
    ]  # fmt: skip
    assert writes(update(changes, {}, V2)) == [("memory.max", "5"), ("memory.swap.max", "4")]
    assert update(changes, {"cpu": {"shares": 7}}, V1).resources["cpu"] == {"shares": 7}


def test_what_v2_keeps_in_one_file_keeps_its_other_value() -> None:
    before = {"cpu": {"quota": 5000, "period": 10000}, "memory": {"limit": 100, "swap": 300}}
    assert writes(update({"cpu": {"quota": 6000}}, before, V2)) == [("cpu.max", "6000 10000")]
    assert writes(update({"cpu": {"period": 20000}}, before, V2)) == [("cpu.max", "5000 20000")]
    assert sorted(writes(update({"memory": {"limit": 200}}, before, V2))) == [
        ("memory.max", "200"), ("memory.swap.max", "100"),
    ]  # fmt: skip


def test_what_holds_afterwards_is_what_was_and_what_changed() -> None:
    before = {"memory": {"limit": 5, "swap": 9}, "devices": [NONE], "cpu": {"idle": 1}}
    changes = {"memory": {"limit": 6, "swap": 0}, "cpu": {"idle": 0, "cpus": ""}, "pids": {"limit": 3}}
    assert merged(before, changes) == {
        "memory": {"limit": 6, "swap": 9}, "devices": [NONE], "cpu": {"idle": 0}, "pids": {"limit": 3},
    }  # fmt: skip
    assert before["cpu"] == {"idle": 1}


def test_no_process_is_a_limit_too_and_no_section_none() -> None:
    found = update({"pids": {"limit": 0}}, {"pids": {"limit": 9}}, V2)
    assert writes(found) == [("pids.max", "1")]
    assert found.resources == {"pids": {"limit": 0}}
    assert load.decode_resources('{"pids": {}}', "-") == {}


def test_memory_without_a_limit_has_swap_without_one_afterwards() -> None:
    found = update({"memory": {"limit": -1}}, {"memory": {"limit": 5, "swap": 9}}, V1)
    assert found.resources["memory"] == {"limit": -1, "swap": -1}


def test_a_controller_that_the_container_does_not_have_is_an_error() -> None:
    record = {"directories": {"": "/cg/x", "memory": "/mem/x"}}
    layout = layout_of(record, ("hugetlb",))
    assert writes(update({"memory": {"limit": 5}}, {}, layout)) == [("memory.limit_in_bytes", "5")]
    with pytest.raises(Error, match='"pids"') as caught:
        update({"pids": {"limit": 5}}, {}, layout, root="/r")
    assert caught.value.pointer == "/r/pids/limit"


# -- devices -----------------------------------------------------------------


def test_the_same_devices_as_before_change_nothing() -> None:
    found = update({"devices": [NONE, KMSG]}, {"devices": [NONE, KMSG]}, V1)
    assert (found.devices, found.program, found.stop) == ([], None, False)
    assert update({"devices": []}, {"devices": [KMSG]}, V2).program is None


def test_the_way_between_two_lists_never_allows_what_neither_does() -> None:
    read = {**KMSG, "access": "r"}
    other = {**KMSG, "minor": 12}
    found = update({"devices": [NONE, read, other]}, {"devices": [NONE, KMSG]}, V1)
    assert [(write.file, write.value) for write in found.devices] == [
        ("devices.deny", "c 1:11 w"), ("devices.allow", "c 1:12 rw"),
    ]  # fmt: skip
    assert not found.stop
    back = update({"devices": [NONE, KMSG]}, {"devices": [NONE, read, other]}, V1)
    assert [(write.file, write.value) for write in back.devices] == [
        ("devices.deny", "c 1:12 rw"), ("devices.allow", "c 1:11 w"),
    ]  # fmt: skip
    denied = {**KMSG, "allow": False}
    found = update({"devices": [EVERY]}, {"devices": [EVERY, denied]}, V1)
    assert [(write.file, write.value) for write in found.devices] == [("devices.allow", "c 1:11 rw")]


def test_a_list_that_turns_round_is_written_to_a_stopped_container() -> None:
    found = update({"devices": [EVERY]}, {"devices": [NONE]}, V1)
    assert found.stop
    assert found.devices[0].value == "a *:* rwm"


def test_on_v2_a_list_is_a_program() -> None:
    state = device_filter.devices([NONE, KMSG])
    assert update({"devices": [NONE, KMSG]}, {}, V2).program == device_filter.program(state)
    # Nothing can be taken away from a cgroup at once, so that allowing all is a program too.
    assert update({"devices": [EVERY]}, {}, V2).program == device_filter.ALLOW_ALL


def test_a_wrong_rule_is_named() -> None:
    with pytest.raises(Error) as caught:
        update({"devices": [NONE, {**KMSG, "type": "q"}]}, {}, V1)
    assert caught.value.pointer == "/devices/1/type"


# -- all or nothing ----------------------------------------------------------


def test_what_was_there_is_written_back(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("100\n")
    (tmp_path / "pids.max").write_text("max\n")
    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    found = update({"memory": {"limit": 200}, "pids": {"limit": 300}}, {}, V2)
    # The last write finds no file.
    found.settings.writes.append(Write("", "absent", "1", "/absent"))
    with pytest.raises(Error) as caught:
        change({"driver": "cgroupfs", "directories": {"": str(tmp_path)}}, found, [])
    assert caught.value.pointer == "/absent"
    assert (tmp_path / "memory.max").read_text() == "100\n"
    assert (tmp_path / "pids.max").read_text() == "max\n"


@pytest.mark.parametrize(
    ("file", "text", "value", "back"),
    [
        ("io.max", "8:0 rbps=5 wbps=max riops=max wiops=max\n9:0 rbps=1\n", "8:0 rbps=7",
         "8:0 rbps=5 wbps=max riops=max wiops=max"),
        ("io.max", "9:0 rbps=1\n", "8:0 rbps=7", "8:0 rbps=max wbps=max riops=max wiops=max"),
        ("io.weight", "default 100\n8:0 200\n", "500", "100"),
        ("io.weight", "default 100\n8:0 200\n", "8:0 500", "8:0 200"),
        ("blkio.throttle.read_bps_device", "", "8:0 500", "8:0 0"),
        ("cpu.max", "max 100000\n", "5000 10000", "max 100000"),
        ("cpuset.cpus", "0-1\n", "0, 1", "0-1"),
        ("cpuset.cpus", "\n", "0", ""),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", "1", "0"),
        ("memory.stat", "a 1\nb 2\n", "1", None),
        ("absent", None, "1", None),
    ],
)  # fmt: skip
def test_the_value_that_brings_back_what_a_file_says(
    tmp_path: Path, file: str, text: str | None, value: str, back: str | None
) -> None:
    if text is not None:
        (tmp_path / file).write_text(text)
    found = as_it_is({"": str(tmp_path)}, Write("", file, value, ""))
    assert (found and found.value) == back


# -- Intel RDT ---------------------------------------------------------------


def test_where_resctrl_is_mounted() -> None:
    line = "40 30 0:35 / /sys/fs/resctrl rw,nosuid shared:9 - resctrl resctrl rw\n"
    assert resctrl.mount_point("29 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + line) == "/sys/fs/resctrl"
    assert resctrl.mount_point("29 1 8:1 / / rw - ext4 /dev/sda1 rw\n") == ""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A resctrl file system of plain files."""
    (tmp_path / "info/L3").mkdir(parents=True)
    (tmp_path / "info/L3/num_closids").write_text("16\n")
    (tmp_path / "group").mkdir()
    (tmp_path / "group/schemata").write_text("L3:0=fff\n")
    monkeypatch.setattr(resctrl, "mount_point", lambda _: str(tmp_path))
    return tmp_path


def test_a_schema_is_written_and_can_be_taken_back(tree: Path) -> None:
    back = resctrl.change("group", "L3:0=7", "")
    assert (tree / "group/schemata").read_text().startswith("L3:0=7\n")
    back()
    assert (tree / "group/schemata").read_text() == "L3:0=fff\n"


def test_statistics_of_rdt_are_runcs(tree: Path) -> None:
    for name, text in {
        "info/L3/cbm_mask": "fff", "info/L3/min_cbm_bits": "1", "schemata": "    L3:0=fff\n",
        "group/mon_data/mon_L3_00/llc_occupancy": "7", "group/mon_data/mon_L3_00/mbm_total_bytes": "8",
        "group/mon_data/mon_L3_01/llc_occupancy": "0", "group/mon_data/mon_L3_01/mbm_total_bytes": "9",
    }.items():  # fmt: skip
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    assert resctrl.stats("group", "box") == {
        "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fff",
        "l3_cache_schema": "L3:0=fff",
        "mbm_stats": [{"mbm_total_bytes": 8}, {"mbm_total_bytes": 9}],
        "cmt_stats": [{"llc_occupancy": 7}, {}],
    }


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [(("group", "", "MB:0=10"), "--mem-bw-schema"), (("nobody", "L3:0=7", ""), "--l3-cache-schema")],
)
def test_what_rdt_cannot_do_is_told_by_flag(tree: Path, arguments: tuple[str, str, str], flag: str) -> None:
    with pytest.raises(Error) as caught:
        resctrl.change(*arguments)
    assert caught.value.pointer == flag
    assert json.dumps(str(caught.value))


# -- systemd's driver --------------------------------------------------------


def test_systemd_is_told_first_and_told_again_when_the_kernel_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("100\n")
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    there: list[str] = []
    told: list[tuple[list[tuple[str, str]], object]] = []

    def tell(record: dict[str, Any], writes: list[Write], rules: object = None) -> None:
        there.append((tmp_path / "memory.max").read_text())
        told.append(([(write.file, write.value) for write in writes], rules))

    monkeypatch.setattr("pyrunc.host.cgroups.systemd.set_properties", tell)
    record = {"driver": "systemd", "directories": {"": str(tmp_path)}, "unit": "x.scope", "user": False}
    found = update({"memory": {"limit": 200}}, {}, V2)
    change(record, found, [])
    assert told == [([("memory.max", "200")], None)] and there == ["100\n"]
    (tmp_path / "memory.max").write_text("100\n")
    found.settings.writes.append(Write("", "absent", "1", "/absent"))
    with pytest.raises(Error):
        change(record, found, [])
    assert told[-1] == ([("memory.max", "100")], None)


def test_systemd_is_told_of_a_new_list_of_devices() -> None:
    found = update({"devices": [NONE, {**KMSG, "allow": True}]}, {"devices": [NONE]}, V2)
    assert found.rules is not None
    old, new = (dict(systemd.device_properties(rules)) for rules in found.rules)
    assert ("/dev/char/1:11", "rw") in new["DeviceAllow"][1]
    assert ("/dev/char/1:11", "rw") not in old["DeviceAllow"][1]
    assert update({"devices": [NONE]}, {"devices": [NONE]}, V2).rules is None
