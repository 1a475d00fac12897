"""NOTIFY_SOCKET: the container tells that it is ready, and systemd, here a socket of a test, hears it."""

import array
import os
import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Box, wait_for

# Sends its arguments as sd_notify(3) does; for BARRIER, as sd_notify_barrier(3) does, and waits 10 s for it.
SENDER = r"""
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_DGRAM, 0), ends[2];

	strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof(to.sun_path) - 1);
	if (connect(s, (struct sockaddr *)&to, sizeof(to)))
		return perror("connect"), 2;
	for (int i = 1; i < argc; i++) {
		char room[CMSG_SPACE(sizeof(int))] = { 0 };
		struct iovec text = { argv[i], strlen(argv[i]) };
		struct msghdr message = { .msg_iov = &text, .msg_iovlen = 1 };
		struct pollfd end;

		if (strcmp(argv[i], "BARRIER=1")) {
			if (sendmsg(s, &message, 0) < 0)
				return perror("sendmsg"), 3;
			continue;
		}
		message.msg_control = room;
		message.msg_controllen = sizeof(room);
		*(struct cmsghdr *)room = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		pipe(ends);
		memcpy(CMSG_DATA((struct cmsghdr *)room), &ends[1], sizeof(int));
		if (sendmsg(s, &message, 0) < 0)
			return perror("sendmsg"), 3;
		close(ends[1]);
		end = (struct pollfd){ ends[0], 0, 0 };
		if (poll(&end, 1, 10000) != 1)
			return 4;
		puts("barrier passed");
	}
	return 0;
}
"""


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("gcc compiles what the container sends with")
    target = tmp_path_factory.mktemp("notify") / "notify"
    (target.parent / "notify.c").write_text(SENDER)
    command = ["gcc", "-static", "-O1", "-w", "-o", str(target), str(target.parent / "notify.c")]
    subprocess.run(command, check=True)
    return target


