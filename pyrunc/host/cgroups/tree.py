"""Creating a container's cgroups as a plan says, and removing them.

What `create` makes it takes back when it fails; what existed before it is left alone. The plan is
made by `compile.cgroups`. Specification: config-linux.md, "Control groups".
"""

import errno
from posix import chown, geteuid, mkdir, rmdir, stat
from time import monotonic, sleep

from pyrunc.errors import Error
from pyrunc.host.cgroups.files import GONE, apply, below, read_text, reason, write_each, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.cgroups import Plan

_SIGKILL = 9
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
# What a controller answers that cannot be enabled: busy with real-time processes, threaded cgroups,
# processes in the parent, not delegated.
_UNAVAILABLE = (*_DENIED, errno.EBUSY, errno.EINVAL, errno.ENOENT, errno.ENOTSUP)


def create(plan: "Plan") -> None:
    """Makes the directories, enables controllers and writes the limits; no process is moved. Those
    of a scope that systemd has started are taken as they are.

    Where a rootless runtime may not do that and the configuration asks for nothing, the
    directories that it cannot have are taken out of the plan: call it before the plan's steps
    are compiled. Raises Error, with everything removed again that it made.
    """
    made: list[str] = []
    try:
        _directories(plan, made)
        if "" in plan.directories:
            _enable(plan)
        if plan.inherit:
            _inherit(plan.inherit[:-1])
        _real_time(plan, made)
        apply(plan.directories, plan.settings, plan.devices)
        if plan.inherit:
            _inherit(plan.inherit[-1:])
        if plan.delegated:
            _make(plan.delegated, made)
    except BaseException:
        for directory in reversed(made):
            try:
                _remove(directory)
            except OSError as e:
                from pyrunc.log import warning

                warning(f"the cgroup {directory} could not be removed again: {reason(e)}")
        raise


def _directories(plan: "Plan", made: list[str]) -> None:
    seen: set[str] = set()
    for name, directory in list(plan.directories.items()):
        if directory in seen:
            continue
        try:
            fresh = _make(directory, made)
            # systemd has made its scope, around a process.
            if not fresh and plan.unit is None:
                _check_empty(directory)
            if not fresh or plan.asked == "/linux/cgroupsPath":
                _check_usable(name, directory)
        except OSError as e:
            if e.errno in _DENIED and plan.rootless and not plan.asked:
                _do_without(plan, name, directory)
                continue
            remedy = "; run as root, or have this part of the hierarchy delegated to you"
            raise Error(
                f"mkdir {directory}: {reason(e)}{remedy if e.errno in _DENIED else ''}", pointer=plan.asked
            ) from e
        seen.add(directory)


def _do_without(plan: "Plan", name: str, directory: str) -> None:
    from pyrunc.log import debug

    debug(f"no permission to create {directory}: running without it")
    for other in [n for n, d in plan.directories.items() if d == directory]:
        del plan.directories[other]
    if name == "":
        plan.parents = []
        plan.owner = None
    if name == "cpuset":
        plan.inherit = []
    plan.devices = [write for write in plan.devices if write.hierarchy in plan.directories]


def _make(directory: str, made: list[str]) -> bool:
    """Makes a directory and those above it; whether it is new."""
    try:
        mkdir(directory, 0o755)
    except OSError as e:
        if e.errno == errno.EEXIST:
            return False
        if e.errno != errno.ENOENT:
            raise
        _make(directory.rpartition("/")[0], made)
        try:
            mkdir(directory, 0o755)
        except FileExistsError:
            return False  # somebody else made it meanwhile
    made.append(directory)
    return True


def _check_empty(directory: str) -> None:
    """An existing cgroup may be used when nothing is in it."""
    from pyrunc.host.cgroups.members import members

    pids = members(directory)
    if pids:
        raise Error(
            f"the cgroup {directory} is not empty: {len(pids)} process(es) are in it, the first with pid "
            f"{pids[0]}; give the container a cgroupsPath of its own, or end them",
            pointer="/linux/cgroupsPath",
        )


