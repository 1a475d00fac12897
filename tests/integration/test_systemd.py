"""Containers as scopes of systemd (--systemd-cgroup), observed with systemctl and in the cgroup's files."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Box, Result, alive, wait_for

FLAG = ("--systemd-cgroup",)
BOOTED = os.path.isdir("/run/systemd/system")
CGROUPS = Path("/sys/fs/cgroup")
USER = 65534

systemd = pytest.mark.skipif(not BOOTED, reason="systemd does not run here")


def systemctl(*words: str, check: bool = True, **options: Any) -> str:
    done = subprocess.run(
        ["systemctl", *words], check=check, stdout=subprocess.PIPE, timeout=60, **options
    )
    return str(done.stdout, "utf-8")


def show(unit: str, *names: str, **options: Any) -> dict[str, str]:
    """Properties of a unit, as systemd has them; a list has a line for each element."""
    found: dict[str, str] = {}
    for line in systemctl("show", unit, *(f"-p{name}" for name in names), **options).splitlines():
        name, _, value = line.partition("=")
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def state_of(unit: str) -> tuple[str, str]:
    found = show(unit, "LoadState", "ActiveState")
    return found["LoadState"], found["ActiveState"]


GONE = ("not-found", "inactive")


@pytest.fixture
def slice(box: Box) -> Iterator[str]:
    """A slice of the test's own, below another one."""
    stem = box.id.replace("-", "_")
    yield f"{stem}-inner.slice"
    if box.root.exists():
        box.verb("delete", "--force", box.id)
    systemctl("stop", f"{stem}-inner.slice", f"{stem}.slice", check=False)


@pytest.fixture
def scope(box: Box, slice: str) -> str:
    """The scope that the box's container becomes."""
    if box.is_runc:
        pytest.skip("runc is tested by its own project")
    box.args("/bin/sleep", "1000")
    box.linux["cgroupsPath"] = f"{slice}:test:{box.id}"
    box.add_namespace("cgroup")
    return f"test-{box.id}.scope"


def cgroup(box: Box, scope: str) -> Path:
    stem = box.id.replace("-", "_")
    return CGROUPS / f"{stem}.slice/{stem}-inner.slice/{scope}"


def start(box: Box, *flags: str) -> None:
    box.run("-d", *flags, glob=FLAG).ok()


def delete(box: Box) -> None:
    box.verb("delete", "--force", box.id).ok()


