"""The plan of a container's cgroups, for each layout of hierarchies."""

from errno import ENOENT
from typing import Any

import pytest
from examples import MACHINES
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc.compile import cgroups
from pyrunc.compile.resources import shares_to_weight
from pyrunc.compile.settings import Layout
from pyrunc.errors import Error
from pyrunc.host.cgroups import facts
from pyrunc.program.build import Builder

NAMES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids", "name=systemd")


def hybrid(**own: str) -> Layout:
    v1 = {name: f"/sys/fs/cgroup/{name.rpartition('=')[2]}" for name in NAMES}
    return Layout(v1, "/sys/fs/cgroup/unified", (), {**dict.fromkeys((*NAMES, ""), "/"), **own})


def pure(own: str = "/") -> Layout:
    return Layout({}, "/sys/fs/cgroup", ("cpuset", "cpu", "io", "memory", "pids"), {"": own})


def config(path: str = "", **resources: Any) -> dict[str, Any]:
    linux: dict[str, Any] = {"resources": resources}
    if path:
        linux["cgroupsPath"] = path
    return {"ociVersion": "1.2.0", "linux": linux}


def values(layout: Layout, **resources: Any) -> list[tuple[str, str]]:
    """(file, value) without directories and devices."""
    plan = cgroups.plan(config(**resources), layout, "box")
    return [(write.file, write.value) for write in plan.settings.writes]


# -- paths ---------------------------------------------------------------------


def test_by_default_the_cgroup_is_named_after_the_container_below_the_runtimes_own() -> None:
    plan = cgroups.plan(config(), hybrid(memory="/engine"), "box")
    assert plan.directories["memory"] == "/sys/fs/cgroup/memory/engine/box"
    assert plan.directories["pids"] == "/sys/fs/cgroup/pids/box"
    assert plan.directories["name=systemd"] == "/sys/fs/cgroup/systemd/box"
    assert plan.directories[""] == "/sys/fs/cgroup/unified/box"


def test_on_v2_it_is_beside_the_runtimes_own_which_has_processes() -> None:
    plan = cgroups.plan(config(), pure("/user.slice/session-1.scope"), "box")
    assert plan.directories == {"": "/sys/fs/cgroup/user.slice/box"}
    assert cgroups.plan(config(), pure(), "box").directories == {"": "/sys/fs/cgroup/box"}


@pytest.mark.shows("/linux/cgroupsPath")
def test_an_absolute_path_starts_at_the_root_of_the_hierarchy() -> None:
    plan = cgroups.plan(config("/kubepods/pod1/c1"), hybrid(memory="/engine"), "box")
    assert plan.directories["memory"] == "/sys/fs/cgroup/memory/kubepods/pod1/c1"
    assert plan.inherit == [f"/sys/fs/cgroup/cpuset/kubepods{rest}" for rest in ("", "/pod1", "/pod1/c1")]


def test_a_relative_path_starts_at_the_runtimes_own_cgroup() -> None:
    plan = cgroups.plan(config("a/b"), hybrid(memory="/engine"), "box")
    assert plan.directories["memory"] == "/sys/fs/cgroup/memory/engine/a/b"


@settings(deadline=None)
@given(st.text(st.sampled_from("./a"), min_size=1))
def test_no_path_leads_out_of_the_hierarchy(path: str) -> None:
    try:
        plan = cgroups.plan(config(path), pure(), "box")
    except Error as error:
        assert error.pointer == "/linux/cgroupsPath"
        return
    directory = plan.directories[""]
    assert directory.startswith("/sys/fs/cgroup/")
    assert not {"", ".", ".."} & set(directory[1:].split("/"))


@pytest.mark.parametrize("path", ["/", "..", "/a/..", "a\nb", "a\0b"])
def test_a_path_that_names_no_cgroup_is_refused(path: str) -> None:
    with pytest.raises(Error) as caught:
        cgroups.plan(config(path), hybrid(), "box")
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_other_named_hierarchies_are_left_alone() -> None:
    layout = hybrid()
    layout.v1["name=elogind"] = "/sys/fs/cgroup/elogind"
    assert "name=elogind" not in cgroups.plan(config(), layout, "box").directories


def test_controllers_are_enabled_from_the_root_down_on_v2() -> None:
    plan = cgroups.plan(config("/a/b/c"), pure(), "box")
    assert [file for file, _ in plan.parents] == [
        f"/sys/fs/cgroup{rest}/cgroup.subtree_control" for rest in ("", "/a", "/a/b")
    ]


