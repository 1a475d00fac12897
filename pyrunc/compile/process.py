"""The last steps of every program: from a finished container to its process's execve(2).

config.md, "Process". `create`, `run` and `exec` share all of this.
"""

from errno import EACCES, EINVAL, ENODEV, ENOENT, ENOSYS, ENOTDIR, EPERM, EROFS

from pyrunc.compile import identity
from pyrunc.compile.devices import needs_dev
from pyrunc.compile.namespaces import groups
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.program.build import STATX_MODE, Builder, vector
from pyrunc.program.model import SCRATCH, Data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.compile.facts import Facts, Request

# As many as kernels are built for.
_ALL_CPUS = Data("cpu_set", b"\xff" * 1024, ("0-8191",))

_STREAMS = ("standard input", "standard output", "standard error")

NOT_FOUND = "executable file not found in $PATH"


def environment(process: "dict[str, Any]", home: str, listen_fds: int, names: str = "") -> list[bytes]:
    """The process's environment: HOME where the configuration has none, and what sd_listen_fds(3) reads.

    Podman writes the latter into the configuration too; what is passed is what counts, once.
    """
    variables: list[str] = list(process.get("env") or ())
    if not any(variable.startswith("HOME=") for variable in variables):
        variables.append(f"HOME={home or '/'}")
    if listen_fds:
        told = ("LISTEN_FDS", "LISTEN_FDNAMES")
        variables = [v for v in variables if v.partition("=")[0] not in told]
        variables.append(f"LISTEN_FDS={listen_fds}")
        if names:
            variables.append(f"LISTEN_FDNAMES={names}")
        if not any(variable.startswith("LISTEN_PID=") for variable in variables):
            variables.append("LISTEN_PID=1")
    return [variable.encode("utf-8", "surrogateescape") for variable in variables]


def candidates(process: "dict[str, Any]") -> list[str]:
    """The paths that args[0] may mean, inside the container."""
    args = process.get("args")
    if not args or not args[0]:
        raise Error("args must name the program to run", pointer="/process/args")
    name: str = args[0]
    if "/" in name:
        return [name]
    path = ""
    for variable in process.get("env") or ():
        if variable.startswith("PATH="):
            path = variable[5:]
    return [f"{directory or '.'}/{name}" for directory in path.split(":")] if path else []


def enter_directory(b: Builder, process: "dict[str, Any]") -> None:
    """The working directory, proven to be inside the root: the kernel's getcwd names what is
    outside "(unreachable)…" (CVE-2024-21626)."""
    b.origin = "/process/cwd"
    cwd = process.get("cwd") or "/"
    b.step("chdir", cwd)
    b.getcwd()
    b.expect(SCRATCH, 1, ord("/"), ENOENT, note=f"{cwd} is not inside the container")
    b.origin = ""


def all_cpus(b: Builder) -> None:
    """Lets the process run on every CPU of its cgroup. Since Linux 6.2 the affinity that the runtime's
    caller has, which may be an engine's own, would stay in force there (sched_setaffinity(2))."""
    done = b.slot("affinity")
    size = len(_ALL_CPUS.payload)
    b.step("sched_setaffinity", 0, size, _ALL_CPUS, tolerate=(EINVAL, EPERM, ENOSYS), out=done)
    b.release(done)


def label(
    b: Builder, process: "dict[str, Any]", facts: "Facts", request: "Request", mount_label: str = ""
) -> None:
    """SELinux labels, where they are asked for: the first of them is set while the host's /proc is there."""
    if process.get("selinuxLabel") or mount_label:
        from pyrunc.compile import labels

        labels.check(process, mount_label, selinux=facts.selinux)
        b.mount_label = mount_label
        if request.new_keyring:
            labels.on_keys(b, process)


def before_user_namespace(b: Builder, process: "dict[str, Any]", facts: "Facts") -> None:
    """What needs the host's privileges and is inherited, before a user namespace takes them."""
    if process.get("rlimits"):
        identity.raise_limits(b, process, facts.limits)
    if process.get("scheduler") or process.get("ioPriority"):
        from pyrunc.compile import scheduling

        scheduling.outside(b, process)


def compile_scheduling(
    b: Builder, config: "dict[str, Any]", process: "dict[str, Any]", *, user_namespace: bool
) -> None:
    """Scheduling, memory policy and execution domain, where any of them is asked for."""
    linux = config.get("linux", {})
    if (
        process.get("scheduler") or process.get("ioPriority")
        or linux.get("memoryPolicy") or linux.get("personality")
    ):
        from pyrunc.compile import scheduling

        b.phase = "scheduling"
        scheduling.inside(b, config, process, user_namespace=user_namespace)


