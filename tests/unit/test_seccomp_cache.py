"""The cache of compiled seccomp filters: what is taken from it, and what is not believed."""

import os
import posix
import stat
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import pyrunc
from pyrunc.host import libseccomp, seccomp

PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"}],
}
FILTER = bytes(range(16)) * 8
WARNINGS = ["libseccomp does not know, and rules are skipped for: no_such_call"]


class Compiler:
    """Stands for libseccomp: counts what it is asked for."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self.calls = 0
        self.program = FILTER
        self.warnings = WARNINGS

    def compile_profile(self, _: dict[str, Any]) -> tuple[bytes, list[str], str]:
        self.calls += 1
        return self.program, list(self.warnings), str(self.library)


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    library = tmp_path / "libseccomp.so.2"
    library.write_bytes(b"ELF")
    found = Compiler(library)
    monkeypatch.setattr(libseccomp, "compile_profile", found.compile_profile)
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "run" / "cache"


def ask(cache: Path, profile: dict[str, Any] = PROFILE) -> tuple[bytes, list[str]]:
    return seccomp.filter_for(profile, str(cache))


def entry(cache: Path) -> Path:
    (found,) = cache.iterdir()
    return found


def test_a_profile_is_compiled_once_and_its_warnings_stay(compiler: Compiler, cache: Path) -> None:
    assert [ask(cache) for _ in range(3)] == [(FILTER, WARNINGS)] * 3
    assert compiler.calls == 1
    assert stat.S_IMODE(entry(cache).stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_a_profile_without_warnings_stays_without(compiler: Compiler, cache: Path) -> None:
    compiler.warnings = []
    assert [ask(cache) for _ in range(2)] == [(FILTER, [])] * 2


def test_without_a_cache_nothing_is_kept(compiler: Compiler, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert [seccomp.filter_for(PROFILE, None) for _ in range(2)] == [(FILTER, WARNINGS)] * 2
    assert compiler.calls == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "change",
    [
        {"defaultAction": "SCMP_ACT_KILL"},
        {"defaultErrnoRet": 1},
        {"architectures": ["SCMP_ARCH_X86"]},
        {"syscalls": []},
        {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]},
    ],
)
def test_another_profile_is_another_entry(compiler: Compiler, cache: Path, change: dict[str, Any]) -> None:
    ask(cache)
    ask(cache, {**PROFILE, **change})
    assert compiler.calls == 2
    assert len(list(cache.iterdir())) == 2


def test_what_does_not_change_the_filter_does_not_change_the_entry(compiler: Compiler, cache: Path) -> None:
    ask(cache)
    ask(cache, {"flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/x", **PROFILE})
    assert compiler.calls == 1


def test_another_libseccomp_compiles_again(compiler: Compiler, cache: Path) -> None:
    ask(cache)
    os.utime(compiler.library, (1, 1))
    ask(cache)
    assert compiler.calls == 2
    ask(cache)
    assert compiler.calls == 2


def test_a_removed_libseccomp_compiles_again(compiler: Compiler, cache: Path) -> None:
    ask(cache)
    compiler.library.rename(compiler.library.with_name("libseccomp.so.3"))
    compiler.library = compiler.library.with_name("libseccomp.so.3")
    ask(cache)
    ask(cache)
    assert compiler.calls == 2


@pytest.mark.parametrize("position", range(0, 320, 7))
def test_a_damaged_entry_is_replaced(compiler: Compiler, cache: Path, position: int) -> None:
    ask(cache)
    path = entry(cache)
    good = path.read_bytes()
    bad = bytearray(good)
    bad[position % len(bad)] ^= 0x10
    path.write_bytes(bad)
    assert ask(cache) == (FILTER, WARNINGS)
    assert compiler.calls == 2
    assert path.read_bytes() == good


@pytest.mark.parametrize("size", [0, 1, 31, 32, 40, 100, -8, -1])
def test_a_truncated_entry_is_replaced(compiler: Compiler, cache: Path, size: int) -> None:
    ask(cache)
    path = entry(cache)
    good = path.read_bytes()
    path.write_bytes(good[:size])
    assert ask(cache) == (FILTER, WARNINGS)
    assert compiler.calls == 2
    assert path.read_bytes() == good


@pytest.mark.parametrize("program", [b"", b"\0" * 7, b"\0" * 8 * 4097])
def test_an_entry_that_is_no_filter_is_not_used(compiler: Compiler, cache: Path, program: bytes) -> None:
    compiler.program = program
    ask(cache)
    compiler.program = FILTER
    assert ask(cache)[0] == FILTER


def test_an_entry_of_another_profile_is_not_used(compiler: Compiler, cache: Path) -> None:
    ask(cache)
    path = entry(cache)
    permissive = {"defaultAction": "SCMP_ACT_ALLOW"}
    compiler.program = FILTER[:8]
    ask(cache, permissive)
    (other,) = set(cache.iterdir()) - {path}
    other.replace(path)
    compiler.program = FILTER
    assert ask(cache)[0] == FILTER


def test_a_foreign_entry_is_not_used(
    compiler: Compiler, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(cache)
    monkeypatch.setattr(posix, "geteuid", lambda: os.getuid() + 1)
    ask(cache)
    assert compiler.calls == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_an_entry_that_was_given_away_is_not_used(compiler: Compiler, cache: Path) -> None:
    ask(cache)
    os.chown(entry(cache), 65534, 65534)
    ask(cache)
    assert compiler.calls == 2
    assert entry(cache).stat().st_uid == 0


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_entry_that_others_can_write_is_not_used(compiler: Compiler, cache: Path, mode: int) -> None:
    ask(cache)
    entry(cache).chmod(mode)
    ask(cache)
    assert compiler.calls == 2
    assert stat.S_IMODE(entry(cache).stat().st_mode) == 0o600


def as_symlink(path: Path) -> None:
    target = path.parent.parent / "elsewhere"
    path.rename(target)
    path.symlink_to(target)


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("disguise", [as_symlink, as_fifo])
def test_what_is_no_regular_file_is_replaced(
    compiler: Compiler, cache: Path, disguise: Callable[[Path], None]
) -> None:
    ask(cache)
    disguise(entry(cache))
    assert ask(cache) == (FILTER, WARNINGS)
    assert compiler.calls == 2
    assert stat.S_ISREG(entry(cache).lstat().st_mode)


def test_a_directory_in_an_entrys_place_is_a_warning(compiler: Compiler, cache: Path) -> None:
    ask(cache)
    path = entry(cache)
    path.unlink()
    path.mkdir()
    program, warnings = ask(cache)
    assert program == FILTER
    assert "Is a directory" in warnings[-1]
    assert entry(cache) == path  # nothing else is left behind


def test_a_cache_that_cannot_be_written_is_a_warning(compiler: Compiler, tmp_path: Path) -> None:
    program, warnings = ask(compiler.library / "cache")
    assert program == FILTER
    assert warnings[:-1] == WARNINGS
    assert "cannot be kept" in warnings[-1]
    assert "Not a directory" in warnings[-1]


def test_a_full_disk_is_a_warning_and_leaves_nothing(
    compiler: Compiler, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(posix, "write", write)
    program, warnings = ask(cache)
    assert program == FILTER
    assert "No space left" in warnings[-1]
    assert list(cache.iterdir()) == []


def test_the_oldest_entries_give_way(
    compiler: Compiler, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seccomp, "MAX_ENTRIES", 3)
    cache.mkdir(parents=True)
    unrelated = cache / "unrelated"
    unrelated.touch()
    for number in range(6):
        before = set(cache.iterdir())
        ask(cache, {**PROFILE, "defaultErrnoRet": number})
        (new,) = set(cache.iterdir()) - before
        os.utime(new, (number, number))
    assert len(list(cache.glob("seccomp-*"))) == 3
    assert unrelated.exists()
    compiler.calls = 0
    for number in (3, 4, 5):
        ask(cache, {**PROFILE, "defaultErrnoRet": number})
    assert compiler.calls == 0


HIT = """
import sys
sys.path.insert(0, sys.argv[1])
from pyrunc.host.seccomp import filter_for
profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
program, warnings = filter_for(profile, sys.argv[2])
assert program and not warnings
print(*sys.modules)
"""


def test_a_hit_loads_neither_libseccomp_nor_anything_else(cache: Path) -> None:
    if not (find_spec("seccomp") or find_spec("pyseccomp")):
        pytest.skip("no bindings of libseccomp")

    def modules() -> set[str]:
        command = [sys.executable, "-I", "-S", "-c", HIT, str(Path(pyrunc.__file__).parents[1]), str(cache)]
        return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())

    first, second = modules(), modules()
    assert first & {"seccomp", "pyseccomp"}
    bare = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; print(*sys.modules)"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    loaded = second - set(bare.stdout.split())
    assert loaded - {"_struct"} == {
        "pyrunc", "pyrunc.errors", "pyrunc.host", "pyrunc.host.seccomp", "_blake2",
    }  # fmt: skip
