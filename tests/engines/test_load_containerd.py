"""One container after the other through containerd: none fails, and nothing is left."""

import time

from engine import Containerd
from footprint import Footprint
from load import Rate

IMAGE = "docker.io/library/busybox:latest"
CONTAINERS = {"pyrunc": 100, "runc": 25}


def test_a_hundred_containers_run_one_after_the_other(ctr: Containerd, rate: Rate) -> None:
    """With their exit statuses: on a busy machine ctr loses the output of a process that ends at once."""
    number = CONTAINERS[ctr.runtime.name]

    def run(each: int) -> int:
        command = ["sh", "-c", f"exit {each % 3}"]
        words = ["run", "--rm", "--runc-binary", ctr.runtime.path, IMAGE, f"one-{each}", *command]
        return ctr(*words, code=None, compare=False).code

    # What containerd unpacks and opens once.
    run(number)
    before = Footprint(ctr)
    begin = time.monotonic()
    codes = [run(each) for each in range(number)]
    rate("ctr run --rm, one after the other", number, time.monotonic() - begin)
    assert codes == [each % 3 for each in range(number)]
    before.is_all_that_is_left()
