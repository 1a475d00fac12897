"""The program of `create` and `run`: from a configuration to a container's process.

Pure: the same configuration, facts and request give the same program. One module per subject
appends its steps; the order here is the order in which the kernel can do them.
"""

from pyrunc.compile import devices, kernel, masks, mounts, namespaces, rootfs
from pyrunc.compile.cgroups import join, join_late
from pyrunc.compile.paths import components, open_or_create
from pyrunc.compile.process import all_cpus, before_user_namespace, compile_process, compile_scheduling, label
from pyrunc.compile.syncs import SYNC_CREATED, SYNC_SCOPE
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.facts import Facts, Request
    from pyrunc.compile.namespaces import Namespaces
    from pyrunc.program.model import Program

# KEYCTL_SETPERM: the kernel's default for a session keyring, and search for its user
_KEYRING_PERMISSIONS = 0x3F1B0000


def compile_create(config: "dict[str, Any]", facts: "Facts", request: "Request") -> "Program":
    """The program; raises Error for what the schema cannot see and the kernel would refuse."""
    namespaces.check(config)
    spaces = namespaces.Namespaces(config)
    for key in ("process", "root"):
        if key not in config:
            raise Error(f"a container needs {key}; add it to the configuration", pointer="/" + key)
    process = config["process"]
    b = Builder()
    _inherit(b, config, process, facts, request)
    trees, tree = _stage_1(b, config, facts, request, spaces)
    b.phase = "session"
    # Once more where a user namespace was joined: a change of ids sets what fs.suid_dumpable says (proc(5)).
    namespaces.hide(b)
    b.step("setsid")
    if request.new_keyring:
        join_keyring(b, request)
    b.step("umask", 0)
    root = _build_root(b, config, facts, request, spaces, trees, tree)
    b.phase = "pivot"
    rootfs.enter(b, config, facts, spaces, root, pivot=request.pivot)
    if process.get("execCPUAffinity") or process.get("scheduler"):
        from pyrunc.compile import scheduling

        scheduling.check(config, process)
    compile_scheduling(b, config, process, user_namespace=spaces.own(f.CLONE_NEWUSER))

    def created(b: Builder) -> None:
        b.phase = "created"
        b.sync(SYNC_CREATED)
        b.phase = "start"
        if request.wait:
            b.step("wait", b.inherit("listener"))
        if config.get("hooks"):
            from pyrunc.compile import hooks

            hooks.before_exec(b, config)

    compile_process(b, config, process, facts, request, created)
    return b.program


def _inherit(
    b: Builder, config: "dict[str, Any]", process: "dict[str, Any]", facts: "Facts", request: "Request"
) -> None:
    """Gives the descriptors that the runtime hands over the first slots."""
    b.inherit("report")
    b.inherit("command")
    if request.wait:
        b.inherit("listener")
    if process.get("terminal"):
        b.inherit("console")
    if config.get("hooks"):
        from pyrunc.compile import hooks

        for name in hooks.descriptors(config):
            b.inherit(name)
    mounts.inherit(b, config, facts)


