"""The cgroups of a container: which directories, which values, and how its first process gets in.

`plan` turns `linux.cgroupsPath` and `linux.resources` into plain lists for the layout at hand (v1
controllers, cgroup v2, or both), which `host.cgroups` carries out; `enter` writes the steps that
move a process. Pure. Specification: config-linux.md, "Control groups"; cgroups(7).
"""



from _struct import Struct

from pyrunc.compile import device_filter
from pyrunc.compile.settings import Layout, Settings, Write
from pyrunc.compile.syncs import SYNC_SCOPE
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import Builder
from pyrunc.program.model import Data, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyrunc.compile.systemd import Unit


class Plan:
    """What the host does before the container's process exists. Paths are absolute.

    directories  controller ("" for v2) -> cgroup directory; co-mounted controllers share one
    inherit      v1 cpuset directories, outermost first, that take empty values from their parent
    parents      (file, controllers) of cgroup v2, outermost first
    settings     the values of `linux.resources`
    devices      lists for v1's device controller, which follow them
    device_program  eBPF instructions where cgroup v2 has to filter devices
    late         controllers whose limit does not admit the process that prepares the container:
                 only the container's own process joins these (see `join_late`)
    owner        host uid that the v2 cgroup is delegated to
    delegated    cgroup below the container's that its process is moved to, "" for none (see `delegation`)
    asked        pointer of the first key that needs cgroups at all, "" if there is none
    disabled     there are to be no cgroups, nor, if unrestricted, what the device rules ask for
    unit         the scope that the container is, where systemd makes the cgroups; or None
    """

    __slots__ = (
        "asked", "delegated", "device_program", "devices", "directories", "disabled", "inherit", "late",
        "owner", "parents", "rootless", "settings", "unit", "unrestricted",
    )  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        self.directories: dict[str, str] = {}
        self.inherit: list[str] = []
        self.parents: list[tuple[str, tuple[str, ...]]] = []
        self.settings = settings
        self.devices: list[Write] = []
        self.device_program: bytes | None = None
        self.late: tuple[str, ...] = ()
        self.owner: int | None = None
        self.delegated = ""
        self.asked = settings.asked
        self.disabled = False
        self.unrestricted = False
        self.rootless = False
        self.unit: Unit | None = None

    def writes(self) -> list[Write]:
        """All values, in order."""
        return [*self.settings.writes, *self.devices]

    def record(self) -> "dict[str, Any]":
        """What the state file keeps; every later function of `host.cgroups` works from it."""
        directories = dict(self.directories)
        if self.unit is None:
            return {"driver": "disabled" if self.disabled else "cgroupfs", "directories": directories}
        return {
            "driver": "systemd", "directories": directories, "unit": self.unit.name, "user": self.unit.user,
            "collected": self.unit.collected,
        }  # fmt: skip


def plan(
    config: "dict[str, Any]", layout: Layout, container_id: str, *, rootless: bool = False,
    unit: "Unit | None" = None, disabled: bool = False,
) -> Plan:
    """The plan for a configuration, whose cgroups are the unit's where there is one (--systemd-cgroup);
    disabled means that there are to be none.

    Raises Error for what the layout cannot express.
    """
    linux = config.get("linux") or {}
    resources = linux.get("resources") or {}
    if any(name != "devices" for name in resources):
        from pyrunc.compile.resources import settings

        result = Plan(settings(resources, layout))
    else:
        result = Plan(Settings(layout, "/linux/resources"))
    result.rootless = rootless
    if disabled:
        from pyrunc.compile import no_cgroup

        no_cgroup.settle(result, config)
        return result
    if unit is None:
        _directories(result, layout, linux.get("cgroupsPath") or "", container_id)
    else:
        from pyrunc.compile import systemd

        result.unit = unit
        result.directories = systemd.directories(layout, unit)
        result.asked = "/linux/cgroupsPath"
    _inherit(result, layout)
    _parents(result, layout)
    state = _devices(result, layout, resources.get("devices") or [])
    # Whether stage 1 would count: on v1 it joins before it clones, on v2 only where it cannot clone
    # into the cgroup (see `join`).
    joined = any(n["type"] == "cgroup" and n.get("path") for n in linux.get("namespaces") or ())
    if result.settings.pids == 1 and ("pids" in layout.v1 or joined):
        result.late = ("pids",)
    if unit is not None:
        systemd.complete(result, unit, state)
    result.owner = _owner(config, linux) if layout.pure_v2 else None
    if (config.get("annotations") or {}).get("run.oci.delegate-cgroup"):
        from pyrunc.compile import delegation

        delegation.add(result, config, layout)
    return result


