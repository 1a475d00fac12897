"""Hooks: when they run, where, with what, and what follows when they fail."""

import errno
import json
import os
import time
from functools import partial

from conformance.box import Box
from conformance.cases.operations import schema_faults
from conformance.container import Container, Report
from conformance.host import cgroup_mounts
from conformance.model import RuntimeFailed, case

CREATE_KINDS = ("prestart", "createRuntime", "createContainer")
HOST_KINDS = ("prestart", "createRuntime", "poststart", "poststop")
REQUIREMENT = {
    "prestart": "hooks.prestart",
    "createRuntime": "hooks.create-runtime",
    "createContainer": "hooks.create-container",
    "startContainer": "hooks.start-container",
    "poststart": "hooks.poststart",
    "poststop": "hooks.poststop",
}


def prepared(box: Box) -> Container:
    return box.container("append:/hooks.log")


@case(
    *REQUIREMENT.values(),
    "hooks.order",
    "hooks.state",
    "hooks.state-pid",
    "state.schema",
    "hooks.runtime-namespace",
    "hooks.container-namespace",
)
def all_kinds_of_hooks(box: Box) -> None:
    container = prepared(box)
    container.config["annotations"] = {"com.example.key": "value"}
    for kind in REQUIREMENT:
        container.hook(kind, f"{kind}-1")
        container.hook(kind, f"{kind}-2")
    container.create()
    at_create = container.labels()
    inside = {name: os.readlink(f"/proc/{container.pid}/ns/{name}") for name in ("mnt", "uts", "net", "ipc")}
    for kind in CREATE_KINDS:
        box.check(
            REQUIREMENT[kind], at_create.count(f"{kind}-1") == 1, f"after create, there ran {at_create}"
        )
    container.start()
    container.report()
    at_start = container.labels()
    box.check(
        "hooks.start-container",
        "startContainer-1" not in at_create
        and at_start.count("startContainer-1") == 1
        and at_start.index("startContainer-1") < at_start.index("program"),
        f"after start, there ran {at_start}",
    )
    box.check(
        "hooks.poststart",
        "poststart-1" not in at_create and at_start.count("poststart-1") == 1,
        f"after start, there ran {at_start}",
    )
    container.ended()
    container.delete()
    at_delete = container.labels()
    box.check(
        "hooks.poststop",
        "poststop-1" not in at_start and at_delete.count("poststop-1") == 1,
        f"after delete, there ran {at_delete}",
    )
    for kind in REQUIREMENT:
        of_kind = [label for label in at_delete if label.startswith(f"{kind}-")]
        box.equal("hooks.order", of_kind, [f"{kind}-1", f"{kind}-2"], f"the order of {kind}")
    ran = [entry for entry in container.log() if entry["label"].partition("-")[0] in REQUIREMENT]
    if not ran:
        raise RuntimeFailed("no hook ran")
    for entry in ran:
        kind = entry["label"].partition("-")[0]
        try:
            state = json.loads(entry["stdin"])
        except ValueError:
            state = {}
        for key, wanted in (
            ("id", container.id),
            ("bundle", str(container.bundle)),
            ("annotations", container.config["annotations"]),
        ):
            box.equal("hooks.state", state.get(key), wanted, f"{kind}: {key} of the state")
        box.check(
            "hooks.state", state.get("ociVersion") and state.get("status"), f"{kind}: the state is {state}"
        )
        faults = schema_faults(state)
        box.check("state.schema", not faults, f"{kind}: {', '.join(faults)}")
        if kind != "poststop":
            seen = container.pid if kind in HOST_KINDS else 1  # the first of its PID namespace
            box.equal("hooks.state-pid", state.get("pid"), seen, f"{kind}: pid of the state")
        if kind in HOST_KINDS:
            own = {name: os.readlink(f"/proc/self/ns/{name}") for name in inside}
            found = {name: entry["namespaces"].get(name) for name in inside}
            box.equal("hooks.runtime-namespace", found, own, f"{kind}: the namespaces")
        else:
            found = {name: entry["namespaces"].get(name) for name in inside}
            box.equal("hooks.container-namespace", found, inside, f"{kind}: the namespaces")


