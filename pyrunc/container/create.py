"""create and run: from a bundle to a container (runtime.md, "Lifecycle").

Everything is compiled and verified before the first effect. From then on each effect is undone,
last first, when a later one fails.
"""

import posix

from pyrunc import log
from pyrunc.compile import syncs
from pyrunc.compile.create import compile_create
from pyrunc.compile.facts import Request
from pyrunc.compile.mount_options import USER_NAMESPACE
from pyrunc.config.load import load_with_text
from pyrunc.container import record as records
from pyrunc.container.plan import facts_for
from pyrunc.errors import Error
from pyrunc.host.facts import check_preserved
from pyrunc.host.launch import Init
from pyrunc.host.processes import start_time
from pyrunc.program.verify import verify
from pyrunc.state import SOCKET, Directory, check_id, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.compile.cgroups import Plan
    from pyrunc.compile.facts import Facts
    from pyrunc.container import Runtime
    from pyrunc.container.companions import Companions
    from pyrunc.container.hooked import Hooks
    from pyrunc.host.sd_notify import Proxy
    from pyrunc.program.model import Program

_SIGKILL = 9


def create(
    rt: "Runtime", id: str, bundle: str, *, console_socket: str | None = None,
    pidfd_socket: str | None = None, pid_file: str | None = None, no_pivot: bool = False,
    no_new_keyring: bool = False, preserve_fds: int = 0,
) -> None:
    """Creates a container that waits for `start`. Paths are absolute."""
    request = Request(
        id, bundle, wait=True, pivot=not no_pivot, new_keyring=not no_new_keyring, preserve_fds=preserve_fds,
    )
    creation = Creation(rt, request)
    creation.check_console(console_socket, needed=True)
    with creation:
        creation.make(console_socket, pidfd_socket, pid_file)


def run(
    rt: "Runtime", id: str, bundle: str, *, console_socket: str | None = None,
    pidfd_socket: str | None = None, pid_file: str | None = None, no_pivot: bool = False,
    no_new_keyring: bool = False, preserve_fds: int = 0, detach: bool = False, keep: bool = False,
    no_subreaper: bool = False,
) -> int:
    """Creates and starts a container. Unless detached, waits for its process, deletes the container
    (keep leaves its state) and returns the process's exit status."""
    request = Request(
        id, bundle, wait=False, pivot=not no_pivot, new_keyring=not no_new_keyring, preserve_fds=preserve_fds,
    )
    if console_socket and not detach:
        raise Error("--console-socket needs --detach: a foreground run holds the terminal itself")
    if not detach:
        from pyrunc.container import foreground

        request.console_size = foreground.window_size()
    creation = Creation(rt, request)
    creation.check_console(console_socket, needed=detach)
    if detach:
        with creation:
            creation.make(console_socket, pidfd_socket, pid_file)
            creation.started()
        proxy = creation.proxy()
        if proxy is not None:
            proxy.wait(creation.init.pid)
        return 0
    if not no_subreaper and not records.own_pid_namespace(creation.config):
        foreground.become_subreaper()
    front = foreground.Foreground(creation.terminal)

    def beside() -> None:
        from pyrunc.container import lifecycle  # noqa: F401 - what the end will need

        front.catch()

    with creation:
        creation.make(console_socket, pidfd_socket, pid_file, front.console, beside)
        creation.started()
    status = front.wait(creation.init.pid, creation.proxy())
    if not keep:
        from pyrunc.container import lifecycle

        lifecycle.finish(rt, id)
    return status


