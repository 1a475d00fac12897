"""The manual page and the completions say what the command does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pyrunc.cli import completion, manual
from pyrunc.cli.options import GLOBAL, HELP, VERBS

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = {"bash": "pyrunc.bash", "zsh": "_pyrunc", "fish": "pyrunc.fish"}


def test_the_manual_page_is_up_to_date() -> None:
    assert (CHECKOUT / "docs/man/pyrunc.8").read_text() == manual.page(), "python -m pyrunc.cli.manual"


@pytest.mark.parametrize("shell", FILES)
def test_the_completions_are_up_to_date(shell: str) -> None:
    text = (CHECKOUT / "completions" / FILES[shell]).read_text()
    assert text == completion.SHELLS[shell](), f"python -m pyrunc.cli.manual --completion {shell}"


def test_the_manual_page_names_every_verb_and_flag() -> None:
    page = manual.page().replace("\\-", "-")
    for verb in VERBS.values():
        assert f".SS {verb.name}" in page
        for option in verb.options:
            assert (f"\\fB--{option.name}\\fR" in page) is not option.hidden
    assert "criu" not in page


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_manual_page_has_no_mistakes_of_form() -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-z"],
        input=manual.page(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def offered(line: str, tmp_path: Path, words: list[str] | None = None) -> list[str]:
    """What bash offers at the end of a line."""
    words = line.split(" ") if words is None else words
    ids = tmp_path / "pyrunc"
    ids.write_text('#!/bin/sh\ncase "$*" in *list*) printf "%s\\n" c1 c2 "${2##*/}";; esac\n')
    ids.chmod(0o755)
    script = f"""
PATH={tmp_path}:$PATH
. {CHECKOUT}/completions/pyrunc.bash
COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
COMP_CWORD={len(words) - 1}
_pyrunc
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == ""
    return done.stdout.split()


needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")


@needs_bash
def test_bash_offers_verbs_flags_values_and_ids(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "file").touch()
    assert offered("pyrunc st", tmp_path) == ["start", "state"]
    assert offered("pyrunc --log-format ", tmp_path) == ["text", "json"]
    assert offered("pyrunc --root /r st", tmp_path) == ["start", "state"]
    assert offered("pyrunc state c", tmp_path) == ["c1", "c2"]
    assert offered("pyrunc --root /r/c9 state c", tmp_path) == ["c1", "c2", "c9"]
    assert offered("pyrunc state c1 ", tmp_path) == []
    assert offered("pyrunc run -b ", tmp_path) == ["bundle"]
    assert set(offered("pyrunc run --pid-file ", tmp_path)) == {"bundle", "file", "pyrunc"}
    assert offered("pyrunc kill c1 HU", tmp_path) == ["HUP"]
    assert offered("pyrunc kill --all c1 HU", tmp_path) == ["HUP"]
    assert offered("pyrunc exec -e A c", tmp_path) == ["c1", "c2"]
    assert offered("pyrunc help sta", tmp_path) == ["start", "state"]
    assert offered("pyrunc run c", tmp_path) == []


@needs_bash
@pytest.mark.parametrize("verb", VERBS)
def test_bash_offers_every_flag(verb: str, tmp_path: Path) -> None:
    wanted = {f"--{option.name}" for option in (*VERBS[verb].options, HELP) if not option.hidden}
    assert {word for word in offered(f"pyrunc {verb} -", tmp_path) if word.startswith("--")} == wanted
    shown = {f"--{option.name}" for option in GLOBAL if not option.hidden}
    assert {word for word in offered("pyrunc -", tmp_path) if word.startswith("--")} == shown


@pytest.mark.parametrize(("shell", "check"), [("zsh", "-n"), ("fish", "-n"), ("bash", "-n")])
def test_the_completions_are_valid_scripts(shell: str, check: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, check, CHECKOUT / "completions" / FILES[shell]], check=True)
