"""The eight namespaces (config-linux.md, "Namespaces"): created, joined by path, or the host's."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ALL_NAMESPACES, Box, namespace, proc_status


@pytest.mark.shows("/linux/namespaces/*/type")
@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "mount"])
def test_a_listed_namespace_is_new(box: Box, kind: str) -> None:
    box.add_namespace(kind)
    pid = box.sleeping()
    assert namespace(pid, kind) != namespace("self", kind)


@pytest.mark.shows("/linux/namespaces/*/type")
@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "user"])
def test_a_namespace_that_is_not_listed_is_the_host_s(box: Box, kind: str) -> None:
    box.drop_namespace(kind)
    if kind == "uts":
        box.config.pop("hostname")
    if kind == "network":
        box.mounts[:] = [m for m in box.mounts if m["type"] != "sysfs"]
    pid = box.sleeping()
    assert namespace(pid, kind) == namespace("self", kind)


@pytest.mark.shows("/linux/timeOffsets/{boottime,monotonic}/{secs,nanosecs}")
@pytest.mark.beyond_runc("time namespaces came with 1.2")
def test_a_time_namespace_shifts_the_clocks(box: Box) -> None:
    box.add_namespace("time")
    box.linux["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 0}, "monotonic": {"secs": 2000000}}
    before = float(Path("/proc/uptime").read_text().split()[0])
    inside = float(box.sh("cat /proc/uptime").split()[0])
    assert 1000000 <= inside - before < 1000100


@pytest.mark.beyond_runc("time namespaces came with 1.2")
def test_a_time_namespace_is_the_process_s_own_and_not_only_its_childrens(box: Box) -> None:
    box.add_namespace("time")
    pid = box.sleeping()
    assert namespace(pid, "time") != namespace("self", "time")
    assert os.readlink(f"/proc/{pid}/ns/time_for_children") == namespace(pid, "time")


@pytest.mark.beyond_runc("time namespaces came with 1.2")
def test_time_offsets_without_a_time_namespace_are_refused(box: Box) -> None:
    box.linux["timeOffsets"] = {"boottime": {"secs": 1}}
    box.run().failed("/linux/timeOffsets")
    box.clean()


def test_a_pid_namespace_makes_the_process_number_one(box: Box) -> None:
    assert box.sh("echo $$; ls -d /proc/[0-9]*; true").split() == ["1", "/proc/1"]


def test_a_new_network_namespace_has_only_loopback_and_it_is_up(box: Box) -> None:
    out = box.sh("ip link; ping -c1 -W1 127.0.0.1 >/dev/null 2>&1 || true")
    assert [line.split()[1] for line in out.splitlines() if not line.startswith(" ")] == ["lo:"]
    assert "LOOPBACK,UP" in out


def test_a_new_cgroup_namespace_shows_the_container_s_cgroup_as_root(box: Box) -> None:
    box.add_namespace("cgroup")
    paths = {line.split(":", 2)[2] for line in box.sh("cat /proc/self/cgroup").splitlines()}
    assert paths == {"/"}


def test_the_host_s_cgroup_namespace_shows_the_container_s_path(box: Box) -> None:
    assert box.id in box.sh("cat /proc/self/cgroup")


def test_an_ipc_namespace_has_its_own_message_queues(box: Box) -> None:
    out = box.sh("touch /dev/mqueue/mine; ls /dev/mqueue")
    assert out == "mine\n"
    assert not Path("/dev/mqueue/mine").exists()


# -- user namespaces


@pytest.mark.shows("/linux/{uidMappings,gidMappings}/*/{containerID,hostID,size}")
def test_root_inside_is_the_mapped_user_outside(box: Box) -> None:
    box.user_namespace()
    pid = box.sleeping()
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", "100000", "65536"]
    assert os.stat(f"/proc/{pid}").st_uid == 100000
    assert namespace(pid, "user") != namespace("self", "user")


def test_a_user_namespace_owns_the_other_namespaces(box: Box) -> None:
    """Root inside may set the hostname and mount, since those namespaces belong to its user namespace."""
    box.user_namespace()
    box.capabilities("CAP_SYS_ADMIN")
    assert (
        box.sh("hostname changed; hostname; mount -t tmpfs none /mnt && echo mounted") == "changed\nmounted\n"
    )


def test_files_made_in_a_user_namespace_belong_to_the_mapped_user(box: Box) -> None:
    box.user_namespace()
    box.capabilities("CAP_CHOWN", "CAP_SETUID", "CAP_SETGID")
    box.sh("touch /tmp/a; touch /tmp/b; chown 5:6 /tmp/b")
    assert (box.rootfs / "tmp/a").stat().st_uid == 100000
    assert (box.rootfs / "tmp/b").stat().st_uid == 100005
    assert (box.rootfs / "tmp/b").stat().st_gid == 100006


@pytest.mark.shows("/linux/{uidMappings,gidMappings}/*/{containerID,hostID,size}")
def test_a_user_namespace_with_several_ranges(box: Box) -> None:
    box.user_namespace()
    ranges = [
        {"containerID": 0, "hostID": 100000, "size": 1000},
        {"containerID": 1000, "hostID": 300000, "size": 1},
    ]
    box.linux["uidMappings"] = box.linux["gidMappings"] = ranges
    box.process["user"] = {"uid": 1000, "gid": 1000}
    pid = box.sleeping()
    assert os.stat(f"/proc/{pid}").st_uid == 300000


def test_root_of_a_user_namespace_cannot_touch_files_of_the_host_s_root(box: Box) -> None:
    box.user_namespace()
    secret = box.place / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    box.mount("/mnt/secret", source=str(secret))
    (box.rootfs / "mnt/secret").touch()
    box.script("cat /mnt/secret")
    assert box.run().code == 1


def test_a_user_namespace_with_every_default_mount_has_its_devices(box: Box) -> None:
    box.user_namespace()
    out = box.sh("echo x > /dev/null && head -c 4 /dev/zero | wc -c; ls -l /dev/null")
    assert out.splitlines()[0] == "4"


def test_message_queues_of_a_user_namespace_belong_to_its_root(box: Box) -> None:
    box.user_namespace()
    assert box.sh("stat -c '%u %g' /dev/mqueue") == "0 0\n"


def test_a_process_user_that_is_not_mapped_is_refused(box: Box) -> None:
    box.user_namespace(size=10)
    box.process["user"] = {"uid": 5000, "gid": 0}
    box.run().failed("/process/user", "not mapped")
    box.clean()


@pytest.mark.beyond_runc("refused since 1.2")
def test_mappings_without_a_user_namespace_are_refused(box: Box) -> None:
    box.linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 10}]
    box.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 10}]
    box.run().failed("user namespace")
    box.clean()


def test_a_user_namespace_without_mappings_is_refused(box: Box) -> None:
    box.add_namespace("user")
    box.run().failed("uidMappings")
    box.clean()


# -- joining


@pytest.fixture
def other(new_box: Callable[[], Box]) -> Box:
    """Another container that runs, with every namespace but the user's."""
    box = new_box()
    box.add_namespace("cgroup")
    box.sleeping()
    return box


