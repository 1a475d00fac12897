"""The requirements: runtime-spec 1.3's demands as requirements.txt has them, and each mount option."""

import re
from pathlib import Path

from conformance.model import Requirement

# The list of config.md, "Linux mount options", by level; the recursive ones and symfollow came with 1.1.
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
        since = level + " 1.1" * (level == "SHOULD")
        lines += [f"{option_id(name)} | {since} | the mount option {name} is implemented" for name in names]
    for name in ("idmap", "ridmap"):
        lines.append(f"{option_id(name)} | SHOULD 1.2 | the mount option {name} is implemented")
    return "\n".join(lines)


def parse(table: str) -> tuple[Requirement, ...]:
    found = []
    section = ""
    for line in table.replace("\n  ", " ").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            id, level, text, *untestable = (field.strip() for field in line.split("|"))
            level, since = re.fullmatch(r"([A-Z ]+?) ?([0-9.]*)", level).groups()  # type: ignore[union-attr]
            found.append(Requirement(id, section, level, since, text, *untestable))
    return tuple(found)


TABLE = Path(__file__).with_name("requirements.txt").read_text()
REQUIREMENTS = parse(TABLE.replace("[config.md#process]", f"{options_table()}\n\n[config.md#process]"))
BY_ID = {requirement.id: requirement for requirement in REQUIREMENTS}
