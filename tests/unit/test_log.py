"""The log that engines read."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc import log
from pyrunc.errors import Error


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    log.configure("")


def test_each_json_record_is_a_line_with_level_message_and_time(tmp_path: Path) -> None:
    file = tmp_path / "log"
    log.configure(str(file), "json")
    log.warning('a "quoted"\nline')
    log.error("é/mounts/3: no")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(record["level"], record["msg"]) for record in records] == [
        ("warning", 'a "quoted"\nline'),
        ("error", "é/mounts/3: no"),
    ]
    assert all(set(record) == {"level", "msg", "time"} for record in records)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", records[0]["time"])


def test_a_text_record_is_a_line_as_runc_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "log"
    log.configure(str(file))
    log.error('no "x"\n')
    assert re.fullmatch(r'time="[-T:\dZ]+" level=error msg="no \\"x\\"\\n"\n', file.read_text())


def test_records_are_appended(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    log.configure(str(file))
    log.warning("after")
    assert file.read_text().startswith("before\ntime=")


def test_a_new_log_is_readable_and_not_inherited(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        log.configure(str(tmp_path / "log"))
    finally:
        os.umask(before)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o644
    assert not os.get_inheritable(log._file)


@pytest.mark.parametrize("debug", [False, True])
def test_debug_records_are_written_only_when_asked_for(tmp_path: Path, debug: bool) -> None:
    log.configure(str(tmp_path / "log"), debug=debug)
    log.debug("detail")
    log.info("event")
    text = (tmp_path / "log").read_text()
    assert ("detail" in text) is debug
    assert "event" in text


def test_without_a_file_a_person_reads_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("")
    log.warning("careful")
    log.info("unasked")
    log.debug("unasked")
    log.error("no")
    assert capfd.readouterr().err == "pyrunc: warning: careful\npyrunc: no\n"


def test_without_a_file_json_goes_to_stderr_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("", "json")
    log.error("no")
    assert json.loads(capfd.readouterr().err)["msg"] == "no"


def test_with_a_file_errors_are_told_on_stderr_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log.configure(str(tmp_path / "log"), "json")
    log.warning("careful")
    log.error("no")
    assert capfd.readouterr().err == "pyrunc: no\n"


def test_a_full_disk_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("/dev/full")
    log.warning("careful")
    assert capfd.readouterr().err == (
        "pyrunc: the log cannot be written: No space left on device\npyrunc: warning: careful\n"
    )


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"/no/log cannot be opened: No such file or directory"):
        log.configure(f"{tmp_path}/no/log")


def test_records_of_two_processes_do_not_mix(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pyrunc import log\n"
        "log.configure(sys.argv[2], 'json')\n"
        "for _ in range(200): log.warning(sys.argv[3] * 2000)"
    )
    checkout = str(Path(__file__).resolve().parents[2])
    file = tmp_path / "log"
    running = [
        subprocess.Popen([sys.executable, "-I", "-c", code, checkout, file, letter]) for letter in "ab"
    ]
    assert [one.wait() for one in running] == [0, 0]
    messages = [json.loads(line)["msg"] for line in file.read_text().splitlines()]
    assert sorted(messages) == ["a" * 2000] * 200 + ["b" * 2000] * 200


def test_configuring_again_leaves_no_descriptor_open(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    log.configure(str(tmp_path / "log"))
    before = count()
    for _ in range(10):
        log.configure(str(tmp_path / "log"))
    assert count() == before
