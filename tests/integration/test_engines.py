"""How engines call a runtime: containerd's and dockerd's, and conmon's for podman."""

import json
import os
import subprocess
from pathlib import Path

from harness import Box, FdSocket, Terminal, alive, pids_in_cgroups, wait_for


def test_a_container_s_life_as_containerd_leads_it(box: Box) -> None:
    log = box.bundle / "log.json"
    glob = ["--log", str(log), "--log-format", "json"]
    pid_file = box.bundle / "init.pid"
    box.script("echo out; trap 'exit 0' TERM; while :; do usleep 10000; done")
    box.save()
    box.verb("create", "--bundle", str(box.bundle), "--pid-file", str(pid_file), box.id, glob=glob).ok()
    out = box.last_out
    pid = int(pid_file.read_text())
    box.verb("start", box.id, glob=glob).ok()
    wait_for(lambda: "out" in out.read_text(), "output")
    assert json.loads(box.verb("state", box.id, glob=glob).ok().out)["pid"] == pid
    assert json.loads(box.verb("ps", "--format", "json", box.id, glob=glob).ok().out)[0] == pid
    process = {**box.process, "args": ["/bin/sleep", "1000"]}
    (box.bundle / "exec.json").write_text(json.dumps(process))
    exec_pid = box.bundle / "exec.pid"
    words = [
        "exec",
        "--process",
        str(box.bundle / "exec.json"),
        "--detach",
        "--pid-file",
        str(exec_pid),
        box.id,
    ]
    box.verb(*words, glob=glob).ok()
    assert int(exec_pid.read_text()) in pids_in_cgroups(box.id)
    box.verb("kill", box.id, "15", glob=glob).ok()
    wait_for(lambda: not alive(pid), "its end")
    box.verb("kill", "--all", box.id, "9", glob=glob)
    box.verb("delete", box.id, glob=glob).ok()
    box.verb("delete", "--force", box.id, glob=glob).ok()
    box.clean()
    assert not log.exists() or "level" not in log.read_text() or '"level":"error"' not in log.read_text()


def test_a_failed_create_leaves_the_reason_in_the_log(box: Box) -> None:
    """containerd shows the last line of level error as the reason."""
    log = box.bundle / "log.json"
    glob = ["--log", str(log), "--log-format", "json"]
    box.args("no-such-program")
    box.save()
    assert box.verb("create", "--bundle", str(box.bundle), box.id, glob=glob).code == 1
    last = [json.loads(line) for line in log.read_text().splitlines()][-1]
    assert last["level"] == "error"
    assert "executable file not found in $PATH" in last["msg"]
    box.verb("delete", "--force", box.id, glob=glob).ok()
    box.clean()


def test_a_failed_exec_leaves_the_reason_in_the_log(box: Box) -> None:
    box.sleeping()
    log = box.bundle / "log.json"
    glob = ["--log", str(log), "--log-format", "json"]
    result = box.verb("exec", box.id, "no-such-program", glob=glob)
    assert result.code == 255
    last = [json.loads(line) for line in log.read_text().splitlines()][-1]
    assert "executable file not found in $PATH" in last["msg"]


def test_delete_after_a_crash_of_the_container(box: Box) -> None:
    pid = box.sleeping()
    os.kill(pid, 9)
    wait_for(lambda: not alive(pid), "its end")
    box.delete("--force").ok()
    box.clean()


def test_delete_works_when_the_bundle_is_gone(box: Box) -> None:
    """Engines remove the bundle first at times."""
    box.sleeping()
    os.rename(box.bundle, box.place / "moved")
    assert box.status() == "running"
    box.kill("KILL").ok()
    box.delete("--force").ok()
    box.clean()


def test_start_and_exec_do_not_read_the_bundle_again(box: Box) -> None:
    """What was created is what starts, whatever became of config.json."""
    box.script("echo original; sleep 1000")
    box.create().ok()
    out = box.last_out
    box.script("echo changed")
    box.save()
    box.start().ok()
    wait_for(lambda: "original" in out.read_text(), "output")
    assert box.exec("/bin/echo", "x").ok().out == "x\n"


def reaped(box: Box, *verbs: list[str]) -> int:
    """The exit status that a shim sees: a subreaper, whose child the process of --pid-file becomes."""
    shim = (
        "import ctypes, json, os, subprocess, sys\n"
        "assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0\n"  # PR_SET_CHILD_SUBREAPER
        "pid_file, commands = sys.argv[1], json.loads(sys.argv[2])\n"
        "for command in commands:\n"
        "    subprocess.run(command, check=True)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(int(open(pid_file).read()), 0)[1]))\n"
    )
    commands = [[*box.command, "--root", str(box.root), *words] for words in verbs]
    words = ["/usr/bin/python3", "-c", shim, str(box.place / "pid"), json.dumps(commands)]
    ended = subprocess.run(words, capture_output=True, env=box.environment(), timeout=60, check=True)
    return int(ended.stdout)


