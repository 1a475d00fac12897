"""Containers of an ordinary user, of one with subordinate ids, and of root in a user namespace."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import (
    ALL_NAMESPACES,
    Box,
    FdSocket,
    Result,
    Terminal,
    alive,
    chown_tree,
    namespace,
    open_terminal,
    proc_status,
    wait_for,
)
from users import User, user, verb

NAMELESS = 64321  # no user's


@pytest.fixture(scope="session")
def someone(worker_id: str) -> Iterator[User]:
    """A user with a name, which /etc/subuid goes by."""
    if not shutil.which("newuidmap"):
        pytest.skip("newuidmap is not installed (Debian: uidmap)")
    number = int(worker_id.removeprefix("gw") or 0) if worker_id.startswith("gw") else 0
    # Not all tests at once on this machine need be of one session.
    with user(2_000_000 + number * 100_000) as made:
        yield made


def belongs_to(box: Box, uid: int, gid: int) -> None:
    """The configuration that `spec --rootless` makes of the box's, for a user whose own id is mapped."""
    if box.is_runc:
        pytest.skip("runc's state directory differs")
    box.user_namespace(uid, 1)
    box.linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    chown_tree(box.bundle, uid, gid)
    box.drop_namespace("network")
    for mount in box.mounts:
        mount["options"] = [word for word in mount.get("options", []) if word != "gid=5"]
    box.config["mounts"] = [mount for mount in box.mounts if mount["type"] != "sysfs"]
    box.mount("/sys", "none", "/sys", ["rbind", "nosuid", "noexec", "nodev", "ro"])
    box.linux.pop("resources", None)
    box.root.mkdir()
    os.chown(box.root, uid, gid)


class Own:
    """A box in the hands of a user."""

    def __init__(self, box: Box, who: dict[str, Any]) -> None:
        self.box, self.who = box, who

    def verb(self, *words: str, **options: Any) -> Result:
        return verb(self.box, self.who, *words, **options)

    def run(self, *flags: str, **options: Any) -> Result:
        self.box.save()
        return self.verb("run", "--bundle", str(self.box.bundle), *flags, self.box.id, **options)

    def create(self, *flags: str) -> Result:
        self.box.save()
        return self.verb("create", "--bundle", str(self.box.bundle), *flags, self.box.id)

    def sh(self, script: str, **options: Any) -> str:
        self.box.script(script)
        return self.run(**options).ok().out

    def sleeping(self) -> int:
        self.box.args("/bin/sleep", "1000")
        self.run("-d").ok()
        return int(json.loads(self.verb("state", self.box.id).ok().out)["pid"])

    def exec(self, *words: str, **options: Any) -> Result:
        return self.verb("exec", self.box.id, *words, **options)


@pytest.fixture
def nobody(box: Box) -> Own:
    """A user without a name: its own id alone is mapped, and it has no cgroup."""
    belongs_to(box, NAMELESS, NAMELESS)
    return Own(box, {"user": NAMELESS, "group": NAMELESS, "extra_groups": []})


@pytest.fixture
def own(box: Box, someone: User) -> Own:
    """The user, with its own id alone."""
    belongs_to(box, someone.uid, someone.gid)
    return Own(box, someone.ids())


@pytest.fixture
def sub(own: Own, someone: User) -> Own:
    """The user, with its own id as root and its subordinate ids above."""
    for key, mine in (("uidMappings", someone.uid), ("gidMappings", someone.gid)):
        own.box.linux[key] = [
            {"containerID": 0, "hostID": mine, "size": 1},
            {"containerID": 1, "hostID": someone.sub, "size": 65536},
        ]
    return own


# -- the own id alone


