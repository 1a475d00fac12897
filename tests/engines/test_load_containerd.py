"""One container after the other through containerd: none fails, and nothing is left."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Containerd, Runtime
from footprint import Footprint
from load import Rates, side_by_side
from tasks import IMAGE

pytestmark = pytest.mark.timeout(600)  # a busy machine takes its time

WHAT = "ctr run --rm, one after the other"
ROUNDS = 25
IN_ROUND = {"pyrunc": 4, "runc": 1}


@pytest.fixture(scope="module")
def containerds(tested: Runtime, busybox: Path) -> Iterator[dict[str, Containerd]]:
    yield from side_by_side(Containerd, tested, [busybox])


def test_a_hundred_containers_run_one_after_the_other(
    containerds: dict[str, Containerd], rates: Rates
) -> None:
    """With their exit statuses: on a busy machine ctr loses the output of a process that ends at once."""

    def run(runtime: str, numbers: range) -> None:
        ctr = containerds[runtime]
        for number in numbers:
            command = ["sh", "-c", f"exit {number % 3}"]
            words = ["run", "--rm", "--runc-binary", ctr.runtime.path, IMAGE, f"one-{number}", *command]
            ctr(*words, code=number % 3, compare=False)

    for runtime in containerds:  # what containerd unpacks and opens once
        run(runtime, range(1))
    before = [Footprint(each) for each in containerds.values()]
    for round in range(ROUNDS):
        for runtime in containerds:
            number = IN_ROUND[runtime]
            numbers = range(round * number, (round + 1) * number)
            with rates.measure(WHAT, runtime, number):
                run(runtime, numbers)
    for each in before:
        each.is_all_that_is_left()
