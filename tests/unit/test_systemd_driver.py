"""The systemd driver's pure part: names, properties, annotations, and the plan they come from."""

from typing import Any

import examples
import pytest

from pyrunc.compile import cgroups, gvariant, systemd
from pyrunc.compile.resources import settings
from pyrunc.compile.settings import Layout
from pyrunc.compile.syncs import SYNC_SCOPE
from pyrunc.errors import Error
from pyrunc.program.build import Builder
from pyrunc.program.verify import verify

ALL = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
V2 = Layout({}, "/sys/fs/cgroup", ALL, {"": "/system.slice/engine.service"})
V1 = Layout(
    {
        name: f"/sys/fs/cgroup/{name.removeprefix('name=')}"
        for name in ("cpu", "cpuset", "memory", "devices", "freezer", "pids", "blkio", "name=systemd")
    },
    None, (), {},
)  # fmt: skip
MAX = 2**64 - 1


def unit(path: str = "", id: str = "box", **annotations: str) -> systemd.Unit:
    config: dict[str, Any] = {"linux": {"cgroupsPath": path}}
    config["annotations"] = {f"org.systemd.property.{name}": text for name, text in annotations.items()}
    return systemd.unit(config, id)


def properties(layout: Layout = V2, version: int = 252, **resources: Any) -> dict[str, Any]:
    """Names and values for resources."""
    writes = settings(resources, layout).writes
    return {name: value for name, (_, value) in systemd.properties(writes, version)}


# -- names ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name", "slice", "cgroup"),
    [
        ("", "pyrunc-box.scope", "system.slice", "/system.slice/pyrunc-box.scope"),
        (
            "system.slice:docker:abc", "docker-abc.scope", "system.slice", "/system.slice/docker-abc.scope",
        ),
        (
            "kubepods-burstable-pod1_2.slice:cri-containerd:abc", "cri-containerd-abc.scope",
            "kubepods-burstable-pod1_2.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-abc.scope",
        ),
        (":libpod:abc", "libpod-abc.scope", "system.slice", "/system.slice/libpod-abc.scope"),
        ("a.slice::abc", "abc.scope", "a.slice", "/a.slice/abc.scope"),
        ("-.slice:x:abc", "x-abc.scope", "-.slice", "/x-abc.scope"),
    ],
)  # fmt: skip
@pytest.mark.shows("/linux/cgroupsPath")
def test_a_path_names_scope_and_slice(path: str, name: str, slice: str, cgroup: str) -> None:
    made = unit(path)
    assert (made.name, made.slice, made.path) == (name, slice, cgroup)


@pytest.mark.parametrize(
    "path",
    [
        "/a/b", "a", "a.slice:b", "a.slice:b:c:d", "a.slice:b:", "a:b:c", ".slice:b:c", "a--b.slice:x:y",
        "-a.slice:x:y", "a-.slice:x:y", "a/b.slice:x:y", "../a.slice:x:y", "a.slice:x/y:z", "a.slice:x:y/z",
        "a.slice:x:..\n", "a.slice:x:b.slice", "a.slice:x:" + "y" * 250, "a" * 255 + ".slice:x:y",
    ],
)  # fmt: skip
def test_a_path_that_names_no_scope_is_refused(path: str) -> None:
    with pytest.raises(Error) as caught:
        unit(path)
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_an_id_becomes_a_name_of_systemd() -> None:
    assert unit(id="a+b").name == "pyrunc-a\\x2bb.scope"
    with pytest.raises(Error, match="at most 255"):
        unit(id="a" * 250)


def test_a_users_scope_is_below_the_users_systemd() -> None:
    manager = "/user.slice/user-1000.slice/user@1000.service"
    made = systemd.unit({"linux": {"cgroupsPath": ""}}, "box", user=True, root=manager)
    assert (made.slice, made.path) == ("user.slice", f"{manager}/user.slice/pyrunc-box.scope")
    with pytest.raises(Error, match="cgroup v1"):
        systemd.directories(V1, made)


