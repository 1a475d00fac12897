"""Hands the listener of a seccomp filter to the agent that answers for the kernel.

Source: `listenerPath` and "The Container Process State" of runtime-spec's config-linux.md. What the agent
then does with the container's system calls is no business of the runtime's.
"""

import posix
from _socket import SCM_RIGHTS, SOL_SOCKET, socket
from _struct import Struct

from pyrunc import json
from pyrunc.errors import Error
from pyrunc.host.sockets import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_POINTER = "/linux/seccomp/listenerPath"
_MSG_CMSG_CLOEXEC = 0x40000000
_int = Struct("=i")


class Agent:
    """A connection to the agent, for one process. It is made before the process is let go on, so that
    an agent that is not there is known in time. served tells whether the agent has the listener."""

    __slots__ = ("_agent", "_connection", "served")

    def __init__(self, agent: "dict[str, str]", bundle: str) -> None:
        """agent is what `compile.seccomp.agent` tells; a relative path is one in the bundle."""
        path = agent["path"]
        if not path.startswith("/"):
            path = f"{bundle}/{path}"
        self._agent = agent
        self.served = False
        try:
            self._connection = socket(fileno=connect(path, "the seccomp agent's socket"))
        except Error as error:
            raise Error(error.message, pointer=_POINTER) from None

    def hand_over(self, listener: int, pid: int, state: "dict[str, Any]") -> None:
        """Sends the descriptor of a filter's listener, which it closes, and ends the connection.

        pid is the filtered process as the runtime sees it, state the container's state document.
        """
        document = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid}
        if "metadata" in self._agent:
            document["metadata"] = self._agent["metadata"]
        document["state"] = state
        data = json.encode(document).encode()
        try:
            sent = self._connection.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, _int.pack(listener))])
            self._connection.sendall(data[sent:])
        except OSError as error:
            raise Error(
                f"the seccomp agent at {self._agent['path']} does not take the listener: {error.strerror}",
                pointer=_POINTER,
            ) from None
        finally:
            self._connection.close()
            posix.close(listener)
        self.served = True


def receive(connection: socket, size: int) -> tuple[bytes, int]:
    """What init writes, up to a size, and the descriptor that comes with it, or -1. Nothing at the end."""
    data, control, _, _ = connection.recvmsg(size, 64, _MSG_CMSG_CLOEXEC)
    for level, kind, rights in control:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            return data, int(_int.unpack(rights[: _int.size])[0])
    return data, -1
