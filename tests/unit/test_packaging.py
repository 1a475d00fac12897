"""What is built, packed and installed."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CROSS = "aarch64-linux-gnu-gcc"
CROSS_HEADERS = Path("/usr/aarch64-linux-gnu/include/asm/unistd.h")


def copy_of_package(directory: Path) -> Path:
    """A private copy of the package that is imported, without what is compiled or packed."""
    import pyrunc

    source = Path(pyrunc.__file__).parent
    copy = directory / "site/pyrunc"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def write_command(package: Path, command: Path) -> None:
    subprocess.run(
        [sys.executable, "-P", "-m", "pyrunc.launcher", str(command)],
        env={**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def build_parts(tmp_path: Path, compiler: str) -> Path:
    """Builds with a compiler into a directory of the test's own and returns the executable."""
    library = tmp_path / "lib"
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_parts", f"--build-lib={library}"],
        cwd=CHECKOUT,
        env={**os.environ, "CC": compiler},
        check=True,
    )
    return library / "pyrunc/init/init"


def elf_machine(executable: Path) -> int:
    return int.from_bytes(executable.read_bytes()[18:20], "little")


def elf_segments(executable: Path) -> list[tuple[int, int]]:
    """Type and flags of each program header of a 64-bit executable."""
    content = executable.read_bytes()
    at, count = int.from_bytes(content[32:40], "little"), int.from_bytes(content[56:58], "little")
    headers = [content[at + 56 * i : at + 56 * (i + 1)] for i in range(count)]
    return [(int.from_bytes(h[:4], "little"), int.from_bytes(h[4:8], "little")) for h in headers]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return copy_of_package(tmp_path)


@pytest.fixture
def command(package: Path, tmp_path: Path) -> Path:
    write_command(package, tmp_path / "pyrunc")
    return tmp_path / "pyrunc"


def run(command: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(command), *words], capture_output=True, text=True, check=False)


def modules_read_by_python(command: Path) -> str:
    """What `--version` reads of pyrunc's modules by the ordinary import, as -v tells it."""
    first, rest = command.read_text().split("\n", 1)
    noisy = command.with_name("noisy")
    noisy.write_text(first.replace("-IS", "-ISv") + "\n" + rest)
    noisy.chmod(0o755)
    told = run(noisy, "--version").stderr
    return "\n".join(line for line in told.splitlines() if "matches" in line or "code object" in line)


def test_init_is_static_and_needs_no_executable_stack(tmp_path: Path) -> None:
    interpreter, stack, load, executable, writable = 3, 0x6474E551, 1, 1, 2
    segments = elf_segments(build_parts(tmp_path, os.environ.get("CC", "gcc")))
    assert load in {kind for kind, _ in segments}
    assert interpreter not in {kind for kind, _ in segments}
    assert [flags & executable for kind, flags in segments if kind == stack] == [0]
    assert not [flags for kind, flags in segments if kind == load and flags & executable and flags & writable]


@pytest.mark.skipif(not (shutil.which(CROSS) and CROSS_HEADERS.exists()), reason=f"needs {CROSS}")
def test_init_compiles_for_aarch64(tmp_path: Path) -> None:
    compiler = f"{CROSS} -Werror"
    assert elf_machine(build_parts(tmp_path, compiler)) == 183


def test_init_compiles_without_warnings(tmp_path: Path) -> None:
    assert build_parts(tmp_path, f"{os.environ.get('CC', 'gcc')} -Werror").stat().st_mode & 0o111 == 0o111


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the documents tell the size on x86-64")
@pytest.mark.parametrize(
    ("file", "phrase"),
    [
        ("README.md", r"(\d+) KiB, `init`"),
        ("docs/design.md", r"`init` is freestanding\*\* \((\d+) KiB"),
        ("docs/security.md", r"executable of (\d+) KiB without libc"),
    ],
)
def test_the_documents_tell_the_size_of_init(tmp_path: Path, file: str, phrase: str) -> None:
    size = build_parts(tmp_path, os.environ.get("CC", "gcc")).stat().st_size
    told = re.findall(phrase, (CHECKOUT / file).read_text())
    assert len(told) == 1
    assert abs(int(told[0]) * 1024 - size) < 1024


