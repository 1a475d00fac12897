"""What a program is made of: steps, slots and data.

A program is an ordered list of system calls and control steps. Everything here is plain data
without any effect; `build` appends steps, `encode` turns them into bytes for `init`, `verify`
checks them and `explain` prints them.
"""


class Slot:
    """A place that holds an earlier step's result: a descriptor, or a negative errno.

    `index` is its position in init's slot table, `name` what a reader sees (`%rootfs`).
    """

    __slots__ = ("index", "name")

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name

    def __repr__(self) -> str:
        return f"%{self.name}"


class Data:
    """A structure or buffer that a step points to.

    kind names the C structure (`explain` has a formatter for each); payload is its bytes;
    fields are the values that a reader sees and `verify` checks; pointers lists the places in
    payload, as (offset, target), that hold the address of another piece of data.
    """

    __slots__ = ("fields", "kind", "payload", "pointers")

    def __init__(
        self,
        kind: str,
        payload: bytes,
        fields: tuple[object, ...] = (),
        pointers: "tuple[tuple[int, Data | bytes], ...]" = (),
    ) -> None:
        self.kind = kind
        self.payload = payload
        self.fields = fields
        self.pointers = pointers


class Scratch:
    """An offset into init's scratch area, where calls put what later steps check."""

    __slots__ = ("offset",)

    def __init__(self, offset: int) -> None:
        self.offset = offset


SCRATCH = Scratch(0)
SCRATCH_SIZE = 4096


class Step:
    """One system call or control step, and the configuration key that asked for it.

    args holds up to six values: int, str or bytes (a NUL-terminated string in the program),
    Slot, Data or Scratch. `out` receives the result. An errno in `tolerate` lets the program go
    on, with the negative errno in `out`. `origin` is a JSON pointer, or "" for what the runtime
    does by itself. `note` is what a person should be told when the step fails.
    """

    __slots__ = ("args", "call", "note", "origin", "out", "phase", "tolerate")

    def __init__(
        self,
        call: str,
        args: "tuple[int | str | bytes | Slot | Data | Scratch, ...]",
        out: Slot | None,
        tolerate: tuple[int, ...],
        origin: str,
        phase: str,
        note: str,
    ) -> None:
        self.call = call
        self.args = args
        self.out = out
        self.tolerate = tolerate
        self.origin = origin
        self.phase = phase
        self.note = note


class Program:
    """An ordered list of steps, and the slots that the runtime fills when it starts init.

    inherited maps a name ("report", "command", "state" …) to the slot that holds the
    descriptor of that name. warnings are (JSON pointer, text) pairs for the log.
    """

    __slots__ = ("inherited", "steps", "warnings")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.inherited: dict[str, Slot] = {}
        self.warnings: list[tuple[str, str]] = []
