"""exec: one more process in a running container."""

import posix

from pyrunc import json, log
from pyrunc.compile.exec import compile_exec
from pyrunc.compile.facts import Facts, Request
from pyrunc.compile.syncs import SYNC_SCOPE
from pyrunc.container import record as records
from pyrunc.errors import Error
from pyrunc.host import facts as host_facts
from pyrunc.host.launch import Init
from pyrunc.host.processes import open_pidfd
from pyrunc.program.verify import verify
from pyrunc.state import Directory, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.container import Runtime
    from pyrunc.container.foreground import Foreground
    from pyrunc.host.seccomp_agent import Agent

# What a process object that lacks it has from the container's own process, as with runc: confinement and
# limits must not end where somebody forgot to repeat them.
_SHARED = ("apparmorProfile", "execCPUAffinity", "ioPriority", "rlimits", "scheduler", "selinuxLabel")
# The same, where 0 is a value: else it would have that of the runtime's caller, which an engine lowers.
_SCORE = "oomScoreAdj"


def execute(
    rt: "Runtime", id: str, *, process: "dict[str, Any] | None", args: list[str], tty: bool = False,
    detach: bool = False, cwd: str | None = None, env: list[str] | None = None, user: str | None = None,
    additional_gids: list[int] | None = None, caps: list[str] | None = None, no_new_privs: bool = False,
    apparmor: str | None = None, process_label: str | None = None, pid_file: str | None = None,
    console_socket: str | None = None, pidfd_socket: str | None = None, preserve_fds: int = 0,
    ignore_paused: bool = False, cgroup: list[str] | None = None,
) -> int:
    """Runs a process in the container: the object in `process`, or the container's own with args and
    flags applied. Returns its exit status, or 0 once it runs if detached."""
    host_facts.check_preserved(preserve_fds)
    directory = Directory.open(rt.root, id)
    try:
        record = directory.read()
        status = _check_status(directory, record, ignore_paused)
        config = json.decode(directory.get(records.CONFIG).decode())
        if process is None:
            process = _process(config, args, cwd, env or [], user, additional_gids, caps or [], no_new_privs)
        else:
            own = config["process"]
            process.update({key: own[key] for key in _SHARED if key in own and not process.get(key)})
            if _SCORE in own:
                process.setdefault(_SCORE, own[_SCORE])
        if apparmor:
            process["apparmorProfile"] = apparmor
        if process_label:
            process["selinuxLabel"] = process_label
        process["terminal"] = bool(process.get("terminal") or tty)
        terminal = process["terminal"]
        if terminal and detach and not console_socket:
            raise Error("a detached process with a terminal needs --console-socket")
        if console_socket and not (terminal and detach):
            raise Error("--console-socket needs --detach and a terminal (--tty)")
        agent = None
        if "listener" in record:
            from pyrunc.host.seccomp_agent import Agent

            agent = Agent(record["listener"], record["bundle"])
        front = None
        if not detach:
            from pyrunc.container import foreground

            front = foreground.Foreground(terminal)
        init = _launch(
            rt, directory, record, config, process, preserve_fds, cgroup or [], console_socket, front
        )
        if agent is not None:
            state = records.document(directory.id, record, status)
            init.on_listener = lambda fd: agent.hand_over(fd, init.pid, state)
        if front is not None:
            front.catch()
    finally:
        directory.close()
    _follow(init, record, cgroup or [], pid_file, pidfd_socket, agent)
    return front.wait(init.pid) if front else 0


def _check_status(directory: Directory, record: "dict[str, Any]", ignore_paused: bool) -> str:
    status = records.status(directory, record)
    if status in ("stopped", "creating"):
        raise Error(f"cannot exec in the container {directory.id}: it is {status}")
    if status == "paused" and not ignore_paused:
        raise Error(
            f"cannot exec in the container {directory.id}: it is paused; resume it, or use --ignore-paused"
        )
    return status


def _process(
    config: "dict[str, Any]", args: list[str], cwd: str | None, env: list[str], user: str | None,
    additional_gids: list[int] | None, caps: list[str], no_new_privs: bool,
) -> "dict[str, Any]":
    """The container's process object with the command line's changes."""
    process: dict[str, Any] = config["process"]
    process["args"] = args
    process["terminal"] = False
    if cwd:
        process["cwd"] = cwd
    process["env"] = [*(process.get("env") or ()), *env]
    if user:
        uid, _, gid = user.partition(":")
        old = process.setdefault("user", {})
        old["uid"] = int(uid)
        if gid:
            old["gid"] = int(gid)
    if additional_gids:
        known = process.setdefault("user", {}).get("additionalGids") or []
        process["user"]["additionalGids"] = [*known, *additional_gids]
    if caps:
        # Never inheritable: a file with inheritable capabilities would gain what was not asked for
        # (CVE-2022-29162). What the configuration has made so can be ambient, for users but root.
        sets = process.setdefault("capabilities", {})
        for kind in ("bounding", "effective", "permitted"):
            sets[kind] = [*(sets.get(kind) or ()), *caps]
        inheritable = sets.get("inheritable") or ()
        ambient = [name for name in caps if name in inheritable]
        if ambient:
            sets["ambient"] = [*(sets.get("ambient") or ()), *ambient]
    if no_new_privs:
        process["noNewPrivileges"] = True
    return process


