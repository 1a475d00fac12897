"""start, kill, delete, pause, resume (runtime.md, "Operations")."""

import posix

from pyrunc.container import record as records
from pyrunc.errors import Error, NotFound
from pyrunc.host.processes import open_pidfd, send_signal, wait_until_gone
from pyrunc.state import SOCKET, Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.container import Runtime
    from pyrunc.host.sd_notify import Proxy
    from pyrunc.host.seccomp_agent import Agent

_SIGKILL = 9
# How long a killed process may take to end; only one in an uninterruptible sleep takes that long, or one
# that cannot have a CPU.
_PATIENCE = 10.0


def start(rt: "Runtime", id: str) -> None:
    """Lets a created container go on to its process; returns once that is executed."""
    directory = Directory.open(rt.root, id)
    try:
        record = directory.read()
        status = records.status(directory, record)
        if status != "created":
            why = {"stopped": "has stopped", "creating": "is still being created"}
            raise Error(f"cannot start the container {id}: it {why.get(status, 'is already running')}")
        proxy = _proxy(directory) if posix.environ.get(b"NOTIFY_SOCKET") else None
        _start(rt, directory, record)
        _poststart(directory, record)
    finally:
        directory.close()
    if proxy is not None:
        # Without the lock: other verbs have to work meanwhile.
        proxy.wait(record["pid"])


def _proxy(directory: Directory) -> "Proxy | None":
    """What waits for the container to be ready, if it was created for that."""
    from pyrunc import log
    from pyrunc.host import sd_notify

    if directory.has(sd_notify.DIRECTORY):
        return sd_notify.Proxy(directory.fd)
    log.warning("NOTIFY_SOCKET has no effect: the container was created without it")
    return None


def _start(rt: "Runtime", directory: Directory, record: "dict[str, Any]") -> None:
    from pyrunc.host.sockets import connect

    agent = None
    if "listener" in record:
        from pyrunc.host.seccomp_agent import Agent

        agent = Agent(record["listener"], record["bundle"])
    fd = connect(f"/proc/self/fd/{directory.fd}/{SOCKET}", "the container's start socket")
    try:
        directory.unlink(SOCKET)
        posix.write(fd, b"\n")
        if agent is not None:
            report = _serve(agent, fd, directory, record)
        else:
            # execve closes the other end without a word; a step that fails reports itself first.
            report = posix.read(fd, 512)
    except ConnectionError:
        report = b""
    finally:
        posix.close(fd)
    if report:
        from pyrunc.container.failed import failed_start

        error = failed_start(rt, directory, record, report)
        if error.pointer.startswith("/hooks/"):
            _fail(directory, record)
        raise error


def _serve(agent: "Agent", fd: int, directory: Directory, record: "dict[str, Any]") -> bytes:
    """Gives the seccomp agent the listener, which comes before the process is executed; returns what
    init reports besides."""
    from _socket import socket

    from pyrunc.host.seccomp_agent import receive

    connection = socket(fileno=posix.dup(fd))
    try:
        report, listener = receive(connection, 512)
    finally:
        connection.close()
    if listener < 0:
        if not report:
            raise Error(f"the process of the container {directory.id} ended before it could be executed")
        return report
    try:
        agent.hand_over(listener, record["pid"], records.document(directory.id, record, "created"))
    except Error:
        _end(directory, record)
        raise
    return posix.read(fd, 512)


def _poststart(directory: Directory, record: "dict[str, Any]") -> None:
    """Runs the poststart hooks from the container's own copy of its configuration."""
    data = directory.get(records.CONFIG)
    if b'"poststart"' in data:
        from pyrunc import json
        from pyrunc.host import hooks

        config = json.decode(data.decode())
        try:
            hooks.run(config, "poststart", records.document(directory.id, record, "running"))
        except Error:
            _fail(directory, record)
            raise


def _fail(directory: Directory, record: "dict[str, Any]") -> None:
    """What follows a failing hook of `start` (runtime.md, "Lifecycle"): the container is stopped and
    destroyed, and the poststop hooks run."""
    _end(directory, record)
    _destroy(directory, record)


# -- signals -----------------------------------------------------------------


def kill(rt: "Runtime", id: str, signal: int, *, all: bool = False) -> None:
    """Sends a signal to the container's first process, or to all of its processes."""
    directory = Directory.open(rt.root, id, lock=False)
    try:
        record = directory.read()
        if all and (signal != _SIGKILL or record["cgroups"]["directories"]):
            _kill_all(id, record, signal)
            return
        # Without a cgroup SIGKILL goes to the first process, with which a PID namespace ends.
        pidfd = open_pidfd(record["pid"], record["started"]) if record["pid"] else -1
        if pidfd < 0 or not send_signal(pidfd, signal):
            raise Error(f"cannot kill the container {id}: container not running")
        posix.close(pidfd)
        if signal == _SIGKILL:
            _let_die(directory, record)
            if record["shared_pids"]:
                _kill_others(id, record)
    finally:
        directory.close()


def _kill_all(id: str, record: "dict[str, Any]", signal: int) -> None:
    from pyrunc.host.cgroups import members

    records.locate(record)
    if not records.alive(record):
        members.kill_all(record["cgroups"], signal)
        return
    records.check_cgroup(record)
    if record["pid"] not in members.pids(record["cgroups"]):
        raise Error(
            f"the first process of the container {id}, {record['pid']}, is not in the container's cgroup any "
            f"more, which tells its processes from others; signal it without --all"
        )
    members.kill_all(record["cgroups"], signal)


