"""The state directory: one directory per container, with a record that every verb works from.

`<root>/<id>/` holds `state.json` and, until the container is started, `start.sock`. It is made by
an atomic mkdir, which is what makes an id unique; a lock on the directory serialises the verbs.
runtime.md, "State". Nothing here knows what a container is.
"""

import fcntl
import posix
from errno import EACCES, EEXIST, ENOENT, ENOSPC, ENOTEMPTY, EROFS

from pyrunc import json
from pyrunc.errors import Error, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 1
_FILE = "state.json"
# The record's name until the container is created.
_DRAFT = "creating.json"
SOCKET = "start.sock"
MAX_ID = 1024

# No symbolic link: who can write the root may have put one in a container's place.
_FLAGS = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC

_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-_.")


def check_id(id: str) -> None:
    """Raises Error unless the id can name a directory: letters, digits and + - _ . only."""
    if not id or id in (".", "..") or not _ALLOWED.issuperset(id) or len(id) > MAX_ID:
        raise Error(
            f'invalid container id "{id}": use letters, digits and "+", "-", "_", "." '
            f"(not only dots, at most {MAX_ID} of them)"
        )


def _explain(error: OSError, what: str, *, root: bool = False) -> Error:
    """The error for what cannot be written; root tells that it is the root of states, or below that."""
    text = error.strerror or str(error)
    remedy = ""
    if error.errno == ENOSPC:
        remedy = "; free some space there"
    elif root and error.errno in (EACCES, EROFS) and posix.geteuid():
        remedy = "; set XDG_RUNTIME_DIR to a directory of yours, or name one with --root"
    return Error(f"cannot write {what}: {text}{remedy}")


