"""config.md: each mount option that the specification lists, and id-mapped mounts."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from conformance.box import Box
from conformance.cases.config import MOUNTINFO
from conformance.cases.linux import with_mappings
from conformance.cases.operations import plain
from conformance.container import Container, Report
from conformance.host import can_map_ids
from conformance.model import NotApplicable, RuntimeFailed, case
from conformance.requirements import OPTIONS, option_id

# Option: those before it in the list, then what /proc/self/mountinfo has and has not because of it.
# What is not here shows nothing there, and is to be accepted.
SHOWN: dict[str, tuple[str, str, str]] = {
    "dev": ("nodev", "", "nodev"),
    "dirsync": ("", "dirsync", ""),
    "exec": ("noexec", "", "noexec"),
    "lazytime": ("", "lazytime", ""),
    "noatime": ("", "noatime", ""),
    "nodev": ("", "nodev", ""),
    "nodiratime": ("", "nodiratime", ""),
    "noexec": ("", "noexec", ""),
    "nolazytime": ("lazytime", "", "lazytime"),
    "norelatime": ("", "", "noatime"),
    "nostrictatime": ("strictatime", "relatime", ""),
    "nosuid": ("", "nosuid", ""),
    "nosymfollow": ("", "nosymfollow", ""),
    "atime": ("noatime", "", "noatime"),
    "async": ("sync", "", "sync"),
    "diratime": ("nodiratime", "", "nodiratime"),
    "relatime": ("", "relatime", "noatime"),
    "ro": ("", "ro", "rw"),
    "rw": ("ro", "rw", "ro"),
    "strictatime": ("", "", "noatime relatime"),
    "suid": ("nosuid", "", "nosuid"),
    "symfollow": ("nosymfollow", "", "nosymfollow"),
    "sync": ("", "sync", ""),
}
PROPAGATION = ("private", "shared", "slave", "unbindable")


def words(report: Report, point: str) -> set[str]:
    mount = report.mount(point)
    # A mount may be read-only on a superblock that is not.
    return {*mount.get("options", []), *mount.get("super", [])} - {"ro", "rw"} | access(report, point)


def access(report: Report, point: str) -> set[str]:
    return {"ro", "rw"} & set(report.mount(point).get("options", []))


def verdict(report: Report, option: str, points: Iterable[str]) -> str:
    """What is wrong with the mounts that were made with an option; empty if nothing is."""
    plain_option = option[1:] if option[0] == "r" and option[1:] in (*SHOWN, *PROPAGATION) else option
    for point in points:
        mount = report.mount(point)
        if not mount:
            return f"{point} is not mounted"
        if plain_option in PROPAGATION:
            kinds = {word.partition(":")[0] for word in mount["propagation"]}
            good = {
                "private": not kinds,
                # A mount without a master cannot be a slave, and is private then.
                "slave": kinds <= {"master"},
                "shared": "shared" in kinds,
                "unbindable": kinds == {"unbindable"},
            }
            if not good[plain_option]:
                return f"the propagation of {point} is {sorted(kinds) or 'private'}"
        _, there, absent = SHOWN.get(plain_option, ("", "", ""))
        found = words(report, point)
        if not set(there.split()) <= found or found & set(absent.split()):
            return f"{point} has {','.join(sorted(found))}"
    return ""


def add(container: Container, option: str) -> list[str]:
    """Add a mount with the option; where to look at what came of it."""
    point = f"/option-{option}"
    before = SHOWN.get(option, ("",))[0].split()
    if option in ("bind", "rbind"):
        container.mount(point, "none", str(container.rootfs / "bin"), option)
    elif option == "remount":
        container.mount(point, "tmpfs", "tmpfs", "rw", "size=64k")
        container.mount(point, "tmpfs", "tmpfs", "remount", "ro")
    elif option.removeprefix("r") in ("private", "slave", "unbindable"):
        # What is mounted below a shared mount is shared, if nothing says otherwise.
        container.mount(point, "tmpfs", "tmpfs", "shared")
        point = f"{point}/below"
        container.mount(point, "tmpfs", "tmpfs", option)
    elif option == "rrelatime":
        container.mount(point, "none", str(without_access_times(container)), "rbind", option)
        return [point, f"{point}/below"]
    elif option[0] == "r" and option[1:] in SHOWN and option not in SHOWN:
        # Recursive: over a tree of the host's with mounts in it, where it has one.
        before = ["r" + name for name in SHOWN[option[1:]][0].split()]
        container.mount(point, "none", "/dev", "rbind", *before, option)
        below = [line.split()[4] for line in open("/proc/self/mountinfo")]
        return [point, *(point + each.removeprefix("/dev") for each in below if each.startswith("/dev/"))]
    else:
        container.mount(point, "tmpfs", "tmpfs", *before, option)
    return [point]


def without_access_times(container: Container) -> Path:
    """A file system with another below it, both mounted with noatime."""
    tree = container.bundle / "tree"
    for directory in (tree, tree / "below"):
        directory.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "noatime", "none", directory], check=True)
    return tree


@case(*(option_id(name) for names in OPTIONS.values() for name in names))
def each_mount_option(box: Box) -> None:
    observe(box, [name for names in OPTIONS.values() for name in names])


def observe(box: Box, names: list[str]) -> None:
    """Look at what came of each option: in one container, or where the runtime refuses that, in halves."""
    container = box.container(MOUNTINFO)
    points = {name: add(container, name) for name in names}
    try:
        report = container.run()
    except RuntimeFailed as error:
        if len(names) == 1:
            box.check(option_id(names[0]), False, str(error))
        else:
            observe(box, names[: len(names) // 2])
            observe(box, names[len(names) // 2 :])
        return
    for name in names:
        found = words(report, points[name][0])
        # Another mount would not have the size of the first.
        again = name != "remount" or {"ro", "size=64k"} <= found
        wrong = "" if again else f"it has {','.join(sorted(found))}"
        wrong = wrong or verdict(report, name, points[name])
        box.check(option_id(name), not wrong, wrong)


NO_IDS = "this kernel cannot map the ids of the file system that has the suite's temporary files"


def owned(container: Container) -> Path:
    """A directory whose owner is 7:7 on the host."""
    directory = container.bundle / "owned"
    directory.mkdir()
    os.chown(directory, 7, 7)
    return directory


def with_another(directory: Path) -> Path:
    """The directory with another file system below it, where the kernel can map the ids of one."""
    below = directory / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "uid=7,gid=7", "none", below], check=True)
    if not can_map_ids(below):
        subprocess.run(["umount", below], check=True)
        os.chown(below, 7, 7)
    return directory


def mappings(container: Container, option: str) -> None:
    container.mount("/mapped", "none", str(with_another(owned(container))), "rbind", option)
    for kind in ("uidMappings", "gidMappings"):
        container.config["mounts"][-1][kind] = [{"containerID": 0, "hostID": 1000, "size": 100}]


@case("mounts.option-idmap", "mounts.option-ridmap", "mounts.idmap-mappings")
def id_mapped_mounts(box: Box) -> None:
    if not can_map_ids(box.directory):
        raise NotApplicable(NO_IDS)
    for option in ("idmap", "ridmap"):
        container = box.container("stat:/mapped", "stat:/mapped/below")
        mappings(container, option)
        try:
            report = container.run()
            found, below = report.op("stat:/mapped"), report.op("stat:/mapped/below")
        except RuntimeFailed as error:
            box.check(f"mounts.option-{option}", False, str(error))
            box.not_applicable("mounts.idmap-mappings", "the runtime makes no id-mapped mounts")
            continue
        owner = found.get("uid"), found.get("gid")
        box.equal(f"mounts.option-{option}", owner != (7, 7), True, "whether a mapping is applied")
        box.equal("mounts.idmap-mappings", owner, (1007, 1007), "the owner of what 7:7 owns")
        if option == "ridmap":
            owner = below.get("uid"), below.get("gid")
            box.equal("mounts.option-ridmap", owner, (1007, 1007), "the owner of what 7:7 owns below")


@case("mounts.idmap-nothing", "errors.unchanged")
def an_id_mapped_mount_without_mappings(box: Box) -> None:
    for option in ("idmap", "ridmap"):
        box.refused(
            "mounts.idmap-nothing",
            plain,
            lambda bad, option=option: bad.mount("/mapped", "none", str(owned(bad)), "rbind", option),  # type: ignore[misc]
            f"{option} without mappings and user namespace",
            "errors.unchanged",
        )


@case("mounts.idmap-user-namespace")
def an_id_mapped_mount_of_a_user_namespace(box: Box) -> None:
    if not can_map_ids(box.directory):
        raise NotApplicable(NO_IDS)
    for option in ("idmap", "ridmap"):
        container = with_mappings(box.container("stat:/mapped"))
        container.mount("/mapped", "none", str(owned(container)), "rbind", option)
        result = container.try_create()
        if result:
            found = container.start().report().op("stat:/mapped")
            owner = found.get("uid"), found.get("gid")
            box.equal("mounts.idmap-user-namespace", owner, (7, 7), f"{option}: the owner of what 7:7 owns")
        else:
            with_mappings(box.container()).run()
            left = container.left_behind()
            box.check("mounts.idmap-user-namespace", not left, f"{result}, but these stay: {', '.join(left)}")


@case("mounts.unknown-option")
def an_option_of_the_file_system(box: Box) -> None:
    container = box.container(MOUNTINFO)
    container.mount("/tmp", "tmpfs", "tmpfs", "nr_inodes=77")
    box.check("mounts.unknown-option", "nr_inodes=77" in words(container.run(), "/tmp"), "tmpfs has it not")
