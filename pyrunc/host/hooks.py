"""Runs hooks in the runtime's own namespaces (config.md, "POSIX-platform Hooks").

These are prestart, createRuntime, poststart and poststop; init runs the others.
"""

import posix
import select

from pyrunc import json
from pyrunc.compile.annotations import STREAMS
from pyrunc.errors import Error
from pyrunc.host.launch import memory_file
from pyrunc.host.processes import exit_status, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIGKILL = 9
_MAX_OUTPUT = 4096


def run(config: "dict[str, Any]", kind: str, state: "dict[str, Any]") -> None:
    """Runs the hooks of a kind in order, with the state on their standard input.

    Raises Error for the first that fails, and runs none after it.
    """
    for i, hook in enumerate((config.get("hooks") or {}).get(kind) or ()):
        _run_one(config, hook, f"/hooks/{kind}/{i}", json.encode(state).encode())


def run_all(config: "dict[str, Any]", kind: str, state: "dict[str, Any]") -> None:
    """Runs every hook of a kind; a failure is a warning (poststop: runtime.md, "Lifecycle")."""
    from pyrunc import log

    for i, hook in enumerate((config.get("hooks") or {}).get(kind) or ()):
        try:
            _run_one(config, hook, f"/hooks/{kind}/{i}", json.encode(state).encode())
        except Error as error:
            log.warning(str(error))


def open_stream(config: "dict[str, Any]", annotation: str) -> int:
    """A descriptor of the file that an annotation of crun's names for what hooks write; it is made where
    it is missing."""
    path = config["annotations"][annotation]
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC | posix.O_NOCTTY
    try:
        return posix.open(path, flags, 0o600)
    except OSError as error:
        raise Error(
            f"the file {path} for the output of hooks cannot be opened: {error.strerror}",
            pointer=f"/annotations/{annotation}",
        ) from None


def _run_one(config: "dict[str, Any]", hook: "dict[str, Any]", pointer: str, state: bytes) -> None:
    path = hook["path"]
    variables = [variable.partition("=") for variable in hook.get("env") or ()]
    environment = {name: value for name, _, value in variables}
    stdin = memory_file("state", state)
    posix.lseek(stdin, 0, 0)
    output = memory_file("output", b"", seal=False)
    opened = [stdin, output]
    actions = [(posix.POSIX_SPAWN_DUP2, stdin, 0)]
    try:
        for number, name in enumerate(STREAMS, 1):
            stream = output
            if name in (config.get("annotations") or {}):
                stream = open_stream(config, name)
                opened.append(stream)
            actions.append((posix.POSIX_SPAWN_DUP2, stream, number))
        try:
            pid = posix.posix_spawn(
                path, hook.get("args") or [path], environment, file_actions=actions, setsigmask=(),
                setsigdef=(13, 25), setsid=True,
            )
        except OSError as error:
            raise Error(f"the hook {path} cannot be run: {error.strerror}", pointer=pointer) from None
        status = _wait(pid, hook.get("timeout"))
        said = posix.pread(output, _MAX_OUTPUT, 0).decode("utf-8", "replace").strip()
    finally:
        for fd in opened:
            posix.close(fd)
    if status is None:
        raise Error(
            f"the hook {path} did not end within its timeout of {hook['timeout']} s and was killed",
            pointer=pointer,
        )
    if status:
        code = exit_status(status)
        raise Error(
            f"the hook {path} failed with exit status {code}" + (f": {said}" if said else ""), pointer=pointer
        )


def _wait(pid: int, timeout: int | None) -> int | None:
    """The wait status, or None for a hook that was killed because its time was over."""
    if not timeout:
        return reap(pid)
    pidfd = posix.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if poll.poll(timeout * 1000):
            return reap(pid)
        # With all that it has started: it leads a session, and has not been collected yet.
        posix.killpg(pid, _SIGKILL)
        reap(pid)
        return None
    finally:
        posix.close(pidfd)