# Where in the lifecycle a hook finds the container. While create is going on, its environment is there, and
# the operation has not ended: "creating" and "created" both say so.
STATUSES = {
    "prestart": {"creating", "created"},
    "createRuntime": {"creating", "created"},
    "createContainer": {"creating", "created"},
    "startContainer": {"created"},
    "poststart": {"running"},
    "poststop": {"stopped"},
}


@case("hooks.environment", "hooks.state-status", "hooks.poststart-after", "hooks.poststop-after")
def what_hooks_find(box: Box) -> None:
    container = box.container().runs("hold")
    container.mount("/tmp", "tmpfs", "environment")
    cgroups = [f"stat:{mount}/{container.id}" for mount in cgroup_mounts()]
    ops = {
        "prestart": (
            "read:/proc/{pid}/mountinfo",
            "readlink:/proc/{pid}/ns/net",
            "readlink:/proc/self/ns/net",
        ),
        "createContainer": ("read:/proc/self/mountinfo",),
        "poststart": ("readlink:/proc/{pid}/exe",),
        "poststop": tuple(cgroups),
    }
    ops["createRuntime"] = ops["prestart"]
    for kind in REQUIREMENT:
        container.hook(kind, kind, *ops.get(kind, ()))
    container.create()
    made = [op for op in cgroups if os.path.exists(op.removeprefix("stat:"))]
    container.start().report()
    container.stop()
    container.delete()
    log = {entry["label"]: entry for entry in container.log()}
    for kind, wanted in STATUSES.items():
        state = json.loads(log[kind]["stdin"]) if kind in log else {}
        found = state.get("status")
        box.check("hooks.state-status", found in wanted, f"{kind}: the status in the state is {found!r}")
    pid = container.pid
    for kind in CREATE_KINDS:
        report = Report(log.get(kind, {"ops": []}))
        here = "self" if kind == "createContainer" else pid
        lines = report.value(f"read:/proc/{here}/mountinfo").splitlines()
        there = any(line.split()[-2] == "environment" for line in lines)
        box.check("hooks.environment", there, f"{kind}: a mount of the configuration is not there")
        if kind != "createContainer":
            own, network = (report.value(f"readlink:/proc/{each}/ns/net") for each in ("self", pid))
            new = network and network != own
            box.check("hooks.environment", new, f"{kind}: the process's network namespace is {network!r}")
    program = Report(log.get("poststart", {"ops": []})).value(f"readlink:/proc/{pid}/exe")
    good = program.endswith("/bin/probe")
    box.check("hooks.poststart-after", good, f"the process still executes {program!r} when poststart runs")
    if not made:
        box.not_applicable("hooks.poststop-after", "the container has no cgroup to look for")
    for op in made:
        found = Report(log["poststop"]).op(op)["errno"] if "poststop" in log else None
        box.equal("hooks.poststop-after", found, errno.ENOENT, f"when poststop runs, the errno of {op}")


@case("hooks.args-env")
def args_and_env_of_hooks(box: Box) -> None:
    container = prepared(box)
    for kind in REQUIREMENT:
        container.hook(kind, kind, env=["ONE=1", "TWO=two words"])
    container.create().start().report()
    container.ended()
    container.delete()
    log = {entry["label"]: entry for entry in container.log()}
    for kind in REQUIREMENT:
        entry = log.get(kind, {})
        box.equal(
            "hooks.args-env", entry.get("argv"), container.config["hooks"][kind][0]["args"], f"{kind}: args"
        )
        # What else is in the environment is the runtime's affair.
        box.equal(
            "hooks.args-env",
            [value for value in entry.get("env", []) if value[:3] in ("ONE", "TWO")],
            ["ONE=1", "TWO=two words"],
            f"{kind}: env",
        )


