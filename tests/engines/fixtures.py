"""Fixtures of the tests under real engines: each engine with the runtime under test, then with runc."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Literal

import images
import pytest
from cri import Cri
from engine import Containerd, Docker, Engine, RemappedDocker, Runtime
from podman import Podman, RootlessPodman
from record import Recording, compare, listed

# Of a test that failed, or that one of the runtimes skipped.
UNCOMPARED = pytest.StashKey[bool]()
# By test and its parameters, then by runtime. Not a fixture: a session's fixtures are made anew when its last
# test is tried again.
RECORDED: dict[tuple[str, str], dict[str, Recording]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker for each engine, the second word of a module's name: started once with each runtime."""
    here = Path(__file__).parent
    for item in items:
        if item.path.parent != here:
            continue
        item.add_marker(pytest.mark.xdist_group(item.path.stem.split("_")[1]))
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="engines run as root"))


@pytest.fixture(scope="session", params=["pyrunc", "runc"])
def runtime(request: pytest.FixtureRequest, tested: Runtime) -> Runtime:
    if request.param == "pyrunc":
        return tested
    path = shutil.which("runc")
    if path is None:
        pytest.skip("runc is not installed, so nothing is compared with it")
    return Runtime("runc", path)


@pytest.fixture(scope="session")
def tested() -> Runtime:
    """The runtime under test, for tests that have nothing to compare."""
    return Runtime("pyrunc", shlex.split(os.environ["PYRUNC"])[0])


@pytest.fixture(scope="session")
def image_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pyrunc-images-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def busybox(image_directory: Path) -> Path:
    return images.busybox(image_directory)


@pytest.fixture(scope="session")
def getting_started(image_directory: Path) -> Path:
    """The archive of the image `docker/getting-started`."""
    try:
        return images.getting_started(image_directory)
    except images.Unavailable as reason:
        pytest.skip(f"{reason} (scripts/test downloads it)")


def running(engine: type[Engine], runtime: Runtime, archives: list[Path]) -> Iterator[Engine]:
    reason = engine.unavailable()
    if reason:
        pytest.skip(reason)
    started = engine(runtime, archives)
    yield started
    started.close()


def fixture_of(
    engine: type[Engine],
    *images: Callable[[Path], Path],
    scope: Literal["session", "module"] = "session",
) -> Any:
    """A fixture: the engine with the image `busybox` and other ones, started once with each runtime."""

    @pytest.fixture(scope=scope)
    def started(runtime: Runtime, busybox: Path, image_directory: Path) -> Iterator[Engine]:
        yield from running(engine, runtime, [busybox, *(image(image_directory) for image in images)])

    return started


# Called as `docker("run", "--rm", "busybox", "id")`, `ctr("tasks", "list")`, `podman("ps")`.
docker = fixture_of(Docker)
remapped = fixture_of(RemappedDocker, scope="module")
ctr = fixture_of(Containerd)
cri = fixture_of(Cri, images.pause)
podman = fixture_of(Podman)
rootless = fixture_of(RootlessPodman)


@pytest.fixture
def docker_with_page(docker: Docker, getting_started: Path) -> Docker:
    """Docker, with the image `docker/getting-started` too."""
    if not docker("images", "--quiet", "docker/getting-started", compare=False).out:
        docker.load(getting_started)
    return docker


@pytest.fixture(autouse=True)
def recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Records a test's commands; once it has run with both runtimes, they have to be the same."""
    # Fixtures of sessions and modules come before this one.
    engine = next((each for each in request.node.funcargs.values() if isinstance(each, Engine)), None)
    if engine is None or "runtime" not in request.fixturenames:
        yield
        return
    test = f"{request.node.path.stem}::{request.node.originalname}"
    parameters = {key: value for key, value in request.node.callspec.params.items() if key != "runtime"}
    of_test = RECORDED.setdefault((test, repr(parameters)), {})
    of_test[engine.runtime.name] = engine.record()
    # What is tried once more is compared once more.
    request.node.stash[UNCOMPARED] = False
    yield
    engine.clean()
    if request.node.stash.get(UNCOMPARED, False):
        del of_test[engine.runtime.name]
    elif len(of_test) == 2:
        wrong = compare(test, of_test, listed())
        assert not wrong, "\n".join(["the engine gave other answers with pyrunc than with runc:", *wrong])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not report.passed:
        item.stash[UNCOMPARED] = True
    return report
