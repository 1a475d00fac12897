"""The mount option copy-symlink of crun: the source's symbolic link is made anew in the container.

What is there already has to be the same link; nothing of the image's is followed or replaced.
"""

from errno import EEXIST

from pyrunc.compile.paths import components, ensure_parent
from pyrunc.linux import flags as f
from pyrunc.program.build import STATX_MODE, STATX_SIZE, Builder
from pyrunc.program.model import SCRATCH, SCRATCH_SIZE, Scratch, Slot

_WIDTH = 4  # bytes that one step compares


def copy(b: Builder, root: Slot, destination: str, target: str) -> None:
    """Makes a symbolic link at the destination, with its parents, or finds it there."""
    names = components(destination)
    parent = ensure_parent(b, root, names)
    made = b.slot("made")
    b.step("symlinkat", target, parent, names[-1], tolerate=(EEXIST,), out=made)
    with b.if_failed(made):
        note = f"something else than a link to {target} is already at {destination}"
        b.statx_name(parent, names[-1])
        b.expect(STATX_MODE, 2, f.S_IFLNK, EEXIST, mask=f.S_IFMT, note=note)
        text = target.encode("utf-8", "surrogateescape")
        b.expect(STATX_SIZE, 8, len(text), EEXIST, note=note)
        b.step("readlinkat", parent, names[-1], SCRATCH, SCRATCH_SIZE)
        for at in range(0, len(text), _WIDTH):
            part = text[at : at + _WIDTH]
            b.expect(Scratch(at), len(part), int.from_bytes(part, "little"), EEXIST, note=note)
    b.release(made)
    if parent is not root:
        b.close(parent)