def _kill_others(id: str, record: "dict[str, Any]") -> None:
    """Kills what the first process has started, which in a shared PID namespace does not end with it."""
    from pyrunc.host.cgroups import members

    records.locate(record)
    members.kill_all(record["cgroups"], _SIGKILL)
    if record["shared_pids"] and record["pid"] and not record["cgroups"]["directories"]:
        from pyrunc import log

        log.warning(
            f"what the first process of the container {id} has started may go on: without a cgroup and a PID "
            "namespace of the container's nothing tells it from other processes"
        )


def _let_die(directory: Directory, record: "dict[str, Any]") -> None:
    """Even SIGKILL waits for a frozen process to be thawed on cgroup v1 (cgroup-v1/freezer)."""
    if records.status(directory, record) == "paused":
        from pyrunc.host.cgroups import members

        members.thaw(record["cgroups"])


# -- delete ------------------------------------------------------------------


def delete(rt: "Runtime", id: str, *, force: bool = False) -> None:
    """Removes a stopped container, with force any (runtime.md, "Delete"). Raises NotFound when there is
    none, but not with force."""
    if force:
        _interrupt(rt, id)
    try:
        directory = Directory.open(rt.root, id)
    except NotFound:
        if force:
            return
        raise
    try:
        try:
            record = directory.read()
        except Error:
            if not force:
                raise
            from pyrunc.container import damaged

            damaged.remove(rt, directory)
            return
        status = records.status(directory, record)
        if status != "stopped" and not force and record["pid"]:
            raise Error(
                f"cannot delete the container {id}, which is {status}: stop it first, or use --force"
            )
        if status != "stopped":
            _end(directory, record)
        _destroy(directory, record)
    finally:
        directory.close()


def _interrupt(rt: "Runtime", id: str) -> None:
    """Ends a container's first process without the lock, which a create that waits for a hook
    may hold for as long as the hook takes."""
    try:
        directory = Directory.open(rt.root, id, lock=False)
    except NotFound:
        return
    try:
        record = directory.read()
    except Error:
        return  # delete itself deals with a damaged record, under the lock
    finally:
        directory.close()
    if record["creating"] and record["pid"]:
        pidfd = open_pidfd(record["pid"], record["started"])
        if pidfd >= 0:
            send_signal(pidfd, _SIGKILL)
            posix.close(pidfd)


def _end(directory: Directory, record: "dict[str, Any]") -> None:
    """Kills the container and waits until it is gone."""
    pidfd = open_pidfd(record["pid"], record["started"]) if record["pid"] else -1
    if pidfd < 0:
        return
    try:
        send_signal(pidfd, _SIGKILL)
        _let_die(directory, record)
        if not wait_until_gone(pidfd, _PATIENCE):
            from pyrunc.host.stuck import why

            raise Error(
                f"the process {record['pid']} of the container {directory.id} did not end within "
                f"{_PATIENCE:.0f} s of SIGKILL, {why(record['pid'])}; delete the container again once that "
                "is over"
            )
    finally:
        posix.close(pidfd)


def _destroy(directory: Directory, record: "dict[str, Any]") -> None:
    """Undoes what create did, and runs the poststop hooks (runtime.md, "Lifecycle", last steps)."""
    from pyrunc.host.cgroups import tree

    _kill_others(directory.id, record)
    tree.destroy(record["cgroups"])
    if record.get("rdt"):
        from pyrunc.host import rdt

        rdt.destroy(record["rdt"])
    data = directory.get(records.CONFIG) if directory.has(records.CONFIG) else b""
    directory.remove()
    if b'"poststop"' in data:
        from pyrunc import json
        from pyrunc.host import hooks

        config = json.decode(data.decode())
        hooks.run_all(config, "poststop", records.document(directory.id, record, "stopped"))


def finish(rt: "Runtime", id: str) -> None:
    """Deletes a container whose process a foreground `run` has waited for."""
    try:
        directory = Directory.open(rt.root, id)
    except NotFound:
        return  # somebody else has deleted it meanwhile
    try:
        _destroy(directory, directory.read())
    finally:
        directory.close()


# -- freezing ----------------------------------------------------------------


def pause(rt: "Runtime", id: str) -> None:
    """Freezes all processes of a created or running container."""
    _freeze(rt, id, ("running", "created"), "pause", "freeze")


def resume(rt: "Runtime", id: str) -> None:
    """Lets the processes of a paused container go on."""
    _freeze(rt, id, ("paused",), "resume", "thaw")


def _freeze(rt: "Runtime", id: str, allowed: tuple[str, ...], verb: str, action: str) -> None:
    directory = Directory.open(rt.root, id)
    try:
        record = directory.read()
        status = records.status(directory, record)
        if status not in allowed:
            raise Error(f"cannot {verb} the container {id}: it is {status}, not {' or '.join(allowed)}")
        from pyrunc.host.cgroups import members

        records.locate(record)
        records.check_cgroup(record)
        {"freeze": members.freeze, "thaw": members.thaw}[action](record["cgroups"])
    finally:
        directory.close()
