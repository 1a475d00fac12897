"""The step that puts the seccomp filter on the container's process.

The filter itself is a fact that `host/seccomp.py` makes from the profile. Source: `flags` and `listenerPath`
in the Seccomp section of runtime-spec's config-linux.md, seccomp(2), seccomp_unotify(2).
"""

from _struct import Struct

from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.linux.seccomp import AGENT_ACTIONS, AGENT_FLAGS, FLAGS
from pyrunc.program.model import Data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.program.build import Builder

# struct sock_fprog: the number of instructions, padding, and the address of the first.
_sock_fprog = Struct("=H6xQ").pack

# Without a list of flags, runc lets the CPU speculate as it does for a process without a filter; an
# empty list asks for the mitigation of speculative store bypass, which is expensive.
_DEFAULT_FLAGS = ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",)


def agent(profile: "dict[str, Any]") -> "dict[str, str] | None":
    """What the runtime has to know to serve a profile that hands system calls to a seccomp agent: `path`,
    the agent's socket, and `metadata`, if the profile has some. None for a profile that does not, for
    which listenerPath means nothing (config-linux.md). Raises Error where the path is missing."""
    rules = profile.get("syscalls") or ()
    if profile.get("defaultAction") not in AGENT_ACTIONS and not any(
        rule.get("action") in AGENT_ACTIONS for rule in rules
    ):
        return None
    path = profile.get("listenerPath")
    if not path:
        raise Error(
            f"{AGENT_ACTIONS[0]} needs a seccomp agent: add listenerPath, its socket, or use another action",
            pointer="/linux/seccomp/listenerPath",
        )
    metadata = profile.get("listenerMetadata")
    return {"path": path, "metadata": metadata} if metadata else {"path": path}


def install(b: "Builder", program: bytes, profile: "dict[str, Any]") -> None:
    """Appends seccomp(SECCOMP_SET_MODE_FILTER), or `notify` for a filter with a listener.

    program is an array of struct sock_filter, profile the `linux.seccomp` object. Raises Error for a
    flag that is unknown.
    """
    listens = agent(profile) is not None
    bits = 0
    flags = profile.get("flags")
    for position, flag in enumerate(_DEFAULT_FLAGS if flags is None else flags):
        pointer = f"/linux/seccomp/flags/{position}"
        if flag not in FLAGS:
            raise Error(f"{flag!r} is no seccomp flag; there are {', '.join(FLAGS)}", pointer=pointer)
        if flag in AGENT_FLAGS and not listens:
            b.warn(pointer, f"{flag} is left out: no rule has the action {AGENT_ACTIONS[0]}")
        else:
            bits |= FLAGS[flag]
    count = len(program) // 8
    instructions = Data("sock_filter", program, (count,))
    fprog = Data("sock_fprog", _sock_fprog(count, 0), (count,), ((8, instructions),))
    note = "a process without CAP_SYS_ADMIN needs process.noNewPrivileges for a filter"
    b.origin = "/linux/seccomp"
    if listens:
        # The process has no other thread to synchronise, and the one that sends the listener must stay free.
        bits &= ~f.SECCOMP_FILTER_FLAG_TSYNC
        b.step("notify", bits | f.SECCOMP_FILTER_FLAG_NEW_LISTENER, fprog, note=note)
    else:
        b.step("seccomp", f.SECCOMP_SET_MODE_FILTER, bits, fprog, note=note)
