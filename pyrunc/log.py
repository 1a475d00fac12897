"""Log records, as engines read them: one per line, with level, message and time.

With --log they are appended to a file, as JSON or as the text that runc writes; an engine takes the
last error from there for the reason of a failure. Without --log a person reads them on stderr. A
record that cannot be written never stops a container: it goes to stderr instead.
"""

import fcntl
import posix

from pyrunc.errors import Error

_STDERR = 2
_HIGH = 200

_file = -1
_json = False
_debug = False


def configure(path: str, format: str = "text", debug: bool = False) -> None:
    """Opens the log, "" for stderr; format is "text" or "json". Raises Error when it cannot be opened."""
    global _file, _json, _debug
    if _file >= 0:
        posix.close(_file)
        _file = -1
    _json = format == "json"
    _debug = debug
    if path:
        flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOCTTY
        try:
            low = posix.open(path, flags, 0o644)
        except OSError as error:
            raise Error(f"the log {path} cannot be opened: {error.strerror}") from None
        try:
            # Out of the way of the descriptors that --preserve-fds counts.
            _file = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        except OSError:
            _file = low  # a limit on descriptors leaves no room there
        else:
            posix.close(low)


def debugging() -> bool:
    """Whether --debug is on, for what is costly to word."""
    return _debug


def error(message: str) -> None:
    """Records why a verb fails; on stderr it reads `pyrunc: MESSAGE`, whatever the log."""
    if _file >= 0 or not _json:
        tell(f"pyrunc: {message}\n")
    if _file >= 0 or _json:
        _record("error", message)


def warning(message: str) -> None:
    """Records something that the user should know and that stops nothing."""
    _note("warning", message)


def info(message: str) -> None:
    """Records an event; without --log, only when debugging."""
    if _debug or _file >= 0:
        _note("info", message)


def debug(message: str) -> None:
    """Records a decision, when debugging."""
    if _debug:
        _note("debug", message)


def _note(level: str, message: str) -> None:
    if _file >= 0 or _json:
        _record(level, message)
    else:
        tell(f"pyrunc: {level}: {message}\n")


def _record(level: str, message: str) -> None:
    from time import gmtime, strftime

    from pyrunc.json import encode

    now = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    if _json:
        line = encode({"level": level, "msg": message, "time": now})
    else:
        line = f'time="{now}" level={level} msg={encode(message)}'
    if _file < 0:
        tell(line + "\n")
        return
    try:
        # In one write, so that records of verbs that share a log do not mix (O_APPEND, write(2)).
        posix.write(_file, line.encode() + b"\n")
    except OSError as error:
        tell(f"pyrunc: the log cannot be written: {error.strerror}\n")
        if level != "error":
            tell(f"pyrunc: {level}: {message}\n")


def tell(text: str) -> None:
    """Writes a text for a person to stderr."""
    try:
        posix.write(_STDERR, text.encode("utf-8", "surrogateescape"))
    except OSError:
        # Nobody reads stderr, and there is nowhere else to tell.
        return
