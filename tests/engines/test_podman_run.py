"""podman run with the flags that people use."""

from engine import Podman


def test_a_process_runs_with_its_exit_status_and_output(podman: Podman) -> None:
    assert podman("run", "--rm", "busybox", "echo", "hello").out == "hello\n"
    podman("run", "--rm", "busybox", "sh", "-c", "exit 7", code=7)
