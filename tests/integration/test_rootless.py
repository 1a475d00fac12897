"""A container of an ordinary user who has no cgroup: what cannot be done is said, and nothing is left."""

import os
from typing import Any

import pytest
from harness import Box, Result

USER = 64321


@pytest.fixture
def mine(box: Box) -> Box:
    """A bundle that the user may run: its own id alone is mapped."""
    if box.is_runc:
        pytest.skip("runc's state directory differs")
    box.user_namespace(USER, 1)
    box.drop_namespace("network")
    for mount in box.mounts:
        mount["options"] = [word for word in mount.get("options", []) if word != "gid=5"]
    box.config["mounts"] = [mount for mount in box.mounts if mount["type"] != "sysfs"]
    box.linux.pop("resources", None)
    box.root.mkdir()
    os.chown(box.root, USER, USER)
    return box


def verb(box: Box, *words: str, **options: Any) -> Result:
    try:
        return box.verb(*words, user=USER, group=USER, extra_groups=[], **options)
    except PermissionError:
        pytest.skip("the command lies in a directory that is closed to other users")


def test_processes_that_cannot_be_told_apart_are_an_error_not_an_empty_list(mine: Box) -> None:
    mine.args("/bin/sleep", "1000")
    mine.save()
    verb(mine, "run", "-d", "--bundle", str(mine.bundle), mine.id).ok()
    if os.path.exists(f"/sys/fs/cgroup/{mine.id}"):
        pytest.skip("the user may make cgroups here")
    verb(mine, "ps", mine.id).failed("no cgroup")
    verb(mine, "kill", "--all", mine.id, "TERM").failed("no cgroup")
    verb(mine, "pause", mine.id).failed("no cgroup")
    verb(mine, "kill", "--all", mine.id, "KILL").ok()
    mine.wait_status("stopped")
    verb(mine, "delete", mine.id).ok()
