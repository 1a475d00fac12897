"""The verbs that only look: state, list, ps. They take no lock, since hooks call them too."""

import posix

from pyrunc import state as store
from pyrunc.container import record as records
from pyrunc.errors import Error, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.container import Runtime


def _document(directory: store.Directory) -> "dict[str, Any]":
    record = directory.read()
    status = records.status(directory, record)
    document = records.document(directory.id, record, status)
    annotations = document.pop("annotations", None)
    document["rootfs"] = record["rootfs"]
    document["created"] = record["created"]
    if annotations:
        document["annotations"] = annotations
    document["owner"] = _owner(directory)
    return document


def _owner(directory: store.Directory) -> str:
    uid = posix.fstat(directory.fd).st_uid
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def state(rt: "Runtime", id: str) -> "dict[str, Any]":
    """The state document of runtime.md, and runc's rootfs, created and owner."""
    directory = store.Directory.open(rt.root, id, lock=False)
    try:
        return _document(directory)
    finally:
        directory.close()


def containers(rt: "Runtime") -> "list[dict[str, Any]]":
    """The state documents of all containers; one that cannot be read is a warning."""
    documents = []
    for id in store.ids(rt.root):
        try:
            documents.append(state(rt, id))
        except NotFound:
            continue  # deleted since the directory was listed
        except Error as error:
            from pyrunc import log

            log.warning(str(error))
    return documents


def pids(rt: "Runtime", id: str) -> list[int]:
    """The host's numbers of all processes in the container."""
    from pyrunc.host.cgroups import members

    directory = store.Directory.open(rt.root, id, lock=False)
    try:
        record = directory.read()
        records.locate(record)
        if records.alive(record):
            records.check_cgroup(record)
        found = members.pids(record["cgroups"])
        if record["pid"] not in found and records.alive(record):
            raise Error(
                f"the first process of the container {id}, {record['pid']}, is not in the container's cgroup "
                "any more, which tells its processes from others"
            )
        return found
    finally:
        directory.close()
