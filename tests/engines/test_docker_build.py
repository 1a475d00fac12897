"""docker build, by the classic builder and by BuildKit, and docker-compose."""

from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from engine import Docker, missing
from machine import wait_for

DOCKERFILE = """\
FROM busybox AS made
ARG GREETING=hello
ENV WHERE=/srv/work
RUN mkdir -p $WHERE && chown bob $WHERE && ln -s /etc/passwd /srv/link
WORKDIR /srv/work
COPY --chown=bob:staff file ./
USER bob
RUN echo "$GREETING from $(id -un) in $(pwd)" >made
RUN ["sh", "-c", "cat file >>made; stat -c '%U:%G %n' file >>made"]

FROM busybox
COPY --from=made /srv/work/made /made
RUN test ! -e /srv && mount -t tmpfs none /mnt 2>/dev/null || echo "not privileged" >>/made
CMD ["cat", "/made"]
"""
MADE = "good day from bob in /srv/work\nof the context\nbob:staff file\nnot privileged\n"


@pytest.fixture
def context(docker: Docker) -> Iterator[Path]:
    directory = docker.place.directory / "context"
    directory.mkdir()
    (directory / "Dockerfile").write_text(DOCKERFILE)
    (directory / "file").write_text("of the context\n")
    (directory / "file").chmod(0o644)
    yield directory
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    # The images that were made, and what they were made from.
    docker("image", "rm", "--force", "built", compare=False, code=None)
    docker("image", "prune", "--force", compare=False)


def test_an_image_is_built_in_steps(docker: Docker, context: Path) -> None:
    built = docker("build", "--build-arg", "GREETING=good day", "-t", "built", str(context)).out
    assert built.count(" ---> Running in ") == 9
    assert docker("run", "--rm", "built").out == MADE
    # What has been built is not built again, and no container of a step remains.
    again = docker("build", "--build-arg", "GREETING=good day", "-t", "built", str(context)).out
    assert "Running in" not in again and again.count("Using cache") == 11
    assert docker("ps", "--all", "--quiet").out == ""


def test_a_step_that_fails_ends_the_build(docker: Docker, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo before; exit 7\nRUN echo after\n")
    failed = docker("build", "--force-rm", "--no-cache", str(context), code=7)
    assert "before" in failed.out and "after" not in failed.out.split("Step 3")[0]
    assert "returned a non-zero code: 7" in failed.err
    (context / "Dockerfile").write_text('FROM busybox\nRUN ["no-such-program"]\n')
    assert "no-such-program" in docker("build", "--force-rm", str(context), code=1).err


def test_steps_have_the_limits_of_the_build(docker: Docker) -> None:
    # The limit is in one of the files, as the version of cgroups has it.
    looks = [
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null",
        *["ip -o link | wc -l", "grep -c extra /etc/hosts", "ulimit -n", "grep Seccomp: /proc/1/status"],
    ]
    dockerfile = f"FROM busybox\nRUN {'; '.join(looks)}\n"
    flags = [
        "--memory",
        "48m",
        "--network",
        "none",
        "--add-host",
        "extra.host:10.0.0.1",
        "--ulimit",
        "nofile=99",
    ]
    shown = docker("build", "--no-cache", *flags, "-", stdin=dockerfile).out
    for line in (str(48 << 20), "1", "99", "Seccomp:\t2"):
        assert f"\n{line}\n" in shown


def test_buildkit_runs_steps_by_the_runtime_named_runc(docker: Docker, context: Path) -> None:
    kit = {"DOCKER_BUILDKIT": "1"}
    (context / "Dockerfile").write_text(DOCKERFILE + "RUN cat /proc/self/uid_map /proc/self/status\n")
    words = ["build", "--progress", "plain", "--build-arg", "GREETING=good day", "-t", "built", str(context)]
    shown = docker(*words, environment=kit, compare=False).err
    assert "4294967295" in shown and "Seccomp:\t2" in shown
    calls = (docker.place.directory / "runc.log").read_text().splitlines()
    assert len([call for call in calls if " run --bundle " in call]) == 5
    assert docker("run", "--rm", "built").out == MADE
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo before; exit 7\n")
    failed = docker("build", "--progress", "plain", str(context), code=1, environment=kit, compare=False).err
    assert "exit code: 7" in failed and "before" in failed


COMPOSE = """\
version: "3.7"
services:
  web:
    image: docker/getting-started
    ports: ["8088:80"]
    read_only: true
    tmpfs: [/run, /var/lib/nginx]
  client:
    image: busybox
    depends_on: [web]
    command: sh -c 'until wget -qO /kept/page http://web/; do sleep 0.1; done; cat /kept/page; sleep 99'
    init: true
    environment: {COLOUR: blue}
    volumes: ["kept:/kept"]
    cap_drop: [ALL]
    stop_grace_period: 1s
volumes:
  kept: {}
"""


def test_two_services_of_a_compose_file(docker_with_page: Docker) -> None:
    reason = missing("/usr/bin/docker-compose")
    if reason:
        pytest.skip(reason)
    docker = docker_with_page
    file = docker.place.directory / "compose.yaml"
    file.write_text(COMPOSE)
    # Debian's; it is the one of version 1, in Python.
    program = ["/usr/bin/docker-compose", "--no-ansi", "--file", str(file), "--project-name", "two"]
    docker("up", "--detach", program=program, compare=False)
    assert docker.place.fetch("http://127.0.0.1:8088/") == images.PAGE
    # The client has it by the service's name.
    wait_for(lambda: images.PAGE in docker("logs", "two_client_1", compare=False).out, "the page")
    listed = docker("ps", program=program, compare=False).out
    assert "two_client_1" in listed and "two_web_1" in listed and listed.count(" Up ") == 2
    logged = docker("logs", "--no-color", "client", program=program, ignore=r"(?s)wget: .*?refused\n").out
    assert "Getting started" in logged
    script = "echo $COLOUR; grep CapEff /proc/self/status; exit 5"
    seen = docker("exec", "-T", "client", "sh", "-c", script, program=program, code=5).out
    assert seen == "blue\nCapEff:\t0000000000000000\n"
    docker("up", "--detach", "--scale", "client=2", program=program, compare=False)
    assert docker("ps", "--filter", "name=two_client", "--format", "{{.State}}").out == "running\nrunning\n"
    docker("down", "--volumes", "--timeout", "1", program=program, compare=False)
    assert docker("ps", "--all", "--quiet").out == ""
    assert docker("network", "ls", "--filter", "name=two", "--quiet").out == ""
    assert docker("volume", "ls", "--filter", "name=two", "--quiet").out == ""
