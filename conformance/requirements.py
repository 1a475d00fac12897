"""The table of requirements: runtime-spec 1.3's demands that are observed on Linux, in the suite's own words.

Where the text describes a property without a keyword, the level is that of runtime.md's lifecycle, step 2:
the environment MUST be created according to the configuration.
"""

from conformance.model import Requirement

# id | level | text [| why it is untestable]; a line in brackets is the section of those below it.
TABLE = """
[bundle.md]
bundle.config-json | MUST | a bundle without config.json is refused

[runtime.md#state]
state.oci-version | MUST | the state has ociVersion, a version
state.id | MUST | the state has the container's id
state.status | MUST | the state has a status, and it is the lifecycle's: created, running, stopped
state.pid | MUST | the state of a created or running container has the pid of its process as the host \
sees it
state.bundle | MUST | the state has the absolute path of the bundle
state.annotations | MUST | the state has the configuration's annotations
state.new-status | MUST | a status that the specification does not have stands for a state that it does \
not have | runtimes' own states cannot be provoked in general

[runtime.md#lifecycle]
lifecycle.environment-error | MUST | an environment that cannot be made is an error of create
lifecycle.program-waits | MUST NOT | the program runs before start
lifecycle.config-read-once | MUST NOT | a change of config.json after create has an effect
lifecycle.destroyed | MUST | delete undoes what create did
hooks.prestart | MUST | prestart hooks are run by create
hooks.create-runtime | MUST | createRuntime hooks are run by create
hooks.create-container | MUST | createContainer hooks are run by create
hooks.start-container | MUST | startContainer hooks are run by start, before the program
hooks.poststart | MUST | poststart hooks are run before start returns
hooks.poststop | MUST | poststop hooks are run before delete returns, and not before delete
hooks.prestart-fails | MUST | a failing prestart hook is an error of create, and the container is stopped
hooks.create-runtime-fails | MUST | a failing createRuntime hook is an error of create, and the container \
is stopped
hooks.create-container-fails | MUST | a failing createContainer hook is an error of create, and the \
container is stopped
hooks.start-container-fails | MUST | a failing startContainer hook is an error of start, the container is \
stopped, and the program does not run
hooks.poststart-fails | MUST | a failing poststart hook is an error of start, and the container is stopped
hooks.poststop-fails | MUST | after a failing poststop hook, the others run and delete goes on
hooks.failure-destroys | MUST | after a failing hook of create the container is destroyed
hooks.failure-poststop | MUST | after a failing hook of create the poststop hooks are run

[runtime.md#errors]
errors.unchanged | MUST | an error leaves the environment as it was: no state, process, cgroup or mount

[runtime.md#query-state]
query-state.no-id | MUST | state without an id is an error
query-state.unknown | MUST | state of a container that does not exist is an error

[runtime.md#create]
create.no-arguments | MUST | create without an id is an error
create.id-taken | MUST | an id in use is an error, and the container that has it is not changed
create.id-invalid | MUST | an id that is not valid is an error
create.status | MUST | after create, the status is created
create.resources | MUST | create applies everything but process: namespaces and mounts are there before \
start
create.cannot-apply | MUST | a property that cannot be applied is an error, and no container is created

[runtime.md#start]
start.no-id | MUST | start without an id is an error
start.unknown | MUST | start of a container that does not exist is an error
start.running | MUST | start of a running container is an error and has no effect
start.stopped | MUST | start of a stopped container is an error and has no effect
start.runs | MUST | start runs the program
start.no-process | MUST | start is an error if the configuration has no process
start.status | MUST | after start, the status is running

[runtime.md#kill]
kill.no-id | MUST | kill without an id is an error
kill.unknown | MUST | kill of a container that does not exist is an error
kill.stopped | MUST | kill of a stopped container is an error
kill.signal | MUST | kill sends the signal to the container's process
kill.created | MUST | kill also reaches a container that is created and not started
kill.status | MUST | when the process has ended, the status is stopped

[runtime.md#delete]
delete.no-id | MUST | delete without an id is an error
delete.unknown | MUST | delete of a container that does not exist is an error
delete.running | MUST | delete of a running container is an error and has no effect
delete.resources | MUST | delete removes what create made
delete.others-resources | MUST NOT | delete removes what create did not make

[config.md]
config.unknown-property | MUST | an unknown property is no error
config.invalid-value | MUST | an invalid or unsupported value is an error

[config.md#root]
root.relative | MUST | a relative root.path is taken from the bundle
root.absolute | MUST | an absolute root.path is taken as it is
root.missing | MUST | a root.path without a directory is an error
root.readonly | MUST | with root.readonly the root file system cannot be written to
root.writable | MUST | root.readonly is false by default

[config.md#mounts]
mounts.order | MUST | mounts are made in the listed order
mounts.relative-destination | MUST | a relative destination is taken from /
mounts.relative-source | MUST | the source of a bind mount may be relative to the bundle
mounts.flags | MUST | the options ro, nosuid, nodev, noexec and noatime are applied
mounts.data | SHOULD | options of the file system (size, mode) reach it
mounts.bind-readonly | MUST | a bind mount with ro cannot be written to, its source can
mounts.rbind | MUST | rbind also brings the mounts below the source
mounts.propagation | MUST | the propagation options private, slave and shared are applied

mounts.idmap-mappings | MUST | with uidMappings and gidMappings, idmap and ridmap use them
mounts.idmap-nothing | MUST | idmap and ridmap without mappings and without a user namespace are an error
mounts.mappings-together | MUST | uidMappings and gidMappings are there together | a demand on configurations
mounts.unknown-option | SHOULD | an option that the runtime does not know is the file system's

[config.md#process]
process.cwd | MUST | the program's working directory is process.cwd
process.env | MUST | the program has the variables of process.env
process.args | MUST | the program has the arguments of process.args
process.path-lookup | MUST | a name without a slash in args is looked for in PATH
process.not-found | MUST | a program that does not exist is an error
process.terminal | MUST | with process.terminal the standard streams are a terminal
process.console-size | MUST | the terminal has the size of consoleSize
process.console-size-ignored | MUST | consoleSize is ignored without a terminal
process.rlimits | MUST | soft and hard limits are as configured
process.rlimits-unknown | MUST | an unknown type of limit is an error
process.rlimits-duplicate | MUST | a type of limit that is there twice is an error
process.capabilities | MUST | the five capability sets are as configured
process.capabilities-unknown | SHOULD NOT | an unknown capability is an error
process.capabilities-warning | MUST | a capability that cannot be granted is logged as a warning
process.scheduler | MUST | the scheduling policy and nice value are as configured
process.scheduler-invalid | MUST | an unknown scheduling policy is an error
process.io-priority | MUST | the class and priority of input and output are as configured
process.apparmor | MUST | the process is confined by the profile of apparmorProfile
process.selinux | MUST | the process has the label of selinuxLabel | no machine of the suite has SELinux
process.exec-cpu-affinity | MUST NOT | execCPUAffinity applies to the container's first process
process.no-new-privileges | MUST | noNewPrivileges is set when true, and only then
process.oom-score-adj | MUST | oom_score_adj is as configured
process.oom-score-adj-unset | MUST NOT | without oomScoreAdj, oom_score_adj is changed

[config.md#user]
user.uid | MUST | the program has the uid
user.gid | MUST | the program has the gid
user.additional-gids | MUST | the program has the additional groups
user.umask | MUST | the program has the umask

[config.md#hostname]
hostname | MUST | the container sees the hostname, and the host's stays

[config.md#domainname]
domainname | MUST | the container sees the domain name

[config.md#posix-platform-hooks]
hooks.order | MUST | hooks of one kind run in the listed order
hooks.prestart-first | MUST | prestart hooks run before createRuntime hooks
hooks.create-container-after | MUST | createContainer hooks run after createRuntime hooks
hooks.path-runtime | MUST | the paths of all but startContainer hooks are the runtime's
hooks.path-container | MUST | the path of a startContainer hook is the container's
hooks.before-pivot | MUST | prestart, createRuntime and createContainer hooks run before pivot_root
hooks.relative-path | MUST | a hook's path is absolute: another is an error
hooks.timeout-positive | MUST | a timeout is greater than zero | a demand on configurations
hooks.state | MUST | the state is a hook's standard input
hooks.state-pid | MUST | the pid in a hook's state is the container's process as the runtime sees it, or \
as the container sees it in createContainer and startContainer
hooks.args-env | MUST | a hook has its args, and the variables of its env
hooks.timeout | MUST | a hook that takes longer than its timeout is ended, and has failed
hooks.runtime-namespace | MUST | prestart, createRuntime, poststart and poststop hooks run in the \
runtime's namespaces
hooks.container-namespace | MUST | createContainer and startContainer hooks run in the container's \
namespaces

[config.md#annotations]
annotations.unknown | MUST | an unknown annotation is no error

[config-linux.md#default-filesystems]
linux.default-filesystems | SHOULD | /proc, /sys, /dev/pts and /dev/shm are there, of their types, when \
configured

[config-linux.md#namespaces]
namespaces.new-pid | MUST | a pid namespace without a path is new
namespaces.new-network | MUST | a network namespace without a path is new
namespaces.new-mount | MUST | a mount namespace without a path is new
namespaces.new-ipc | MUST | an ipc namespace without a path is new
namespaces.new-uts | MUST | a uts namespace without a path is new
namespaces.new-user | MUST | a user namespace without a path is new
namespaces.new-cgroup | MUST | a cgroup namespace without a path is new
namespaces.new-time | MUST | a time namespace without a path is new
namespaces.types | SHOULD | all eight types are supported
namespaces.inherited | MUST | a namespace that is not listed is the runtime's
namespaces.path | MUST | the process is in the namespace of a path
namespaces.path-type | MUST | a path of a namespace of another type is an error
namespaces.duplicate | MUST | a type that is listed twice is an error
namespaces.id-mappings | MUST | the user namespace has the configured id mappings
namespaces.ownership | SHOULD NOT | id mappings change the owners of the root file system's files
namespaces.time-offsets | MUST | the clocks have the configured offsets

[config-linux.md#devices]
devices.available | MUST | a configured device is there, with its type, numbers, mode and owner
devices.outside-dev | MUST | a device may be outside /dev
devices.conflict | MUST | a file that is not the device at its path is an error
devices.default | MUST | null, zero, full, random, urandom and tty are there
devices.ptmx | MUST | /dev/ptmx is the container's own /dev/pts/ptmx
devices.console | MUST | with a terminal, /dev/console is that terminal

[config-linux.md#control-groups]
cgroups.absolute | MUST | an absolute cgroupsPath is taken from the mount of the cgroups
cgroups.device-list | MUST | the entries of the device list are applied in order
cgroups.memory-limit | MUST | resources.memory.limit is in force
cgroups.pids-limit | MUST | resources.pids.limit is in force

cgroups.check-fails | MUST | where the runtime refuses a cgroup that has processes in it, that is an error \
and nothing is changed
cgroups.consistent | MUST | the same cgroupsPath gives the same place again
cgroups.path-dotdot | MUST | a cgroupsPath that the runtime takes for invalid is an error
cgroups.cpu-quota | MUST | resources.cpu.quota and period are in force
cgroups.cpu-shares | MUST | resources.cpu.shares is in force
cgroups.cpuset | MUST | resources.cpu.cpus is in force
cgroups.memory-reservation | MUST | resources.memory.reservation is in force
cgroups.memory-swap | MUST | resources.memory.swap is in force
cgroups.check-before-update | MUST | with checkBeforeUpdate, a limit below the usage is refused | limits are \
changed by no operation of the specification
cgroups.unified | MUST | a file named by resources.unified has its value
cgroups.unified-unknown | MUST | a file of resources.unified that does not exist is an error
cgroups.network-class | MUST | resources.network.classID is in force
cgroups.hugepages | MUST | a limit of resources.hugepageLimits is in force
cgroups.hugepages-unknown | MUST | a page size that the machine does not have is an error
cgroups.owner | SHOULD | with a cgroup namespace and a writable mount of cgroup v2, the container's user \
owns its cgroup and the files that are delegated
cgroups.owner-others | SHOULD NOT | other files of the cgroup change their owner
cgroups.owner-readonly | SHOULD NOT | with a read-only mount, the cgroup changes its owner
cgroups.owner-v1 | SHOULD NOT | a cgroup of v1 changes its owner

[config-linux.md#memory-policy]
memory-policy | MUST | the memory policy of the process is as configured
memory-policy.invalid | MUST | an unknown mode is an error

[config-linux.md#personality]
personality | MUST | LINUX32 is the execution domain
personality.invalid | MUST | an unknown domain is an error

[config-linux.md#sysctl]
sysctl | MUST | kernel parameters are as configured

[config-linux.md#seccomp]
seccomp.errno-default | MUST | SCMP_ACT_ERRNO without a number gives EPERM
seccomp.errno | MUST | SCMP_ACT_ERRNO gives errnoRet
seccomp.default-errno | MUST | a default action of SCMP_ACT_ERRNO gives defaultErrnoRet
seccomp.args | MUST | a rule with args applies to calls with these arguments only
seccomp.errno-unsupported | MUST | errnoRet with an action that has no errno is an error
seccomp.listener | MUST | the container process state is sent to the socket of listenerPath, once, and \
the connection is closed
seccomp.listener-state | MUST | it has ociVersion, fds, pid, metadata, and the container's state
seccomp.listener-descriptor | MUST | the descriptor named seccompFd is that of the filter: the agent gets \
the calls and answers them
seccomp.listener-fails | MUST | a listenerPath where nobody listens is an error
seccomp.listener-unused | MUST | without SCMP_ACT_NOTIFY, listenerPath is ignored
seccomp.listener-metadata | MUST NOT | listenerMetadata is set without listenerPath | a demand on \
configurations

[config-linux.md#rootfs-mount-propagation]
rootfs-propagation | MUST | the root file system's propagation is as configured

[config-linux.md#masked-paths]
masked-paths | MUST | masked files and directories cannot be read

[config-linux.md#readonly-paths]
readonly-paths | MUST | read-only paths cannot be written to

[features.md]
features.versions | MUST | the features document has ociVersionMin and ociVersionMax
features.version-order | MUST NOT | ociVersionMax is less than ociVersionMin
features.accepts-versions | MUST | both are accepted as ociVersion of a configuration
features.known | MUST NOT | the document has properties that the specification does not know
features.hooks | MUST | the hooks in the document are supported
features.mount-options | MUST | the mount options in the document are recognised
features.mount-options-own | SHOULD NOT | the mount options in the document are those of file systems
features.null | MUST NOT | null is confused with an empty value | a demand on readers
features.compile-time | SHOULD | the document is determined when the runtime is compiled | it shows from \
outside on several machines only

[features-linux.md]
features.namespaces | MUST | the namespaces in the document are recognised
features.capabilities | MUST | the capabilities in the document are recognised
features.seccomp-actions | MUST | the seccomp actions in the document are recognised
features.seccomp-operators | MUST | the seccomp operators in the document are recognised
features.seccomp-archs | MUST | the seccomp architectures in the document are recognised
features.seccomp-flags | MUST | the supported seccomp flags in the document are recognised
features.idmap | MUST | a runtime that knows mappings of mounts says so, however few it can make | what a \
runtime knows is not seen from outside

[engines]
engines.version | ENGINE | --version begins with the runtime's name and the word version (Docker, Podman)
engines.containerd-lifecycle | ENGINE | --log FILE --log-format json create --bundle B --pid-file F ID, \
start, state, kill --all ID 9, delete (containerd's shim)
engines.containerd-log | ENGINE | an error is the last line of the log, JSON with level error and msg \
(containerd's shim)
engines.containerd-exec | ENGINE | exec --process FILE --pid-file F --detach ID (containerd's shim)
engines.containerd-exec-terminal | ENGINE | exec --console-socket S --process FILE --pid-file F --detach \
ID, a terminal arrives (containerd's shim)
engines.containerd-ps | ENGINE | ps --format json ID prints a list of pids (containerd's shim)
engines.containerd-pause | ENGINE | pause and resume, and state says paused (containerd's shim)
engines.containerd-events | ENGINE | events --stats ID prints an object with type, id and data \
(containerd's shim)
engines.containerd-update | ENGINE | update --resources FILE ID changes a limit (containerd's shim)
engines.containerd-delete-force | ENGINE | delete --force of an unknown id is no error (containerd's shim)
engines.containerd-terminal | ENGINE | create --console-socket S (containerd's shim)
engines.no-pivot | ENGINE | create --no-pivot gives the same root (containerd with no_pivot_root)
engines.docker-not-found | ENGINE | the error for a missing program says so in words that Docker looks for: \
executable file not found, no such file or directory, or permission denied
engines.docker-preserve | ENGINE | --preserve-fds N leaves N descriptors to the program (Docker, Podman)
engines.conmon-lifecycle | ENGINE | --log-format=json --log=FILE create --bundle B --pid-file F ID, start, \
kill ID 15, delete --force ID (conmon, Podman)
engines.conmon-exec | ENGINE | exec --pid-file F --process FILE --detach ID, exec of a program that is \
missing fails (conmon)
engines.podman-list | ENGINE | list --format json and list --quiet name the container (Podman, people)
engines.root | ENGINE | containers of one --root are not seen in another (containerd's namespaces)
"""


