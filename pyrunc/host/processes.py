"""Processes as the host sees them: whether one is still the one that was recorded, and signals."""

import posix
from errno import ECHILD

from pyrunc.errors import Error


def start_time(pid: int) -> int:
    """Clock ticks since boot at which the process started; 0 if it is gone or a zombie.

    With the number it identifies a process: numbers are used again (proc_pid_stat(5)).
    """
    try:
        fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        # The second where it goes while its file is looked up.
        return 0
    try:
        data = posix.read(fd, 1024)
    except ProcessLookupError:
        return 0
    finally:
        posix.close(fd)
    # The name, in parentheses, may hold anything.
    fields = data[data.rindex(b")") + 2 :].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def inner_pid(pid: int) -> int:
    """The process's number in its own PID namespace (proc_pid_status(5), NSpid)."""
    fd = posix.open(f"/proc/{pid}/status", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        text = posix.read(fd, 8192)
    finally:
        posix.close(fd)
    return int(text.partition(b"\nNSpid:")[2].partition(b"\n")[0].split()[-1])


def open_pidfd(pid: int, started: int) -> int:
    """A descriptor of the very process that was recorded, or -1 if it is gone."""
    try:
        fd = posix.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    if start_time(pid) != started:
        posix.close(fd)
        return -1
    return fd


def send_signal(pidfd: int, signal: int) -> bool:
    """Sends a signal through a pidfd; False if the process has gone."""
    from _signal import pidfd_send_signal

    try:
        pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise Error(f"cannot send signal {signal}: {error.strerror}") from None
    return True


def wait_until_gone(pidfd: int, seconds: float) -> bool:
    """Waits for a process to end, ours or not; False after that many seconds."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


def reap(pid: int) -> int:
    """Collects a child; its wait status, or 0 for a process that was not ours."""
    try:
        return posix.waitpid(pid, 0)[1]
    except OSError as error:
        if error.errno != ECHILD:
            raise
        return 0


def exit_status(status: int) -> int:
    """What a shell makes of a wait status: the exit code, or 128 and the signal's number."""
    return posix.WEXITSTATUS(status) if posix.WIFEXITED(status) else 128 + posix.WTERMSIG(status)
