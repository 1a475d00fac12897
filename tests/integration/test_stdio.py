"""What of the caller's descriptors reaches the container: stdio, LISTEN_FDS, --preserve-fds, nothing else."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from harness import Box, wait_for

LIST = 'for f in /proc/$$/fd/*; do echo -n "${f##*/} "; readlink $f || echo; done'


def listed(text: str) -> dict[int, str]:
    """LIST's output: descriptor → what it is, without the directory that the shell had open for listing."""
    found = {}
    for line in text.splitlines():
        number, _, target = line.partition(" ")
        if target:
            found[int(number)] = target
    return found


def with_descriptors(
    box: Box, numbers: dict[int, Path], *words: str, env: dict[str, str] | None = None
) -> int:
    """Run a verb in a child that has exactly these descriptors beside stdio; the shell puts them in place."""
    redirections = " ".join(f"{n}<>{path}" for n, path in numbers.items())
    command = ["bash", "-c", f'exec {redirections}; exec "$@"', "bash"]
    if env and env.get("LISTEN_PID") == "self":
        command = ["bash", "-c", f'exec {redirections}; export LISTEN_PID=$$; exec "$@"', "bash"]
    before, box.command = box.command, [*command, *box.command]
    try:
        return box.verb(*words, env=env).code
    finally:
        box.command = before


def test_stdin_is_piped_through(box: Box) -> None:
    box.args("/bin/sort")
    assert box.run(input="b\nc\na\n").out == "a\nb\nc\n"


def test_stdout_and_stderr_stay_apart(box: Box) -> None:
    box.script("echo out; echo err >&2")
    result = box.run()
    assert (result.out, result.err) == ("out\n", "err\n")


def test_a_large_output_through_a_pipe_is_whole(box: Box) -> None:
    box.script("dd if=/dev/zero bs=65536 count=64 2>/dev/null")
    box.save()
    child = box.spawn("run", "--bundle", str(box.bundle), box.id, stdout=subprocess.PIPE)
    assert len(child.communicate(timeout=60)[0]) == 64 * 65536
    assert child.returncode == 0


def test_a_pipe_ends_when_the_container_ends(box: Box) -> None:
    """No process of the runtime may keep the caller's pipe open after it."""
    box.args("/bin/echo", "hello")
    box.save()
    child = box.spawn("run", "-d", "--bundle", str(box.bundle), box.id, stdout=subprocess.PIPE)
    assert child.communicate(timeout=15)[0] == b"hello\n"


def test_a_closed_stdin_does_not_stop_the_container(box: Box) -> None:
    box.script("cat; echo end")
    assert box.run().out == "end\n"


def test_no_descriptor_but_stdio_reaches_the_process(box: Box) -> None:
    box.script(LIST)
    box.save()
    files = {n: box.place / f"fd{n}" for n in (3, 7, 33, 200)}
    assert with_descriptors(box, files, "run", "--bundle", str(box.bundle), box.id) == 0
    assert sorted(listed(box.output())) == [0, 1, 2]


def test_no_descriptor_but_stdio_reaches_an_executed_process(box: Box) -> None:
    box.sleeping()
    files = {n: box.place / f"fd{n}" for n in (3, 7, 33, 200)}
    assert with_descriptors(box, files, "exec", box.id, "/bin/sh", "-c", LIST) == 0
    assert sorted(listed(box.output())) == [0, 1, 2]


def test_the_waiting_process_holds_no_directory_and_no_file_of_the_host(box: Box) -> None:
    """CVE-2024-21626: a directory of the host in the waiting process can be reached from the container."""
    box.save()
    files = {n: box.place / f"fd{n}" for n in (3, 7, 33)}
    assert with_descriptors(box, files, "create", "--bundle", str(box.bundle), box.id) == 0
    pid = box.pid()
    for name in os.listdir(f"/proc/{pid}/fd"):
        if name in "012":
            continue
        target = os.readlink(f"/proc/{pid}/fd/{name}")
        status = os.stat(f"/proc/{pid}/fd/{name}")
        assert not stat.S_ISDIR(status.st_mode), f"{name} is the directory {target}"
        assert not target.startswith(str(box.place / "fd")), f"{name} is the caller's {target}"
    assert os.path.samefile(f"/proc/{pid}/cwd", box.rootfs) or os.readlink(f"/proc/{pid}/cwd") == "/"


def test_the_running_process_holds_only_stdio_as_seen_by_the_host(box: Box) -> None:
    pid = box.sleeping()
    wait_for(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes(), "execve")
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