def test_a_missing_compiler_is_one_clear_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_parts", f"--build-lib={tmp_path}"],
        cwd=CHECKOUT,
        env={**os.environ, "CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "no-such-compiler is needed to compile init.c" in result.stderr.splitlines()[-1]


def test_the_package_holds_init_and_the_schemas() -> None:
    import pyrunc

    package = Path(pyrunc.__file__).parent
    assert os.access(package / "init/init", os.X_OK)
    assert list((package / "spec").glob("*.json"))


def test_the_command_loads_everything_from_the_pack(command: Path) -> None:
    assert run(command, "--version").returncode == 0
    assert "pyrunc" not in modules_read_by_python(command)


def test_a_changed_module_is_not_taken_from_the_pack(package: Path, command: Path) -> None:
    version = package / "__init__.py"
    version.write_text(version.read_text() + '__version__ = "9.8.7"\n')
    result = run(command, "--version")
    assert "9.8.7" in result.stdout, result


@pytest.mark.parametrize("size", [0, 100, None])
def test_a_broken_or_missing_pack_is_done_without(package: Path, command: Path, size: int | None) -> None:
    (pack,) = (package / "__pycache__").glob("*.pack")
    expected = run(command, "--version").stdout
    if size is None:
        pack.unlink()
    else:
        os.truncate(pack, size)
    result = run(command, "--version")
    assert (result.returncode, result.stdout) == (0, expected)


def test_a_pack_of_another_python_is_not_used(package: Path, command: Path) -> None:
    import importlib.util

    (pack,) = (package / "__pycache__").glob("*.pack")
    expected = run(command, "--version").stdout
    pack.write_bytes(pack.read_bytes().replace(importlib.util.MAGIC_NUMBER, b"\0\0\r\n", 1))
    result = run(command, "--version")
    assert (result.returncode, result.stdout) == (0, expected)
    assert "pyrunc" in modules_read_by_python(command)


def test_a_traceback_from_the_pack_names_the_source(package: Path, command: Path) -> None:
    text = (package / "cli/__init__.py").read_text()
    (package / "cli/__init__.py").write_text(text + "def main():\n    raise RuntimeError('broken here')\n")
    write_command(package, command)
    told = run(command).stderr
    assert f'File "{package}/cli/__init__.py", line {text.count(chr(10)) + 2}, in main' in told
    assert "raise RuntimeError('broken here')" in told


def test_the_command_cannot_be_written_is_one_clear_line(package: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-m", "pyrunc.launcher", str(tmp_path / "missing/pyrunc")],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"pyrunc.launcher: cannot write {tmp_path}/missing/pyrunc")
    assert len(result.stderr.splitlines()) == 1


def test_python_m_pyrunc_is_the_command_too(package: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-m", "pyrunc", "--version"],
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("pyrunc version")


def test_the_pack_takes_no_low_descriptor(package: Path, command: Path) -> None:
    with (package / "cli/__init__.py").open("a") as file:
        file.write(
            "def main():\n"
            "    print([fd for fd in posix.listdir('/proc/self/fd') if 2 < int(fd) < 100])\n"
        )
    write_command(package, command)
    # One is the listing's own.
    assert run(command).stdout.strip() == "['3']"


def test_a_packed_module_keeps_its_lines_and_its_own_docstring(tmp_path: Path) -> None:
    import marshal

    from pyrunc.launcher import module_code

    source = (
        '"""Module."""\n\ndef f(a: int = 1, *b: str) -> "Any":\n    """Text."""\n\n    return a\n\n'
        'class C:\n    """Text."""\n'
    )
    space: dict[str, Any] = {}
    exec(marshal.loads(module_code(source.encode(), "f.py")), space)  # noqa: S102
    function = space["f"]
    assert space["__doc__"] == "Module."
    assert function(2) == 2
    assert (function.__doc__, function.__annotations__) == (None, {})
    assert {line for _, _, line in function.__code__.co_lines()} == {3, 6}
