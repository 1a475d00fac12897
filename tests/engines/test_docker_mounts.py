"""docker run: read-only roots, tmpfs, volumes, bind mounts with propagation, and devices."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Docker
from machine import mounted_below

ISSUED = "busybox"
UNCONFINED = ("--security-opt", "apparmor=unconfined", "--security-opt", "seccomp=unconfined")


def mounted(docker: Docker, container: str, target: str) -> list[str]:
    """The options of a mount in a container, its file system's too, in their order in mountinfo."""
    for line in docker("exec", container, "cat", "/proc/self/mountinfo", compare=False).out.splitlines():
        fields = line.split()
        if fields[4] == target:
            return [*fields[5].split(","), *fields[-1].split(",")]
    raise AssertionError(f"nothing is mounted at {target}")


@pytest.fixture
def shared(docker: Docker) -> Iterator[Path]:
    """A directory of the host, with its mount: what is mounted below reaches its slaves and peers."""
    directory = docker.place.directory / "shared"
    directory.mkdir()
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "--make-private", directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    yield directory
    # What tests have mounted there too.
    subprocess.run(["umount", "--recursive", directory], check=True)
    assert not mounted_below(str(directory))
    shutil.rmtree(directory)


def test_a_read_only_root_with_a_tmpfs(docker: Docker) -> None:
    docker(
        *["run", "--detach", "--name", "one", "--read-only", "--tmpfs", "/fresh:size=1m,mode=1770,uid=1000"],
        *["--tmpfs", "/bin2:exec", "--mount", "type=tmpfs,dst=/scratch,tmpfs-size=2m,tmpfs-mode=0700"],
        *["--volume", "/data", "--shm-size", "3m", ISSUED, "sleep", "1000"],
    )
    script = """
    for path in /etc/new /fresh/new /scratch/new /data/new /dev/shm/new; do touch $path && echo $path; done
    stat -c '%a %u %n' /fresh /scratch
    df -k /fresh /scratch /dev/shm | awk 'NR > 1 { print $2 }'
    cp /bin/busybox /bin2/echo && /bin2/echo executed
    dd if=/dev/zero of=/scratch/big bs=1M count=3
    rm /scratch/big; cp /bin/busybox /scratch/echo && /scratch/echo executed
    """
    ended = docker("exec", "one", "sh", "-c", script, code=126)
    assert ended.out.splitlines() == [
        *["/fresh/new", "/scratch/new", "/data/new", "/dev/shm/new", "1770 1000 /fresh", "700 0 /scratch"],
        *["1024", "2048", "3072", "executed"],
    ]
    for refusal in ("/etc/new: Read-only file system", "No space left on device", "Permission denied"):
        assert refusal in ended.err
    assert mounted(docker, "one", "/fresh")[:4] == ["rw", "nosuid", "nodev", "noexec"]
    assert "noexec" not in mounted(docker, "one", "/bin2")


def test_a_tmpfs_over_a_directory_has_the_mode_that_is_asked_for(docker: Docker) -> None:
    words = ("--tmpfs", "/tmp", "--tmpfs", "/run:mode=1770", ISSUED, "stat", "-c", "%a %n", "/tmp", "/run")
    assert docker("run", "--rm", *words).out.splitlines()[0] == "1777 /tmp"


def test_bind_mounts_of_directories_and_files(docker: Docker) -> None:
    files = docker.place.directory / "files"
    (files / "below").mkdir(parents=True)
    (files / "one").write_text("of the host\n")
    script = (
        "cat /rw/one /file; echo of the container > /rw/two; touch /ro/x; echo x > /file; rmdir /only/below"
    )
    ended = docker(
        *["run", "--rm", "--volume", f"{files}:/rw", "--volume", f"{files}:/ro:ro"],
        *["--volume", f"{files}/one:/file:ro"],
        *["--mount", f"type=bind,source={files},target=/only,readonly", ISSUED, "sh", "-c", script],
        code=1,
    )
    assert ended.out == "of the host\n" * 2
    assert ended.err.count("Read-only file system") == 3
    assert (files / "two").read_text() == "of the container\n"
    # --mount wants a source that exists, --volume makes it.
    docker("run", "--rm", "--mount", f"type=bind,src={files}/none,dst=/x", ISSUED, "true", code=125)
    docker("run", "--rm", "--volume", f"{files}/made:/x", ISSUED, "rmdir", "/only", code=1)
    assert (files / "made").is_dir()


