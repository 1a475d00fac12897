"""The failure of a process that `start` has let go on.

Only create had the program: it is compiled once more to name the step that failed.
"""

from _struct import Struct

from pyrunc import json
from pyrunc.compile.create import compile_create
from pyrunc.compile.facts import Request
from pyrunc.container import record as records
from pyrunc.container.plan import facts_for
from pyrunc.errors import Error
from pyrunc.program.explain import failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.container import Runtime
    from pyrunc.state import Directory


def failed_start(
    rt: "Runtime", directory: "Directory", record: "dict[str, Any]", report: bytes
) -> Error:
    """The error for the record that init sent instead of executing the process."""
    head = Struct("=IIq")
    _, index, value = head.unpack_from(report)
    text = report[head.size :].decode("utf-8", "replace").strip()
    config = json.decode(directory.get(records.CONFIG).decode())
    facts, _ = facts_for(rt, config, directory.id, record["bundle"], pivot=True)
    request = Request(directory.id, record["bundle"], preserve_fds=record["preserve_fds"])
    program = compile_create(config, facts, request)
    # The steps after the wait do not depend on the host; those before it may be more or fewer now.
    step = program.steps[index - record["steps"] + len(program.steps)]
    return Error(failure(step, -value if value < 0 else 0, value, text), pointer=step.origin)
