"""Writes the `pyrunc` command: `python -m pyrunc.launcher /usr/local/bin/pyrunc`.

The command is a short script that starts this interpreter with -I -S and loads pyrunc's modules from a
*pack*, one file with all their code objects beside the package's own .pyc files. It must not hold
anything that the package could hold: the script says where things are, `pyrunc.start` does the rest.

Medians of 150 interleaved runs that import the 63 modules of `run`, whole process, in ms over the bare
`python3 -I -S -c pass` (7.2 ms) of the same runs:

    ordinary imports, the interpreter taken apart at the end      9.0
    ordinary imports, ending by _exit (as all below)              7.6
    pack, read as a whole                                         6.3
    pack, each module read when it is imported                    5.3
    the same, with the garbage collector mostly at rest           4.3
    the same, without annotations and docstrings of functions     4.0   <- this one

What did not pay: `site` costs 3 ms; the first line of the command as the whole program (-c) and -X utf8
gain nothing; neither does the linked-to interpreter in place of a virtual environment's; an interpreter
embedded in a program of its own (PyConfig isolated, with the module search paths given) starts no faster than
`python3 -I -S` that ends by _exit: both take 5.1 ms at best with libpython3.11.a linked in, 5.8 ms with the
shared library; not looking at the sources' times gains 0.3 ms, and would run old code after an upgrade.
"""

import ast
import importlib.util
import marshal
import os
import subprocess
import sys
from typing import TypeVar

MAGIC = importlib.util.MAGIC_NUMBER

# The pack holds code objects of one version of Python. Another version's interpreter, a pack that is missing
# or cut short, and a newer `pyrunc.start` all lead to the ordinary import. The pack's descriptor is high,
# since the low ones are the caller's to pass on (LISTEN_FDS, --preserve-fds), and closed by execve.
SCRIPT = """\
#!{python} -IS
# Written by `python -m pyrunc.launcher`: run that again after an upgrade.
import fcntl, posix, sys
from _frozen_importlib_external import MAGIC_NUMBER
from marshal import loads
sys.path.append({path!r})
try:
    low = posix.open({pack!r}, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        fd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 200)
    finally:
        posix.close(low)
    length = int.from_bytes(posix.pread(fd, 4, 0), "little")
    magic, table, groups = loads(posix.pread(fd, length, 4))
    base = 4 + length
    file, _, mtime, size, offset, length = table["pyrunc.start"]
    stat = posix.stat(file)
    if magic != MAGIC_NUMBER or stat.st_mtime_ns != mtime or stat.st_size != size:
        raise ValueError
    space = {{"__name__": "pyrunc.start"}}
    exec(loads(posix.pread(fd, length, base + offset)), space)
    start = space["start"]
except (OSError, ValueError, TypeError, EOFError, KeyError):
    from pyrunc.start import start
    table, groups, fd, base = {{}}, {{}}, -1, 0
start(table, groups, fd, base)
"""

