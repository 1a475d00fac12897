"""runtime.md: the state, the operations and their errors."""

import json
import os
from typing import Any

from conformance.box import Box
from conformance.container import Container
from conformance.host import mount_points, wait
from conformance.model import MET, RuntimeFailed, case


def plain(container: Container) -> None:
    """A control: nothing is changed."""


def held(box: Box) -> Container:
    """A running container whose program waits for signals."""
    container = box.container().runs("hold").create().start()
    container.report()
    return container


def schema_faults(state: dict[str, Any]) -> list[str]:
    """What of a state is against state-schema.json; additional properties may be there."""
    wanted = {"ociVersion": str, "id": str, "status": str, "pid": int, "bundle": str, "annotations": dict}
    faults = [
        f"{key} is {state[key]!r}"
        for key, type in wanted.items()
        if key in state and (not isinstance(state[key], type) or isinstance(state[key], bool))
    ]
    faults += [f"there is no {key}" for key in ("ociVersion", "id", "status", "bundle") if key not in state]
    if not faults:
        strange = {k: v for k, v in state.get("annotations", {}).items() if not isinstance(v, str)}
        faults += [f"annotations has {strange}"] * bool(strange)
        faults += ["pid is negative"] * (state.get("pid", 0) < 0)
    return faults


def stopped(box: Box) -> Container:
    container = box.container().create().start()
    container.ended()
    return container


@case(
    "state.oci-version",
    "state.id",
    "state.status",
    "state.pid",
    "state.bundle",
    "state.annotations",
    "state.schema",
    "create.status",
    "start.status",
    "start.runs",
    "kill.status",
    "annotations.unknown",
    "scope.operations",
    "operations.supported",
    "query-state.returns",
)
def state_through_the_lifecycle(box: Box) -> None:
    container = box.container().runs("hold")
    container.config["annotations"] = {"com.example.key": "value", "com.example.empty": ""}
    result = container.try_create()
    box.check("annotations.unknown", result, str(result))
    container.must(result)
    created = container.state()
    box.equal("create.status", created.get("status"), "created", "the status after create")
    container.start()
    report = container.report()
    running = container.state()
    box.check(
        "start.runs", report["pid"] == 1, f"the program is process {report['pid']} of its namespace, not 1"
    )
    box.equal("start.status", running.get("status"), "running", "the status after start")
    container.stop()
    ended = container.state()
    box.equal("kill.status", ended.get("status"), "stopped", "the status of a process that was killed")
    for state in (created, running, ended):
        version = state.get("ociVersion")
        box.check(
            "state.oci-version", isinstance(version, str) and version.count(".") >= 2, f"it is {version!r}"
        )
        faults = schema_faults(state)
        box.check("state.schema", not faults, ", ".join(faults))
        box.equal("state.id", state.get("id"), container.id, "the id")
        box.equal("state.bundle", state.get("bundle"), str(container.bundle), "the bundle")
        box.equal(
            "state.annotations",
            {key: (state.get("annotations") or {}).get(key) for key in container.config["annotations"]},
            container.config["annotations"],
            "the annotations",
        )
    box.equal(
        "state.status",
        [state.get("status") for state in (created, running, ended)],
        ["created", "running", "stopped"],
        "the statuses",
    )
    for state in (created, running):
        box.equal("state.pid", state.get("pid"), container.pid, "the pid")
    for state in (created, running, ended):
        missing = {"ociVersion", "id", "status", "bundle"} - set(state)
        box.check("query-state.returns", not missing, f"the state has no {', '.join(sorted(missing))}")
    container.delete()
    # All five operations were made on it by who made it, and none was an error.
    box.check("operations.supported", True)
    box.check("scope.operations", True)


@case("kill.status")
def a_program_that_exits_is_stopped(box: Box) -> None:
    container = stopped(box)
    box.equal(
        "kill.status", container.state().get("status"), "stopped", "the status after the program's exit"
    )