def _launch(
    rt: "Runtime", directory: Directory, record: "dict[str, Any]", config: "dict[str, Any]",
    process: "dict[str, Any]", preserve_fds: int, below: list[str], console_socket: str | None,
    front: "Foreground | None",
) -> Init:
    request = Request(directory.id, record["bundle"], preserve_fds=preserve_fds)
    if front is not None:
        from pyrunc.container import foreground

        request.console_size = foreground.window_size()
    facts = _facts(rt, config, process, record)
    records.locate(record)
    below = below or _below(record)
    groups = record.get("rdt")
    if groups:
        facts.rdt = (groups["clos"], groups["monitor"])
    program = compile_exec(config, process, facts, request, record["cgroups"], below)
    verify(program)
    for pointer, text in program.warnings:
        log.warning(f"{pointer}: {text}")
    preserve = range(3, 3 + preserve_fds + facts.listen_fds)
    target = open_pidfd(record["pid"], record["started"])
    if target < 0:
        raise Error(f"cannot exec in the container {directory.id}: it has stopped")
    descriptors = {"target": target}
    try:
        if "console" in program.inherited:
            from pyrunc.host import sockets

            descriptors["console"] = (
                sockets.connect(console_socket, "the console socket")
                if console_socket
                else front.console if front else -1
            )
        return Init(program, descriptors, preserve, listens="listener" in record)
    finally:
        for fd in descriptors.values():
            posix.close(fd)


def _below(record: "dict[str, Any]") -> list[str]:
    """Where the first process is, as --cgroup has it, if on cgroup v2 it has moved to a cgroup below the
    container's and left that one to its controllers: no process can be in such a one (cgroups(7), "no
    internal processes"). systemd does that as a container's init."""
    v2 = record["cgroups"]["directories"].get("")
    if not v2:
        return []
    try:
        with open(f"{v2}/cgroup.subtree_control", "rb") as file:
            if not file.read().strip():
                return []
        with open(f"/proc/{record['pid']}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []  # it has gone, which a later step says better
    path = next((line[3:] for line in lines if line.startswith("0::")), "")
    # Its beginning is the end of the container's own directory; what is left is below that one.
    names = path.split("/")
    for count in range(len(names), 1, -1):
        if v2.endswith("/".join(names[:count])):
            inner = "/".join(names[count:])
            return [f":{inner}"] if inner else []
    return []


def _facts(
    rt: "Runtime", config: "dict[str, Any]", process: "dict[str, Any]", record: "dict[str, Any]"
) -> Facts:
    profile = config.get("linux", {}).get("seccomp")
    filter = None
    if profile:
        from pyrunc.host.seccomp import filter_for

        filter, warnings = filter_for(profile, f"{rt.root}/@seccomp")
        for warning in warnings:
            log.warning(warning)
    facts = Facts(
        record["rootfs"], bounding=host_facts.bounding(config), filter=filter, rootless=host_facts.rootless(),
        listen_fds=host_facts.listen_fds(), listen_names=host_facts.listen_names(),
        null_stdio=host_facts.null_stdio(),
        apparmor=host_facts.has_apparmor(process), selinux=host_facts.has_selinux(process),
        limits=host_facts.hard_limits(config, process),
    )
    namespaces = config.get("linux", {}).get("namespaces") or ()
    if facts.rootless or any(namespace["type"] == "user" for namespace in namespaces):
        from pyrunc.host import userns

        facts.setgroups = userns.allows_setgroups(record["pid"])
    if not any(variable.startswith("HOME=") for variable in process.get("env") or ()):
        facts.home = host_facts.home((process.get("user") or {}).get("uid", 0), record["rootfs"])
    return facts


def _enter_scope(init: Init, record: "dict[str, Any]", below: list[str]) -> None:
    """Has the user's systemd move the process, which waits for it."""
    from pyrunc.compile.cgroups import split_below
    from pyrunc.host.cgroups import systemd

    _, path = split_below((below or _below(record) or [""])[-1])
    systemd.attach(record["cgroups"], init.pid, path)
    init.answer()


def _follow(
    init: Init, record: "dict[str, Any]", below: list[str], pid_file: str | None, pidfd_socket: str | None,
    agent: "Agent | None",
) -> None:
    """Until the process is executed; one that fails before that is collected."""
    try:
        point = init.next()
        if point == SYNC_SCOPE:
            _enter_scope(init, record, below)
            point = init.next()
        if not point:
            raise _ended(init)
        if pid_file:
            write_file(pid_file, str(init.pid))
        if pidfd_socket:
            from pyrunc.host.sockets import send_pidfd

            send_pidfd(pidfd_socket, init.pid)
        init.answer()
        init.next()
        if agent is not None and not agent.served:
            raise _ended(init)
        init.close()
    except BaseException:
        init.end()
        raise


def _ended(init: Init) -> Error:
    return Error(
        f"the process ended with exit status {init.collect()} before it could be executed; "
        "has the container stopped, or is a limit too low?"
    )