def own_null(b: Builder, config: "dict[str, Any]", process: "dict[str, Any]", facts: "Facts") -> None:
    """Puts the container's /dev/null in place of the host's on descriptors 0 to 2: whoever has the host's
    can change its owner and mode, for the whole host."""
    spaces = config.get("linux", {}).get("namespaces") or ()
    # The terminal is put there else; and without a mount namespace the two are the same.
    if not facts.null_stdio or process.get("terminal") or all(n["type"] != "mount" for n in spaces):
        return
    stream = _STREAMS[facts.null_stdio[0]]
    note = f"{stream} is the host's /dev/null; the process gets the container's instead, or give it a pipe"
    # What the configuration binds to /dev may have none.
    sure = needs_dev(config)
    null = b.openat2(
        f.AT_FDCWD, "/dev/null", f.O_RDWR | f.O_NOCTTY, resolve=f.RESOLVE_NO_SYMLINKS, name="null",
        tolerate=() if sure else (ENOENT,), note=note,
    )
    there = None if sure else b.if_ok(null)
    b.expect_device(null, f.S_IFCHR, 1, 3, ENODEV, f"{note}: the container's is no null device")
    for number in facts.null_stdio:
        b.step("dup3", null, number, 0)
    b.close(null)
    if there is not None:
        there.end()


def own_stdio(b: Builder, process: "dict[str, Any]") -> None:
    """Gives pipes, sockets and files on descriptors 0 to 2 to the process's user, so that it can open
    /dev/stdout; never a device such as the host's /dev/null."""
    uid = (process.get("user") or {}).get("uid", 0)
    if not uid or process.get("terminal"):
        return
    b.origin = "/process/user"
    seen = b.slot("stdio")
    for number in (0, 1, 2):
        b.statx(number, "", f.AT_EMPTY_PATH, f.STATX_BASIC_STATS, tolerate=(9,), out=seen)
        with b.if_ok(seen):
            b.expect(STATX_MODE, 2, f.S_IFCHR, EINVAL, mask=f.S_IFMT, tolerate=(EINVAL,), out=seen)
            with b.if_failed(seen):
                b.step("fchown", number, uid, -1, tolerate=(EINVAL, EPERM, EROFS), out=seen)
    b.release(seen)
    b.origin = ""


def look_up(b: Builder, paths: list[str], name: str) -> None:
    """Fails, before the container counts as created, when there is nothing to execute."""
    b.origin = "/process/args/0"
    if "/" in name:
        # An absent file is ENOENT and one that may not be executed EACCES, as execve will say.
        b.step("faccessat2", f.AT_FDCWD, name, f.ACCESS_X_OK, f.AT_EACCESS, note=f'"{name}"')
        b.statx(f.AT_FDCWD, name, 0, f.STATX_BASIC_STATS)
        # A directory that may be searched passes for executable until execve.
        refusal = f'exec "{name}": it is a directory'
        b.refuse(STATX_MODE, 2, f.S_IFDIR, EACCES, refusal, mask=f.S_IFMT)
        b.origin = ""
        return
    found = b.slot("executable")
    blocks = []
    for path in paths:
        b.step(
            "faccessat2", f.AT_FDCWD, path, f.ACCESS_X_OK, f.AT_EACCESS,
            tolerate=(ENOENT, ENOTDIR, EACCES), out=found,
        )
        blocks.append(b.if_failed(found))
    b.fail(ENOENT, note=f'"{name}": {NOT_FOUND}')
    for block in reversed(blocks):
        block.end()
    b.release(found)
    b.origin = ""


def compile_process(
    b: Builder, config: "dict[str, Any]", process: "dict[str, Any]", facts: "Facts", request: "Request",
    created: "Callable[[Builder], None]",
) -> None:
    """Everything from the working directory to execve, of a process in the container of a configuration.

    created appends what lies between a container that is ready and its process: the report to
    the runtime, the wait for `start`, the startContainer hooks.
    """
    b.phase = "identity"
    own_null(b, config, process, facts)
    own_stdio(b, process)
    identity.rlimits(b, process)
    enter_directory(b, process)
    pending = identity.compile_identity(
        b, process, facts.bounding, groups=groups(config, facts), filtered=facts.filter is not None
    )
    paths = candidates(process)
    look_up(b, paths, process["args"][0])
    created(b)
    b.phase = "exec"
    switch = ""
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from pyrunc.compile import labels

        switch = labels.on_exec(b, process, apparmor=facts.apparmor)
    b.origin = "/process/args"
    b.step("close_range", 3 + request.preserve_fds + facts.listen_fds, 0xFFFFFFFF, f.CLOSE_RANGE_CLOEXEC)
    if facts.filter is not None:
        from pyrunc.compile import seccomp

        seccomp.install(b, facts.filter, config["linux"]["seccomp"])
    identity.finish_capabilities(b, pending)
    b.origin = "/process/args"
    argv = vector([a.encode("utf-8", "surrogateescape") for a in process["args"]], "argv")
    envp = vector(environment(process, facts.home, facts.listen_fds, facts.listen_names), "envp")
    name = process["args"][0]
    result = b.slot("execve")
    for path in paths:
        if "/" in name:
            b.step("execve", path, argv, envp, note=switch)
        else:
            b.step("execve", path, argv, envp, tolerate=(ENOENT, ENOTDIR, EACCES), out=result, note=switch)
    if "/" not in name:
        b.fail(ENOENT, note=f'"{name}": {NOT_FOUND}')
    b.release(result)
