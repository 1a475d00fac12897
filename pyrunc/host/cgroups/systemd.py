"""Starting, changing and stopping a container's scope through systemd's D-Bus interface.

What the unit is and which properties it has is said by `compile.systemd`. Later verbs need only
the record that `Plan.record()` made. Sources: org.freedesktop.systemd1(5), sd_booted(3).
"""

import posix

from pyrunc.compile import systemd
from pyrunc.compile.cgroups import clean
from pyrunc.errors import Error
from pyrunc.host.bus import BUS, Bus, BusError, library
from pyrunc.host.cgroups.tree import own_directory
from pyrunc.host.facts import rootless
from pyrunc.host.paths import is_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyrunc.compile.cgroups import Plan
    from pyrunc.compile.device_filter import Devices
    from pyrunc.compile.settings import Settings, Write
    from pyrunc.compile.systemd import Unit

_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_PROPERTIES = (_MANAGER[0], _MANAGER[1], "org.freedesktop.DBus.Properties")
_JOBS = (
    "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',"
    "member='JobRemoved'"
)
_EXISTS = "org.freedesktop.systemd1.UnitExists"
_WRONG_TYPE = "System.Error.ENXIO"
_NO_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
# How long systemd may take for all that is asked of it in one verb.
_SECONDS = 30.0
_SYSTEM_BUS = "/run/dbus/system_bus_socket"
_SYSTEM_SOCKET = "/run/systemd/private"


def unit_for(config: "dict[str, Any]", container_id: str, *, users: bool | None) -> "Unit":
    """The unit of a new container, of the user's systemd or the system's; None means to find out which.

    Raises Error where no systemd runs.
    """
    _check_booted()
    user = _is_users() if users is None else users
    root = ""
    if user:
        with Manager(user=True) as manager:
            root = manager.get("ControlGroup")
    return systemd.unit(config, container_id, user=user, root=root)


def _check_booted() -> None:
    try:
        if posix.lstat("/run/systemd/system").st_mode & 0o170000 == 0o040000:
            return
    except OSError:
        pass
    raise Error(
        "systemd does not run here (there is no /run/systemd/system): leave --systemd-cgroup out, or "
        "boot with systemd"
    )


def _is_users() -> bool:
    """Whether the user's systemd is the one to ask: that of an ordinary user, who may be root in a
    user namespace. Root of a namespace can also have a systemd inside, as in a container."""
    if posix.geteuid() != 0:
        return True
    if not rootless():
        return False
    address, direct = _users_address()
    try:
        bus = Bus(address, direct=direct, seconds=_SECONDS)
    except OSError:
        return False
    try:
        # As the bus sees it, which is outside of this user namespace where the user's systemd is.
        return direct or bool(bus.call(BUS, "GetConnectionUnixUser", "s", _MANAGER[0])[0])
    except BusError:
        return False
    finally:
        bus.close()


def _users_address() -> tuple[str, bool]:
    """Where the user's systemd is to be reached, and whether directly instead of by a bus."""
    address = posix.environ.get(b"DBUS_SESSION_BUS_ADDRESS", b"").decode("utf-8", "surrogateescape")
    if address:
        return _socket(address), False
    directory = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    directory = directory or f"/run/user/{posix.geteuid()}"
    bus = f"{directory}/bus"
    try:
        posix.stat(bus)
        return bus, False
    except OSError:
        return f"{directory}/systemd/private", True


def _socket(address: str) -> str:
    """The socket of a D-Bus address such as unix:path=/run/user/1000/bus."""
    try:
        found: str = next(library().bus.get_connectable_addresses(address))
    except (RuntimeError, ValueError):
        raise Error(f"{address} is not the address of a D-Bus socket; correct the environment") from None
    return found


class Manager:
    """A connection to systemd, the user's or the system's, and the calls that are made of it."""

    __slots__ = ("_bus", "_what")

    def __init__(self, *, user: bool) -> None:
        self._what = "the user's systemd" if user else "systemd"
        if user:
            address, direct = _users_address()
            remedy = "log in, so that DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR is set, or "
        else:
            system = posix.environ.get(b"DBUS_SYSTEM_BUS_ADDRESS", b"").decode("utf-8", "surrogateescape")
            address, direct = _socket(system) if system else _SYSTEM_BUS, False
            remedy = "start the D-Bus daemon, or "
        try:
            try:
                self._bus = Bus(address, direct=direct, seconds=_SECONDS)
            except (FileNotFoundError, ConnectionRefusedError):
                # Root can do without a bus, as systemctl does.
                if user:
                    raise
                self._bus = Bus(_SYSTEM_SOCKET, direct=True, seconds=_SECONDS)
        except OSError as error:
            why = error.strerror or str(error) or "no answer"
            raise Error(
                f"cannot reach {self._what} through {address}: {why}; {remedy}leave --systemd-cgroup out"
            ) from error

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.close()

    def get(self, name: str) -> str:
        """A property of the manager."""
        try:
            answer = self._bus.call(_PROPERTIES, "Get", "ss", _MANAGER[2], name)
        except (BusError, OSError) as error:
            raise self._failed(f"its {name}", error) from error
        return str(answer[0][1])

    def version(self) -> int:
        """252 for "252.39-1~deb12u2" or "v252"."""
        text = self.get("Version").removeprefix("v")
        end = 0
        while text[end : end + 1].isdigit():
            end += 1
        if not end:
            raise Error(f'{self._what} says that it is version "{text}", which begins with no number')
        return int(text[:end])

    def call(self, member: str, signature: str, *body: object) -> "tuple[Any, ...]":
        """One of the manager's methods; raises BusError."""
        try:
            return self._bus.call(_MANAGER, member, signature, *body)
        except OSError as error:
            raise self._failed(member, error) from error

    def job(self, member: str, signature: str, *body: object) -> str:
        """A method that begins a job: waits for its end, and returns its result ("done")."""
        try:
            # Their answers tell nothing: without the signal the wait ends by its time limit.
            self._bus.match(_JOBS)
            self._bus.send(_MANAGER, "Subscribe")
            job = self._bus.call(_MANAGER, member, signature, *body)[0]
            while True:
                name, arguments = self._bus.signal()
                # Number and path of the job, unit, result.
                if name == "JobRemoved" and len(arguments) == 4 and arguments[1] == job:
                    return str(arguments[3])
        except OSError as error:
            raise self._failed(member, error) from error

    def _failed(self, what: str, error: "OSError | BusError") -> Error:
        if isinstance(error, TimeoutError):
            return Error(
                f"{self._what} did not answer within {_SECONDS:.0f} s ({what}); see its journal, or leave "
                "--systemd-cgroup out"
            )
        return Error(f"{self._what} ({what}): {error}")

    def reset(self, name: str) -> None:
        """Forgets that a unit has failed, which else keeps its name taken."""
        try:
            self.call("ResetFailedUnit", "s", name)
        except BusError as error:
            if error.name != _NO_UNIT:
                raise self._failed("ResetFailedUnit", error) from error


