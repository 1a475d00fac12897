"""The step that puts the seccomp filter on the container's process.

The filter itself is a fact that `host/seccomp.py` makes from the profile. Source: `flags` in the
Seccomp section of runtime-spec's config-linux.md, seccomp(2).
"""

from _struct import Struct

from pyrunc.errors import Error
from pyrunc.linux.flags import SECCOMP_SET_MODE_FILTER
from pyrunc.linux.seccomp import AGENT_FLAGS, FLAGS
from pyrunc.program.model import Data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.program.build import Builder

# struct sock_fprog: the number of instructions, padding, and the address of the first.
_sock_fprog = Struct("=H6xQ").pack

# Without a list of flags, runc lets the CPU speculate as it does for a process without a filter; an
# empty list asks for the mitigation of speculative store bypass, which is expensive.
_DEFAULT_FLAGS = ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",)


def install(b: "Builder", program: bytes, flags: list[str] | None) -> None:
    """Appends seccomp(SECCOMP_SET_MODE_FILTER).

    program is an array of struct sock_filter; flags is `linux.seccomp.flags`, None where absent.
    Raises Error for a flag that is unknown or needs a seccomp agent.
    """
    bits = 0
    for position, flag in enumerate(_DEFAULT_FLAGS if flags is None else flags):
        if flag not in FLAGS:
            raise _unusable(flag, f"/linux/seccomp/flags/{position}")
        bits |= FLAGS[flag]
    count = len(program) // 8
    instructions = Data("sock_filter", program, (count,))
    b.origin = "/linux/seccomp"
    b.step(
        "seccomp",
        SECCOMP_SET_MODE_FILTER,
        bits,
        Data("sock_fprog", _sock_fprog(count, 0), (count,), ((8, instructions),)),
        note="a process without CAP_SYS_ADMIN needs process.noNewPrivileges for a filter",
    )


def _unusable(flag: str, pointer: str) -> Error:
    if flag in AGENT_FLAGS:
        return Error(
            f"{flag} is for seccomp agents, which pyrunc does not support: remove it", pointer=pointer
        )
    return Error(f"{flag!r} is no seccomp flag; there are {', '.join(FLAGS)}", pointer=pointer)