@systemd
@pytest.mark.shows("/linux/cgroupsPath")
def test_a_container_is_a_scope_that_later_verbs_find_by_themselves(box: Box, scope: str, slice: str) -> None:
    box.linux["resources"].update(
        memory={"limit": 64 << 20, "reservation": 32 << 20, "swap": 80 << 20}, pids={"limit": 17},
        cpu={"shares": 512, "quota": 12300, "period": 100000, "cpus": "0", "mems": "0", "burst": 1000},
        unified={"memory.high": "50331648", "io.weight": "default 50"},
    )  # fmt: skip
    start(box)
    pid = box.pid()
    directory = cgroup(box, scope)
    assert (directory / "cgroup.procs").read_text().split() == [str(pid)]
    assert show(scope, "Slice", "ControlGroup", "Delegate", "Description", "ActiveState", "CollectMode") == {
        "Slice": slice, "ControlGroup": f"/{directory.relative_to(CGROUPS)}", "Delegate": "yes",
        "Description": f"pyrunc container {box.id}", "ActiveState": "active",
        "CollectMode": "inactive-or-failed",
    }  # fmt: skip
    assert show(
        scope, "MemoryMax", "MemoryLow", "MemoryHigh", "MemorySwapMax", "TasksMax", "CPUWeight",
        "CPUQuotaPerSecUSec", "AllowedCPUs", "AllowedMemoryNodes", "IOWeight", "DevicePolicy",
    ) == {
        "MemoryMax": str(64 << 20), "MemoryLow": str(32 << 20), "MemoryHigh": str(48 << 20),
        "MemorySwapMax": str(16 << 20), "TasksMax": "17", "CPUWeight": "59", "CPUQuotaPerSecUSec": "130ms",
        "AllowedCPUs": "0", "AllowedMemoryNodes": "0", "IOWeight": "50", "DevicePolicy": "strict",
    }  # fmt: skip

    def values() -> dict[str, str]:
        names = ("memory.max", "memory.high", "pids.max", "cpu.max", "cpu.max.burst", "cpuset.cpus")
        return {name: (directory / name).read_text().strip() for name in names}

    expected = {
        "memory.max": str(64 << 20), "memory.high": str(48 << 20), "pids.max": "17",
        "cpu.max": "12300 100000", "cpu.max.burst": "1000", "cpuset.cpus": "0",
    }  # fmt: skip
    assert values() == expected
    # What systemd does not know would be lost when it writes its own view again. Of a quota it knows
    # hundredths of a CPU.
    systemctl("daemon-reload")
    assert values() == {**expected, "cpu.max": "13000 100000"}
    # None of these verbs is given the flag.
    assert box.status() == "running"
    assert str(pid) in box.verb("ps", box.id).ok().out
    assert box.verb("exec", box.id, "/bin/cat", "/proc/self/cgroup").ok().out == "0::/\n"
    box.verb("pause", box.id).ok()
    assert (directory / "cgroup.freeze").read_text() == "1\n"
    assert box.status() == "paused"
    box.verb("resume", box.id).ok()
    box.verb("kill", box.id, "KILL").ok()
    box.wait_status("stopped")
    box.verb("delete", box.id).ok()
    assert state_of(scope) == GONE
    assert not directory.exists()
    box.clean()


@systemd
def test_the_default_scope_is_in_the_systems_slice(box: Box) -> None:
    if box.is_runc:
        pytest.skip("its own name")
    box.script("cat /proc/self/cgroup")
    result = box.run(glob=FLAG).ok()
    assert result.out == f"0::/system.slice/pyrunc-{box.id}.scope\n"
    assert state_of(f"pyrunc-{box.id}.scope") == GONE
    box.clean()


@systemd
def test_a_forced_delete_takes_a_running_container_and_its_scope(box: Box, scope: str) -> None:
    start(box)
    pid = box.pid()
    delete(box)
    assert not alive(pid)
    assert state_of(scope) == GONE


@systemd
@pytest.mark.parametrize("named", [True, False])
def test_a_damaged_record_does_not_keep_the_scope(box: Box, scope: str, named: bool) -> None:
    if not named:
        del box.linux["cgroupsPath"]
        scope = f"pyrunc-{box.id}.scope"
    start(box)
    pid = box.pid()
    (box.root / box.id / "state.json").write_text("{")
    delete(box)
    assert not alive(pid)
    assert state_of(scope) == GONE
    box.clean()


@systemd
@pytest.mark.shows("/annotations")
def test_annotations_set_properties_of_the_scope(box: Box, scope: str) -> None:
    box.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "5",
        "org.systemd.property.RuntimeMaxUSec": "uint64 3600000000",
        "org.systemd.property.After": "['network.target', 'basic.target']",
        "org.systemd.property.SendSIGHUP": "true",
        "org.systemd.property.Description": "'a box'",
    }
    start(box)
    found = show(scope, "TimeoutStopUSec", "RuntimeMaxUSec", "After", "SendSIGHUP", "Description")
    assert {"network.target", "basic.target"} <= set(found.pop("After").split())
    assert found == {
        "TimeoutStopUSec": "5s", "RuntimeMaxUSec": "1h", "SendSIGHUP": "yes", "Description": "a box",
    }  # fmt: skip
    delete(box)


