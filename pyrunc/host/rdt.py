"""Makes and removes the resctrl groups of a container (config-linux.md, "IntelRdt"). What they are to be is
decided in compile/rdt.py; nothing here is loaded for a configuration without linux.intelRdt."""

import posix
from errno import ENOSPC

from pyrunc.compile.rdt import POINTER, Plan
from pyrunc.errors import Error
from pyrunc.host.paths import exists

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def root() -> str:
    """The mount point of the resctrl file system. Raises Error where there is none."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        found = find_root(file.read())
    if not found:
        raise Error(
            "no resctrl file system is mounted on this machine; mount one (mount -t resctrl resctrl "
            "/sys/fs/resctrl), which needs a processor with RDT, or remove intelRdt",
            pointer=POINTER,
        )
    return found


def find_root(mountinfo: str) -> str:
    """The first mount point of type resctrl in the text of mountinfo (proc_pid_mountinfo(5)), or ""."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("resctrl "):
            point = before.split(" ", 5)[4]
            return point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
    return ""


def create(plan: Plan) -> "dict[str, Any]":
    """Makes what is missing and writes the schemata; what has been made is gone again where that fails.

    Returns the record for `discard` and `destroy`: clos, monitor, and whether the class was made here.
    """
    record: dict[str, Any] = {"clos": plan.clos, "monitor": "", "made": False, "named": plan.named}
    try:
        record["made"] = _make_class(plan)
        if not record["made"]:
            _compare(plan)
        elif plan.checked:
            _write(plan, plan.checked)
        if plan.lines:
            _write(plan, plan.lines)
        if plan.monitor:
            try:
                posix.mkdir(plan.monitor, 0o755)
            except OSError as error:
                pointer = f"{POINTER}/enableMonitoring"
                raise _failed(plan, "make the monitoring group", error, pointer) from None
            record["monitor"] = plan.monitor
    except BaseException:
        discard(record)
        raise
    return record


def _make_class(plan: Plan) -> bool:
    """Makes the class of service unless it is there; whether it has been made."""
    if plan.named and not plan.checked and not plan.lines:
        if plan.clos != plan.root and not exists(plan.clos):
            raise Error(
                f"there is no class of service {plan.clos}, and nothing to make one of; make it first, or "
                "give it schemata",
                pointer=f"{POINTER}/closID",
            )
        return False
    if plan.clos == plan.root:
        return False
    try:
        posix.mkdir(plan.clos, 0o755)
    except FileExistsError:
        return False
    except OSError as error:
        raise _failed(plan, "make the class of service", error, POINTER) from None
    return True


def _compare(plan: Plan) -> None:
    """Raises Error where a class that others may use differs from what is asked for; schemata, which are
    written later, have the last word."""
    if not plan.checked:
        return
    later = values(plan.lines)
    present = values(_read(f"{plan.clos}/schemata").split("\n"))
    step = int(_read(f"{plan.root}/info/MB/bandwidth_gran").strip() or 1) or 1
    for (resource, domain), value in values(plan.checked).items():
        if (resource, domain) in later:
            continue
        found = present.get((resource, domain))
        # The kernel rounds bandwidths up to what the hardware can do.
        rounded = -(-value // step) * step if resource.startswith("MB") else value
        if found not in (value, rounded):
            shown = "nothing" if found is None else f"{found:x}" if resource[0] == "L" else str(found)
            raise Error(
                f"the class of service {plan.clos} exists with {shown} for {resource}:{domain}, not what is "
                "asked for; correct the schema, or name another closID",
                pointer=POINTER,
            )


def values(lines: list[str]) -> dict[tuple[str, str], int]:
    """The numbers of schemata lines by resource and domain: bit masks (L2, L3) are hexadecimal."""
    result = {}
    for line in lines:
        resource, _, rest = line.strip().partition(":")
        for entry in rest.split(";"):
            domain, equals, value = entry.partition("=")
            try:
                number = int(value.strip(), 16 if resource[:1] == "L" else 10)
            except ValueError:
                number = -1  # the kernel says what is wrong with it
            if equals:
                result[resource.strip(), domain.strip()] = number
    return result


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _write(plan: Plan, lines: list[str]) -> None:
    try:
        fd = posix.open(f"{plan.clos}/schemata", posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, "".join(line + "\n" for line in lines).encode())
        finally:
            posix.close(fd)
    except OSError as error:
        raise _failed(plan, f"write the schemata {' '.join(lines)}", error, POINTER) from None


def _failed(plan: Plan, what: str, error: OSError, pointer: str) -> Error:
    """With what the kernel says of it, which is more than the errno."""
    said = _read(f"{plan.root}/info/last_cmd_status").strip()
    remedy = "; the hardware has no more of them: remove some" if error.errno == ENOSPC else ""
    reason = f" ({said})" if said and said != "ok" else ""
    return Error(f"cannot {what}: {error.strerror}{reason}{remedy}", pointer=pointer)


def discard(record: "dict[str, Any]") -> None:
    """Takes back what `create` made, unless others use the class by now."""
    _remove(record["monitor"])
    if record["made"] and not (record["named"] and _read(f"{record['clos']}/tasks").strip()):
        _remove(record["clos"])


def destroy(record: "dict[str, Any]") -> None:
    """Removes the groups of a container that is deleted: its monitoring group, and the class of service if
    it was made here and not named by the configuration."""
    _remove(record["monitor"])
    if record["made"] and not record["named"]:
        _remove(record["clos"])


def _remove(directory: str) -> None:
    if directory:
        try:
            posix.rmdir(directory)
        except FileNotFoundError:
            pass
