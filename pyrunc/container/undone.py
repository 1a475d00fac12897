"""What follows when creating a container fails: what has been done is taken back, last first, and the
poststop hooks run if other hooks have (runtime.md, "Lifecycle"). Loaded only then.

What cannot be taken back is left to `delete`: the record, which names it, stays.
"""

import posix

from pyrunc import log
from pyrunc.errors import Error
from pyrunc.host.launch import Init

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.container.create import Creation

_SIGKILL = 9


def take_back(creation: "Creation", error: BaseException) -> None:
    """Leaves nothing of the container; or its record, where that cannot be, and tells so in the error."""
    left = []
    if creation.pid_file:
        _remove_pid_file(creation.pid_file)
    for undo in reversed(creation.undo):
        try:
            undo()
        except (Error, OSError) as problem:
            left.append(str(problem))
    if left:
        _leave(creation, error, left)
        return
    if creation.hooks is not None:
        creation.hooks.end()
    creation.directory.discard()


def _leave(creation: "Creation", error: BaseException, left: list[str]) -> None:
    """Makes the container one that has stopped. Its poststop hooks run when it is deleted."""
    remains = f"what could not be taken back: {'; '.join(left)}"
    text = f'"pyrunc delete --force {creation.request.id}" finishes {remains}'
    if isinstance(error, Error):
        error.message += f"; {text}"
    else:
        log.warning(text)
    try:
        creation.directory.write(creation.record)
    except Error as problem:
        log.warning(str(problem))  # `delete` works from the draft as well
    creation.directory.close()


def _remove_pid_file(path: str) -> None:
    # `delete` knows nothing of it.
    try:
        posix.unlink(path)
    except OSError as error:
        log.warning(f"the pid file {path} cannot be removed again: {error.strerror}")


def died(init: Init) -> Error:
    """The error for an init that has ended where it should have waited."""
    status = init.collect()
    why = f"by signal {status - 128}" if status > 128 else f"with exit status {status}"
    remedy = "; a memory or pids limit may be too low" if status == 128 + _SIGKILL else ""
    return Error(f"the container's process ended {why} while it was set up{remedy}")
