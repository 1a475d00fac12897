"""The same words mean the same to runc: neither takes for a mistake what the other understands."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pyrunc.cli.parser import UsageError, parse

RUNC = shutil.which("runc")

pytestmark = pytest.mark.skipif(RUNC is None, reason="runc is not installed")

UNDERSTOOD = """
    list
    list --format json
    list --format=json
    list -f json
    list -f=json
    list -format json
    list -q
    list --quiet
    list --quiet=false
    list --quiet=T
    -- list
    list --
    --debug list
    -debug list
    --debug=false list
    --log-format json list
    --rootless auto list
    --systemd-cgroup list
    events nobody
    events --stats nobody
    update nobody
    update --memory 64m --memory-swap -1 --memory-reservation 1g nobody
    update --cpu-quota -1 --cpu-period 0 --cpu-share 2 nobody
    update --cpu-rt-period 1 --cpu-rt-runtime 1 --cpuset-cpus 0 --cpuset-mems 0 nobody
    update --blkio-weight 100 --pids-limit -1 --kernel-memory 1 --kernel-memory-tcp 1 nobody
    update --l3-cache-schema x --mem-bw-schema y nobody
    update -r /dev/null nobody
    update nobody --resources -
    events --interval 1s nobody
    events nobody --interval=500ms
    state nobody
    state -- nobody
    start nobody
    pause nobody
    resume nobody
    delete nobody
    delete --force nobody
    delete -f nobody
    delete nobody --force
    delete nobody -f
    kill nobody
    kill nobody 9
    kill nobody KILL
    kill nobody SIGKILL
    kill --all nobody 9
    kill -a nobody KILL
    kill nobody KILL -a
    kill nobody -a KILL
    exec nobody true
    exec -t -d nobody true
    exec --tty --detach nobody true
    exec -e A=1 -e B=2 --cwd / --user 0:0 nobody true
    exec -u=1000 -g 5 -g 6 nobody true
    exec --cap CAP_KILL --cap CAP_CHOWN --no-new-privs nobody true
    exec --pid-file=/dev/null --preserve-fds 3 nobody true
    exec --preserve-fds 0x3 nobody true
    exec --apparmor p --process-label l --ignore-paused --cgroup x nobody true
    exec --process /dev/null nobody
    exec -p /dev/null nobody
    exec nobody sh -c false --nope
    exec -- nobody sh
    ps nobody
    ps --format json nobody
    ps nobody -aux
    ps nobody --format json
    create --bundle /nowhere nobody
    create -b /nowhere --pid-file p --console-socket s --no-pivot --no-new-keyring --preserve-fds 2 nobody
    create nobody --bundle /nowhere
    run --bundle /nowhere --keep --no-subreaper nobody
    run -d --bundle=/nowhere nobody
    --help
    -h
    help
    h
    help list
    list --help
    list -h
    --version
    -v
"""

MISTAKEN = """
    --nope
    --nope list
    list --nope
    list -z
    list --format
    list more
    list --quiet=perhaps
    --debug=perhaps list
    --root
    nope
    help nope
    state
    state a b
    start
    delete
    delete a b
    kill
    kill a 9 9
    exec
    ps
    pause
    pause a b
    resume
    create
    create a b
    create --preserve-fds
    create --preserve-fds x a
    run
    run a b
    run --detach=2 a
    exec --additional-gids x a true
    update
    update a b
    update --memory
    events
    events a b
    events --interval
    spec a
    features a
"""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def runc(words: list[str], root: Path) -> tuple[int, str]:
    assert RUNC is not None
    done = subprocess.run(
        [RUNC, "--root", str(root), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


def refused(words: list[str]) -> int:
    """The status for a command line that pyrunc does not understand, or 0."""
    try:
        given = parse(words)
    except UsageError as error:
        return error.status
    if given.verb == "help" and given.args and given.args[0] == "nope":
        return 3
    return 0


@pytest.mark.parametrize("line", lines(UNDERSTOOD))
def test_what_runc_understands_is_understood(line: str, tmp_path: Path) -> None:
    _, output = runc(line.split(), tmp_path)
    assert "Incorrect Usage" not in output
    assert "requires" not in output
    assert refused(line.split()) == 0


@pytest.mark.parametrize("line", lines(MISTAKEN))
def test_what_runc_refuses_is_refused_with_the_same_status(line: str, tmp_path: Path) -> None:
    status, _ = runc(line.split(), tmp_path)
    assert refused(line.split()) == status != 0
