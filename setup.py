"""Builds the parts of pyrunc that are made from others.

`build_parts` writes `init/calls.h` from the table of calls, compiles `init/init.c` to the static
executable `init/init`, and generates the hot path's validator from `spec/`. It runs as part of every
build and install; `python setup.py build_parts --inplace` runs it in a checkout.
"""

import importlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from setuptools import Command, Distribution, setup
from setuptools.command.build import build
from setuptools.errors import ExecError

HERE = Path(__file__).resolve().parent

# Freestanding, static, at fixed addresses and without anything that a running container can do
# without: the waiting process consists of this file's pages.
CFLAGS = shlex.split(
    "-std=c11 -Os -Wall -Wextra -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables "
    "-fno-pie -no-pie -static -nostdlib "
    "-Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,noexecstack -s"
)


def replace(path: Path, text: str) -> None:
    """Writes a file at once, and not at all when it would not change."""
    if path.exists() and path.read_text() == text:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


class BuildParts(Command):
    """Makes calls.h, init and the validator, in the build directory or in the checkout."""

    description = "make calls.h, the init executable and the generated validator"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = [
        ("build-lib=", None, "directory to build in"),
        ("inplace", "i", "build in the checkout"),
    ]
    boolean_options: ClassVar[list[str]] = ["inplace"]
    editable_mode = False
    build_lib: str | None
    inplace: bool

    def initialize_options(self) -> None:
        self.build_lib = None
        self.inplace = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    @property
    def package(self) -> Path:
        if self.inplace or self.editable_mode or self.build_lib is None:
            return HERE / "pyrunc"
        return Path(self.build_lib) / "pyrunc"

    def run(self) -> None:
        # The tables and the generator are pyrunc's own modules, and come from this checkout.
        sys.path.insert(0, str(HERE))
        try:
            self.make_init()
            self.make_validator()
        finally:
            sys.path.remove(str(HERE))

    def make_init(self) -> None:
        calls = importlib.import_module("pyrunc.program.calls")
        target = self.package / "init"
        target.mkdir(parents=True, exist_ok=True)
        replace(target / "calls.h", calls.header())
        compiler = shlex.split(os.environ.get("CC", "gcc"))
        if not shutil.which(compiler[0]):
            raise ExecError(f"{compiler[0]} is needed to compile init.c: install a C compiler or set CC")
        draft = target / f".init.{os.getpid()}"
        command = [*compiler, *CFLAGS, f"-I{target}", "-o", str(draft), str(HERE / "pyrunc/init/init.c")]
        self.announce(shlex.join(command), level=2)
        try:
            subprocess.run(command, check=True)
        except subprocess.CalledProcessError as error:
            draft.unlink(missing_ok=True)
            raise ExecError(f"init.c does not compile: {compiler[0]} failed") from error
        draft.chmod(0o755)
        draft.replace(target / "init")

    def make_validator(self) -> None:
        generate = importlib.import_module("pyrunc.config.generate")
        target = self.package / "config" / "_validator.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f"_validator_{os.getpid()}.py")
        generate.write(str(draft))
        draft.replace(target)

    def get_source_files(self) -> list[str]:
        return ["pyrunc/init/init.c", *sorted(str(p.relative_to(HERE)) for p in HERE.glob("spec/*.json"))]

    def get_outputs(self) -> list[str]:
        return [str(self.package / part) for part in ("init/calls.h", "init/init", "config/_validator.py")]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class Build(build):
    sub_commands: ClassVar[list[Any]] = [*build.sub_commands, ("build_parts", None)]

    def finalize_options(self) -> None:
        super().finalize_options()
        # What a former build left there (a module since removed) would go into the wheel.
        if self.build_lib and Path(self.build_lib).resolve().is_relative_to(HERE / "build"):
            shutil.rmtree(self.build_lib, ignore_errors=True)


class PlatformDistribution(Distribution):
    """Holds an executable, so it belongs to one platform."""

    def has_ext_modules(self) -> bool:
        return True


def wheel_commands() -> dict[str, Any]:
    """The command that makes a wheel, where setuptools has it (from 70.1 on); only a wheel needs it."""
    try:
        from setuptools.command.bdist_wheel import bdist_wheel
    except ImportError:
        return {}

    class Wheel(bdist_wheel):
        """A wheel for every Python 3 on one platform: `init` is no extension module."""

        def get_tag(self) -> tuple[str, str, str]:
            return "py3", "none", super().get_tag()[2]

    return {"bdist_wheel": Wheel}


setup(
    license="Apache-2.0",
    distclass=PlatformDistribution,
    cmdclass={"build": Build, "build_parts": BuildParts, **wheel_commands()},
)