@pytest.mark.shows("/linux/namespaces/*/path")
@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "pid", "cgroup"])
def test_a_namespace_is_joined_by_path(box: Box, other: Box, kind: str) -> None:
    target = other.pid()
    box.config.pop("hostname")
    box.add_namespace(kind, f"/proc/{target}/ns/{ALL_NAMESPACES[kind]}")
    pid = box.sleeping()
    assert namespace(pid, kind) == namespace(target, kind)
    if kind != "network":
        assert namespace(pid, "network") != namespace(target, "network")


def test_a_joined_pid_namespace_shows_the_other_container_s_processes(box: Box, other: Box) -> None:
    box.add_namespace("pid", f"/proc/{other.pid()}/ns/pid")
    out = box.sh("echo me $$; ps -o pid,args")
    assert "1 /bin/sleep 1000" in " ".join(out.split())
    assert "me 1\n" not in out


def test_deleting_a_container_leaves_the_one_whose_namespaces_it_joined(box: Box, other: Box) -> None:
    box.add_namespace("pid", f"/proc/{other.pid()}/ns/pid")
    box.add_namespace("network", f"/proc/{other.pid()}/ns/net")
    box.sleeping()
    box.delete("--force").ok()
    box.clean()
    assert other.status() == "running"


@pytest.mark.beyond_runc("reads the mappings of a joined namespace since 1.2")
def test_a_user_namespace_is_joined_by_path(box: Box, new_box: Callable[[], Box]) -> None:
    other = new_box()
    other.user_namespace()
    target = other.sleeping()
    box.user_namespace()
    del box.linux["uidMappings"], box.linux["gidMappings"]
    box.add_namespace("user", f"/proc/{target}/ns/user")
    box.add_namespace("network", f"/proc/{target}/ns/net")
    pid = box.sleeping()
    assert namespace(pid, "user") == namespace(target, "user")
    assert namespace(pid, "network") == namespace(target, "network")
    assert os.stat(f"/proc/{pid}").st_uid == 100000
    assert box.exec_sh("id -u") == "0\n"


