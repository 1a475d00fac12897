"""config.md: the process, its user, limits, capabilities and terminal."""

import json
import os
import resource
import shutil
import subprocess
from pathlib import Path

from conformance.box import Box
from conformance.cases.operations import plain
from conformance.model import NotApplicable, RuntimeFailed, case

# Numbers of capabilities(7), by the kernel's linux/capability.h.
NUMBERS = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SETUID": 7, "CAP_NET_BIND_SERVICE": 10, "CAP_AUDIT_WRITE": 29}


def mask(names: list[str]) -> int:
    return sum(1 << NUMBERS[name] for name in names)


@case("process.cwd", "process.env", "process.args", "process.path-lookup")
def cwd_env_args(box: Box) -> None:
    container = box.container()
    container.process["cwd"] = "/tmp"
    container.process["env"] = ["PATH=/nowhere:/bin", "EMPTY=", "SPACES= a  b ", "EQUALS=a=b", "UTF=\u00e9"]
    container.process["args"] = ["probe", "report", "stat:/with space", "stat:*", "stat:$PATH"]
    report = container.run()
    box.equal("process.cwd", report["cwd"], "/tmp", "the working directory")
    # The probe reports bytes.
    wanted = [entry.encode().decode("latin-1") for entry in container.process["env"]]
    missing = [entry for entry in wanted if entry not in report["env"]]
    box.check("process.env", not missing, f"these are not there: {missing}")
    box.equal("process.args", report["argv"], container.process["args"], "the arguments")
    box.equal("process.path-lookup", report["argv"][0], "probe", "the program that was looked for in PATH")


@case("process.not-found")
def a_program_that_does_not_exist(box: Box) -> None:
    for program in ("/bin/no-such-program", "no-such-program"):
        box.refused(
            "process.not-found",
            plain,
            lambda bad, program=program: bad.process.update(args=[program]),  # type: ignore[misc]
            f"args[0] {program}",
            at_start=True,
        )


@case("user.uid", "user.gid", "user.additional-gids", "user.umask")
def the_user(box: Box) -> None:
    container = box.container("create:/tmp/made", "stat:/tmp/made")
    container.rootfs.joinpath("tmp").chmod(0o1777)
    container.process["user"] = {"uid": 1234, "gid": 2345, "additionalGids": [5, 3456], "umask": 0o27}
    report = container.run()
    box.equal("user.uid", report["uids"], [1234] * 3, "the uids")
    box.equal("user.gid", report["gids"], [2345] * 3, "the gids")
    box.equal(
        "user.additional-gids", sorted(set(report["groups"]) - {2345}), [5, 3456], "the additional groups"
    )
    box.equal("user.umask", report["umask"], 0o27, "the umask")
    box.equal(
        "user.umask", report.op("stat:/tmp/made").get("mode", 0) & 0o777, 0o640, "the mode of a new file"
    )
    other = box.container()
    other.process["user"] = {"uid": 0, "gid": 0}
    report = other.run()
    box.equal(
        "user.additional-gids", sorted(set(report["groups"]) - {0}), [], "the additional groups of none"
    )


@case("process.rlimits")
def limits(box: Box) -> None:
    container = box.container()
    ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    hard = 512 if ceiling == resource.RLIM_INFINITY else min(512, ceiling)
    wanted = {
        "RLIMIT_NOFILE": (hard - 1, hard),
        "RLIMIT_CORE": (0, 1 << 20),
        "RLIMIT_FSIZE": (1 << 24, 1 << 25),
        "RLIMIT_STACK": (1 << 22, 1 << 23),
    }
    container.process["rlimits"] = [
        {"type": type, "soft": soft, "hard": high} for type, (soft, high) in wanted.items()
    ]
    report = container.run()
    for type, (soft, high) in wanted.items():
        box.equal("process.rlimits", report["rlimits"][getattr(resource, type)], [soft, high], type)