def test_the_configuration_of_spec_rootless_runs_as_it_is(own: Own) -> None:
    """With a terminal, as it says, and without any change."""
    box = own.box
    (box.bundle / "config.json").unlink(missing_ok=True)
    own.verb("spec", "--rootless", "--bundle", str(box.bundle)).ok()
    terminal, slave = open_terminal()
    try:
        words = ("run", "--bundle", str(box.bundle), box.id)
        child = box.spawn(*words, stdin=slave, stdout=slave, stderr=slave, **own.who)
        os.close(slave)
        terminal.write("echo $((6*7)) $(id -u) $(tty) $(hostname); exit 5\n")
        terminal.read_until("42 0 /dev/pts/0 runc")
        assert child.wait(20) == 5
    finally:
        terminal.close()
    box.clean()


@pytest.mark.shows("/linux/uidMappings", "/linux/gidMappings")
def test_its_root_is_the_user_itself(nobody: Own) -> None:
    pid = nobody.sleeping()
    status = proc_status(pid)
    assert status["Uid"].split()[0] == status["Gid"].split()[0] == str(NAMELESS)
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(NAMELESS), "1"]
    assert Path(f"/proc/{pid}/setgroups").read_text() == "deny\n"
    for kind in ("user", "mount", "pid", "ipc", "uts"):
        assert namespace(pid, kind) != namespace("self", kind)
    assert namespace(pid, "network") == namespace("self", "network")


def test_the_default_devices_work(nobody: Own) -> None:
    script = "echo x > /dev/null && head -c 3 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c"
    out = nobody.sh(script + "; ls -l /dev/full")
    lines = out.splitlines()
    assert [line.strip() for line in lines[:2]] == ["3", "1"]
    assert lines[2].startswith("crw-rw-rw-")


def test_every_verb_works(nobody: Own) -> None:
    box = nobody.box
    box.args("/bin/sleep", "1000")
    nobody.create().ok()
    assert json.loads(nobody.verb("state", box.id).ok().out)["status"] == "created"
    nobody.verb("start", box.id).ok()
    state = json.loads(nobody.verb("state", box.id).ok().out)
    assert (state["status"], state["owner"]) == ("running", str(NAMELESS))
    assert box.id in nobody.verb("list", "-q").ok().out.split()
    assert nobody.exec("/bin/sh", "-c", "id -u; cat /proc/1/cmdline").ok().out.startswith("0\n/bin/sleep")
    pid = state["pid"]
    nobody.verb("delete", box.id).failed("running")
    nobody.verb("kill", box.id, "KILL").ok()
    wait_for(lambda: not alive(pid), "the end")
    assert json.loads(nobody.verb("state", box.id).ok().out)["status"] == "stopped"
    nobody.verb("delete", box.id).ok()
    box.clean()


def test_exec_has_the_same_namespaces_and_no_more_privilege(nobody: Own) -> None:
    box = nobody.box
    pid = nobody.sleeping()
    child = box.spawn("exec", box.id, "/bin/sleep", "1000", **nobody.who)
    shown = wait_for(lambda: sleeping_children(child.pid), "exec")[0]
    for kind in ("user", "mount", "pid", "ipc", "uts"):
        assert namespace(shown, kind) == namespace(pid, kind)
    for key in ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs"):
        assert proc_status(shown)[key] == proc_status(pid)[key]