@systemd
@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("NoSuchThing", "'x'", "NoSuchThing"),
        ("CollectMode", "'sometimes'", "CollectMode"),
        ("TimeoutStopUSec", "5", "TimeoutStopUSec"),
        ("Delegate", "maybe", "GVariant"),
        ("PIDs", "[uint32 1]", "PIDs"),
    ],
)
def test_an_annotation_that_systemd_refuses_is_named(
    box: Box, scope: str, name: str, text: str, word: str
) -> None:
    box.config["annotations"] = {f"org.systemd.property.{name}": text}
    box.create(glob=FLAG).failed("/annotations/org.systemd.property." + name, word)
    assert state_of(scope) == GONE
    box.clean()


@systemd
def test_a_failed_scope_of_the_same_name_is_replaced(box: Box, scope: str) -> None:
    # A scope whose time is up has failed, and stays as that until it is reset.
    with subprocess.Popen(
        ["systemd-run", "-q", "--scope", f"--unit={scope}", "-pRuntimeMaxSec=1", "sleep", "100"]
    ) as other:
        other.wait(60)
    wait_for(lambda: state_of(scope) == ("loaded", "failed"), "the scope to fail")
    start(box)
    assert state_of(scope) == ("loaded", "active")
    delete(box)


@systemd
def test_a_scope_that_another_has_is_left_alone(box: Box, scope: str) -> None:
    with subprocess.Popen(["systemd-run", "-q", "--scope", f"--unit={scope}", "sleep", "100"]) as other:
        try:
            wait_for(lambda: state_of(scope) == ("loaded", "active"), "the other scope")
            box.create(glob=FLAG).failed("/linux/cgroupsPath", scope, "systemctl status")
            box.verb("delete", "--force", box.id).ok()
            assert state_of(scope) == ("loaded", "active")
            assert alive(other.pid)
        finally:
            other.kill()
    box.clean()


@systemd
def test_a_create_that_fails_leaves_no_scope(box: Box, scope: str) -> None:
    box.args("/bin/nothing")
    box.create(glob=FLAG).failed("/bin/nothing")
    assert state_of(scope) == GONE
    box.hook("createRuntime", "exit 3")
    box.args("/bin/true")
    box.create(glob=FLAG).failed("hook")
    assert state_of(scope) == GONE
    box.linux["resources"]["unified"] = {"memory.max": "nonsense"}
    box.create(glob=FLAG).failed("/linux/resources/unified")
    assert state_of(scope) == GONE
    box.clean()


@systemd
def test_a_create_that_is_killed_leaves_no_scope(box: Box, scope: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    box.hook("createRuntime", f"echo >{mark}; sleep 100")
    box.save()
    with open(tmp_path / "output", "wb") as output:
        creator = box.spawn(
            "create", "--bundle", str(box.bundle), box.id, glob=FLAG, stdout=output, stderr=output
        )
        wait_for(mark.exists, "the hook")
        assert state_of(scope) == ("loaded", "active")
        creator.kill()
        creator.wait()
    delete(box)
    wait_for(lambda: state_of(scope) == GONE, "end of the scope")
    for pid in box.processes():
        os.kill(pid, 9)  # the hook


@systemd
@pytest.mark.shows("/linux/resources/pids/limit")
def test_a_limit_of_one_process_has_room_for_the_containers(box: Box, scope: str) -> None:
    box.linux["resources"]["pids"] = {"limit": 1}
    start(box)
    assert (cgroup(box, scope) / "pids.max").read_text() == "1\n"
    assert show(scope, "TasksMax") == {"TasksMax": "1"}
    assert box.verb("exec", box.id, "/bin/true").code != 0
    delete(box)


@systemd
def test_devices_are_refused_as_the_list_says(box: Box, scope: str) -> None:
    box.capabilities("CAP_MKNOD", "CAP_SYSLOG")
    rule = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}
    box.linux["resources"]["devices"].append(rule)
    start(box)
    script = "mknod /tmp/kmsg c 1 11; (exec 3</tmp/kmsg) && echo read; (exec 3>/tmp/kmsg) && echo write; true"
    for _ in range(2):
        assert box.verb("exec", box.id, "/bin/sh", "-c", script).ok().out == "read\n"
        systemctl("daemon-reload")
    assert "/dev/char/1:11" in show(scope, "DeviceAllow")["DeviceAllow"]
    delete(box)