def _check_usable(name: str, directory: str) -> None:
    """Neither the cgroup nor one above it is frozen, as would be what enters it; and on v2 no parent
    is threaded, below which there are no cgroups for processes (cgroups(7), "Thread mode")."""
    pointer = "/linux/cgroupsPath"
    if name == "freezer":
        frozen = not read_text(f"{directory}/freezer.state").startswith("THAWED")
    else:
        frozen = name == "" and "frozen 1" in read_text(f"{directory}/cgroup.events")
    if frozen:
        raise Error(
            f"the cgroup {directory}, or one above it, is frozen, as would be the container; thaw it or "
            "choose another",
            pointer=pointer,
        )
    if name == "":
        kind = read_text(f"{directory}/cgroup.type").strip()
        if kind in ("threaded", "domain invalid"):
            raise Error(
                f"the cgroup {directory} is of the type {kind}, since one above it is threaded; choose "
                "another",
                pointer=pointer,
            )


def _enable(plan: "Plan") -> None:
    """Enables the v2 controllers on the way down.

    A controller that cannot be enabled is an error only when a value needs it, which its missing
    file tells later.
    """
    for file, controllers in plan.parents:
        enabled = read_text(file).split()
        missing = [name for name in controllers if name not in enabled]
        if not missing:
            continue
        try:
            write_text(file, " ".join([f"+{name}" for name in missing]))
        except OSError as e:
            if e.errno not in _UNAVAILABLE:
                raise
            # The kernel takes all or none: the ones that it would take still count.
            for name in missing:
                try:
                    write_text(file, f"+{name}")
                except OSError as single:
                    from pyrunc.log import debug

                    debug(f"{file}: +{name}: {reason(single)}")


def _inherit(directories: list[str]) -> None:
    """A v1 cpuset without CPUs or memory nodes admits no process, and a new one has none
    (cpuset(7)): empty values are taken from the parent, outermost first."""
    for directory in directories:
        for file in ("/cpuset.cpus", "/cpuset.mems"):
            if not read_text(directory + file).strip():
                above = read_text(directory.rpartition("/")[0] + file).strip()
                try:
                    write_text(directory + file, above)
                except OSError as e:
                    raise Error(f"write {above} to {directory}{file}: {reason(e)}") from e


def _real_time(plan: "Plan", made: list[str]) -> None:
    """A real-time budget of v1 is a part of the parent's, and a new cgroup has none: the parents that
    were made for the container get the same. Others are not the runtime's to change."""
    budget = [write for write in plan.settings.writes if write.file.startswith("cpu.rt_")]
    if not budget:
        return
    own = plan.directories["cpu"]
    for directory in made:
        if own.startswith(f"{directory}/"):
            write_each({"cpu": directory}, budget)


def delegate(plan: "Plan") -> None:
    """Gives the v2 cgroup to the plan's owner, if it has one.

    Only once the container's process is in it: clone3(2) from a new user namespace, whose ids the
    cgroup's group is none of, does not get into a cgroup of somebody else.
    """
    if plan.owner is None or plan.owner == geteuid():
        return
    directory = plan.delegated or plan.directories[""]
    try:
        _give(directory, plan.owner)
    except PermissionError as e:
        # An ordinary user cannot give anything away, not even to ids of their own.
        if not plan.rootless:
            raise Error(f"chown {directory} to {plan.owner}: {reason(e)}; run as root") from e
        from pyrunc.log import debug

        debug(f"{directory} stays its owner's: {reason(e)}")


# What is delegated where the kernel does not tell (before Linux 4.15).
_DELEGATED = "cgroup.procs cgroup.subtree_control cgroup.threads"


