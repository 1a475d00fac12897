"""The device allow list of a container, as cgroup v1 rules or as a cgroup v2 eBPF program.

The rules of `linux.resources.devices` are applied in order to a model of the kernel's v1 device
controller (security/device_cgroup.c), so that both layouts end in the same state; nothing here has
an effect. Specification: config-linux.md, "Allowed Device list".
"""

from _struct import Struct

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# (type, major, minor) -> access; -1 stands for every number.
Rules = dict[tuple[str, int, int], int]

# BPF_DEVCG_ACC_* of include/uapi/linux/bpf.h
_MKNOD, _READ, _WRITE = 1, 2, 4
_ACCESS = {"r": _READ, "w": _WRITE, "m": _MKNOD}
_ALL = _MKNOD | _READ | _WRITE

# Every container may use these, after its own rules: runc's list, which engines count on (tun was taken out
# once, and put back, see https://github.com/opencontainers/runc/pull/4555).
DEFAULT_RULES: tuple[tuple[str, int, int, int], ...] = (
    ("c", -1, -1, _MKNOD),
    ("b", -1, -1, _MKNOD),
    ("c", 1, 3, _ALL),  # /dev/null
    ("c", 1, 5, _ALL),  # /dev/zero
    ("c", 1, 7, _ALL),  # /dev/full
    ("c", 1, 8, _ALL),  # /dev/random
    ("c", 1, 9, _ALL),  # /dev/urandom
    ("c", 5, 0, _ALL),  # /dev/tty
    ("c", 5, 2, _ALL),  # /dev/ptmx
    ("c", 10, 200, _ALL),  # /dev/net/tun
    ("c", 136, -1, _ALL),  # /dev/pts/*
)

_MAX_NUMBER = 0xFFFFFFFF


class Devices:
    """What the rules come to: `allow` is the answer for a device that no entry of `rules` matches,
    and each entry says the opposite for the accesses it holds."""

    __slots__ = ("allow", "rules")

    def __init__(self) -> None:
        self.allow = False
        self.rules: Rules = {}

    def apply(self, allow: bool, kind: str, major: int, minor: int, access: int, pointer: str) -> None:
        if kind == "a":
            # The kernel takes "a" for every device with every access, whatever else is said.
            self.allow = allow
            self.rules = {}
            return
        key = (kind, major, minor)
        if allow != self.allow:
            self.rules[key] = self.rules.get(key, 0) | access
            return
        for other, held in list(self.rules.items()):
            if other[0] != kind or not held & access:
                continue
            if major in (-1, other[1]) and minor in (-1, other[2]):
                # What was said of a device before is taken back by what is said of its range.
                if held & ~access:
                    self.rules[other] = held & ~access
                else:
                    del self.rules[other]
            elif -1 in (major, other[1]) or major == other[1]:
                if -1 not in (minor, other[2]) and minor != other[2]:
                    continue
                # The v1 controller has no order of rules: an exception cannot be cut out of a wider
                # one, and the kernel would ignore the attempt without a word.
                raise Error(
                    f"{'allows' if allow else 'denies'} {_rule(*key, access)}, which an earlier rule "
                    f"({_rule(*other, held)}) decides for a whole range; the kernel cannot "
                    "make an exception from a range: list the devices of the range one by one",
                    pointer=pointer,
                )


def devices(rules: "list[dict[str, Any]]", root: str = "/linux/resources/devices") -> Devices:
    """The state after the configuration's rules and the default ones.

    Raises Error with the rule's pointer, below root, when the kernel could not express it.
    """
    state = Devices()
    for i, rule in enumerate(rules):
        pointer = f"{root}/{i}"
        kind = rule.get("type") or "a"
        if kind not in ("a", "b", "c"):
            raise Error(f'a rule is for type "a", "b" or "c", not "{kind}"', pointer=f"{pointer}/type")
        text = rule.get("access") or ""
        if not text:
            raise Error('access is needed: some of "r", "w" and "m"', pointer=f"{pointer}/access")
        access = 0
        for letter in text:
            if letter not in _ACCESS:
                raise Error(
                    f'"{text}" is not an access: it holds some of "r", "w" and "m"',
                    pointer=f"{pointer}/access",
                )
            access |= _ACCESS[letter]
        numbers = []
        for name in ("major", "minor"):
            number = rule.get(name)
            if number is None:
                number = -1
            if not -1 <= number <= _MAX_NUMBER:
                raise Error(f"{number} is not a device number", pointer=f"{pointer}/{name}")
            numbers.append(number)
        state.apply(rule["allow"], kind, numbers[0], numbers[1], access, pointer)
    for kind, major, minor, access in DEFAULT_RULES:
        # Where all is allowed, this takes back denials of exactly these devices, as runc does.
        if not state.allow or state.rules.get((kind, major, minor), 0) & access:
            state.apply(True, kind, major, minor, access, root)
    return state


