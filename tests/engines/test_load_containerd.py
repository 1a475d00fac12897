"""One container after the other through containerd: none fails, and nothing is left."""

import time

from engine import Containerd
from footprint import Footprint
from load import Rate

IMAGE = "docker.io/library/busybox:latest"
CONTAINERS = {"pyrunc": 100, "runc": 25}


def test_a_hundred_containers_run_one_after_the_other(ctr: Containerd, rate: Rate) -> None:
    number = CONTAINERS[ctr.runtime.name]

    def run(name: str) -> str:
        words = ["run", "--rm", "--runc-binary", ctr.runtime.path, IMAGE, name, "echo", name]
        return ctr(*words, compare=False).out

    # What containerd unpacks and opens once.
    run("first")
    before = Footprint(ctr)
    begin = time.monotonic()
    outputs = [run(f"one-{each}") for each in range(number)]
    rate("ctr run --rm, one after the other", number, time.monotonic() - begin)
    # The shim may lose what is written just before the end (see Containerd.shell), with any runtime.
    seen = [(f"one-{each}\n", out) for each, out in enumerate(outputs)]
    assert not [(expected, out) for expected, out in seen if out not in (expected, "")]
    assert outputs.count("") <= number // 10
    before.is_all_that_is_left()