@pytest.fixture
def owner(new_box: Callable[[], Box]) -> Box:
    """Another container that runs, with a user namespace that owns its other namespaces."""
    box = new_box()
    box.user_namespace()
    box.sleeping()
    return box


def joining(box: Box, path: str) -> Box:
    """The box's files for the ids of that user namespace, which it joins, without any mappings."""
    box.user_namespace()
    del box.linux["uidMappings"], box.linux["gidMappings"]
    box.add_namespace("user", path)
    return box


@pytest.mark.shows("/linux/namespaces/*/path")
@pytest.mark.beyond_runc("reads the mappings of a joined namespace since 1.2")
def test_every_namespace_of_another_container_is_joined_with_its_user_namespace(box: Box, owner: Box) -> None:
    """A pod's containers: what the user namespace owns is entered after it."""
    target = owner.pid()
    joining(box, f"/proc/{target}/ns/user")
    box.config.pop("hostname")
    for kind in ("network", "ipc", "uts", "pid"):
        box.add_namespace(kind, f"/proc/{target}/ns/{ALL_NAMESPACES[kind]}")
    pid = box.sleeping()
    for kind in ("user", "network", "ipc", "uts", "pid"):
        assert namespace(pid, kind) == namespace(target, kind)
    assert namespace(pid, "mount") != namespace(target, "mount")
    assert box.exec_sh("id -u; hostname") == "0\nbox\n"


@pytest.mark.beyond_runc("reads the mappings of a joined namespace since 1.2")
def test_a_user_namespace_is_joined_with_a_network_namespace_that_the_host_owns(
    box: Box, owner: Box, other: Box
) -> None:
    """Which is entered before it: from inside, nobody has the privilege."""
    joining(box, f"/proc/{owner.pid()}/ns/user")
    box.add_namespace("network", f"/proc/{other.pid()}/ns/net")
    box.mounts[:] = [m for m in box.mounts if m["type"] != "sysfs"]
    pid = box.sleeping()
    assert namespace(pid, "user") == namespace(owner.pid(), "user")
    assert namespace(pid, "network") == namespace(other.pid(), "network")
    assert box.exec_sh("id -u") == "0\n"


def test_a_new_user_namespace_with_a_network_namespace_that_the_host_owns(box: Box, other: Box) -> None:
    """Docker's --userns-remap with --network container:…"""
    box.user_namespace()
    box.add_namespace("network", f"/proc/{other.pid()}/ns/net")
    box.mounts[:] = [m for m in box.mounts if m["type"] != "sysfs"]
    pid = box.sleeping()
    assert namespace(pid, "network") == namespace(other.pid(), "network")
    assert box.exec_sh("readlink /proc/self/ns/net") == namespace(other.pid(), "network") + "\n"


@pytest.mark.shows("/linux/uidMappings", "/linux/gidMappings")
@pytest.mark.beyond_runc("accepts them since 1.2")
def test_mappings_beside_a_joined_user_namespace_have_to_be_its_own(box: Box, owner: Box) -> None:
    """containerd and CRI-O write both."""
    box.user_namespace()
    box.add_namespace("user", f"/proc/{owner.pid()}/ns/user")
    assert box.sh("id -u; cat /proc/self/uid_map").split() == ["0", "0", "100000", "65536"]
    box.linux["gidMappings"][0]["size"] = 10
    box.run().failed("/linux/gidMappings", "0 100000 65536", "remove")
    box.clean()


