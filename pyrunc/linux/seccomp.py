"""The names of seccomp profiles and the numbers behind them (seccomp(2), <seccomp.h> of libseccomp).

Source: the Seccomp section of runtime-spec's config-linux.md. `features` lists these tables, the
compilers of filters look names up in them.
"""

# An action's value as the kernel and libseccomp know it (SECCOMP_RET_*), and the largest number that
# its errnoRet may be; None where the action takes none. libseccomp takes errnos below MAX_ERRNO (4095).
ACTIONS: dict[str, tuple[int, int | None]] = {
    "SCMP_ACT_ALLOW": (0x7FFF0000, None),
    "SCMP_ACT_ERRNO": (0x00050000, 4094),
    "SCMP_ACT_KILL": (0x00000000, None),
    "SCMP_ACT_KILL_PROCESS": (0x80000000, None),
    "SCMP_ACT_KILL_THREAD": (0x00000000, None),
    "SCMP_ACT_LOG": (0x7FFC0000, None),
    "SCMP_ACT_NOTIFY": (0x7FC00000, None),
    "SCMP_ACT_TRACE": (0x7FF00000, 0xFFFF),
    "SCMP_ACT_TRAP": (0x00030000, None),
}

# A system call that these default actions meet still happens, or is a tracer's or an agent's to answer.
PERMISSIVE_ACTIONS = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE")

# enum scmp_compare
OPERATORS: dict[str, int] = {
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_MASKED_EQ": 7,
    "SCMP_CMP_NE": 1,
}

_64BIT, _LE, _N32 = 0x80000000, 0x40000000, 0x20000000

# AUDIT_ARCH_* of <linux/audit.h>: an ELF machine number with its conventions, except for x32.
ARCHITECTURES: dict[str, int] = {
    "SCMP_ARCH_AARCH64": 183 | _64BIT | _LE,
    "SCMP_ARCH_ARM": 40 | _LE,
    "SCMP_ARCH_LOONGARCH64": 258 | _64BIT | _LE,
    "SCMP_ARCH_M68K": 4,
    "SCMP_ARCH_MIPS": 8,
    "SCMP_ARCH_MIPS64": 8 | _64BIT,
    "SCMP_ARCH_MIPS64N32": 8 | _64BIT | _N32,
    "SCMP_ARCH_MIPSEL": 8 | _LE,
    "SCMP_ARCH_MIPSEL64": 8 | _64BIT | _LE,
    "SCMP_ARCH_MIPSEL64N32": 8 | _64BIT | _LE | _N32,
    "SCMP_ARCH_PARISC": 15,
    "SCMP_ARCH_PARISC64": 15 | _64BIT,
    "SCMP_ARCH_PPC": 20,
    "SCMP_ARCH_PPC64": 21 | _64BIT,
    "SCMP_ARCH_PPC64LE": 21 | _64BIT | _LE,
    "SCMP_ARCH_RISCV64": 243 | _64BIT | _LE,
    "SCMP_ARCH_S390": 22,
    "SCMP_ARCH_S390X": 22 | _64BIT,
    "SCMP_ARCH_SH": 42 | _LE,
    "SCMP_ARCH_SHEB": 42,
    # libseccomp's own token: to the kernel an x32 call is an x86-64 call with bit 30 in its number.
    "SCMP_ARCH_X32": 62 | _LE,
    "SCMP_ARCH_X86": 3 | _LE,
    "SCMP_ARCH_X86_64": 62 | _64BIT | _LE,
}

# SECCOMP_SET_MODE_FILTER's flags; every kernel that pyrunc runs on knows them, but for the last: Linux 5.19.
FLAGS: dict[str, int] = {
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}

# What takes a seccomp agent, a process that answers for the kernel. The kernel refuses the flag where the
# filter has no listener.
AGENT_ACTIONS = ("SCMP_ACT_NOTIFY",)
AGENT_FLAGS = ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",)
