"""Fixtures of the integration tests: a `box` to play with, and what this machine cannot do."""

import os
import shlex
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("harness")

from harness import Box, cgroup_roots, cgroups_named  # noqa: E402

SYS_RESOURCE = 24


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "beyond_runc(reason): runc itself does not meet this expectation")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    command = os.path.basename(shlex.split(os.environ["PYRUNC"])[0])
    here = str(Path(__file__).parent)
    for item in items:
        if not str(item.path).startswith(here):
            continue
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="containers are made as root"))
        marker = item.get_closest_marker("beyond_runc")
        if marker and command == "runc":
            item.add_marker(pytest.mark.skip(reason=f"runc differs: {marker.args[0]}"))


@pytest.fixture
def new_box(pyrunc: list[str]) -> Iterator[Callable[[], Box]]:
    """A function that makes boxes; at the end each has to be gone without a trace."""
    boxes: list[Box] = []

    def make() -> Box:
        boxes.append(Box(pyrunc))
        return boxes[-1]

    yield make
    left = [line for box in boxes for line in box.close()]
    assert not left, f"left behind: {left}"


@pytest.fixture
def box(new_box: Callable[[], Box]) -> Box:
    return new_box()


@pytest.fixture
def parent_cgroup(box: Box) -> Iterator[str]:
    """A cgroup that engines put containers in; it is theirs, so a runtime does not remove it."""
    name = f"parent-of-{uuid.uuid4().hex[:12]}"
    yield name
    box.delete("--force")
    for path in cgroups_named(name):
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)


@pytest.fixture(scope="session")
def pure_v2() -> bool:
    """Whether the host has only the unified cgroup hierarchy."""
    return cgroup_roots() == ["/sys/fs/cgroup"]


@pytest.fixture(scope="session")
def sys_resource() -> None:
    """Skip where CAP_SYS_RESOURCE is missing from the host's bounding set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and not int(line.split()[1], 16) >> SYS_RESOURCE & 1:
            pytest.skip("this host has no CAP_SYS_RESOURCE")