def test_preserve_fds_passes_that_many_and_no_more(box: Box) -> None:
    box.script(f"{LIST}; cat <&3; cat <&4")
    box.save()
    files = {}
    for number in (3, 4, 5):
        files[number] = box.place / f"fd{number}"
        files[number].write_text(f"content of {number}\n")
    assert (
        with_descriptors(box, files, "run", "--preserve-fds", "2", "--bundle", str(box.bundle), box.id) == 0
    )
    text = box.output()
    assert "content of 3\ncontent of 4\n" in text
    assert "fd5" not in text


def test_preserve_fds_of_exec(box: Box) -> None:
    box.sleeping()
    file = box.place / "fd3"
    file.write_text("content\n")
    files = {3: file, 4: box.place / "fd4"}
    assert (
        with_descriptors(
            box, files, "exec", "--preserve-fds", "1", box.id, "/bin/sh", "-c", f"{LIST}; cat <&3"
        )
        == 0
    )
    assert "content\n" in box.output()
    assert "fd4" not in box.output()


@pytest.mark.beyond_runc("descriptor 3 happens to be one of its own")
def test_preserve_fds_of_a_closed_descriptor_is_an_error(box: Box) -> None:
    box.run("--preserve-fds", "1").failed("3")
    box.save()
    log = ("--log", str(box.place / "log"))
    box.verb(*log, "run", "--preserve-fds", "1", "--bundle", str(box.bundle), box.id).failed("3")
    box.clean()


def test_listen_fds_pass_with_listen_pid_one(box: Box) -> None:
    """sd_listen_fds(3) compares LISTEN_PID with getpid(), which is 1 inside."""
    box.script(f"echo fds=$LISTEN_FDS pid=$LISTEN_PID; {LIST}; cat <&3")
    box.save()
    files = {3: box.place / "fd3", 4: box.place / "fd4", 5: box.place / "fd5"}
    files[3].write_text("content\n")
    env = {"LISTEN_FDS": "2", "LISTEN_PID": "self"}
    assert with_descriptors(box, files, "run", "--bundle", str(box.bundle), box.id, env=env) == 0
    text = box.output()
    assert "fds=2 pid=1\n" in text
    assert "fd4" in text
    assert "fd5" not in text
    assert "content\n" in text


def test_listen_fds_pass_with_their_names_and_once(box: Box) -> None:
    """An engine that hands sockets through writes the variables into the configuration too."""
    box.process["env"] += ["LISTEN_FDS=7", "LISTEN_FDNAMES=old", "LISTEN_PID=42", "LISTEN_FDS_X=y"]
    box.args("/bin/env")
    box.save()
    files = {3: box.place / "fd3", 4: box.place / "fd4"}
    words = ["run", "--bundle", str(box.bundle), box.id]
    env = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:admin", "LISTEN_PID": "self"}
    assert with_descriptors(box, files, *words, env=env) == 0
    listed = sorted(line for line in box.output().splitlines() if line.startswith("LISTEN_"))
    assert listed == ["LISTEN_FDNAMES=web:admin", "LISTEN_FDS=2", "LISTEN_FDS_X=y", "LISTEN_PID=42"]


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_create_and_exec_pass_sockets_as_run_does(box: Box, verb: str) -> None:
    script = "echo fds=$LISTEN_FDS pid=$LISTEN_PID names=$LISTEN_FDNAMES; cat <&3"
    files = {3: box.place / "fd3"}
    files[3].write_text("content\n")
    env = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "LISTEN_PID": "self"}
    if verb == "create":
        box.script(script)
        box.save()
        assert with_descriptors(box, files, "create", "--bundle", str(box.bundle), box.id, env=env) == 0
        output = box.last_out
        box.start().ok()
    else:
        box.sleeping()
        assert with_descriptors(box, files, "exec", box.id, "/bin/sh", "-c", script, env=env) == 0
        output = box.last_out
    wait_for(lambda: output.read_text() == "fds=1 pid=1 names=web\ncontent\n", "the output")


def test_sockets_for_another_process_are_not_passed(box: Box) -> None:
    box.script(f"echo fds=$LISTEN_FDS; {LIST}")
    box.save()
    files = {3: box.place / "fd3"}
    words = ["run", "--bundle", str(box.bundle), box.id]
    assert with_descriptors(box, files, *words, env={"LISTEN_FDS": "1", "LISTEN_PID": "1"}) == 0
    assert box.output().startswith("fds=\n")
    assert "fd3" not in box.output()