def sleeping_children(pid: int) -> list[int]:
    """Those children of a process that execute sleep by now."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            if Path(f"/proc/{child}/comm").read_text() == "sleep\n":
                found.append(int(child))
        except FileNotFoundError:
            continue  # the one that has cloned the process
    return found


def test_a_terminal_is_sent_to_the_console_socket(nobody: Own) -> None:
    box = nobody.box
    box.process["terminal"] = True
    box.script("tty; stty size; sleep 1000")
    os.chmod(box.place, 0o777)
    console = FdSocket(box.place / "console")
    os.chmod(console.path, 0o777)
    try:
        nobody.create("--console-socket", console.path).ok()
        _, fd = console.receive()
        nobody.verb("start", box.id).ok()
        terminal = Terminal(fd)
        assert "/dev/pts/0" in terminal.read_until("\n")
        terminal.close()
    finally:
        console.close()


def test_exec_with_a_terminal(nobody: Own) -> None:
    box = nobody.box
    nobody.sleeping()
    terminal, slave = open_terminal()
    child = box.spawn("exec", "-t", box.id, "/bin/tty", stdin=slave, stdout=slave, stderr=slave, **nobody.who)
    os.close(slave)
    terminal.read_until("/dev/pts/0")
    assert child.wait(20) == 0
    terminal.close()


@pytest.mark.shows("/process/oomScoreAdj")
def test_exec_has_the_score_of_the_oom_killer_that_the_process_has(nobody: Own) -> None:
    nobody.box.process["oomScoreAdj"] = 567
    nobody.sleeping()
    assert nobody.exec("/bin/cat", "/proc/self/oom_score_adj").ok().out == "567\n"


@pytest.mark.parametrize("joined", [False, True])
def test_the_clocks_of_a_new_time_namespace_are_the_user_s_to_shift(nobody: Own, joined: bool) -> None:
    box = nobody.box
    if joined:
        pid = nobody.sleeping()
        box.id += "-joins"
        box.ids.add(box.id)
        box.add_namespace("user", f"/proc/{pid}/ns/user")
        box.add_namespace("pid", f"/proc/{pid}/ns/pid")
    box.add_namespace("time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 10**9}}
    assert float(nobody.sh("cat /proc/uptime").split()[0]) > 10**9


def test_processes_that_cannot_be_told_apart_are_an_error_not_an_empty_list(nobody: Own) -> None:
    box = nobody.box
    nobody.sleeping()
    if os.path.exists(f"/sys/fs/cgroup/{box.id}"):
        pytest.skip("the user may make cgroups here")
    nobody.verb("ps", box.id).failed("no cgroup")
    nobody.verb("kill", "--all", box.id, "TERM").failed("no cgroup")
    nobody.verb("pause", box.id).failed("no cgroup")
    nobody.verb("kill", "--all", box.id, "KILL").ok()
    box.wait_status("stopped")
    nobody.verb("delete", box.id).ok()


@pytest.mark.parametrize(
    "resources", [{"memory": {"limit": 1 << 26}}, {"pids": {"limit": 10}}, {"cpu": {"shares": 512}}], ids=str
)
def test_limits_without_a_delegated_cgroup_are_refused(nobody: Own, resources: dict[str, Any]) -> None:
    nobody.box.linux["resources"] = resources
    name = next(iter(resources))
    nobody.run().failed(f"/linux/resources/{name}", "delegated")
    nobody.box.clean()


def test_a_cgroup_that_may_not_be_made_is_refused(nobody: Own) -> None:
    nobody.box.linux["cgroupsPath"] = f"/{nobody.box.id}"
    nobody.run().failed("/linux/cgroupsPath", "delegated")
    nobody.box.clean()


def test_device_rules_and_no_limits_need_no_cgroup(nobody: Own) -> None:
    """What engines write for every container."""
    nobody.box.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    assert nobody.sh("echo well") == "well\n"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_seccomp_filter_holds(nobody: Own, no_new_privileges: bool) -> None:
    nobody.box.process["noNewPrivileges"] = no_new_privileges
    nobody.box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 110}],
    }
    pid = nobody.sleeping()
    assert proc_status(pid)["Seccomp"] == "2"
    nobody.exec("/bin/mkdir", "/tmp/new").failed("timed out")


def test_a_user_namespace_has_to_be_asked_for(nobody: Own) -> None:
    nobody.box.drop_namespace("user")
    del nobody.box.linux["uidMappings"], nobody.box.linux["gidMappings"]
    nobody.run().failed("/linux/namespaces", "user namespace", "spec --rootless")
    nobody.box.clean()


def test_additional_groups_that_the_kernel_denies_are_named(nobody: Own) -> None:
    nobody.box.process["user"]["additionalGids"] = [10]
    nobody.run().failed("/process/user/additionalGids", "newgidmap")
    nobody.box.clean()


def test_a_group_of_devpts_that_is_not_mapped_is_named(nobody: Own) -> None:
    next(m for m in nobody.box.mounts if m["type"] == "devpts")["options"].append("gid=5")
    nobody.run().failed("/mounts/2", "not mapped")
    nobody.box.clean()


def test_sysfs_of_the_host_s_network_is_refused_with_a_way_out(nobody: Own) -> None:
    box = nobody.box
    box.config["mounts"] = [m for m in box.mounts if m["destination"] != "/sys"]
    box.mount("/sys", "sysfs", "sysfs", ["ro"])
    nobody.run().failed("/mounts/5", "sysfs", "network namespace", "bind")
    box.clean()


def test_with_a_network_namespace_of_its_own_sysfs_is_mounted(nobody: Own) -> None:
    box = nobody.box
    box.config["mounts"] = [m for m in box.mounts if m["destination"] != "/sys"]
    box.mount("/sys", "sysfs", "sysfs", ["ro"])
    box.add_namespace("network")
    assert nobody.sh("ls /sys/class/net; ifconfig lo | grep -c UP").split() == ["lo", "1"]


def test_groups_that_cannot_be_dropped_give_no_more_than_the_user_has(nobody: Own) -> None:
    """setgroups(2) is denied, so that they stay, as under every runtime: not mapped, and not root's."""
    nobody.who = {"user": NAMELESS, "group": NAMELESS, "extra_groups": [4242]}
    pid = nobody.sleeping()
    assert proc_status(pid)["Groups"].split() == ["4242"]


