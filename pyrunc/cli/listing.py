"""The verbs that list: containers, and the processes of one of them."""

from pyrunc.cli import runtime
from pyrunc.cli.output import table, write
from pyrunc.errors import Error
from pyrunc.json import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.cli.parser import Invocation

_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def containers(given: "Invocation") -> int:
    """`list`"""
    from pyrunc.container import inspect

    found = inspect.containers(runtime(given.common))
    if given.options["quiet"]:
        write("".join(f"{one['id']}\n" for one in found))
    elif given.options["format"] == "json":
        write(encode(found) + "\n")
    else:
        rows = [tuple(str(one[column.lower()]) for column in _COLUMNS) for one in found]
        write(table([_COLUMNS, *rows]))
    return 0


def processes(given: "Invocation") -> int:
    """`ps ID`"""
    from pyrunc.container import inspect

    pids = inspect.pids(runtime(given.common), given.args[0])
    if given.options["format"] == "json":
        write(encode(pids) + "\n")
    else:
        write(select(_ps(given.args[1:] or ["-ef"]), pids))
    return 0


def select(listing: str, pids: list[int]) -> str:
    """The heading of a listing by ps(1), and the lines whose column PID is one of pids."""
    lines = listing.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Error("ps printed no column PID: choose ps options that include it, such as -ef or aux")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    kept = [line for line in lines[1:] if wanted.intersection(line.split()[column : column + 1])]
    return "".join(line + "\n" for line in (lines[0], *kept))


def _ps(options: list[str]) -> str:
    from subprocess import PIPE, STDOUT, run

    try:
        done = run(["ps", *options], stdin=None, stdout=PIPE, stderr=STDOUT, check=False)
    except FileNotFoundError:
        raise Error("there is no ps(1) in $PATH; install procps, or use --format json") from None
    text = done.stdout.decode("utf-8", "surrogateescape")
    if done.returncode:
        raise Error(f"ps {' '.join(options)} failed with {done.returncode}: {text.strip()}")
    return text


VERBS: "dict[str, Callable[[Invocation], int]]" = {"list": containers, "ps": processes}