@systemd
def test_the_containers_owner_may_divide_its_cgroup(box: Box, scope: str) -> None:
    box.user_namespace()
    box.mount("/sys/fs/cgroup", "cgroup", options=("rw", "nosuid", "noexec", "nodev"))
    box.script(
        "cd /sys/fs/cgroup; mkdir inner; echo 1 >inner/cgroup.procs; "
        "echo +memory +pids >cgroup.subtree_control; cat inner/cgroup.controllers; exec sleep 1000"
    )
    start(box)
    wait_for(lambda: "memory" in box.output(), "the controllers")
    directory = cgroup(box, scope)
    assert os.stat(directory).st_uid == 100000
    pid = str(box.pid())
    # `cat` has ended too.
    wait_for(lambda: (directory / "inner/cgroup.procs").read_text().split() == [pid], "the shell alone")
    # Nobody can be in the scope's own cgroup now.
    assert box.verb("exec", box.id, "/bin/cat", "/proc/self/cgroup").ok().out == "0::/inner\n"
    delete(box)
    assert state_of(scope) == GONE


@systemd
@pytest.mark.shows("/linux/cgroupsPath")
def test_a_path_in_another_form_is_refused(box: Box) -> None:
    box.linux["cgroupsPath"] = "/a/b"
    box.create(glob=FLAG).failed("/linux/cgroupsPath", "SLICE:PREFIX:NAME")


@pytest.mark.skipif(BOOTED, reason="systemd runs here")
def test_without_systemd_the_flag_is_an_error_with_a_remedy(box: Box) -> None:
    box.create(glob=FLAG).failed("systemd does not run here", "leave --systemd-cgroup out")
    box.clean()


# -- the user's systemd ------------------------------------------------------------


@pytest.fixture
def session() -> Iterator[dict[str, str]]:
    """A systemd of an ordinary user, and the environment that leads to it."""
    directory = Path("/run/pyrunc-test-user")
    directory.mkdir(mode=0o700)
    os.chown(directory, USER, USER)
    environment = {"XDG_RUNTIME_DIR": str(directory), "HOME": "/nonexistent"}
    subprocess.run(
        [
            "systemd-run", "-q", "--unit=pyrunc-test-user", f"--uid={USER}", "-pDelegate=yes",
            "-pType=notify",
            *(f"--setenv={name}={value}" for name, value in environment.items()),
            "/lib/systemd/systemd", "--user", "--unit=basic.target",
        ],
        check=True, timeout=120,
    )  # fmt: skip
    yield environment
    systemctl("stop", "pyrunc-test-user.service")
    shutil.rmtree(directory)


@systemd
def test_a_users_container_is_a_scope_of_the_users_systemd(box: Box, session: dict[str, str]) -> None:
    if box.is_runc:
        pytest.skip("its own names")
    box.user_namespace(USER, 1)
    box.drop_namespace("network")
    for mount in box.mounts:
        mount["options"] = [word for word in mount.get("options", []) if word != "gid=5"]
    box.config["mounts"] = [mount for mount in box.mounts if mount["type"] != "sysfs"]
    box.linux["resources"] = {"pids": {"limit": 17}, "memory": {"limit": 64 << 20}}
    box.args("/bin/sleep", "1000")
    box.root.mkdir()
    os.chown(box.root, USER, USER)
    box.save()

    def verb(*words: str, glob: tuple[str, ...] = ()) -> Result:
        return box.verb(*words, glob=glob, env=session, user=USER, group=USER, extra_groups=[])

    def user_state(name: str) -> str:
        environment = {**os.environ, **session}
        return systemctl("--user", "show", name, "-pActiveState", env=environment, user=USER).strip()

    verb("run", "-d", "--bundle", str(box.bundle), box.id, glob=FLAG).ok()
    scope = f"pyrunc-{box.id}.scope"
    directory = CGROUPS / f"system.slice/pyrunc-test-user.service/user.slice/{scope}"
    assert (directory / "cgroup.procs").read_text().split() == [str(box.pid())]
    assert (directory / "pids.max").read_text() == "17\n"
    assert (directory / "memory.max").read_text() == f"{64 << 20}\n"
    assert user_state(scope) == "ActiveState=active"
    result = verb("exec", box.id, "/bin/cat", "/proc/self/cgroup").ok()
    assert result.out == f"0::/{directory.relative_to(CGROUPS)}\n"
    verb("delete", "--force", box.id).ok()
    assert not directory.exists()
    assert user_state(scope) == "ActiveState=inactive"
    box.clean()