# The list of config.md, "Linux mount options", by level.
OPTIONS = {
    "MUST": """
        async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime
        noexec noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro
        rprivate rshared rslave runbindable rw shared silent slave strictatime suid sync unbindable
        """.split(),
    "SHOULD": """
        nosymfollow ratime rdev rdiratime rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime
        rnosuid rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow symfollow
        """.split(),
}


def option_id(name: str) -> str:
    return f"mounts.option-{name}"


def options_table() -> str:
    lines = ["[config.md#linux-mount-options]"]
    for level, names in OPTIONS.items():
        lines += [f"{option_id(name)} | {level} | the mount option {name} is implemented" for name in names]
    for name in ("idmap", "ridmap"):
        lines.append(f"{option_id(name)} | SHOULD | the mount option {name} is implemented")
    return "\n".join(lines)


def parse(table: str) -> tuple[Requirement, ...]:
    found = []
    section = ""
    for line in table.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line:
            id, level, text, *untestable = (field.strip() for field in line.split("|"))
            found.append(Requirement(id, section, level, text, *untestable))
    return tuple(found)


REQUIREMENTS = parse(TABLE.replace("[config.md#process]", f"{options_table()}\n\n[config.md#process]"))
BY_ID = {requirement.id: requirement for requirement in REQUIREMENTS}
