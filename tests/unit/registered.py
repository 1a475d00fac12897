"""scripts/registration as tests use it, and a stand-in for the command that engines' files name."""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/check-registration"
sys.path.insert(0, str(ROOT / "scripts"))

from registration.common import Check, Findings, Unreadable  # noqa: E402
from registration.engines import ENGINES  # noqa: E402

__all__ = ["ENGINES", "FEATURES", "ROOT", "SCRIPT", "Findings", "Unreadable", "look", "stand_in"]

FEATURES = {"ociVersionMin": "1.0.0", "ociVersionMax": "1.3.0", "linux": {"cgroup": {"systemd": True}}}


def stand_in(directory: Path) -> Path:
    """A runtime as far as it is asked, which says what is in the file `features` beside it."""
    (directory / "features").write_text(json.dumps(FEATURES))
    path = directory / "pyrunc"
    path.write_text(
        "#!/bin/sh\n"
        f'case $1 in --version) echo "pyrunc 0";; features) cat {directory}/features;; *) exit 3;; esac\n'
    )
    path.chmod(0o755)
    return path


def look(engine: str, place: Path, *, systemd: bool, name: str = "pyrunc", daemon: str = "") -> Findings:
    """What is found of an engine's file, on a host with or without systemd; `daemon` is a socket to ask."""
    options = argparse.Namespace(
        runtime=name,
        files_only=not daemon,
        systemd="yes" if systemd else "no",
        containerd_socket=daemon,
        crio_socket=daemon,
    )
    return ENGINES[engine](Check(options), place)
