"""Moves network devices of the host into a container (config-linux.md, "Network Devices").

Loaded only for a configuration that names some, and with it pyroute2. Nothing is done for them once the
container is created: they go the way of its network namespace (network_namespaces(7)).
"""

import posix
from errno import EEXIST, EINVAL, ENODEV

from pyrunc import log
from pyrunc.compile.netdevices import wanted
from pyrunc.errors import Error
from pyrunc.linux.flags import CLONE_NEWNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_IFF_UP = 1
_IFA_F_PERMANENT = 0x80
_RT_SCOPE_UNIVERSE = 0
# What a user sets on an address; the kernel derives the other flags, and refuses some (ip-address(8)):
# nodad, home, mngtmpaddr, noprefixroute, autojoin.
_IFA_F_SETTABLE = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
# What else makes an address, by pyroute2's name for it.
_ATTRIBUTES = {
    "address": "IFA_ADDRESS", "local": "IFA_LOCAL", "broadcast": "IFA_BROADCAST",
    "rt_priority": "IFA_RT_PRIORITY", "proto": "IFA_PROTO",
}  # fmt: skip
_AF_INET6 = 10


class _Device:
    """A device as it was on the host: addresses are the kernel's messages, in its order.

    inside is its index in the container, 0 until it is there.
    """

    __slots__ = ("addresses", "index", "inside", "name", "new_name", "pointer", "up")

    def __init__(
        self, pointer: str, name: str, new_name: str, index: int, up: bool, addresses: "list[Any]"
    ) -> None:
        self.pointer = pointer
        self.name = name
        self.new_name = new_name
        self.index = index
        self.up = up
        self.addresses = addresses
        self.inside = 0


