"""docker run: the program, its streams and its end, with the flags that people use."""

import os
import signal
import termios
from pathlib import Path

import pytest
from engine import Docker
from look import pid_of
from machine import wait_for
from runs import IMAGE, run, script, start


def test_a_process_runs_with_its_exit_status_and_output(docker: Docker) -> None:
    assert run(docker, "", "echo", "hello").out == "hello\n"
    ended = script(docker, "", "echo sorry >&2; exit 7", code=7)
    assert (ended.out, ended.err) == ("", "sorry\n")
    # The end of what an init has started.
    script(docker, "--init", "kill -9 $$", code=137)


def test_a_program_that_is_not_there_is_status_127(docker: Docker) -> None:
    docker("run", "--name", "one", IMAGE, "no-such-program", "argument", code=127)
    docker("run", "--name", "two", "--entrypoint", "/no/such/program", IMAGE, code=127)
    states = docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "one", "two")
    assert states.out == "created 127\n" * 2


def test_what_cannot_be_executed_is_status_126(docker: Docker) -> None:
    docker("run", "--name", "one", IMAGE, "/etc/passwd", code=126)
    docker("run", "--name", "two", IMAGE, "/etc", code=126)
    states = docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "one", "two")
    assert states.out == "created 126\n" * 2


def test_what_docker_itself_refuses_reaches_no_runtime(docker: Docker) -> None:
    for flags in (
        "--workdir /etc/passwd",
        "--workdir relative",
        "--user nobody-here",
        "--user bob:no-such-group",
        "--device /dev/null:/dev/hole:q",
        "--cap-add NO_SUCH_CAPABILITY",
        "--sysctl kernel.panic=1",
        "--cpuset-cpus 4095",
        "--pid container:no-such-container",
    ):
        run(docker, flags, "true", code=125)
    # "no such file or directory", of whatever it is, is 127 for the client.
    run(docker, "--device /dev/no-such-device", "true", code=127)
    assert docker("ps", "--all", "--quiet").out == ""


def test_what_a_runtime_refuses_leaves_no_container(docker: Docker) -> None:
    refused = run(docker, "--volume /usr:/etc/passwd", "true", code=125)
    assert "Are you trying to mount a directory onto a file" in refused.err
    profile = docker.place.directory / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_NO_SUCH_ACTION"}')
    refused = run(docker, f"--security-opt seccomp={profile}", "true", code=125)
    assert "SCMP_ACT_NO_SUCH_ACTION" in refused.err
    assert docker("ps", "--all", "--quiet").out == ""


def test_a_kernel_parameter_that_does_not_exist(docker: Docker) -> None:
    refused = run(docker, "--sysctl net.ipv4.no_such=1", "true", code=None)
    assert "no_such" in refused.err


def test_a_shell_on_a_terminal(docker: Docker) -> None:
    console = docker.console("run", "--rm", "-it", "--env", "TERM=vt100", IMAGE, "sh", lines=40, columns=100)
    console.expect("# ")
    console.type("tty; echo [$TERM]\n")
    console.expect(r"\n/dev/pts/0\s+\[vt100\]")
    # The client tells the window's size once the container runs, and each change.
    console.type("until stty size | grep '40 100'; do sleep 0.1; done\n")
    console.expect("\n40 100")
    termios.tcsetwinsize(console.master, (50, 120))
    console.process.send_signal(signal.SIGWINCH)
    console.type("until stty size | grep '50 120'; do sleep 0.1; done\n")
    console.expect("\n50 120")
    # ^C interrupts what is in the foreground, once it is there.
    console.type("sh -c 'echo in front; exec sleep 1000'\n")
    console.expect("\nin front")
    console.type("\x03")
    console.expect("# ")
    console.type("exit 3\n")
    assert console.end() == 3


def test_standard_input_is_piped(docker: Docker) -> None:
    content = bytes(range(256)) * 4096
    ended = docker("run", "--rm", "-i", IMAGE, "sh", "-c", "wc -c; cat; echo end", stdin=content)
    assert ended.out == f"{len(content)}\nend\n"
    # Without -i there is none.
    assert docker("run", "--rm", IMAGE, "wc", "-c", stdin="text").out == "0\n"


