"""docs/engines.md: its generated parts are those of now, and what it shows of configuration is right."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from engines_document import DOCUMENT, differences, example, put, skipped, snippets
from registered import ROOT, look, stand_in

UPDATE = os.environ.get("PYRUNC_UPDATE_GOLDEN") == "1"
OF_ENGINE = {
    "/etc/docker/daemon.json": "docker",
    "/etc/containerd/config.toml": "containerd",
    "/etc/containers/containers.conf": "podman",
    "/etc/crio/crio.conf.d/10-pyrunc.conf": "crio",
}
SHOWN = [
    (document, *each) for document in ("README.md", "docs/engines.md") for each in snippets(ROOT / document)
]


@pytest.mark.parametrize(
    ("name", "content"), [("check", example()), ("differences", differences()), ("skipped", skipped())]
)
def test_a_generated_part_is_the_one_that_is_made_now(name: str, content: str) -> None:
    text = DOCUMENT.read_text()
    made = put(text, name, content)
    if UPDATE:
        DOCUMENT.write_text(made)
    else:
        assert text == made, "PYRUNC_UPDATE_GOLDEN=1 pytest tests/unit/test_engines_document.py"


def test_reasons_to_skip_are_found_with_their_tests(tmp_path: Path) -> None:
    (tmp_path / "test_docker_some.py").write_text(
        "def limit(name):\n    pytest.skip(f'there is no {name} here, only {len(name)}')\n"
        "def test_a_limit():\n    assert limit('cpu')\n"
        "@pytest.mark.skipif(True, reason='no such kernel')\ndef test_a_kernel():\n    pytest.skip(unknown)\n"
    )
    _, _, *rows = skipped(tmp_path).splitlines()
    place = "../tests/engines/test_docker_some.py"
    assert rows == [
        f"| Docker | there is no … here, only … | [a limit]({place}) |",
        f"| Docker | no such kernel | [a kernel]({place}) |",
    ]


def test_each_engine_s_file_is_shown() -> None:
    for document in ("README.md", "docs/engines.md"):
        assert {path for each, path, _ in SHOWN if each == document} == {*OF_ENGINE}


@pytest.mark.parametrize(("document", "path", "text"), SHOWN)
@pytest.mark.parametrize("systemd", [True, False])
def test_a_file_that_is_shown_has_nothing_wrong(
    document: str, path: str, text: str, systemd: bool, tmp_path: Path
) -> None:
    """With the driver that is shown, or with the other one in the words of the document's table."""
    command = stand_in(tmp_path)
    engine = OF_ENGINE[path]
    title = "cri-o" if engine == "crio" else engine
    row = re.search(rf"(?mi)^\| {title} \|.*$", DOCUMENT.read_text())
    assert row
    systemds, cgroupfs = re.findall("`([^`]*)`", row[0])[:2]
    wanted, other = (systemds, cgroupfs) if systemd else (cgroupfs, systemds)
    assert wanted in text or other in text
    text = text.replace(other, wanted).replace("/usr/local/bin/pyrunc", str(command))
    if engine == "crio":
        if not systemd and "conmon_cgroup" not in text:
            text = text.replace(wanted, f'{wanted}\nconmon_cgroup = "pod"')
        (tmp_path / "crio.conf.d").mkdir()
        (tmp_path / "crio.conf.d/file.conf").write_text(text)
        place = tmp_path
    else:
        place = tmp_path / Path(path).name
        # The README's is a part of a file.
        head = "version = 2\n" if engine == "containerd" and "version" not in text else ""
        place.write_text(head + text)
    found = look(engine, place, systemd=systemd)
    assert not found.wrong_ones, "\n".join(found.lines)
    assert not any(line.startswith("  note   systemd runs here") for line in found.lines)


def test_the_runtime_class_names_the_registration() -> None:
    text = DOCUMENT.read_text()
    handler = re.search(r"(?m)^    handler: (\S+)$", text)
    used = re.search(r"runtimeClassName: (\S+)$", text, re.MULTILINE)
    named = re.search(r"kind: RuntimeClass\n    metadata:\n      name: (\S+)\n", text)
    assert handler and used and named
    assert used[1] == named[1]
    for path, shown in snippets(DOCUMENT):
        if path.endswith("config.toml"):
            (plugin,) = tomllib.loads(shown)["plugins"].values()
            assert handler[1] in plugin["containerd"]["runtimes"]
