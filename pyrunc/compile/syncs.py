"""The points where a program waits for the runtime, and what the runtime does meanwhile."""

SYNC_ID_MAPS = 1  # writes the id mappings of stage 1's user namespace
SYNC_HOOKS = 2  # runs the prestart and createRuntime hooks, and fills the state for later hooks
SYNC_CREATED = 3  # records the container as created
SYNC_SCOPE = 4  # has systemd put stage 1 into the container's scope
SYNC_NET_DEVICE = 5  # moves the network device of the step's pointer into the container


def unpack(value: int) -> tuple[int, int, int]:
    """A sync record's value: the point, and the numbers of two descriptors where it names some."""
    return value & 0xFF, value >> 8 & 0xFFFFFFF, value >> 36
