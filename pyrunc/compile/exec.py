"""The program of `exec`: one more process in the namespaces and cgroups of a container.

Pure, as compile/create.py. All namespaces are entered in one setns(2) through a descriptor of the
container's first process, so that no other process can be taken for it, and no path in /proc is
trusted.
"""

from errno import ENXIO

from pyrunc.compile import kernel
from pyrunc.compile.cgroups import join_record
from pyrunc.compile.create import join_keyring
from pyrunc.compile.namespaces import CLONE_FLAGS, Namespaces, become_root, hide
from pyrunc.compile.process import (
    all_cpus,
    before_user_namespace,
    compile_process,
    compile_scheduling,
    label,
)
from pyrunc.compile.syncs import SYNC_CREATED
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts, Request
    from pyrunc.program.model import Program


def compile_exec(
    config: "dict[str, Any]", process: "dict[str, Any]", facts: "Facts", request: "Request",
    cgroups: "dict[str, Any] | None", below: list[str],
) -> "Program":
    """The program for a process object in the container of a configuration.

    cgroups is the container's record of them, below the values of `exec --cgroup`.
    """
    b = Builder()
    b.inherit("report")
    b.inherit("command")
    target = b.inherit("target")
    if process.get("terminal"):
        b.inherit("console")
    flags = 0
    for namespace in config.get("linux", {}).get("namespaces") or ():
        flags |= CLONE_FLAGS[namespace["type"]]
    b.phase = "join"
    b.step("umask", 0)
    kernel.compile_oom_score(b, process)
    label(b, process, facts, request)
    # Once in the container's PID namespace, this process can be seen from inside. What it has to write to
    # its own files in /proc is written: they are root's from here on.
    hide(b)
    affinity = process.get("execCPUAffinity") or {}
    pinned = affinity.get("initial") or affinity.get("final")
    if pinned:
        from pyrunc.compile import scheduling

        scheduling.affinity(b, process, "initial")
    b.phase = "cgroup"
    if facts.rdt is not None:
        from pyrunc.compile import rdt

        rdt.join(b, *facts.rdt)
    cgroup = join_record(b, cgroups, below) if cgroups else None
    if cgroup is not None:
        # Moving there by a write would wait for an RCU grace period; a clone into it does not. It
        # comes before setns, so that no descriptor of the host's enters the container.
        b.clone(0, cgroup)
        b.close(cgroup)
    if pinned:
        scheduling.affinity(b, process, "final")
    else:
        all_cpus(b)
    if flags & f.CLONE_NEWUSER:
        before_user_namespace(b, process, facts)
    b.phase = "join"
    if flags:
        b.origin = "/linux/namespaces"
        b.step("setns", target, flags)
        b.origin = ""
    b.close(target)
    if flags & f.CLONE_NEWUSER:
        # Or the terminal and the keyring would belong to an id of the host that is not mapped.
        become_root(b, Namespaces(config), config, facts)
    if flags & (f.CLONE_NEWPID | f.CLONE_NEWTIME):
        b.phase = "clone"
        b.clone(0)
    b.phase = "session"
    b.step("setsid")
    if request.new_keyring:
        join_keyring(b, request)
    if flags & f.CLONE_NEWNS == 0:
        b.origin = "/root/path"
        root = b.openat2(f.AT_FDCWD, facts.rootfs, f.O_PATH | f.O_DIRECTORY, resolve=0, name="rootfs")
        b.step("fchdir", root)
        b.close(root)
        b.step("chroot", ".")
    if process.get("terminal"):
        _terminal(b, process, request.console_size)
    compile_scheduling(b, config, process, user_namespace=bool(flags & f.CLONE_NEWUSER))

    def created(b: Builder) -> None:
        b.phase = "created"
        b.sync(SYNC_CREATED)

    compile_process(b, config, process, facts, request, created)
    return b.program


def _terminal(b: Builder, process: "dict[str, Any]", caller_size: tuple[int, int] | None) -> None:
    """A terminal from the devpts that the container has at /dev/pts, proven to be one."""
    from pyrunc.compile import terminal

    b.phase = "terminal"
    b.origin = "/process/terminal"
    ptmx = b.openat2(
        f.AT_FDCWD, "/dev/pts/ptmx", f.O_RDWR | f.O_NOCTTY, resolve=f.RESOLVE_NO_SYMLINKS, name="ptmx",
        note="a terminal needs a devpts mounted at /dev/pts",
    )
    b.expect_filesystem(ptmx, f.DEVPTS_SUPER_MAGIC, ENXIO, "a terminal needs a devpts mounted at /dev/pts")
    tty = terminal.open_pair(b, process, ptmx, caller_size)
    console = b.inherit("console")
    terminal.send(b, ptmx, console)
    b.close(ptmx)
    b.close(console)
    terminal.attach(b, tty)