@case(
    "query-state.no-id",
    "start.no-id",
    "kill.no-id",
    "delete.no-id",
    "create.no-arguments",
    "query-state.unknown",
    "start.unknown",
    "kill.unknown",
    "delete.unknown",
)
def missing_arguments_and_unknown_ids(box: Box) -> None:
    container = held(box)
    container.state()
    unknown = f"{container.id}-unknown"
    for verb, none, other in (
        ("state", "query-state.no-id", "query-state.unknown"),
        ("start", "start.no-id", "start.unknown"),
        ("kill", "kill.no-id", "kill.unknown"),
        ("delete", "delete.no-id", "delete.unknown"),
    ):
        box.check(none, box.call(verb).code not in (0, None), f"{verb} without an id is no error")
        more = ["TERM"] if verb == "kill" else []
        box.check(
            other, box.call(verb, unknown, *more).code not in (0, None), f"{verb} of no container is no error"
        )
    result = box.call("create", "--bundle", str(container.bundle))
    box.check("create.no-arguments", result.code not in (0, None), "create without an id is no error")
    # Where the bundle is the working directory by default, that is none: it has no config.json.
    result = box.call("create", unknown)
    box.check("create.no-arguments", result.code not in (0, None), "create without a bundle is no error")
    if container.state().get("status") != "running":
        raise RuntimeFailed("these errors had an effect on a container that they are not about")
    container.stop()
    container.delete()


@case("create.id-taken", "state.id")
def an_id_in_use_is_refused(box: Box) -> None:
    container = held(box)
    before = container.state()
    other = box.container()
    other.write_config()
    result = box.call("create", "--bundle", str(other.bundle), container.id)
    after = container.state()
    box.check("create.id-taken", not result, "a second container of this id is no error")
    box.check("create.id-taken", before == after and not container.gone(), f"it was {before}, and is {after}")
    box.equal("state.id", after.get("id"), container.id, "the id")
    container.stop()


@case("create.id-invalid")
def invalid_ids_are_refused(box: Box) -> None:
    container = box.container().create()
    container.must(container.call("delete", "--force"))
    for id in ("", "..", "../conformance", "a/b"):
        result = box.call("create", "--bundle", str(container.bundle), id)
        box.check("create.id-invalid", result.code not in (0, None), f"the id {id!r} is no error")
        box.check("create.id-invalid", not box.call("state", id), f"there is a container {id!r}")
        if result:
            box.call("delete", "--force", id)


@case("bundle.config-json", "errors.unchanged")
def a_bundle_without_config_is_refused(box: Box) -> None:
    control = box.container().create()
    control.must(control.call("delete", "--force"))
    empty = box.container()
    result = box.call("create", "--bundle", str(empty.bundle), empty.id)
    box.check("bundle.config-json", result.code not in (0, None), "a bundle without config.json is no error")
    left = empty.left_behind()
    box.check("errors.unchanged", not left, f"without config.json, these stay: {', '.join(left)}")


@case("lifecycle.environment-error", "create.cannot-apply", "errors.unchanged")
def an_environment_that_cannot_be_made_is_refused(box: Box) -> None:
    for requirement in ("lifecycle.environment-error", "create.cannot-apply"):
        box.refused(
            requirement,
            lambda good: good.mount("/tmp", "bind", str(good.bundle), "bind"),
            lambda bad: bad.mount("/tmp", "bind", f"{bad.bundle}/no-such-directory", "bind"),
            "a bind mount of what does not exist",
            "errors.unchanged",
        )


@case("lifecycle.program-waits", "lifecycle.config-read-once", "create.resources")
def create_makes_the_environment_and_waits(box: Box) -> None:
    container = box.container("append:/hooks.log")
    container.mount("/tmp", "tmpfs", "tmpfs")
    container.create()
    for kind, file in (("pid", "pid"), ("mount", "mnt"), ("uts", "uts"), ("ipc", "ipc"), ("network", "net")):
        found = os.readlink(f"/proc/{container.pid}/ns/{file}")
        box.check(
            "create.resources",
            found != os.readlink(f"/proc/self/ns/{file}"),
            f"before start, the process is in the runtime's {kind} namespace",
        )
    points = mount_points(container.pid)
    box.check(
        "create.resources",
        any(point.endswith("/tmp") for point in points),
        "before start, /tmp is not mounted",
    )
    wait(container.lines, 0.3)
    box.check(
        "lifecycle.program-waits", not container.lines() and not container.labels(), "it ran before start"
    )
    changed = json.loads(json.dumps(container.config))
    changed["process"]["args"] = ["/bin/probe", "report", "stat:/changed"]
    changed["process"]["env"] = ["CHANGED=1"]
    (container.bundle / "config.json").write_text(json.dumps(changed))
    report = container.start().report()
    box.check("lifecycle.program-waits", container.labels() == ["program"], "it did not run after start")
    # What else a runtime sets, such as HOME, is its own affair.
    box.check(
        "lifecycle.config-read-once",
        "CHANGED=1" not in report["env"] and "PATH=/bin" in report["env"],
        f"the environment is {report['env']}",
    )
    box.equal("lifecycle.config-read-once", report["argv"], container.process["args"], "the arguments")
    container.ended()


