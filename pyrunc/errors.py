"""Errors that a person has to act on.

Every failure that pyrunc foresees is an `Error`: one sentence that names the thing and the
remedy, with the JSON pointer of the configuration key that asked for it where there is one.
Nothing here imports anything, since every verb loads it.
"""


class Error(Exception):
    """A failure that is reported as `pyrunc: [POINTER: ]MESSAGE` with exit status 1.

    pointer is a JSON pointer into config.json ("/mounts/3"), or "" when no key is to blame.
    status is the exit status of the command.
    """

    def __init__(self, message: str, *, pointer: str = "", status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.status = status

    def __str__(self) -> str:
        return f"{self.pointer}: {self.message}" if self.pointer else self.message


class NotFound(Error):
    """A container that does not exist; `delete --force` takes it for success."""
