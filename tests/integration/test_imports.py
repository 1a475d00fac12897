"""What each hot verb loads: every module costs each start of a container, so the lists are held here.

A list may shrink freely. One that has to grow needs a reason in docs/design.md.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from harness import Box

import pyrunc

# What an interpreter without `site` has by itself is not counted.
BUILT_IN = {"_json", "_signal", "_socket", "_struct", "errno", "fcntl", "gc", "posix", "select", "time"}
ANY = {
    "pyrunc", "pyrunc.errors", "pyrunc.log", "pyrunc.json", "pyrunc.state", "pyrunc.start",
    "pyrunc.cli", "pyrunc.cli.containers", "pyrunc.cli.options", "pyrunc.cli.output", "pyrunc.cli.parser",
    "pyrunc.container", "pyrunc.container.record", "pyrunc.host", "pyrunc.host.processes",
}  # fmt: skip
LIFECYCLE = {
    "pyrunc.container.lifecycle", "pyrunc.host.cgroups", "pyrunc.host.cgroups.files",
    "pyrunc.host.cgroups.members", "pyrunc.host.cgroups.tree", "pyrunc.host.sockets",
    "pyrunc.linux", "pyrunc.linux.signals",
}  # fmt: skip
COMPILER = {
    "pyrunc.compile", "pyrunc.compile.cgroup_mounts", "pyrunc.compile.cgroups", "pyrunc.compile.create",
    "pyrunc.compile.device_filter", "pyrunc.compile.devices", "pyrunc.compile.facts",
    "pyrunc.compile.identity", "pyrunc.compile.kernel", "pyrunc.compile.masks",
    "pyrunc.compile.mount_options", "pyrunc.compile.mounting", "pyrunc.compile.mounts",
    "pyrunc.compile.namespaces", "pyrunc.compile.paths", "pyrunc.compile.process",
    "pyrunc.compile.rootfs", "pyrunc.compile.settings", "pyrunc.compile.syncs", "pyrunc.config",
    "pyrunc.config._validator", "pyrunc.config.load", "pyrunc.container.create",
    "pyrunc.container.plan", "pyrunc.host.cgroups", "pyrunc.host.cgroups.facts",
    "pyrunc.host.cgroups.files", "pyrunc.host.cgroups.tree", "pyrunc.host.facts", "pyrunc.host.launch",
    "pyrunc.host.paths",
    "pyrunc.host.sockets", "pyrunc.linux", "pyrunc.linux.capabilities", "pyrunc.linux.flags",
    "pyrunc.linux.mounts", "pyrunc.linux.rlimits", "pyrunc.program", "pyrunc.program.build",
    "pyrunc.program.calls", "pyrunc.program.encode", "pyrunc.program.mount_rules",
    "pyrunc.program.model", "pyrunc.program.rules",
    "pyrunc.program.verify", "pyrunc.program.walk",
}  # fmt: skip
ALLOWED = {
    "create": ANY | COMPILER,
    "run": ANY | COMPILER | LIFECYCLE | {"pyrunc.container.foreground"},
    "start": ANY | {"pyrunc.container.lifecycle", "pyrunc.host.sockets"},
    "state": ANY | {"pyrunc.container.inspect"},
    "exec": ANY
    | COMPILER
    | {"pyrunc.compile.exec", "pyrunc.container.execute", "pyrunc.container.foreground"},
    "kill": ANY | {"pyrunc.container.lifecycle", "pyrunc.linux", "pyrunc.linux.signals"},
    "delete": ANY | LIFECYCLE,
    # Not hot, but engines poll with the one and kubelets call the other.
    "events": ANY
    | {
        "pyrunc.cli.resources", "pyrunc.container.events", "pyrunc.host.cgroups",
        "pyrunc.host.cgroups.files", "pyrunc.host.cgroups.stats", "pyrunc.host.paths",
    },
    "update": ANY
    | {
        "pyrunc.cli.resources", "pyrunc.compile", "pyrunc.compile.device_filter",
        "pyrunc.compile.resources", "pyrunc.compile.settings", "pyrunc.compile.update",
        "pyrunc.container.update", "pyrunc.host.cgroups", "pyrunc.host.cgroups.change",
        "pyrunc.host.cgroups.files",
    },
}

PROGRAM = """
import posix, sys
before = set(sys.modules)
sys.path[:0] = {path!r}
import pyrunc.cli
status = pyrunc.cli.main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(" ".join(sorted(set(sys.modules) - before)))
posix._exit(status or 0)
"""


def test_no_hot_verb_loads_more_than_it_needs(box: Box, tmp_path: Path) -> None:
    if box.is_runc:
        pytest.skip("what another runtime loads is not pyrunc's business")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(path=[str(Path(pyrunc.__file__).parents[1])]))
    told = tmp_path / "modules"

    def loaded(*words: str) -> set[str]:
        command = [sys.executable, "-I", "-S", str(program), str(told), "--root", str(box.root), *words]
        with (tmp_path / "errors").open("w") as errors:
            subprocess.run(
                command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                timeout=60,
            )  # fmt: skip
        return set(told.read_text().split())

    bundle = str(box.bundle)
    box.process["args"] = ["/bin/true"]
    box.save()
    found = {"run": loaded("run", "--bundle", bundle, box.id)}
    box.process["args"] = ["/bin/sleep", "100"]
    box.save()
    found["create"] = loaded("create", "--bundle", bundle, box.id)
    found["start"] = loaded("start", box.id)
    found["state"] = loaded("state", box.id)
    found["events"] = loaded("events", "--stats", box.id)
    found["update"] = loaded("update", "--pids-limit", "50", box.id)
    found["exec"] = loaded("exec", box.id, "/bin/true")
    found["kill"] = loaded("kill", box.id, "KILL")
    box.wait_status("stopped")
    found["delete"] = loaded("delete", box.id)
    too_many = {verb: modules - BUILT_IN - ALLOWED[verb] for verb, modules in found.items()}
    assert too_many == {verb: set() for verb in found}
