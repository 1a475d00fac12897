"""How containerd's shim, Docker, Podman and conmon call a runtime: their sequences of arguments, replayed.

The specification names operations and no command line; engines all use runc's. What is observed here are not
requirements of the specification (level ENGINE).
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from conformance.box import Box
from conformance.cases.cgroups import has_controller, limit_file
from conformance.container import Container, Result
from conformance.host import is_child, wait
from conformance.model import RuntimeFailed, case


class Shim:
    """containerd's: each call has the log first."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.log = box.directory / "log.json"

    def call(self, *arguments: str, **more: Any) -> Result:
        return self.box.call("--log", str(self.log), "--log-format", "json", *arguments, **more)

    def create(self, container: Container, *flags: str) -> Result:
        container.write_config()
        pid_file = container.bundle / "init.pid"
        with container.stdout.open("ab") as stdout:
            result = self.call(
                "create",
                "--bundle",
                str(container.bundle),
                "--pid-file",
                str(pid_file),
                *flags,
                container.id,
                stdout=stdout,
            )
        if result:
            container.pid = pid_in(pid_file)
        return result

    def must(self, result: Result) -> None:
        if not result:
            raise RuntimeFailed(str(result))

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def process_file(container: Container, name: str, **changes: Any) -> str:
    path = container.bundle / name
    path.write_text(json.dumps({**container.process, **changes}))
    return str(path)


def pid_in(file: Path) -> int:
    if not file.exists():
        raise RuntimeFailed(f"there is no {file.name} as --pid-file asked for")
    return int(file.read_text())


def reap(pid_file: Path) -> None:
    """End what exec started. Nobody else waits for it, and a PID namespace ends only after that."""
    pid = int(pid_file.read_text()) if pid_file.exists() else 0
    if pid and is_child(pid):
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@case("engines.version")
def the_version(box: Box) -> None:
    box.container().run()
    result = box.call("--version")
    found = re.match(r"\S+ version \S+", result.out)
    box.check("engines.version", result and found, f"it prints {result.out[:80]!r}")


@case("engines.containerd-lifecycle", "engines.containerd-log", "engines.containerd-delete-force")
def the_shim_s_lifecycle(box: Box) -> None:
    shim = Shim(box)
    container = box.container().runs("hold")
    shim.must(shim.create(container))
    shim.must(shim.call("start", container.id))
    shim.must(shim.call("state", container.id))
    container.report()
    killed = shim.call("kill", "--all", container.id, "9")
    container.ended()
    deleted = shim.call("delete", container.id)
    box.check("engines.containerd-lifecycle", killed and deleted, f"{killed}; {deleted}")
    again = shim.call("delete", "--force", container.id)
    box.check("engines.containerd-delete-force", again, str(again))
    failed = shim.call("start", container.id)
    records = shim.records()
    box.check(
        "engines.containerd-log",
        not failed and records and records[-1].get("level") == "error" and records[-1].get("msg"),
        f"start gave {failed.code}, the log's last line is {records[-1:]}",
    )


@case("engines.containerd-exec", "engines.containerd-ps", "engines.containerd-pause")
def the_shim_s_tasks(box: Box) -> None:
    shim = Shim(box)
    container = box.container().runs("hold").create().start()
    container.report()
    pid_file = container.bundle / "exec.pid"
    document = process_file(container, "exec.json", args=["/bin/probe", "hold"])
    output = container.bundle / "exec.out"
    with output.open("wb") as stdout:
        result = shim.call(
            "exec", "--process", document, "--pid-file", str(pid_file), "--detach", container.id,
            stdout=stdout,
        )
    shim.must(result)
    pid = pid_in(pid_file)
    reported = wait(lambda: output.read_text().count("\n"), box.patience)
    box.check("engines.containerd-exec", reported, "the process did not report")
    inside = os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(f"/proc/{container.pid}/ns/mnt")
    box.check("engines.containerd-exec", inside, "the process is in another mount namespace")
    listed = shim.call("ps", "--format", "json", container.id)
    try:
        pids = json.loads(listed.out)
    except ValueError:
        pids = None
    there = pids and {pid, container.pid} <= set(pids)
    box.check("engines.containerd-ps", there, f"it prints {listed.out!r}")
    paused = shim.call("pause", container.id)
    status = container.state().get("status")
    resumed = shim.call("resume", container.id)
    box.check(
        "engines.containerd-pause",
        paused and resumed and status == "paused" and container.state().get("status") == "running",
        f"{paused}; status {status}; {resumed}",
    )
    reap(pid_file)
    container.stop()


@case("engines.containerd-terminal", "engines.containerd-exec-terminal")
def the_shim_s_terminals(box: Box) -> None:
    shim = Shim(box)
    container = box.container().runs("hold")
    container.process["terminal"] = True
    console = box.console()
    result = shim.create(container, "--console-socket", str(console.path))
    if not result:
        raise RuntimeFailed(str(result))
    console.receive()
    container.start()
    line = console.line()
    box.proven |= line.startswith("{")
    box.check("engines.containerd-terminal", '"terminal": true' in line, f"it writes {line[:80]!r}")
    other = box.console()
    document = process_file(container, "exec.json", args=["/bin/probe", "report"])
    result = shim.call(
        "exec",
        "--console-socket",
        str(other.path),
        "--process",
        document,
        "--pid-file",
        str(container.bundle / "exec.pid"),
        "--detach",
        container.id,
    )
    if result:
        other.receive()
        line = other.line()
    good = result and '"terminal": true' in line
    box.check("engines.containerd-exec-terminal", good, f"{result}: {line[:80]!r}")
    reap(container.bundle / "exec.pid")
    container.stop()


