"""The D-Bus side of the systemd driver, against a server of the tests' own for what the real one does not
do on demand: refusing, failing, falling silent; and for cgroup v1."""

import posix
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jeepney import Header, HeaderFields, Message, MessageType, Parser
from jeepney.low_level import Endianness

from pyrunc.compile import cgroups, systemd
from pyrunc.compile.settings import Layout
from pyrunc.errors import Error
from pyrunc.host.bus import BUS, Bus, BusError
from pyrunc.host.cgroups import systemd as driver

# The answer to a call: signature and values; a text stands for an error of that name, None for silence.
Answer = tuple[str, tuple[Any, ...]] | str | None


class Server:
    """A bus with systemd on it; `calls` are the bodies by member, `answers` what they are answered with."""

    def __init__(self, path: Path) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers: dict[str, Callable[[], Answer]] = {
            "Hello": lambda: ("s", (":1.1",)),
            "AddMatch": lambda: ("", ()),
            "Subscribe": lambda: ("", ()),
            "ResetFailedUnit": lambda: ("", ()),
            "SetUnitProperties": lambda: ("", ()),
            "Get": lambda: ("v", (("s", self.version),)),
            "StartTransientUnit": lambda: ("o", ("/job/7",)),
            "StopUnit": lambda: ("o", ("/job/7",)),
        }
        self.version = "252.39-1~deb12u2"
        self.result = "done"
        self.greeting = b"DATA\r\nOK 0123\r\n"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        with connection:
            assert connection.recv(100).startswith(b"\0AUTH EXTERNAL\r\n")
            connection.sendall(self.greeting)
            data = connection.recv(65536).removeprefix(b"BEGIN\r\n")
            parser = Parser()
            while True:
                for message in parser.feed(data):
                    if not self.reply(connection, message):
                        return
                data = connection.recv(65536)
                if not data:
                    return

    def reply(self, connection: socket.socket, call: Message) -> bool:
        member = call.header.fields[HeaderFields.member]
        self.calls.append((member, call.body))
        answer = self.answers[member]()
        fields: dict[Any, Any] = {HeaderFields.reply_serial: call.header.serial}
        kind = MessageType.method_return
        body: tuple[Any, ...] = ()
        if answer is None:
            return True
        if answer == "close":
            return False
        if isinstance(answer, str):
            fields[HeaderFields.error_name] = answer
            kind, answer = MessageType.error, ("s", ("what it says",))
        if answer[0]:
            fields[HeaderFields.signature], body = answer
        self.send(connection, kind, fields, body)
        if body == ("/job/7",):
            # Another's job first.
            for job, result in (("/job/6", "failed"), ("/job/7", self.result)):
                fields = {
                    HeaderFields.path: "/org/freedesktop/systemd1",
                    HeaderFields.member: "JobRemoved",
                    HeaderFields.interface: "org.freedesktop.systemd1.Manager",
                    HeaderFields.signature: "uoss",
                }
                self.send(connection, MessageType.signal, fields, (7, job, "x.scope", result))
        return True

    @staticmethod
    def send(connection: socket.socket, kind: MessageType, fields: dict[Any, Any], body: Any) -> None:
        header = Header(Endianness.little, kind, 0, 1, 0, 1, fields)
        connection.sendall(Message(header, body).serialise())

    def members(self) -> list[str]:
        """What was called, without the preliminaries."""
        return [name for name, _ in self.calls if name not in ("Hello", "AddMatch", "Subscribe", "Get")]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server(tmp_path / "bus")
    address = f"unix:path={tmp_path}/bus".encode()
    monkeypatch.setitem(posix.environ, b"DBUS_SYSTEM_BUS_ADDRESS", address)
    monkeypatch.setattr(driver, "_SECONDS", 0.5)
    yield made
    made.listener.close()


def plan(tmp_path: Path, *, v1: bool = False, **resources: Any) -> cgroups.Plan:
    """A plan in a layout below tmp_path, with the scope's cgroup already there."""
    controllers = ("memory", "cpu", "pids", "devices", "name=systemd")
    if v1:
        mounts = {name: f"{tmp_path}/{name.removeprefix('name=')}" for name in controllers}
        layout = Layout(mounts, None, (), {})
    else:
        layout = Layout({}, str(tmp_path / "unified"), ("memory", "cpu", "pids"), {"": "/"})
    config: dict[str, Any] = {"linux": {"resources": resources}}
    made = cgroups.plan(config, layout, "box", unit=systemd.unit(config, "box"))
    for directory in made.directories.values():
        Path(directory).mkdir(parents=True)
    return made


def test_a_connection_calls_and_keeps_signals(server: Server, tmp_path: Path) -> None:
    bus = Bus(f"{tmp_path}/bus", direct=False, seconds=5)
    assert bus.call(BUS, "StopUnit", "ss", "x.scope", "replace") == ("/job/7",)
    assert bus.signal() == ("JobRemoved", (7, "/job/6", "x.scope", "failed"))
    server.answers["StopUnit"] = lambda: "org.freedesktop.systemd1.NoSuchUnit"
    with pytest.raises(BusError) as caught:
        bus.call(BUS, "StopUnit", "ss", "x.scope", "replace")
    assert (caught.value.name, caught.value.text) == ("org.freedesktop.systemd1.NoSuchUnit", "what it says")
    bus.close()


@pytest.mark.parametrize("greeting", [b"REJECTED EXTERNAL\r\n", b"ERROR\r\n", b"", b"x" * 5000])
def test_a_bus_that_does_not_let_in_is_an_error(server: Server, tmp_path: Path, greeting: bytes) -> None:
    server.greeting = greeting
    with pytest.raises(OSError):
        Bus(f"{tmp_path}/bus", direct=False, seconds=0.3)


