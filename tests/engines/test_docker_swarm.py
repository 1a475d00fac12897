"""A swarm of one node: services with replicas, secrets, updates, and what becomes of killed tasks."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from engine import Docker
from machine import wait_for

# Images have no digests, for want of a registry; and nobody waits for an update's end on a terminal.
ALONE = ["--detach", "--quiet", "--no-resolve-image"]
QUICK = ["--stop-grace-period", "1s", "--restart-delay", "50ms"]
# How long an update looks whether a new task fails; five seconds else.
UPDATE = ["--update-parallelism", "1", "--update-delay", "0s", "--update-monitor", "300ms"]


@pytest.fixture(scope="module")
def manager(docker: Docker) -> Iterator[Docker]:
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", compare=False)
    yield docker
    docker("swarm", "leave", "--force", compare=False)
    docker("network", "rm", "docker_gwbridge", compare=False)


@pytest.fixture
def swarm(manager: Docker, docker_with_page: Docker) -> Iterator[Docker]:
    """Docker as the manager of a swarm; its services, secrets, configs and networks are removed."""
    docker = docker_with_page
    yield docker
    for kind in ("service", "secret", "config"):
        names = docker(kind, "ls", "--quiet", compare=False).out.split()
        if names:
            docker(kind, "rm", *names, compare=False)
    # The swarm ends the tasks, but for those that have ended; either may come first.
    wait_for(
        lambda: _none_left(docker, "ps", "--all", "--quiet", remove=["rm", "--force"]), "end of all tasks"
    )
    overlays = ["network", "ls", "--filter", "driver=overlay", "--filter", "name=front", "--quiet"]
    wait_for(lambda: _none_left(docker, *overlays, remove=["network", "rm"]), "removal of the network")


def _none_left(docker: Docker, *listing: str, remove: list[str]) -> bool:
    found = docker(*listing, compare=False).out.split()
    if found:
        docker(*remove, *found, compare=False, code=None)
    return not found


def running(docker: Docker, service: str) -> list[str]:
    """The containers of a service's tasks that have been seen to run."""
    flags = ["--filter", f"label=com.docker.swarm.service.name={service}", "--filter", "status=running"]
    return docker("ps", "--no-trunc", "--quiet", *flags, compare=False).out.split()


def replicas(docker: Docker, service: str, number: int) -> None:
    def settled() -> bool:
        shown = docker(
            "service", "ls", "--filter", f"name={service}", "--format", "{{.Replicas}}", compare=False
        )
        return shown.out.strip() == f"{number}/{number}" and len(running(docker, service)) == number

    wait_for(settled, f"{number} replicas of {service}")


def test_replicas_are_scaled_updated_and_replaced(swarm: Docker) -> None:
    swarm("secret", "create", "password", "-", stdin="open sesame\n")
    swarm("config", "create", "settings", "-", stdin="colour = blue\n")
    script = 'echo "version $VERSION"; trap "exit 0" TERM; while :; do sleep 0.05; done'
    granted = [
        *["--secret", "source=password,target=word,uid=1000,gid=50,mode=0400"],
        *["--config", "source=settings,target=/etc/settings,mode=0444"],
    ]
    flags = [*ALONE, *QUICK, *granted, "--env", "VERSION=1", "--user", "bob", "--limit-memory", "32m"]
    swarm("service", "create", "--name", "three", "--replicas", "3", *flags, "busybox", "sh", "-c", script)
    replicas(swarm, "three", 3)
    first = running(swarm, "three")
    shown = swarm(
        "exec",
        first[0],
        "sh",
        "-c",
        "cat /run/secrets/word /etc/settings; ls -l /run/secrets/word; mount | grep -c secrets",
        ignore=r"(?<= 12) .* (?=/run)",
    ).out
    assert shown.startswith("open sesame\ncolour = blue\n-r--------    1 bob      staff ")
    process = swarm("inspect", "--format", "{{.State.Pid}}", first[0], compare=False).out.strip()
    mounts = Path(f"/proc/{process}/mountinfo").read_text()
    secret = [line for line in mounts.splitlines() if line.split()[4] == "/run/secrets/word"]
    assert len(secret) == 1 and " ro," in secret[0] and "tmpfs" in secret[0]

    swarm("service", "scale", "--detach", "three=5")
    replicas(swarm, "three", 5)
    swarm("service", "scale", "--detach", "three=2")
    replicas(swarm, "three", 2)

    killed, other = running(swarm, "three")
    os.kill(int(swarm("inspect", "--format", "{{.State.Pid}}", killed, compare=False).out), 9)
    wait_for(lambda: killed not in running(swarm, "three"), "the death of a task")
    replicas(swarm, "three", 2)
    assert other in running(swarm, "three")
    tasks = swarm("service", "ps", "--format", "{{.CurrentState}} {{.Error}}", "three", compare=False).out
    assert re.search(r'(?m)^Failed .*"task: non-zero exit \(137\)"$', tasks), tasks

    swarm("service", "update", *ALONE, *UPDATE, "--env-add", "VERSION=2", "three")

    def updated() -> bool:
        state = swarm("service", "inspect", "--format", "{{json .UpdateStatus}}", "three", compare=False).out
        return bool(json.loads(state)) and json.loads(state)["State"] == "completed"

    wait_for(updated, "the end of the update")
    replicas(swarm, "three", 2)
    assert other not in running(swarm, "three")
    for container in running(swarm, "three"):
        assert swarm("logs", container).out == "version 2\n"
    said = swarm("service", "logs", "--raw", "three", compare=False).out.splitlines()
    assert said.count("version 2") == 2 and said.count("version 1") >= 3
    swarm("service", "rm", "three")


def test_a_service_is_reached_by_its_name_and_port(swarm: Docker) -> None:
    swarm("network", "create", "--driver", "overlay", "--attachable", "front")
    named = ["--network", "front", "--endpoint-mode", "dnsrr"]
    port = ["--publish", "mode=host,target=80,published=8089"]
    swarm("service", "create", "--name", "web", *ALONE, *QUICK, *named, *port, "docker/getting-started")
    replicas(swarm, "web", 1)
    assert swarm.place.fetch("http://127.0.0.1:8089/") == images.PAGE
    found = swarm("run", "--rm", "--network", "front", "busybox", "wget", "-qO-", "http://web/")
    assert found.out == images.PAGE


def test_a_port_of_the_ingress_network(swarm: Docker) -> None:
    if not Path("/proc/sys/net/ipv4/vs").exists():
        pytest.skip(
            "the kernel has no IPVS, by which a swarm spreads what comes to a published port over tasks"
        )
    swarm(
        "service", "create", "--name", "web", *ALONE, *QUICK, "--publish", "8090:80", "docker/getting-started"
    )
    replicas(swarm, "web", 1)
    assert swarm.place.fetch("http://127.0.0.1:8090/") == images.PAGE


def test_a_job_is_done_once(swarm: Docker) -> None:
    script = "echo done; exit 0"
    swarm(
        "service",
        "create",
        "--name",
        "job",
        "--mode",
        "replicated-job",
        "--replicas",
        "2",
        *ALONE,
        "busybox",
        "sh",
        "-c",
        script,
    )

    def complete() -> bool:
        shown = swarm("service", "ps", "--format", "{{.CurrentState}}", "job", compare=False).out
        return shown.count("Complete ") == 2

    wait_for(complete, "the jobs' end")
    assert swarm("service", "logs", "--raw", "job").out == "done\ndone\n"
