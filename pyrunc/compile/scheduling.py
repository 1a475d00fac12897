"""How the kernel treats the process beside limits: CPU, I/O, NUMA memory and execution domain.

config.md "Linux Process" (scheduler, ioPriority, execCPUAffinity), config-linux.md "Memory policy" and
"Personality". Imported only for a configuration that has one of these.
"""

from _struct import Struct

from pyrunc.errors import Error
from pyrunc.linux.scheduling import (
    IOPRIO_CLASS_SHIFT,
    IOPRIO_CLASSES,
    IOPRIO_WHO_PROCESS,
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    PERSONALITIES,
    POLICIES,
    POLICY_FLAGS,
)
from pyrunc.program.build import Builder
from pyrunc.program.model import Data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# struct sched_attr: size, sched_policy, sched_flags, sched_nice, sched_priority, sched_runtime,
# sched_deadline, sched_period, sched_util_min, sched_util_max
_sched_attr = Struct("=IIQiIQQQII")
_REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
RESET = "SCHED_FLAG_RESET_ON_FORK"
_WITH_NICE = ("SCHED_OTHER", "SCHED_BATCH")

# The largest that kernels are built with: CONFIG_NR_CPUS, and CONFIG_NODES_SHIFT (as a number of nodes).
MAX_CPUS, MAX_NODES = 8192, 1024


def numbers(text: str, most: int, what: str, pointer: str) -> list[int]:
    """The numbers of a list such as 0-3,7 (cpuset(7), "List format"), ascending."""
    found: set[int] = set()
    for element in text.split(","):
        first, dash, last = (part.strip() for part in element.partition("-"))
        if not first and not dash:
            continue
        if not _is_number(first) or (dash and not _is_number(last)):
            raise Error(
                f'"{element.strip()}" is not a number or a range of numbers, as in 0-3,7', pointer=pointer
            )
        low, high = int(first), int(last or first)
        if low > high:
            raise Error(f"the range {low}-{high} runs backwards", pointer=pointer)
        if high >= most:
            raise Error(f"there is no {what} {high}; Linux has at most {most} of them", pointer=pointer)
        found.update(range(low, high + 1))
    if not found:
        raise Error(f'"{text}" names no {what}', pointer=pointer)
    return sorted(found)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _mask(kind: str, members: "Iterable[int]", shown: str) -> Data:
    """A bit mask of whole longs, as the kernel takes CPUs and nodes."""
    bits = 0
    for number in members:
        bits |= 1 << number
    longs = (bits.bit_length() + 63) // 64
    return Data(kind, bits.to_bytes(8 * longs, "little"), (shown,))


# -- before and in the container -----------------------------------------------


def check(config: "dict[str, Any]", process: "dict[str, Any]") -> None:
    """Refuses when a container is created what would fail at `start`, or each `exec` in it."""
    if process.get("execCPUAffinity"):
        for moment in ("initial", "final"):
            _cpus(process, moment)
    scheduler = process.get("scheduler") or {}
    hooks = (config.get("hooks") or {}).get("startContainer")
    if hooks and scheduler.get("policy") == "SCHED_DEADLINE" and RESET not in (scheduler.get("flags") or ()):
        raise Error(
            f"startContainer hooks need {RESET}, since a SCHED_DEADLINE process cannot fork without it "
            "(sched(7)); add the flag, or use another kind of hook",
            pointer="/process/scheduler/flags",
        )


def _inherited(scheduler: "dict[str, Any]") -> bool:
    """Whether a child has its parent's policy (sched(7))."""
    flags = scheduler.get("flags") or ()
    return scheduler["policy"] != "SCHED_DEADLINE" and RESET not in flags


def outside(b: Builder, process: "dict[str, Any]") -> None:
    """What needs privilege on the host, before a user namespace takes it; later processes inherit it."""
    scheduler = process.get("scheduler")
    if scheduler and _inherited(scheduler):
        _scheduler(b, scheduler)
    if process.get("ioPriority"):
        _io_priority(b, process["ioPriority"])


def inside(b: Builder, config: "dict[str, Any]", process: "dict[str, Any]", *, user_namespace: bool) -> None:
    """The rest, by the process itself; all of it where there was no user namespace to come before."""
    linux = config.get("linux", {})
    scheduler = process.get("scheduler")
    if scheduler and not (user_namespace and _inherited(scheduler)):
        _scheduler(b, scheduler)
    if process.get("ioPriority") and not user_namespace:
        _io_priority(b, process["ioPriority"])
    if linux.get("memoryPolicy"):
        _memory_policy(b, linux["memoryPolicy"])
    if linux.get("personality"):
        _personality(b, linux["personality"])


# -- scheduler -----------------------------------------------------------------