def test_beside_v1_a_controller_of_v2_is_enabled_only_when_it_is_used() -> None:
    layout = hybrid()
    del layout.v1["pids"]
    layout.v2_controllers = ("pids", "hugetlb")
    assert cgroups.plan(config(), layout, "box").parents == []
    plan = cgroups.plan(config(pids={"limit": 5}), layout, "box")
    assert plan.parents == [("/sys/fs/cgroup/unified/cgroup.subtree_control", ("pids",))]
    (write,) = plan.settings.writes
    assert (write.hierarchy, write.file, write.value, write.pointer) == (
        "", "pids.max", "5", "/linux/resources/pids/limit",
    )  # fmt: skip


# -- values --------------------------------------------------------------------


@pytest.mark.shows("/linux/resources/memory/{limit,swap,reservation,swappiness,disableOOMKiller}")
def test_memory_on_v1() -> None:
    assert values(hybrid(), memory={"limit": 100, "swap": 300, "reservation": 50, "swappiness": 0,
                                    "disableOOMKiller": True}) == [
        ("memory.limit_in_bytes", "100"),
        ("memory.memsw.limit_in_bytes", "300"),
        ("memory.soft_limit_in_bytes", "50"),
        ("memory.swappiness", "0"),
        ("memory.oom_control", "1"),
    ]  # fmt: skip