@pytest.mark.beyond_runc("reads the mappings of a joined namespace since 1.2")
def test_a_user_namespace_kept_by_a_bind_mount_is_joined(box: Box, owner: Box) -> None:
    """CRI-O pins the namespaces of its pods."""
    where = box.place / "userns"
    where.touch()
    subprocess.run(["mount", "--bind", f"/proc/{owner.pid()}/ns/user", where], check=True)
    try:
        joining(box, str(where))
        box.process["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
        pid = box.sleeping()
        assert namespace(pid, "user") == namespace(owner.pid(), "user")
        assert os.stat(f"/proc/{pid}").st_uid == 100007
        assert proc_status(pid)["Groups"].split() == ["100009"]
        box.linux["uidMappings"] = [{"containerID": 0, "hostID": 5, "size": 1}]
        box.delete("--force").ok()
        box.run().failed("/linux/uidMappings", "0 100000 65536")
        box.delete("--force").ok()
    finally:
        subprocess.run(["umount", where], check=True)


def test_a_user_namespace_whose_mapping_has_no_root(box: Box) -> None:
    box.user_namespace()
    for key in ("uidMappings", "gidMappings"):
        box.linux[key] = [{"containerID": 1000, "hostID": 101000, "size": 10}]
    box.process["user"] = {"uid": 1001, "gid": 1002}
    box.config["mounts"] = [m for m in box.mounts if m["destination"] == "/proc"]
    for directory, _, _ in os.walk(box.rootfs):
        os.chmod(directory, 0o777)
    pid = box.sleeping()
    assert os.stat(f"/proc/{pid}").st_uid == 101001


def test_a_new_user_namespace_needs_both_mappings(box: Box) -> None:
    box.user_namespace()
    del box.linux["gidMappings"]
    box.run().failed("/linux/gidMappings")
    box.clean()


def test_a_network_namespace_made_by_ip_netns_is_joined(box: Box) -> None:
    where = box.place / "netns"
    where.touch()
    subprocess.run(["unshare", f"--net={where}", "true"], check=True)
    try:
        box.add_namespace("network", str(where))
        pid = box.sleeping()
        assert os.stat(f"/proc/{pid}/ns/net").st_ino == where.stat().st_ino
        box.delete("--force").ok()
    finally:
        subprocess.run(["umount", where], check=True)


def test_a_missing_namespace_path_is_named(box: Box) -> None:
    box.add_namespace("network", "/no/such/netns")
    box.run().failed("/linux/namespaces/4", "/no/such/netns", "no such file or directory")
    box.clean()


@pytest.mark.parametrize("path", ["/proc/self/ns/uts", "/etc/passwd"])
def test_a_namespace_path_of_another_type_is_named(box: Box, path: str) -> None:
    box.add_namespace("network", path)
    box.run().failed("/linux/namespaces/4", path, "namespace")
    box.clean()


def test_a_namespace_listed_twice_is_refused(box: Box) -> None:
    box.linux["namespaces"].append({"type": "uts"})
    box.run().failed("uts")
    box.clean()


@pytest.mark.parametrize("field", ["hostname", "domainname"])
def test_a_hostname_without_a_uts_namespace_is_refused(box: Box, field: str) -> None:
    if field == "domainname" and box.is_runc:
        pytest.skip("runc differs: domainname came with 1.2")
    box.drop_namespace("uts")
    box.config.pop("hostname")
    box.config[field] = "evil"
    box.run().failed(f"/{field}", "uts")
    box.clean()


@pytest.mark.shows("/{hostname,domainname}")
def test_hostname_and_domainname(box: Box) -> None:
    box.config["hostname"] = "inside"
    assert box.sh("hostname") == "inside\n"
    assert os.uname().nodename != "inside"


@pytest.mark.beyond_runc("domainname came with 1.2")
def test_domainname(box: Box) -> None:
    box.config["domainname"] = "example.org"
    assert box.sh("cat /proc/sys/kernel/domainname") == "example.org\n"
