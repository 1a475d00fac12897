"""Who the process is: limits, ids, capabilities, no_new_privs (config.md, "Process", "User").

The order matters to the kernel: the bounding set is dropped and limits are raised while there is
privilege to do it, ids come before the final capability sets, and ambient capabilities need both
the permitted and the inheritable set.
"""

from _struct import Struct

from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.linux.capabilities import NAMES, SYS_ADMIN
from pyrunc.linux.rlimits import NAMES as RLIMITS
from pyrunc.program.build import Builder
from pyrunc.program.model import Data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAPABILITY_VERSION_3 = 0x20080522
_header = Struct("=Ii").pack(_CAPABILITY_VERSION_3, 0)
_sets = Struct("=6I").pack
_rlimit = Struct("=2Q").pack
_INFINITY = 2**64 - 1

KINDS = ("bounding", "effective", "inheritable", "permitted", "ambient")


class Capabilities:
    """The five sets as bit masks.

    What cannot be granted is left out, and `refused` maps the reason to the names: the
    specification wants a warning there, and no failure (config.md, "Linux Process").
    """

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted", "refused")

    def __init__(self, sets: "dict[str, list[str]]", grantable: int) -> None:
        self.refused: dict[str, list[str]] = {}
        masks = []
        for kind in KINDS:
            mask = 0
            for name in sets.get(kind) or ():
                number = NAMES.get(name)
                if number is None:
                    self._refuse("no such capability", name)
                elif not grantable >> number & 1:
                    self._refuse("not in this runtime's own bounding set", name)
                else:
                    mask |= 1 << number
            masks.append(mask)
        self.bounding, self.effective, self.inheritable, self.permitted, self.ambient = masks
        # capabilities(7): what the kernel would refuse with EPERM
        self.effective &= self._within("effective", self.effective, self.permitted, "permitted")
        raisable = self.permitted & self.inheritable
        self.ambient &= self._within("ambient", self.ambient, raisable, "permitted and inheritable")

    def _refuse(self, reason: str, name: str) -> None:
        names = self.refused.setdefault(reason, [])
        if name not in names:
            names.append(name)

    def _within(self, kind: str, mask: int, limit: int, limits: str) -> int:
        if mask & ~limit:
            for name, number in NAMES.items():
                if (mask & ~limit) >> number & 1:
                    self._refuse(f"{kind}, but not {limits}", name)
        return limit


def _capset(b: Builder, effective: int, permitted: int, inheritable: int) -> None:
    low, high = 0xFFFFFFFF, 32
    data = Data(
        "capabilities",
        _sets(
            effective & low, permitted & low, inheritable & low,
            effective >> high, permitted >> high, inheritable >> high,
        ),
        (effective, permitted, inheritable),
    )
    b.step("capset", Data("capability_header", _header, ("_LINUX_CAPABILITY_VERSION_3",)), data)


def rlimits(b: Builder, process: "dict[str, Any]") -> None:
    """Resource limits; raising a hard limit needs CAP_SYS_RESOURCE."""
    seen: set[str] = set()
    for i, limit in enumerate(process.get("rlimits") or ()):
        pointer = f"/process/rlimits/{i}"
        name = limit["type"]
        if name not in RLIMITS:
            raise Error(
                f"{name} is not a resource limit of Linux; there are {', '.join(RLIMITS)}", pointer=pointer
            )
        if name in seen:
            raise Error(f"{name} is listed twice; remove one of the entries", pointer=pointer)
        seen.add(name)
        soft, hard = limit["soft"] & _INFINITY, limit["hard"] & _INFINITY
        if soft > hard:
            raise Error(f"the soft limit {soft} of {name} is above the hard limit {hard}", pointer=pointer)
        b.origin = pointer
        b.step(
            "prlimit64", 0, RLIMITS[name], Data("rlimit", _rlimit(soft, hard), (soft, hard)), 0,
        )
    b.origin = ""