@pytest.mark.shows("/linux/resources/memory/{limit,swap,reservation}")
def test_memory_on_v2() -> None:
    assert values(pure(), memory={"limit": 100, "swap": 300, "reservation": 50}) == [
        ("memory.max", "100"),
        ("memory.swap.max", "200"),
        ("memory.low", "50"),
    ]


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"limit": 100, "swap": 100}, [("memory.max", "100"), ("memory.swap.max", "0")]),
        ({"limit": 100, "swap": -1}, [("memory.max", "100"), ("memory.swap.max", "max")]),
        ({"limit": 100, "swap": 0}, [("memory.max", "100")]),
        ({"limit": -1}, [("memory.swap.max", "max"), ("memory.max", "max")]),
        ({"limit": -1, "swap": 7}, [("memory.max", "max"), ("memory.swap.max", "7")]),
        ({"limit": 0, "reservation": 0, "kernel": 0, "disableOOMKiller": False}, []),
    ],
)
def test_swap_on_v2_does_not_count_memory(memory: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert values(pure(), memory=memory) == expected


def test_a_kernel_without_swap_accounting_is_no_obstacle_to_forbidding_swap() -> None:
    for memory, tolerated in (
        ({"limit": 100, "swap": 100}, (ENOENT,)),
        ({"limit": -1}, (ENOENT,)),
        ({"limit": 100, "swap": 150}, ()),
    ):
        plan = cgroups.plan(config(memory=memory), pure(), "box")
        (swap,) = (write for write in plan.settings.writes if write.file == "memory.swap.max")
        assert swap.tolerate == tolerated


@pytest.mark.shows("/linux/resources/cpu/{realtimeRuntime,realtimePeriod,idle}")
def test_cpu_on_v1_sets_the_real_time_budget_first_and_idle_last() -> None:
    cpu = {"idle": 1, "burst": 5, "quota": -1, "period": 100, "shares": 512, "realtimeRuntime": 9,
           "realtimePeriod": 99, "cpus": "0-1", "mems": ""}  # fmt: skip
    assert values(hybrid(), cpu=cpu) == [
        ("cpu.rt_period_us", "99"), ("cpu.rt_runtime_us", "9"), ("cpu.shares", "512"),
        ("cpu.cfs_period_us", "100"), ("cpu.cfs_quota_us", "-1"), ("cpu.cfs_burst_us", "5"),
        ("cpu.idle", "1"), ("cpuset.cpus", "0-1"),
    ]  # fmt: skip


@pytest.mark.shows("/linux/resources/cpu/{quota,period,burst,shares,cpus,mems}")
@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ({"quota": 50, "period": 200}, [("cpu.max", "50 200")]),
        ({"quota": 50}, [("cpu.max", "50 100000")]),
        ({"quota": -1}, [("cpu.max", "max 100000")]),
        ({"period": 200}, [("cpu.max", "max 200")]),
        ({"quota": 0, "period": 0, "shares": 0}, []),
        ({"shares": 1024, "idle": 0}, [("cpu.weight", "100"), ("cpu.idle", "0")]),
        ({"shares": 1024, "idle": 1}, [("cpu.idle", "1")]),
        ({"burst": 0, "quota": 5}, [("cpu.max", "5 100000"), ("cpu.max.burst", "0")]),
        ({"cpus": "0", "mems": "0"}, [("cpuset.cpus", "0"), ("cpuset.mems", "0")]),
    ],
)
def test_cpu_on_v2(cpu: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert values(pure(), cpu=cpu) == expected


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (3, 2), (4, 2), (512, 59), (1024, 100), (2048, 174), (262143, 10000), (262144, 10000)],
)
def test_shares_become_weights_as_current_runtimes_do_it(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


@settings(deadline=None)
@given(st.integers(2, 262143))
def test_more_shares_never_mean_less_weight(shares: int) -> None:
    assert 1 <= shares_to_weight(shares) <= shares_to_weight(shares + 1) <= 10000


@pytest.mark.parametrize(("limit", "value"), [(-1, "max"), (-5, "max"), (0, "1"), (1, "1"), (9, "9")])
@pytest.mark.parametrize("layout", [hybrid(), pure()])
def test_pids(layout: Layout, limit: int, value: str) -> None:
    assert values(layout, pids={"limit": limit}) == [("pids.max", value)]


@pytest.mark.parametrize(
    ("layout", "resources", "pointer"),
    [
        (pure(), {"memory": {"swappiness": 10}}, "memory/swappiness"),
        (pure(), {"memory": {"disableOOMKiller": True}}, "memory/disableOOMKiller"),
        (pure(), {"memory": {"swap": 10}}, "memory/swap"),
        (pure(), {"cpu": {"realtimeRuntime": 10}}, "cpu/realtimeRuntime"),
        (pure(), {"cpu": {"realtimePeriod": 10}}, "cpu/realtimePeriod"),
        (hybrid(), {"memory": {"swap": 10, "limit": 20}}, "memory/swap"),
        (hybrid(), {"memory": {"limit": -2}}, "memory/limit"),
        (hybrid(), {"memory": {"swappiness": 101}}, "memory/swappiness"),
        (hybrid(), {"memory": {"useHierarchy": False}}, "memory/useHierarchy"),
        (hybrid(), {"cpu": {"shares": 1}}, "cpu/shares"),
        (hybrid(), {"cpu": {"shares": 262145}}, "cpu/shares"),
        (hybrid(), {"unified": {"memory.high": "1"}}, "unified/memory.high"),
        (Layout({}, None, (), {}), {"pids": {"limit": 1}}, "pids/limit"),
        (Layout({}, None, (), {}), {}, "devices"),
    ],
)
@pytest.mark.shows("/linux/resources/memory/useHierarchy")
def test_what_cannot_be_had_is_an_error_with_its_pointer(
    layout: Layout, resources: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Error) as caught:
        cgroups.plan(config(**resources), layout, "box")
    assert caught.value.pointer == f"/linux/resources/{pointer}"


def test_swappiness_minus_one_as_docker_writes_it_means_not_set() -> None:
    assert values(pure(), memory={"swappiness": 2**64 - 1}) == []


@pytest.mark.shows("/linux/resources/memory/kernel")
@pytest.mark.parametrize("layout", MACHINES.values(), ids=list(MACHINES))
def test_a_limit_of_kernel_memory_is_one_that_no_kernel_has(layout: Layout) -> None:
    """runtime.md, "Create": what cannot be applied is an error."""
    with pytest.raises(Error, match=r"since Linux 5\.16.*use limit") as caught:
        cgroups.plan(config(memory={"kernel": 5}), layout, "box")
    assert caught.value.pointer == "/linux/resources/memory/kernel"


def test_no_limit_of_kernel_memory_is_what_every_kernel_has() -> None:
    plan = cgroups.plan(config(memory={"kernel": -1, "kernelTCP": -1}), pure(), "box")
    assert not plan.settings.writes


# -- without cgroups -------------------------------------------------------------


@pytest.mark.parametrize("layout", MACHINES.values(), ids=list(MACHINES))
def test_without_cgroups_there_is_nothing_to_make_and_nothing_to_join(layout: Layout) -> None:
    plan = cgroups.plan(config(devices=[{"allow": False, "access": "rwm"}]), layout, "box", disabled=True)
    assert plan.record() == {"driver": "disabled", "directories": {}}
    assert not plan.writes() and not plan.parents and not plan.inherit and plan.device_program is None
    builder = Builder()
    assert cgroups.join(builder, plan) is None
    assert not builder.program.steps
    assert [pointer for pointer, _ in builder.program.warnings] == ["/linux/resources/devices"]


def test_without_cgroups_nothing_is_missing_where_every_device_is_allowed() -> None:
    rules = [{"allow": True, "access": "rwm"}]
    builder = Builder()
    cgroups.join(builder, cgroups.plan(config(devices=rules), pure(), "box", disabled=True))
    assert not builder.program.warnings


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"linux": {"resources": {"pids": {"limit": 5}}}}, "/linux/resources/pids/limit"),
        ({"linux": {"resources": {"unified": {"memory.high": "1"}}}}, "/linux/resources/unified/memory.high"),
        ({"linux": {"cgroupsPath": "/a"}}, "/linux/cgroupsPath"),
        ({"annotations": {"run.oci.delegate-cgroup": "a"}}, "/annotations/run.oci.delegate-cgroup"),
    ],
)  # fmt: skip
def test_without_cgroups_what_needs_one_is_refused(change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Error, match="--cgroup-manager disabled") as caught:
        cgroups.plan(change, pure(), "box", disabled=True)
    assert caught.value.pointer == pointer


