"""A case's workplace: bundles, the runtime under test, and what is left behind.

Everything that a case makes is registered here, and `Box.clean` removes it whatever happened. Processes are
ended by id, and only while they are the suite's own children: as a subreaper, the suite inherits what the
runtime leaves, so that an id cannot have been reused.
"""

import array
import copy
import json
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from conformance.model import MET, NOT_APPLICABLE, VIOLATED, Observation, RuntimeFailed

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
BASE: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/probe", "report"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
    },
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
}
SHOWN = 300  # characters of a runtime's own message in a report


class Result(NamedTuple):
    """What a run of the runtime gave: `code` is None when it did not return in time."""

    verb: str
    code: int | None
    out: str
    err: str

    def __bool__(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        end = "did not return in time" if self.code is None else f"exit status {self.code}"
        said = " ".join((self.err or self.out).split())
        return f"{self.verb}: {end}" + (f": {said[:SHOWN]}" if said else "")


def cgroup_mounts() -> dict[str, list[str]]:
    """Where cgroup hierarchies are mounted, each with its v1 controllers (none for v2)."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        number, point = before.split()[2], before.split()[4]
        type, _, options = after.split()
        if type not in ("cgroup", "cgroup2") or not os.path.isdir(point):
            continue
        device = os.stat(point).st_dev  # of another mount, if one hides this
        if number == f"{os.major(device)}:{os.minor(device)}":
            known = options.split(",") if type == "cgroup" else []
            found[point] = [name for name in known if name not in ("rw", "ro", "xattr", "clone_children")]
    return found


def mount_points(pid: int | str = "self") -> list[str]:
    return [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]


def is_child(pid: int) -> bool:
    """Whether pid is a child of the suite that nobody has waited for (a zombie too)."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class Container:
    """A bundle under an id, and the operations on it. Change `config` before `create`."""

    def __init__(self, box: "Box", id: str) -> None:
        self.box = box
        self.id = id
        self.bundle = box.directory / f"bundle-{id}"
        self.rootfs = self.bundle / "rootfs"
        for name in ("bin", "dev", "proc", "sys", "tmp"):
            (self.rootfs / name).mkdir(parents=True)
        os.link(box.probe, self.rootfs / "bin/probe")
        self.config = copy.deepcopy(BASE)
        self.config["linux"]["cgroupsPath"] = f"/{id}"
        self.stdout = self.bundle / "stdout"
        self.pid = 0
        self.status: int | None = None  # of the process, once the suite has reaped it
        self._reaping = threading.Lock()

    # The bundle

    @property
    def process(self) -> Any:
        return self.config["process"]

    @property
    def linux(self) -> Any:
        return self.config["linux"]

    def runs(self, mode: str, *ops: str) -> "Container":
        """The process is the probe in this mode (see probe.c)."""
        self.process["args"] = ["/bin/probe", mode, *ops]
        return self

    def mount(self, destination: str, type: str, source: str, *options: str) -> None:
        self.config["mounts"].append(
            {"destination": destination, "type": type, "source": source, "options": list(options)}
        )

    def namespace(self, kind: str, path: str | None = None) -> None:
        others = [entry for entry in self.linux["namespaces"] if entry["type"] != kind]
        self.linux["namespaces"] = [*others, {"type": kind} | ({"path": path} if path else {})]

    def without_namespace(self, kind: str) -> None:
        self.linux["namespaces"] = [entry for entry in self.linux["namespaces"] if entry["type"] != kind]

    def hook(self, kind: str, label: str, status: int = 0, seconds: int = 0, **more: Any) -> None:
        """Add a hook that writes a line to the log, takes its time and exits."""
        inside = kind == "startContainer"
        path = "/bin/probe" if inside else str(self.rootfs / "bin/probe")
        log = "/hooks.log" if inside else str(self.rootfs / "hooks.log")
        entry = {"path": path, "args": ["probe", "hook", label, log, str(status), str(seconds)], **more}
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(entry)

    def log(self) -> list[dict[str, Any]]:
        """The hooks' and the program's lines, in the order in which they were written."""
        path = self.rootfs / "hooks.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def labels(self) -> list[str]:
        return [entry["label"] for entry in self.log()]

    def write_config(self) -> None:
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    # Operations

    def try_create(self, *flags: str) -> Result:
        self.write_config()
        pid_file = self.bundle / "pid"
        with self.stdout.open("ab") as stdout:
            arguments = ["create", "--bundle", str(self.bundle), "--pid-file", str(pid_file), *flags, self.id]
            result = self.box.call(*arguments, stdout=stdout)
        if result and pid_file.exists():
            self.pid = int(pid_file.read_text())
        return result

    def create(self, *flags: str) -> "Container":
        """Create it, and believe the runtime only after `state` says so of a process that exists."""
        self.must(self.try_create(*flags))
        state = self.state()
        if state.get("status") != "created":
            raise RuntimeFailed(f"after create, state says status {state.get('status')!r}")
        if not self.pid or self.pid != state.get("pid") or not os.path.exists(f"/proc/{self.pid}"):
            raise RuntimeFailed(f"after create, state says pid {state.get('pid')!r}, the pid file {self.pid}")
        return self

    def start(self) -> "Container":
        self.must(self.call("start"))
        return self

    def call(self, verb: str, *arguments: str) -> Result:
        return self.box.call(verb, *[*arguments[:1], self.id, *arguments[1:]] if verb == "delete" else
                             [self.id, *arguments])

    def must(self, result: Result) -> Result:
        if not result:
            raise RuntimeFailed(str(result))
        return result

    def state(self) -> dict[str, Any]:
        result = self.must(self.call("state"))
        try:
            state = json.loads(result.out)
        except ValueError:
            state = None
        if not isinstance(state, dict):
            raise RuntimeFailed(f"state printed no JSON object: {result.out[:SHOWN]!r}")
        return state

    def delete(self) -> None:
        self.must(self.call("delete"))

    # Observations

    def lines(self) -> list[dict[str, Any]]:
        """What the probe printed."""
        texts = self.stdout.read_text().splitlines() if self.stdout.exists() else []
        return [json.loads(text) for text in texts if text.startswith("{")]

    def gone(self) -> bool:
        """Whether the process has ended. The suite reaps it when it is its child, as engines do."""
        with self._reaping:
            if not self.pid:
                return True
            if self.status is None and is_child(self.pid):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.status = os.waitstatus_to_exitcode(status)
                return pid != 0
            return self.status is not None or not os.path.exists(f"/proc/{self.pid}")

    def ended(self, timeout: float = 10) -> int | None:
        """Wait until the process has ended; its exit status (-N for a signal) where the suite can know it."""
        if not wait(self.gone, timeout):
            raise RuntimeFailed(f"the container's process {self.pid} did not end")
        return self.status

    def report(self) -> "Report":
        """Wait for the probe's report."""
        if not wait(lambda: self.lines() or self.gone(), 10) or not self.lines():
            raise RuntimeFailed("the container's process did not report" +
                                (f": it ended with {self.status}" if self.gone() else ""))
        return Report(self.lines()[0])

    def run(self) -> "Report":
        """Create, start, and the report; the process may still be there."""
        return self.create().start().report()

    def stop(self) -> None:
        """End a `hold` process by the runtime's own kill."""
        self.must(self.call("kill", "KILL"))
        self.ended()

    def cgroups(self) -> list[Path]:
        return [Path(mount, self.id) for mount in cgroup_mounts() if Path(mount, self.id).is_dir()]

    def left_behind(self) -> list[str]:
        """What should not be there when this container is not: state, cgroups, processes, mounts."""
        left = [f"cgroup {path}" for path in self.cgroups()]
        left += [f"process {pid}" for path in self.cgroups() for pid in (path / "cgroup.procs").read_text().split()]
        left += [f"mount {point}" for point in mount_points() if point.startswith(f"{self.bundle}")]
        left += [f"state {path}" for path in self.box.root.rglob("*") if path.name == self.id]
        if self.call("state"):
            left.append("a state that can be queried")
        if self.pid and not self.gone():
            left.append(f"process {self.pid}")
        return sorted(set(left))

    def clean(self) -> None:
        if self.cgroups() or not self.gone() or any(path.name == self.id for path in self.box.root.rglob("*")):
            self.call("delete", "--force")
        if self.pid and not self.gone() and is_child(self.pid):
            os.kill(self.pid, 9)
            wait(self.gone, 5)
        for path in self.cgroups():
            for pid in (path / "cgroup.procs").read_text().split():
                if is_child(int(pid)):
                    os.kill(int(pid), 9)
                    os.waitpid(int(pid), 0)
            for directory, _, _ in os.walk(path, topdown=False):
                os.rmdir(directory)
        for point in reversed(mount_points()):
            if point.startswith(f"{self.bundle}"):
                subprocess.run(["umount", "-l", point], check=False)


class Report:
    """The probe's report; `op("stat:/dev/null")` is what that operation gave."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def op(self, op: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = [entry for entry in self.values["ops"] if entry["op"] == op]
        if not found:
            raise KeyError(op)
        return found[0]

    def mount(self, point: str) -> dict[str, Any]:
        """The last mount at this point, of the operation read:/proc/self/mountinfo; {} if there is none."""
        mounts = {}
        for line in self.op("read:/proc/self/mountinfo").get("value", "").splitlines():
            before, _, after = line.partition(" - ")
            fields, rest = before.split(), after.split()
            mounts[fields[4]] = {"options": fields[5].split(","), "propagation": fields[6:], "type": rest[0],
                                 "source": rest[1], "super": rest[2].split(",")}
        return mounts.get(point, {})


class Console:
    """The socket at which a runtime hands over a terminal's master (runc's --console-socket)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.settimeout(10)
        self.master = -1

    def receive(self) -> None:
        try:
            connection = self.listener.accept()[0]
            with connection:
                connection.settimeout(10)
                data = connection.recvmsg(4096, socket.CMSG_SPACE(4))[1]
        except TimeoutError as error:
            raise RuntimeFailed("no terminal was sent to the console socket") from error
        if not data:
            raise RuntimeFailed("the message at the console socket has no descriptor")
        self.master = array.array("i", data[0][2][:4])[0]

    def line(self, timeout: float = 10) -> str:
        """The first line that the container writes to its terminal."""
        text = b""
        deadline = time.monotonic() + timeout
        while b"\n" not in text and select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                text += os.read(self.master, 65536)
            except OSError:  # EIO: nobody has the other end any more
                break
        return text.decode("latin-1").partition("\n")[0]

    def close(self) -> None:
        self.listener.close()
        if self.master >= 0:
            os.close(self.master)