@case("process.rlimits-unknown", "process.rlimits-duplicate")
def wrong_limits(box: Box) -> None:
    entry = {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
    box.refused(
        "process.rlimits-unknown",
        lambda good: good.process.update(rlimits=[entry]),
        lambda bad: bad.process.update(rlimits=[entry | {"type": "RLIMIT_NO_SUCH"}]),
        "an unknown type",
        at_start=True,
    )
    box.refused(
        "process.rlimits-duplicate",
        lambda good: good.process.update(rlimits=[entry]),
        lambda bad: bad.process.update(rlimits=[entry, entry]),
        "a type that is there twice",
        at_start=True,
    )


@case("process.capabilities")
def capabilities_of_root(box: Box) -> None:
    bounding = list(NUMBERS)
    sets = {
        "bounding": bounding,
        "permitted": bounding[:4],
        "effective": bounding[:3],
        "inheritable": bounding[1:3],
        "ambient": bounding[1:2],
    }
    container = box.container()
    # For uid 0, execve(2) makes the effective and permitted sets from the bounding and inheritable ones.
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.process["capabilities"] = sets
    report = container.run()
    found = report["capabilities"]
    box.equal("process.capabilities", found["bounding"], mask(sets["bounding"]), "the bounding set")
    box.equal("process.capabilities", found["inheritable"], mask(sets["inheritable"]), "the inheritable set")
    box.equal("process.capabilities", found["ambient"], mask(sets["ambient"]), "the ambient set")
    # capabilities(7): a program without file capabilities keeps what is ambient.
    box.equal("process.capabilities", found["permitted"], mask(sets["ambient"]), "the permitted set")
    box.equal("process.capabilities", found["effective"], mask(sets["ambient"]), "the effective set")
    root = box.container()
    root.process["capabilities"] = {"bounding": bounding, "permitted": bounding, "effective": bounding}
    found = root.run()["capabilities"]
    box.equal(
        "process.capabilities",
        [found[name] for name in ("bounding", "permitted", "effective")],
        [mask(bounding)] * 3,
        "the sets of root",
    )
    none = box.container()
    none.process["capabilities"] = {}
    found = none.run()["capabilities"]
    box.equal("process.capabilities", set(found.values()), {0}, "without any capability, the sets")


@case("process.capabilities-unknown")
def an_unknown_capability(box: Box) -> None:
    container = box.container()
    container.process["capabilities"]["bounding"] = ["CAP_KILL", "CAP_NO_SUCH"]
    result = container.try_create()
    box.check("process.capabilities-unknown", result and container.start().report(), str(result))


@case("process.no-new-privileges")
def no_new_privileges(box: Box) -> None:
    for wanted in (True, False):
        container = box.container()
        container.process["noNewPrivileges"] = wanted
        found = container.run()["no_new_privs"]
        box.equal("process.no-new-privileges", found, int(wanted), f"no_new_privs with {wanted}")


@case("process.oom-score-adj", "process.oom-score-adj-unset")
def the_oom_score(box: Box) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    for requirement, value in (
        ("process.oom-score-adj", min(own + 100, 1000)),
        ("process.oom-score-adj-unset", None),
    ):
        container = box.container("read:/proc/self/oom_score_adj")
        if value is not None:
            container.process["oomScoreAdj"] = value
        found = container.run().op("read:/proc/self/oom_score_adj").get("value", "").strip()
        box.equal(requirement, found, str(own if value is None else value), "oom_score_adj")


@case("process.terminal", "process.console-size", "devices.console")
def a_terminal(box: Box) -> None:
    container = box.container("stat:/dev/console", "list:/dev/pts", "openw:/dev/console")
    container.process["terminal"] = True
    container.process["consoleSize"] = {"height": 33, "width": 77}
    console = box.console()
    container.create("--console-socket", str(console.path))
    console.receive()
    container.start()
    line = console.line()
    try:
        report = json.loads(line)
    except ValueError:
        raise RuntimeFailed(f"the terminal gave no report but {line[:200]!r}") from None
    box.check("process.terminal", report["terminal"], "standard input, output and error are no terminal")
    box.equal("process.console-size", report["console"], [33, 77], "the size")
    found = {entry["op"]: entry for entry in report["ops"]}
    numbers = found["stat:/dev/console"].get("rdev", [0, 0])
    box.check(
        "devices.console",
        136 <= numbers[0] <= 143 and found["openw:/dev/console"]["errno"] == 0,
        f"/dev/console has the numbers {numbers}",
    )  # devices.txt: Unix98 terminals
    container.ended()


@case("process.console-size-ignored")
def a_console_size_without_a_terminal(box: Box) -> None:
    container = box.container()
    container.process["consoleSize"] = {"height": 33, "width": 77}
    report = container.run()
    box.check("process.console-size-ignored", not report["terminal"], "there is a terminal")


@case("process.capabilities-warning", "warnings.continue")
def a_capability_that_cannot_be_granted(box: Box) -> None:
    container = box.container()
    for names in container.process["capabilities"].values():
        names.append("CAP_NO_SUCH")
    result = container.try_create()
    container.must(result)
    container.start()
    container.report()
    box.check("warnings.continue", True)
    if "CAP_NO_SUCH" in result.err:
        box.check("process.capabilities-warning", True)
    else:
        box.not_applicable("process.capabilities-warning", "the runtime does not show it, as it may")


SCHED_RESET_ON_FORK = 0x40000000  # linux/sched.h: what sched_getscheduler(2) adds to the policy


@case(
    "process.scheduler", "process.scheduler-flags", "process.scheduler-invalid", "process.exec-cpu-affinity"
)
def scheduling(box: Box) -> None:
    flagged = "call:sched_getscheduler:0"
    container = box.container("read:/proc/self/stat", flagged)
    container.process["scheduler"] = {
        "policy": "SCHED_BATCH",
        "nice": 5,
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
    }
    cpus = os.sched_getaffinity(0)
    container.process["execCPUAffinity"] = {"initial": str(min(cpus)), "final": str(min(cpus))}
    container.runs("hold", *container.process["args"][2:])
    report = container.run()
    fields = report.must("read:/proc/self/stat").rpartition(")")[2].split()
    box.equal("process.scheduler", (fields[38], fields[16]), ("3", "5"), "the policy and nice value")
    reset = report.must(flagged) & SCHED_RESET_ON_FORK
    box.check("process.scheduler-flags", reset, "SCHED_FLAG_RESET_ON_FORK is not in force")
    if len(cpus) > 1:
        affinity = os.sched_getaffinity(container.pid)
        box.equal("process.exec-cpu-affinity", affinity, cpus, "the affinity of the first process")
    else:
        box.not_applicable("process.exec-cpu-affinity", "this machine has one CPU for the suite")
    container.stop()
    for scheduler, what in (
        ({"policy": "SCHED_NO_SUCH"}, "an unknown policy"),
        ({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_NO_SUCH"]}, "an unknown flag"),
    ):
        box.refused(
            "process.scheduler-invalid",
            lambda good: good.process.update(scheduler={"policy": "SCHED_BATCH"}),
            lambda bad, scheduler=scheduler: bad.process.update(scheduler=scheduler),  # type: ignore[misc]
            what,
            at_start=True,
        )


@case("process.io-priority")
def priority_of_io(box: Box) -> None:
    container = box.container("call:ioprio_get:1:0")
    container.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 3}
    found = container.run().must("call:ioprio_get:1:0")
    box.equal("process.io-priority", (found >> 13, found & 7), (2, 3), "the class and priority")


@case("process.apparmor")
def confinement_by_apparmor(box: Box) -> None:
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if not enabled.exists() or enabled.read_text().strip() != "Y":
        raise NotApplicable("this machine has no AppArmor")
    parser = shutil.which("apparmor_parser")
    if not parser:
        raise NotApplicable("there is no apparmor_parser to load a profile with")
    name = f"conformance-{os.getpid()}"
    flags = "attach_disconnected,mediate_deleted"
    profile = f"profile {name} flags=({flags}) {{\n file,\n signal,\n capability,\n}}\n"
    subprocess.run([parser, "-K", "-a"], input=profile.encode(), check=True)
    try:
        container = box.container("read:/proc/self/attr/current")
        container.process["apparmorProfile"] = name
        found = container.run().op("read:/proc/self/attr/current").get("value", "").strip("\n\0")
        container.ended()
    finally:
        subprocess.run([parser, "-K", "-R"], input=profile.encode(), check=True)
    box.equal("process.apparmor", found, f"{name} (enforce)", "the profile of the process")
