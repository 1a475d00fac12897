"""Fixtures of the tests under real engines: each engine with the runtime under test, then with runc."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import images
import pytest
from cri import Cri, unavailable
from engine import Containerd, Docker, Engine, RemappedDocker, Runtime, missing
from podman import Podman, RootlessPodman
from record import Recording, compare, listed

# Of a test that failed, or that one of the runtimes skipped.
UNCOMPARED = pytest.StashKey[bool]()
Recordings = dict[tuple[str, str], dict[str, Recording]]
# Of this process: a session's fixtures are made anew when its last test is tried again.
RECORDED: Recordings = {}


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


@pytest.fixture(scope="session")
def recordings() -> Recordings:
    """By test and its parameters, then by runtime."""
    return RECORDED


def running(engine: type[Engine], runtime: Runtime, archives: list[Path], *programs: str) -> Iterator[Engine]:
    reason = missing(*programs)
    if reason:
        pytest.skip(reason)
    started = engine(runtime, archives)
    yield started
    started.close()


def recorded(
    engine: Engine, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """Records a test's commands; once it has run with both runtimes, they have to be the same."""
    test = f"{request.node.path.stem}::{request.node.originalname}"
    parameters = {key: value for key, value in request.node.callspec.params.items() if key != "runtime"}
    of_test = recordings.setdefault((test, repr(parameters)), {})
    of_test[engine.runtime.name] = engine.record()
    # What is tried once more is compared once more.
    request.node.stash[UNCOMPARED] = False
    yield engine
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


@pytest.fixture(scope="session")
def docker_engine(runtime: Runtime, busybox: Path) -> Iterator[Engine]:
    yield from running(Docker, runtime, [busybox], "dockerd", "/usr/bin/docker", "nsenter", "ip", "curl")


@pytest.fixture
def docker(
    docker_engine: Docker, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """Docker, with the image `busybox`; called as `docker("run", "--rm", "busybox", "id")`."""
    yield from recorded(docker_engine, request, recordings)


@pytest.fixture
def docker_with_page(docker: Docker, getting_started: Path) -> Docker:
    """Docker, with the image `docker/getting-started` too."""
    if not docker("images", "--quiet", "docker/getting-started", compare=False).out:
        docker.load(getting_started)
    return docker


@pytest.fixture(scope="module")
def remapped_engine(runtime: Runtime, busybox: Path) -> Iterator[Engine]:
    if not os.path.exists("/etc/subuid") or not os.path.exists("/etc/subgid"):
        pytest.skip("there are no /etc/subuid and /etc/subgid for the daemon's own ones to be mounted on")
    yield from running(RemappedDocker, runtime, [busybox], "dockerd", "/usr/bin/docker", "nsenter", "ip")


@pytest.fixture
def remapped(
    remapped_engine: RemappedDocker, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """Docker with `userns-remap`, and the image `busybox`."""
    yield from recorded(remapped_engine, request, recordings)


@pytest.fixture(scope="session")
def containerd_engine(runtime: Runtime, busybox: Path) -> Iterator[Engine]:
    yield from running(Containerd, runtime, [busybox], "containerd", "ctr", "nsenter", "ip")


@pytest.fixture
def ctr(
    containerd_engine: Containerd, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """containerd's ctr, with the image `docker.io/library/busybox:latest`."""
    yield from recorded(containerd_engine, request, recordings)


@pytest.fixture(scope="session")
def cri_engine(runtime: Runtime, busybox: Path, image_directory: Path) -> Iterator[Engine]:
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    yield from running(Cri, runtime, [busybox, images.pause(image_directory)])


@pytest.fixture
def cri(
    cri_engine: Cri, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """containerd's CRI plugin, with the images `docker.io/library/busybox:latest` and `…/pause:latest`."""
    yield from recorded(cri_engine, request, recordings)


@pytest.fixture(scope="session")
def podman_engine(runtime: Runtime, busybox: Path) -> Iterator[Engine]:
    programs = ("podman", "conmon", "/usr/lib/podman/netavark", "nsenter", "ip")
    yield from running(Podman, runtime, [busybox], *programs)


@pytest.fixture
def podman(
    podman_engine: Podman, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """podman, with the image `busybox`."""
    yield from recorded(podman_engine, request, recordings)


@pytest.fixture(scope="session")
def rootless_engine(runtime: Runtime, busybox: Path) -> Iterator[Engine]:
    programs = ("podman", "conmon", "newuidmap", "slirp4netns", "nsenter", "ip", "setpriv")
    yield from running(RootlessPodman, runtime, [busybox], *programs)


@pytest.fixture
def rootless(
    rootless_engine: RootlessPodman, request: pytest.FixtureRequest, recordings: Recordings
) -> Iterator[Engine]:
    """podman of an ordinary user, with the image `busybox`."""
    yield from recorded(rootless_engine, request, recordings)
