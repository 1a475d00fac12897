"""The verbs and flags of the command line, as one table.

The parser, the help texts, the manual page and the shell completions are all made from `VERBS` and
`GLOBAL`. Names, short forms and defaults are runc's, `--cgroup-manager` is crun's; `validate`, `plan` and
`spec --rootfs` are pyrunc's own. Nothing here has an effect, and nothing is imported: every verb pays for
this module.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FLAG = "flag"  # on when named; --flag=false turns it off
TEXT = "text"
NUMBER = "number"
TEXTS = "texts"  # may be given several times
NUMBERS = "numbers"


class Option:
    """A flag. `value` is the placeholder in help texts; `choices` holds the words that it takes, if
    only those; a hidden one is accepted and appears nowhere."""

    __slots__ = ("choices", "default", "help", "hidden", "kind", "name", "short", "value")

    def __init__(
        self,
        name: str,
        short: str,
        kind: str,
        value: str,
        default: "Any",
        help: str,
        choices: tuple[str, ...] = (),
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.value = value
        self.default = default
        self.help = help
        self.choices = choices
        self.hidden = hidden

    @property
    def many(self) -> bool:
        """Whether each mention adds a value."""
        return self.kind in (TEXTS, NUMBERS)


class Verb:
    """A command. `least` and `most` count its arguments (most None: any number).

    `stops` says that flags end at the first argument, since what follows belongs to another program.
    `module` holds the function that carries it out, under the verb's name.
    """

    __slots__ = ("arguments", "least", "module", "most", "name", "options", "stops", "summary", "text")

    def __init__(
        self,
        name: str,
        module: str,
        arguments: str,
        least: int,
        most: int | None,
        options: tuple[Option, ...],
        summary: str,
        text: str,
        stops: bool = False,
    ) -> None:
        self.name = name
        self.module = module
        self.arguments = arguments
        self.least = least
        self.most = most
        self.options = options
        self.summary = summary
        self.text = text
        self.stops = stops


HELP = Option("help", "h", FLAG, "", False, "show this help")

GLOBAL = (
    Option("debug", "", FLAG, "", False, "log every decision, and show a traceback when pyrunc itself fails"),
    Option("log", "", TEXT, "FILE", "", "append log records to FILE instead of writing them to stderr"),
    Option("log-format", "", TEXT, "FORMAT", "text", "how log records are written", ("text", "json")),
    Option(
        "root",
        "",
        TEXT,
        "DIR",
        "",
        "where the state of containers is kept (default: /run/pyrunc, or $XDG_RUNTIME_DIR/pyrunc for "
        "an ordinary user)",
    ),
    Option(
        "systemd-cgroup",
        "",
        FLAG,
        "",
        False,
        "have systemd make the cgroups: a container is a scope, named by cgroupsPath as SLICE:PREFIX:NAME",
    ),
    Option(
        "cgroup-manager",
        "",
        TEXT,
        "MANAGER",
        "",
        "who makes the cgroups: pyrunc (cgroupfs, the default), systemd (as --systemd-cgroup), or nobody "
        "(disabled: a container stays in the caller's)",
        ("cgroupfs", "systemd", "disabled"),
    ),
    Option(
        "rootless",
        "",
        TEXT,
        "WHEN",
        "auto",
        "go on where cgroups may not be changed",
        ("auto", "true", "false"),
    ),
    Option("criu", "", TEXT, "PATH", "", "", hidden=True),
    HELP,
    Option("version", "v", FLAG, "", False, "print the version of pyrunc and of the specification"),
)

BUNDLE = Option(
    "bundle", "b", TEXT, "DIR", "", "the bundle: a directory with config.json (default: this one)"
)
CONSOLE_SOCKET = Option(
    "console-socket", "", TEXT, "SOCKET", "", "unix socket that is sent the terminal's master descriptor"
)
PIDFD_SOCKET = Option(
    "pidfd-socket", "", TEXT, "SOCKET", "", "unix socket that is sent a pidfd of the container's process"
)
PID_FILE = Option("pid-file", "", TEXT, "FILE", "", "write the process id, as the host counts it, to FILE")
NO_PIVOT = Option(
    "no-pivot", "", FLAG, "", False, "enter the root with MS_MOVE and chroot, for a root on a ramdisk"
)
NO_NEW_KEYRING = Option("no-new-keyring", "", FLAG, "", False, "keep the caller's session keyring")
PRESERVE_FDS = Option(
    "preserve-fds", "", NUMBER, "N", 0, "pass N more descriptors, from 3 (or after $LISTEN_FDS of them) on"
)
DETACH = Option("detach", "d", FLAG, "", False, "return once the process runs")
TABLE_OR_JSON = Option("format", "f", TEXT, "FORMAT", "table", "how the list is printed", ("table", "json"))
TEXT_OR_JSON = Option("format", "f", TEXT, "FORMAT", "text", "how the result is printed", ("text", "json"))

_CREATING = (BUNDLE, CONSOLE_SOCKET, PIDFD_SOCKET, PID_FILE, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS)

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "create", "containers", "ID", 1, 1,
            _CREATING,
            "create a container that waits for start",
            "Makes the container that a bundle describes. Its process is set up completely and waits "
            "for `start` before it executes the configured program.",
        ),
        Verb(
            "delete", "containers", "ID", 1, 1,
            (
                Option(
                    "force",
                    "f",
                    FLAG,
                    "",
                    False,
                    "kill a container that still runs; an unknown ID is no error",
                ),
            ),
            "remove what a stopped container holds",
            "Removes the state, the cgroup and whatever else a container left on the host, and runs its "
            "poststop hooks.",
        ),
        Verb(
            "events", "resources", "ID", 1, 1,
            (
                Option("interval", "", TEXT, "TIME", "5s", "time between statistics, such as 5s or 500ms"),
                Option("stats", "", FLAG, "", False, "print the statistics once, and end"),
            ),
            "show what a container uses, and that it ran out of memory",
            "Prints a JSON document per line: the statistics of a container's cgroups at an interval, and an "
            "event each time the kernel kills a process of it for want of memory. Ends with the container.",
        ),
        Verb(
            "exec", "containers", "ID COMMAND [ARGUMENT...]  |  --process FILE ID", 1, None,
            (
                Option(
                    "process",
                    "p",
                    TEXT,
                    "FILE",
                    "",
                    "take the whole process object, as in config.json, from FILE",
                ),
                Option("tty", "t", FLAG, "", False, "give the process a terminal"),
                DETACH,
                Option("cwd", "", TEXT, "PATH", "", "working directory in the container"),
                Option("env", "e", TEXTS, "NAME=VALUE", None, "add to the environment"),
                Option("user", "u", TEXT, "UID[:GID]", "", "user and group, as numbers"),
                Option("additional-gids", "g", NUMBERS, "GID", None, "add a supplementary group"),
                Option("cap", "c", TEXTS, "CAPABILITY", None, "add a capability"),
                Option("no-new-privs", "", FLAG, "", None, "set no_new_privs for the process"),
                Option("apparmor", "", TEXT, "PROFILE", "", "AppArmor profile of the process"),
                Option("process-label", "", TEXT, "LABEL", "", "SELinux label of the process"),
                PID_FILE,
                CONSOLE_SOCKET,
                PIDFD_SOCKET,
                PRESERVE_FDS,
                Option(
                    "ignore-paused",
                    "",
                    FLAG,
                    "",
                    False,
                    "do it in a paused container too; the process then waits",
                ),
                Option(
                    "cgroup", "", TEXTS, "[CONTROLLER:]PATH", None, "run in this cgroup below the container's"
                ),
            ),
            "run another process in a container",
            "Runs a command in a running container, with the settings of the container's own process "
            "where no flag says otherwise. All that follows ID belongs to the command.",
            stops=True,
        ),
        Verb(
            "features", "documents", "", 0, 0,
            (),
            "print what this runtime supports",
            "Prints the features document of the runtime specification, as JSON.",
        ),
        Verb(
            "kill", "containers", "ID [SIGNAL]", 1, 2,
            (Option("all", "a", FLAG, "", False, "send it to every process of the container"),),
            "send a signal to a container",
            "Sends SIGNAL (default: TERM) to the container's process. A signal is a name, with or "
            "without SIG, or a number; real-time signals are RTMIN+N and RTMAX-N.",
        ),
        Verb(
            "list", "listing", "", 0, 0,
            (TABLE_OR_JSON, Option("quiet", "q", FLAG, "", False, "print ids only")),
            "list containers",
            "Lists the containers below the state directory (see --root).",
        ),
        Verb(
            "pause", "containers", "ID", 1, 1,
            (),
            "freeze a container",
            "Suspends every process of a container until `resume`.",
        ),
        Verb(
            "plan", "documents", "[BUNDLE]", 0, 1,
            (TEXT_OR_JSON, BUNDLE, NO_PIVOT, NO_NEW_KEYRING),
            "print the system calls that would make a container",
            "Compiles and verifies a bundle's configuration without running anything, and prints one "
            "line per step, each with the key of config.json that asked for it. Needs no privilege.",
        ),
        Verb(
            "ps", "listing", "ID [PS-OPTION...]", 1, None,
            (TABLE_OR_JSON,),
            "list the processes of a container",
            "Runs the host's ps(1), with -ef or the options given, and prints the lines that belong to "
            "the container. As JSON it prints process ids.",
            stops=True,
        ),
        Verb(
            "resume", "containers", "ID", 1, 1,
            (),
            "go on with a paused container",
            "Lets the processes of a paused container run again.",
        ),
        Verb(
            "run", "containers", "ID", 1, 1,
            (
                *_CREATING,
                DETACH,
                Option("keep", "", FLAG, "", False, "do not delete the container when its process ends"),
                Option("no-subreaper", "", FLAG, "", False, "do not adopt processes whose parents end"),
            ),
            "create and start a container",
            "Creates the container that a bundle describes, runs its program and, unless detached, "
            "waits for it, forwards signals, deletes the container and exits with the program's status.",
        ),
        Verb(
            "spec", "spec", "", 0, 0,
            (
                Option("bundle", "b", TEXT, "DIR", "", "write to this directory instead of the current one"),
                Option(
                    "rootless",
                    "",
                    FLAG,
                    "",
                    False,
                    "for an ordinary user: with a user namespace, without cgroups",
                ),
                Option("rootfs", "", FLAG, "", False, "also fill an absent rootfs/ from static busybox"),
            ),
            "write a default config.json",
            "Writes a configuration to start from: a shell in six namespaces, with a read-only root file "
            "system and few capabilities. An existing config.json is never overwritten.",
        ),
        Verb(
            "start", "containers", "ID", 1, 1,
            (),
            "run the program of a created container",
            "Lets a created container execute its program.",
        ),
        Verb(
            "state", "containers", "ID", 1, 1,
            (),
            "print the state of a container",
            "Prints the state of a container, as JSON.",
        ),
        Verb(
            "update", "resources", "ID", 1, 1,
            (
                Option(
                    "resources", "r", TEXT, "FILE", "",
                    "take all changes from FILE, or - for standard input: an object like linux.resources",
                ),
                Option("blkio-weight", "", TEXT, "N", "", "share of the block devices, 10 to 1000"),
                Option("cpu-period", "", TEXT, "N", "", "period of the quota, in microseconds"),
                Option("cpu-quota", "", TEXT, "N", "", "CPU time in a period, in microseconds; -1: no limit"),
                Option("cpu-burst", "", TEXT, "N", "", "CPU time that may be saved up, in microseconds"),
                Option("cpu-share", "", TEXT, "N", "", "share of the CPUs, 2 to 262144"),
                Option("cpu-rt-period", "", TEXT, "N", "", "period of the real-time budget, in microseconds"),
                Option("cpu-rt-runtime", "", TEXT, "N", "", "real-time CPU time in it, in microseconds"),
                Option("cpu-idle", "", TEXT, "N", "", "1: run only when nothing else does; 0: not so"),
                Option("cpuset-cpus", "", TEXT, "LIST", "", "CPUs to run on, such as 0-3,7"),
                Option("cpuset-mems", "", TEXT, "LIST", "", "memory nodes to use"),
                Option("kernel-memory", "", TEXT, "SIZE", "", "", hidden=True),
                Option("kernel-memory-tcp", "", TEXT, "SIZE", "", "", hidden=True),
                Option("memory", "", TEXT, "SIZE", "", "limit of memory, such as 64m; -1: no limit"),
                Option("memory-reservation", "", TEXT, "SIZE", "", "memory that is kept when it gets scarce"),
                Option("memory-swap", "", TEXT, "SIZE", "", "limit of memory and swap together, or -1"),
                Option("pids-limit", "", TEXT, "N", "", "limit of processes and threads; -1: no limit"),
                Option("l3-cache-schema", "", TEXT, "TEXT", "", "schema of Intel RDT's cache allocation"),
                Option("mem-bw-schema", "", TEXT, "TEXT", "", "schema of Intel RDT's memory bandwidth"),
            ),
            "change a container's limits",
            "Changes the limits of a container's cgroup; what is not named stays. Either all changes hold "
            "afterwards, or none. Sizes are bytes, or have a unit: b, k, m, g, t, p.",
        ),
        Verb(
            "validate", "documents", "[BUNDLE|FILE]", 0, 1,
            (TEXT_OR_JSON, BUNDLE),
            "check a configuration",
            "Reports everything in a config.json that the specification does not allow, each with JSON "
            "pointer, line and column. Exits with 1 when there is any.",
        ),
    )
}


def named(options: tuple[Option, ...]) -> dict[str, Option]:
    """The options by long and by short name."""
    table = {option.name: option for option in options}
    table.update({option.short: option for option in options if option.short})
    return table


def defaults(options: tuple[Option, ...]) -> "dict[str, Any]":
    """What the flags are when none is given."""
    return {option.name.replace("-", "_"): [] if option.many else option.default for option in options}