class Systemd:
    """The socket of a service manager, and what was sent there."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.env = {"NOTIFY_SOCKET": address}
        self.kept: list[int] = []

    def heard(self, timeout: float = 0) -> bool:
        return bool(select.select([self.socket], [], [], timeout)[0])

    def message(self) -> str:
        """The next message; the descriptors that come with it are kept."""
        assert self.heard(15), "nothing was sent"
        data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(16))
        for _, _, raw in ancillary:
            fds = array.array("i", raw)
            self.kept += fds
        return data.decode().rstrip("\n")

    def pass_barrier(self) -> None:
        assert len(self.kept) == 1
        os.close(self.kept.pop())


@pytest.fixture
def systemd(box: Box) -> Iterator[Systemd]:
    manager = Systemd(str(box.place / "systemd"))
    yield manager
    for fd in manager.kept:
        os.close(fd)
    manager.socket.close()


@pytest.fixture
def service(box: Box, sender: Path) -> Box:
    """A container that is ready once /tmp/go is there."""
    shutil.copy(sender, box.rootfs / "bin/notify")
    box.script(
        "echo $NOTIFY_SOCKET; while [ ! -e /tmp/go ]; do sleep 0.05; done; "
        "notify STATUS=x MAINPID=1 'FDSTORE=1\nSTATUS=READY=1' 'STATUS=up\nREADY=1' BARRIER=1; echo sent; "
        "[ -e /tmp/end ] || sleep 1000"
    )
    box.save()
    return box


def test_start_waits_until_the_container_is_ready(service: Box, systemd: Systemd) -> None:
    box = service
    box.create(save=False, env=systemd.env).ok()
    output, pid = box.last_out, box.pid()
    assert not systemd.heard()
    started = box.spawn("start", box.id, env=systemd.env)
    box.wait_status("running")
    # Meanwhile other verbs work.
    assert box.exec_sh("echo $NOTIFY_SOCKET; ls /run/notify") == "\nnotify.sock\n"
    assert started.poll() is None
    (box.rootfs / "tmp/go").touch()
    # Nothing else that the container sends comes through.
    assert [systemd.message() for _ in range(3)] == ["READY=1", f"MAINPID={pid}", "BARRIER=1"]
    assert started.poll() is None, "start waits until its messages are read"
    systemd.pass_barrier()
    assert started.wait(15) == 0
    assert not systemd.heard()
    # The container's own barrier is passed too.
    wait_for(lambda: output.read_text() == "/run/notify/notify.sock\nbarrier passed\nsent\n", "the output")


def test_a_detached_run_waits_until_the_container_is_ready(service: Box, systemd: Systemd) -> None:
    box = service
    words = ("run", "-d", "--bundle", str(box.bundle), box.id)
    started = box.spawn(*words, env=systemd.env, stdout=subprocess.DEVNULL)
    wait_for(lambda: box.root.exists() and (box.root / box.id / "state.json").exists(), "the container")
    (box.rootfs / "tmp/go").touch()
    assert [systemd.message() for _ in range(3)] == ["READY=1", f"MAINPID={box.pid()}", "BARRIER=1"]
    systemd.pass_barrier()
    assert started.wait(15) == 0
    assert box.status() == "running"


def test_in_the_foreground_the_runtime_is_the_main_process(service: Box, systemd: Systemd) -> None:
    box = service
    for name in ("go", "end"):
        (box.rootfs / "tmp" / name).touch()
    child = box.spawn("run", "--bundle", str(box.bundle), box.id, env=systemd.env, stdout=subprocess.PIPE)
    assert child.communicate(timeout=60)[0] == b"/run/notify/notify.sock\nbarrier passed\nsent\n"
    assert child.returncode == 0
    assert [systemd.message() for _ in range(2)] == ["READY=1", f"MAINPID={child.pid}"]
    assert not systemd.heard()
    box.clean()


@pytest.mark.parametrize("verb", ["run", "start"])
def test_a_container_that_ends_before_it_is_ready_ends_a_wait(
    box: Box, systemd: Systemd, verb: str
) -> None:
    box.args("/bin/true")
    if verb == "run":
        box.run("-d", env=systemd.env).ok()
    else:
        box.create(env=systemd.env).ok()
        box.verb("start", box.id, env=systemd.env).ok()
    assert not systemd.heard()
    box.delete().ok()
    box.clean()


def test_an_ordinary_user_of_a_user_namespace_tells_too(service: Box, systemd: Systemd) -> None:
    box = service
    box.user_namespace()
    box.process["user"] = {"uid": 1000, "gid": 1000}
    for name in ("go", "end"):
        (box.rootfs / "tmp" / name).touch()
    assert "sent" in box.run(env=systemd.env).ok().out
    assert systemd.message() == "READY=1"


def test_an_abstract_socket(service: Box) -> None:
    box = service
    manager = Systemd(f"@{box.id}")
    for name in ("go", "end"):
        (box.rootfs / "tmp" / name).touch()
    box.run(save=False, env=manager.env).ok()
    assert manager.message() == "READY=1"
    manager.socket.close()


def test_the_directory_of_the_socket_is_all_that_is_seen(box: Box, systemd: Systemd) -> None:
    out = box.sh("ls /run/notify; grep /run/notify /proc/self/mountinfo", env=systemd.env)
    assert out.startswith("notify.sock\n")
    assert " ro,nosuid,nodev,noexec" in out


def test_what_a_privileged_container_puts_beside_the_socket_does_not_keep_it_from_being_deleted(
    box: Box, systemd: Systemd
) -> None:
    box.capabilities("CAP_SYS_ADMIN")
    nest = "i=0; while [ $i -lt 50 ]; do mkdir d e; : >f; cd d; i=$((i+1)); done"
    box.script(f"mount -o remount,rw,bind /run/notify && cd /run/notify && {nest}; echo $i")
    assert box.run(env=systemd.env).ok().out == "50\n"
    box.clean()


def test_nobody_who_listens_is_a_warning(service: Box) -> None:
    box = service
    for name in ("go", "end"):
        (box.rootfs / "tmp" / name).touch()
    result = box.run(save=False, env={"NOTIFY_SOCKET": "/nonexistent/socket"}).ok()
    assert "/nonexistent/socket" in result.err


def test_start_of_a_container_made_without_is_a_warning(box: Box, systemd: Systemd) -> None:
    box.args("/bin/sleep", "1000")
    box.create().ok()
    assert "no effect" in box.verb("start", box.id, env=systemd.env).ok().err
    assert box.status() == "running"


def test_a_failing_create_leaves_no_socket(box: Box, systemd: Systemd) -> None:
    box.args("/no/such/program")
    box.run(env=systemd.env).failed("no such file")
    box.clean()
    box.args("/bin/true")
    box.create(env=systemd.env).ok()
    box.delete("--force").ok()
    box.clean()


def test_without_the_variable_there_is_neither_mount_nor_variable(box: Box) -> None:
    assert box.sh("echo $NOTIFY_SOCKET; ls /run") == "\n"


def test_what_fails_for_the_socket_names_the_variable(box: Box, systemd: Systemd) -> None:
    if box.is_runc:
        pytest.skip("runc names no variable")
    (box.rootfs / "run").mkdir(exist_ok=True)
    (box.rootfs / "run/notify").write_text("a file of the image")
    result = box.run(env=systemd.env).failed("NOTIFY_SOCKET: ", "/run/notify")
    assert "/mounts/" not in result.err
    box.clean()