@case("engines.containerd-events", "engines.containerd-update")
def the_shim_s_statistics(box: Box) -> None:
    shim = Shim(box)
    container = box.container().runs("hold").create().start()
    container.report()
    result = shim.call("events", "--stats", container.id)
    try:
        event = json.loads(result.out)
    except ValueError:
        event = {}
    good = (event.get("type"), event.get("id")) == ("stats", container.id) and "pids" in event.get("data", {})
    box.check("engines.containerd-events", result and good, f"{result}: {result.out[:80]!r}")
    if not has_controller("pids"):
        box.not_applicable("engines.containerd-update", "there is no cgroup controller pids")
    else:
        document = container.bundle / "resources.json"
        document.write_text(json.dumps({"pids": {"limit": 55}}))
        result = shim.call("update", "--resources", str(document), container.id)
        found = limit_file(container, "pids", "pids.max", "pids.max").read_text().strip()
        box.check("engines.containerd-update", result and found == "55", f"{result}; pids.max is {found}")
    container.stop()


@case("engines.no-pivot")
def without_pivot_root(box: Box) -> None:
    container = box.container("stat:/marker", "list:/")
    (container.rootfs / "marker").write_text("")
    report = container.create("--no-pivot").start().report()
    box.equal("engines.no-pivot", report.op("stat:/marker")["errno"], 0, "the errno of a file of the root")


@case("engines.docker-not-found")
def words_for_a_missing_program(box: Box) -> None:
    shim = Shim(box)
    box.container().run()
    for program, words in (
        ("no-such-program", ("executable file not found", "no such file or directory")),
        ("/bin/no-such-program", ("no such file or directory", "executable file not found")),
        ("/tmp", ("permission denied", "is a directory")),
    ):
        container = box.container()
        container.process["args"] = [program]
        result = shim.create(container) and shim.call("start", container.id)
        said = " ".join(str(record.get("msg", "")) for record in shim.records()[-1:]).lower()
        box.check(
            "engines.docker-not-found",
            not result and any(word in said for word in words),
            f"for {program}, it says {said!r}",
        )


# Executes the rest of its arguments with the two descriptors that the first two name as 3 and 4.
AS_3_AND_4 = """
import fcntl, os, sys
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 100) for number in sys.argv[1:3]]
for number, descriptor in enumerate(high, 3):
    os.dup2(descriptor, number)
os.execvp(sys.argv[3], sys.argv[3:])
"""


@case("engines.docker-preserve")
def descriptors_for_the_program(box: Box) -> None:
    container = box.container("list:/proc/self/fd")
    container.write_config()
    # The suite's own descriptors 3 and 4, in the runtime's hands.
    command = [box.runtime, "--root", str(box.root), "run", "--preserve-fds", "2", "--bundle"]
    reader, writer = os.pipe()
    with container.stdout.open("wb") as stdout:
        subprocess.run(
            [sys.executable, "-I", "-c", AS_3_AND_4, str(reader), str(writer), *command,
             str(container.bundle), container.id],
            stdout=stdout, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, pass_fds=(reader, writer),
            timeout=box.patience, check=False,
        )  # fmt: skip
    os.close(reader)
    os.close(writer)
    found = set(container.report().op("list:/proc/self/fd")["value"])
    # Another one is the directory that is listed.
    box.check("engines.docker-preserve", {"3", "4"} <= found and len(found) == 6, f"it has {sorted(found)}")


@case("engines.conmon-lifecycle", "engines.conmon-exec")
def conmon_s_calls(box: Box) -> None:
    container = box.container().runs("hold")
    container.write_config()
    options = ("--log-format=json", f"--log={box.directory / 'log'}")
    pid_file = container.bundle / "pidfile"
    with container.stdout.open("ab") as stdout:
        created = box.call(
            *options, "create", "--bundle", str(container.bundle), "--pid-file", str(pid_file), container.id,
            stdout=stdout,
        )  # fmt: skip
    if not created:
        raise RuntimeFailed(str(created))
    container.pid = pid_in(pid_file)
    started = box.call(*options, "start", container.id)
    container.report()
    missing = process_file(container, "missing.json", args=["/no-such-program"])
    arguments = ("exec", "--pid-file", str(container.bundle / "exec.pid"), "--process")
    refused = box.call(*options, *arguments, missing, "--detach", container.id)
    there = process_file(container, "there.json", args=["/bin/probe", "report"])
    done = box.call(*options, *arguments, there, "--detach", container.id)
    reap(container.bundle / "exec.pid")
    box.check("engines.conmon-exec", not refused and done, f"{refused}; {done}")
    killed = box.call(*options, "kill", container.id, "15")
    status = container.ended()
    deleted = box.call(*options, "delete", "--force", container.id)
    box.check(
        "engines.conmon-lifecycle",
        started and killed and deleted and status in (15, None),
        f"{started}; {killed}; it ended with {status}; {deleted}",
    )


@case("engines.podman-list", "engines.root")
def lists_of_containers(box: Box) -> None:
    container = box.container().runs("hold").create()
    listed = box.call("list", "--format", "json")
    try:
        ids = [entry["id"] for entry in json.loads(listed.out) or []]
    except (ValueError, TypeError, KeyError):
        ids = []
    quiet = box.call("list", "--quiet").out.split()
    box.check("engines.podman-list", container.id in ids and container.id in quiet, f"{ids} and {quiet}")
    elsewhere = subprocess.run(
        [box.runtime, "--root", str(Path(box.directory, "other-root")), "state", container.id],
        capture_output=True, timeout=box.patience, check=False,
    )  # fmt: skip
    box.check("engines.root", elsewhere.returncode != 0, "state with another --root knows it")
    container.must(container.call("delete", "--force"))
