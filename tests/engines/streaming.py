"""Exec, attach and port forwarding over the streaming server of containerd's CRI plugin.

It is a websocket (RFC 6455) with Kubernetes' protocol v4.channel.k8s.io: each message begins with the number
of its channel. There is no more of a websocket here than these tests need.
"""

import base64
import json
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import urlsplit

# Channels of a process; the status comes at its end. Of a forwarded port 0 and 1 are its data and its errors.
STDIN, STDOUT, STDERR, STATUS = range(4)


class Stream:
    """The client's side of a websocket."""

    def __init__(self, to: IO[bytes], source: IO[bytes]) -> None:
        self.to = to
        self.source = source

    def begin(self, path: str, host: str) -> None:
        head = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: v4.channel.k8s.io",
        ]
        self.to.write("\r\n".join([*head, "", ""]).encode())
        self.to.flush()
        answer = self.source.readline()
        assert b" 101 " in answer, answer
        while self.source.readline() != b"\r\n":
            pass

    def send(self, channel: int, content: bytes) -> None:
        """`content` has at most 124 bytes."""
        message = bytes([channel]) + content
        # Final and binary; masked, as all of a client, with zeros.
        self.to.write(struct.pack("!BBI", 0x82, 0x80 | len(message), 0) + message)
        self.to.flush()

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Channel and content of each message, to the end."""
        while len(head := self.source.read(2)) == 2 and head[0] & 0xF != 8:
            length = head[1]
            if length == 126:
                (length,) = struct.unpack("!H", self.source.read(2))
            message = self.source.read(length)
            if message:
                yield message[0], message[1:]


@contextmanager
def opened(url: str, inside: list[str]) -> Iterator[Stream]:
    """A stream to an address in the network namespace that the words `inside` lead into."""
    parts = urlsplit(url)
    command = [*inside, "busybox", "nc", str(parts.hostname), str(parts.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as connection:
        assert connection.stdin is not None
        assert connection.stdout is not None
        try:
            stream = Stream(connection.stdin, connection.stdout)
            stream.begin(parts.path, parts.netloc)
            yield stream
        finally:
            connection.kill()


def converse(url: str, inside: list[str], stdin: str) -> tuple[str, str, dict[str, Any]]:
    """What a process prints on stdout and stderr, and its status, when `stdin` is typed."""
    channels = {STDOUT: b"", STDERR: b"", STATUS: b""}
    with opened(url, inside) as stream:
        if stdin:
            stream.send(STDIN, stdin.encode())
        for channel, content in stream.messages():
            channels[channel] += content
    return channels[STDOUT].decode(), channels[STDERR].decode(), json.loads(channels[STATUS])


def forward(url: str, inside: list[str], request: bytes) -> bytes:
    """What whoever listens at a forwarded port answers to a request."""
    answer = b""
    with opened(url, inside) as stream:
        stream.send(0, request)
        # The first message of either channel is the port's number.
        numbers = {0, 1}
        for channel, content in stream.messages():
            if channel in numbers:
                numbers.remove(channel)
                continue
            assert channel == 0, content
            answer += content
    return answer
