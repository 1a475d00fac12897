"""What a hostile image or a process inside must not reach, with the CVE where others broke."""

import os
import shutil
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from harness import Box, FdSocket, alive, wait_for


@pytest.mark.parametrize("number", [*range(3, 13)])
def test_a_working_directory_through_a_leaked_descriptor_is_refused(box: Box, number: int) -> None:
    """CVE-2024-21626: cwd = /proc/self/fd/N that is a directory of the host."""
    box.process["cwd"] = f"/proc/self/fd/{number}"
    box.script("pwd -P; ls -a ../../../..")
    result = box.run()
    assert result.code != 0, result
    assert "lost+found" not in result.out
    box.clean()


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 9])
def test_exec_with_a_working_directory_through_a_leaked_descriptor_is_refused(box: Box, number: int) -> None:
    """CVE-2024-21626, through exec --cwd."""
    box.sleeping()
    result = box.exec(
        "/bin/sh", "-c", "pwd -P; ls -a ../../../..", flags=["--cwd", f"/proc/self/fd/{number}"]
    )
    assert result.code != 0, result
    assert "lost+found" not in result.out


def test_a_working_directory_that_is_a_link_to_a_descriptor_is_refused(box: Box) -> None:
    """CVE-2024-21626, with the link in the image."""
    for number in range(3, 10):
        link = box.rootfs / "work"
        link.unlink(missing_ok=True)
        link.symlink_to(f"/proc/self/fd/{number}/../../../..")
        box.process["cwd"] = "/work"
        result = box.run_script("ls -a")
        assert "lost+found" not in result.out, result


def test_the_program_file_of_the_waiting_process_cannot_be_written(box: Box) -> None:
    """CVE-2019-5736: whoever opens /proc/PID/exe for writing must not get a file of the host."""
    box.create().ok()
    pid = box.pid()
    exe = Path(f"/proc/{pid}/exe")
    target = os.readlink(exe)
    if "memfd" in target or target.endswith(" (deleted)"):
        with pytest.raises(OSError), open(exe, "r+b"):  # sealed, or busy
            pass
    else:
        assert not (exe.stat().st_mode & 0o200) or os.statvfs(exe).f_flag & os.ST_RDONLY, target


@pytest.mark.parametrize("level", [1, 2])
def test_a_host_that_restricts_executable_memory_files(box: Box, level: int) -> None:
    """vm.memfd_noexec (Linux 6.3), which a PID namespace has its own of: 1 asks for a flag, 2 forbids."""
    sysctl = Path("/proc/sys/vm/memfd_noexec")
    if not sysctl.exists():
        pytest.skip("this kernel has no vm.memfd_noexec")
    box.args("/bin/echo", "ran")
    box.save()
    words = [*box.command, "--root", str(box.root), "run", "--bundle", str(box.bundle), box.id]
    script = f'echo {level} >{sysctl} && exec "$@"'
    command = ["unshare", "-pfm", "--mount-proc", "sh", "-c", script, "sh", *words]
    env = box.environment()
    done = subprocess.run(command, env=env, capture_output=True, text=True, input="", check=False)
    if level == 1 or box.is_runc:
        assert (done.returncode, done.stdout) == (0, "ran\n"), done
    else:
        assert done.returncode == 1, done
        assert "vm.memfd_noexec" in done.stderr
    box.clean()


def test_executing_its_own_program_from_inside_does_not_run_a_file_of_the_host(box: Box) -> None:
    """CVE-2019-5736: args of /proc/self/exe run the runtime itself, with the image's libraries."""
    box.args("/proc/self/exe", "--version")
    before = {
        p: p.stat().st_mtime_ns
        for p in (Path("/usr/bin/python3"), Path(shutil.which(box.command[0]) or "/bin/sh"))
    }
    result = box.run()
    assert result.code != 0 or "busybox" in result.out.lower() or "runc" in result.out
    assert {p: p.stat().st_mtime_ns for p in before} == before
    box.clean()


def test_exec_of_its_own_program_does_not_run_a_file_of_the_host(box: Box) -> None:
    """CVE-2019-5736, the published exploit: `#!/proc/self/exe` as the program that is executed."""
    script = box.rootfs / "trap"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    box.sleeping()
    box.exec("/trap", timeout=20)
    box.exec("/proc/self/exe", timeout=20)
    assert box.status() == "running"