def test_mounts_propagate_as_asked(docker: Docker, shared: Path) -> None:
    for name in ("private", "slave", "peer"):
        (shared / name).mkdir()
    docker(
        *["run", "--detach", "--name", "one", "--cap-add", "SYS_ADMIN", *UNCONFINED],
        *["--volume", f"{shared}:/private", "--volume", f"{shared}:/slave:rslave"],
        *["--mount", f"type=bind,src={shared},dst=/peer,bind-propagation=rshared", ISSUED, "sleep", "1000"],
    )
    # From the host into the container …
    (shared / "fromhost").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", shared / "fromhost"], check=True)
    (shared / "fromhost/seen").touch()
    assert (
        docker("exec", "one", "sh", "-c", "ls -d /*/fromhost/seen").out
        == "/peer/fromhost/seen\n/slave/fromhost/seen\n"
    )
    # … and from the container, but not by its ordinary and its slave mounts.
    script = "for a in private slave peer; do mount -t tmpfs none /$a/$a && touch /$a/$a/seen; done"
    docker("exec", "one", "sh", "-c", script)
    assert mounted_below(str(shared)) == [f"{shared}/fromhost", f"{shared}/peer"]
    assert (shared / "peer/seen").exists()
    # A mount of the container's outlives it, on the host.
    docker("rm", "--force", "one")
    assert mounted_below(str(shared)) == [f"{shared}/fromhost", f"{shared}/peer"]


def test_shared_propagation_needs_a_shared_source(docker: Docker, shared: Path) -> None:
    subprocess.run(["mount", "--make-private", shared], check=True)
    docker("run", "--rm", "--volume", f"{shared}:/peer:rshared", ISSUED, "true", code=125)


def test_volumes(docker: Docker) -> None:
    # A new volume has what the image has there, unless nocopy is asked for.
    words = (
        "--mount",
        "type=volume,src=named,dst=/home",
        "--mount",
        "type=volume,src=empty,dst=/var,volume-nocopy",
    )
    script = "ls /home /var; echo kept > /home/file; stat -c %u /home/bob"
    assert docker("run", "--rm", *words, ISSUED, "sh", "-c", script).out == "/home:\nbob\n\n/var:\n0\n"
    docker(
        "run",
        "--name",
        "one",
        "--volume",
        "named:/there:ro",
        "--volume",
        "/anonymous",
        ISSUED,
        "sh",
        "-c",
        "cat /there/file; echo passed on > /anonymous/file; echo x > /there/file",
        code=1,
    )
    ended = docker("run", "--rm", "--volumes-from", "one", ISSUED, "cat", "/there/file", "/anonymous/file")
    assert ended.out == "kept\npassed on\n"
    assert docker("volume", "ls", "--filter", "name=named", "--format", "{{.Name}}").out == "named\n"
    docker("rm", "--volumes", "one")
    docker("volume", "rm", "named", "empty")
    assert docker("volume", "ls", "--quiet").out == ""


def test_devices(docker: Docker) -> None:
    # The kernel's log is opened, not read or written.
    words = (
        "--device",
        "/dev/null:/dev/hole",
        "--device",
        "/dev/kmsg:/dev/log/read:r",
        "--cap-add",
        "SYSLOG",
    )
    script = """
    stat -c '%t:%T %F' /dev/hole /dev/log/read
    echo gone > /dev/hole && head -c 0 /dev/log/read && echo readable
    : > /dev/log/read
    """
    ended = docker("run", "--rm", *words, ISSUED, "sh", "-c", script, code=1)
    assert ended.out == "1:3 character special file\n1:b character special file\nreadable\n"
    assert "Operation not permitted" in ended.err
    # A node can be made of any device; it takes a rule to open it.
    script = "mknod /kmsg c 1 11 && head -c 0 /kmsg && echo readable; : > /kmsg"
    assert docker("run", "--rm", "--cap-add", "SYSLOG", ISSUED, "sh", "-c", script, code=1).out == ""
    ruled = docker(
        "run",
        "--rm",
        "--cap-add",
        "SYSLOG",
        "--device-cgroup-rule",
        "c 1:* rm",
        ISSUED,
        "sh",
        "-c",
        script,
        code=1,
    )
    assert ruled.out == "readable\n"