class Creation:
    """One container on its way: what has been done for it so far, and how to undo that."""

    __slots__ = (
        "_companions", "_reserved", "config", "data", "directory", "facts", "hooks", "init", "pid_file",
        "plan", "program", "record", "request", "rt", "terminal", "undo",
    )

    def __init__(self, rt: "Runtime", request: Request) -> None:
        """Compiles and verifies; nothing has an effect yet."""
        check_id(request.id)
        check_preserved(request.preserve_fds)
        self.rt = rt
        self.request = request
        self.config, self.data = load_with_text(request.bundle)
        self.facts: Facts
        self.plan: Plan
        self.facts, self.plan = facts_for(
            rt, self.config, request.id, request.bundle, pivot=request.pivot
        )
        self.terminal = bool((self.config.get("process") or {}).get("terminal"))
        self._reserved = False
        self.pid_file = ""
        # Where one of them fails, that is left to `delete`.
        self.undo: list[Callable[[], None]] = []
        self._companions = self._find_companions()
        self.hooks: Hooks | None = None
        if self.config.get("hooks"):
            from pyrunc.container import hooked

            self.hooks = hooked.Hooks(self.config, request.id)
        if not self.plan.rootless:
            self.program = self._compile()

    def _find_companions(self) -> "Companions | None":
        listener = None
        if self.facts.filter is not None:
            from pyrunc.compile.seccomp import agent

            listener = agent(self.config["linux"]["seccomp"])
        linux = self.config.get("linux", {})
        if not (
            listener or linux.get("netDevices") or self.facts.rdt or posix.environ.get(b"NOTIFY_SOCKET")
        ):
            return None
        from pyrunc.container.companions import Companions

        return Companions(self.rt, self.config, self.facts, self.request, listener, self.undo)

    def _compile(self) -> "Program":
        program = compile_create(self.config, self.facts, self.request)
        if self._companions is not None:
            self._companions.attribute(program)
        verify(program)
        for pointer, text in program.warnings:
            log.warning(f"{pointer}: {text}")
        return program

    def __enter__(self) -> "Creation":
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is not None:
            from pyrunc.container import undone

            if self._reserved:
                undone.take_back(self, error)
        else:
            self.directory.close()
            if self._companions is not None:
                self._companions.close()

    # -- checks --------------------------------------------------------------

    def check_console(self, socket: str | None, *, needed: bool) -> None:
        """A terminal needs somebody to hold its other end, and only then is there one to hold."""
        if self.terminal and needed and not socket:
            raise Error(
                "a detached container with a terminal needs --console-socket; or set terminal to false",
                pointer="/process/terminal",
            )
        if socket and not self.terminal:
            raise Error(
                "--console-socket is for a terminal, which the configuration does not ask for",
                pointer="/process/terminal",
            )

    # -- effects -------------------------------------------------------------

    def make(
        self, console_socket: str | None, pidfd_socket: str | None, pid_file: str | None, console: int = -1,
        beside: "Callable[[], None] | None" = None,
    ) -> None:
        """Goes as far as a container that is created; `run` goes on to `started`. beside is called
        while init is at work."""
        request, rt = self.request, self.rt
        directory = self.directory = Directory.make(rt.root, request.id)
        self._reserved = True
        self.record = records.new(self.config, self.facts, self.plan, request)
        if not self.plan.rootless:
            self.record["steps"] = len(self.program.steps)
        directory.write(self.record, creating=True)
        if self.plan.unit is None:
            self._make_cgroups()
        if self._companions is not None:
            self._companions.make(directory, self.record)
        if self.plan.rootless:
            # Now it is known which control groups there are.
            self.program = self._compile()
            self.record["steps"] = len(self.program.steps)
        descriptors = self._descriptors(console_socket, console)
        states: dict[str, int] = {}
        if self.hooks is not None:
            descriptors |= self.hooks.descriptors(self.program.inherited)
            states = self.hooks.files
        preserve = range(3, 3 + request.preserve_fds + self.facts.listen_fds)
        try:
            listens = not request.wait and self._companions is not None and bool(self._companions.listener)
            self.init = Init(self.program, {**descriptors, **states}, preserve, listens=listens)
        finally:
            for fd in descriptors.values():
                posix.close(fd)
        self.undo.append(self._end_processes)
        self.init.on_clone = self._note_process
        directory.put(records.CONFIG, self.data)
        if beside is not None:
            beside()
        self._follow(pidfd_socket, pid_file)

    def _make_cgroups(self) -> None:
        from pyrunc.host.cgroups import tree

        if self.plan.unit is None:
            tree.create(self.plan)
        else:
            from pyrunc.host.cgroups import systemd

            systemd.start(self.plan, self.init.pid)
        cgroups = self.plan.record()
        if cgroups != self.record["cgroups"]:
            self.record["cgroups"] = cgroups
            self.record["freezer"] = records.freezer_file(cgroups)
        # Before the end of the processes, and so after it when it is undone.
        self.undo.insert(0, lambda: tree.destroy(cgroups))
        if self.plan.unit is not None:
            self.directory.write(self.record, creating=True)
            tree.create(self.plan)

    def _descriptors(self, console_socket: str | None, console: int) -> dict[str, int]:
        descriptors: dict[str, int] = {}
        for name in self.program.inherited:
            if name in ("listener", "console"):
                from pyrunc.host import sockets
            if name == "listener":
                descriptors[name] = sockets.listen(self.directory.fd, SOCKET)
            elif name == "console":
                descriptors[name] = (
                    sockets.connect(console_socket, "the console socket") if console_socket else console
                )
            elif name.startswith(USER_NAMESPACE):
                from pyrunc.compile.idmaps import namespaces
                from pyrunc.host import idmaps

                descriptors[name] = idmaps.user_namespace(namespaces(self.config)[0][name])
        return descriptors

    def _follow(self, pidfd_socket: str | None, pid_file: str | None) -> None:
        """Does what the program waits for, until the container is created."""
        init = self.init
        while True:
            point, _, _ = syncs.unpack(init.next())
            if point == syncs.SYNC_CREATED:
                if self._companions is not None:
                    self._companions.reach_agent(init, self.record)
                self._created(pidfd_socket, pid_file)
                init.answer()
                return
            if point == syncs.SYNC_ID_MAPS:
                from pyrunc.host import idmaps

                idmaps.write(init.pid, self.config["linux"])
            elif point == syncs.SYNC_SCOPE:
                # The scope begins with the process that prepares the container in it.
                self._make_cgroups()
            elif point == syncs.SYNC_NET_DEVICE and self._companions is not None:
                self._companions.move_device(init)
            elif point == syncs.SYNC_HOOKS and self.hooks is not None:
                self.hooks.run(init, self.record)
            else:
                raise self._died()
            init.answer()

    def _note_process(self) -> None:
        """Records the container's first process as soon as it exists: hooks see its number in the
        state, and a crash leaves something to clean up by."""
        self.record["pid"] = self.init.pid
        self.record["started"] = start_time(self.init.pid)
        self.directory.write(self.record, creating=True)
        if self.plan.owner is not None:
            from pyrunc.host.cgroups import tree

            tree.delegate(self.plan)

    def _created(self, pidfd_socket: str | None, pid_file: str | None) -> None:
        if self.plan.unit is not None and self.plan.unit.delayed is not None:
            from pyrunc.host.cgroups import systemd

            systemd.limit(self.record["cgroups"], self.plan.unit.delayed)
        self.directory.created()
        if pid_file:
            write_file(pid_file, str(self.init.pid))
            self.pid_file = pid_file
        if pidfd_socket:
            from pyrunc.host.sockets import send_pidfd

            send_pidfd(pidfd_socket, self.init.pid)

    def started(self) -> None:
        """`run`: waits until the process executes, then runs the poststart hooks."""
        if self.init.next():
            raise Error("a program of run does not wait after the container is created: a bug of pyrunc")
        if self._companions is not None and not self._companions.served():
            raise self._died()
        self.init.close()
        if self.hooks is not None:
            self.hooks.run_poststart(self.record)

    def proxy(self) -> "Proxy | None":
        """Where the service says that it is ready, if somebody waits for that (NOTIFY_SOCKET)."""
        return self._companions.proxy if self._companions is not None else None

    # -- undoing -------------------------------------------------------------

    def _died(self) -> Error:
        from pyrunc.container import undone

        return undone.died(self.init)

    def _end_processes(self) -> None:
        """In a PID namespace everything dies with what init became."""
        self.init.end()
        from pyrunc.host.cgroups import members

        members.kill_all(self.record["cgroups"], _SIGKILL)
