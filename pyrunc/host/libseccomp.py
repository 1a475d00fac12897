"""Compiles a seccomp profile with libseccomp, as runc does, to a classic BPF program.

The profile's semantics are libseccomp's; what is added is a prologue that answers ENOSYS to system
calls newer than the profile. Nothing is loaded into the kernel here. Source: the Seccomp section of
runtime-spec's config-linux.md, seccomp_rule_add(3), seccomp(2).
"""

import posix
from _struct import Struct
from errno import ENOSYS, EPERM
from types import ModuleType

import pyrunc.libraries
from pyrunc.errors import Error
from pyrunc.linux.seccomp import (
    ACTIONS,
    ARCHITECTURES,
    OPERATORS,
    PERMISSIVE_ACTIONS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POINTER = "/linux/seccomp"

# seccomp_syscall_resolve_name(3): a name that libseccomp knows on no architecture. Other negative
# numbers stand for calls that the native architecture lacks.
_UNKNOWN = -1

# libseccomp orders a filter as a binary tree on request, which pays off for long ones. Up to 2.5.4 it
# makes a wrong tree of an empty filter, and a tree's leaf holds four calls.
_TREE_FROM = 32

_BPF_MAXINSNS = 4096
_MAX_U64 = (1 << 64) - 1

# struct sock_filter: code, jump if true, jump if false, operand (<linux/bpf_common.h>).
_instruction = Struct("=HBBI").pack
_LOAD, _JUMP, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x45, 0x06
# struct seccomp_data
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4

_X86_64, _X32 = ARCHITECTURES["SCMP_ARCH_X86_64"], ARCHITECTURES["SCMP_ARCH_X32"]
_S390 = (ARCHITECTURES["SCMP_ARCH_S390"], ARCHITECTURES["SCMP_ARCH_S390X"])
_X32_SYSCALL_BIT = 1 << 30
_NO_LIMIT = 0xFFFFFFFF


class _Rule:
    """One system call's rule: any of the alternatives (lists of comparisons) leads to the action."""

    __slots__ = ("action", "alternatives", "name", "pointer")

    def __init__(
        self, name: str, action: int, alternatives: list[list[tuple[int, int, int, int]]], pointer: str
    ) -> None:
        self.name = name
        self.action = action
        self.alternatives = alternatives
        self.pointer = pointer


def compile_profile(seccomp: "dict[str, Any]") -> tuple[bytes, list[str], str]:
    """The filter (an array of struct sock_filter), warnings, and the file of libseccomp.

    Raises Error for a profile that has no meaning, and where there is no libseccomp.
    """
    default = _action(seccomp, "defaultAction", "defaultErrnoRet", POINTER)
    architectures = _architectures(seccomp)
    rules = [rule for i, call in enumerate(seccomp.get("syscalls") or ()) for rule in _rules(i, call)]

    binding = _binding()
    known = []
    unknown: dict[str, None] = {}
    for rule in rules:
        if _number(binding, 0, rule.name) != _UNKNOWN:
            known.append(rule)
        elif rule.action != default:
            unknown[rule.name] = None
    warnings = []
    if unknown:
        # A name may be any string: repr keeps it on one line.
        names = ", ".join(name if name.isidentifier() else repr(name) for name in unknown)
        warnings.append(f"{POINTER}/syscalls: libseccomp does not know, and rules are skipped for: {names}")

    program = _generate(binding, default, architectures, known)
    # A profile's author decided on the calls that existed. What came later has to look as if the
    # kernel did not have it, so that libc falls back to what it did before: EPERM would be a failure
    # (clone3, faccessat2). libseccomp has no such notion.
    if seccomp["defaultAction"] not in PERMISSIVE_ACTIONS:
        tokens = [binding.system_arch() & 0xFFFFFFFF, *architectures]
        program = _prologue({token: _newest(binding, token, known) for token in tokens}) + program
    if len(program) // 8 > _BPF_MAXINSNS:
        raise Error(
            f"the filter has {len(program) // 8} instructions and the kernel takes {_BPF_MAXINSNS}: "
            "merge or remove rules",
            pointer=f"{POINTER}/syscalls",
        )
    return program, warnings, _library(binding)


# -- the profile ---------------------------------------------------------------


def _action(holder: "dict[str, Any]", key: str, errno_key: str, pointer: str) -> int:
    """The kernel's value of an action with its errno, which is EPERM where none is given."""
    name = holder.get(key)
    if name not in ACTIONS:
        raise Error(
            f"{name!r} is no seccomp action; there are {', '.join(ACTIONS)}", pointer=f"{pointer}/{key}"
        )
    value, limit = ACTIONS[name]
    number = holder.get(errno_key)
    if number is None:
        return value if limit is None else value | EPERM
    if limit is None:
        raise Error(
            f"{name} returns no errno: remove {errno_key}, or use SCMP_ACT_ERRNO",
            pointer=f"{pointer}/{errno_key}",
        )
    if not 0 <= number <= limit:
        raise Error(
            f"{number} is too large for {name}, which takes up to {limit}", pointer=f"{pointer}/{errno_key}"
        )
    return value | int(number)


def _architectures(seccomp: "dict[str, Any]") -> dict[int, str]:
    """The tokens of the architectures that the profile lists, with their pointers."""
    found: dict[int, str] = {}
    for i, name in enumerate(seccomp.get("architectures") or ()):
        pointer = f"{POINTER}/architectures/{i}"
        if name not in ARCHITECTURES:
            raise Error(
                f"{name!r} is no seccomp architecture; there are {', '.join(ARCHITECTURES)}", pointer=pointer
            )
        found.setdefault(ARCHITECTURES[name], pointer)
    return found


def _rules(position: int, call: "dict[str, Any]") -> list[_Rule]:
    pointer = f"{POINTER}/syscalls/{position}"
    action = _action(call, "action", "errnoRet", pointer)
    comparisons = [
        _comparison(arg, f"{pointer}/args/{i}") for i, arg in enumerate(call.get("args") or ())
    ]
    # All comparisons have to hold, unless two look at one argument: then profiles from before
    # libseccomp could combine rules mean that one of them is enough, and runc still reads them so.
    if len({index for index, *_ in comparisons}) < len(comparisons):
        alternatives = [[comparison] for comparison in comparisons]
    else:
        alternatives = [comparisons]
    rules = []
    for i, name in enumerate(call.get("names") or ()):
        if not name:
            raise Error("a system call's name is empty: remove it", pointer=f"{pointer}/names/{i}")
        rules.append(_Rule(name, action, alternatives, f"{pointer}/names/{i}"))
    return rules


def _comparison(arg: "dict[str, Any]", pointer: str) -> tuple[int, int, int, int]:
    """Index, operator, value and second value; SCMP_CMP_MASKED_EQ's first value is the mask."""
    operator = arg["op"]
    if operator not in OPERATORS:
        raise Error(
            f"{operator!r} is no comparison; there are {', '.join(OPERATORS)}", pointer=f"{pointer}/op"
        )
    if not 0 <= arg["index"] <= 5:
        raise Error(
            f"a system call has no argument {arg['index']}; the indexes are 0 to 5",
            pointer=f"{pointer}/index",
        )
    for key in ("value", "valueTwo"):
        if not 0 <= arg.get(key, 0) <= _MAX_U64:
            raise Error(f"{arg[key]} is no 64-bit unsigned number", pointer=f"{pointer}/{key}")
    return arg["index"], OPERATORS[operator], arg["value"], arg.get("valueTwo", 0)


# -- libseccomp ----------------------------------------------------------------


def _binding() -> ModuleType:
    """libseccomp's Python bindings: the distribution's, else PyPI's."""
    pyrunc.libraries.enable()
    for name in ("seccomp", "pyseccomp"):
        try:
            module = __import__(name)
        except (ImportError, RuntimeError):
            continue  # pyseccomp raises RuntimeError where it finds no libseccomp
        if hasattr(module, "SyscallFilter"):
            return module
    raise Error(
        "a seccomp filter needs libseccomp and its Python bindings: install python3-seccomp, "
        "or libseccomp2 and pyseccomp",
        pointer=POINTER,
    )


def _signed(value: int) -> int:
    """libseccomp's uint32_t as the C int that the distribution's bindings take."""
    return value - (1 << 32) if value >> 31 else value


def _number(binding: ModuleType, token: int, name: str) -> int:
    """A system call's number on an architecture (0: the native one), negative where it has none."""
    # The bindings hand the name over as a C string: one with a NUL in it would be another name.
    if not name.isascii() or not name.isidentifier():
        return _UNKNOWN
    return int(binding.resolve_syscall(_signed(token), name))


def _generate(
    binding: ModuleType, default: int, architectures: dict[int, str], rules: list[_Rule]
) -> bytes:
    """The filter as libseccomp makes it. Each call that it refuses is an Error with its pointer."""
    pointer = f"{POINTER}/defaultAction"
    try:
        # The native architecture is always part of a new filter. Attributes other than the
        # optimisation only concern loading, which is init's.
        generator = binding.SyscallFilter(_signed(default))
        native = binding.system_arch() & 0xFFFFFFFF
        for token, place in architectures.items():
            pointer = place
            if token != native:
                generator.add_arch(_signed(token))
        added = 0
        for rule in rules:
            # libseccomp refuses a rule that says what the default says.
            if rule.action == default:
                continue
            pointer = rule.pointer
            for comparisons in rule.alternatives:
                conditions = [binding.Arg(*comparison) for comparison in comparisons]
                generator.add_rule(_signed(rule.action), rule.name, *conditions)
            added += 1
        pointer = POINTER
        if added > _TREE_FROM:
            generator.set_attr(binding.Attr.CTL_OPTIMIZE, 2)
        return _export(generator)
    except (OSError, RuntimeError, ValueError) as error:
        # seccomp raises RuntimeError, pyseccomp OSError.
        raise Error(f"libseccomp refuses this: {error}", pointer=pointer) from error


class _File:
    """What the bindings take for a file: something with a descriptor."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor


def _export(generator: "Any") -> bytes:
    fd = posix.memfd_create("seccomp", posix.MFD_CLOEXEC)
    try:
        generator.export_bpf(_File(fd))
        return posix.pread(fd, posix.fstat(fd).st_size, 0)
    finally:
        posix.close(fd)


def _library(binding: ModuleType) -> str:
    """The file of the libseccomp in use, by which the cache sees that it was replaced."""
    fd = posix.open("/proc/self/maps", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        maps = b""
        while chunk := posix.read(fd, 1 << 16):
            maps += chunk
    finally:
        posix.close(fd)
    for line in maps.splitlines():
        # address, permissions, offset, device, inode, path
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].rpartition(b"/")[2].startswith(b"libseccomp"):
            return fields[5].decode("utf-8", "surrogateescape")
    return str(binding.__file__)  # linked into the bindings


# -- the prologue --------------------------------------------------------------


def _newest(binding: ModuleType, token: int, rules: list[_Rule]) -> int:
    """The largest number among the profile's system calls on an architecture, 0 when it has none."""
    names = {rule.name for rule in rules}
    multiplexers = [_number(binding, token, name) for name in ("socketcall", "ipc")]
    if max(multiplexers) < 0:
        return max((_number(binding, token, name) for name in names), default=0)
    # 32-bit x86 and others multiplex sockets and System V IPC, and gave these calls numbers of their
    # own later. By name, libseccomp then tells the multiplexer's number or none; by number, the name.
    newest = 0
    first = max(multiplexers) // 1000 * 1000  # MIPS counts from 4000
    for number in range(first, first + 1000):
        try:
            name = binding.resolve_syscall(_signed(token), number)
        except ValueError:
            continue  # a gap
        if name.decode() in names:
            newest = number
    return newest


def _prologue(newest: dict[int, int]) -> bytes:
    """Instructions that answer ENOSYS to numbers above an architecture's newest, else go on.

    newest has one number for each of libseccomp's tokens. An architecture without any of the
    profile's calls is left alone, or each of its calls would be new.
    """
    limits: dict[int, tuple[int, int]] = {}  # by the kernel's architecture: plain and x32 numbers
    for token, number in newest.items():
        if number <= 0:
            continue
        plain, x32 = limits.get(_X86_64 if token == _X32 else token, (_NO_LIMIT, _NO_LIMIT))
        if token == _X32:
            limits[_X86_64] = (plain, number)
        else:
            limits[token] = (number, x32)

    sections = [_section(architecture, *pair) for architecture, pair in limits.items()]
    if not sections:
        return b""
    program = [_instruction(_LOAD, 0, 0, _ARCHITECTURE_AT)]
    total = 1 + sum(len(section) + 1 for section in sections)
    for section in sections:
        program += section
        program.append(_instruction(_JUMP, 0, 0, total - len(program) - 1))
    return b"".join(program)


def _section(architecture: int, plain: int, x32: int) -> list[bytes]:
    """One architecture's part of the prologue; a jump to the filter has to follow it."""
    refuse = _instruction(_RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"][0] | ENOSYS)
    if architecture == _X86_64:
        checks = [
            _instruction(_ANY_BIT, 1, 0, _X32_SYSCALL_BIT),
            _instruction(_GREATER, 1, 2, plain),
            _instruction(_GREATER, 0, 1, x32),
        ]
    elif architecture in _S390:
        # A number too large for the instruction arrives as 0, setup(2), which nobody calls: it stays
        # 0 when the kernel does not know the number.
        checks = [_instruction(_EQUAL, 1, 0, 0), _instruction(_GREATER, 0, 1, plain)]
    else:
        checks = [_instruction(_GREATER, 0, 1, plain)]
    body = [_instruction(_LOAD, 0, 0, _NUMBER_AT), *checks, refuse]
    return [_instruction(_EQUAL, 0, len(body) + 1, architecture), *body]