# -- where the state is


def test_state_is_below_the_runtime_directory(nobody: Own) -> None:
    box = nobody.box
    run = box.place / "xdg"
    run.mkdir()
    os.chown(run, NAMELESS, NAMELESS)
    box.args("/bin/true")
    box.save()
    command = [*box.command, "run", "--bundle", str(box.bundle), "--keep", box.id]
    env = {**box.environment(), "XDG_RUNTIME_DIR": str(run)}
    done = subprocess.run(
        command, env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False, **nobody.who
    )
    assert done.returncode == 0, done.stderr
    assert (run / "pyrunc" / box.id / "state.json").exists()
    assert os.stat(run / "pyrunc").st_mode & 0o1077 == 0o1011
    command = [*box.command, "delete", box.id]
    subprocess.run(command, env=env, cwd="/", timeout=60, check=True, **nobody.who)


def test_without_a_runtime_directory_the_remedy_is_told(nobody: Own) -> None:
    box = nobody.box
    box.args("/bin/true")
    box.save()
    env = {k: v for k, v in box.environment().items() if k != "XDG_RUNTIME_DIR"}
    done = subprocess.run(
        [*box.command, "run", "--bundle", str(box.bundle), box.id],
        env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False, **nobody.who,
    )  # fmt: skip
    assert done.returncode == 1
    assert "XDG_RUNTIME_DIR" in done.stderr
    assert "/run/pyrunc" in done.stderr


# -- subordinate ids


def test_subordinate_ids_are_mapped_by_the_helpers(sub: Own, someone: User) -> None:
    pid = sub.sleeping()
    expected = [["0", str(someone.uid), "1"], ["1", str(someone.sub), "65536"]]
    assert [line.split() for line in Path(f"/proc/{pid}/uid_map").read_text().splitlines()] == expected
    assert Path(f"/proc/{pid}/setgroups").read_text() == "allow\n"


@pytest.mark.shows("/process/user/additionalGids", "/process/user/uid", "/process/user/gid")
def test_a_process_of_a_subordinate_id_with_groups(sub: Own, someone: User) -> None:
    sub.box.process["user"] = {"uid": 1000, "gid": 100, "additionalGids": [10, 20]}
    pid = sub.sleeping()
    status = proc_status(pid)
    assert status["Uid"].split()[0] == str(someone.sub + 999)
    assert status["Gid"].split()[0] == str(someone.sub + 99)
    assert status["Groups"].split() == [str(someone.sub + 9), str(someone.sub + 19)]
    assert sub.exec("/bin/id", "-G").ok().out.split() == ["100", "10", "20"]


