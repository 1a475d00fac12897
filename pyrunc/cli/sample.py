"""A root file system to try a container with: static busybox and the files that its applets expect."""

import os

from pyrunc.errors import Error

# Looked at in this order; Debian's package busybox-static installs the first.
BUSYBOXES = ("/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/usr/bin/busybox.static")

_DIRECTORIES = (
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
)
_LINKS = (("sbin", "bin"), ("usr/bin", "../bin"), ("usr/sbin", "../bin"))

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
}

_PT_INTERP = 3


def fill(rootfs: str) -> None:
    """Makes the directory rootfs with busybox in it; one that exists is left as it is.

    Raises Error when there is no static busybox.
    """
    if os.path.lexists(rootfs):
        return
    busybox = next((path for path in BUSYBOXES if os.path.exists(path) and static(path)), None)
    if busybox is None:
        raise Error("--rootfs needs a statically linked busybox; on Debian: apt-get install busybox-static")
    # Filled beside its place and then renamed, so that it is never there by half.
    draft = f"{rootfs}.{os.getpid()}"
    try:
        _populate(draft, busybox)
        os.rename(draft, rootfs)
    except BaseException:
        from shutil import rmtree

        rmtree(draft, ignore_errors=True)
        raise


def static(path: str) -> bool:
    """Whether a file is an ELF executable that needs no loader (elf(5): no PT_INTERP)."""
    with open(path, "rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02" or len(header) < 64:
            return False
        offset = int.from_bytes(header[32:40], "little")
        size = int.from_bytes(header[54:56], "little")
        count = int.from_bytes(header[56:58], "little")
        file.seek(offset)
        table = file.read(size * count)
    types = (int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), size))
    return _PT_INTERP not in types


def _populate(rootfs: str, busybox: str) -> None:
    from shutil import copyfile

    for name, mode in (("", 0o755), *_DIRECTORIES):
        os.mkdir(f"{rootfs}/{name}")
        # mkdir(2) applies the umask.
        os.chmod(f"{rootfs}/{name}", mode)
    for name, target in _LINKS:
        os.symlink(target, f"{rootfs}/{name}")
    for name, text in _FILES.items():
        with open(f"{rootfs}/{name}", "x", encoding="utf-8") as file:
            file.write(text)
        os.chmod(f"{rootfs}/{name}", 0o644)
    copyfile(busybox, f"{rootfs}/bin/busybox")
    os.chmod(f"{rootfs}/bin/busybox", 0o755)
    for applet in _applets(busybox):
        if applet != "busybox":
            os.symlink("busybox", f"{rootfs}/bin/{applet}")


def _applets(busybox: str) -> list[str]:
    from subprocess import run

    done = run([busybox, "--list"], capture_output=True, text=True, check=False)
    applets = [name for name in done.stdout.split() if "/" not in name]
    if done.returncode or not applets:
        raise Error(f"{busybox} --list fails: {done.stderr.strip() or done.returncode}")
    return applets
