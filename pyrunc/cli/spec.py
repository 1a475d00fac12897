"""The verb `spec`: writes a configuration to start from, the one that users of runc know.

It must not overwrite a file that exists. With --rootless the configuration needs no privilege, with
--rootfs there is also a root file system to go with it.
"""

import posix

from pyrunc.cli import absolute
from pyrunc.config.default import default
from pyrunc.errors import Error
from pyrunc.json import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.cli.parser import Invocation


def spec(given: "Invocation") -> int:
    """`spec`"""
    directory = absolute(given.options["bundle"] or ".")
    path = f"{directory}/config.json"
    text = encode(default(given.options["rootless"], cgroup_v2=_unified()), 4) + "\n"
    try:
        file = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Error(f"{path} exists already; remove it, or name another directory with --bundle") from None
    except FileNotFoundError:
        raise Error(f"there is no directory {directory}; make it first") from None
    try:
        _write(file, text)
        if given.options["rootfs"]:
            from pyrunc.cli.sample import fill

            fill(f"{directory}/rootfs")
    except BaseException:
        # Half a configuration would be taken for a whole one.
        posix.unlink(path)
        raise
    finally:
        posix.close(file)
    return 0


def _write(file: int, text: str) -> None:
    rest = text.encode()
    while rest:
        rest = rest[posix.write(file, rest) :]


def _unified() -> bool:
    """Whether the host has cgroup v2 alone (cgroups(7): the file is in the root of a v2 tree only)."""
    try:
        posix.stat("/sys/fs/cgroup/cgroup.controllers")
    except OSError:
        return False
    return True


VERBS: "dict[str, Callable[[Invocation], int]]" = {"spec": spec}