def test_groups_of_the_user_are_dropped_where_they_can_be(sub: Own, someone: User) -> None:
    sub.who = {**someone.ids(), "extra_groups": [4242]}
    pid = sub.sleeping()
    assert proc_status(pid)["Groups"] == ""
    child = sub.box.spawn("exec", sub.box.id, "/bin/sleep", "1000", **sub.who)
    shown = wait_for(lambda: sleeping_children(child.pid), "exec")[0]
    assert proc_status(shown)["Groups"] == ""


@pytest.mark.parametrize(("value", "kept"), [("1", True), ("0", False)])
def test_crun_s_annotation_keeps_the_groups(sub: Own, someone: User, value: str, kept: bool) -> None:
    sub.box.config["annotations"] = {"run.oci.keep_original_groups": value}
    sub.who = {**someone.ids(), "extra_groups": [4242]}
    assert proc_status(sub.sleeping())["Groups"].split() == (["4242"] if kept else [])


def test_devpts_with_the_group_of_terminals(sub: Own) -> None:
    next(m for m in sub.box.mounts if m["type"] == "devpts")["options"].append("gid=5")
    assert sub.sh("echo well") == "well\n"


def test_ids_that_the_user_has_not_are_refused(sub: Own, someone: User) -> None:
    sub.box.linux["uidMappings"][1]["hostID"] = someone.sub + 1_000_000
    sub.run().failed("/linux/uidMappings", "newuidmap", "/etc/subuid")
    sub.box.clean()


def test_without_the_helpers_the_own_id_alone_can_be_mapped(sub: Own, someone: User) -> None:
    path = {"PATH": str(sub.box.place)}
    sub.run(env=path).failed("/linux/uidMappings", "newuidmap", "uidmap")
    for key in ("uidMappings", "gidMappings"):
        del sub.box.linux[key][1]
    assert sub.sh("id -u", env=path) == "0\n"


def test_the_root_file_system_need_not_be_open_to_the_container_s_root(sub: Own, someone: User) -> None:
    """Root of the container is a subordinate id, and the bind mount's source the user's alone."""
    box = sub.box
    for key, mine in (("uidMappings", someone.uid), ("gidMappings", someone.gid)):
        box.linux[key] = [
            {"containerID": 0, "hostID": someone.sub, "size": 1000},
            {"containerID": 1000, "hostID": mine, "size": 1},
        ]
    closed = box.place / "closed"
    (closed / "open").mkdir(parents=True)
    (closed / "open/file").write_text("seen\n")
    chown_tree(closed, someone.uid, someone.gid)
    closed.chmod(0o700)
    chown_tree(box.rootfs, someone.sub, someone.sub)
    box.mount("/mnt", source=str(closed / "open"))
    assert sub.sh("cat /mnt/file; id -u") == "seen\n0\n"


