"""A bundle, a state root and the runtime under test, as a user holds them in hand.

Tests change `box.config` and call verbs; what happened is then read from inside the container
(busybox's output) or from the host's /proc and /sys, never from the runtime's own word alone.
Every runtime with runc's command line can be put in PYRUNC, which is how the tests themselves are
checked: an expectation that runc does not meet is marked with `beyond_runc`.
"""

import array
import copy
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import termios
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

BUSYBOX = "/usr/bin/busybox"
APPLETS = (
    "awk basename cat chmod chown chroot cp cut date dd df dirname dnsdomainname echo env expr false "
    "find grep head hostname id ifconfig ip ipcalc kill killall linux32 ln ls md5sum mkdir mkfifo "
    "mknod mktemp mount mv nc nproc nsenter od pivot_root printenv printf ps pwd readlink realpath "
    "rm rmdir sed seq setpriv setsid sh sleep sort stat stty sync sysctl tail tee test timeout touch "
    "tr true tty umount uname unshare usleep wc xargs yes"
).split()
DEFAULT_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
DEFAULT_CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/true"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
        "capabilities": {
            "bounding": DEFAULT_CAPABILITIES,
            "effective": DEFAULT_CAPABILITIES,
            "permitted": DEFAULT_CAPABILITIES,
        },
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": False},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {
            "destination": "/dev/mqueue",
            "type": "mqueue",
            "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
    ],
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [
            {"type": "pid"},
            {"type": "network"},
            {"type": "ipc"},
            {"type": "uts"},
            {"type": "mount"},
        ],
        "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
}
ALL_NAMESPACES = {  # the configuration's name for a namespace: its file in /proc/PID/ns
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}


def wait_for(condition: Callable[[], object], what: str, timeout: float = 15) -> Any:
    """Wait until condition() is true and return its value; nothing in the kernel tells us of most changes."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out waiting for {what}")
        time.sleep(0.01)


def proc_status(pid: int | str) -> dict[str, str]:
    """/proc/PID/status as a dict of stripped strings."""
    return parse_status(Path(f"/proc/{pid}/status").read_text())


def parse_status(text: str) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def namespace(pid: int | str, kind: str) -> str:
    """The identity of a process's namespace, such as `uts:[4026531838]`."""
    return os.readlink(f"/proc/{pid}/ns/{ALL_NAMESPACES.get(kind, kind)}")


def parse_mountinfo(text: str) -> list[dict[str, Any]]:
    """Lines of /proc/PID/mountinfo: root, at, options, propagation, type, source, super (options)."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        words, rest = left.split(), right.split()
        mounts.append(
            {
                "root": words[3],
                "at": words[4],
                "options": set(words[5].split(",")),
                "propagation": words[6:],
                "type": rest[0],
                "source": rest[1],
                "super": set(rest[2].split(",")),
            }
        )
    return mounts


def cgroup_roots() -> list[str]:
    """Every mounted cgroup hierarchy of the host, v1 and v2."""
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    return [m["at"] for m in mounts if m["type"] in ("cgroup", "cgroup2")]


def cgroup_of(pid: int, controller: str) -> Path:
    """The cgroup that a process is in, in the hierarchy that has the controller: v1's, else v2."""
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    paths = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        paths.update(dict.fromkeys(names.split(","), path))
    for mount in mounts:
        if mount["type"] == "cgroup" and controller in paths and controller in mount["super"]:
            return Path(mount["at"] + paths[controller])
    unified = next(mount["at"] for mount in mounts if mount["type"] == "cgroup2")
    return Path(unified + paths[""])


def cgroups_named(name: str) -> list[str]:
    """Directories of cgroups whose path holds name, in any hierarchy."""
    # Not os.walk, which calls itself for each level: a container nests its cgroups as deep as it likes.
    command = ["find", *cgroup_roots(), "-mindepth", "1", "-type", "d", "-name", f"*{name}*"]
    found = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return os.fsdecode(found.stdout).splitlines()


