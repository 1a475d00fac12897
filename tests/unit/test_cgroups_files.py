"""How values get into a cgroup's files; an ordinary directory stands for the cgroup.

Its files exist beforehand, as the kernel's do, since nothing is ever created there.
"""

from errno import EACCES, EINVAL, ENOENT
from pathlib import Path

import pytest

from pyrunc.compile import cgroups
from pyrunc.compile.settings import Layout, Settings, Write
from pyrunc.errors import Error
from pyrunc.host.cgroups import files, tree

LIMIT, SWAP = "/linux/resources/memory/limit", "/linux/resources/memory/swap"


def settings(*writes: Write) -> Settings:
    found = Settings(Layout({}, "/x", ("memory",), {}), "/linux/resources")
    found.writes = list(writes)
    return found


def cgroup(where: Path, *names: str) -> dict[str, str]:
    for name in names:
        (where / name).write_text("")
    (where / "cgroup.controllers").write_text("cpu memory\n")
    return {"": str(where)}


def test_the_other_file_is_written_where_the_kernel_has_not_the_first(tmp_path: Path) -> None:
    directories = cgroup(tmp_path, "io.weight")
    weight = Write("", "io.bfq.weight", "10", LIMIT, instead=Write("", "io.weight", "1", LIMIT))
    files.apply(directories, settings(weight))
    assert (tmp_path / "io.weight").read_text() == "1"
    (tmp_path / "io.bfq.weight").write_text("")
    files.apply(directories, settings(weight))
    assert (tmp_path / "io.bfq.weight").read_text() == "10"


def test_a_missing_file_is_an_error_unless_it_does_no_harm(tmp_path: Path) -> None:
    directories = cgroup(tmp_path)
    files.apply(directories, settings(Write("", "memory.swap.max", "0", SWAP, (ENOENT,))))
    with pytest.raises(Error, match=r"this kernel has no memory\.nosuch;") as caught:
        files.apply(directories, settings(Write("", "memory.nosuch", "0", SWAP)))
    assert caught.value.pointer == SWAP
    assert not (tmp_path / "memory.nosuch").exists()


def test_a_controller_that_is_not_enabled_is_named_with_those_that_are(tmp_path: Path) -> None:
    weight = Write("", "io.bfq.weight", "10", LIMIT, instead=Write("", "io.weight", "1", LIMIT))
    with pytest.raises(Error, match=r'the controller "io" is not available in .* \(it has cpu, memory\)'):
        files.apply(cgroup(tmp_path), settings(weight))


def test_neither_of_two_files_is_named_where_the_controller_is_there(tmp_path: Path) -> None:
    weight = Write("", "memory.a", "10", LIMIT, instead=Write("", "memory.b", "1", LIMIT))
    with pytest.raises(Error, match=r"this kernel has no memory\.a, nor memory\.b"):
        files.apply(cgroup(tmp_path), settings(weight))


def test_a_limit_is_compared_with_what_is_in_use_before_anything_is_written(tmp_path: Path) -> None:
    directories = cgroup(tmp_path, "memory.max")
    (tmp_path / "memory.current").write_text("4096\n")
    wanted = settings(Write("", "memory.max", "4096", LIMIT))
    wanted.checks = [("", "memory.current", 4096, LIMIT)]
    with pytest.raises(Error, match="4096 is not above what is in use") as caught:
        files.apply(directories, wanted)
    assert caught.value.pointer == LIMIT
    assert (tmp_path / "memory.max").read_text() == ""
    wanted.checks = [("", "memory.current", 4097, LIMIT)]
    files.apply(directories, wanted)
    assert (tmp_path / "memory.max").read_text() == "4096"


def test_what_the_kernel_refuses_at_first_is_tried_again_after_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As memory's limit is, above that of memory and swap."""
    written: dict[str, str] = {}
    tries: list[str] = []

    def kernel(path: str, text: str) -> None:
        tries.append(path)
        if path == "/c/memory.limit_in_bytes" and "/c/memory.memsw.limit_in_bytes" not in written:
            raise OSError(EINVAL, "")
        written[path] = text

    monkeypatch.setattr(files, "write_text", kernel)
    writes = [
        Write("memory", "memory.limit_in_bytes", "2", LIMIT),
        Write("memory", "memory.memsw.limit_in_bytes", "3", SWAP),
    ]
    files.write_each({"memory": "/c"}, writes)
    assert list(written) == ["/c/memory.memsw.limit_in_bytes", "/c/memory.limit_in_bytes"]
    written.clear()
    with pytest.raises(Error, match="set swap as well") as caught:
        files.write_each({"memory": "/c"}, writes[:1])
    assert caught.value.pointer == LIMIT
    assert len(tries) == 5


@pytest.mark.parametrize(
    ("listed", "given"),
    [
        ("cgroup.procs\nmemory.oom.group\n", ["", "/cgroup.procs"]),
        (None, ["", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"]),
    ],
)
def test_a_delegated_cgroup_is_given_with_what_the_kernel_lists(
    monkeypatch: pytest.MonkeyPatch, listed: str | None, given: list[str]
) -> None:
    changed = []

    def read(path: str) -> str:
        assert path == "/sys/kernel/cgroup/delegate"
        if listed is None:
            raise FileNotFoundError(path)
        return listed

    def chown(path: str, uid: int, gid: int) -> None:
        if path.endswith("memory.oom.group"):
            raise FileNotFoundError(path)  # the controller is not enabled
        changed.append((path, uid, gid))

    monkeypatch.setattr(tree, "read_text", read)
    monkeypatch.setattr(tree, "chown", chown)
    plan = cgroups.plan({}, Layout({}, "/", (), {"": "/"}), "c")
    tree.delegate(plan)
    assert changed == []
    plan.owner = 100000
    plan.directories = {"": "/c"}
    tree.delegate(plan)
    assert changed == [(f"/c{name}", 100000, -1) for name in given]


@pytest.mark.parametrize("asked", [False, True])
def test_an_ordinary_user_does_without_a_cgroup_that_nothing_asks_for(
    monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    def mkdir(path: str, mode: int) -> None:
        raise PermissionError(EACCES, "", path)

    monkeypatch.setattr(tree, "mkdir", mkdir)
    config = {
        "process": {"user": {"uid": 0}},
        "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}],
        "linux": {
            "namespaces": [{"type": "cgroup"}, {"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 1}],
            "resources": {"memory": {"limit": 1 if asked else 0}},
        },
    }
    plan = cgroups.plan(config, Layout({}, "/x", ("memory",), {"": "/"}), "box", rootless=True)
    assert plan.owner == 100000
    if asked:
        with pytest.raises(Error, match="delegated to you") as caught:
            tree.create(plan)
        assert caught.value.pointer == LIMIT
    else:
        tree.create(plan)
        assert plan.record()["directories"] == {}
