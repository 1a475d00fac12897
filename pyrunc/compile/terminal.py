"""Terminals: a pseudoterminal of the container's own devpts for the process (config.md, "Process").

The terminal end comes from TIOCGPTPEER on the controlling end, never from a path, so that nothing
in the container can pass another file off as it (CVE-2025-52565).
"""

from _struct import Struct
from errno import ENXIO

from pyrunc.compile.mounting import target
from pyrunc.compile.mounts import Mounted
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder
from pyrunc.program.model import Data, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_O_TTY = f.O_RDWR | f.O_NOCTTY | f.O_CLOEXEC


def open_pair(
    b: Builder, process: "dict[str, Any]", ptmx: Slot, caller_size: tuple[int, int] | None
) -> Slot:
    """Unlocks and sizes a new pseudoterminal; returns its terminal end, owned by the user."""
    b.step("ioctl", ptmx, f.IOCTL_TIOCSPTLCK, Data("int", bytes(4), (0,)))
    tty = b.slot("tty")
    b.step("ioctl", ptmx, f.IOCTL_TIOCGPTPEER, _O_TTY, out=tty)
    size = process.get("consoleSize")
    if size or caller_size:
        height, width = (size.get("height", 0), size.get("width", 0)) if size else caller_size or (0, 0)
        packed = Struct("=4H").pack(height, width, 0, 0)
        b.origin = "/process/consoleSize" if size else "/process/terminal"
        b.step("ioctl", ptmx, f.IOCTL_TIOCSWINSZ, Data("winsize", packed, (height, width)))
        b.origin = "/process/terminal"
    user = process.get("user") or {}
    if user.get("uid", 0):
        b.step("fchown", tty, user["uid"], -1)
    return tty


def send(b: Builder, ptmx: Slot, console: Slot) -> None:
    """Sends the controlling end to whoever listens on the console socket (SCM_RIGHTS)."""
    # struct cmsghdr: length, SOL_SOCKET, SCM_RIGHTS; then the descriptor
    control = Data("cmsghdr", Struct("=Qiiixxxx").pack(20, 1, 1, 0), ("SCM_RIGHTS",))
    b.store(control, 16, ptmx, 4)
    text = b"/dev/ptmx"
    vector = Data("iovec", Struct("=QQ").pack(0, len(text)), (text,), ((0, text),))
    message = Data(
        "msghdr", Struct("=QIxxxxQQQQixxxx").pack(0, 0, 0, 1, 0, 24, 0),
        ("SCM_RIGHTS", f"[{ptmx!r}]"), ((16, vector), (32, control)),
    )
    b.step("sendmsg", console, message, 0, note="the console socket")


def compile_terminal(
    b: Builder, process: "dict[str, Any]", mounted: Mounted, root: Slot, *, console_device: bool,
    caller_size: tuple[int, int] | None,
) -> Slot:
    """Before the pivot: opens the terminal, sends its controlling end, and binds /dev/console.

    Returns the terminal end, for `attach`. console_device is False where /dev is the host's.
    """
    b.origin = "/process/terminal"
    console = b.inherit("console")
    if mounted.devpts is not None:
        ptmx = b.slot("ptmx")
        b.step("openat", mounted.devpts, "ptmx", _O_TTY, 0, out=ptmx)
    else:
        ptmx = b.openat2(root, "dev/pts/ptmx", _O_TTY, resolve=f.RESOLVE_IN_ROOT, name="ptmx")
    b.expect_filesystem(ptmx, f.DEVPTS_SUPER_MAGIC, ENXIO, "a terminal needs a devpts mounted at /dev/pts")
    tty = open_pair(b, process, ptmx, caller_size)
    send(b, ptmx, console)
    b.close(ptmx)
    b.close(console)
    if console_device:
        place = target(b, root, "/dev/console", directory=False)
        tree = b.open_tree(tty, "", f.OPEN_TREE_CLONE | f.AT_EMPTY_PATH, "console-device")
        b.move_mount(tree, place)
        b.close(tree)
        b.close(place)
    b.origin = ""
    return tty


def attach(b: Builder, tty: Slot) -> None:
    """Makes the terminal the process's standard input, output, error and controlling terminal."""
    b.origin = "/process/terminal"
    for number in (0, 1, 2):
        b.step("dup3", tty, number, 0)
    b.step("ioctl", tty, f.IOCTL_TIOCSCTTY, 0)
    b.close(tty)
    b.origin = ""
