"""The verbs that act on one container. Each turns flags into the arguments of pyrunc.container."""

from pyrunc.cli import absolute, runtime, text
from pyrunc.errors import Error, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.cli.parser import Invocation


def _creating(given: "Invocation") -> "dict[str, Any]":
    """The flags that create and run share."""
    flags = given.options
    return {
        "console_socket": _path(flags["console_socket"]),
        "pidfd_socket": _path(flags["pidfd_socket"]),
        "pid_file": _path(flags["pid_file"]),
        "no_pivot": flags["no_pivot"],
        "no_new_keyring": flags["no_new_keyring"],
        "preserve_fds": flags["preserve_fds"],
    }


def _path(value: str) -> str | None:
    return absolute(value) if value else None


def create(given: "Invocation") -> int:
    """`create ID`"""
    from pyrunc.container import create as container

    bundle = absolute(given.options["bundle"] or ".")
    container.create(runtime(given.common), given.args[0], bundle, **_creating(given))
    return 0


def run(given: "Invocation") -> int:
    """`run ID`: the exit status is that of the container's process."""
    from pyrunc.container import create as container

    flags = given.options
    status: int = container.run(
        runtime(given.common),
        given.args[0],
        absolute(flags["bundle"] or "."),
        detach=flags["detach"],
        keep=flags["keep"],
        no_subreaper=flags["no_subreaper"],
        **_creating(given),
    )
    return status


def start(given: "Invocation") -> int:
    """`start ID`"""
    from pyrunc.container import lifecycle

    lifecycle.start(runtime(given.common), given.args[0])
    return 0


def state(given: "Invocation") -> int:
    """`state ID`"""
    from pyrunc.cli.output import write
    from pyrunc.container import inspect
    from pyrunc.json import encode

    write(encode(inspect.state(runtime(given.common), given.args[0]), 2) + "\n")
    return 0


def kill(given: "Invocation") -> int:
    """`kill ID [SIGNAL]`"""
    from pyrunc.container import lifecycle
    from pyrunc.linux import signals

    signal = signals.parse(given.args[1] if len(given.args) > 1 else "TERM")
    lifecycle.kill(runtime(given.common), given.args[0], signal, all=given.options["all"])
    return 0


def delete(given: "Invocation") -> int:
    """`delete ID`: with --force, a container that does not exist is as good as deleted."""
    from pyrunc.container import lifecycle

    force = given.options["force"]
    try:
        lifecycle.delete(runtime(given.common), given.args[0], force=force)
    except NotFound:
        if not force:
            raise
    return 0


def pause(given: "Invocation") -> int:
    """`pause ID`"""
    from pyrunc.container import lifecycle

    lifecycle.pause(runtime(given.common), given.args[0])
    return 0


def resume(given: "Invocation") -> int:
    """`resume ID`"""
    from pyrunc.container import lifecycle

    lifecycle.resume(runtime(given.common), given.args[0])
    return 0


def execute(given: "Invocation") -> int:
    """`exec ID COMMAND`: the exit status is the command's."""
    flags = given.options
    process = None
    args = given.args[1:]
    if flags["process"]:
        if args:
            raise Error(f"the command {args[0]!r} and --process exclude each other: drop one")
        process = _process(flags["process"])
    elif not args:
        raise Error("exec needs a command after the container's ID, or --process FILE")
    _check_user(flags["user"])
    from pyrunc.container import execute as container

    status: int = container.execute(
        runtime(given.common),
        given.args[0],
        process=process,
        args=args,
        tty=flags["tty"],
        detach=flags["detach"],
        cwd=flags["cwd"] or None,
        env=flags["env"],
        user=flags["user"] or None,
        additional_gids=flags["additional_gids"],
        caps=flags["cap"],
        no_new_privs=flags["no_new_privs"],
        apparmor=flags["apparmor"] or None,
        process_label=flags["process_label"] or None,
        pid_file=_path(flags["pid_file"]),
        console_socket=_path(flags["console_socket"]),
        pidfd_socket=_path(flags["pidfd_socket"]),
        preserve_fds=flags["preserve_fds"],
        ignore_paused=flags["ignore_paused"],
        cgroup=flags["cgroup"],
    )
    return status


def _process(path: str) -> "dict[str, Any]":
    """The process object in a file."""
    from pyrunc.config import load

    return load.decode_process(text(path), path)


def _check_user(user: str) -> None:
    for number in user.split(":", 1) if user else ():
        if not (number.isascii() and number.isdecimal() and int(number) < 2**32 - 1):
            raise Error(f"--user {user}: it takes numbers, UID or UID:GID; names are not looked up")


VERBS: "dict[str, Callable[[Invocation], int]]" = {
    "create": create,
    "delete": delete,
    "exec": execute,
    "kill": kill,
    "pause": pause,
    "resume": resume,
    "run": run,
    "start": start,
    "state": state,
}