def clean(path: str) -> str:
    """The path without empty, "." and ".." components; ".." never leads above the start."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _directories(result: Plan, layout: Layout, path: str, container_id: str) -> None:
    pointer = "/linux/cgroupsPath"
    absolute = path.startswith("/")
    relative = clean(path)
    if path:
        if not relative:
            raise Error(f'"{path}" is the root of the hierarchies; name a cgroup below it', pointer=pointer)
        if "\0" in path or "\n" in path:
            raise Error("a cgroup's name cannot hold a newline or a NUL character", pointer=pointer)
        result.asked = pointer
    else:
        relative = container_id
    directories = result.directories
    for controller, mount in layout.v1.items():
        # A named hierarchy belongs to its owner, except systemd's: what it tracks sessions with.
        if "=" in controller and controller != "name=systemd":
            continue
        start = mount if absolute else _below(mount, layout.own.get(controller, "/"))
        directories[controller] = f"{start}/{relative}"
    if layout.v2 is None:
        return
    own = layout.own.get("", "/")
    if layout.pure_v2:
        # The runtime's own cgroup has processes, so that no controller can be enabled below it
        # ("no internal processes"); its parent is free of them.
        own = own.rpartition("/")[0]
    start = layout.v2 if absolute else _below(layout.v2, own)
    directories[""] = f"{start}/{relative}"


def _inherit(result: Plan, layout: Layout) -> None:
    cpuset = result.directories.get("cpuset")
    if cpuset:
        mount = layout.v1["cpuset"]
        result.inherit = [f"{mount}/{step}" for step in _steps(cpuset[len(mount) + 1 :])]


def _parents(result: Plan, layout: Layout) -> None:
    """The v2 controllers to enable above the container's cgroup: all, for the sake of accounting;
    beside v1 only those that a value needs, since nothing else there is the runtime's to change."""
    if not layout.v2_controllers:
        return
    assert layout.v2 is not None
    directory = result.directories[""]
    controllers = layout.v2_controllers
    if not layout.pure_v2:
        needed = {w.file.partition(".")[0] for w in result.settings.writes if not w.hierarchy}
        controllers = tuple(c for c in controllers if c in needed)
        if not controllers:
            return
    above = [layout.v2, *(f"{layout.v2}/{step}" for step in _steps(directory[len(layout.v2) + 1 :]))]
    result.parents = [(f"{ancestor}/cgroup.subtree_control", controllers) for ancestor in above[:-1]]


def _below(mount: str, own: str) -> str:
    return mount + own if own != "/" else mount


def _steps(relative: str) -> "Iterable[str]":
    """a, a/b, a/b/c for a/b/c."""
    end = relative.find("/")
    while end > 0:
        yield relative[:end]
        end = relative.find("/", end + 1)
    yield relative


# -- devices -----------------------------------------------------------------


def _devices(
    result: Plan, layout: Layout, rules: "list[dict[str, Any]]"
) -> "device_filter.Devices | None":
    """Restricts the devices; what the rules come to, or None where nothing can restrict them."""
    # Neither device controller lets an unprivileged runtime in, which has no devices to give either.
    if result.rootless:
        return None
    state = device_filter.devices(rules)
    pointer = "/linux/resources/devices"
    if "devices" in result.directories:
        rules_v1 = device_filter.v1_rules(state)
        result.devices = [Write("devices", file, line, pointer) for file, line in rules_v1]
    elif "" in result.directories:
        result.device_program = device_filter.program(state)
    elif not state.allow or state.rules:
        raise Error(
            "no cgroup hierarchy is mounted that can restrict devices; mount cgroup v2 on /sys/fs/cgroup",
            pointer=pointer,
        )
    return state


