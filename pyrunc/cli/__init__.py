"""The command `pyrunc`: from the command line to an exit status.

It parses, opens the log, hands over to the verb's function and words what went wrong. Verbs that an
engine calls for every container must start fast, so that nothing is imported that they do not use.
"""

import posix

from pyrunc import log
from pyrunc.cli import options, parser
from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.container import Runtime


def main(argv: list[str] | None = None) -> int:
    """Runs a command line (default: the process's own), the program's name left out; returns the exit
    status. What it printed needs no flushing."""
    if argv is None:
        import sys

        argv = sys.argv[1:]
    _open_stdio()
    failure = 1
    try:
        invocation = _prepare(argv)
        # As runc: a failure of exec is told apart from a command that ends with 1.
        failure = 255 if invocation.verb == "exec" else 1
        return _dispatch(invocation)
    except SystemExit as leave:
        return int(leave.code or 0)
    except parser.UsageError as error:
        from pyrunc.cli.usage import synopsis

        log.error(str(error))
        log.tell(synopsis(error.verb))
        return error.status
    except Error as error:
        log.error(str(error))
        return failure if error.status == 1 else error.status
    except OSError as error:
        log.error(_words(error))
        if log.debugging():
            _traceback()
        return failure
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the last resort, which says that it is one
        log.error(f"this is a bug in pyrunc: {type(error).__name__}: {error}")
        if log.debugging():
            _traceback()
        return failure


def runtime(common: "dict[str, Any]") -> "Runtime":
    """The runtime that the global flags describe."""
    from pyrunc.container import Runtime

    rootless = {"auto": None, "true": True, "false": False}[common["rootless"]]
    root = absolute(common["root"]) if common["root"] else default_root()
    manager = common["cgroup_manager"] or ("systemd" if common["systemd_cgroup"] else "cgroupfs")
    if common["systemd_cgroup"] and manager != "systemd":
        raise parser.UsageError(f"--systemd-cgroup contradicts --cgroup-manager {manager}; give one of them")
    return Runtime(root, cgroup_manager=manager, rootless=rootless, debug=common["debug"])


def default_root() -> str:
    """Where state is kept unless --root says otherwise."""
    mine = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    return f"{mine}/pyrunc" if mine and _ordinary_user() else "/run/pyrunc"


def _ordinary_user() -> bool:
    """Whether the user is not root, or root only inside a user namespace that has another user's
    environment, as Podman's; runc has the same rule."""
    if posix.geteuid():
        return True
    from pyrunc.host.facts import rootless

    return rootless() and posix.environ.get(b"USER") != b"root"


def absolute(path: str) -> str:
    """The path from the root directory on, without "." and ".." (symlinks are not looked at)."""
    if not path.startswith("/"):
        path = f"{posix.getcwd()}/{path}"
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts)


def text(path: str) -> str:
    """The content of a JSON file that the command line names."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise Error(f"{path}: not JSON: it is not UTF-8 ({error.reason})") from None
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}") from None


def _prepare(argv: list[str]) -> parser.Invocation:
    common: dict[str, Any] = {}
    try:
        invocation = parser.parse(argv, common)
    except parser.UsageError:
        # Whoever gave --log reads there why the command was refused.
        log.configure(common["log"], common["log_format"], common["debug"])
        raise
    log.configure(common["log"], common["log_format"], common["debug"])
    if common["criu"]:
        log.warning("--criu is ignored: criu is looked up in $PATH")
    return invocation


def _dispatch(invocation: parser.Invocation) -> int:
    verb, common = invocation.verb, invocation.common
    if common["version"] or common["help"] or verb in ("", "help") or invocation.options["help"]:
        from pyrunc.cli import usage

        return usage.show(invocation)
    module = __import__(f"pyrunc.cli.{options.VERBS[verb].module}", fromlist=(verb,))
    return int(module.VERBS[verb](invocation))


def _open_stdio() -> None:
    """Opens /dev/null in place of a closed stdin, stdout or stderr: else the next file that is opened
    would become it, and be read, written and passed to the container as such."""
    for descriptor in (0, 1, 2):
        try:
            posix.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is this one.
            posix.set_inheritable(posix.open("/dev/null", posix.O_RDWR), True)


def _words(error: OSError) -> str:
    message = error.strerror or str(error)
    for name in (error.filename, error.filename2):
        if name is not None:
            message += f": {name!s}"
    return message


def _traceback() -> None:
    from traceback import format_exc

    for line in format_exc().splitlines():
        log.debug(line)
