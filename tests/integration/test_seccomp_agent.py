"""SCMP_ACT_NOTIFY: a real seccomp agent, in this process, gets the filter's listener and answers.

Source: config-linux.md, "Seccomp" and "The Container Process State"; seccomp_unotify(2).
"""

import array
import errno
import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Box, alive, proc_status, wait_for

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of system calls")

# struct seccomp_notif and seccomp_notif_resp, and the ioctls that take them (<linux/seccomp.h>)
NOTIFICATION, RESPONSE, ID = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI"), struct.Struct("=Q")
RECV, SEND, ID_VALID, CONTINUE = 0xC0502100, 0xC0182101, 0x40082102, 1
MKDIR, EXECVE, CAPSET = 83, 59, 126

Answer = tuple[int, int, int]  # value, negative errno, flags
GO_ON: Answer = (0, 0, CONTINUE)


def refuse(number: int, error: int) -> Callable[["Agent", int, int, int], Answer]:
    """Answers a system call with an errno, and lets all others go on."""
    return lambda agent, ask, pid, call: (0, -error, 0) if call == number else GO_ON


class Agent:
    """Listens as a seccomp agent does. States are what came, one for each connection; calls are the
    numbers of the system calls that were asked about, with who made them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.states: list[dict[str, Any]] = []
        self.after: list[bytes] = []
        self.calls: list[tuple[int, int]] = []
        self.listeners: list[int] = []
        self.answer: Callable[[Agent, int, int, int], Answer] = lambda agent, ask, pid, call: GO_ON
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen(8)
        self.wake, self.end = os.pipe()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        poll.register(self.socket, select.POLLIN)
        while True:
            for fd, events in poll.poll():
                if fd == self.wake:
                    return
                if fd == self.socket.fileno():
                    listener = self.take()
                    if listener >= 0:
                        poll.register(listener, select.POLLIN)
                elif events & select.POLLIN:
                    self.reply(fd)
                else:  # all that the filter was for have ended
                    poll.unregister(fd)

    def take(self) -> int:
        """The listener that a connection brings, or -1 where the runtime gave up before."""
        connection, _ = self.socket.accept()
        with connection:
            connection.settimeout(15)
            text, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(64))
            if not text:
                return -1
            ((level, kind, data),) = ancillary
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds = array.array("i", data)
            self.states.append(json.loads(text))
            self.after.append(connection.recv(1))
        assert len(fds) == 1
        self.listeners.append(fds[0])
        return fds[0]

    def reply(self, fd: int) -> None:
        raw = bytearray(NOTIFICATION.size)
        try:
            fcntl.ioctl(fd, RECV, raw)
            id, pid, _, call, *_ = NOTIFICATION.unpack(raw)
            self.calls.append((pid, call))
            fcntl.ioctl(fd, SEND, bytearray(RESPONSE.pack(id, *self.answer(self, id, pid, call))))
        except OSError as error:  # whoever asked was killed, or a signal took the call back
            assert error.errno in (errno.ENOENT, errno.EINPROGRESS), error

    def asked(self, call: int) -> int:
        """How often a system call came."""
        return [number for _, number in self.calls].count(call)

    def close(self) -> None:
        if self.thread.is_alive():
            os.write(self.end, b"x")
            self.thread.join(20)
            for fd in (self.wake, self.end, *self.listeners):
                os.close(fd)
            self.socket.close()
            self.path.unlink()


@pytest.fixture
def new_agent(box: Box) -> Iterator[Callable[[], Agent]]:
    agents: list[Agent] = []

    def make() -> Agent:
        agents.append(Agent(box.place / "agent.sock"))
        return agents[-1]

    yield make
    for agent in agents:
        agent.close()


@pytest.fixture
def agent(new_agent: Callable[[], Agent]) -> Agent:
    return new_agent()


def notify(box: Box, *names: str, default: str = "SCMP_ACT_ALLOW", **fields: Any) -> None:
    rules = [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}] if names else []
    box.linux["seccomp"] = {
        "defaultAction": default, "listenerPath": str(box.place / "agent.sock"), "syscalls": rules, **fields,
    }  # fmt: skip


@pytest.mark.shows("/linux/seccomp/{listenerPath,listenerMetadata}")
@pytest.mark.parametrize("nnp", [True, False])
def test_the_agent_gets_the_state_and_the_listener_and_answers(box: Box, agent: Agent, nnp: bool) -> None:
    box.process["noNewPrivileges"] = nnp
    box.config["annotations"] = {"key": "value"}
    notify(box, "mkdir", listenerMetadata="what the agent is told")
    agent.answer = refuse(MKDIR, errno.ENOMEDIUM)
    box.script("mkdir /tmp/x; echo end; sleep 1000")
    box.run("-d").ok()
    wait_for(lambda: "end" in box.output(), "the refused call")
    assert "No medium found" in box.errors()
    assert not (box.rootfs / "tmp/x").exists()
    pid = box.pid()
    assert agent.states == [
        {
            "ociVersion": box.config["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": "what the agent is told",
            "state": {
                "ociVersion": box.config["ociVersion"], "id": box.id, "status": "created", "pid": pid,
                "bundle": str(box.bundle), "annotations": {"key": "value"},
            },
        }
    ]  # fmt: skip
    # Nothing else is said on the connection, which is closed.
    assert agent.after == [b""]
    # One call of a child of the first process, and the process has neither listener nor second thread.
    assert agent.asked(MKDIR) == 1
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    status = proc_status(pid)
    assert (status["Threads"], status["Seccomp"], status["NoNewPrivs"]) == ("1", "2", str(int(nnp)))


def test_a_created_container_needs_the_agent_at_its_start(box: Box, new_agent: Callable[[], Agent]) -> None:
    """As its start fails without harm, it can be started once the agent is there."""
    notify(box, "mkdir")
    box.script("mkdir /tmp/x; echo code $?; sleep 1000")
    box.create().ok()
    output = box.last_out
    box.start().failed("/linux/seccomp/listenerPath", "agent.sock", "listening")
    assert box.status() == "created"
    agent = new_agent()
    agent.answer = refuse(MKDIR, errno.EDOM)
    box.start().ok()
    wait_for(lambda: "code 1" in output.read_text(), "the refused call")
    (state,) = agent.states
    assert state["pid"] == state["state"]["pid"] == box.pid()
    assert state["state"]["status"] == "created"
    assert "metadata" not in state


@pytest.mark.shows("/linux/seccomp/listenerPath")
def test_a_process_of_exec_has_a_listener_of_its_own(box: Box, agent: Agent) -> None:
    notify(box, "mkdir", listenerMetadata="x")
    agent.answer = refuse(MKDIR, errno.ENOSPC)
    first = box.sleeping()
    result = box.exec("/bin/sh", "-c", "mkdir /tmp/x; grep NSpid /proc/self/status; sleep 0.2")
    assert "No space left" in result.err
    assert len(agent.states) == 2
    state = agent.states[1]
    assert state["state"]["pid"] == first != state["pid"]
    assert state["state"]["status"] == "running"
    assert state["metadata"] == "x"
    assert agent.asked(MKDIR) == 1


ALL = (
    "read write open openat close sendmsg recvmsg sendto futex exit exit_group execve capset close_range "
    "sched_yield sched_setscheduler rt_sigaction rt_sigprocmask mmap munmap brk seccomp prctl clone3"
)


@pytest.mark.parametrize("nnp", [True, False])
@pytest.mark.parametrize("verb", ["run", "start", "exec"])
def test_every_system_call_may_be_the_agent_s(box: Box, agent: Agent, verb: str, nnp: bool) -> None:
    """Those too that other runtimes need to hand the listener over: the agent has it before the first."""
    box.process["noNewPrivileges"] = nnp
    notify(box, *ALL.split())
    box.args("/bin/echo", "said")
    if verb == "run":
        assert box.run().ok().out == "said\n"
    elif verb == "start":
        box.create().ok()
        output = box.last_out
        box.start().ok()
        wait_for(lambda: output.read_text() == "said\n", "the output")
    else:
        box.sleeping()
        assert box.exec("/bin/echo", "said").ok().out == "said\n"
    assert agent.asked(EXECVE) >= 1


def test_the_default_action_may_be_the_agent_s(box: Box, agent: Agent) -> None:
    notify(box, default="SCMP_ACT_NOTIFY")
    agent.answer = refuse(MKDIR, errno.EROFS)
    result = box.run_script("echo said; mkdir /tmp/x")
    assert result.out == "said\n"
    assert "Read-only file system" in result.err
    assert agent.calls[0][1] in (EXECVE, CAPSET)


def test_the_listener_is_sent_where_the_filter_denies_all_that_could_send_it(box: Box, agent: Agent) -> None:
    """No call comes between filter and execve: not even those that write, wait or send."""
    names = (
        "execve arch_prctl set_tid_address set_robust_list rseq brk mmap mprotect prlimit64 readlink "
        "getrandom exit_group getuid rt_sigprocmask newfstatat prctl rt_sigaction uname getpid gettid"
    ).split()
    notify(box, "mkdir", default="SCMP_ACT_KILL_PROCESS")
    box.linux["seccomp"]["syscalls"].append({"names": names, "action": "SCMP_ACT_ALLOW"})
    agent.answer = refuse(MKDIR, errno.ENOSPC)
    box.args("/bin/mkdir", "/tmp/x")
    box.run()
    assert agent.asked(MKDIR) == 1


def test_without_the_agent_nothing_is_left_of_a_run(box: Box) -> None:
    notify(box, "mkdir")
    box.run().failed("/linux/seccomp/listenerPath", "agent.sock", "listening")
    box.clean()


def test_exec_without_the_agent_leaves_nothing(box: Box, agent: Agent) -> None:
    notify(box, "mkdir")
    pid = box.sleeping()
    agent.close()
    box.exec("/bin/true").failed("/linux/seccomp/listenerPath", code=255)
    assert [p for p in box.processes() if p != pid] == []


def test_an_agent_that_ends_makes_its_calls_missing(box: Box, agent: Agent) -> None:
    notify(box, "mkdir")
    box.script("while [ ! -e /tmp/go ]; do sleep 0.05; done; mkdir /tmp/x; echo end")
    box.run("-d").ok()
    errors = box.last_err
    wait_for(lambda: agent.states, "the listener")
    agent.close()
    (box.rootfs / "tmp/go").touch()
    wait_for(lambda: "Function not implemented" in errors.read_text(), "ENOSYS")


def test_an_agent_that_hangs_up_stops_the_start(box: Box) -> None:
    """What cannot be sent is an error, and the process does not go on without its agent."""
    notify(box, "mkdir", listenerMetadata="x" * (4 << 20))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(box.place / "agent.sock"))
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(1)
            connection.close()

        for verb in (box.run, box.start):
            if verb == box.start:
                box.create().ok()
                pid = box.pid()
            thread = threading.Thread(target=hang_up)
            thread.start()
            verb().failed("/linux/seccomp/listenerPath", "agent")
            thread.join(20)
    assert not alive(pid)
    assert box.status() == "stopped"


@pytest.mark.shows("/linux/seccomp/listenerPath")
def test_the_path_means_nothing_where_no_action_needs_it(box: Box) -> None:
    notify(box, listenerMetadata="x")
    assert box.sh("echo said") == "said\n"


def test_the_action_needs_the_path(box: Box) -> None:
    notify(box, "mkdir", listenerPath="")
    box.run().failed("/linux/seccomp/listenerPath", "SCMP_ACT_NOTIFY")
    box.clean()


@pytest.mark.shows("/linux/seccomp/listenerPath")
def test_a_relative_path_is_one_in_the_bundle(box: Box, agent: Agent) -> None:
    notify(box, "mkdir", listenerPath="../agent.sock")
    agent.answer = refuse(MKDIR, errno.ENOSPC)
    assert "No space left" in box.run_script("mkdir /tmp/x").err


@pytest.mark.shows("/linux/seccomp/flags")
@pytest.mark.parametrize("flags", [[], ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]])
def test_wait_killable_keeps_a_call_that_a_signal_meets(box: Box, agent: Agent, flags: list[str]) -> None:
    """Without it a signal takes back the call that the agent has received."""
    notify(box, "umask", flags=flags)
    valid: list[bool] = []

    def meet(agent: Agent, id: int, pid: int, call: int) -> Answer:
        if not valid:
            os.kill(pid, signal.SIGUSR1)
            time.sleep(0.3)
            try:
                fcntl.ioctl(agent.listeners[-1], ID_VALID, ID.pack(id))
                valid.append(True)
            except FileNotFoundError:
                valid.append(False)
        return GO_ON

    agent.answer = meet
    out = box.sh("trap 'echo signal' USR1; umask 22; echo end")
    assert sorted(out.split()) == ["end", "signal"]
    assert valid == [bool(flags)]


@pytest.mark.parametrize(
    "flags", [["SECCOMP_FILTER_FLAG_TSYNC"], ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]]
)
def test_other_flags_go_with_a_listener(box: Box, agent: Agent, flags: list[str]) -> None:
    notify(box, "mkdir", flags=flags)
    agent.answer = refuse(MKDIR, errno.ENOSPC)
    assert "No space left" in box.run_script("mkdir /tmp/x").err


def test_a_container_of_one_process_has_no_room_for_the_listener_s_thread(box: Box, agent: Agent) -> None:
    notify(box, "mkdir")
    box.linux["resources"]["pids"] = {"limit": 1}
    box.args("/bin/true")
    box.run().failed("/linux/seccomp", "limit on processes")
    box.clean()


def test_a_real_time_process_leaves_its_only_cpu_to_the_listener_s_thread(box: Box, agent: Agent) -> None:
    notify(box, "mkdir")
    agent.answer = refuse(MKDIR, errno.ENOSPC)
    box.script("mkdir /tmp/x; sleep 1000")
    box.create().ok()
    errors, pid = box.last_err, box.pid()
    os.sched_setaffinity(pid, {0})
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        pytest.skip("the cpu controller of cgroup v1 gives the container no real-time budget")
    box.start().ok()
    wait_for(lambda: "No space left" in errors.read_text(), "the refused call")
