"""What an engine of the tests leaves behind when it cannot be started: nothing, however far it came."""

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cri import Cri
from engine import Containerd, Docker, Engine, Runtime
from machine import CGROUPS, Place
from podman import Podman, RootlessPodman

# In the environment of what an engine starts.
MARK = "PYRUNC_TEST_ENGINE"


class NonsensicalDocker(Docker):
    configuration = {"no-such-key": True}


def available(engine: type[Engine]) -> type[Engine]:
    reason = engine.unavailable()
    if reason:
        pytest.skip(reason)
    return engine


@pytest.fixture(params=[Docker, Containerd, Cri, Podman, RootlessPodman])
def engine(request: pytest.FixtureRequest) -> type[Engine]:
    return available(request.param)


@pytest.fixture
def named(tested: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The runtime under test by a name of its own, which becomes part of its engine's names."""
    name = secrets.token_hex(4)
    monkeypatch.setenv(MARK, name)
    return Runtime(name, tested.path)


def left(name: str) -> Iterator[str]:
    """What is on the machine of the engine whose runtime has this name."""
    for directory in (Path(tempfile.gettempdir()), Path("/run/netns"), Containerd.ROOT):
        yield from map(str, directory.glob(f"*{name}*"))
    yield from map(str, [*CGROUPS.glob(f"*{name}*"), *CGROUPS.glob(f"*/*{name}*")])
    yield from (line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_text(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        if f"{MARK}={name}" in environment:
            yield f"process {process.name}: {(process / 'comm').read_text()}"


def test_a_daemon_that_ends_at_once(named: Runtime) -> None:
    with pytest.raises(AssertionError, match=r"ended with 1: (.|\n)*no-such-key"):
        available(NonsensicalDocker)(named, [])
    assert not [*left(named.name)]


def test_a_program_that_is_not_there(
    engine: type[Engine], named: Runtime, busybox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Place, "inside", lambda place: ["/no/such/nsenter"])
    with pytest.raises(FileNotFoundError, match="/no/such/nsenter"):
        engine(named, [busybox])
    assert not [*left(named.name)]


def test_an_image_that_cannot_be_loaded(engine: type[Engine], named: Runtime, tmp_path: Path) -> None:
    image = tmp_path / "image.tar"
    image.write_text("not an archive")
    with pytest.raises(AssertionError, match="exit status"):
        engine(named, [image])
    assert not [*left(named.name)]
