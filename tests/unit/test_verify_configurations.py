"""Whatever a valid configuration asks for, its program passes `verify`; broken, it does not.

The configurations are generated: namespaces, mounts, devices, hooks, identities in all combinations.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrunc.compile.cgroups import plan
from pyrunc.compile.create import compile_create
from pyrunc.compile.exec import compile_exec
from pyrunc.compile.facts import Facts, Request
from pyrunc.compile.settings import Layout
from pyrunc.config.default import default
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.linux.capabilities import NAMES as CAPABILITIES
from pyrunc.program.explain import document, lines
from pyrunc.program.model import Data, Program, Slot
from pyrunc.program.verify import verify

V1 = ("memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "name=systemd")
LAYOUTS = (
    Layout({name: f"/sys/fs/cgroup/{name}" for name in V1}, None, (), {}),
    Layout({name: f"/sys/fs/cgroup/{name}" for name in V1}, "/sys/fs/cgroup/unified", (), {}),
    Layout({}, "/sys/fs/cgroup", ("memory", "cpu", "pids"), {}),
)
FILTER = bytes(8) * 5
SOURCES = {"/srv": 0o040755, "/srv/file": 0o100644, "/b/data": 0o040755, "/sys": 0o040755}


def program_of(
    config: dict[str, Any],
    layout: Layout = LAYOUTS[0],
    *,
    wait: bool = True,
    pivot: bool = True,
    rootless: bool = False,
) -> Program:
    filtered = "seccomp" in config["linux"]
    facts = Facts(
        "/b/rootfs", sources=SOURCES, links={"/srv/link": "file"}, layout=layout,
        filter=FILTER if filtered else None, rootless=rootless,
        proc_mounts=["/proc", "/sys"], listen_fds=2, null_stdio=(0, 2),
    )  # fmt: skip
    if not rootless:
        facts.cgroups = plan(config, layout, "test")
    return compile_create(config, facts, Request("test", "/b", wait=wait, pivot=pivot))


@pytest.mark.parametrize("mounted", [True, False])
def test_a_program_in_path_is_found_where_standard_input_is_the_host_s_null_device(mounted: bool) -> None:
    config = default(cgroup_v2=False)
    config["process"] |= {"terminal": False, "args": ["sh"]}
    if not mounted:
        config["mounts"] += [{"destination": "/dev", "source": "/srv", "options": ["bind"]}]
    facts = Facts("/b/rootfs", sources=SOURCES, layout=LAYOUTS[0], null_stdio=(0,))
    facts.cgroups = plan(config, LAYOUTS[0], "test")
    verify(compile_create(config, facts, Request("test", "/b", wait=True)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("pivot", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_the_default_configuration_passes(layout: Layout, wait: bool, pivot: bool, terminal: bool) -> None:
    config = default(cgroup_v2=layout.pure_v2)
    config["process"]["terminal"] = terminal
    verify(program_of(config, layout, wait=wait, pivot=pivot))


def test_the_rootless_default_configuration_passes() -> None:
    config = default(rootless=True, cgroup_v2=True)
    verify(program_of(config, LAYOUTS[2], rootless=True))


def subset(values: Any) -> Any:
    return st.lists(st.sampled_from(list(values)), unique=True, max_size=6)


NAME = st.text("abc.-_", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))
PATH = st.lists(NAME, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
HOOK = st.fixed_dictionaries(
    {"path": PATH}, optional={"timeout": st.integers(1, 60), "args": st.just(["hook", "x"])}
)
MOUNT = st.one_of(
    st.fixed_dictionaries(
        {
            "destination": PATH,
            "source": st.sampled_from(["/srv", "/srv/file", "data"]),
            "type": st.just("bind"),
            "options": subset(["ro", "nosuid", "rprivate", "noexec", "rro"]).flatmap(
                lambda options: st.sampled_from(["bind", "rbind"]).map(lambda bind: [*options, bind])
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "destination": PATH,
            "type": st.sampled_from(["tmpfs", "proc", "sysfs", "mqueue", "devpts", "overlay"]),
            "source": st.just("none"),
            "options": subset(["ro", "nosuid", "nodev", "size=1m", "mode=1777", "x=" + "y" * 300, "rshared"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "destination": PATH,
            "type": st.just("cgroup"),
            "source": st.just("cgroup"),
            "options": subset(["ro"]),
        }
    ),
    st.fixed_dictionaries({"destination": PATH, "options": st.just(["remount", "bind", "ro"])}),
)
IDS = [{"containerID": 0, "hostID": 1000, "size": 10}]
LONG = "lowerdir=" + ":".join(["/" + "x" * 50] * 9)
MAPPED_OR_LINKED = st.one_of(
    st.fixed_dictionaries(
        {
            "destination": PATH,
            "source": st.sampled_from(["/srv", "/srv/link"]),
            "type": st.just("bind"),
            "options": st.sampled_from(
                [["copy-symlink"], ["src-nofollow"], ["dest-nofollow", "src-nofollow"], ["rbind", "ridmap"]]
            ),
        },
        optional={"uidMappings": st.just(IDS), "gidMappings": st.just(IDS)},
    ),
    st.fixed_dictionaries(
        {
            "destination": PATH,
            "type": st.just("overlay"),
            "options": st.sampled_from([[LONG], ["remount", "x=1"]]),
        }
    ),
)
DEVICE = st.fixed_dictionaries(
    {
        "path": PATH,
        "type": st.sampled_from("cbup"),
        "major": st.integers(0, 300),
        "minor": st.integers(0, 300),
    },
    optional={"fileMode": st.just(0o600), "uid": st.just(5), "gid": st.just(5)},
)
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
PROCESS = st.fixed_dictionaries(
    {
        "cwd": st.one_of(st.just("/"), PATH),
        "args": st.sampled_from([["sh"], ["/bin/sh", "-c", "true"], ["é\udc80"]]),
        "user": st.fixed_dictionaries(
            {"uid": st.integers(0, 5), "gid": st.integers(0, 5)},
            optional={"additionalGids": st.lists(st.integers(0, 9), max_size=3), "umask": st.just(0o77)},
        ),
    },
    optional={
        "terminal": st.booleans(),
        "consoleSize": st.just({"height": 25, "width": 80}),
        "env": st.sampled_from([[], ["PATH=/bin:/usr/bin:", "HOME=/x"], ["PATH="]]),
        "noNewPrivileges": st.booleans(),
        "oomScoreAdj": st.integers(-1000, 1000),
        "capabilities": st.fixed_dictionaries(
            {}, optional={kind: subset([*CAPABILITIES, "CAP_NONE"]) for kind in SETS}
        ),
        "rlimits": st.just([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]),
    },
)  # fmt: skip
KINDS = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
NAMESPACES = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(KINDS)}, optional={"path": st.just("/proc/7/ns/x")}),
    unique_by=lambda entry: entry["type"], max_size=8,
)  # fmt: skip
HOOKS = st.fixed_dictionaries(
    {},
    optional={
        kind: st.lists(HOOK, max_size=2)
        for kind in (
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        )
    },
)


@st.composite
def configurations(draw: Any) -> dict[str, Any]:
    """A configuration that is valid; what the compiler refuses is taken out by the test."""
    linux: dict[str, Any] = {"namespaces": draw(NAMESPACES)}
    spaces = {entry["type"]: entry for entry in linux["namespaces"]}
    if "user" in spaces and "mount" not in spaces:
        spaces["mount"] = {"type": "mount"}
        linux["namespaces"].append(spaces["mount"])
    if "user" in spaces and "path" not in spaces["user"]:
        mapping = [{"containerID": draw(st.sampled_from([0, 5])), "hostID": 1000, "size": 10}]
        linux["uidMappings"] = linux["gidMappings"] = mapping
    if "time" in spaces and "path" not in spaces["time"]:
        linux["timeOffsets"] = {"monotonic": {"secs": 5}}
    if "mount" in spaces:
        linux["maskedPaths"] = draw(st.lists(PATH, max_size=3))
        linux["readonlyPaths"] = draw(st.lists(PATH, max_size=3))
    if draw(st.booleans()):
        linux["devices"] = draw(st.lists(DEVICE, max_size=3))
    if draw(st.booleans()):
        linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    if draw(st.booleans()):
        linux["rootfsPropagation"] = draw(
            st.sampled_from(["shared", "slave", "private", "rslave", "unbindable"])
        )
    if "ipc" in spaces:
        linux["sysctl"] = {"kernel.sem": "1 2 3 4", "fs.mqueue.msg_max": "5"}
    config: dict[str, Any] = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs", "readonly": "mount" in spaces and draw(st.booleans())},
        "process": draw(PROCESS),
        "mounts": draw(st.lists(st.one_of(MOUNT, MAPPED_OR_LINKED), max_size=4)),
        "linux": linux,
        "hooks": draw(HOOKS),
    }
    if "uts" in spaces:
        config["hostname"] = "host"
    return config


def compiled(data: Any) -> Program | None:
    """The program of a generated configuration, or None where the compiler refuses it."""
    config = data.draw(configurations())
    layout = data.draw(st.sampled_from(LAYOUTS))
    rootless = data.draw(st.booleans())
    try:
        return program_of(
            config, layout, wait=data.draw(st.booleans()), pivot=data.draw(st.booleans()), rootless=rootless
        )
    except Error as error:
        assert "bug of pyrunc" not in error.message
        return None


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_the_program_of_any_valid_configuration_passes(data: Any) -> None:
    program = compiled(data)
    if program is not None:
        verify(program)
        lines(program)
        document(program)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(NAMESPACES.filter(bool), PROCESS, st.booleans(), st.booleans())
def test_the_program_of_any_exec_passes(
    namespaces: list[dict[str, Any]], process: dict[str, Any], filtered: bool, grouped: bool
) -> None:
    linux: dict[str, Any] = {"namespaces": namespaces}
    if filtered:
        linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    facts = Facts("/b/rootfs", filter=FILTER if filtered else None, null_stdio=(0, 2))
    cgroups = {"driver": "cgroupfs", "directories": {"": "/sys/fs/cgroup/test"}} if grouped else None
    verify(compile_exec({"linux": linux}, process, facts, Request("test", "/b", wait=False), cgroups, []))


# -- programs broken on purpose --------------------------------------------------------


def drop_a_close(program: Program, pick: Any) -> bool:
    """Leaves a descriptor open over the pivot."""
    pivot = next(i for i, step in enumerate(program.steps) if step.call in ("pivot_root", "chroot"))
    closes = [
        i for i, step in enumerate(program.steps[:pivot])
        if step.call == "close" and step.args[0] not in program.inherited.values()
    ]  # fmt: skip
    # A condition's count would be off: an empty step takes the place of the close.
    step = program.steps[pick(closes)]
    step.call, step.args, step.out, step.tolerate = "setsid", (), None, ()
    return True


def resolve_anywhere(program: Program, pick: Any) -> bool:
    """Lets a symbolic link in the image lead to the host."""
    found = [
        i for i, step in enumerate(program.steps)
        if step.call == "openat2" and isinstance(step.args[0], Slot) and isinstance(how := step.args[2], Data)
        and isinstance(resolve := how.fields[2], int) and resolve & (f.RESOLVE_IN_ROOT | f.RESOLVE_BENEATH)
    ]  # fmt: skip
    step = program.steps[pick(found)]
    how = step.args[2]
    assert isinstance(how, Data)
    step.args = (*step.args[:2], Data("open_how", how.payload, (how.fields[0], how.fields[1], 0)), 24)
    return True


def reach_by_path(program: Program, pick: Any) -> bool:
    """Makes or changes something inside the image by a path string."""
    found = [
        i for i, step in enumerate(program.steps)
        if step.call in ("mkdirat", "mknodat", "unlinkat") and isinstance(step.args[0], Slot)
    ]  # fmt: skip
    step = program.steps[pick(found)]
    step.args = (f.AT_FDCWD, "/b/rootfs/dev/x", *step.args[2:])
    return True


def use_too_early(program: Program, pick: Any) -> bool:
    """Uses a descriptor before it is opened."""
    found = [
        i
        for i, step in enumerate(program.steps)
        if step.call in ("openat2", "open_tree", "fsopen") and step.out
    ]
    at = pick(found)
    step = program.steps[at]
    assert step.out is not None
    program.steps.insert(0, type(step)("fchdir", (step.out,), None, (), "", "", ""))
    return True


def lose_the_filter_order(program: Program, pick: Any) -> bool:
    """Raises what the filter is to come last of."""
    at = next(i for i, step in enumerate(program.steps) if step.call == "execve")
    program.steps.insert(at, type(program.steps[at])("setresuid", (0, 0, 0), None, (), "", "", ""))
    return True


def keep_the_old_root(program: Program, pick: Any) -> bool:
    at = next(i for i, step in enumerate(program.steps) if step.call == "pivot_root")
    assert program.steps[at + 1].call == "umount2"
    del program.steps[at + 1]
    return True


def open_without_cloexec(program: Program, pick: Any) -> bool:
    found = [i for i, step in enumerate(program.steps) if step.call in ("fsopen", "open_tree")]
    step = program.steps[pick(found)]
    at = 1 if step.call == "fsopen" else 2
    args = list(step.args)
    args[at] = 0
    step.args = tuple(args)
    return True


def reorder(program: Program, pick: Any) -> bool:
    """Closes a descriptor before its last use."""
    found = [
        i for i, step in enumerate(program.steps)
        if step.call == "close" and step.args[0] in program.steps[i - 1].args
    ]  # fmt: skip
    at = pick(found)
    program.steps[at - 1], program.steps[at] = program.steps[at], program.steps[at - 1]
    return True


BREAKAGES = (
    drop_a_close, resolve_anywhere, reach_by_path, use_too_early, lose_the_filter_order, keep_the_old_root,
    open_without_cloexec, reorder,
)  # fmt: skip


@pytest.mark.parametrize("breakage", BREAKAGES)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_program_broken_on_purpose_is_refused(breakage: Any, data: Any) -> None:
    config = default(cgroup_v2=False)
    config["process"]["terminal"] = data.draw(st.booleans())
    config["mounts"] += data.draw(st.lists(MOUNT.filter(lambda mount: "type" in mount), max_size=2))
    program = program_of(config)
    verify(program)
    breakage(program, lambda places: data.draw(st.sampled_from(places)))
    with pytest.raises(Error, match="bug of pyrunc"):
        verify(program)