class Directory:
    """One container's directory, open and locked for as long as the object is.

    path  the directory, for messages
    fd    its descriptor, which files are opened relative to
    """

    __slots__ = ("_root_fd", "fd", "id", "path")

    def __init__(self, root: str, id: str, fd: int, root_fd: int) -> None:
        self.id = id
        self.path = f"{root}/{id}"
        self.fd = fd
        self._root_fd = root_fd

    @classmethod
    def make(cls, root: str, id: str) -> "Directory":
        """Reserves an id. Raises Error when it is taken or the directory cannot be written."""
        check_id(id)
        try:
            root_fd = _open_root(root, make=True)
        except OSError as error:
            raise _explain(error, f"the state directory {root}", root=True) from None
        try:
            posix.mkdir(id, 0o700, dir_fd=root_fd)
        except OSError as error:
            posix.close(root_fd)
            if error.errno == EEXIST:
                raise Error(
                    f"container with given ID already exists: {id}; choose another, or remove it with "
                    f'"pyrunc delete {id}"'
                ) from None
            raise _explain(error, f"{root}/{id}", root=True) from None
        fd = posix.open(id, _FLAGS, dir_fd=root_fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return cls(root, id, fd, root_fd)

    @classmethod
    def open(cls, root: str, id: str, *, lock: bool = True) -> "Directory":
        """Opens and locks an existing container's directory; raises NotFound when there is none.

        Verbs that only look, or send a signal, go without the lock: hooks call them while the
        verb that runs the hook holds it.
        """
        check_id(id)
        missing = f'container does not exist: {id}; "pyrunc list" shows those that do'
        try:
            root_fd = _open_root(root, make=False)
        except OSError as error:
            if error.errno == ENOENT:
                raise NotFound(missing) from None
            raise Error(f"cannot open the state directory {root}: {error.strerror}") from None
        while True:
            try:
                fd = posix.open(id, _FLAGS, dir_fd=root_fd)
            except OSError as error:
                posix.close(root_fd)
                if error.errno == ENOENT:
                    raise NotFound(missing) from None
                raise Error(f"cannot open {root}/{id}: {error.strerror}") from None
            owner = posix.fstat(fd).st_uid
            if owner != posix.geteuid():
                posix.close(fd)
                posix.close(root_fd)
                raise Error(
                    f"{root}/{id} belongs to the user {owner}, who may have written anything there: "
                    "hooks to run, whom to kill; do this as that user"
                )
            if lock:
                fcntl.flock(fd, fcntl.LOCK_EX)
            # Whoever held the lock may have deleted the container, and its id may be taken again.
            if posix.fstat(fd).st_nlink:
                return cls(root, id, fd, root_fd)
            posix.close(fd)

    def close(self) -> None:
        """Releases the lock."""
        posix.close(self.fd)
        posix.close(self._root_fd)

    # -- the record ----------------------------------------------------------

    def read(self) -> "dict[str, Any]":
        """The record, with `creating` added. Raises Error for one that is truncated or not pyrunc's,
        NotFound where there is none."""
        name = _FILE if self.has(_FILE) else _DRAFT
        if name == _DRAFT and not self.has(_DRAFT):
            raise NotFound(f"{self.path} has no record, its creation was interrupted; {self.remedy()}")
        where = f"{self.path}/{name}"
        try:
            record = json.decode(self.get(name).decode())
        except ValueError as error:
            raise Error(f"{where} is damaged: {error}; {self.remedy()}") from None
        if not isinstance(record, dict) or record.get("pyrunc") != FORMAT or record.get("id") != self.id:
            raise Error(f"{where} is not a record of this version of pyrunc; {self.remedy()}")
        record["creating"] = name == _DRAFT
        return record

    def write(self, record: "dict[str, Any]", *, creating: bool = False) -> None:
        """Replaces the record atomically: the draft of one while the container is being created."""
        name = _DRAFT if creating else _FILE
        self.put(name + ".new", json.encode({"pyrunc": FORMAT, "id": self.id, **record}).encode())
        self._rename(name + ".new", name)

    def created(self) -> None:
        """The draft becomes the record."""
        self._rename(_DRAFT, _FILE)

    def _rename(self, old: str, new: str) -> None:
        try:
            posix.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as error:
            raise _explain(error, f"{self.path}/{new}") from None

    def put(self, name: str, data: bytes) -> None:
        """Writes a file of the directory."""
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC
        try:
            fd = posix.open(name, flags, 0o600, dir_fd=self.fd)
            try:
                if posix.write(fd, data) != len(data):
                    raise OSError(ENOSPC, posix.strerror(ENOSPC))
            finally:
                posix.close(fd)
        except OSError as error:
            raise _explain(error, f"{self.path}/{name}") from None

    def get(self, name: str) -> bytes:
        """The content of a file of the directory."""
        try:
            with open(posix.open(name, posix.O_RDONLY | posix.O_CLOEXEC, dir_fd=self.fd), "rb") as file:
                return file.read()
        except OSError as error:
            raise Error(f"cannot read {self.path}/{name}: {error.strerror}; {self.remedy()}") from None

    def remedy(self) -> str:
        return f'remove the container with "pyrunc delete --force {self.id}"'

    # -- the rest ------------------------------------------------------------

    def has(self, name: str) -> bool:
        try:
            posix.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def unlink(self, name: str) -> None:
        """Removes a file of the directory, if it is there."""
        try:
            posix.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass

    def discard(self) -> None:
        """Removes the directory and releases the lock."""
        self.remove()
        self.close()

    def remove(self) -> None:
        """Removes the directory and what is in it; the id is free from here on."""
        while True:
            for name in posix.listdir(self.fd):
                try:
                    self.unlink(name)
                except IsADirectoryError:
                    self._remove_directory(name)
            try:
                posix.rmdir(self.id, dir_fd=self._root_fd)
                return
            except OSError as error:
                if error.errno == ENOENT:
                    return
                # Something was put there meanwhile, by a verb that does without the lock.
                if error.errno != ENOTEMPTY:
                    raise _explain(error, self.path) from None

    def _remove_directory(self, name: str) -> None:
        """Removes a directory (that of NOTIFY_SOCKET), whatever the container has put there: what is in
        one below it comes up to it first, so that no depth is too much."""
        fd = posix.open(name, _FLAGS, dir_fd=self.fd)
        try:
            while names := posix.listdir(fd):
                for each in names:
                    try:
                        posix.unlink(each, dir_fd=fd)
                    except IsADirectoryError:
                        _empty(fd, each)
                        posix.rmdir(each, dir_fd=fd)
        finally:
            posix.close(fd)
        posix.rmdir(name, dir_fd=self.fd)


def _empty(above: int, name: str) -> None:
    """Moves what is in a directory to the one above it, under names of its own."""
    fd = posix.open(name, _FLAGS, dir_fd=above)
    try:
        for each in posix.listdir(fd):
            posix.rename(each, posix.urandom(8).hex(), src_dir_fd=fd, dst_dir_fd=above)
    finally:
        posix.close(fd)


def _open_root(root: str, *, make: bool) -> int:
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC
    try:
        return posix.open(root, flags)
    except FileNotFoundError:
        if not make:
            raise
    path = ""
    for name in root.split("/"):
        path += name + "/"
        try:
            # The sticky bit keeps a user's from being tidied away (XDG Base Directory Specification).
            posix.mkdir(path, 0o1711 if posix.geteuid() else 0o711)
        except FileExistsError:
            pass
        except OSError as error:
            from pyrunc.host.paths import is_directory

            if not is_directory(path):
                raise _explain(error, f"the state directory {root}", root=True) from None
    return posix.open(root, flags)


def ids(root: str) -> list[str]:
    """The ids of all containers under a root, sorted; none where the root does not exist."""
    try:
        names = posix.listdir(root)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Error(f"cannot read the state directory {root}: {error.strerror}") from None
    return sorted(name for name in names if _ALLOWED.issuperset(name))


def write_file(path: str, text: str) -> None:
    """Writes a small file (--pid-file) atomically: readers see all of it or nothing."""
    directory, slash, name = path.rpartition("/")
    temporary = f"{directory}{slash}.{name}"
    try:
        fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644)
        try:
            try:
                posix.write(fd, text.encode("utf-8", "surrogateescape"))
            finally:
                posix.close(fd)
            posix.rename(temporary, path)
        except OSError:
            posix.unlink(temporary)
            raise
    except OSError as error:
        raise _explain(error, path) from None