@pytest.mark.shows("/linux/resources/memory/kernelTCP")
def test_a_limit_of_tcp_buffers_has_no_counterpart_in_v2() -> None:
    """config-linux.md, "Unified": what cannot be converted is an error."""
    with pytest.raises(Error) as caught:
        cgroups.plan(config(memory={"kernelTCP": 5}), pure(), "box")
    assert caught.value.pointer == "/linux/resources/memory/kernelTCP"


@pytest.mark.parametrize(
    "resources",
    [
        {"blockIO": {"weight": 0, "weightDevice": []}},  # Docker's
        {"network": {"classID": 0, "priorities": []}},
        {"hugepageLimits": [], "rdma": {}, "unified": {}},
        {"memory": {"limit": 0, "swappiness": -1, "disableOOMKiller": False}},
        {"cpu": {"shares": 0, "quota": 0, "cpus": ""}},
    ],
)
def test_what_engines_send_for_what_is_not_set_changes_nothing(resources: dict[str, Any]) -> None:
    assert values(hybrid(), **resources) == []
    assert values(pure(), **resources) == []


# -- devices, delegation -------------------------------------------------------


def test_where_v1_has_no_device_controller_the_unified_hierarchy_filters() -> None:
    layout = hybrid()
    assert cgroups.plan(config(), layout, "box").device_program is None
    del layout.v1["devices"]
    assert cgroups.plan(config(), layout, "box").device_program


def test_a_rootless_runtime_restricts_no_devices() -> None:
    plan = cgroups.plan(config(), pure(), "box", rootless=True)
    assert plan.device_program is None
    assert not plan.asked


CGROUPS = {"destination": "/sys/fs/cgroup/", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}
READ_ONLY = {**CGROUPS, "options": ["nosuid", "ro"]}
OWN = [{"type": "cgroup"}, {"type": "user"}]
JOINED = [{"type": "cgroup", "path": "/proc/7/ns/cgroup"}, {"type": "user"}]
JOINED_USER = [{"type": "cgroup"}, {"type": "user", "path": "/proc/7/ns/user"}]