def _owner(config: "dict[str, Any]", linux: "dict[str, Any]") -> int | None:
    """The host uid that may manage cgroups below the container's: that of its process, where it
    has a cgroup namespace of its own and a writable mount of the hierarchy. None where the owner
    stays. The mappings are those of the user namespace, new or joined."""
    joined = {n["type"]: bool(n.get("path")) for n in linux.get("namespaces") or ()}
    if joined.get("cgroup") is not False:
        return None
    writable = False
    for mount in config.get("mounts") or ():
        if mount["destination"].rstrip("/") == "/sys/fs/cgroup":
            options = mount.get("options") or ()
            writable = mount.get("type") in ("cgroup", "cgroup2") and not {"ro", "rro"} & set(options)
    return process_uid(config, linux) if writable else None


def process_uid(config: "dict[str, Any]", linux: "dict[str, Any]") -> int | None:
    """The host uid of the container's process; None where that is root, or not mapped."""
    uid = int(((config.get("process") or {}).get("user") or {}).get("uid", 0))
    if not any(n["type"] == "user" for n in linux.get("namespaces") or ()):
        return uid or None
    for mapping in linux.get("uidMappings") or ():
        offset = uid - mapping["containerID"]
        if 0 <= offset < mapping["size"]:
            return int(mapping["hostID"] + offset)
    return None


# -- steps -------------------------------------------------------------------

_attr_load = Struct("=IIQQIIQII16s").pack
_attr_attach = Struct("=IIIII").pack
# No helper that only GPL programs may call is used.
_LICENSE = Data("license", b"Apache-2.0\0", ("Apache-2.0",))


def join(b: Builder, plan: Plan, *, into: bool = True) -> Slot | None:
    """Steps that put stage 1 into the container's cgroups, and restrict its devices.

    They come before stage 1 enters a user namespace, which takes the privilege for them away. With
    `into` and a cgroup v2 directory, stage 1 stays outside of that one, and the result is its
    descriptor for `Builder.clone(cgroup=…)`, to be closed after it: the kernel then makes the
    child there, without the grace period of a move. Stage 1 still needs the uid that owns the
    cgroup when it clones, so that `into` has to be false where it takes another before.
    """
    if plan.disabled:
        from pyrunc.compile import no_cgroup

        no_cgroup.warn(b, plan)
    b.origin = "/linux/cgroupsPath"
    directory = _join(b, plan.directories, plan.late, into, plan.device_program)
    b.origin = ""
    return directory


def join_late(b: Builder, plan: Plan) -> None:
    """Steps of the container's own process, first after the clone: what `join` left to it.

    A limit of one process has no room for stage 1 and its child at once; moving into a full
    cgroup is allowed, only fork(2) and clone(2) are not. Where `plan.late` names something, a new
    cgroup namespace has to be unshared after these steps, since its roots are the cgroups that the
    process is in by then; else clone3(2) can make it, CLONE_INTO_CGROUP or not.
    """
    b.origin = "/linux/resources/pids/limit"
    for controller in plan.late:
        if controller in plan.directories:
            _move(b, plan.directories[controller] + "/tasks", controller)
        elif "" in plan.directories:
            _move(b, plan.directories[""] + "/cgroup.procs", "cgroup")
    b.origin = ""