def _give(directory: str, uid: int) -> None:
    """The directory, with the files that the kernel names for it and no other (config-linux.md,
    "Cgroup ownership"; cgroups(7), "Cgroups v2 delegation")."""
    try:
        names = read_text("/sys/kernel/cgroup/delegate")
    except FileNotFoundError:
        names = _DELEGATED
    chown(directory, uid, -1)
    for name in names.split():
        try:
            chown(f"{directory}/{name}", uid, -1)
        except FileNotFoundError:
            pass  # a file of a controller that is not enabled


def destroy(record: "dict[str, Any]") -> None:
    """Removes the container's cgroups with those below them, but none above.

    Its processes have been killed; for their end this waits, and kills who has escaped. What is absent
    already is no error. Raises Error where processes remain in one.
    """
    if record["driver"] == "systemd" and not _has_ended(record):
        from pyrunc.host.cgroups import systemd

        try:
            systemd.stop(record)
        except Error as error:
            from pyrunc.log import warning

            # Without its processes and its cgroup, the scope ends by itself.
            warning(str(error))
    for directory in dict.fromkeys(record["directories"].values()):
        try:
            _remove(directory, record)
        except OSError as e:
            raise _not_removed(directory, e) from e


def _not_removed(directory: str, error: OSError) -> Error:
    text = f"rmdir {directory}: {reason(error)}"
    if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
        from pyrunc.host.cgroups.members import members

        found = members(directory)
        if found:
            from pyrunc.host.stuck import why

            text += (
                f": of the processes in it {len(found)} did not end within {_PATIENCE:.0f} s of SIGKILL, the "
                f"first with pid {found[0]}, {why(found[0])}"
            )
        text += "; delete the container again once that is over"
    return Error(text)


def own_directory(directories: dict[str, str]) -> str:
    """The scope's cgroup in the hierarchy by which systemd itself follows processes."""
    return directories.get("name=systemd") or directories.get("", "")


def _has_ended(record: "dict[str, Any]") -> bool:
    """Whether a scope is gone without that systemd would have to be asked, which costs more than all
    else that deleting does. One that never was, because its name was taken, is not to be stopped."""
    directories = record["directories"]
    if not directories:
        return True
    try:
        stat(own_directory(directories))
    except FileNotFoundError:
        return bool(record["collected"])
    return False


# A process that has been killed stays in its cgroup until the kernel has taken it apart, which may
# outlast its wait(2); on a busy machine it has to get a CPU for that. Looked at after 1, 2, 4 … 128 ms.
_PATIENCE = 10.0
_FIRST_DELAY, _LAST_DELAY = 0.001, 0.128


def _remove(directory: str, record: "dict[str, Any] | None" = None) -> None:
    """Removes a cgroup with those below it; waits for the kernel where processes are on their way out.
    The record is that of a container whose processes have been killed."""
    try:
        rmdir(directory)
        return
    except OSError as e:
        if e.errno in GONE:
            return
        if e.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    end = monotonic() + (_PATIENCE if record is not None else 0)
    while True:
        try:
            for fd, name in below(directory):
                _remove_one(name, fd, record, end)
            _remove_one(directory, None, record, end)
            return
        except OSError as e:
            # Who had not ended yet has made another one.
            if e.errno != errno.ENOTEMPTY or monotonic() >= end:
                raise


def _remove_one(path: str, dir_fd: int | None, record: "dict[str, Any] | None", end: float) -> None:
    """end is when the patience with all of a container's cgroups in a hierarchy ends."""
    delay = _FIRST_DELAY
    while True:
        try:
            rmdir(path, dir_fd=dir_fd)
            return
        except OSError as e:
            if e.errno in GONE:
                return
            if e.errno != errno.EBUSY or monotonic() >= end:
                raise
        sleep(delay)
        if delay < _LAST_DELAY:
            delay *= 2
        elif record is not None:
            from pyrunc.host.cgroups.members import kill_all

            # A child that is born while its cgroup is killed may escape before Linux 6.14.
            kill_all(record, _SIGKILL)