def fails_at_create(box: Box, kind: str, requirement: str) -> None:
    container = prepared(box)
    container.hook(kind, "failing", status=1)
    container.hook(kind, "next")
    container.hook("poststop", "poststop")
    result = container.try_create()
    labels = container.labels()
    box.check(
        requirement, "failing" in labels and result.code not in (0, None), f"create is no error; {labels} ran"
    )
    box.check(requirement, "next" not in labels, "the next hook was run")
    left = container.left_behind()
    box.check(requirement, not any(item.startswith("process") for item in left), "its process stays")
    box.check(
        "hooks.failure-destroys", "failing" in labels and not left, f"{kind}: these stay: {', '.join(left)}"
    )
    box.check(
        "hooks.failure-poststop",
        "failing" in labels and "poststop" in labels,
        f"after {kind}, poststop is not run",
    )


@case("hooks.prestart-fails", "hooks.failure-destroys", "hooks.failure-poststop")
def a_failing_prestart_hook(box: Box) -> None:
    fails_at_create(box, "prestart", "hooks.prestart-fails")


@case("hooks.create-runtime-fails", "hooks.failure-destroys", "hooks.failure-poststop")
def a_failing_create_runtime_hook(box: Box) -> None:
    fails_at_create(box, "createRuntime", "hooks.create-runtime-fails")


@case("hooks.create-container-fails", "hooks.failure-destroys", "hooks.failure-poststop")
def a_failing_create_container_hook(box: Box) -> None:
    fails_at_create(box, "createContainer", "hooks.create-container-fails")


@case("hooks.start-container-fails", "hooks.failure-of-start-destroys", "hooks.failure-of-start-poststop")
def a_failing_start_container_hook(box: Box) -> None:
    container = prepared(box)
    container.hook("startContainer", "failing", status=1)
    container.create()
    result = container.call("start")
    box.check("hooks.start-container-fails", result.code not in (0, None), "start is no error")
    container.ended()
    box.equal("hooks.start-container-fails", container.labels(), ["failing"], "what ran")
    after_a_failing_start(box, "startContainer")


@case("hooks.poststart-fails", "hooks.failure-of-start-destroys", "hooks.failure-of-start-poststop")
def a_failing_poststart_hook(box: Box) -> None:
    container = box.container().runs("hold")
    container.hook("poststart", "failing", status=1)
    container.hook("poststart", "next")
    container.create()
    result = container.call("start")
    box.check(
        "hooks.poststart-fails",
        container.labels() == ["failing"] and result.code not in (0, None),
        f"start is no error; {container.labels()} ran",
    )
    box.check("hooks.poststart-fails", wait_gone(container), "its process goes on")
    after_a_failing_start(box, "poststart")


def after_a_failing_start(box: Box, kind: str) -> None:
    """runtime.md, "Lifecycle": it goes on with the destruction of the container and its poststop hooks."""
    container = prepared(box)
    container.hook(kind, "failing", status=1)
    container.hook("poststop", "poststop")
    result = container.try_create()
    if result:
        container.call("start")
    wait_gone(container)
    labels = container.labels()
    left = container.left_behind()
    destroyed = "failing" in labels and not left
    box.check("hooks.failure-of-start-destroys", destroyed, f"{kind}: these stay: {', '.join(left)}")
    ran = "failing" in labels and "poststop" in labels
    box.check("hooks.failure-of-start-poststop", ran, f"after {kind}, poststop is not run")


def wait_gone(container: Container) -> bool:
    deadline = time.monotonic() + container.box.patience / 4
    while not container.gone() and time.monotonic() < deadline:
        time.sleep(0.01)
    return container.gone()