class Devices:
    """The devices of one container: all are looked at before the first is moved, and each that has been
    moved can be brought back."""

    __slots__ = ("_container", "_devices", "_host", "_inside", "_outside")

    def __init__(self, pid: int, config: "dict[str, Any]") -> None:
        """pid is a process in the container's network namespace. Raises Error where a device cannot be
        moved as far as that can be seen; nothing has been changed then."""
        iproute, setns = _libraries()
        self._container = self._host = -1
        self._inside: Any = None
        self._outside: Any = None
        try:
            try:
                self._container = posix.open(f"/proc/{pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
            except FileNotFoundError:
                raise Error(
                    "the container's process was ended before its network devices had been moved",
                    pointer="/linux/netDevices",
                ) from None
            self._host = posix.open("/proc/self/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
            if posix.fstat(self._container).st_ino == posix.fstat(self._host).st_ino:
                raise Error(
                    "the container's network namespace is the runtime's own, where the devices are already; "
                    "give it another one",
                    pointer="/linux/netDevices",
                )
            self._outside = iproute()
            # A socket belongs to the namespace that it is made in.
            setns(self._container)
            try:
                self._inside = iproute()
            finally:
                setns(self._host)
            self._devices = {
                pointer: self._look(pointer, name, new_name)
                for pointer, (name, new_name) in wanted(config).items()
            }
        except BaseException:
            self.close()
            raise

    def _look(self, pointer: str, name: str, new_name: str) -> _Device:
        index = _index(self._outside, name)
        if not index:
            raise missing(name, pointer)
        if "%" not in new_name and _index(self._inside, new_name):
            raise _taken(new_name, pointer)
        (link,) = self._outside.get_links(index)
        addresses = _oldest_first(list(self._outside.get_addr(index=index)))
        return _Device(pointer, name, new_name, index, bool(link["flags"] & _IFF_UP), addresses)

    def move(self, pointer: str) -> None:
        """Moves the device of a pointer: with its name in the container, its permanent addresses of global
        scope, and up."""
        device = self._devices[pointer]
        # With a name that nobody else has, the kernel can neither end halfway, with the device moved and
        # not renamed, nor leave open which one it is: the index may change too.
        passing = _passing_name()
        try:
            _set_link(self._outside, device.index, net_ns_fd=self._container, ifname=passing)
        except OSError as error:
            remedy = ""
            if error.errno == EINVAL:
                remedy = "; the kernel keeps some kinds where they are, such as loopback devices and bridges"
            elif error.errno == ENODEV:
                raise missing(device.name, pointer) from None
            raise Error(
                f"cannot move the network device {device.name} into the container: {error.strerror}{remedy}",
                pointer=pointer,
            ) from None
        device.inside = _index(self._inside, passing)
        try:
            _set_link(self._inside, device.inside, ifname=device.new_name)
        except OSError as error:
            if error.errno == EEXIST:
                raise _taken(device.new_name, pointer) from None
            raise Error(
                f"cannot rename the network device {device.name} to {device.new_name} in the container: "
                f"{error.strerror}",
                pointer=pointer,
            ) from None
        try:
            for address in device.addresses:
                if _kept(address):
                    _add_address(self._inside, device.inside, address)
            _set_link(self._inside, device.inside, state="up")
        except OSError as error:
            raise Error(
                f"cannot set the network device {device.name} up in the container: {error.strerror}; "
                "is the protocol of its addresses on there?",
                pointer=pointer,
            ) from None

    def bring_back(self) -> None:
        """Undoes the moves, last first: devices get back their names, addresses, and state. Routes of a
        device are lost, as the kernel drops them when it leaves."""
        try:
            for device in reversed(self._devices.values()):
                if device.inside:
                    try:
                        self._bring_back(device)
                    except OSError as error:
                        log.warning(
                            f"{device.pointer}: the network device {device.name} could not be brought back "
                            f"as it was: {error.strerror}"
                        )
        finally:
            self.close()

    def _bring_back(self, device: _Device) -> None:
        passing = _passing_name()
        _set_link(self._inside, device.inside, net_ns_fd=self._host, ifname=passing)
        index = _index(self._outside, passing)
        _set_link(self._outside, index, ifname=device.name)
        for address in device.addresses:
            _add_address(self._outside, index, address)
        if device.up:
            _set_link(self._outside, index, state="up")

    def close(self) -> None:
        """Lets go of the namespaces: the devices stay where they are."""
        for socket in (self._inside, self._outside):
            if socket is not None:
                socket.close()
        for fd in (self._container, self._host):
            if fd >= 0:
                posix.close(fd)
        self._inside = self._outside = None
        self._container = self._host = -1


def check(config: "dict[str, Any]") -> None:
    """Raises Error for a device that the host does not have, before anything is done."""
    from _socket import if_nametoindex

    for pointer, (name, _) in wanted(config).items():
        try:
            if_nametoindex(name)
        except OSError:
            raise missing(name, pointer) from None


def missing(name: str, pointer: str) -> Error:
    return Error(
        f"there is no network device {name} in the runtime's network namespace; make it first, or correct "
        "the name",
        pointer=pointer,
    )


def _taken(name: str, pointer: str) -> Error:
    return Error(
        f"the container's network namespace has a device {name} already; give another name, or a template "
        "such as eth%d",
        pointer=pointer,
    )


def _libraries() -> "tuple[Any, Any]":
    """pyroute2's IPRoute, and a function that enters a network namespace by descriptor."""
    from pyrunc import libraries

    libraries.enable()
    try:
        from pyroute2 import IPRoute
    except ImportError as error:
        raise Error(
            f"moving network devices needs pyroute2, which cannot be imported ({error}); install it",
            pointer="/linux/netDevices",
        ) from None
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def setns(fd: int) -> None:
        if libc.setns(fd, CLONE_NEWNET):
            raise Error(
                f"cannot enter the container's network namespace: {posix.strerror(ctypes.get_errno())}; "
                "moving network devices needs the privileges of the host's root",
                pointer="/linux/netDevices",
            )

    return IPRoute, setns


def _passing_name() -> str:
    return "pyrunc" + posix.urandom(4).hex()


def _index(socket: "Any", name: str) -> int:
    """The index of a device in the socket's namespace, or 0."""
    found = list(socket.link_lookup(ifname=name))
    return found[0] if found else 0


def _set_link(socket: "Any", index: int, **fields: "int | str") -> None:
    _request(socket.link, "set", index=index, **fields)


def _request(call: "Callable[..., Any]", command: str, **fields: "Any") -> None:
    """A request of pyroute2's. Raises OSError where the kernel refuses it."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        call(command, **fields)
    except NetlinkError as error:
        raise OSError(error.code, posix.strerror(error.code)) from None


def _flags(address: "Any") -> int:
    """The flags of an address; its header holds only the first eight."""
    flags: int | None = address.get_attr("IFA_FLAGS")
    return address["flags"] if flags is None else flags


def _kept(address: "Any") -> bool:
    return bool(_flags(address) & _IFA_F_PERMANENT) and address["scope"] == _RT_SCOPE_UNIVERSE


def _add_address(socket: "Any", index: int, address: "Any") -> None:
    """Gives a device an address as another one had it: peer, prefix, broadcast, metric, lifetimes and the
    flags of a user, but not the label, which is made of the device's name."""
    fields = {
        field: value for field, name in _ATTRIBUTES.items() if (value := address.get_attr(name)) is not None
    }
    lifetimes = address.get_attr("IFA_CACHEINFO")
    if lifetimes is not None:
        fields["preferred"], fields["valid"] = lifetimes["ifa_preferred"], lifetimes["ifa_valid"]
    try:
        _request(
            socket.addr, "add", index=index, family=address["family"], prefixlen=address["prefixlen"],
            scope=address["scope"], flags=_flags(address) & _IFA_F_SETTABLE, **fields,
        )
    except OSError as error:
        # The kernel may have made it by itself: a link-local one.
        if error.errno != EEXIST:
            raise


def _oldest_first(addresses: "list[Any]") -> "list[Any]":
    """The kernel lists IPv6 addresses last first, and chooses among equal ones by their order."""
    return [each for each in addresses if each["family"] != _AF_INET6] + [
        each for each in reversed(addresses) if each["family"] == _AF_INET6
    ]
