"""The life of a container: what each verb does, from the modules below to the kernel.

  create      create and run: a bundle becomes a container
  companions  what a container has outside besides cgroups: devices, a seccomp agent, NOTIFY_SOCKET, resctrl
  hooked      the hooks that the runtime runs on the way
  undone      what follows when creating fails
  lifecycle   start, kill, delete, pause, resume
  damaged     delete --force of a container whose record cannot be read
  execute     exec: one more process in a container
  failed      what init reports of a process that could not be executed
  inspect     state, list, ps: only looks
  events      statistics and OOM events: only looks
  update      other limits for a container that exists
  check       what is wrong with a configuration on any host (validate)
  plan        what create would do, without doing it
  record      what the state directory keeps of a container, and the status that follows from it
  foreground  waiting for a process: its signals, its terminal, its exit status

runtime.md, "Lifecycle" and "Operations".
"""


class Runtime:
    """What the global flags say.

    root            the directory that holds the containers' states
    cgroup_manager  who makes the cgroups of new containers: "cgroupfs" (the runtime), "systemd" or "disabled"
    rootless        True or False when the command line says so, None to find out
    """

    __slots__ = ("cgroup_manager", "debug", "root", "rootless")

    def __init__(
        self, root: str, *, cgroup_manager: str = "cgroupfs", rootless: bool | None = None,
        debug: bool = False,
    ) -> None:
        self.root = root.rstrip("/") or "/"
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless
        self.debug = debug
