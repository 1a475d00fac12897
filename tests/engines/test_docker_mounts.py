"""docker run: read-only roots, tmpfs, volumes, bind mounts with propagation, and devices."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Docker
from machine import mounted_below
from runs import run, script, start

UNCONFINED = "--security-opt apparmor=unconfined --security-opt seccomp=unconfined"


def mounted(pid: int, target: str) -> list[str]:
    """The options of a mount that a process sees, in their order in mountinfo."""
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == target:
            return fields[5].split(",")
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
    pid = start(
        docker,
        "--read-only --tmpfs /fresh:size=1m,mode=1770,uid=1000 --tmpfs /programs:exec --volume /data"
        " --mount type=tmpfs,dst=/scratch,tmpfs-size=2m,tmpfs-mode=0700 --shm-size 3m",
    )
    text = """
    for path in /etc/new /fresh/new /scratch/new /data/new /dev/shm/new; do touch $path && echo $path; done
    stat -c '%a %u %n' /fresh /scratch
    df -k /fresh /scratch /dev/shm | awk 'NR > 1 { print $2 }'
    cp /bin/busybox /programs/echo && /programs/echo executed
    dd if=/dev/zero of=/scratch/big bs=1M count=3
    rm /scratch/big; cp /bin/busybox /scratch/echo && /scratch/echo executed
    """
    ended = docker("exec", "one", "sh", "-c", text, code=126, ignore=r"\d+\.\d+\S* seconds.*")
    assert ended.out.splitlines() == [
        *["/fresh/new", "/scratch/new", "/data/new", "/dev/shm/new", "1770 1000 /fresh", "700 0 /scratch"],
        *["1024", "2048", "3072", "executed"],
    ]
    for refusal in ("/etc/new: Read-only file system", "No space left on device", "Permission denied"):
        assert refusal in ended.err
    assert mounted(pid, "/fresh")[:4] == ["rw", "nosuid", "nodev", "noexec"]
    assert "noexec" not in mounted(pid, "/programs")


def test_a_tmpfs_over_a_directory_has_the_mode_that_is_asked_for(docker: Docker) -> None:
    ended = run(docker, "--tmpfs /tmp --tmpfs /run:mode=1770", "stat", "-c", "%a %n", "/tmp", "/run")
    assert ended.out.splitlines()[0] == "1777 /tmp"


def test_bind_mounts_of_directories_and_files(docker: Docker) -> None:
    files = docker.place.directory / "files"
    (files / "below").mkdir(parents=True)
    (files / "one").write_text("of the host\n")
    flags = f"--volume {files}:/rw --volume {files}:/ro:ro --volume {files}/one:/file:ro"
    flags += f" --mount type=bind,source={files},target=/only,readonly --volume {files}/made:/made"
    text = """
    cat /rw/one /file
    echo of the container > /rw/two
    touch /ro/x; echo x > /file; rmdir /only/below
    """
    ended = script(docker, flags, text, code=1)
    assert ended.out == "of the host\n" * 2
    assert ended.err.count("Read-only file system") == 3
    assert (files / "two").read_text() == "of the container\n"
    # --volume makes a source that does not exist, --mount refuses it.
    assert (files / "made").is_dir()
    run(docker, f"--mount type=bind,src={files}/none,dst=/x", "true", code=125)


def test_mounts_propagate_as_asked(docker: Docker, shared: Path) -> None:
    for name in ("private", "slave", "peer"):
        (shared / name).mkdir()
    start(
        docker,
        f"--cap-add SYS_ADMIN {UNCONFINED} --volume {shared}:/private --volume {shared}:/slave:rslave"
        f" --mount type=bind,src={shared},dst=/peer,bind-propagation=rshared",
    )
    # From the host into the container …
    (shared / "fromhost").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", shared / "fromhost"], check=True)
    (shared / "fromhost/seen").touch()
    seen = docker("exec", "one", "sh", "-c", "ls -d /*/fromhost/seen").out
    assert seen == "/peer/fromhost/seen\n/slave/fromhost/seen\n"
    # … and from the container, but not by its ordinary and its slave mounts.
    text = "for a in private slave peer; do mount -t tmpfs none /$a/$a && touch /$a/$a/seen; done"
    docker("exec", "one", "sh", "-c", text)
    assert mounted_below(str(shared)) == [f"{shared}/fromhost", f"{shared}/peer"]
    assert (shared / "peer/seen").exists()
    # It stays on the host when the container has gone.
    docker("rm", "--force", "one")
    assert mounted_below(str(shared)) == [f"{shared}/fromhost", f"{shared}/peer"]


def test_shared_propagation_needs_a_shared_source(docker: Docker, shared: Path) -> None:
    subprocess.run(["mount", "--make-private", shared], check=True)
    run(docker, f"--volume {shared}:/peer:rshared", "true", code=125)


def test_volumes(docker: Docker) -> None:
    # Others leave some that have no name: of a container that a new one took the place of, say.
    docker("volume", "prune", "--force", compare=False)
    # A new volume has what the image has there, unless nocopy is asked for.
    flags = "--mount type=volume,src=named,dst=/home --mount type=volume,src=empty,dst=/var,volume-nocopy"
    text = "ls /home /var; echo kept > /home/file; stat -c %u /home/bob"
    assert script(docker, flags, text).out == "/home:\nbob\n\n/var:\n0\n"
    text = "cat /there/file; echo passed on > /anonymous/file; echo x > /there/file"
    command = ("busybox", "sh", "-c", text)
    docker("run", "--name", "one", "-v", "named:/there:ro", "-v", "/anonymous", *command, code=1)
    ended = run(docker, "--volumes-from one", "cat", "/there/file", "/anonymous/file")
    assert ended.out == "kept\npassed on\n"
    docker("rm", "--volumes", "one")
    assert docker("volume", "ls", "--format", "{{.Name}}").out == "empty\nnamed\n"
    docker("volume", "rm", "named", "empty")


def test_devices(docker: Docker) -> None:
    # The kernel's log, 1:11, is opened, not read or written. A node can be made of any device.
    flags = "--device /dev/null:/dev/hole --device /dev/kmsg:/dev/log/read:r --cap-add SYSLOG"
    text = """
    stat -c '%t:%T %F' /dev/hole /dev/log/read
    echo gone > /dev/hole && head -c 0 /dev/log/read && echo readable
    mknod /fuse c 10 229 && head -c 0 /fuse && echo opened
    : > /dev/log/read
    """
    ended = script(docker, flags, text, code=1)
    assert ended.out == "1:3 character special file\n1:b character special file\nreadable\n"
    assert ended.err.count("Operation not permitted") == 2
    flags = "--device-cgroup-rule 'c 1:* rm' --cap-add SYSLOG"
    ruled = script(docker, flags, "mknod /kmsg c 1 11 && head -c 0 /kmsg && echo readable; : > /kmsg", code=1)
    assert ruled.out == "readable\n"
    assert "Operation not permitted" in ruled.err