Body = TypeVar("Body", ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Strip(ast.NodeTransformer):
    """Leaves out what only readers need: annotations, and the docstrings of functions and classes."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return self.without_docstring(self.without_annotations(node))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        return self.without_docstring(self.without_annotations(node))

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return self.without_docstring(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        self.generic_visit(node)
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def without_docstring(self, node: Body) -> Body:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.copy_location(ast.Pass(), node.body[0])]
        self.generic_visit(node)
        return node

    def without_annotations(self, node: Body) -> Body:
        if not isinstance(node, ast.ClassDef):
            node.returns = None
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
        return node


def module_code(text: bytes, file: str) -> bytes:
    """A module's code object in marshal's form; its lines are those of the source."""
    tree = ast.fix_missing_locations(Strip().visit(ast.parse(text, file)))
    return marshal.dumps(compile(tree, file, "exec", dont_inherit=True))


def make_pack(package: str) -> bytes:
    """The code of every module below a package's directory, in the form that pyrunc.start reads.

    Four bytes hold the length of what follows, marshal's form of (magic number, table, groups); the modules'
    code is behind that.
    """
    modules: dict[str, tuple[str, bool, int, int, bytes]] = {}
    top = os.path.dirname(package)
    for directory, folders, files in os.walk(package):
        folders[:] = [folder for folder in sorted(folders) if folder != "__pycache__"]
        sources = sorted(file for file in files if file.endswith(".py"))
        name = os.path.relpath(directory, top).replace("/", ".")
        if sources and "__init__.py" not in sources:
            modules[name] = (directory, True, 0, 0, b"")
        for file in sources:
            path = os.path.join(directory, file)
            with open(path, "rb") as source:
                stat = os.fstat(source.fileno())
                text = source.read()
            is_package = file == "__init__.py"
            code = module_code(text, path)
            module = name if is_package else f"{name}.{file[:-3]}"
            modules[module] = (path, is_package, stat.st_mtime_ns, stat.st_size, code)
    table: dict[str, tuple[str, bool, int, int, int, int]] = {}
    parts: list[bytes] = []
    offset = 0
    for name, (path, is_package, mtime, size, code) in modules.items():
        table[name] = (path, is_package, mtime, size, offset, len(code))
        parts.append(code)
        offset += len(code)
    groups: dict[str, tuple[int, int]] = {}
    base: set[str] = set()
    for entry, others in GROUPS.items():
        names = [n for n in import_order(top, (entry, *others)) if n in table and n not in base]
        if not groups:
            base.update(names)
        # One marshal for all, so that a name that many modules use is read and interned once.
        part = marshal.dumps((names, [marshal.loads(modules[name][4]) for name in names if modules[name][4]]))
        groups[entry] = (offset, len(part))
        parts.append(part)
        offset += len(part)
    start = marshal.dumps((MAGIC, table, groups))
    return len(start).to_bytes(4, "little") + start + b"".join(parts)


# What a verb needs, by the module that asks for it: the first group is every verb's, the others hold
# what comes on top of it.
GROUPS: dict[str, tuple[str, ...]] = {
    "pyrunc.cli": (
        "pyrunc.cli.options", "pyrunc.cli.parser", "pyrunc.cli.containers", "pyrunc.container.record",
        "pyrunc.state", "pyrunc.container.inspect", "pyrunc.cli.output",
    ),
    "pyrunc.container.create": (
        "pyrunc.container.foreground", "pyrunc.host.cgroups.facts", "pyrunc.host.cgroups.tree",
    ),
    "pyrunc.container.lifecycle": (),
    "pyrunc.host.cgroups.members": ("pyrunc.host.cgroups.tree",),
    "pyrunc.container.execute": ("pyrunc.container.foreground",),
}  # fmt: skip


def import_order(top: str, names: tuple[str, ...]) -> list[str]:
    """The modules of pyrunc that importing these imports, each after those that it needs."""
    code = f"import sys; sys.path.insert(0, {top!r})\n" + "".join(f"import {name}\n" for name in names)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", code], stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise OSError(0, done.stderr.decode(errors="replace").splitlines()[-1], top)
    lines = done.stderr.decode().splitlines()
    found = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    return [name for name in found if name.split(".")[0] == "pyrunc"]


def replace(path: str, content: bytes, mode: int) -> None:
    """Puts a file in place at once, so that a command that starts meanwhile sees the old or the new."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    os.replace(draft, path)


def write(command: str, python: str = "") -> None:
    """Writes the command, and the pack that it loads.

    python is the interpreter, this one when empty; it has to be of this one's version. Raises OSError
    where the command or the package's directory cannot be written.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    cache = os.path.join(package, "__pycache__")
    pack = os.path.join(cache, f"pyrunc.{sys.implementation.cache_tag}.pack")
    os.makedirs(cache, exist_ok=True)
    replace(pack, make_pack(package), 0o644)
    script = SCRIPT.format(python=python or sys.executable, path=os.path.dirname(package), pack=pack)
    replace(command, script.encode(), 0o755)


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m pyrunc.launcher COMMAND", file=sys.stderr)
        return 2
    try:
        write(os.path.abspath(sys.argv[1]))
    except OSError as error:
        print(f"pyrunc.launcher: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"wrote {sys.argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
