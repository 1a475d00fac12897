"""What the checks of all engines have in common: findings, files, the command, the cgroup driver, daemons."""

import argparse
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

Table = dict[str, Any]

DRIVERS = ("cgroupfs", "systemd")
INSTALL = "install it with scripts/install, which writes /usr/local/bin/pyrunc, or correct the path"


class Findings:
    """What was found of one engine."""

    def __init__(self, engine: str, files: str) -> None:
        self.lines = [f"{engine} ({files})"]
        self.wrong_ones = 0

    def good(self, text: str) -> None:
        self.lines.append(f"  ok     {text}")

    def note(self, text: str) -> None:
        self.lines.append(f"  note   {text}")

    def wrong(self, text: str, mend: str) -> None:
        self.wrong_ones += 1
        self.lines += [f"  wrong  {text}", f"         mend: {mend}"]


class Unreadable(Exception):
    """A file that is no JSON or TOML, or is not there."""


def table(value: object, *names: str) -> Table:
    """The table at a path of names in a document; empty where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def merge(onto: Table, other: Table) -> Table:
    """Tables are merged, and other values replaced, as engines do with several files."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(onto.get(key), dict):
            merge(onto[key], value)
        else:
            onto[key] = value
    return onto


def read(path: Path) -> Table:
    try:
        text = path.read_text()
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise Unreadable(f"{path} does not exist") from None
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    except ValueError as error:  # both decoders' errors, and bytes that are no UTF-8
        raise Unreadable(f"{path}: {error}") from None
    if not isinstance(document, dict):
        raise Unreadable(f"{path}: an object is expected, not {type(document).__name__}")
    return document


def known(runtimes: Table) -> str:
    return ", ".join(sorted(runtimes)) or "none"


class Check:
    """The checks that engines have in common."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.name: str = options.runtime
        self.systemd = os.path.isdir("/run/systemd/system")
        if options.systemd:
            self.systemd = options.systemd == "yes"

    def command(self, found: Findings, path: object, *arguments: str, driver: str = "cgroupfs") -> None:
        """The registered command is there, can be executed and is an OCI runtime."""
        if not isinstance(path, str) or not path:
            found.wrong(f'runtime "{self.name}": the path is {path!r}', INSTALL)
            return
        file = shutil.which(path) if "/" not in path else path
        if file is None:
            found.wrong(f'runtime "{self.name}": no {path} in PATH', "write the absolute path")
        elif not os.path.exists(file):
            found.wrong(f'runtime "{self.name}": {file} does not exist', INSTALL)
        elif not os.path.isfile(file):
            found.wrong(f'runtime "{self.name}": {file} is not a file', INSTALL)
        elif not os.access(file, os.X_OK):
            found.wrong(f'runtime "{self.name}": {file} is not executable', f"chmod 755 {file}")
        elif interpreter := self.absent_interpreter(file):
            found.wrong(
                f'runtime "{self.name}": {file} needs {interpreter}, which does not exist',
                f"write the command again: PYTHON -P -m pyrunc.launcher {file}, or scripts/install",
            )
        else:
            self.answers(found, [file, *arguments], driver)

    @staticmethod
    def absent_interpreter(file: str) -> str | None:
        """The interpreter of a script, if it is not there: its virtual environment was removed."""
        with open(file, "rb") as script:
            line = script.readline(4096)
        words = line[2:].decode(errors="replace").split() if line.startswith(b"#!") else []
        return words[0] if words and not os.path.exists(words[0]) else None

    def answers(self, found: Findings, command: list[str], driver: str) -> None:
        words = " ".join(command)
        outputs = []
        for question in ("--version", "features"):
            try:
                done = subprocess.run(
                    [*command, question], capture_output=True, text=True, timeout=30, check=True
                )
            except subprocess.CalledProcessError as error:
                last = (error.stderr.strip().splitlines() or ["without a word"])[-1]
                found.wrong(f'"{words} {question}" ended with {error.returncode}: {last}', INSTALL)
                return
            except (OSError, subprocess.TimeoutExpired) as error:
                found.wrong(f'"{words} {question}": {error}', INSTALL)
                return
            outputs.append(done.stdout)
        version = outputs[0].splitlines()[0] if outputs[0] else "no version"
        try:
            features = json.loads(outputs[1])
            newest = features["ociVersionMax"]
        except (ValueError, KeyError, TypeError):
            found.wrong(f'"{words} features" gave no features document ({version})', INSTALL)
            return
        found.good(f'runtime "{self.name}": {words} ({version}, specification {newest})')
        if driver == "systemd" and not table(features, "linux", "cgroup").get("systemd"):
            found.wrong(f"{words} has no systemd cgroup driver", "register it with cgroupfs")

    def driver(self, found: Findings, driver: object, where: str, cgroupfs: str) -> None:
        """The cgroup driver fits process 1; `cgroupfs` is how to choose that one."""
        if driver not in DRIVERS:
            found.wrong(f"{where}: the cgroup driver is {driver!r}", f"one of {', '.join(DRIVERS)}")
        elif driver == "systemd" and not self.systemd:
            found.wrong(f"{where}: the cgroup driver is systemd, which does not run here", cgroupfs)
        elif driver == "cgroupfs" and self.systemd:
            found.good(f"{where}: cgroup driver cgroupfs")
            found.note("systemd runs here and takes all cgroups for its own: its driver would be better")
        else:
            found.good(f"{where}: cgroup driver {driver}")

    def missing(self, found: Findings, runtimes: Table, add: str) -> None:
        found.wrong(f'no runtime "{self.name}" is registered (there are: {known(runtimes)})', f"add {add}")

    def default(self, found: Findings, default: object, runtimes: Table, use: str) -> None:
        """The default runtime exists; `use` is how this one is chosen where it is not the default."""
        if default == self.name:
            found.good(f'"{self.name}" is the default runtime')
        elif default and default not in {*runtimes, "runc"}:
            found.wrong(
                f'the default runtime is "{default}", which is not registered',
                f"one of: {known({**runtimes, 'runc': {}})}",
            )
        else:
            found.note(f'the default runtime is "{default or "runc"}"; this one is chosen with {use}')

    def stale(self, found: Findings, address: str, files: list[Path], restart: str) -> None:
        """A daemon that reads its files at its start runs with what they are now."""
        if self.options.files_only:
            return
        pid = listener(address)
        if pid is None:
            found.note(f"no daemon at {address}, so none was asked")
            return
        changed = [str(file) for file in files if file.stat().st_mtime > started(pid)]
        if changed:
            found.wrong(f"the daemon (process {pid}) runs since before {', '.join(changed)} changed", restart)
        else:
            found.good(f"the daemon (process {pid}) has read these files")


def listener(address: str) -> int | None:
    """The process that listens on a Unix socket (unix(7), SO_PEERCRED), or None."""
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(address)
        except OSError:
            return None
        credentials = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("iii", credentials)[0])


def started(pid: int) -> float:
    """When a process was started, in seconds since the epoch, a little late rather than early."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK") + 1 / os.sysconf("SC_CLK_TCK")
