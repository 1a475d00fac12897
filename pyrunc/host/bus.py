"""A connection to a D-Bus bus, or to systemd's own socket, with a time limit for everything.

Messages are jeepney's to write and to read; its connections are not used, since they send a user id
for authentication, which is another one inside a user namespace than the bus sees. Source: D-Bus
Specification, "Message Protocol" and "Authentication Protocol".
"""

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket
from time import monotonic

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
# The bus takes the identity from the socket (SO_PEERCRED), whatever namespaces are in between.
_AUTHENTICATION = b"\0AUTH EXTERNAL\r\nDATA\r\n"
_BEGIN = b"BEGIN\r\n"
_MAX_LINES = 4096


def library() -> "Any":
    """The package jeepney. Raises Error where it is not installed."""
    from pyrunc import libraries

    libraries.enable()
    try:
        import jeepney
    except ImportError:
        raise Error(
            'the Python package "jeepney", which talks to systemd, is missing: install it, or leave '
            "--systemd-cgroup out"
        ) from None
    return jeepney


class BusError(Exception):
    """An error that came as the answer to a call: its D-Bus name and text."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{text} ({name})")
        self.name = name
        self.text = text


class Bus:
    """A connection; `signals` holds those that have arrived and nobody has asked for yet.

    Raises OSError where there is no connection, and TimeoutError where an answer takes longer than
    `seconds` from the connection's start.
    """

    __slots__ = ("_end", "_messages", "_parser", "_replies", "_serial", "_socket", "signals")

    def __init__(self, address: str, *, direct: bool, seconds: float) -> None:
        """address is a path, or an abstract name after a NUL; direct means a peer that is no bus."""
        self._messages = library().low_level
        self._parser = self._messages.Parser()
        self._replies: dict[int, Any] = {}
        self._serial = 0
        self._end = monotonic() + seconds
        self.signals: list[tuple[str, tuple[Any, ...]]] = []
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(address)
            self._authenticate()
            if not direct:
                self.call(BUS, "Hello")
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bytes:
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError("it was closed at the other end")
        return data

    def _authenticate(self) -> None:
        self._socket.sendall(_AUTHENTICATION)
        answer = b""
        # An empty DATA asks for the name, which the empty answer to it leaves to the socket.
        while not answer.endswith(b"\r\n") or b"OK " not in answer:
            if b"REJECTED" in answer or b"ERROR" in answer or len(answer) > _MAX_LINES:
                raise PermissionError(f"authentication: {answer.decode('utf-8', 'replace').strip()}")
            answer += self._receive()
        self._socket.sendall(_BEGIN)

    # -- messages ------------------------------------------------------------

    def send(
        self, target: tuple[str, str, str], member: str, signature: str = "", *body: object
    ) -> int:
        """Sends a call to (name on the bus, object, interface); the number to ask for its answer by."""
        m = self._messages
        name, path, interface = target
        fields: dict[Any, Any] = {
            m.HeaderFields.path: path,
            m.HeaderFields.destination: name,
            m.HeaderFields.interface: interface,
            m.HeaderFields.member: member,
        }
        if signature:
            fields[m.HeaderFields.signature] = signature
        self._serial += 1
        header = m.Header(m.Endianness.little, m.MessageType.method_call, 0, 1, 0, self._serial, fields)
        self._socket.sendall(m.Message(header, body).serialise())
        return self._serial

    def answer(self, number: int) -> "tuple[Any, ...]":
        """Waits for the answer to a call. Raises BusError where that is an error."""
        m = self._messages
        while number not in self._replies:
            self._read()
        reply = self._replies.pop(number)
        if reply.header.message_type is m.MessageType.error:
            text = reply.body[0] if reply.body and type(reply.body[0]) is str else ""
            raise BusError(reply.header.fields.get(m.HeaderFields.error_name, ""), text)
        body: tuple[Any, ...] = reply.body
        return body

    def call(
        self, target: tuple[str, str, str], member: str, signature: str = "", *body: object
    ) -> "tuple[Any, ...]":
        """Sends a call and waits for its answer."""
        return self.answer(self.send(target, member, signature, *body))

    def match(self, rule: str) -> int:
        """Asks the bus for the signals that a rule describes; a peer that is no bus sends all."""
        return self.send(BUS, "AddMatch", "s", rule)

    def signal(self) -> "tuple[str, tuple[Any, ...]]":
        """Waits for the next signal: its member and body."""
        while not self.signals:
            self._read()
        return self.signals.pop(0)

    def _read(self) -> None:
        m = self._messages
        for message in self._parser.feed(self._receive()):
            kind, fields = message.header.message_type, message.header.fields
            if kind is m.MessageType.signal:
                self.signals.append((fields.get(m.HeaderFields.member, ""), message.body))
            elif m.HeaderFields.reply_serial in fields:
                self._replies[fields[m.HeaderFields.reply_serial]] = message