def test_the_user_s_containers_share_namespaces(sub: Own, someone: User, new_box: Callable[[], Box]) -> None:
    """A pod: the second joins what the first has, its user namespace first."""
    sub.box.add_namespace("network")
    target = sub.sleeping()
    box = new_box()
    belongs_to(box, someone.uid, someone.gid)
    second = Own(box, someone.ids())
    del box.linux["uidMappings"], box.linux["gidMappings"]
    box.config.pop("hostname")
    for kind in ("user", "network", "ipc", "uts", "pid"):
        box.add_namespace(kind, f"/proc/{target}/ns/{ALL_NAMESPACES[kind]}")
    box.process["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}
    pid = second.sleeping()
    for kind in ("user", "network", "ipc", "uts", "pid"):
        assert namespace(pid, kind) == namespace(target, kind)
    assert proc_status(pid)["Uid"].split()[0] == str(someone.sub + 4)
    assert proc_status(pid)["Groups"].split() == [str(someone.sub + 6)]
    assert second.exec("/bin/id", "-u").ok().out == "5\n"
    second.verb("delete", "--force", box.id).ok()
    assert alive(target)


def test_a_user_namespace_of_another_user_is_not_joined(
    own: Own, new_box: Callable[[], Box], someone: User
) -> None:
    other = new_box()
    other.user_namespace()
    target = other.sleeping()
    del own.box.linux["uidMappings"], own.box.linux["gidMappings"]
    own.box.add_namespace("user", f"/proc/{target}/ns/user")
    own.run().failed("/linux/namespaces/")
    own.box.clean()


@pytest.mark.shows("/hooks/createRuntime", "/hooks/createContainer", "/hooks/poststop")
def test_hooks_of_an_ordinary_user(nobody: Own) -> None:
    box = nobody.box
    os.chmod(box.place, 0o777)
    for kind in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"):
        box.hook(kind, f"echo {kind} $(id -u) >> {box.place}/record")
    nobody.sh("true")
    assert (box.place / "record").read_text().splitlines() == [
        f"prestart {NAMELESS}", f"createRuntime {NAMELESS}", "createContainer 0", f"poststart {NAMELESS}",
        f"poststop {NAMELESS}",
    ]  # fmt: skip


# -- root in a user namespace


@pytest.fixture
def inner(own: Own, someone: User) -> Own:
    """Root inside a user namespace that rootless engines make: the user and its subordinate ids."""
    box = own.box
    box.drop_namespace("user")
    del box.linux["uidMappings"], box.linux["gidMappings"]
    box.command = [
        "unshare", "--user", "--mount", "--map-root-user", f"--map-users={someone.sub},1,65536",
        f"--map-groups={someone.sub},1,65536", "--", *box.command,
    ]  # fmt: skip
    return own


def test_root_of_a_user_namespace_runs_a_container_without_another(inner: Own, someone: User) -> None:
    """As rootless Podman starts its runtime."""
    inner.box.process["user"] = {"uid": 0, "gid": 0, "additionalGids": [10]}
    inner.box.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    out = inner.sh("id -u; id -G; echo > /dev/null; cat /proc/self/uid_map")
    assert out.split() == ["0", "0", "10", "0", str(someone.uid), "1", "1", str(someone.sub), "65536"]
    inner.box.clean()


def test_root_of_a_user_namespace_makes_another(inner: Own, someone: User) -> None:
    """As `podman run --userns=auto`, whose container's root may not reach the engine's directories."""
    box = inner.box
    box.add_namespace("user")
    for key in ("uidMappings", "gidMappings"):
        box.linux[key] = [{"containerID": 0, "hostID": 1001, "size": 1000}]
    chown_tree(box.rootfs, someone.sub + 1000, someone.sub + 1000)
    closed = box.place / "closed"
    (closed / "open").mkdir(parents=True)
    (closed / "open/file").write_text("seen\n")
    chown_tree(closed, someone.uid, someone.gid)
    closed.chmod(0o700)
    box.mount("/mnt", source=str(closed / "open"))
    assert inner.sh("cat /mnt/file; cat /proc/self/uid_map").split() == ["seen", "0", "1001", "1000"]


def test_verbs_of_root_of_a_user_namespace(inner: Own, someone: User) -> None:
    """Which enter it anew each time, as an engine's do."""
    box = inner.box
    at = box.command.index("--")
    enter: list[str] = []
    keeper = subprocess.Popen([*box.command[:at], "--", "sleep", "1000"], **someone.ids())
    try:
        wait_for(lambda: Path(f"/proc/{keeper.pid}/comm").read_text() == "sleep\n", "the user namespace")
        enter = ["nsenter", "-t", str(keeper.pid), "-U", "-m", "--preserve-credentials", "--"]
        box.command = [*enter, *box.command[at + 1 :]]
        pid = inner.sleeping()
        assert namespace(pid, "user") == namespace(keeper.pid, "user")
        out = inner.exec("/bin/sh", "-c", "id -u; tr '\\0' ' ' </proc/1/cmdline").ok().out
        assert out == "0\n/bin/sleep 1000 "
        inner.verb("kill", box.id, "KILL").ok()
        wait_for(lambda: not alive(pid), "the end")
        inner.verb("delete", box.id).ok()
    finally:
        box.command = box.command[len(enter) :]
        keeper.kill()
        keeper.wait()


def test_root_by_unshare_which_maps_one_id_and_denies_setgroups(nobody: Own) -> None:
    """`unshare -Ur` as an ordinary user: its mount namespace is still the host's."""
    box = nobody.box
    for key in ("uidMappings", "gidMappings"):
        box.linux[key] = [{"containerID": 0, "hostID": 0, "size": 1}]
    box.command = ["unshare", "-Ur", "--", *box.command]
    assert nobody.sh("id -u; cat /proc/self/uid_map").split() == ["0", "0", "0", "1"]
    box.drop_namespace("user")
    del box.linux["uidMappings"], box.linux["gidMappings"]
    assert nobody.sh("id -u; cat /proc/self/uid_map").split() == ["0", "0", str(NAMELESS), "1"]


# -- a delegated cgroup


@pytest.fixture
def delegated(nobody: Own, pure_v2: bool) -> Iterator[tuple[Own, Path]]:
    """A v2 cgroup that belongs to the user, with the verbs' processes in a leaf of it."""
    if not pure_v2:
        pytest.skip("cgroups are delegated safely on cgroup v2 only")
    top = Path("/sys/fs/cgroup") / f"deleg-{nobody.box.id}"
    (top / "leaf").mkdir(parents=True)
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory +pids +cpu")
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "leaf", "leaf/cgroup.procs"):
        os.chown(top / name, NAMELESS, NAMELESS)
    enter = f"echo $$ > {top}/leaf/cgroup.procs"
    become = f"exec setpriv --reuid {NAMELESS} --regid {NAMELESS} --clear-groups"
    script = f'{enter} && {become} "$@"'
    plain = nobody.box.command
    nobody.box.command = ["sh", "-c", script, "sh", *plain]
    # Root moves the verbs there, and they become the user themselves.
    nobody.who = {"user": 0, "group": 0, "extra_groups": []}
    yield nobody, top
    nobody.box.command = plain
    nobody.box.verb("delete", "--force", nobody.box.id)
    for path in (top / "leaf", top):
        wait_for(lambda path=path: remove(path), f"the removal of {path}")  # type: ignore[misc]