class Box:
    """One case's directory and observations."""

    def __init__(self, runtime: str, probe: Path, directory: Path, name: str, requirements: tuple[str, ...]) -> None:
        self.runtime = runtime
        self.probe = probe
        self.directory = directory
        self.root = directory / "state"
        self.name = name
        self.requirements = requirements
        self.observations: list[Observation] = []
        self._containers: list[Container] = []
        self._consoles: list[Console] = []
        self._calls = 0
        directory.mkdir(mode=0o711)

    def container(self, *ops: str) -> Container:
        """A new bundle; the process is `probe report OPS`."""
        # The name is also the cgroup's: unique on this machine.
        found = Container(self, f"conformance-{os.getpid()}-{self.directory.name}-{len(self._containers)}")
        self._containers.append(found)
        return found.runs("report", *ops)

    def console(self) -> Console:
        found = Console(self.directory / f"console-{len(self._consoles)}")
        self._consoles.append(found)
        return found

    def call(self, *arguments: str, stdout: Any = None, timeout: float = 20) -> Result:
        """Run the runtime. Its output goes to files: a container may keep them open."""
        self._calls += 1
        out, err = (self.directory / f"{self._calls}.{name}" for name in ("out", "err"))
        command = [self.runtime, "--root", str(self.root), *arguments]
        with out.open("wb") as out_file, err.open("wb") as err_file:
            try:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout or out_file,
                                           stderr=err_file, cwd=self.directory, start_new_session=True)
            except OSError as error:
                raise RuntimeFailed(f"{self.runtime} cannot be run: {error.strerror}") from error
            try:
                code: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
        return Result(arguments[0], code, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def check(self, requirement: str, good: object, detail: str = "") -> None:
        """Say of one declared requirement whether it was seen to hold."""
        if requirement not in self.requirements:
            raise ValueError(f"{self.name} does not declare {requirement}")
        self.observations.append(
            Observation(requirement, self.name, MET if good else VIOLATED, "" if good else detail)
        )

    def equal(self, requirement: str, found: object, wanted: object, what: str) -> None:
        self.check(requirement, found == wanted, f"{what} is {found!r}, not {wanted!r}")

    def not_applicable(self, requirement: str, reason: str) -> None:
        self.observations.append(Observation(requirement, self.name, NOT_APPLICABLE, reason))

    def refused(self, requirement: str, good: Callable[[Container], object], bad: Callable[[Container], object],
                what: str, unchanged: str = "", at_start: bool = False) -> Container:
        """A bundle with `bad` has to be refused by a runtime that makes the same bundle with `good`.

        The latter keeps a runtime that refuses everything from meeting anything. `unchanged` is the
        requirement that nothing is left behind. `at_start`: the error may come as late as that, since
        runtime.md lets a runtime apply `process` then.
        """
        control = self.container()
        good(control)
        control.create()
        control.must(control.call("delete", "--force"))
        tried = self.container()
        bad(tried)
        result = tried.try_create()
        if result.code is None:
            raise RuntimeFailed(str(result))
        late = bool(result) and at_start and not tried.call("start")
        self.check(requirement, not result or late, f"{what} is no error")
        if unchanged and not result:
            left = tried.left_behind()
            self.check(unchanged, not left, f"{what} is an error, but these stay: {', '.join(left)}")
        return tried

    def clean(self) -> None:
        for console in self._consoles:
            console.close()
        for container in self._containers:
            container.clean()
        shutil.rmtree(self.directory)


def wait(condition: Callable[[], object], timeout: float) -> bool:
    """Poll: the kernel has no notification for most of what the suite waits for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
