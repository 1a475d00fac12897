"""Writes the `pyrunc` command: `python -m pyrunc.launcher /usr/local/bin/pyrunc`.

The command is a short script that starts this interpreter with -I -S and loads pyrunc's modules from a
*pack*, one file with all their code objects beside the package's own .pyc files. It must not hold
anything that the package could hold: the script says where things are, `pyrunc.start` does the rest.

Medians of 200 interleaved runs, 20 modules of pyrunc's size, whole process, ms over the bare
`python3 -I -S -c pass` (7.9 ms) of the same run:

    with `site`                                   + 2.9   (a virtual environment's adds more)
    script, ordinary imports                      + 2.5
    the same, gc.disable()                        + 2.5
    the same, package's path last in sys.path     + 3.1
    the same, ending by _exit                     + 1.1
    pack, opened by open(), ending by _exit       + 0.6
    pack, opened by posix.open(), _exit           + 0.4   <- this one
    the same, all in the command's own first line + 0.4   (-c in the #! line: less legible, no gain)

The virtual environment's interpreter is as fast as the one that it links to, and -X utf8 and -P change
nothing (-I implies the second).
"""

import importlib.util
import marshal
import os
import sys

MAGIC = importlib.util.MAGIC_NUMBER

# The pack holds code objects of one version of Python; another version's interpreter, a pack that is
# missing or cut short, and a newer `pyrunc.start` all lead to the ordinary import.
SCRIPT = """\
#!{python} -IS
# Written by `python -m pyrunc.launcher`: run that again after an upgrade.
import posix, sys
from _frozen_importlib_external import MAGIC_NUMBER
from marshal import loads
sys.path.insert(0, {path!r})
try:
    fd = posix.open({pack!r}, posix.O_RDONLY | posix.O_CLOEXEC)
    magic, table, code = loads(posix.read(fd, posix.fstat(fd).st_size))
    posix.close(fd)
    file, _, mtime, size, at, length = table["pyrunc.start"]
    stat = posix.stat(file)
    if magic != MAGIC_NUMBER or stat.st_mtime_ns != mtime or stat.st_size != size:
        raise ValueError
    space = {{"__name__": "pyrunc.start"}}
    exec(loads(code[at:at + length]), space)
    start = space["start"]
except (OSError, ValueError, TypeError, EOFError, KeyError):
    from pyrunc.start import start
    table, code = {{}}, b""
start(table, code)
"""


def make_pack(package: str) -> bytes:
    """The code of every module below a package's directory, in the form that pyrunc.start reads.

    The file is marshal's form of (magic number, Table, code).
    """
    table: dict[str, tuple[str, bool, int, int, int, int]] = {}
    code = bytearray()
    top = os.path.dirname(package)
    for directory, folders, files in sorted(os.walk(package)):
        folders[:] = [folder for folder in folders if folder != "__pycache__"]
        sources = [file for file in files if file.endswith(".py")]
        name = os.path.relpath(directory, top).replace("/", ".")
        if sources and "__init__.py" not in sources:
            table[name] = (directory, True, 0, 0, 0, 0)
        for file in sorted(sources):
            path = os.path.join(directory, file)
            with open(path, "rb") as source:
                stat = os.fstat(source.fileno())
                text = source.read()
            package_file = file == "__init__.py"
            module = name if package_file else f"{name}.{file[:-3]}"
            data = marshal.dumps(compile(text, path, "exec", dont_inherit=True))
            table[module] = (path, package_file, stat.st_mtime_ns, stat.st_size, len(code), len(data))
            code += data
    return marshal.dumps((MAGIC, table, bytes(code)))


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
