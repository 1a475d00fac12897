"""What a container has outside of itself besides cgroups: the socket of NOTIFY_SOCKET, groups of resctrl,
network devices of the host, a seccomp agent.

Loaded only for a container that has one of them. What is done here is put on the list of what is undone.
"""

import posix

from pyrunc.container import record as records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.compile.facts import Facts, Request
    from pyrunc.container import Runtime
    from pyrunc.host.launch import Init
    from pyrunc.host.netdevices import Devices
    from pyrunc.host.sd_notify import Proxy
    from pyrunc.host.seccomp_agent import Agent
    from pyrunc.program.model import Program
    from pyrunc.state import Directory


class Companions:
    """Those of one container that is being created.

    listener  what `compile.seccomp.agent` tells of the seccomp agent, or None
    proxy     of `run`, where the service is awaited to be ready
    """

    __slots__ = ("_agent", "_config", "_devices", "_notify", "_request", "_undo", "listener", "proxy")

    def __init__(
        self, rt: "Runtime", config: "dict[str, Any]", facts: "Facts", request: "Request",
        listener: "dict[str, str] | None", undo: "list[Callable[[], None]]",
    ) -> None:
        """Completes the configuration and the facts before they are compiled; has no effect yet."""
        self._config = config
        self._request = request
        self._undo = undo
        self.listener = listener
        self._agent: Agent | None = None
        self._devices: Devices | None = None
        self.proxy: Proxy | None = None
        self._notify = ""
        if notifies(config):
            from pyrunc.host import sd_notify

            self._notify = sd_notify.add(config, facts, f"{rt.root}/{request.id}")
        if config.get("linux", {}).get("netDevices"):
            from pyrunc.host import netdevices

            netdevices.check(config)

    def attribute(self, program: "Program") -> None:
        """Has the steps for what the configuration does not ask for name what does."""
        if self._notify:
            for step in program.steps:
                if step.origin == self._notify:
                    step.origin = "NOTIFY_SOCKET"

    def make(self, directory: "Directory", record: "dict[str, Any]") -> None:
        """Makes what has to be there before init starts, and puts the groups of resctrl into the record."""
        if self.listener is not None:
            record["listener"] = self.listener
        if self._notify:
            from pyrunc.host import sd_notify

            sd_notify.make(directory.fd)
            if not self._request.wait:
                self.proxy = sd_notify.Proxy(directory.fd)
        if self._config.get("linux", {}).get("intelRdt") is not None:
            from pyrunc.container.plan import rdt_plan
            from pyrunc.host import rdt

            groups = record["rdt"] = rdt.create(rdt_plan(self._config, self._request.id))
            self._undo.append(lambda: rdt.discard(groups))
        directory.write(record, creating=True)

    def move_device(self, init: "Init") -> None:
        """Moves the network device that init waits for."""
        if self._devices is None:
            from pyrunc.host.netdevices import Devices

            self._devices = Devices(init.pid, self._config)
            self._undo.append(self._devices.bring_back)
        self._devices.move(init.origin)

    def reach_agent(self, init: "Init", record: "dict[str, Any]") -> None:
        """`run`: connects to the seccomp agent, if there is one, while nothing of the container runs yet."""
        if self.listener is None or self._request.wait:
            return
        from pyrunc.host.seccomp_agent import Agent

        agent = self._agent = Agent(self.listener, self._request.bundle)
        state = records.document(self._request.id, record, "created")
        init.on_listener = lambda fd: agent.hand_over(fd, init.pid, state)

    def served(self) -> bool:
        """Whether the agent has what it needs, at the latest when the process is executed."""
        return self._agent is None or self._agent.served

    def close(self) -> None:
        """The container is there: what was kept for taking things back is not needed any more."""
        if self._devices is not None:
            self._devices.close()


def notifies(config: "dict[str, Any]") -> bool:
    """Whether the container is to say when it is ready (sd_notify(3))."""
    return bool(posix.environ.get(b"NOTIFY_SOCKET")) and "process" in config
