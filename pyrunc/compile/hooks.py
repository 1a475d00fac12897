"""Hooks that init runs itself: createContainer and startContainer (config.md, "POSIX-platform Hooks").

Both run in the container's namespaces, the first with the host's root file system, the second with
the container's. prestart and createRuntime run in the runtime's namespaces: the program only waits
for them here; poststart and poststop are no part of a program.
"""

from pyrunc.compile.annotations import STREAMS
from pyrunc.compile.syncs import SYNC_HOOKS
from pyrunc.program.build import Builder, vector
from pyrunc.program.model import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RUNTIME = ("prestart", "createRuntime")


def _hooks(config: "dict[str, Any]", kind: str) -> "list[dict[str, Any]]":
    found: list[dict[str, Any]] = (config.get("hooks") or {}).get(kind) or []
    return found


def _run(b: Builder, config: "dict[str, Any]", kind: str, state: Slot, output: Slot) -> None:
    annotations = config.get("annotations") or {}
    if any(name in annotations for name in STREAMS):
        out, err = (b.inherit(name) if name in annotations else output for name in STREAMS)
        b.step("hook_streams", out, err)
    for i, hook in enumerate(_hooks(config, kind)):
        b.origin = f"/hooks/{kind}/{i}"
        args = hook.get("args") or [hook["path"]]
        b.step(
            "hook", hook["path"],
            vector([a.encode("utf-8", "surrogateescape") for a in args], "argv"),
            vector([e.encode("utf-8", "surrogateescape") for e in hook.get("env") or ()], "envp"),
            state, output, hook.get("timeout", 0) * 1000,
        )
    b.origin = ""


def before_pivot(b: Builder, config: "dict[str, Any]") -> None:
    """The runtime's hooks, then the container's own on the host's root file system.

    A hook may mount into the root file system; its descriptor sees that, being of the same mount.
    """
    create = _hooks(config, "createContainer")
    if any(_hooks(config, kind) for kind in RUNTIME) or create or _hooks(config, "startContainer"):
        b.sync(SYNC_HOOKS)
    if create:
        _run(b, config, "createContainer", b.inherit("state"), b.inherit("output"))


def before_exec(b: Builder, config: "dict[str, Any]") -> None:
    """startContainer hooks, after `start` and right before the process."""
    if _hooks(config, "startContainer"):
        _run(b, config, "startContainer", b.inherit("created-state"), b.inherit("output"))


def descriptors(config: "dict[str, Any]") -> list[str]:
    """What the runtime hands over for these hooks: state documents, and a place for their output."""
    names = []
    if _hooks(config, "createContainer"):
        names.append("state")
    if _hooks(config, "startContainer"):
        names.append("created-state")
    if names:
        names.append("output")
        names += [name for name in STREAMS if name in (config.get("annotations") or {})]
    return names