@systemd
def test_without_the_users_systemd_the_error_says_where_it_was_sought(box: Box) -> None:
    box.root.mkdir()
    os.chown(box.root, USER, USER)
    box.save()
    environment = {"XDG_RUNTIME_DIR": "/run/nowhere", "DBUS_SESSION_BUS_ADDRESS": ""}
    box.verb(
        "create", "--bundle", str(box.bundle), box.id, glob=FLAG, env=environment, user=USER, group=USER,
        extra_groups=[],
    ).failed("user's systemd", "/run/nowhere", "XDG_RUNTIME_DIR")  # fmt: skip


# -- systemd inside ------------------------------------------------------------------

SLOW = (
    "systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer "
    "systemd-journal-flush.service systemd-update-utmp.service systemd-sysctl.service "
    "systemd-sysusers.service systemd-binfmt.service"
).split()


@pytest.fixture
def inner(box: Box, pure_v2: bool) -> Iterator[Box]:
    """A container whose init is the host's own systemd, on an overlay over the host's files."""
    if box.is_runc:
        pytest.skip("runc is tested by its own project")
    if not pure_v2 or os.environ.get("VM_GUEST") is None:
        pytest.skip("needs a machine of its own with cgroup v2")
    files = box.place / "files"
    files.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(files)], check=True)
    for name in ("upper/etc/systemd/system", "work"):
        (files / name).mkdir(parents=True)
    units = files / "upper/etc/systemd/system"
    for name in SLOW:
        (units / name).symlink_to("/dev/null")
    (units / "inner.target").write_text("[Unit]\nRequires=inner.service\nAfter=inner.service\n")
    (units / "inner.service").write_text(
        "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 1000\nMemoryMax=100M\n"
    )
    shutil.rmtree(box.rootfs)
    box.rootfs.mkdir()
    options = f"lowerdir=/,upperdir={files}/upper,workdir={files}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(box.rootfs)], check=True)
    box.args("/lib/systemd/systemd", "--unit=inner.target", "--log-target=console", "--show-status=no")
    box.process["env"].append("container=pyrunc")
    box.process["noNewPrivileges"] = False
    names = (
        "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_ADMIN NET_BIND_SERVICE NET_RAW SETFCAP "
        "SETGID SETPCAP SETUID SYS_ADMIN SYS_CHROOT"
    ).split()
    box.capabilities(*(f"CAP_{name}" for name in names))
    box.add_namespace("cgroup")
    box.mount("/sys/fs/cgroup", "cgroup", options=("rw", "nosuid", "noexec", "nodev", "relatime"))
    for place in ("/run", "/tmp", "/var/log"):
        box.mount(place, "tmpfs", options=("nosuid", "nodev", "mode=755"))
    yield box
    box.verb("delete", "--force", box.id)
    subprocess.run(["umount", "-R", str(box.rootfs), str(files)], check=True)