def test_environment_directory_entrypoint_and_labels(docker: Docker) -> None:
    file = docker.place.directory / "env"
    file.write_text("FROM_FILE=yes\n# comment\nTWO=2\n")
    printed = docker(
        *["run", "--name", "one", "--env", "TWO=two words", "--env", "EMPTY=", "--env-file", str(file)],
        *["--workdir", "/made/for it", "--entrypoint", "sh", "--label", "kind=test", "--hostname", "one"],
        *[IMAGE, "-c", 'pwd; echo "$0"; env | sort', "zero"],
    ).out.splitlines()
    assert printed[:2] == ["/made/for it", "zero"]
    assert set(printed[2:]) == {
        *["EMPTY=", "FROM_FILE=yes", "HOME=/root", "HOSTNAME=one", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        *["PWD=/made/for it", "SHLVL=1", "TWO=two words"],
    }
    assert docker("ps", "--all", "--filter", "label=kind=test", "--format", "{{.Names}}").out == "one\n"


def test_annotations_reach_the_runtime(docker: Docker) -> None:
    if "--annotation " not in docker("run", "--help", compare=False).out:
        pytest.skip("docker run has --annotation from version 24 on")
    run(docker, "--annotation org.example.kind=test", "true")


def test_users_and_groups(docker: Docker) -> None:
    text = "id; echo $HOME; touch /root/x 2>/dev/null || echo refused; grep CapEff /proc/self/status"
    bob = script(docker, "--user bob --group-add www-data --group-add 777", text).out.splitlines()
    none = "CapEff:\t0000000000000000"
    assert bob[0] == "uid=1000(bob) gid=1000(bob) groups=33(www-data),50(staff),777,1000(bob)"
    assert bob[1:] == ["/home/bob", "refused", none]
    nobody = script(docker, "--user 4242:33", text).out.splitlines()
    assert nobody == ["uid=4242 gid=33(www-data) groups=33(www-data)", "/", "refused", none]


def test_a_detached_container_with_its_log_and_cidfile(docker: Docker) -> None:
    cidfile = docker.place.directory / "cidfile"
    text = "echo started; echo complaint >&2; exec sleep 1000"
    words = ("--detach", "--name", "one", "--cidfile", str(cidfile))
    printed = docker("run", *words, IMAGE, "sh", "-c", text).out
    assert cidfile.read_text() == printed.strip()
    cidfile.unlink()
    wait_for(lambda: docker("logs", "one", compare=False).err, "output in the log")
    logged = docker("logs", "one")
    assert (logged.out, logged.err) == ("started\n", "complaint\n")
    shown = docker("ps", "--format", "{{.Names}} {{.Image}} {{.Command}}").out
    assert shown.startswith(f"one {IMAGE} \"sh -c 'echo ")
    pid = pid_of(docker, "one")
    docker("rm", "--force", "one")
    assert not os.path.exists(f"/proc/{pid}")


def test_rm_removes_a_detached_container_at_its_end(docker: Docker) -> None:
    docker("volume", "prune", "--force", compare=False)
    docker("run", "--rm", "--detach", "--name", "one", "-v", "/anonymous", IMAGE, "sleep", "0.3")
    docker("wait", "one", code=None, compare=False)
    wait_for(lambda: not docker("ps", "--all", "--quiet", compare=False).out, "removal of the container")
    assert docker("volume", "ls", "--quiet").out == ""


def test_signals_for_the_client_are_the_containers(docker: Docker) -> None:
    text = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    proxied = docker.console("run", "--rm", IMAGE, "sh", "-c", text)
    proxied.expect("ready")
    proxied.process.terminate()
    proxied.expect("caught")
    assert proxied.end() == 5
    alone = docker.console("run", "--name", "one", "--sig-proxy=false", IMAGE, "sh", "-c", text)
    alone.expect("ready")
    alone.process.terminate()
    assert alone.end() not in {0, 5}
    assert docker("inspect", "--format", "{{.State.Status}}", "one").out == "running\n"


def test_the_stop_signal(docker: Docker) -> None:
    text = "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.1; done"
    start(docker, "--stop-signal USR1", "sh", "-c", text)
    wait_for(lambda: docker("logs", "one", compare=False).out, "the trap")
    docker("stop", "one")
    ended = docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "one")
    assert ended.out == "exited 5\n"
    assert docker("logs", "one").out == "ready\ncaught\n"


def test_an_init_reaps_orphans_and_passes_signals_on(docker: Docker) -> None:
    text = "(sleep 0.1 &); trap 'exit 6' TERM; sleep 0.3; echo ready; while :; do sleep 0.1; done"
    pid = start(docker, "--init", "sh", "-c", text)
    assert Path(f"/proc/{pid}/comm").read_text() == "docker-init\n"
    wait_for(lambda: docker("logs", "one", compare=False).out, "the trap")
    assert "\nZ" not in docker("exec", "one", "ps", "-o", "stat,comm", compare=False).out
    docker("stop", "one")
    assert docker("wait", "one").out == "6\n"
