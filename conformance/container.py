"""A bundle under an id, the operations of the runtime on it, and what is seen of its process."""

import copy
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance.host import cgroup_mounts, children, is_child, mount_points, wait
from conformance.model import RuntimeFailed

if TYPE_CHECKING:
    from conformance.box import Box

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
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
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
        if self.code is not None and self.code < 0:
            end = f"was ended by signal {-self.code}"
        # A report is no place for control sequences, which JUnit's XML could not even hold.
        said = "".join(c if c.isprintable() else " " for c in self.err or self.out)
        said = " ".join(said.split())
        return f"{self.verb}: {end}" + (f": {said[:SHOWN]}" if said else "")


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

    def hook(
        self,
        kind: str,
        label: str,
        *ops: str,
        status: int = 0,
        seconds: int = 0,
        **more: Any,
    ) -> None:
        """Add a hook that writes a line to the log, with the operations, takes its time and exits."""
        inside = kind == "startContainer"
        path = "/bin/probe" if inside else str(self.rootfs / "bin/probe")
        log = "/hooks.log" if inside else str(self.rootfs / "hooks.log")
        arguments = ["probe", "hook", label, log, str(status), str(seconds), *ops]
        entry = {"path": path, "args": arguments, **more}
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(entry)

    def log(self) -> list[dict[str, Any]]:
        """The hooks' and the program's lines, in the order in which they were written."""
        path = self.rootfs / "hooks.log"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        self.box.proven |= bool(found)
        return found

    def labels(self) -> list[str]:
        return [entry["label"] for entry in self.log()]

    def write_config(self) -> None:
        text = json.dumps(self.config, ensure_ascii=False)
        (self.bundle / "config.json").write_text(text, encoding="utf-8")

    # Operations

    def try_create(self, *flags: str, descriptors: tuple[int, ...] = ()) -> Result:
        self.write_config()
        pid_file = self.bundle / "pid"
        with self.stdout.open("ab") as stdout:
            arguments = ["create", "--bundle", str(self.bundle), "--pid-file", str(pid_file), *flags, self.id]
            result = self.box.call(*arguments, stdout=stdout, descriptors=descriptors)
        if result and pid_file.exists():
            self.pid = int(pid_file.read_text())
        return result

    def create(self, *flags: str, descriptors: tuple[int, ...] = ()) -> "Container":
        """Create it, and believe the runtime only after `state` says so of a process that exists."""
        self.must(self.try_create(*flags, descriptors=descriptors))
        state = self.state()
        if state.get("status") != "created":
            raise RuntimeFailed(f"after create, state says status {state.get('status')!r}")
        if not self.pid or self.pid != state.get("pid") or not os.path.exists(f"/proc/{self.pid}"):
            raise RuntimeFailed(f"after create, state says pid {state.get('pid')!r}, the pid file {self.pid}")
        if os.readlink(f"/proc/{self.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
            raise RuntimeFailed("after create, the container's process is in the runtime's mount namespace")
        self.box.proven = True
        return self

    def start(self) -> "Container":
        self.must(self.call("start"))
        return self

    def call(self, verb: str, *arguments: str) -> Result:
        return self.box.call(
            verb, *[*arguments[:1], self.id, *arguments[1:]] if verb == "delete" else [self.id, *arguments]
        )

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
        found = [json.loads(text) for text in texts if text.startswith("{")]
        self.box.proven |= bool(found)
        return found

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

    def ended(self) -> int | None:
        """Wait until the process has ended; its exit status (-N for a signal) where the suite can know it."""
        if not wait(self.gone, 0.5) and not wait(self.gone_with_others, self.box.patience):
            raise RuntimeFailed(f"the container's process {self.pid} did not end")
        return self.status

    def gone_with_others(self) -> bool:
        """As `gone`, and collect, as a subreaper has to, what else has died in the container: the first
        process of a PID namespace ends only once the others have been waited for."""
        for pid in children():
            try:
                others = pid != self.pid and self.id in Path(f"/proc/{pid}/cgroup").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if others and is_child(pid):
                os.waitpid(pid, os.WNOHANG)
        return self.gone()

    def report(self) -> "Report":
        """Wait for the probe's report."""
        if not wait(lambda: self.lines() or self.gone(), self.box.patience) or not self.lines():
            raise RuntimeFailed(
                "the container's process did not report"
                + (f": it ended with {self.status}" if self.gone() else "")
            )
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
        left += [
            f"process {pid}" for path in self.cgroups() for pid in (path / "cgroup.procs").read_text().split()
        ]
        left += [f"mount {point}" for point in mount_points() if point.startswith(f"{self.bundle}")]
        left += [f"state {path}" for path in self.box.root.rglob("*") if path.name == self.id]
        if self.call("state"):
            left.append("a state that can be queried")
        if self.pid and not self.gone():
            left.append(f"process {self.pid}")
        return sorted(set(left))

    def remains(self, pid: int) -> bool:
        """Whether a child is still there, which is waited for; the container's process is for `gone`."""
        return pid != self.pid and is_child(pid) and not os.waitpid(pid, os.WNOHANG)[0]

    def clean(self) -> None:
        if (
            self.cgroups()
            or not self.gone()
            or any(path.name == self.id for path in self.box.root.rglob("*"))
        ):
            self.call("delete", "--force")
        members = {int(pid) for path in self.cgroups() for pid in (path / "cgroup.procs").read_text().split()}
        for pid in members | ({self.pid} if self.pid and not self.gone() else set()):
            if is_child(pid):
                os.kill(pid, 9)
        # The first process of a PID namespace ends only once the others have been waited for.
        wait(lambda: not [pid for pid in members if self.remains(pid)] and self.gone(), 5)
        for path in self.cgroups():
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

    def value(self, op: str) -> str:
        """What an operation read; empty where it was not made, or failed."""
        return str(next((entry.get("value", "") for entry in self.values["ops"] if entry["op"] == op), ""))

    def must(self, op: str) -> Any:
        """The value of an operation that has to succeed."""
        found = self.op(op)
        if found["errno"]:
            raise RuntimeFailed(f"in the container, {op} gives {os.strerror(found['errno'])}")
        return found["value"]

    def mount(self, point: str) -> dict[str, Any]:
        """The last mount at this point, of the operation read:/proc/self/mountinfo; {} if there is none."""
        mounts = {}
        for line in self.op("read:/proc/self/mountinfo").get("value", "").splitlines():
            before, _, after = line.partition(" - ")
            fields, rest = before.split(), after.split(" ")  # the source may be empty
            mounts[fields[4]] = {
                "options": fields[5].split(","),
                "propagation": fields[6:],
                "type": rest[0],
                "source": rest[1],
                "super": rest[2].split(","),
            }
        return mounts.get(point, {})