def _stage_1(
    b: Builder, config: "dict[str, Any]", facts: "Facts", request: "Request", spaces: "Namespaces"
) -> tuple[dict[int, Slot], Slot | None]:
    """What happens before the container's first process exists."""
    b.phase = "cgroup"
    kernel.compile_oom_score(b, config["process"])
    label(b, config["process"], facts, request, config.get("linux", {}).get("mountLabel") or "")
    if b.mount_label:
        from pyrunc.compile import labels

        labels.context_type(b, config)
    own_user = spaces.own(f.CLONE_NEWUSER)
    cgroup = delegated = None
    plan = facts.cgroups
    joined_cgroup = any(flag == f.CLONE_NEWCGROUP for flag, _, _ in spaces.joined)
    if plan is not None:
        if plan.unit is not None:
            b.sync(SYNC_SCOPE)
        # Before any namespace hides the paths, or takes the privilege.
        cgroup = join(b, plan, into=not joined_cgroup)
        if plan.delegated:
            from pyrunc.compile import delegation

            delegated = delegation.open_file(b, plan)
    if facts.rdt is not None:
        from pyrunc.compile import rdt

        rdt.join(b, *facts.rdt)
    if spaces.own(f.CLONE_NEWUSER):
        before_user_namespace(b, config["process"], facts)
    trees: dict[int, Slot] = {}
    tree = None
    take_trees = own_user and spaces.own(f.CLONE_NEWNS)
    joins_user = any(flag == f.CLONE_NEWUSER for flag, _, _ in spaces.joined)
    b.phase = "join"
    offsets = namespaces.open_offsets(b, spaces, config)
    if joins_user:
        # From there on its processes have all capabilities over this one.
        namespaces.hide(b)
    else:
        namespaces.join(b, spaces)
        b.phase = "user"
    if take_trees and facts.copies_mounts:
        # While the privilege in the host's mount namespace is still there.
        tree = rootfs.clone_tree(b, facts)
        trees = mounts.bind_sources(b, config, facts, request)
    if joins_user:
        namespaces.join(b, spaces)
        b.phase = "user"
    namespaces.new_user(b, spaces)
    namespaces.new_time(b, spaces, config, offsets)
    b.phase = "clone"
    new = spaces.new & ~(f.CLONE_NEWUSER | f.CLONE_NEWTIME)
    # The root of a new cgroup namespace is where its first process is when it asks for it; and the
    # message queues of a new ipc namespace belong to who asks, which has to be the root inside.
    late = f.CLONE_NEWCGROUP if plan is not None and plan.late else 0
    if own_user:
        late |= f.CLONE_NEWIPC
    b.clone(new & ~late, cgroup)
    if cgroup is not None:
        b.close(cgroup)
    if plan is not None:
        join_late(b, plan)
    if delegated is not None:
        delegation.join(b, delegated)
    all_cpus(b)
    if take_trees and not facts.copies_mounts and spaces.new & f.CLONE_NEWNS:
        # As the user who may reach them, which the container's root need not be.
        tree = rootfs.clone_tree(b, facts)
        trees = mounts.bind_sources(b, config, facts, request)
    namespaces.become_root(b, spaces, config, facts)
    if new & late:
        b.origin = "/linux/namespaces"
        b.step("unshare", new & late)
        b.origin = ""
    return trees, tree


def _build_root(
    b: Builder, config: "dict[str, Any]", facts: "Facts", request: "Request", spaces: "Namespaces",
    trees: dict[int, Slot], tree: Slot | None,
) -> Slot:
    """The root file system with all that is mounted and made in it, still below a descriptor."""
    b.phase = "rootfs"
    root = rootfs.attach(b, config, facts, spaces, tree)
    b.phase = "mounts"
    mounted = mounts.compile_mounts(b, config, facts, request, spaces, root, trees)
    b.phase = "devices"
    devices.compile_devices(b, config, facts, spaces, root)
    tty = None
    if config["process"].get("terminal"):
        from pyrunc.compile import terminal

        tty = terminal.compile_terminal(
            b, config["process"], mounted, root, console_device=devices.needs_dev(config),
            caller_size=request.console_size,
        )
    if mounted.devpts is not None:
        b.close(mounted.devpts)
    if config.get("linux", {}).get("netDevices"):
        from pyrunc.compile import netdevices

        b.phase = "network"
        netdevices.compile_devices(b, config, spaces, rootless=facts.rootless)
    b.phase = "kernel"
    namespaces.loopback(b, spaces)
    kernel.compile_names(b, config, spaces)
    kernel.compile_sysctls(b, config, spaces, mounted)
    if mounted.proc is not None:
        b.close(mounted.proc)
    b.phase = "paths"
    _working_directory(b, config["process"], root)
    b.phase = "hooks"
    if config.get("hooks"):
        from pyrunc.compile import hooks

        hooks.before_pivot(b, config)
    b.phase = "paths"
    masks.compile_masks(b, config, facts, spaces, root)
    rootfs.make_readonly(b, config, spaces, root)
    if tty is not None:
        terminal.attach(b, tty)
    return root


def _working_directory(b: Builder, process: "dict[str, Any]", root: Slot) -> None:
    """Makes the working directory where the image lacks it, as other runtimes do."""
    cwd = process.get("cwd") or "/"
    if not components(cwd):
        return
    b.origin, b.note = "/process/cwd", f"for {cwd}"
    b.close(open_or_create(b, root, cwd, directory=True))
    b.origin, b.note = "", ""


def join_keyring(b: Builder, request: "Request") -> None:
    """A session keyring of the container's own, so that it does not see the caller's."""
    from errno import ENOSYS

    ring = b.slot("keyring")
    b.step(
        "keyctl", f.KEYCTL_JOIN_SESSION_KEYRING, f"_ses.{request.id}", 0, 0, 0, tolerate=(ENOSYS,), out=ring,
        note="a session keyring; --no-new-keyring goes without one",
    )
    with b.if_ok(ring):
        b.step("keyctl", f.KEYCTL_SETPERM, ring, _KEYRING_PERMISSIONS, 0, 0)
    b.release(ring)