@pytest.mark.shows("/linux/namespaces", "/mounts/*/options")
@pytest.mark.parametrize(
    ("namespaces", "mounts", "uid", "owner"),
    [
        (OWN, [CGROUPS], 7, 100007),
        (OWN, [CGROUPS], 0, 100000),
        (OWN, [CGROUPS], 70000, None),  # not mapped
        (OWN, [READ_ONLY], 7, None),
        (OWN, [CGROUPS, READ_ONLY], 7, None),  # what is on top counts
        (OWN, [], 7, None),
        (OWN, [{**CGROUPS, "type": "bind"}], 7, None),
        (OWN[1:], [CGROUPS], 7, None),
        (JOINED, [CGROUPS], 7, None),
        (JOINED_USER, [CGROUPS], 7, 100007),
        (OWN[:1], [CGROUPS], 7, 7),
        (OWN[:1], [CGROUPS], 0, None),  # as it is
    ],
)
def test_the_cgroup_is_delegated_to_who_may_write_to_it(
    namespaces: list[dict[str, str]], mounts: list[dict[str, Any]], uid: int, owner: int | None
) -> None:
    configuration = config()
    configuration["mounts"] = mounts
    configuration["process"] = {"user": {"uid": uid, "gid": 0}}
    configuration["linux"]["namespaces"] = namespaces
    if any(each["type"] == "user" for each in namespaces):
        configuration["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    assert cgroups.plan(configuration, pure(), "box").owner == owner
    assert cgroups.plan(configuration, hybrid(), "box").owner is None
    configuration["linux"].pop("uidMappings", None)
    if owner is not None and owner >= 100000:
        assert cgroups.plan(configuration, pure(), "box").owner is None, "who it is cannot be known"


# -- steps ---------------------------------------------------------------------


def steps(b: Builder) -> list[str]:
    return [f"openat2 {s.args[1]!s}" if s.call == "openat2" else s.call for s in b.program.steps]


def test_each_v1_hierarchy_is_entered_once_though_controllers_share_it() -> None:
    layout = hybrid()
    layout.v1["cpu"] = layout.v1["cpuacct"] = "/sys/fs/cgroup/cpu,cpuacct"
    b = Builder()
    slot = cgroups.join(b, cgroups.plan(config(), layout, "box"))
    opened = [step for step in steps(b) if step.startswith("openat2")]
    assert opened.count("openat2 /sys/fs/cgroup/cpu,cpuacct/box/tasks") == 1
    assert opened[-1] == "openat2 /sys/fs/cgroup/unified/box"
    assert slot is not None
    assert {step.phase for step in b.program.steps} == {"cgroup"}


def test_a_limit_of_one_process_is_met_by_the_containers_alone() -> None:
    for layout, limit, file in (
        (hybrid(), 1, "/sys/fs/cgroup/pids/box/tasks"),
        (hybrid(), 0, "/sys/fs/cgroup/pids/box/tasks"),
    ):
        plan = cgroups.plan(config(pids={"limit": limit}), layout, "box")
        before, after = Builder(), Builder()
        slot = cgroups.join(before, plan)
        cgroups.join_late(after, plan)
        assert f"openat2 {file}" not in steps(before)
        assert f"openat2 {file}" in steps(after)
        assert slot is not None
    configuration = config(pids={"limit": 1})
    plan = cgroups.plan(configuration, pure(), "box")
    assert cgroups.join(Builder(), plan) is not None, "clone3 counts the child alone"
    assert not plan.late
    # Where it cannot be made in the cgroup, stage 1 would take the only place.
    configuration["linux"]["namespaces"] = [{"type": "cgroup", "path": "/proc/7/ns/cgroup"}]
    plan = cgroups.plan(configuration, pure(), "box")
    before, after = Builder(), Builder()
    assert cgroups.join(before, plan, into=False) is None
    cgroups.join_late(after, plan)
    assert "openat2 /sys/fs/cgroup/box/cgroup.procs" not in steps(before)
    assert "openat2 /sys/fs/cgroup/box/cgroup.procs" in steps(after)


def test_exec_enters_a_cgroup_below_the_containers() -> None:
    record = cgroups.plan(config(), hybrid(), "box").record()
    b = Builder()
    cgroups.join_record(b, record, ["memory,pids:sub"])
    opened = steps(b)
    assert "openat2 /sys/fs/cgroup/memory/box/sub/tasks" in opened
    assert "openat2 /sys/fs/cgroup/cpu/box/tasks" in opened
    # The names of cgroups are the container's to choose.
    b = Builder()
    cgroups.join_record(b, cgroups.plan(config(), pure(), "box").record(), [":a:b"])
    assert "openat2 /sys/fs/cgroup/box/a:b" in steps(b)
    for wrong in ("nosuch:sub", "memory:../other", "../other"):
        with pytest.raises(Error):
            cgroups.join_record(Builder(), record, [wrong])


# -- the layout, from the kernel's files -----------------------------------------

MOUNTINFO = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
90 31 0:32 / /mnt/a\\040copy rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
"""
OWN_CGROUPS = """\
4:memory:/docker/abc/inner
2:cpu,cpuacct:/
1:name=systemd:/init.scope
0::/init.scope
"""


def test_the_layout_is_read_from_mounts_and_own_cgroups() -> None:
    layout = facts.parse(MOUNTINFO, OWN_CGROUPS)
    assert layout.v1 == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory", "name=systemd": "/sys/fs/cgroup/systemd",
    }  # fmt: skip
    assert layout.v2 == "/sys/fs/cgroup/unified"
    assert layout.own == {
        "cpu": "/", "cpuacct": "/", "memory": "/inner", "name=systemd": "/init.scope", "": "/init.scope",
    }  # fmt: skip
    assert not layout.pure_v2


def test_a_system_with_the_unified_hierarchy_alone_is_pure_v2() -> None:
    layout = facts.parse("25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/a/b\n")
    assert layout.pure_v2
    assert layout.own == {"": "/a/b"}


def test_hierarchies_that_another_mount_covers_are_not_there() -> None:
    bound = "95 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
    layout = facts.parse(MOUNTINFO + bound, OWN_CGROUPS)
    assert (layout.v2, layout.pure_v2) == ("/sys/fs/cgroup", True)
    assert layout.v1 == {}
    covered = facts.parse(MOUNTINFO + "95 31 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", OWN_CGROUPS)
    assert covered.v2 is None