def test_the_caller_as_a_subreaper_gets_the_container_as_its_child(box: Box) -> None:
    box.script("exit 23")
    box.save()
    create = ["create", "--bundle", str(box.bundle), "--pid-file", str(box.place / "pid"), box.id]
    assert reaped(box, create, ["start", box.id]) == 23


def test_the_caller_as_a_subreaper_gets_a_detached_exec_as_its_child(box: Box) -> None:
    box.sleeping()
    flags = ["--detach", "--pid-file", str(box.place / "pid")]
    assert reaped(box, ["exec", *flags, box.id, "/bin/sh", "-c", "exit 31"]) == 31


def test_a_terminal_container_as_conmon_makes_it(box: Box) -> None:
    listener = FdSocket(box.place / "attach.sock")
    box.process["terminal"] = True
    box.process["consoleSize"] = {"height": 40, "width": 120}
    box.script("stty size; read x; echo got:$x")
    box.save()
    log = box.place / "oci-log"
    glob = ["--log-format=json", "--log", str(log)]
    words = ["create", "--bundle", str(box.bundle), "--pid-file", str(box.place / "pidfile")]
    box.verb(*words, "--console-socket", listener.path, box.id, glob=glob).ok()
    terminal = Terminal(listener.receive()[1])
    listener.close()
    box.start().ok()
    terminal.read_until("40 120")
    terminal.write("x\n")
    terminal.read_until("got:x")
    terminal.close()


def test_version_reads_as_dockerd_parses_it(box: Box) -> None:
    """dockerd looks for `NAME version V` and lines of `commit:` and `spec:`."""
    lines = box.verb("--version").ok().out.splitlines()
    words = lines[0].split()
    assert words[1] == "version"
    assert any(line.startswith("spec: 1.") for line in lines)


def test_features_is_a_document_that_engines_read(box: Box) -> None:
    document = json.loads(box.verb("features").ok().out)
    assert document["ociVersionMin"].startswith("1.")
    assert document["ociVersionMax"].startswith("1.")
    assert set(document["hooks"]) >= {
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    }
    assert "rbind" in document["mountOptions"]
    assert "network" in document["linux"]["namespaces"]
    assert "CAP_CHOWN" in document["linux"]["capabilities"]


def test_the_default_bundle_of_spec_runs(box: Box) -> None:
    box.verb("spec", "--bundle", str(box.bundle)).ok()
    config = json.loads((box.bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/echo", "hello"]
    box.config = config
    assert box.run().ok().out == "hello\n"


def test_spec_does_not_overwrite_a_configuration(box: Box) -> None:
    box.save()
    text = (box.bundle / "config.json").read_text()
    box.verb("spec", "--bundle", str(box.bundle)).failed("config.json")
    assert (box.bundle / "config.json").read_text() == text


def test_a_docker_like_configuration_runs(box: Box, parent_cgroup: str) -> None:
    """Bound files of the engine, a network namespace by path, a tmpfs /dev/shm, hooks, a cgroup path."""
    box.linux["cgroupsPath"] = f"/{parent_cgroup}/{box.id}"
    for name in ("resolv.conf", "hostname", "hosts"):
        (box.place / name).write_text(f"{name}\n")
        box.mount(f"/etc/{name}", source=str(box.place / name), options=["rbind", "rprivate"])
    box.linux["resources"].update(
        {"memory": {"limit": 64 << 20}, "cpu": {"shares": 512}, "pids": {"limit": 100}},
    )
    assert box.sh("cat /etc/hostname /etc/hosts; pwd").split() == ["hostname", "hosts", "/"]
    box.clean()


def test_a_relative_cgroup_path(box: Box, parent_cgroup: str) -> None:
    box.linux["cgroupsPath"] = f"{parent_cgroup}/{box.id}"
    pid = box.sleeping()
    assert f"{parent_cgroup}/{box.id}" in Path(f"/proc/{pid}/cgroup").read_text()
    box.delete("--force").ok()
    box.clean()


def test_a_privileged_container_has_ptmx_among_its_devices(box: Box) -> None:
    """Engines then list what the host has in /dev; the container's terminals are still its own."""
    box.linux["devices"] = [
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 0o666},
        {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o666},
    ]
    assert box.sh("readlink /dev/ptmx") == "pts/ptmx\n"


def test_a_directory_on_a_file_and_a_file_on_a_directory(box: Box) -> None:
    """Docker adds a hint where it reads these words."""
    box.mount("/etc/passwd", source=str(box.place), options=["rbind"])
    box.args("/bin/true")
    message = box.run().failed("/mounts/").err.lower()
    # The other words would be taken for a command that cannot be executed.
    assert "not a directory" in message and "is a directory" not in message
    box.clean()
    box.config["mounts"].pop()
    (box.place / "file").write_text("")
    box.mount("/tmp", source=str(box.place / "file"), options=["rbind"])
    message = box.run().failed("/mounts/").err.lower()
    # The other words would be taken for a command that cannot be executed.
    assert "not a directory" in message and "is a directory" not in message
    box.clean()