def test_a_scope_is_started_and_stopped(server: Server, tmp_path: Path) -> None:
    made = plan(tmp_path, memory={"limit": 5 << 20})
    driver.start(made, 7)
    name, mode, properties, others = dict(server.calls)["StartTransientUnit"]
    assert (name, mode, others) == ("pyrunc-box.scope", "replace", [])
    assert dict(properties)["MemoryMax"] == ("t", 5 << 20)
    assert dict(properties)["PIDs"] == ("au", [7])
    driver.stop(made.record())
    assert server.members() == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]


def test_on_v1_systemd_is_told_its_older_names(server: Server, tmp_path: Path) -> None:
    server.version = "v239"
    resources = {"memory": {"limit": 5 << 20}, "cpu": {"shares": 512, "quota": 5000}, "pids": {"limit": 9}}
    driver.start(plan(tmp_path, v1=True, **resources), 7)
    found = dict(dict(server.calls)["StartTransientUnit"][2])
    assert found["MemoryLimit"] == ("t", 5 << 20)
    assert found["CPUShares"] == ("t", 512)
    assert found["CPUQuotaPerSecUSec"] == ("t", 50000)
    assert found["TasksMax"] == ("t", 9)
    assert found["BlockIOAccounting"] == ("b", True)
    assert found["DevicePolicy"] == ("s", "strict")
    assert not {"CPUQuotaPeriodUSec", "IOAccounting", "MemoryMax"} & found.keys()


def test_a_scope_that_failed_is_reset_and_started_again(server: Server, tmp_path: Path) -> None:
    answers: list[Answer] = [("o", ("/job/7",)), "org.freedesktop.systemd1.UnitExists"]
    server.answers["StartTransientUnit"] = answers.pop
    driver.start(plan(tmp_path), 7)
    assert server.members() == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_a_scope_that_somebody_has_is_an_error(server: Server, tmp_path: Path) -> None:
    server.answers["StartTransientUnit"] = lambda: "org.freedesktop.systemd1.UnitExists"
    with pytest.raises(Error, match=r"systemctl status pyrunc-box\.scope") as caught:
        driver.start(plan(tmp_path), 7)
    assert caught.value.pointer == "/linux/cgroupsPath"


def test_a_value_of_another_type_is_blamed_on_the_annotations(server: Server, tmp_path: Path) -> None:
    server.answers["StartTransientUnit"] = lambda: "System.Error.ENXIO"
    made = plan(tmp_path)
    assert made.unit is not None
    made.unit.custom = [(("TimeoutStopUSec", ("i", 5)), "/annotations/org.systemd.property.TimeoutStopUSec")]
    with pytest.raises(Error, match="another type than its value") as caught:
        driver.start(made, 7)
    assert caught.value.pointer == "/annotations/org.systemd.property.TimeoutStopUSec"
    made.unit.custom.append((("SendSIGHUP", ("b", True)), "/annotations/org.systemd.property.SendSIGHUP"))
    with pytest.raises(Error, match="TimeoutStopUSec, SendSIGHUP") as caught:
        driver.start(made, 7)
    assert caught.value.pointer == "/annotations"


def test_a_job_that_fails_is_an_error_and_the_scope_is_reset(server: Server, tmp_path: Path) -> None:
    server.result = "timeout"
    with pytest.raises(Error, match='the result is "timeout"'):
        driver.start(plan(tmp_path), 7)
    assert server.members() == ["StartTransientUnit", "ResetFailedUnit"]


@pytest.mark.parametrize(
    ("member", "answer", "words"),
    [
        ("StartTransientUnit", None, "did not answer within"),
        ("Get", None, "did not answer within"),
        ("Hello", None, "cannot reach systemd"),
        ("StartTransientUnit", "close", "closed at the other end"),
        ("StartTransientUnit", "org.freedesktop.DBus.Error.AccessDenied", "AccessDenied"),
        ("Get", ("v", (("s", "unknown"),)), "begins with no number"),
    ],
)
def test_what_systemd_does_not_do_is_an_error(
    server: Server, tmp_path: Path, member: str, answer: Answer, words: str
) -> None:
    server.answers[member] = lambda: answer
    with pytest.raises(Error, match=words):
        driver.start(plan(tmp_path), 7)


def test_a_job_whose_end_is_not_told_ends_by_the_time_limit(server: Server, tmp_path: Path) -> None:
    server.answers["StartTransientUnit"] = lambda: ("o", ("/job/8",))
    with pytest.raises(Error, match="did not answer within"):
        driver.start(plan(tmp_path), 7)


def test_a_cgroup_elsewhere_is_an_error_and_the_scope_is_stopped(server: Server, tmp_path: Path) -> None:
    made = plan(tmp_path)
    Path(made.directories[""]).rmdir()
    with pytest.raises(Error, match="cgroup namespace"):
        driver.start(made, 7)
    assert "StopUnit" in server.members()


def test_a_unit_that_is_gone_is_stopped(server: Server, tmp_path: Path) -> None:
    for name in ("StopUnit", "ResetFailedUnit"):
        server.answers[name] = lambda: "org.freedesktop.systemd1.NoSuchUnit"
    driver.stop(plan(tmp_path).record())


def test_no_bus_at_all_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(posix.environ, b"DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none".encode())
    monkeypatch.setattr(driver, "_SYSTEM_SOCKET", str(tmp_path / "neither"))
    with pytest.raises(Error, match="start the D-Bus daemon, or leave --systemd-cgroup out"):
        driver.start(plan(tmp_path), 7)
    monkeypatch.setitem(posix.environ, b"DBUS_SYSTEM_BUS_ADDRESS", b"tcp:host=localhost,port=1")
    with pytest.raises(Error, match="not the address of a D-Bus socket"):
        driver.start(plan(tmp_path / "x"), 7)
