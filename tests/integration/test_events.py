"""events: statistics as runc has them, and what the kernel tells of memory."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Box, wait_for

from pyrunc.host.cgroups import facts
from pyrunc.host.cgroups.stats import stats

Follow = Callable[..., "Stream"]


class Stream:
    """A running `events`, and what it has printed so far."""

    def __init__(self, box: Box, *flags: str) -> None:
        self.path = box.place / f"events{len(box.background)}"
        with self.path.open("wb") as file:
            self.child: subprocess.Popen[bytes] = box.spawn(
                "events", *flags, box.id, stdout=file, stderr=subprocess.STDOUT
            )

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]

    def types(self) -> list[str]:
        return [event["type"] for event in self.events()]


@pytest.fixture
def follow(box: Box) -> Iterator[Follow]:
    def start(*flags: str) -> Stream:
        stream = Stream(box, "--interval", "20ms", *flags)
        # The first statistics come after the watch over memory is set.
        wait_for(stream.types, "the first event")
        return stream

    yield start


def test_the_statistics_are_of_the_container(box: Box) -> None:
    box.linux["resources"] |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}
    box.script("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; sleep 1000 & exec sleep 1000")
    box.run("-d").ok()

    def busy() -> dict[str, Any] | None:
        event: dict[str, Any] = json.loads(box.verb("events", "--stats", box.id).ok().out)
        assert event["type"] == "stats"
        assert event["id"] == box.id
        return event["data"] if event["data"]["pids"]["current"] == 2 else None

    data: dict[str, Any] = wait_for(busy, "both sleeps")
    assert data["pids"]["limit"] == 20
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert 0 < data["memory"]["usage"]["usage"] < 64 << 20
    assert data["memory"]["raw"]
    assert data["cpu"]["usage"]["total"] > 1_000_000
    assert list(data) == [
        "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces",
    ]  # fmt: skip


@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
def test_the_statistics_are_runcs_field_by_field(box: Box) -> None:
    """A frozen container of runc's own, read by both."""
    if box.is_runc:
        pytest.skip("runc is compared with itself")
    runc = ["runc", "--root", str(box.place / "runc")]
    box.linux["cgroupsPath"] = f"/{box.id}"
    box.args("/bin/sleep", "1000")
    box.save()
    with (box.place / "runc.log").open("w") as log:
        subprocess.run(
            [*runc, "run", "-d", "-b", str(box.bundle), box.id],
            check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60,
        )  # fmt: skip
    try:
        subprocess.run([*runc, "pause", box.id], check=True, timeout=60)
        done = subprocess.run(
            [*runc, "events", "--stats", box.id], check=True, capture_output=True, timeout=60
        )
        theirs = json.loads(done.stdout)["data"]
        layout = facts.layout()
        directories = {name: f"{mount}/{box.id}" for name, mount in layout.v1.items()}
        if layout.v2:
            directories[""] = f"{layout.v2}/{box.id}"
        ours = json.loads(json.dumps(stats({"directories": directories})))
        subprocess.run([*runc, "resume", box.id], check=True, timeout=60)
    finally:
        subprocess.run([*runc, "delete", "-f", box.id], check=True, timeout=60)
    for part in ("cpu", "memory", "blkio"):
        # Newer runc has them on cgroup v2; pyrunc beside v1 too.
        ours[part].pop("psi", None)
        theirs[part].pop("psi", None)
    if layout.pure_v2:
        # runc 1.1 does not read the peak, and tells swap alone; newer ones do as pyrunc.
        ours["memory"]["usage"].pop("max", None)
        ours["memory"]["swap"] = theirs["memory"]["swap"]
    else:
        # In the v2 hierarchy beside v1's, where runc does not look.
        ours["hugetlb"] = theirs["hugetlb"]
    assert ours == theirs
    assert [list(ours), list(ours["memory"])] == [list(theirs), list(theirs["memory"])]