def remove(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return not path.exists()
    return True


def test_limits_in_a_delegated_cgroup_hold(delegated: tuple[Own, Path]) -> None:
    own, top = delegated
    own.box.linux["resources"] = {"memory": {"limit": 1 << 26}, "pids": {"limit": 20}}
    pid = own.sleeping()
    cgroup = top / own.box.id
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/{top.name}/{own.box.id}\n"
    assert (cgroup / "memory.max").read_text() == f"{1 << 26}\n"
    assert (cgroup / "pids.max").read_text() == "20\n"
    assert json.loads(own.verb("ps", "-f", "json", own.box.id).ok().out) == [pid]
    own.exec("/bin/true").ok()
    own.verb("pause", own.box.id).ok()
    assert (cgroup / "cgroup.events").read_text().split()[-1] == "1"
    own.verb("resume", own.box.id).ok()
    own.verb("kill", "--all", own.box.id, "KILL").ok()
    wait_for(lambda: not alive(pid), "the end")
    own.verb("delete", own.box.id).ok()
    assert not cgroup.exists()


def test_a_cgroup_of_its_own_path_in_a_delegated_one(delegated: tuple[Own, Path]) -> None:
    own, top = delegated
    own.box.linux["cgroupsPath"] = f"/{top.name}/named"
    pid = own.sleeping()
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/{top.name}/named\n"
    own.verb("delete", "--force", own.box.id).ok()
    assert not (top / "named").exists()