@case("hooks.poststop-fails", "hooks.poststop-warning")
def a_failing_poststop_hook(box: Box) -> None:
    container = box.container()
    container.hook("poststop", "failing", status=1)
    container.hook("poststop", "next")
    container.create().start()
    container.ended()
    said = container.call("delete")  # whether it then says that all went well is not said
    if said.err.strip():
        box.check("hooks.poststop-warning", True)
    else:
        box.not_applicable("hooks.poststop-warning", "the runtime does not show it, as it may")
    box.equal("hooks.poststop-fails", container.labels(), ["failing", "next"], "what ran")
    left = container.left_behind()
    box.check("hooks.poststop-fails", not left, f"these stay: {', '.join(left)}")


@case("hooks.timeout")
def a_hook_with_a_timeout(box: Box) -> None:
    # Of the runtime, of the container's mount namespace, and of its root file system.
    for kind in ("createRuntime", "createContainer", "startContainer"):
        quick = box.container()
        quick.hook(kind, "quick", timeout=10)
        quick.create().start().report()
        container = box.container()
        container.hook(kind, "slow", seconds=int(box.patience) - 2, timeout=1)
        began = time.monotonic()
        result = container.try_create()
        if result and kind == "startContainer":
            result = container.call("start")
        seconds = time.monotonic() - began
        box.check("hooks.timeout", result.code not in (0, None), f"{kind}: it is no error")
        box.check(
            "hooks.timeout",
            container.labels() == ["slow"] and 0.9 < seconds < box.patience - 3,
            f"{kind}: it took {seconds:.1f} s",
        )


@case(
    "hooks.prestart-first",
    "hooks.create-container-after",
    "hooks.path-runtime",
    "hooks.path-container",
    "hooks.before-pivot",
)
def order_and_paths_of_hooks(box: Box) -> None:
    container = prepared(box)
    for kind in reversed(REQUIREMENT):
        container.hook(kind, kind)
        # One that is there on the runtime's side only, or in the container only.
        place = "bin" if kind == "startContainer" else "elsewhere"
        root = container.rootfs if kind == "startContainer" else container.bundle
        program = root / place / f"only-{kind}"
        program.parent.mkdir(exist_ok=True)
        os.link(box.probe, program)
        container.hook(kind, f"only-{kind}")
        entry = container.config["hooks"][kind][-1]
        entry["path"] = f"/bin/only-{kind}" if kind == "startContainer" else str(program)
    container.create().start().report()
    container.ended()
    container.delete()
    log = {entry["label"]: entry for entry in container.log()}
    order = list(log)

    def before(first: str, second: str) -> bool:
        return first in order and second in order and order.index(first) < order.index(second)

    box.check("hooks.prestart-first", before("only-prestart", "createRuntime"), f"they ran as {order}")
    after = before("only-createRuntime", "createContainer")
    box.check("hooks.create-container-after", after, f"they ran as {order}")
    missing = [kind for kind in REQUIREMENT if kind != "startContainer" and f"only-{kind}" not in log]
    box.check("hooks.path-runtime", not missing, f"these did not run: {missing}")
    box.check("hooks.path-container", "only-startContainer" in log, "it did not run")
    # Their log is at a path of the host's: after the pivot they could not have written to it.
    missing = [kind for kind in CREATE_KINDS if kind not in log]
    box.check("hooks.before-pivot", not missing, f"these did not see the host's files: {missing}")


@case("hooks.relative-path", "errors.unchanged")
def a_hook_with_a_relative_path(box: Box) -> None:
    def good(container: Container, kind: str) -> None:
        container.hook(kind, "absolute")

    def bad(container: Container, kind: str) -> None:
        container.hook(kind, "relative")
        container.config["hooks"][kind][0]["path"] = "bin/probe"

    for kind in REQUIREMENT:
        box.refused(
            "hooks.relative-path",
            partial(good, kind=kind),
            partial(bad, kind=kind),
            f"a relative path of {kind}",
            "errors.unchanged",
        )