# -- the scope -----------------------------------------------------------------


def start(plan: "Plan", pid: int) -> None:
    """Starts the scope of a plan with a process in it, and returns when it has been started.

    Raises Error, with nothing left, where systemd refuses it or a unit of its name is there.
    """
    unit = plan.unit
    assert unit is not None
    with Manager(user=unit.user) as manager:
        properties = systemd.scope_properties(plan, unit, pid, manager.version())
        try:
            try:
                result = _start(manager, unit, properties)
            except BusError as error:
                if error.name != _EXISTS:
                    raise
                # What is left of a scope that has failed keeps the name.
                manager.reset(unit.name)
                result = _start(manager, unit, properties)
        except BusError as error:
            raise _refused(unit, error) from error
        if result != "done":
            manager.reset(unit.name)
            raise Error(f'systemd could not start the scope {unit.name}: the result is "{result}"')
    where = own_directory(plan.directories)
    if not is_directory(where):
        stop(plan.record())
        raise Error(
            f"systemd has started the scope {unit.name}, but its cgroup is not {where or 'mounted'}: is "
            "/sys/fs/cgroup mounted from another cgroup namespace than systemd's?"
        )


def _start(manager: Manager, unit: "Unit", properties: "list[systemd.Property]") -> str:
    return manager.job("StartTransientUnit", "ssa(sv)a(sa(sv))", unit.name, "replace", properties, [])


def _refused(unit: "Unit", error: BusError) -> Error:
    if error.name == _EXISTS:
        return Error(
            f"systemd has a unit {unit.name} already; give the container another cgroupsPath, or see what "
            f'it is with "systemctl {"--user " if unit.user else ""}status {unit.name}"',
            pointer="/linux/cgroupsPath",
        )
    text = f"systemd refuses the scope {unit.name}: {error}"
    named = [at for property, at in unit.custom if property[0] in error.text]
    if error.name == _WRONG_TYPE and unit.custom:
        # Which one it is it does not say.
        named = [at for _, at in unit.custom]
        names = ", ".join(property[0] for property, _ in unit.custom)
        text += f"; a property has another type than its value, see org.freedesktop.systemd1(5) for {names}"
    return Error(text, pointer=named[0] if len(named) == 1 else "/annotations" if named else "")


def stop(record: "dict[str, Any]") -> None:
    """Stops a container's scope, and returns when it is gone; its absence is no error."""
    name = record["unit"]
    with Manager(user=record["user"]) as manager:
        try:
            manager.job("StopUnit", "ss", name, "replace")
        except BusError as error:
            if error.name != _NO_UNIT:
                raise Error(f"systemd does not stop {name}: {error}") from error
        manager.reset(name)


def attach(record: "dict[str, Any]", pid: int, below: str) -> None:
    """Has the user's systemd move a process into a scope: its user may not, from outside of it.

    below is a path below the scope's cgroup, or "".
    """
    below = clean(below)
    name = record["unit"]
    with Manager(user=record["user"]) as manager:
        try:
            manager.call("AttachProcessesToUnit", "ssau", name, f"/{below}" if below else "", [pid])
        except BusError as error:
            raise Error(f"systemd does not move a process into {name}: {error}") from error


def limit(record: "dict[str, Any]", settings: "Settings") -> None:
    """Sets limits of a container that runs, in its files and for systemd."""
    from pyrunc.host.cgroups.files import apply

    set_properties(record, settings.writes)
    apply(record["directories"], settings)


def set_properties(
    record: "dict[str, Any]", writes: "Iterable[Write]", rules: "Devices | None" = None
) -> None:
    """Tells systemd the limits that these writes of cgroup files set, and a new list of devices.

    The files have to be written as well, after this: systemd has no property for some, and rounds others.
    """
    writes = list(writes)
    with Manager(user=record["user"]) as manager:
        properties = systemd.properties(writes, manager.version())
        if rules is not None:
            properties += systemd.device_properties(rules)
        if not properties:
            return
        name = record["unit"]
        try:
            # Only until the scope ends ("runtime"): nothing is written to /etc.
            manager.call("SetUnitProperties", "sba(sv)", name, True, properties)
        except BusError as error:
            raise Error(f"systemd refuses the limits of {name}: {error}") from error
