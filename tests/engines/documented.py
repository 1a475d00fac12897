"""The configuration that docs/engines.md shows, for daemons that run with it, and the check of it."""

import re
import subprocess
from pathlib import Path

from engine import Runtime

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/engines.md"
# Where the document has the systemd driver: what it is elsewhere.
CGROUPFS = {
    "native.cgroupdriver=systemd": "native.cgroupdriver=cgroupfs",
    "SystemdCgroup = true": "SystemdCgroup = false",
    'cgroup_manager = "systemd"': 'cgroup_manager = "cgroupfs"',
}


def shown(path: str, runtime: Runtime, nth: int = 0) -> str:
    """The nth block that the document shows for a file, with this runtime's path and the driver cgroupfs."""
    blocks = re.findall(rf"(?m)^`{re.escape(path)}`.*\n\n((?:    .*\n|\n)+)", DOCUMENT.read_text())
    text = re.sub(r"(?m)^    ", "", blocks[nth])
    for there, here in CGROUPFS.items():
        text = text.replace(there, here)
    return text.replace("/usr/local/bin/pyrunc", runtime.path)


def check(*words: str) -> tuple[int, str]:
    """Exit status and output of scripts/check-registration."""
    done = subprocess.run(
        [ROOT / "scripts/check-registration", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout
