"""Can the suite's cases fail? pyrunc is given configurations without a property that a case has set, one
property after the other, and something has to be violated. Opt-in, as it takes some ten minutes:
CONFORMANCE_MUTANTS=1.

What is dropped is named by a JSON pointer, with * for the entries of a list, the type of a namespace, and the
name of a mount option. The mounts of the plainest container are called "plain".
"""

import json
import os
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from conformance import suite  # noqa: E402
from conformance.model import CASES, VIOLATED  # noqa: E402

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the suite makes containers as root"),
    pytest.mark.skipif("CONFORMANCE_MUTANTS" not in os.environ, reason="CONFORMANCE_MUTANTS is not set"),
    pytest.mark.timeout(3600),
]

# What nobody can miss: a pattern of pointers, each with the reason.
SILENT = {
    r"/(com\.example\.)?unknown.*|/process/unknown|/linux/unknown|/mounts/\*/unknown": "is ignored by right",
    r"/process/execCPUAffinity.*": "is for exec",
    r"/linux/intelRdt/closID|/linux/namespaces/no-such-namespace/type": "is an error without it too",
    r"/linux/netDevices/lo/name": "is an error without it too",
    r"/linux/resources/cpu/mems": "this machine may have one node",
    r"/linux/seccomp/flags": "changes nothing that is seen from outside",
    r"/mounts/\*/options/(defaults|(no)?iversion|loud|(no)?mand|r?norelatime|relatime|silent)": "is accepted",
    r"/mounts/\*/options/(rnodev|tmpcopyup|copy-symlink|(src|dest)-nofollow)": "is accepted",
}

RUNTIME = """#!{python} -IS
import json, os, sys

def walk(path, node):
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        name = key if isinstance(node, dict) else "*"
        if path == "/linux/namespaces":
            name = str(value.get("type"))
        elif path == "/mounts" and key < 5:
            name = "plain"
        elif path == "/mounts/*/options":
            name = value.partition("=")[0]
        below = path + "/" + name
        yield below, node, key
        if isinstance(value, (dict, list)):
            yield from walk(below, value)

arguments = sys.argv[1:]
if "--bundle" in arguments:
    path = arguments[arguments.index("--bundle") + 1] + "/config.json"
    if os.path.exists(path):
        config = json.load(open(path))
        if os.environ.get("MUTANT_LOG"):
            with open(os.environ["MUTANT_LOG"], "a") as log:
                pointers = sorted(set(pointer for pointer, _, _ in walk("", config)))
                log.write(json.dumps([path, pointers]) + "\\n")
        dropped = [each for each in walk("", config) if each[0] == os.environ.get("MUTANT")]
        for _, node, key in reversed(dropped):
            del node[key]
        if dropped:
            json.dump(config, open(path, "w"))
os.execv("{pyrunc}", ["{pyrunc}", *arguments])
"""


def test_every_property_that_a_case_sets_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "runtime"
    runtime.write_text(RUNTIME.format(python=sys.executable, pyrunc=os.environ["PYRUNC"]))
    runtime.chmod(0o755)
    log = tmp_path / "log"
    monkeypatch.setenv("MUTANT_LOG", str(log))
    assert suite.run(str(runtime), jobs=os.cpu_count() or 1).code == 0
    monkeypatch.delenv("MUTANT_LOG")
    users: dict[str, set[str]] = defaultdict(set)
    for line in log.read_text().splitlines():
        path, pointers = json.loads(line)
        number = re.search(r"/conformance-[^/]+/(\d+)/", path)
        for pointer in pointers:
            if number:
                users[pointer].add(CASES[int(number[1])].name)
    # What most cases have is no property under test, but the plainest container's.
    mutants = {pointer: names for pointer, names in users.items() if len(names) <= len(CASES) / 4}
    unnoticed = []
    for pointer, names in sorted(mutants.items()):
        monkeypatch.setenv("MUTANT", pointer)
        statuses = suite.run(
            str(runtime), sorted(names), os.cpu_count() or 1, patience=6, gate=False
        ).statuses
        if not any(status == VIOLATED for status, _ in statuses.values()):
            unnoticed.append(pointer)
    assert len(mutants) > 200
    assert [each for each in unnoticed if not any(re.fullmatch(known, each) for known in SILENT)] == []