@pytest.mark.parametrize("flags", [(), FLAG])
def test_systemd_is_the_init_of_a_container(inner: Box, flags: tuple[str, ...]) -> None:
    if flags and not BOOTED:
        pytest.skip("systemd does not run here")
    inner.run("-d", glob=flags).ok()

    def inside(*words: str) -> Result:
        return inner.verb("exec", inner.id, *words)

    scope = next(path for path in CGROUPS.rglob(f"*{inner.id}*") if path.is_dir())
    # Observed from outside: what `exec` starts enters the container's own cgroup as long as it can, and
    # systemd cannot enable a controller there while anybody is in it.
    processes = scope / "system.slice/inner.service/cgroup.procs"
    wait_for(lambda: processes.exists() and processes.read_text(), "systemd inside", 120)
    wait_for(lambda: inside("/bin/systemctl", "is-active", "inner.service").code == 0, "systemd inside", 120)
    found = inside("/bin/systemctl", "show", "inner.service", "-pControlGroup", "-pMemoryMax").ok().out
    assert "ControlGroup=/system.slice/inner.service" in found
    assert (scope / "init.scope/cgroup.procs").read_text().split()[0] == str(inner.pid())
    assert (scope / "system.slice/inner.service/memory.max").read_text() == f"{100 << 20}\n"
    # How a container's systemd is asked to shut down: systemd(1), "Signals".
    inner.verb("kill", inner.id, "SIGRTMIN+3").ok()
    wait_for(lambda: inner.status() == "stopped", "systemd's end inside", 120)
    inner.verb("delete", inner.id).ok()
    assert not scope.exists()


# -- update ------------------------------------------------------------------------------


@systemd
def test_update_tells_systemd_the_new_limits(box: Box, scope: str) -> None:
    box.capabilities("CAP_MKNOD", "CAP_SYSLOG")
    box.linux["resources"]["cpu"] = {"cpus": "0-1"}
    start(box)
    box.verb("update", "--memory", str(96 << 20), "--pids-limit", "33", "--cpu-quota", "12000", box.id).ok()
    directory = cgroup(box, scope)

    def values() -> list[str]:
        names = ("memory.max", "pids.max", "cpu.max", "cpuset.cpus")
        return [(directory / name).read_text().strip() for name in names]

    for _ in range(2):
        assert values() == [str(96 << 20), "33", "12000 100000", "0-1"]
        found = show(scope, "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec")
        assert found == {"MemoryMax": str(96 << 20), "TasksMax": "33", "CPUQuotaPerSecUSec": "120ms"}
        systemctl("daemon-reload")
    # What the kernel refuses is taken back from systemd too.
    changes = '{"memory": {"limit": 50331648}, "cpu": {"cpus": "0"}, "unified": {"memory.high": "nonsense"}}'
    box.verb("update", "--resources", "-", box.id, input=changes).failed("memory.high")
    assert values() == [str(96 << 20), "33", "12000 100000", "0-1"]
    assert show(scope, "MemoryMax", "AllowedCPUs") == {"MemoryMax": str(96 << 20), "AllowedCPUs": "0-1"}
    changes = (
        '{"devices": [{"allow": false, "access": "rwm"},'
        '{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}'
    )
    script = "[ -e /tmp/kmsg ] || mknod /tmp/kmsg c 1 11; exec 3</tmp/kmsg"
    assert box.verb("exec", box.id, "/bin/sh", "-c", script).code != 0
    box.verb("update", "--resources", "-", box.id, input=changes).ok()
    box.verb("exec", box.id, "/bin/sh", "-c", script).ok()
    delete(box)


Boxes = Callable[[], Box]


@systemd
def test_many_containers_start_and_end_at_once(new_box: Boxes) -> None:
    boxes = [new_box() for _ in range(4)]
    for box in boxes:
        if box.is_runc:
            pytest.skip("its own names")
        box.args("/bin/true")
        box.save()
    running = [
        box.spawn("run", "--bundle", str(box.bundle), box.id, glob=FLAG, stdout=subprocess.DEVNULL)
        for box in boxes
    ]
    assert [child.wait(60) for child in running] == [0] * len(boxes)
    for box in boxes:
        assert state_of(f"pyrunc-{box.id}.scope") == GONE