def pids_in_cgroups(name: str) -> list[int]:
    """Processes that are in a cgroup whose path holds name."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path(f"/proc/{entry}/cgroup").read_text()
        except OSError:  # the process ended meanwhile
            continue
        if name in text:
            found.append(int(entry))
    return found


def pids_with_environment(word: bytes) -> list[int]:
    """Processes (not zombies) that were started with word in their environment."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            text = Path(f"/proc/{entry}/environ").read_bytes()
        except OSError:
            continue
        if word in text:
            found.append(int(entry))
    return found


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return proc_status(pid)["State"][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Result:
    """What a verb left: exit code, stdout, stderr. The words of messages are pyrunc's own promise."""

    def __init__(self, code: int, out: str, err: str, *, check_words: bool = True) -> None:
        self.code, self.out, self.err, self.check_words = code, out, err, check_words

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def ok(self) -> "Result":
        assert self.code == 0, self
        return self

    def failed(self, *words: str, code: int = 1) -> "Result":
        """Exit status `code`, and a message (stderr) with all the words, whatever their case."""
        assert self.code == code, self
        assert "Traceback" not in self.err, self
        assert self.err, "no message"
        for word in words if self.check_words else ():
            assert word.lower() in self.err.lower(), f"no {word!r} in the message: {self}"
        return self


class Box:
    """A bundle with a busybox root file system and one container id; `place` is a short private directory."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.is_runc = os.path.basename(self.command[0]) == "runc"
        self.place = Path(tempfile.mkdtemp(prefix="box", dir="/tmp"))
        self.place.chmod(0o755)
        self.bundle = self.place / "bundle"
        self.rootfs = self.bundle / "rootfs"
        self.root = self.place / "state"
        self.id = f"box-{uuid.uuid4().hex[:12]}"
        self.ids = {self.id}
        self.config = copy.deepcopy(DEFAULT_CONFIG)
        self.marker = f"PYRUNC_TEST={self.id}"
        self._outputs = 0
        self.background: list[subprocess.Popen[bytes]] = []
        try:
            make_rootfs(self.rootfs)
        except BaseException:  # of a full disk, say
            shutil.rmtree(self.place)
            raise

    # -- the configuration

    @property
    def process(self) -> dict[str, Any]:
        process: dict[str, Any] = self.config["process"]
        return process

    @property
    def linux(self) -> dict[str, Any]:
        linux: dict[str, Any] = self.config["linux"]
        return linux

    @property
    def mounts(self) -> list[dict[str, Any]]:
        mounts: list[dict[str, Any]] = self.config["mounts"]
        return mounts

    def args(self, *words: str) -> None:
        self.process["args"] = list(words)

    def script(self, text: str) -> None:
        self.args("/bin/sh", "-c", text)

    def capabilities(self, *names: str) -> None:
        """Give the process these capabilities beside the default ones."""
        for group in ("bounding", "effective", "permitted"):
            self.process["capabilities"][group] = sorted({*self.process["capabilities"][group], *names})

    def namespaces(self, *kinds: str, **paths: str) -> None:
        """Exactly these namespaces, those of `paths` joined."""
        self.linux["namespaces"] = [{"type": kind} for kind in kinds] + [
            {"type": kind, "path": path} for kind, path in paths.items()
        ]

    def add_namespace(self, kind: str, path: str | None = None) -> None:
        entry = {"type": kind} if path is None else {"type": kind, "path": path}
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] != kind] + [entry]

    def drop_namespace(self, kind: str) -> None:
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] != kind]

    def user_namespace(self, host: int = 100000, size: int = 65536) -> None:
        """Map 0..size of the container to host..; the root file system belongs to the container's root."""
        self.add_namespace("user")
        self.linux["uidMappings"] = [{"containerID": 0, "hostID": host, "size": size}]
        self.linux["gidMappings"] = [{"containerID": 0, "hostID": host, "size": size}]
        chown_tree(self.rootfs, host, host)

    def mount(
        self, destination: str, type: str = "bind", source: str = "", options: Sequence[str] = ()
    ) -> None:
        entry: dict[str, Any] = {"destination": destination, "type": type, "options": list(options)}
        entry["source"] = source or type
        if type == "bind" and not {"bind", "rbind"} & set(options):
            entry["options"].insert(0, "bind")
        self.mounts.append(entry)

    def hook(self, kind: str, script: str, **fields: Any) -> None:
        """Add a hook that runs a script with the host's shell."""
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script], **fields}
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(hook)

    def save(self) -> None:
        self.write_config(json.dumps(self.config))

    def write_config(self, text: str) -> None:
        (self.bundle / "config.json").write_text(text)

    # -- verbs

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        name, _, value = self.marker.partition("=")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LISTEN_", "NOTIFY_"))}
        return {**environment, name: value, **(extra or {})}

    def spawn(
        self, *words: str, glob: Sequence[str] = (), env: dict[str, str] | None = None, **options: Any
    ) -> Any:
        """Start `runtime --root ROOT WORDS…` and return the Popen; what still runs at the end is killed."""
        options.setdefault("stdin", subprocess.DEVNULL)
        owner = self.root.stat() if self.root.exists() else None
        if owner and owner.st_uid != os.geteuid():
            # Nobody else may act on a user's containers.
            options = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": [], **options}
        command = [*self.command, "--root", str(self.root), *glob, *words]
        options.setdefault("cwd", self.place)
        child = subprocess.Popen(command, env=self.environment(env), **options)
        self.background.append(child)
        return child

    def verb(
        self,
        *words: str,
        glob: Sequence[str] = (),
        input: str | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 60,
        **options: Any,
    ) -> Result:
        """Run a verb to its end. Its stdout and stderr are files, since a container may keep them open."""
        self._outputs += 1
        out, err = self.place / f"out{self._outputs}", self.place / f"err{self._outputs}"
        self.last_out, self.last_err = out, err
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            if input is not None:
                (self.place / "stdin").write_text(input)
                options["stdin"] = open(self.place / "stdin", "rb")
            child = self.spawn(*words, glob=glob, env=env, stdout=stdout, stderr=stderr, **options)
            try:
                child.wait(timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                raise AssertionError(f"{words} did not end:\n{out.read_text()}\n{err.read_text()}") from None
            finally:
                if input is not None:
                    options["stdin"].close()
        code = child.returncode
        texts = out.read_text(errors="replace"), err.read_text(errors="replace")
        return Result(code if code >= 0 else 128 - code, *texts, check_words=not self.is_runc)

    def output(self) -> str:
        """What the last verb's stdout holds by now; a detached container goes on writing to it."""
        return self.last_out.read_text(errors="replace")

    def errors(self) -> str:
        return self.last_err.read_text(errors="replace")

    def create(self, *flags: str, id: str | None = None, save: bool = True, **options: Any) -> Result:
        if save:
            self.save()
        return self.verb("create", "--bundle", str(self.bundle), *flags, id or self.id, **options)

    def run(self, *flags: str, id: str | None = None, save: bool = True, **options: Any) -> Result:
        if save:
            self.save()
        return self.verb("run", "--bundle", str(self.bundle), *flags, id or self.id, **options)

    def sh(self, script: str, *flags: str, **options: Any) -> str:
        """Run a container with a shell script in the foreground and return its output."""
        self.script(script)
        result = self.run(*flags, **options)
        assert result.code == 0, result
        return result.out

    def run_script(self, script: str, *flags: str) -> Result:
        """Run a container with a shell script in the foreground, whatever comes of it."""
        self.script(script)
        return self.run(*flags)

    def start(self, id: str | None = None) -> Result:
        return self.verb("start", id or self.id)

    def state(self, id: str | None = None) -> dict[str, Any]:
        result = self.verb("state", id or self.id).ok()
        state: dict[str, Any] = json.loads(result.out)
        return state

    def status(self, id: str | None = None) -> str:
        status: str = self.state(id)["status"]
        return status

    def pid(self, id: str | None = None) -> int:
        pid: int = self.state(id)["pid"]
        return pid

    def kill(self, *words: str, id: str | None = None, flags: Sequence[str] = ()) -> Result:
        return self.verb("kill", *flags, id or self.id, *words)

    def delete(self, *flags: str, id: str | None = None) -> Result:
        return self.verb("delete", *flags, id or self.id)

    def exec(self, *words: str, flags: Sequence[str] = (), id: str | None = None, **options: Any) -> Result:
        return self.verb("exec", *flags, id or self.id, *words, **options)

    def exec_sh(self, script: str, *flags: str, **options: Any) -> str:
        result = self.exec("/bin/sh", "-c", script, flags=flags, **options)
        assert result.code == 0, result
        return result.out

    def sleeping(self, *flags: str) -> int:
        """Run a detached container that sleeps; its pid on the host, once sleep is what it executes."""
        self.args("/bin/sleep", "1000")
        self.run("-d", *flags).ok()
        return self.pid()

    def wait_status(self, status: str, id: str | None = None) -> None:
        wait_for(lambda: self.status(id) == status, f"status {status}")

    # -- what is left

    def leftovers(self, id: str | None = None) -> list[str]:
        """Everything of a container that the host still holds: nothing after delete or a failure."""
        name = id or self.id
        found = [f"cgroup {path}" for path in cgroups_named(name)]
        found += [f"process {pid} in the cgroup" for pid in pids_in_cgroups(name) if alive(pid)]
        if self.root.exists():
            found += [f"state {p}" for p in self.root.rglob("*") if name in str(p.relative_to(self.root))]
        for mount in parse_mountinfo(Path("/proc/self/mountinfo").read_text()):
            if str(self.place) in mount["at"]:
                found.append(f"mount {mount['at']}")
        return found

    def processes(self) -> list[int]:
        """Processes that the runtime left behind (found by the marker in their environment)."""
        return [p for p in pids_with_environment(self.marker.encode()) if alive(p)]

    def clean(self, id: str | None = None) -> None:
        """Assert that nothing is left: no state, cgroup, mount or process."""
        wait_for(lambda: not self.processes(), f"end of processes {self.processes()}", 5)
        assert self.leftovers(id) == []

    def close(self) -> list[str]:
        """Delete what the test left; the result says what even `delete --force` could not."""
        for child in self.background:
            if child.poll() is None:
                child.kill()
                child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()
        left: list[str] = []
        if self.root.exists():
            for name in sorted(self.ids | set(os.listdir(self.root))):
                # "@" begins what is no container, such as the cache of filters.
                if (self.root / name).is_dir() and not name.startswith("@"):
                    result = self.verb("delete", "--force", name)
                    if result.code:
                        print(f"delete --force {name}: {result.err}")
        for pid in self.processes():
            left.append(f"process {pid}: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}")
            os.kill(pid, signal.SIGKILL)
        for name in self.ids:
            left += self.leftovers(name)
            for pid in pids_in_cgroups(name):
                with suppress(ProcessLookupError):  # one that had ended, and has just been collected
                    os.kill(pid, signal.SIGKILL)
            for path in sorted(cgroups_named(name), reverse=True):
                wait_for(lambda path=path: remove_cgroup(path), f"removal of {path}", 5)  # type: ignore[misc]
        mounts = [m["at"] for m in parse_mountinfo(Path("/proc/self/mountinfo").read_text())]
        for at in sorted((m for m in mounts if m.startswith(f"{self.place}/")), reverse=True):
            subprocess.run(["umount", "-l", at], check=False)
        shutil.rmtree(self.place)
        return left


def chown_tree(path: Path, uid: int, gid: int) -> None:
    """Gives a directory and what is in it to a user."""
    os.chown(path, uid, gid)
    for directory, directories, files in os.walk(path):
        for name in (*directories, *files):
            os.lchown(os.path.join(directory, name), uid, gid)


def remove_cgroup(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def make_rootfs(rootfs: Path) -> None:
    """A root file system of one static busybox and its links."""
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "mnt", "run", "usr/bin"):
        (rootfs / name).mkdir(parents=True)
    (rootfs / "tmp").chmod(0o1777)
    shutil.copyfile(BUSYBOX, rootfs / "bin/busybox")
    (rootfs / "bin/busybox").chmod(0o755)
    for applet in APPLETS:
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")
    (rootfs / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")


# -- terminals


class Terminal:
    """The master end of a pseudo-terminal, read with a deadline."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.seen = ""

    def read_until(self, word: str, timeout: float = 15) -> str:
        """Read until word was seen; the text up to now, with the terminal's CR LF as LF."""
        deadline = time.monotonic() + timeout
        while word not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"no {word!r} on the terminal, only {self.seen!r}")
            if not self._read():
                raise AssertionError(f"the terminal ended without {word!r}: {self.seen!r}")
        return self.seen

    def read_all(self, timeout: float = 15) -> str:
        """Read to the end, when all slave ends are closed."""
        deadline = time.monotonic() + timeout
        while True:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"the terminal was not closed, it said {self.seen!r}")
            if not self._read():
                return self.seen

    def _read(self) -> bool:
        try:
            data = os.read(self.fd, 4096)
        except OSError:  # EIO: the last slave end was closed
            return False
        self.seen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def write(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def size(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.fd, (rows, columns))

    def close(self) -> None:
        os.close(self.fd)


def open_terminal() -> tuple[Terminal, int]:
    """A new pseudo-terminal: its master and the slave's descriptor."""
    master, slave = pty.openpty()
    return Terminal(master), slave


class FdSocket:
    """A unix socket that an engine listens on to be sent a descriptor (--console-socket, --pidfd-socket)."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.listener.settimeout(15)

    def receive(self) -> tuple[str, int]:
        """The message and the one descriptor that came with it."""
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(15)
            message, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16))
        fds = array.array("i")
        for level, kind, data in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        assert len(fds) == 1, f"{len(fds)} descriptors came"
        return message.decode(), fds[0]

    def close(self) -> None:
        self.listener.close()
