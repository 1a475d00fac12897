"""podman build, whose RUN steps are containers of the runtime (isolation oci) or are not (chroot)."""

import pytest
from podman import Podman

CONTAINERFILE = """\
FROM localhost/busybox:latest
ARG WHO=nobody
ENV GREETING=hello
RUN id && echo "$GREETING $WHO" >/made && ls -d /proc/self /dev/null /sys/kernel
WORKDIR /home/bob
USER bob
RUN pwd; id -un; ulimit -n; touch /home/bob/mine 2>/dev/null || echo not mine
RUN --mount=type=tmpfs,target=/scratch touch /scratch/x; grep -c ' /scratch ' /proc/mounts
USER root
COPY file /copied
RUN ["/bin/sh", "-c", "cat /copied >>/made"]
CMD ["cat", "/made"]
"""


@pytest.mark.parametrize("isolation", ["oci", "chroot"])
def test_an_image_is_built(podman: Podman, isolation: str) -> None:
    context = podman.place.directory / f"context-{isolation}"
    context.mkdir()
    (context / "Containerfile").write_text(CONTAINERFILE)
    (context / "file").write_text("copied\n")
    flags = ["--isolation", isolation, "--runtime", podman.runtime.path, "--build-arg", "WHO=world"]
    flags += ["--memory", "64m", "--cap-drop", "net_raw", "--ulimit", "nofile=512:512", "--layers=false"]
    flags += ["--cgroup-parent", f"/{podman.place.name}/build", "--tag", "built"]
    built = podman("build", *flags, str(context), ignore="--> [0-9a-f]+")
    assert "uid=0(root) gid=0(root)" in built.out and "\n/home/bob\nbob\n512\n" in built.out
    assert podman("run", "--rm", "built").out == "hello world\ncopied\n"
    podman("rmi", "built", compare=False)


def test_a_step_that_fails_ends_the_build_with_its_status(podman: Podman) -> None:
    context = podman.place.directory / "failing"
    context.mkdir()
    (context / "Containerfile").write_text("FROM localhost/busybox:latest\nRUN exit 5\n")
    flags = ["--cgroup-parent", f"/{podman.place.name}/build"]
    assert "exit status 5" in podman("build", *flags, str(context), code=5).err
    (context / "Containerfile").write_text('FROM localhost/busybox:latest\nRUN ["no-such-program"]\n')
    podman("build", *flags, str(context), code=1)
