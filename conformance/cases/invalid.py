"""Values that the text calls invalid, each beside a valid one in the same bundle (see its "Valid values")."""

from collections.abc import Callable
from typing import Any, NamedTuple

from conformance.box import Box
from conformance.cases.options import NO_IDS
from conformance.container import Container
from conformance.host import can_map_ids
from conformance.model import NotApplicable, RuntimeFailed, case

Change = Callable[[Container], object]
MAPPINGS = [{"containerID": 0, "hostID": 1000, "size": 100}]
MASKED = "/proc/keys"


class Value(NamedTuple):
    """What to set to show that the runtime takes the valid value, and that it refuses the other."""

    requirement: str
    what: str
    good: Change
    bad: Change


def hook(timeout: int) -> Change:
    return lambda container: container.hook("createRuntime", "hook", timeout=timeout)


def seccomp(*names: str, action: str = "SCMP_ACT_ERRNO", op: str = "SCMP_CMP_EQ", **more: Any) -> Change:
    rule = {"names": list(names), "action": action, "args": [{"index": 0, "value": 7, "op": op}]}
    return lambda container: container.linux.update(
        seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], **more}
    )


def listener(**more: str) -> Change:
    return lambda container: container.linux.update(seccomp={"defaultAction": "SCMP_ACT_ALLOW", **more})


def mapped(*kinds: str) -> Change:
    def change(container: Container) -> None:
        container.mount("/mapped", "none", str(container.rootfs / "bin"), "rbind", "idmap")
        container.config["mounts"][-1].update(dict.fromkeys(kinds, MAPPINGS))

    return change


def namespace(path: str) -> Change:
    return lambda container: container.namespace("ipc", path)


def top(**values: Any) -> Change:
    return lambda container: container.config.update(values)


def device(type: str) -> Change:
    entry = {"path": "/dev/made", "type": type, "major": 1, "minor": 3}
    return lambda container: container.linux.update(devices=[entry])


def allowed(**values: Any) -> Change:
    entry = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm", **values}
    return lambda container: container.linux.update(resources={"devices": [entry]})


def linux(**values: Any) -> Change:
    return lambda container: container.linux.update(values)


def process(**values: Any) -> Change:
    return lambda container: container.process.update(values)


def io_priority(name: str, priority: int) -> Change:
    return process(ioPriority={"class": name, "priority": priority})


VALUES = (
    Value(
        "config.oci-version",
        "an ociVersion that is no version",
        top(ociVersion="1.0.2"),
        top(ociVersion="one"),
    ),
    Value(
        "root.required",
        "a configuration without root",
        top(),
        lambda container: container.config.pop("root"),
    ),
    Value("process.cwd-absolute", "a relative cwd", process(cwd="/tmp"), process(cwd="tmp")),
    Value("process.args-empty", "an empty args", process(), process(args=[])),
    Value("hooks.timeout-positive", "a timeout of 0", hook(10), hook(0)),
    Value("hooks.timeout-positive", "a timeout of -1", hook(10), hook(-1)),
    Value("annotations.map", "a list", top(annotations={}), top(annotations=["a"])),
    Value("annotations.key", "an empty key", top(annotations={"a": "b"}), top(annotations={"": "b"})),
    Value("annotations.value", "a number", top(annotations={"a": "1"}), top(annotations={"a": 1})),
    Value("namespaces.path-absolute", "a relative path", namespace("/proc/self/ns/ipc"), namespace("ipc")),
    Value("devices.type", "an unknown type of device", device("c"), device("x")),
    Value("cgroups.device-type", "an unknown type of device", allowed(), allowed(type="x")),
    Value("cgroups.device-access", "an unknown access", allowed(), allowed(access="rx")),
    Value("process.io-priority-invalid", "an unknown class", io_priority("IOPRIO_CLASS_BE", 3),
          io_priority("IOPRIO_CLASS_NO_SUCH", 3)),
    Value("process.io-priority-invalid", "a priority of 8", io_priority("IOPRIO_CLASS_BE", 7),
          io_priority("IOPRIO_CLASS_BE", 8)),
    Value("seccomp.names", "a rule without names", seccomp("getpriority"), seccomp()),
    Value("seccomp.invalid", "an unknown action", seccomp("getpriority"),
          seccomp("getpriority", action="SCMP_ACT_NO_SUCH")),
    Value("seccomp.invalid", "an unknown operator", seccomp("getpriority"),
          seccomp("getpriority", op="SCMP_CMP_NO_SUCH")),
    Value("seccomp.invalid", "an unknown architecture", seccomp("getpriority"),
          seccomp("getpriority", architectures=["SCMP_ARCH_NO_SUCH"])),
    Value("seccomp.invalid", "an unknown flag", seccomp("getpriority"),
          seccomp("getpriority", flags=["SECCOMP_FILTER_FLAG_NO_SUCH"])),
    Value("personality.flags", "a flag", linux(personality={"domain": "LINUX", "flags": []}),
          linux(personality={"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]})),
    Value("masked-paths.absolute", "a relative path", linux(maskedPaths=[MASKED]),
          linux(maskedPaths=[MASKED[1:]])),
    Value("readonly-paths.absolute", "a relative path", linux(readonlyPaths=[MASKED]),
          linux(readonlyPaths=[MASKED[1:]])),
)  # fmt: skip


@case(*dict.fromkeys(value.requirement for value in VALUES), "errors.unchanged")
def values_that_are_invalid(box: Box) -> None:
    for value in VALUES:
        process = value.requirement.startswith("process.")
        try:
            box.refused(
                value.requirement, value.good, value.bad, value.what, "errors.unchanged", at_start=process
            )
        except RuntimeFailed as error:
            box.check(value.requirement, False, str(error))
            if value is VALUES[-1] and not box.proven:
                raise


@case("mounts.mappings-together")
def mappings_of_one_kind(box: Box) -> None:
    if not can_map_ids(box.directory):
        raise NotApplicable(NO_IDS)
    control = box.container()
    mapped("uidMappings", "gidMappings")(control)
    if not control.try_create():
        box.not_applicable("mounts.mappings-together", "the runtime makes no id-mapped mounts")
        return
    control.must(control.call("delete", "--force"))
    for kind in ("uidMappings", "gidMappings"):
        box.refused(
            "mounts.mappings-together", mapped("uidMappings", "gidMappings"), mapped(kind), f"{kind} alone"
        )


@case("seccomp.listener-metadata")
def metadata_for_nobody(box: Box) -> None:
    box.refused(
        "seccomp.listener-metadata",
        listener(),
        listener(listenerMetadata="data"),
        "listenerMetadata without listenerPath",
    )