def test_statistics_come_at_the_interval_until_the_container_ends(box: Box, follow: Follow) -> None:
    box.sleeping()
    stream = follow()
    wait_for(lambda: len(stream.types()) > 5, "more events")
    box.kill("KILL").ok()
    assert stream.child.wait(10) == 0
    assert set(stream.types()) == {"stats"}


def test_a_process_that_is_killed_for_memory_is_an_event(box: Box, follow: Follow) -> None:
    box.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    fifo = box.rootfs / "go"
    os.mkfifo(fifo)
    # tail keeps all of what has no line's end.
    box.script("read go </go; tail /dev/zero; echo status $?; sleep 1000")
    box.run("-d").ok()
    stream = follow()
    assert "oom" not in stream.types()
    output = box.last_out
    fifo.write_text("go\n")
    wait_for(lambda: "status 137" in output.read_text(), "the kill")
    wait_for(lambda: "oom" in stream.types(), "an oom event")
    event = next(event for event in stream.events() if event["type"] == "oom")
    assert event == {"type": "oom", "id": box.id}
    time.sleep(0.2)
    assert stream.types().count("oom") == 1
    box.delete("--force").ok()
    assert stream.child.wait(10) == 0


def watches(pid: int) -> bool:
    """Whether a process has what it hears of the OOM killer by."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:  # closed meanwhile
            continue
        if "eventfd" in target or "memory.events" in target:
            return True
    return False


@pytest.mark.parametrize("deleted", [False, True])
def test_the_kill_that_ends_the_container_is_told_before_the_end(
    box: Box, deleted: bool, pure_v2: bool
) -> None:
    """Even if it looks only when all is over: on v1 when the cgroup has gone, too."""
    if deleted and pure_v2:
        pytest.skip("cgroup v2 tells nothing of a cgroup that has gone")
    box.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    box.args("/bin/tail", "/dev/zero")
    box.create().ok()
    stream = Stream(box)
    # Nothing is printed at the default interval: what it holds open tells that it watches.
    wait_for(lambda: watches(stream.child.pid), "the watch")
    # What it has open it has yet to read for the first time.
    time.sleep(1)
    stream.child.send_signal(signal.SIGSTOP)
    box.start().ok()
    box.wait_status("stopped")
    if deleted:
        box.delete().ok()
    stream.child.send_signal(signal.SIGCONT)
    assert stream.child.wait(20) == 0
    assert stream.types() == ["oom"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_the_stream_without_a_word(
    box: Box, follow: Follow, number: int, status: int
) -> None:
    box.sleeping()
    stream = follow()
    stream.child.send_signal(number)
    assert stream.child.wait(10) == status
    assert set(stream.types()) == {"stats"}
    assert stream.path.read_text().count("\n") == len(stream.types())


def test_a_reader_that_goes_away_ends_the_stream(box: Box) -> None:
    box.sleeping()
    reader, writer = os.pipe()
    child = box.spawn("events", box.id, stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    wait_for(lambda: len(os.listdir(f"/proc/{child.pid}/fd")) > 3, "the watch")
    os.close(reader)
    assert child.wait(10) in (0, 141)


def test_a_container_that_does_not_run_has_no_events(box: Box) -> None:
    box.verb("events", box.id).failed("does not exist")
    box.args("/bin/true")
    box.run("-d").ok()
    box.wait_status("stopped")
    box.verb("events", "--stats", box.id).failed("not running")
    box.verb("events", box.id).failed("not running")
    box.verb("events", "--interval", "0s", box.id).failed("interval")


def test_a_paused_container_has_statistics(box: Box) -> None:
    box.sleeping()
    box.verb("pause", box.id).ok()
    assert json.loads(box.verb("events", "--stats", box.id).ok().out)["data"]["pids"]["current"] == 1
    box.verb("resume", box.id).ok()


def test_events_leave_nothing_behind(box: Box, follow: Follow) -> None:
    box.sleeping()
    stream = follow()
    box.delete("--force").ok()
    assert stream.child.wait(10) == 0
    box.clean()
    assert not Path(f"/proc/{stream.child.pid}").exists()
