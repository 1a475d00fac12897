"""Resource limits by name (getrlimit(2)); the numbers are those of x86-64 and aarch64."""

_ORDER = (
    "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO "
    "RTTIME"
).split()

NAMES: dict[str, int] = {"RLIMIT_" + name: number for number, name in enumerate(_ORDER)}