def test_listen_fds_come_before_preserved_ones(box: Box) -> None:
    box.script("cat <&3; cat <&4")
    box.save()
    files = {3: box.place / "fd3", 4: box.place / "fd4"}
    for number, file in files.items():
        file.write_text(f"content of {number}\n")
    words = ["run", "--preserve-fds", "1", "--bundle", str(box.bundle), box.id]
    assert with_descriptors(box, files, *words, env={"LISTEN_FDS": "1", "LISTEN_PID": "self"}) == 0
    assert box.output() == "content of 3\ncontent of 4\n"


def test_the_host_s_environment_does_not_reach_the_process(box: Box) -> None:
    box.script("env")
    out = box.run(env={"SECRET_OF_THE_HOST": "1"}).ok().out
    assert "SECRET_OF_THE_HOST" not in out


@pytest.mark.parametrize("verb", ["create", "run"])
def test_detached_containers_keep_the_callers_stdio(box: Box, verb: str) -> None:
    box.script("cat; echo err >&2")
    if verb == "run":
        box.run("-d", input="text\n").ok()
        out, err = box.last_out, box.last_err
    else:
        box.create(input="text\n").ok()
        out, err = box.last_out, box.last_err
        box.start().ok()
    wait_for(lambda: "text" in out.read_text() and "err" in err.read_text(), "output")


def test_a_container_started_with_stdio_closed_gets_working_descriptors(box: Box) -> None:
    """0, 1 and 2 must not be given to whatever the runtime opens first."""
    box.script("ls -l /proc/$$/fd > /tmp/fds; echo end > /tmp/end")
    box.save()
    before, box.command = box.command, ["bash", "-c", 'exec 0<&- 1>&- 2>&-; exec "$@"', "bash", *box.command]
    try:
        box.verb("run", "--bundle", str(box.bundle), box.id)
    finally:
        box.command = before
    if (box.rootfs / "tmp/end").exists():
        text = (box.rootfs / "tmp/fds").read_text()
        assert str(box.root) not in text
        assert "config.json" not in text
    box.clean()


# The inodes of standard input and error, and of the container's null device.
NULLS = 'for f in /proc/$$/fd/0 /proc/$$/fd/2 /dev/null; do stat -L -c "%d:%i" $f; done'


def test_the_null_device_of_the_host_does_not_come_with_stdio(box: Box) -> None:
    """Its owner and mode, which a container's root could change, are those of the whole host."""
    # By its name: steps that look it up come after those for the null device.
    box.args("sh", "-c", NULLS)
    box.save()
    words = ("run", "--bundle", str(box.bundle), box.id)
    child = box.spawn(*words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    stdin, stderr, own = child.communicate(timeout=60)[0].decode().split()
    assert stdin == stderr == own
    host = os.stat("/dev/null")
    assert own != f"{host.st_dev}:{host.st_ino}"


def test_the_null_device_of_the_host_does_not_come_with_exec(box: Box) -> None:
    box.sleeping()
    stdin, _, own = box.exec("sh", "-c", NULLS).ok().out.split()
    assert stdin == own
    mode = os.stat("/dev/null").st_mode
    box.exec_sh("chmod 600 /proc/self/fd/0; stat -c %a /dev/null")
    assert os.stat("/dev/null").st_mode == mode


def test_a_container_without_its_null_device_gets_no_other_by_exec(box: Box) -> None:
    box.sleeping()
    for change in ("rm /dev/null", "touch /dev/null", "rm /dev/null; ln -s zero /dev/null"):
        box.exec("/bin/sh", "-c", change, input="").ok()
        box.exec("/bin/true").failed("host's /dev/null", "the container's", "a pipe", code=255)
        box.exec("/bin/true", input="").ok()


@pytest.mark.parametrize("filled", [True, False])
def test_a_directory_of_the_host_as_dev_may_lack_the_null_device(box: Box, filled: bool) -> None:
    box.config["mounts"] = [mount for mount in box.mounts if not mount["destination"].startswith("/dev")]
    dev = box.place / "dev"
    dev.mkdir()
    if filled:
        os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    box.mount("/dev", source=str(dev))
    box.linux["maskedPaths"] = []
    box.args("sh", "-c", 'stat -L -c "%d:%i" /proc/self/fd/0')
    seen = os.stat(dev / "null" if filled else "/dev/null")
    assert box.run().ok().out == f"{seen.st_dev}:{seen.st_ino}\n"
