"""The seccomp filter of a profile, from a cache of compiled filters or from libseccomp.

libseccomp's bindings cost more than everything else that starting a container takes, so they are
loaded only for a profile that the cache does not hold. A cached filter becomes a container's
protection, so an entry counts only if nobody else could have written it and it is undamaged.
Source: the Seccomp section of runtime-spec's config-linux.md.
"""

import posix
import sys
from _blake2 import blake2b
from _struct import Struct
from marshal import dumps

from pyrunc.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Changes whenever the same profile would be compiled to another filter, or the entry's layout does.
FORMAT = 1

# The filter of Docker's default profile takes some 3 KiB, the largest possible one 32 KiB.
MAX_ENTRIES = 64
MAX_ENTRY_SIZE = 1 << 18
PREFIX = "seccomp-"

BPF_MAXINSNS = 4096

# An entry: a checksum of the rest, the key, what identifies the libseccomp that compiled it (inode,
# size, modification time in ns), three lengths, then libseccomp's path, the warnings, the filter.
_DIGEST = 32
_head = Struct("=32s3Q3I")

_S_IFMT, _S_IFREG = 0o170000, 0o100000
_OTHERS_MAY_WRITE = 0o022


def filter_for(seccomp: "dict[str, Any]", cache_dir: str | None) -> tuple[bytes, list[str]]:
    """The filter for a `linux.seccomp` object: an array of struct sock_filter, and warnings.

    cache_dir is created where it is missing; None compiles each time. Raises Error for a profile
    that cannot be compiled. A cache that cannot be written is a warning, not an error.
    """
    if seccomp.get("listenerMetadata") and not seccomp.get("listenerPath"):
        raise Error(
            "metadata for a seccomp agent need listenerPath: add it, or remove them",
            pointer="/linux/seccomp/listenerMetadata",
        )
    if cache_dir is None:
        from pyrunc.host.libseccomp import compile_profile

        program, warnings, _ = compile_profile(seccomp)
        return program, warnings
    key = _key(seccomp)
    path = f"{cache_dir}/{PREFIX}{key.hex()}"
    found = _read(path, key)
    if found is not None:
        return found

    from pyrunc.host.libseccomp import compile_profile

    program, warnings, library = compile_profile(seccomp)
    try:
        _write(cache_dir, path, _entry(key, library, warnings, program))
    except OSError as error:
        warnings.append(
            f"the compiled seccomp filter cannot be kept in {cache_dir} ({error.strerror}): each start of a "
            "container compiles it again"
        )
    return program, warnings


def _key(seccomp: "dict[str, Any]") -> bytes:
    """What identifies a filter: all that decides its instructions, but for libseccomp itself."""
    parts = (
        FORMAT,
        posix.uname().machine,
        sys.maxsize,
        seccomp.get("defaultAction"),
        seccomp.get("defaultErrnoRet"),
        seccomp.get("architectures"),
        seccomp.get("syscalls"),
    )
    # Version 2 of the format is the last whose bytes do not depend on which strings are interned.
    return blake2b(dumps(parts, 2), digest_size=_DIGEST).digest()


def _entry(key: bytes, library: str, warnings: list[str], program: bytes) -> bytes:
    """The bytes of an entry. Raises OSError when libseccomp's file is gone."""
    stat = posix.stat(library)
    place = library.encode("utf-8", "surrogateescape")
    texts = "\n".join(warnings).encode()
    head = _head.pack(
        key, stat.st_ino, stat.st_size, stat.st_mtime_ns, len(place), len(texts), len(program)
    )
    body = head + place + texts + program
    return blake2b(body, digest_size=_DIGEST).digest() + body


def _read(path: str, key: bytes) -> tuple[bytes, list[str]] | None:
    """The filter and warnings of an entry; None where there is none that can be trusted."""
    try:
        # O_NONBLOCK: what lies here could be a FIFO, and opening that would wait for a writer.
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK)
    except OSError:
        # Missing, or not to be opened: then `_write` says why if it cannot replace it.
        return None
    try:
        stat = posix.fstat(fd)
        if (
            stat.st_mode & _S_IFMT != _S_IFREG
            or stat.st_uid != posix.geteuid()
            or stat.st_mode & _OTHERS_MAY_WRITE
            or not _DIGEST + _head.size < stat.st_size <= MAX_ENTRY_SIZE
        ):
            return None
        raw = posix.read(fd, stat.st_size)
    finally:
        posix.close(fd)
    return _checked(raw, key)


def _checked(raw: bytes, key: bytes) -> tuple[bytes, list[str]] | None:
    body = raw[_DIGEST:]
    if len(body) < _head.size or blake2b(body, digest_size=_DIGEST).digest() != raw[:_DIGEST]:
        return None
    owner, inode, size, mtime, place_size, texts_size, program_size = _head.unpack_from(body)
    texts_at = _head.size + place_size
    program_at = texts_at + texts_size
    if (
        owner != key
        or len(body) != program_at + program_size
        or program_size % 8
        or not 0 < program_size // 8 <= BPF_MAXINSNS
    ):
        return None
    try:
        # Another libseccomp may know more system calls.
        stat = posix.stat(body[_head.size : texts_at])
    except OSError:
        return None
    if (stat.st_ino, stat.st_size, stat.st_mtime_ns) != (inode, size, mtime):
        return None
    texts = body[texts_at:program_at].decode()
    return body[program_at:], texts.split("\n") if texts else []


def _write(cache_dir: str, path: str, entry: bytes) -> None:
    """Puts an entry in its place at once, so that a reader never sees a part of it."""
    temporary = f"{path}.{posix.urandom(8).hex()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    try:
        fd = posix.open(temporary, flags, 0o600)
    except FileNotFoundError:
        _make_directory(cache_dir)
        fd = posix.open(temporary, flags, 0o600)
    try:
        try:
            rest = memoryview(entry)
            while rest:
                rest = rest[posix.write(fd, rest) :]
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except BaseException:
        posix.unlink(temporary)
        raise
    _prune(cache_dir)


def _make_directory(path: str) -> None:
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        parent = path.rstrip("/").rpartition("/")[0]
        if not parent:
            raise
        _make_directory(parent)
        posix.mkdir(path, 0o700)


def _prune(cache_dir: str) -> None:
    """Removes the oldest entries beyond MAX_ENTRIES, and with them what crashes left behind."""
    ages = []
    for name in posix.listdir(cache_dir):
        if name.startswith(PREFIX):
            try:
                ages.append((posix.lstat(f"{cache_dir}/{name}").st_mtime_ns, name))
            except FileNotFoundError:
                continue  # another pyrunc was faster
    ages.sort()
    for _, name in ages[:-MAX_ENTRIES]:
        try:
            posix.unlink(f"{cache_dir}/{name}")
        except FileNotFoundError:
            continue
