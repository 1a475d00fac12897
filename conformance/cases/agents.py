"""config-linux.md: a seccomp agent, to whom system calls are handed."""

import array
import errno
import fcntl
import json
import os
import select
import socket
import struct
from pathlib import Path
from typing import Any

from conformance.box import Box
from conformance.container import Container
from conformance.model import RuntimeFailed, case

# linux/seccomp.h: _IOWR('!', 0, struct seccomp_notif) and _IOWR('!', 1, struct seccomp_notif_resp).
RECV, SEND = 0xC0502100, 0xC0182101
ANSWER = errno.ENOMEDIUM  # no system call gives it by itself here


class Agent:
    """A listening socket, and what came over it."""

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self.patience = patience
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(4)
        self.listener.settimeout(patience)
        self.state: dict[str, Any] = {}
        self.descriptors: list[int] = []
        self.late = False  # whether descriptors came after data
        self.closed = False

    def receive(self) -> None:
        try:
            connection = self.listener.accept()[0]
        except TimeoutError as error:
            raise RuntimeFailed("nothing came to the socket of listenerPath") from error
        text = b""
        with connection:
            connection.settimeout(self.patience)
            while True:
                try:
                    data, control, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(64))
                except TimeoutError:
                    break
                for level, kind, value in control:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                        self.late |= bool(text)
                        self.descriptors += array.array("i", value[: len(value) // 4 * 4])
                text += data
                if not data:
                    self.closed = True
                    break
        try:
            self.state = json.loads(text)
        except ValueError as error:
            raise RuntimeFailed(f"what came to the agent is not JSON: {text[:200]!r}") from error

    def answer(self) -> bool:
        """Answer one call with an error; whether there was one."""
        descriptor = self.descriptors[0]
        if not select.select([descriptor], [], [], self.patience)[0]:
            return False
        request = bytearray(80)
        fcntl.ioctl(descriptor, RECV, request)
        number = struct.unpack_from("=Q", request)[0]
        fcntl.ioctl(descriptor, SEND, struct.pack("=QqiI", number, 0, -ANSWER, 0))
        return True

    def close(self) -> None:
        self.listener.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


def notifying(container: Container, path: str) -> None:
    container.process["noNewPrivileges"] = True
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "some data",
        "syscalls": [{"names": ["getpriority"], "action": "SCMP_ACT_NOTIFY"}],
    }


@case(
    "seccomp.listener", "seccomp.listener-state", "seccomp.listener-descriptor", "seccomp.listener-rights"
)
def a_seccomp_agent(box: Box) -> None:
    agent = Agent(box.directory / "agent", box.patience)
    try:
        container = box.container("call:getpriority:0:0")
        notifying(container, str(agent.path))
        container.config["annotations"] = {"com.example.key": "value"}
        container.create()
        # With runc's command line the filter is there when create, or when start returns.
        container.start()
        agent.receive()
        box.check("seccomp.listener", agent.closed, "the connection stays open")
        good = agent.descriptors and not agent.late
        box.check("seccomp.listener-rights", good, "no descriptor came with the first message")
        agent.listener.settimeout(0.2)
        try:
            agent.listener.accept()[0].close()
            box.check("seccomp.listener", False, "there is a second connection")
        except TimeoutError:
            pass
        state = agent.state.get("state") or {}
        for what, found, wanted in (
            ("fds", agent.state.get("fds"), ["seccompFd"]),
            ("pid", agent.state.get("pid"), container.pid),
            ("metadata", agent.state.get("metadata"), "some data"),
            ("state.id", state.get("id"), container.id),
            ("state.bundle", state.get("bundle"), str(container.bundle)),
            ("state.annotations", state.get("annotations"), container.config["annotations"]),
        ):
            box.equal("seccomp.listener-state", found, wanted, what)
        version = agent.state.get("ociVersion")
        box.check("seccomp.listener-state", version, f"ociVersion is {version!r}")
        if len(agent.descriptors) != 1 or not agent.answer():
            box.check("seccomp.listener-descriptor", False, f"{len(agent.descriptors)} came; no call did")
            return
        found = container.report().op("call:getpriority:0:0")["errno"]
        box.equal("seccomp.listener-descriptor", found, ANSWER, "the errno of the call")
    finally:
        agent.close()


@case("seccomp.listener-fails", "seccomp.listener-unused")
def no_seccomp_agent(box: Box) -> None:
    unused = box.container("call:getpriority:0:0")
    notifying(unused, str(box.directory / "nobody"))
    unused.linux["seccomp"]["syscalls"][0].update(action="SCMP_ACT_LOG")
    try:
        report = unused.run()
        box.equal("seccomp.listener-unused", report.op("call:getpriority:0:0")["errno"], 0, "the errno")
    except RuntimeFailed as error:
        box.check("seccomp.listener-unused", False, str(error))
    box.container().run()  # what is refused next is refused for its listener
    container = box.container()
    notifying(container, str(box.directory / "nobody"))
    created = container.try_create()
    started = container.call("start") if created else created
    box.check("seccomp.listener-fails", not started, "create and start are no error")