def v1_rules(state: Devices) -> list[tuple[str, str]]:
    """(file, line) writes that bring a device cgroup from any state to this one."""
    lines = [("devices.allow" if state.allow else "devices.deny", "a *:* rwm")]
    file = "devices.deny" if state.allow else "devices.allow"
    lines += [(file, _rule(*key, access)) for key, access in sorted(state.rules.items())]
    return lines


def v1_changes(old: Devices, new: Devices) -> list[tuple[str, str]] | None:
    """(file, line) writes that bring a device cgroup straight from one state to another, without a moment
    in which it allows what neither does; None where there is no such way."""
    if old.allow != new.allow:
        return None
    more, less = ("devices.deny", "devices.allow") if new.allow else ("devices.allow", "devices.deny")
    lines = []
    for key in sorted({*old.rules, *new.rules}):
        before, after = old.rules.get(key, 0), new.rules.get(key, 0)
        if before & ~after:
            lines.append((less, _rule(*key, before & ~after)))
        if after & ~before:
            lines.append((more, _rule(*key, after & ~before)))
    # One list after the other, which takes one open each: first what is denied.
    return sorted(lines, key=lambda line: line[0], reverse=True)


def _rule(kind: str, major: int, minor: int, access: int) -> str:
    letters = "".join(letter for letter, bit in _ACCESS.items() if access & bit)
    return f"{kind} {'*' if major < 0 else major}:{'*' if minor < 0 else minor} {letters}"


# -- eBPF (include/uapi/linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst) --------

# struct bpf_insn: code, registers (source in the upper half), offset, immediate
_insn = Struct("<BBhI").pack
_LDX_W, _MOV32_REG, _MOV32, _AND32, _RSH32, _JNE32, _JNE32_REG, _JEQ32, _EXIT = (
    0x61, 0xBC, 0xB4, 0x54, 0x74, 0x56, 0x5E, 0x16, 0x95,
)  # fmt: skip
_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*

# r2 type, r3 access, r4 major, r5 minor, from struct bpf_cgroup_dev_ctx
_PROLOGUE = b"".join((
    _insn(_LDX_W, 0x12, 0, 0),
    _insn(_MOV32_REG, 0x23, 0, 0),
    _insn(_AND32, 2, 0, 0xFFFF),
    _insn(_RSH32, 3, 0, 16),
    _insn(_LDX_W, 0x14, 4, 0),
    _insn(_LDX_W, 0x15, 8, 0),
))  # fmt: skip


# What takes the place of a filter that is not wanted any more.
ALLOW_ALL = _insn(_MOV32, 0, 0, 1) + _insn(_EXIT, 0, 0, 0)


def program(state: Devices) -> bytes | None:
    """The instructions of a BPF_PROG_TYPE_CGROUP_DEVICE program, or None where all is allowed.

    An allowing entry has to hold every access that is asked for; a denying one matches as soon
    as it holds one of them. Both are what the v1 controller does.
    """
    if state.allow and not state.rules:
        return None
    answer = 0 if state.allow else 1
    parts = [_PROLOGUE]
    for (kind, major, minor), access in sorted(state.rules.items()):
        # Tests that jump to the next entry: how far is known when all of them are.
        tests = [(_JNE32, 2, _TYPES[kind])]
        if major >= 0:
            tests.append((_JNE32, 4, major))
        if minor >= 0:
            tests.append((_JNE32, 5, minor))
        body = b"".join((_insn(_MOV32, 0, 0, answer), _insn(_EXIT, 0, 0, 0)))
        if access != _ALL:
            masked = _insn(_MOV32_REG, 0x31, 0, 0) + _insn(_AND32, 1, 0, access)
            miss = _insn(_JEQ32, 1, 2, 0) if state.allow else _insn(_JNE32_REG, 0x31, 2, 0)
            body = masked + miss + body
        size = len(tests) + len(body) // 8
        parts += [_insn(code, reg, size - i - 1, value) for i, (code, reg, value) in enumerate(tests)]
        parts.append(body)
    parts += [_insn(_MOV32, 0, 0, 1 - answer), _insn(_EXIT, 0, 0, 0)]
    return b"".join(parts)