def test_the_program_of_exec_cannot_be_opened_for_writing_from_inside(box: Box) -> None:
    """CVE-2019-5736: a process inside looks for the joining one and opens its /proc/PID/exe."""
    box.capabilities("CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
    watch = (
        "while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || [ $p = /proc/$$ ] || "
        "{ l=$(readlink $p/exe) && case $l in */busybox|'') ;; *) echo $l; "
        "(: >> $p/exe) 2>/dev/null && echo WRITTEN $l; esac; }; done; done"
    )
    box.script(watch)
    box.run("-d").ok()
    out = box.last_out
    for _ in range(10):
        box.exec("/bin/true")
    text = out.read_text()
    assert "WRITTEN" not in text, text
    for line in text.splitlines():
        assert line.startswith("/memfd:") or box.is_runc, f"a file of the host is in sight: {line}"


@pytest.mark.beyond_runc("1.1.5 mounts the link's target")
@pytest.mark.parametrize("target", ["/proc/sys/kernel/hostname", "/etc/passwd", "/proc/sysrq-trigger"])
def test_masking_does_not_trust_the_image_s_dev_null(box: Box, target: str) -> None:
    """CVE-2025-31133: with /dev/null a symlink of the image, masking would mount its target, writable."""
    box.mounts[:] = [m for m in box.mounts if not m["destination"].startswith("/dev")]
    (box.rootfs / "dev/null").symlink_to(target)
    (box.rootfs / "masked").write_text("secret")
    box.linux["maskedPaths"] = ["/masked"]
    box.linux["readonlyPaths"] = []
    before = (box.rootfs / "etc/passwd").read_text()
    result = box.run_script("cat /masked; echo changed > /masked")
    assert result.out == ""
    assert (box.rootfs / "etc/passwd").read_text() == before
    assert os.uname().nodename != "changed"
    box.clean()


def test_the_console_does_not_follow_a_link_of_the_image(box: Box) -> None:
    """CVE-2025-52565: /dev/console as a symlink makes the bind mount land elsewhere."""
    box.mounts[:] = [m for m in box.mounts if not m["destination"].startswith("/dev")]
    outside = box.place / "outside"
    outside.write_text("the host's")
    (box.rootfs / "dev/console").symlink_to(outside)
    listener = FdSocket(box.place / "c.sock")
    box.process["terminal"] = True
    box.script("echo text > /dev/console")
    result = box.create("--console-socket", listener.path)
    listener.close()
    assert result.code in (0, 1)
    if result.code == 0:
        box.start()
    assert outside.read_text() == "the host's"


@pytest.mark.beyond_runc("1.1.5 mounts over the link's target")
@pytest.mark.parametrize("name", ["console", "full"])
def test_nothing_of_dev_is_mounted_over_a_part_of_proc(box: Box, name: str) -> None:
    """CVE-2025-52565, CVE-2019-16884: /dev/NAME of the image is a link into /proc."""
    box.mounts[:] = [m for m in box.mounts if m["destination"] in ("/proc", "/sys")]
    box.mount("/dev/pts", "devpts", "devpts", ["newinstance", "ptmxmode=0666", "mode=0620"])
    (box.rootfs / "dev" / name).symlink_to("/proc/sys/kernel/ostype")
    box.linux["maskedPaths"] = []
    if name == "full":
        # Where devices are bound instead of made.
        box.user_namespace()
        box.run().failed("inside /proc")
    else:
        listener = FdSocket(box.place / "c.sock")
        box.process["terminal"] = True
        box.create("--console-socket", listener.path).failed("inside /proc")
        listener.close()
    box.clean()


def test_a_sysctl_is_not_written_through_a_redirected_proc(box: Box) -> None:
    """CVE-2025-52881: a tmpfs or a link in place of /proc/sys redirects the runtime's write."""
    (box.rootfs / "fake").mkdir()
    victim = box.place / "victim"
    victim.mkdir()
    (victim / "ip_forward").write_text("untouched")
    box.mounts[0] = {"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}
    box.mount("/proc/sys/net/ipv4", source=str(victim))
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    box.linux["maskedPaths"] = box.linux["readonlyPaths"] = []
    result = box.run()
    if not box.is_runc:
        assert (victim / "ip_forward").read_text() == "untouched", result
    box.clean()


def test_a_masked_path_through_a_link_of_the_image_stays_inside(box: Box) -> None:
    outside = box.place / "outside"
    outside.write_text("text")
    (box.rootfs / "link").symlink_to(f"../../../../../../..{outside}")
    box.linux["maskedPaths"] += ["/link"]
    box.linux["readonlyPaths"] += ["/link"]
    box.run()
    assert outside.read_text() == "text"
    outside.write_text("still writable")
    box.clean()


@pytest.mark.beyond_runc("1.1.5 follows the link")
def test_a_device_is_not_made_outside_through_a_link(box: Box) -> None:
    outside = box.place / "outside"
    outside.mkdir()
    box.mounts[:] = [m for m in box.mounts if not m["destination"].startswith("/dev")]
    shutil.rmtree(box.rootfs / "dev")
    (box.rootfs / "dev").symlink_to(outside)
    box.run()
    assert list(outside.iterdir()) == []
    box.clean()


def test_a_device_in_a_linked_directory_stays_inside(box: Box) -> None:
    outside = box.place / "outside"
    outside.mkdir()
    (box.rootfs / "link").symlink_to(outside)
    box.linux["devices"] = [{"path": "/link/dev", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]
    box.run()
    assert list(outside.iterdir()) == []
    box.clean()


def test_a_missing_working_directory_is_not_made_outside(box: Box) -> None:
    outside = box.place / "outside"
    outside.mkdir()
    (box.rootfs / "link").symlink_to(f"../../../../../../../../..{outside}")
    box.process["cwd"] = "/link/made"
    box.run()
    assert list(outside.iterdir()) == []
    box.clean()


def test_nothing_is_written_into_an_image_that_lacks_nothing(box: Box) -> None:
    """CVE-2025-24965: a file that the runtime writes into the image lands where its links lead."""
    for place in [mount["destination"] for mount in box.mounts] + ["/run/notify"]:
        (box.rootfs / place[1:]).mkdir(parents=True, exist_ok=True)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(box.place / "manager"))
    subprocess.run(["mount", "--bind", box.rootfs, box.rootfs], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", box.rootfs], check=True)
    try:
        box.script("echo up; echo down >/etc/passwd")
        # runc does not end before the service is ready.
        result = box.run(env={} if box.is_runc else {"NOTIFY_SOCKET": str(box.place / "manager")})
        assert result.out == "up\n"
        assert "Read-only file system" in result.err
    finally:
        manager.close()
        subprocess.run(["umount", box.rootfs], check=True)
    box.clean()


@pytest.mark.parametrize("detach", [True, False])
def test_standard_streams_are_not_the_image_s_dev_null(box: Box, detach: bool) -> None:
    """CVE-2026-88265: /dev/null of a hostile /dev, opened by path as standard input or output."""
    (box.rootfs / "bait").write_text("bait")
    hostile = box.place / "dev"
    hostile.mkdir()
    (hostile / "null").symlink_to("/bait")
    box.mounts[:] = [m for m in box.mounts if not m["destination"].startswith("/dev")]
    box.mount("/dev", source=str(hostile))
    box.linux["maskedPaths"] = []
    box.script("cat; echo changed")
    flags = ["-d"] if detach else []
    if not box.is_runc:
        # Standard input is the host's, in whose place only a device can come.
        box.run(*flags).failed("/dev/null")
        assert (box.rootfs / "bait").read_text() == "bait"
    result = box.run(*flags, input="").ok()
    if detach:
        box.wait_status("stopped")
    assert (box.rootfs / "bait").read_text() == "bait"
    assert "bait" not in box.last_out.read_text() + box.last_err.read_text(), result
    box.delete("--force")
    box.clean()


def test_tmpcopyup_does_not_copy_from_outside(box: Box) -> None:
    outside = box.place / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (box.rootfs / "link").symlink_to(f"../../../../../../../../..{outside}")
    box.mount("/link", "tmpfs", options=["tmpcopyup"])
    result = box.run_script("find / -xdev -name secret; ls /link/")
    assert "secret" not in result.out
    box.clean()


def test_a_mount_destination_exchanged_for_a_link_while_mounting_stays_inside(box: Box) -> None:
    """CVE-2021-30465: a directory of a volume is swapped with a link to / while mounts are made."""
    volume = box.place / "volume"
    (volume / "dir").mkdir(parents=True)
    victim = box.place / "victim"
    victim.mkdir()
    (volume / "link").symlink_to(f"../../../../../../../../../..{victim}")
    swap = (
        "import ctypes, os, sys\n"
        "os.chdir(sys.argv[1])\n"
        "while True: ctypes.CDLL(None).renameat2(-100, b'dir', -100, b'link', 2)\n"
    )
    command = ["/usr/bin/python3", "-c", swap, str(volume)]
    swapper = subprocess.Popen(command, env=box.environment())
    try:
        box.mount("/volume", source=str(volume))
        for n in range(8):
            box.mount(f"/volume/dir/m{n}", "tmpfs")
        box.script("true")
        for _ in range(4):
            result = box.run()
            assert result.code in (0, 1), result
            assert list(victim.iterdir()) == []
    finally:
        swapper.kill()
        swapper.wait()
    box.clean()


def test_the_state_directory_is_private(box: Box) -> None:
    box.create().ok()
    assert stat.S_IMODE((box.root / box.id).stat().st_mode) & 0o066 == 0
    for path in (box.root / box.id).iterdir():
        assert box.is_runc or not path.stat().st_mode & 0o022, path


@pytest.mark.beyond_runc("believes whoever can write its root")
@pytest.mark.parametrize("verb", ["state", "start", "kill", "exec", "pause", "delete", "delete --force"])
def test_a_record_that_another_user_has_written_is_not_believed(box: Box, verb: str) -> None:
    """Its hooks would run as root, its pid would be killed, its cgroups removed."""
    box.hook("poststop", f"touch {box.place}/ran")
    pid = box.sleeping()
    os.chown(box.root / box.id, 12345, 12345)
    try:
        words = {"exec": ["/bin/true"]}.get(verb, [])
        box.verb(*verb.split(), box.id, *words).failed("12345", code=255 if verb == "exec" else 1)
        assert not (box.place / "ran").exists()
        assert alive(pid)
    finally:
        os.chown(box.root / box.id, 0, 0)


def test_the_container_cannot_start_itself_or_reach_the_state(box: Box) -> None:
    assert str(box.root) not in box.sh(
        "cat /proc/self/mountinfo; find / -xdev -name state.json 2>/dev/null; true"
    )


def test_the_keyring_of_the_caller_is_not_the_container_s(box: Box) -> None:
    """Without --no-new-keyring the session keyring is new, so the host's keys cannot be read."""
    box.linux["maskedPaths"] = []
    out = box.sh("cat /proc/keys")
    assert "_ses." in out
    assert box.id in out


def test_no_new_keyring_joins_none(box: Box) -> None:
    box.linux["maskedPaths"] = []
    assert box.id not in box.sh("cat /proc/keys", "--no-new-keyring")


def test_a_container_cannot_regain_writable_readonly_paths_by_remounting(box: Box) -> None:
    result = box.run_script(
        "mount -o remount,rw,bind /proc/sys; umount /proc/kcore; echo 1 > /proc/sys/kernel/panic"
    )
    assert result.code != 0


def test_exec_is_not_fooled_by_a_process_that_swaps_the_root(box: Box) -> None:
    """exec enters through the recorded process's namespaces, whatever /proc/PID/root of another says."""
    box.script("mkdir -p /tmp/fake/bin; while :; do usleep 100000; done")
    box.run("-d").ok()
    assert box.exec("/bin/echo", "real").ok().out == "real\n"


@pytest.mark.parametrize("pointer", ["/process/user/uid", "/process/user/gid", "/linux/devices/0/uid"])
def test_an_id_that_the_kernel_takes_for_leave_it_as_it_is_is_refused(box: Box, pointer: str) -> None:
    """setresuid(2) and chown(2): -1. The process would stay the host's root."""
    box.linux["devices"] = [{"path": "/dev/fifo", "type": "p"}]
    place: Any = box.config
    *parents, last = pointer[1:].split("/")
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
    place[last] = 2**32 - 1
    box.args("/bin/id")
    result = box.run()
    assert "uid=0" not in result.out
    result.failed(pointer)
    box.clean()


def test_a_fork_bomb_at_delete_is_ended(box: Box) -> None:
    """Processes that fork while they are killed: the freezer or a second pass is needed."""
    box.drop_namespace("pid")
    box.linux["resources"]["pids"] = {"limit": 50}
    box.script("f() { while :; do sh -c 'usleep 1000' & usleep 500; done; }; f & f & f & exec sleep 1000")
    box.run("-d").ok()
    time.sleep(0.3)
    box.delete("--force").ok()
    wait_for(lambda: not box.leftovers(), "end of all processes", 5)
    box.clean()
