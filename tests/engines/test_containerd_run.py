"""ctr run in its variants."""

from engine import Containerd

IMAGE = "docker.io/library/busybox:latest"


def test_a_process_runs_with_its_exit_status_and_output(ctr: Containerd) -> None:
    runtime = ctr.runtime.path
    assert ctr("run", "--rm", "--runc-binary", runtime, IMAGE, "one", "echo", "hello").out == "hello\n"