@case("start.running")
def start_of_a_running_container(box: Box) -> None:
    container = held(box)
    box.check("start.running", not container.call("start"), "a second start is no error")
    box.check(
        "start.running", container.state().get("status") == "running" and not container.gone(), "it is ended"
    )
    box.equal("start.running", len(container.lines()), 1, "the number of times the program ran")
    container.stop()


@case("start.stopped", "kill.stopped")
def operations_on_a_stopped_container(box: Box) -> None:
    container = stopped(box)
    for requirement, result in (
        ("start.stopped", container.call("start")),
        ("kill.stopped", container.call("kill", "TERM")),
    ):
        box.check(requirement, not result, f"{result.verb} of a stopped container is no error")
        box.equal(requirement, container.state().get("status"), "stopped", f"the status after {result.verb}")
    box.equal("start.stopped", len(container.lines()), 1, "the number of times the program ran")


@case("start.no-process")
def start_without_a_process(box: Box) -> None:
    control = box.container().create().start()
    control.ended()
    container = box.container()
    del container.config["process"]
    result = container.try_create()
    # A runtime may already find this at create.
    box.check(
        "start.no-process", not result or not container.call("start"), "neither create nor start is an error"
    )


@case("kill.signal", "kill.status")
def kill_sends_the_signal(box: Box) -> None:
    container = held(box)
    for name, number in (("USR1", 10), ("12", 12), ("SIGHUP", 1), ("TERM", 15)):
        result = container.call("kill", name)
        box.check("kill.signal", result, str(result))
        wait(lambda number=number: {"signal": number} in container.lines(), box.patience / 4)  # type: ignore[misc]
        box.check("kill.signal", {"signal": number} in container.lines(), f"{name} did not arrive")
    container.ended()
    if container.status is not None:
        box.equal("kill.signal", container.status, 15, "the program's exit status after SIGTERM")
    box.equal("kill.status", container.state().get("status"), "stopped", "the status")


@case("kill.created")
def kill_of_a_created_container(box: Box) -> None:
    container = box.container("append:/hooks.log").create()
    result = container.call("kill", "KILL")
    box.check("kill.created", result, str(result))
    container.ended()
    box.equal("kill.created", container.state().get("status"), "stopped", "the status")
    box.check("kill.created", not container.labels(), "the program ran")


@case("delete.created")
def delete_of_a_created_container(box: Box) -> None:
    container = box.container().runs("hold").create()
    box.check("delete.created", not container.call("delete"), "delete of a created container is no error")
    if box.observations[-1].status == MET:
        box.equal("delete.created", container.state().get("status"), "created", "the status after it")
        container.start().report()
        container.stop()


@case("delete.running")
def delete_of_a_running_container(box: Box) -> None:
    container = held(box)
    box.check("delete.running", not container.call("delete"), "delete of a running container is no error")
    box.check(
        "delete.running",
        not container.gone() and container.state().get("status") == "running",
        "it had an effect",
    )
    container.stop()


@case("lifecycle.destroyed", "delete.resources", "delete.others-resources")
def delete_undoes_create(box: Box) -> None:
    other = held(box)
    container = box.container().runs("hold")
    source = container.bundle / "source"
    source.mkdir()
    (source / "file").write_text("kept")
    container.mount("/tmp", "bind", str(source), "bind")
    container.run()
    made = container.left_behind()
    container.stop()
    container.delete()
    left = container.left_behind()
    for requirement in ("lifecycle.destroyed", "delete.resources"):
        box.check(requirement, made and not left, f"these stay: {', '.join(left)}")
    box.check(
        "delete.others-resources",
        (source / "file").read_text() == "kept",
        "the source of a bind mount changed",
    )
    box.check(
        "delete.others-resources", (container.rootfs / "bin/probe").exists(), "the root file system changed"
    )
    box.check("delete.others-resources", (container.bundle / "config.json").exists(), "config.json is gone")
    box.check(
        "delete.others-resources",
        not other.gone() and other.state().get("status") == "running",
        "another container was ended",
    )
    again = container.try_create()
    box.check("delete.resources", again, f"the id cannot be used again: {again}")
    other.stop()