# -- properties ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 64 << 20}}, {"MemoryMax": 64 << 20}),
        ({"memory": {"limit": 64, "swap": 96}}, {"MemoryMax": 64, "MemorySwapMax": 32}),
        ({"memory": {"limit": -1}}, {"MemoryMax": MAX, "MemorySwapMax": MAX}),
        ({"memory": {"reservation": 5}}, {"MemoryLow": 5}),
        ({"pids": {"limit": 17}}, {"TasksMax": 17}),
        ({"pids": {"limit": -1}}, {"TasksMax": MAX}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"quota": 50000}}, {"CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 100000}),
        # 12.3 % of a CPU is rounded up to the next hundredth, the file has the exact value.
        (
            {"cpu": {"quota": 1230, "period": 10000}},
            {"CPUQuotaPerSecUSec": 130000, "CPUQuotaPeriodUSec": 10000},
        ),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": MAX, "CPUQuotaPeriodUSec": 100000}),
        ({"cpu": {"period": 50000}}, {"CPUQuotaPerSecUSec": MAX, "CPUQuotaPeriodUSec": 50000}),
        ({"cpu": {"cpus": "0-1,9", "mems": "0"}}, {"AllowedCPUs": b"\3\2", "AllowedMemoryNodes": b"\1"}),
        ({"cpu": {"burst": 500}}, {}),
        ({"unified": {"memory.high": "1G"}}, {"MemoryHigh": 1 << 30}),
        ({"unified": {"memory.min": "max"}}, {"MemoryMin": MAX}),
        ({"unified": {"cpu.max": "max"}}, {"CPUQuotaPerSecUSec": MAX, "CPUQuotaPeriodUSec": 100000}),
        (
            {"unified": {"cpu.max": "20000 200000"}},
            {"CPUQuotaPerSecUSec": 100000, "CPUQuotaPeriodUSec": 200000},
        ),
        ({"unified": {"io.weight": "default 50"}}, {"IOWeight": 50}),
        ({"unified": {"io.weight": "8:0 50"}}, {}),
        ({"unified": {"io.bfq.weight": "1000"}}, {"IOWeight": 10000}),
        ({"unified": {"memory.oom.group": "1"}}, {}),
    ],
)  # fmt: skip
def test_what_a_resource_is_to_systemd(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    assert properties(**resources) == expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 64 << 20, "swap": 96 << 20}}, {"MemoryLimit": 64 << 20}),
        ({"cpu": {"shares": 512}}, {"CPUShares": 512}),
        (
            {"cpu": {"quota": 5000, "period": 10000}},
            {"CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 10000},
        ),
        ({"blockIO": {"weight": 300}}, {"BlockIOWeight": 300}),
        ({"pids": {"limit": 9}}, {"TasksMax": 9}),
        ({"cpu": {"cpus": "0"}}, {"AllowedCPUs": b"\1"}),
    ],
)  # fmt: skip
def test_what_a_resource_is_to_systemd_on_v1(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    assert properties(V1, **resources) == expected


def test_an_older_systemd_is_not_told_what_it_does_not_know() -> None:
    cpu = {"cpus": "0", "quota": 50000, "idle": 1}
    assert properties(version=239, cpu=cpu) == {"CPUQuotaPerSecUSec": 500000}
    assert properties(version=253, unified={"memory.oom.group": "1"}) == {"OOMPolicy": "kill"}


@pytest.mark.parametrize(
    ("text", "mask"), [("0", b"\1"), ("0-7", b"\xff"), ("8", b"\0\1"), ("1,3-4, 16", b"\x1a\0\1")]
)
def test_bits(text: str, mask: bytes) -> None:
    assert systemd.bits(text) == mask


@pytest.mark.parametrize("text", ["a", "1-", "3-1", "-1", "9999999"])
def test_a_list_that_is_none(text: str) -> None:
    with pytest.raises(Error):
        systemd.bits(text)


# -- devices -----------------------------------------------------------------------


def device_properties(*rules: dict[str, Any]) -> list[Any]:
    from pyrunc.compile import device_filter

    return [value for _, (_, value) in systemd.device_properties(device_filter.devices(list(rules)))]


def test_devices_are_allowed_one_by_one() -> None:
    rule = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    policy, cleared, allowed = device_properties(rule)
    assert (policy, cleared) == ("strict", [])
    assert ("/dev/char/10:229", "rw") in allowed
    assert {("char-136", "rwm"), ("char-*", "m"), ("block-*", "m")} <= set(allowed)


@pytest.mark.parametrize(
    "rule",
    [
        {"allow": True, "access": "rwm"},
        {"allow": True, "type": "c", "minor": 5, "access": "rwm"},
    ],
)
def test_systemd_keeps_out_of_what_it_cannot_express(rule: dict[str, Any]) -> None:
    assert device_properties(rule) == ["auto", []]


# -- the plan ------------------------------------------------------------------------


def plan(layout: Layout, path: str = "a-b.slice:x:y", **resources: Any) -> cgroups.Plan:
    config: dict[str, Any] = {"linux": {"cgroupsPath": path, "resources": resources}}
    return cgroups.plan(config, layout, "box", unit=systemd.unit(config, "box"))


def test_a_plan_has_the_scopes_cgroups() -> None:
    made = plan(V2)
    assert made.record() == {
        "driver": "systemd", "directories": {"": "/sys/fs/cgroup/a.slice/a-b.slice/x-y.scope"},
        "unit": "x-y.scope", "user": False, "collected": False,
    }  # fmt: skip
    made = plan(V1)
    assert made.directories["name=systemd"] == "/sys/fs/cgroup/systemd/a.slice/a-b.slice/x-y.scope"
    assert made.directories["memory"] == "/sys/fs/cgroup/memory/a.slice/a-b.slice/x-y.scope"
    # systemd leaves v1's cpuset alone, where new directories take no process before they have values.
    assert made.inherit[0] == "/sys/fs/cgroup/cpuset/a.slice"


@pytest.mark.parametrize("layout", [V1, V2])
def test_a_limit_of_one_process_waits_until_the_preparing_one_has_gone(layout: Layout) -> None:
    made = plan(layout, pids={"limit": 1}, memory={"limit": 5 << 20})
    assert made.unit is not None and made.unit.delayed is not None
    assert [write.file for write in made.unit.delayed.writes] == ["pids.max"]
    assert "pids.max" not in [write.file for write in made.settings.writes]
    assert made.late == ()
    names = dict(systemd.scope_properties(made, made.unit, 7, 252))
    assert "TasksMax" not in names and ("MemoryMax" in names or "MemoryLimit" in names)


def test_a_scopes_properties() -> None:
    made = plan(V2)
    assert made.unit is not None
    found = dict(systemd.scope_properties(made, made.unit, 7, 252))
    assert found["PIDs"] == ("au", [7])
    assert found["Slice"] == ("s", "a-b.slice")
    assert found["Delegate"] == ("b", True)
    assert found["DefaultDependencies"] == ("b", False)
    assert found["Description"] == ("s", "pyrunc container box")
    assert found["IOAccounting"] == ("b", True)
    assert made.unit.collected
    made = plan(V2)
    assert made.unit is not None
    assert "CollectMode" not in dict(systemd.scope_properties(made, made.unit, 7, 230))
    assert not made.unit.collected


# -- programs --------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["v1", "v2"])
@pytest.mark.parametrize("example", ["cgroups-path", "user-namespace"])
def test_stage_1_waits_for_its_scope_before_anything_else_of_cgroups(layout: str, example: str) -> None:
    config = examples.example("user-namespace") if example == "user-namespace" else examples.ordinary()
    config["linux"]["cgroupsPath"] = "a.slice:x:y"
    made = systemd.unit(config, "box")
    program, plan = examples.compiled(config, examples.LAYOUTS[layout], unit=made)
    verify(program)
    calls = [(step.call, step.args) for step in program.steps]
    waits = [i for i, (call, args) in enumerate(calls) if call == "sync" and SYNC_SCOPE in args]
    names = [i for i, (_, args) in enumerate(calls) if any("/a.slice/x-y.scope" in str(arg) for arg in args)]
    clone = [call for call, _ in calls].index("clone")
    assert len(waits) == 1 and names
    assert waits[0] < min(names) and waits[0] < clone
    assert set(plan.directories) == set(examples.compiled(config, examples.LAYOUTS[layout])[1].directories)


def test_a_process_enters_a_users_scope_by_systemds_hand() -> None:
    b = Builder()
    record = {"directories": {"": "/sys/fs/cgroup/x.scope"}, "user": True}
    assert cgroups.join_record(b, record, ["/below"]) is None
    assert [(step.call, step.args) for step in b.program.steps] == [("sync", (SYNC_SCOPE,))]


# -- annotations -----------------------------------------------------------------------


def test_annotations_are_properties_and_replace_pyruncs_own() -> None:
    made = plan(V2)
    made.unit = unit(
        TimeoutStopUSec="uint64 123", CollectMode="'inactive'", RuntimeMaxSec="1.5", TasksMax="uint64 5",
    )  # fmt: skip
    found = systemd.scope_properties(made, made.unit, 7, 252)
    assert ("TimeoutStopUSec", ("t", 123)) in found
    assert ("RuntimeMaxUSec", ("t", 1500000)) in found
    assert [value for name, value in found if name == "CollectMode"] == [("s", "inactive")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Ab", "true"), ("A_bc", "true"), ("Äbc", "true"), ("PIDs", "[uint32 1]"), ("Slice", "'a.slice'"),
        ("TimeoutStopSec", "'5'"), ("TimeoutStopSec", "-5"), ("CollectMode", "inactive"), ("CollectMode", ""),
    ],
)  # fmt: skip
def test_an_annotation_that_is_no_property_is_refused(name: str, text: str) -> None:
    with pytest.raises(Error) as caught:
        unit(**{name: text})
    assert caught.value.pointer == f"/annotations/org.systemd.property.{name}"


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("true", "b", True),
        (" false ", "b", False),
        ("5", "i", 5),
        ("-0x10", "i", -16),
        ("+7", "i", 7),
        ("uint64 18446744073709551615", "t", MAX),
        ("byte 0xff", "y", 255),
        ("int64 -5", "x", -5),
        ("1.5", "d", 1.5),
        ("1e3", "d", 1000.0),
        ("double 5", "d", 5.0),
        ("'a b'", "s", "a b"),
        ('"it\'s"', "s", "it's"),
        (r"'it\'s \u00e4\n'", "s", "it's ä\n"),
        ("objectpath '/a'", "o", "/a"),
        ("['a', 'b']", "as", ["a", "b"]),
        ("@as []", "as", []),
        ("@t 5", "t", 5),
        ("[uint32 1, 2]", "au", [1, 2]),
        ("[byte 1, 2]", "ay", b"\1\2"),
        ("('a', true, 5)", "(sbi)", ("a", True, 5)),
        ("('a',)", "(s)", ("a",)),
        ("[('/dev/fuse', 'rw')]", "a(ss)", [("/dev/fuse", "rw")]),
        ("@a(st) [('/dev/sda', 5)]", "a(st)", [("/dev/sda", 5)]),
        ("[['a'], @as []]", "aas", [["a"], []]),
    ],
)
def test_values_of_gvariant(text: str, signature: str, value: object) -> None:
    assert gvariant.parse(text, "/x") == (signature, value)


@pytest.mark.parametrize(
    "text",
    [
        "", "inactive", "'a", "5 6", "[", "[1", "[1 2]", "[1,", "['a', 5]", "[]", "()", "(1", "@as", "@z 5",
        "@ 5", "@a 5", "@( 5", "@(s) 5", "@as ['a'] x", "byte 256", "int16 40000", "uint32 -1", "0x", "--5",
        "1.2.3",
        "uint64", "uint64 'a'", "@s 5", "@as 'a'", r"'\u00'", "'\0'", "nan", "{'a': 5}", "<5>", "5x", "@b 1",
    ],
)  # fmt: skip
def test_what_is_no_value_of_gvariant(text: str) -> None:
    with pytest.raises(Error) as caught:
        gvariant.parse(text, "/annotations/x")
    assert caught.value.pointer == "/annotations/x"


@pytest.mark.parametrize("text", ["(" * 5000, "[" * 100000, "@" + "a" * 100000 + "s []"])
def test_a_deep_value_is_refused_like_any_other(text: str) -> None:
    with pytest.raises(Error):
        gvariant.parse(text, "/annotations/x")
