"""A user made for the tests, with subordinate ids, and verbs that it runs."""

import fcntl
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Box, Result

LOCK = Path("/run/lock/pyrunc-test-user")
PREFIX = "pyrunc-t"


class User:
    """An ordinary user: name, uid, gid; sub is the first of its 65536 subordinate user and group ids."""

    def __init__(self, name: str, uid: int, gid: int, sub: int) -> None:
        self.name, self.uid, self.gid, self.sub = name, uid, gid, sub

    def ids(self) -> dict[str, Any]:
        """What subprocess needs to run as the user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def _tool(*words: str) -> None:
    # The tools lock the files that they change, and fail at once where others hold the lock.
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"


def _remove_orphans() -> None:
    """Removes the users of test sessions that were killed: their names end in the session's pid."""
    for entry in pwd.getpwall():
        pid = entry.pw_name.removeprefix(PREFIX)
        if pid != entry.pw_name and pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            subprocess.run(["userdel", entry.pw_name], capture_output=True, check=False)


@contextmanager
def user(sub: int) -> Iterator[User]:
    """Makes a user for the time of the block."""
    name = f"{PREFIX}{os.getpid()}"
    _remove_orphans()
    _tool("useradd", "--no-create-home", "--shell", "/bin/false", name)
    try:
        for kind in ("uid", "gid"):
            ranges = Path(f"/etc/sub{kind}").read_text() if Path(f"/etc/sub{kind}").exists() else ""
            for line in ranges.splitlines():
                owner, first, count = line.split(":")
                if owner == name:
                    _tool("usermod", f"--del-sub{kind}s", f"{first}-{int(first) + int(count) - 1}", name)
            _tool("usermod", f"--add-sub{kind}s", f"{sub}-{sub + 65535}", name)
        entry = pwd.getpwnam(name)
        yield User(name, entry.pw_uid, entry.pw_gid, sub)
    finally:
        _tool("userdel", name)


def verb(box: Box, ids: dict[str, Any], *words: str, **options: Any) -> Result:
    """A verb as another user (what subprocess takes), who has to be able to reach the command."""
    try:
        return box.verb(*words, **ids, **options)
    except PermissionError:
        pytest.skip("the command lies in a directory that is closed to other users")