def raise_limits(b: Builder, process: "dict[str, Any]", current: dict[str, int]) -> None:
    """Raises hard limits above the runtime's own, `current`, while there is the privilege for it: the kernel
    asks for CAP_SYS_RESOURCE on the host, which a process in a user namespace does not have."""
    for i, limit in enumerate(process.get("rlimits") or ()):
        name, hard = limit["type"], limit["hard"] & _INFINITY
        if hard > current.get(name, _INFINITY):
            b.origin = f"/process/rlimits/{i}"
            b.step("prlimit64", 0, RLIMITS[name], Data("rlimit", _rlimit(hard, hard), (hard, hard)), 0)
    b.origin = ""


def compile_identity(
    b: Builder, process: "dict[str, Any]", grantable: int, *, groups: str, filtered: bool
) -> tuple[int, int, int] | None:
    """Ids, capabilities and no_new_privs; returns the capability sets that are left for after the
    seccomp filter, if any.

    grantable is the bounding set that the process begins with; groups is "set", "kept" or "denied" (see
    `namespaces.groups`); filtered tells whether there is a filter. Without
    noNewPrivileges a filter can only be installed with CAP_SYS_ADMIN, so where there is a filter
    that capability stays until it is in place.
    """
    user = process.get("user") or {}
    uid, gid = user.get("uid", 0), user.get("gid", 0)
    additional = user.get("additionalGids") or ()
    sets = process.get("capabilities")
    capabilities = Capabilities(sets or {}, grantable)
    for reason, names in capabilities.refused.items():
        b.warn("/process/capabilities", f"{', '.join(names)} left out: {reason}")
    # A configuration without capabilities leaves none (config.md, "Linux Process").
    b.origin = "/process/capabilities/bounding"
    for number in range(grantable.bit_length()):
        if grantable >> number & 1 and not capabilities.bounding >> number & 1:
            b.step("prctl", f.PR_CAPBSET_DROP, number, 0, 0, 0)
    b.origin = "/process/user"
    b.step("prctl", f.PR_SET_KEEPCAPS, 1, 0, 0, 0)
    if groups == "set":
        packed = Struct(f"={len(additional)}I").pack(*additional)
        data = Data("groups", packed, tuple(additional)) if additional else 0
        b.origin = "/process/user/additionalGids" if additional else "/process/user"
        b.step("setgroups", len(additional), data)
    elif groups == "denied" and additional:
        raise Error(
            "additional groups cannot be set in a user namespace where setgroups is denied; map more "
            "group ids with newgidmap (/etc/subgid), or remove the groups",
            pointer="/process/user/additionalGids",
        )
    b.origin = "/process/user/gid"
    b.step("setresgid", gid, gid, gid)
    b.origin = "/process/user/uid"
    b.step("setresuid", uid, uid, uid)
    b.origin = "/process/user/umask" if "umask" in user else "/process/user"
    b.step("umask", user.get("umask", 0o022))
    no_new_privs = process.get("noNewPrivileges")
    final = (capabilities.effective, capabilities.permitted, capabilities.inheritable)
    b.origin = "/process/capabilities"
    interim = filtered and not no_new_privs and not final[0] & 1 << SYS_ADMIN
    if interim:
        extra = 1 << SYS_ADMIN
        _capset(b, final[0] | extra, final[1] | extra, final[2])
    else:
        _capset(b, *final)
    b.origin = "/process/capabilities/ambient"
    for number in range(grantable.bit_length()):
        if capabilities.ambient >> number & 1:
            b.step("prctl", f.PR_CAP_AMBIENT, f.PR_CAP_AMBIENT_RAISE, number, 0, 0)
    if no_new_privs:
        b.origin = "/process/noNewPrivileges"
        b.step("prctl", f.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    b.origin = ""
    return final if interim else None


def finish_capabilities(b: Builder, sets: tuple[int, int, int] | None) -> None:
    """Gives CAP_SYS_ADMIN up again, once the filter is in place."""
    if sets is not None:
        b.origin = "/process/capabilities"
        _capset(b, *sets)
        b.origin = ""
