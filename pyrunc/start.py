"""The first code of the `pyrunc` command: loads pyrunc's modules from one file and ends without tidying.

The launcher (pyrunc/launcher.py) runs it; `python -m pyrunc` only ends by it. It must not import anything
that is not compiled into the interpreter, and must not change what a module is: one whose source is not
the one that was packed (its time or size differ, the rule that Python has for its own .pyc files) is left
to the ordinary import.
"""

import gc
import posix
import sys
from _frozen_importlib import ModuleSpec
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import NoReturn

# By module: source file (a directory for a package without __init__.py), whether a package, the source's
# st_mtime_ns and st_size, and where its code object is: offset behind the table, and length.
Table = dict[str, tuple[str, bool, int, int, int, int]]

# By the module that a group of modules is loaded with: where the group is.
Groups = dict[str, tuple[int, int]]

new_module = type(sys)

# Objects between two collections. Python's 700 would have some thirty while the modules are loaded, none of
# which finds anything: 0.9 ms of `run`.
COLLECT_AFTER = 50_000


class Packed:
    """An importer, as sys.meta_path has them, of the modules in a pack."""

    def __init__(self, table: Table, groups: Groups, fd: int, base: int) -> None:
        self.table = table
        self.groups = groups
        self.done: list[ModuleType] = []
        self.fd = fd
        self.base = base

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        entry = self.table.get(name)
        if entry is None:
            return None
        if name in self.groups:
            self.load(name)
        file, package, _, _, _, length = entry
        if length and not current(entry):
            return None
        spec = ModuleSpec(
            name,
            self,  # type: ignore[arg-type]
            origin=file if length else None,
            is_package=package,
        )
        if package:
            spec.submodule_search_locations = [file.rpartition("/")[0] if length else file]
        return spec

    def load(self, group: str) -> None:
        """Executes all modules of a group, which imports of them then find done.

        Going without importlib's machinery for each saves a third of what loading them costs.
        """
        offset, length = self.groups.pop(group)
        names, codes = loads(posix.pread(self.fd, length, self.base + offset))
        modules = sys.modules
        todo = []
        # All are there before the first is executed: a package may need its own submodules.
        for name, code in zip(names, codes, strict=True):
            entry = self.table[name]
            if name in modules or not current(entry):
                continue
            module = modules[name] = new_module(name)
            space = module.__dict__
            space["__file__"] = entry[0]
            if entry[1]:
                space["__path__"] = [entry[0].rpartition("/")[0]]
            todo.append((name, module, code))
        for name, module, code in todo:
            exec(code, module.__dict__)  # noqa: S102 - what an importer does
            self.done.append(module)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(modules[parent], child, module)

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        return sys.modules.get(spec.name)

    def exec_module(self, module: "ModuleType") -> None:
        if module in self.done:
            return
        file, _, _, _, offset, length = self.table[module.__name__]
        if length:
            module.__file__ = file
            code = loads(posix.pread(self.fd, length, self.base + offset))
            exec(code, module.__dict__)  # noqa: S102 - what an importer does


def current(entry: tuple[str, bool, int, int, int, int]) -> bool:
    """Whether a module's source is the one that was packed."""
    try:
        stat = posix.stat(entry[0])
    except OSError:
        return False
    return stat.st_mtime_ns == entry[2] and stat.st_size == entry[3]


def start(table: Table, groups: Groups, fd: int, base: int) -> "NoReturn":
    """Runs the command line in sys.argv and ends the process with its exit status.

    fd is the pack's descriptor and base where its code begins, without meaning where the table is empty.
    """
    gc.set_threshold(COLLECT_AFTER)
    if table:
        sys.meta_path.insert(0, Packed(table, groups, fd, base))
    from pyrunc.cli import main

    finish(main())


def finish(status: "int | None") -> "NoReturn":
    """Ends the process, by the short way where nothing is lost by it.

    Taking the interpreter apart, module by module, costs 1.4 ms and more. It matters to libraries that ask
    for it (atexit: thread pools, logging), not to pyrunc.
    """
    if "threading" in sys.modules or "atexit" in sys.modules:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except OSError as error:
                posix.write(2, f"pyrunc: cannot write the output: {error.strerror}\n".encode())
                status = 1
    posix._exit(status or 0)
