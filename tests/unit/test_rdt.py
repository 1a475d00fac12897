"""linux.intelRdt against a fake resctrl tree, since neither machine of these tests has the hardware.

The fake does what the kernel does with directories: a new group has its files, and rmdir(2) takes them along.
"""

import json
import os
import posix
import shutil
from pathlib import Path
from typing import Any

import pytest
from examples import LAYOUTS, merged, ordinary

from pyrunc.compile import rdt as compiler
from pyrunc.compile.create import compile_create
from pyrunc.compile.facts import Facts, Request
from pyrunc.container import Runtime, damaged
from pyrunc.errors import Error
from pyrunc.host import rdt
from pyrunc.program.verify import verify
from pyrunc.state import Directory

DEFAULT = "L3:0=fffff;1=fffff\nMB:0=100;1=100\n"


class FakeKernel:
    """The calls of posix that host/rdt.py makes, on a directory that stands for the file system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refused = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(posix, name)

    def mkdir(self, path: str, mode: int) -> None:
        if self.refused and self.refused in path:
            (self.root / "info/last_cmd_status").write_text("Out of RMIDs\n")
            raise OSError(28, os.strerror(28))
        os.mkdir(path, mode)
        (Path(path) / "tasks").write_text("")
        if Path(path).parent == self.root:
            (Path(path) / "schemata").write_text(DEFAULT)
            (Path(path) / "mon_groups").mkdir()

    def rmdir(self, path: str) -> None:
        if not os.path.isdir(path):
            raise FileNotFoundError(path)
        shutil.rmtree(path)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    kernel = FakeKernel(tmp_path)
    (tmp_path / "info/MB").mkdir(parents=True)
    (tmp_path / "info/MB/bandwidth_gran").write_text("10\n")
    (tmp_path / "info/last_cmd_status").write_text("ok\n")
    (tmp_path / "mon_groups").mkdir()
    (tmp_path / "schemata").write_text(DEFAULT)
    monkeypatch.setattr(rdt, "posix", kernel)
    return kernel


def groups(fake: FakeKernel) -> set[str]:
    return {path.name for path in fake.root.iterdir() if path.is_dir()} - {"info", "mon_groups"}


def make(fake: FakeKernel, id: str = "box", **fields: Any) -> dict[str, Any]:
    return rdt.create(compiler.plan(fields, str(fake.root), id))


def refused(fake: FakeKernel, pointer: str, word: str, **fields: Any) -> None:
    with pytest.raises(Error) as caught:
        make(fake, **fields)
    assert caught.value.pointer == pointer
    assert word in caught.value.message


@pytest.mark.shows("/linux/intelRdt/closID")
def test_without_a_class_the_container_has_one_of_its_own_until_it_is_deleted(fake: FakeKernel) -> None:
    record = make(fake)
    assert groups(fake) == {"box"}
    assert (fake.root / "box/schemata").read_text() == DEFAULT
    rdt.destroy(record)
    assert groups(fake) == set()


@pytest.mark.shows("/linux/intelRdt/l3CacheSchema", "/linux/intelRdt/memBwSchema", "/linux/intelRdt/schemata")
def test_the_lines_are_written_in_the_order_of_the_specification(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(fake, "write", lambda fd, data: written.append(data), raising=False)
    make(fake, closID="gold", l3CacheSchema="L3:0=f", memBwSchema="MB:0=20", schemata=["L2:0=f", "L3:1=ff"])
    assert written == [b"L3:0=f\nMB:0=20\n", b"L2:0=f\nL3:1=ff\n"]


def test_a_named_class_is_shared_and_stays(fake: FakeKernel) -> None:
    fields = {"closID": "gold", "l3CacheSchema": "L3:0=0f;1=f0", "memBwSchema": "MB:0=15"}
    first = make(fake, **fields)
    (fake.root / "gold/schemata").write_text("    MB:0=  20;1= 100\n    L3:0=0000f;1=000f0\n")
    second = make(fake, "other", **fields)
    rdt.destroy(first)
    rdt.destroy(second)
    assert groups(fake) == {"gold"}


def test_a_class_that_differs_is_refused_unless_schemata_have_the_last_word(fake: FakeKernel) -> None:
    make(fake, closID="gold", schemata=["L3:0=1"])
    (fake.root / "gold/schemata").write_text(DEFAULT)
    refused(fake, "/linux/intelRdt", "exists with fffff for L3:0", closID="gold", l3CacheSchema="L3:0=f")
    refused(fake, "/linux/intelRdt", "exists with nothing for L3:7", closID="gold", l3CacheSchema="L3:7=f")
    make(fake, closID="gold", l3CacheSchema="L3:0=f", schemata=["L3:0=ff"])
    assert groups(fake) == {"gold"}


def test_a_class_without_schemata_has_to_be_there(fake: FakeKernel) -> None:
    refused(fake, "/linux/intelRdt/closID", "make it first", closID="gold")
    assert groups(fake) == set()
    (fake.root / "gold").mkdir()
    assert make(fake, closID="gold")["clos"] == f"{fake.root}/gold"


def test_a_slash_is_the_default_class(fake: FakeKernel) -> None:
    record = make(fake, closID="/", enableMonitoring=True)
    assert record["clos"] == str(fake.root)
    assert (fake.root / "mon_groups/box").is_dir()
    rdt.destroy(record)
    assert not (fake.root / "mon_groups/box").exists()


@pytest.mark.shows("/linux/intelRdt/enableMonitoring")
def test_monitoring_has_a_group_of_the_container_s_name_which_goes_with_it(fake: FakeKernel) -> None:
    record = make(fake, closID="gold", schemata=["L3:0=f"], enableMonitoring=True)
    assert (fake.root / "gold/mon_groups/box").is_dir()
    rdt.destroy(record)
    assert (fake.root / "gold").is_dir()
    assert not (fake.root / "gold/mon_groups/box").exists()


@pytest.mark.parametrize("fields", [{}, {"closID": "gold", "schemata": ["L3:0=f"]}])
def test_what_was_made_goes_when_monitoring_cannot_be_had(fake: FakeKernel, fields: dict[str, Any]) -> None:
    fake.refused = "mon_groups/"
    refused(fake, "/linux/intelRdt/enableMonitoring", "(Out of RMIDs)", enableMonitoring=True, **fields)
    assert groups(fake) == set()


@pytest.mark.parametrize(
    ("fields", "left"), [({"enableMonitoring": True}, set()), ({"closID": "gold"}, {"gold"})]
)
def test_a_damaged_record_does_not_keep_the_class_of_the_container_s_own(
    fake: FakeKernel, fields: dict[str, Any], left: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(fake, schemata=["MB:0=50"], **fields)
    state = Directory.make(str(fake.root / "state"), "box")
    state.put("state.json", b"{")
    state.put("config.json", json.dumps({"linux": {"intelRdt": fields}}).encode())
    monkeypatch.setattr(rdt, "root", lambda: str(fake.root))
    monkeypatch.setattr(damaged, "_cgroups", lambda *_: ())
    damaged.remove(Runtime(str(fake.root / "state")), state)
    state.close()
    assert groups(fake) - {"state"} == left
    assert list((fake.root / "state").iterdir()) == []


def test_a_failed_creation_leaves_a_class_that_others_use_by_now(fake: FakeKernel) -> None:
    record = make(fake, closID="gold", schemata=["L3:0=f"])
    (fake.root / "gold/tasks").write_text("17\n")
    rdt.discard(record)
    assert groups(fake) == {"gold"}
    (fake.root / "gold/tasks").write_text("")
    rdt.discard(record)
    assert groups(fake) == set()


@pytest.mark.parametrize("name", ["..", "a/b", "info", "mon_groups", "a\nb"])
def test_names_that_no_class_can_have(name: str) -> None:
    with pytest.raises(Error, match="cannot be the name"):
        compiler.plan({"closID": name}, "/r", "box")


def test_a_line_of_schemata_is_one_line_and_root_is_needed() -> None:
    with pytest.raises(Error, match="one line"):
        compiler.plan({"schemata": ["L3:0=f\nMB:0=10"]}, "/r", "box")
    with pytest.raises(Error, match="as root"):
        compiler.plan({}, "/r", "box", rootless=True)


def test_the_root_is_where_resctrl_is_mounted() -> None:
    line = "30 25 0:26 / /sys/fs/resctrl\\040x rw,relatime shared:7 - resctrl resctrl rw\n"
    assert rdt.find_root("29 25 0:25 / /sys rw - sysfs sysfs rw\n" + line) == "/sys/fs/resctrl x"
    assert rdt.find_root("29 25 0:25 / /resctrl rw - sysfs sysfs rw\n") == ""


def test_the_process_enters_the_class_and_then_its_monitoring_group_before_it_is_cloned() -> None:
    config = merged(ordinary(), {"linux": {"intelRdt": {}}})
    groups = compiler.plan({"closID": "gold", "enableMonitoring": True}, "/r", "box")
    facts = Facts("/srv/rootfs", layout=LAYOUTS["v2"], rdt=(groups.clos, groups.monitor))
    program = compile_create(config, facts, Request("box", "/srv"))
    verify(program)
    steps = [step for step in program.steps if step.origin == "/linux/intelRdt"]
    assert [step.args[1] for step in steps if step.call == "openat2"] == [
        "/r/gold/tasks", "/r/gold/mon_groups/box/tasks",
    ]  # fmt: skip
    assert [step.args[1] for step in steps if step.call == "write"] == ["0", "0"]
    calls = [step.call for step in program.steps]
    assert program.steps.index(steps[-1]) < calls.index("clone")