def _check_scheduler(b: Builder, scheduler: "dict[str, Any]", flags: "Iterable[str]") -> None:
    policy: str = scheduler["policy"]
    pointer = "/process/scheduler"
    if policy not in POLICIES:
        raise Error(
            f"Linux has no {policy}; choose one of {', '.join(POLICIES)}", pointer=f"{pointer}/policy"
        )
    nice, priority = scheduler.get("nice", 0), scheduler.get("priority", 0)
    if not -20 <= nice <= 19:
        raise Error(f"the nice value {nice} is not one of -20 to 19", pointer=f"{pointer}/nice")
    if nice and policy not in _WITH_NICE:
        b.warn(f"{pointer}/nice", f"it has no effect with {policy}")
    if policy in _REAL_TIME:
        # What is kept need not be given.
        least = 0 if "SCHED_FLAG_KEEP_PARAMS" in flags else 1
        if not least <= priority <= 99:
            raise Error(
                f"the priority of {policy} is 1 (lowest) to 99, not {priority}", pointer=f"{pointer}/priority"
            )
    elif priority:
        raise Error(
            f"a priority is for SCHED_FIFO and SCHED_RR; remove it, or change {policy}",
            pointer=f"{pointer}/priority",
        )
    runtime, deadline, period = (scheduler.get(key, 0) for key in ("runtime", "deadline", "period"))
    if policy == "SCHED_DEADLINE":
        if not 0 < runtime <= deadline <= (period or deadline):
            raise Error(
                "SCHED_DEADLINE needs 0 < runtime <= deadline <= period (nanoseconds; no period is the "
                f"deadline), not {runtime}, {deadline}, {period}",
                pointer=pointer,
            )
        return
    for key in ("runtime", "deadline", "period"):
        if scheduler.get(key):
            raise Error(
                f"{key} is for SCHED_DEADLINE; remove it, or change {policy}", pointer=f"{pointer}/{key}"
            )


def _scheduler(b: Builder, scheduler: "dict[str, Any]") -> None:
    """Policy and attributes, see sched_setattr(2)."""
    names = tuple(scheduler.get("flags") or ())
    _check_scheduler(b, scheduler, names)
    policy: str = scheduler["policy"]
    nice, priority = scheduler.get("nice", 0), scheduler.get("priority", 0)
    times = tuple(scheduler.get(key, 0) for key in ("runtime", "deadline", "period"))
    flags = 0
    for name in names:
        flags |= POLICY_FLAGS[name]
    b.origin = "/process/scheduler"
    attr = Data(
        "sched_attr",
        _sched_attr.pack(_sched_attr.size, POLICIES[policy], flags, nice, priority, *times, 0, 0),
        (policy, "|".join(names), nice, priority, *times),
    )
    b.step("sched_setattr", 0, attr, 0, note=f"for {policy}")
    b.origin = ""


# -- I/O priority --------------------------------------------------------------


def _io_priority(b: Builder, wish: "dict[str, Any]") -> None:
    """I/O class and priority, see ioprio_set(2)."""
    name, priority = wish["class"], wish.get("priority", 0)
    if not 0 <= priority <= 7:
        raise Error(
            f"an I/O priority is 0 (highest) to 7, not {priority}", pointer="/process/ioPriority/priority"
        )
    value = IOPRIO_CLASSES[name] << IOPRIO_CLASS_SHIFT | priority
    b.origin = "/process/ioPriority"
    b.step("ioprio_set", IOPRIO_WHO_PROCESS, 0, value, note=f"for {name}")
    b.origin = ""


# -- CPU affinity of exec ------------------------------------------------------


def _cpus(process: "dict[str, Any]", moment: str) -> Data | None:
    text = process["execCPUAffinity"].get(moment)
    if not text:
        return None
    return _mask("cpu_set", numbers(text, MAX_CPUS, "CPU", f"/process/execCPUAffinity/{moment}"), text)


def affinity(b: Builder, process: "dict[str, Any]", moment: str) -> None:
    """The CPUs of a process that `exec` starts: `initial` before it joins the container's cgroups, `final`
    after it. Without a value nothing is changed."""
    mask = _cpus(process, moment)
    if mask is not None:
        b.origin = f"/process/execCPUAffinity/{moment}"
        b.step("sched_setaffinity", 0, len(mask.payload), mask, note=f"to {mask.fields[0]}")
        b.origin = ""


# -- NUMA memory, execution domain ---------------------------------------------


def _memory_policy(b: Builder, policy: "dict[str, Any]") -> None:
    """Where the process's memory is taken from, see set_mempolicy(2). Which modes go with which nodes
    and flags is the kernel's to say."""
    mode = MEMORY_POLICIES[policy["mode"]]
    for name in policy.get("flags") or ():
        mode |= MEMORY_POLICY_FLAGS[name]
    text: str = policy.get("nodes", "")
    b.origin = "/linux/memoryPolicy"
    note = f"for {policy['mode']}"
    if text.strip(" ,"):
        nodes = _mask("nodemask", numbers(text, MAX_NODES, "memory node", "/linux/memoryPolicy/nodes"), text)
        # The kernel takes one bit less than it is told.
        b.step("set_mempolicy", mode, nodes, 8 * len(nodes.payload) + 1, note=f"{note} on nodes {text}")
    else:
        b.step("set_mempolicy", mode, 0, 0, note=note)
    b.origin = ""


def _personality(b: Builder, personality: "dict[str, Any]") -> None:
    if personality.get("flags"):
        raise Error(
            f'"{personality["flags"][0]}" is no flag of the specification, which has none; remove it',
            pointer="/linux/personality/flags/0",
        )
    b.origin = "/linux/personality"
    b.step("personality", PERSONALITIES[personality["domain"]])
    b.origin = ""
