"""What hooks make of creating a container: when the runtime runs them, what they are told, and that the
poststop hooks follow a failure (runtime.md, "Lifecycle"; config.md, "POSIX-platform Hooks").

Loaded only for a container that has hooks. Those that init runs itself are in its program.
"""

import posix

from pyrunc import json
from pyrunc.container import record as records
from pyrunc.host import hooks
from pyrunc.host.launch import fill, memory_file
from pyrunc.host.processes import inner_pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyrunc.host.launch import Init

# The states that init's hooks are told, which are known once the container's process has a number.
STATES = {"state": "creating", "created-state": "created"}


class Hooks:
    """Those of one container that is being created. `files` is what STATES are written to, by name."""

    __slots__ = ("_begun", "_config", "_id", "files")

    def __init__(self, config: "dict[str, Any]", id: str) -> None:
        self._config = config
        self._id = id
        self._begun: dict[str, Any] | None = None
        self.files: dict[str, int] = {}

    def descriptors(self, names: "Iterable[str]") -> dict[str, int]:
        """What init's hooks need among the descriptors of those names, but for `files`: to be closed when
        init has them."""
        found: dict[str, int] = {}
        for name in names:
            if name in STATES:
                self.files[name] = memory_file(name, b"", seal=False)
            elif name == "output":
                found[name] = memory_file(name, b"", seal=False)
            elif name.startswith("run.oci.hooks."):
                found[name] = hooks.open_stream(self._config, name)
        return found

    def run(self, init: "Init", record: "dict[str, Any]") -> None:
        """Runs the hooks for which init waits, and hands over the states for those that it will run."""
        state = records.document(self._id, record, "creating")
        self._begun = record
        for name, fd in self.files.items():
            inside = {**state, "status": STATES[name], "pid": inner_pid(init.pid)}
            fill(fd, json.encode(inside).encode())
            posix.close(fd)
        for kind in ("prestart", "createRuntime"):
            hooks.run(self._config, kind, state)

    def run_poststart(self, record: "dict[str, Any]") -> None:
        if self._config["hooks"].get("poststart"):
            self._begun = record
            hooks.run(self._config, "poststart", records.document(self._id, record, "running"))

    def end(self) -> None:
        """A failure from the first hook on is the end of a lifecycle, and the poststop hooks run."""
        if self._begun is not None:
            hooks.run_all(self._config, "poststop", records.document(self._id, self._begun, "stopped"))