def join_record(
    b: Builder, record: "dict[str, Any]", below: "Iterable[str]" = (), *, into: bool = True
) -> Slot | None:
    """As `join`, for a process that enters an existing container, from its `Plan.record()`.

    below holds `exec --cgroup` values: a path below the container's cgroup for every hierarchy,
    or "controller[,controller]:path" for some of them. Into the scope of a user's systemd it is
    systemd that moves the process, at SYNC_SCOPE.
    """
    directories: dict[str, str] = dict(record["directories"])
    for text in below:
        if not directories:
            raise Error(f"--cgroup {text}: the container has no cgroup")
        names, path = split_below(text)
        chosen = list(directories) if names is None else names.split(",")
        for name in chosen:
            if name not in directories:
                raise Error(
                    f'--cgroup {text}: the container has no cgroup of a controller "{name}" '
                    f"(it has {', '.join(filter(None, directories)) or 'one for all: give a path only'})"
                )
        # Not `clean`: a path that leads out is a mistake to be told.
        if ".." in path.split("/"):
            raise Error(f"--cgroup {text}: the path has to stay below the container's cgroup")
        for name in chosen:
            directories[name] = f"{record['directories'][name]}/{clean(path)}".rstrip("/")
    if record.get("user") and directories:
        # The user may write to the scope, but not to the cgroup above both, as a move demands.
        b.sync(SYNC_SCOPE)
        return None
    return _join(b, directories, (), into, None)


def split_below(text: str) -> tuple[str | None, str]:
    """The controllers and the path of a value of `exec --cgroup`; None stands for all controllers."""
    # The first colon, since no controller has one in its name: the names of cgroups are the container's.
    names, colon, path = text.partition(":")
    return (names, path) if colon else (None, text)


def _join(
    b: Builder, directories: dict[str, str], late: tuple[str, ...], into: bool, program: bytes | None
) -> Slot | None:
    b.phase = "cgroup"
    v2 = directories.get("")
    for directory in dict.fromkeys(d for name, d in directories.items() if name and name not in late):
        # `tasks` moves one thread, and stage 1 has no other. The kernel can then do without the
        # lock that `cgroup.procs` needs against forks, which costs an RCU grace period (some
        # 7 ms where nobody moved lately), see cgroup_procs_write_start().
        _move(b, f"{directory}/tasks", directory)
    if v2 is None:
        return None
    slot = b.openat2(
        f.AT_FDCWD, v2, f.O_PATH | f.O_DIRECTORY, resolve=_RESOLVE, name="cgroup",
        note="the cgroup has been removed; was the container deleted?",
    )  # fmt: skip
    if program is not None:
        _attach(b, slot, program)
    if late and "pids" not in directories:
        b.close(slot)
        return None
    if into:
        return slot
    b.close(slot)
    _move(b, f"{v2}/cgroup.procs", "cgroup")
    return None


_RESOLVE = f.RESOLVE_NO_SYMLINKS | f.RESOLVE_NO_MAGICLINKS


def _move(b: Builder, file: str, name: str) -> None:
    fd = b.openat2(f.AT_FDCWD, file, f.O_WRONLY, resolve=_RESOLVE, name=name)
    b.write(fd, "0")
    b.close(fd)


def _attach(b: Builder, cgroup: Slot, program: bytes) -> None:
    origin, b.origin = b.origin, "/linux/resources/devices"
    insns = Data("bpf_insns", program, (len(program) // 8,))
    attr = Data(
        "bpf_attr",
        _attr_load(
            f.BPF_PROG_TYPE_CGROUP_DEVICE, len(program) // 8, 0, 0, 0, 0, 0, 0, 0, b"pyrunc_devices"
        ),
        (f.BPF_PROG_TYPE_CGROUP_DEVICE, len(program) // 8),
        ((8, insns), (16, _LICENSE)),
    )
    fd = b.slot("device_filter")
    note = "the kernel needs CONFIG_CGROUP_BPF, and the runtime CAP_BPF, to restrict devices"
    b.step("bpf", f.BPF_PROG_LOAD, attr, 64, out=fd, note=note)
    attach = Data(
        "bpf_attr",
        _attr_attach(0, 0, f.BPF_CGROUP_DEVICE, f.BPF_F_ALLOW_MULTI, 0),
        (f.BPF_CGROUP_DEVICE, f.BPF_F_ALLOW_MULTI),
    )
    b.store(attach, 0, cgroup, 4)
    b.store(attach, 4, fd, 4)
    # The cgroup keeps the program from here on.
    b.step("bpf", f.BPF_PROG_ATTACH, attach, 20, note=note)
    b.close(fd)
    b.origin = origin
