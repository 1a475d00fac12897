"""Images made here, without a registry: docker-archive tars that `docker load`, `ctr images import` and
`podman load` all read. `busybox` is Debian's static busybox, `docker/getting-started` its nginx with a page.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = "/bin/busybox"

FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "www-data:x:33:33::/var/www:/bin/sh\n"
        "bob:x:1000:1000::/home/bob:/bin/sh\n"
    ),
    "etc/group": "root:x:0:\nwww-data:x:33:\nbob:x:1000:\nstaff:x:50:bob\n",
}

PAGE = "<!doctype html>\n<title>Getting started</title>\n<h1>The page of docker/getting-started</h1>\n"
NGINX_CONF = """\
daemon off;
user www-data;
error_log /dev/stderr;
pid /run/nginx.pid;
events {}
http {
  access_log /dev/stdout;
  server { listen 80; root /usr/share/nginx/html; }
}
"""


#: Where scripts/test keeps what it has downloaded.
DOWNLOADS = Path(os.environ.get("TOOLS", "/var/cache/pyrunc-tests"))


class Unavailable(Exception):
    """What an image is made of is not to be had on this machine."""


class Layer:
    """The files of an image's only layer, as they are collected."""

    def __init__(self) -> None:
        self.data = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.data, mode="w")
        self.names: set[str] = set()

    def _add(self, info: tarfile.TarInfo, content: bytes | None = None) -> None:
        parent = os.path.dirname(info.name)
        if parent and parent not in self.names:
            self.directory(parent)
        if info.name in self.names:
            return
        self.names.add(info.name)
        self.tar.addfile(info, io.BytesIO(content) if content is not None else None)

    def directory(self, name: str, mode: int = 0o755) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, mode
        self._add(info)

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), mode
        self._add(info, content)

    def link(self, name: str, target: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self._add(info)

    def busybox(self) -> None:
        self.file("bin/busybox", Path(BUSYBOX).read_bytes(), 0o755)
        applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout
        for applet in applets.split():
            if applet != "busybox":
                self.link(f"bin/{applet}", "busybox")
        for name, text in FILES.items():
            self.file(name, text.encode())
        for name in ("proc", "sys", "dev", "etc", "run", "root", "home/bob", "var"):
            self.directory(name)
        self.directory("tmp", 0o1777)

    def tree(self, root: Path) -> None:
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if path.is_symlink():
                self.link(name, os.readlink(path))
            elif path.is_dir():
                self.directory(name)
            else:
                self.file(name, path.read_bytes(), path.stat().st_mode & 0o777)

    def libraries(self, program: Path) -> None:
        """The shared libraries that `ldd` names, where it names them."""
        listing = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        if "not found" in listing:
            raise Unavailable(f"{program} needs libraries that are not installed here: {listing}")
        for path in re.findall(r"(/\S+) \(0x", listing):
            self.file(path.lstrip("/"), Path(path).read_bytes(), 0o755)

    def write(self, path: Path, reference: str, config: dict[str, object]) -> Path:
        """The archive, with `config` as the image's (Cmd, Env …)."""
        self.tar.close()
        content = self.data.getvalue()
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], **config},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
            "history": [{"created_by": "tests"}],
        }
        configuration = json.dumps(image).encode()
        name = f"{hashlib.sha256(configuration).hexdigest()}.json"
        manifest = [{"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
        archive = Layer()
        archive.file(name, configuration)
        archive.file("layer.tar", content)
        archive.file("manifest.json", json.dumps(manifest).encode())
        archive.tar.close()
        path.write_bytes(archive.data.getvalue())
        return path


def busybox(directory: Path) -> Path:
    """The image `busybox:latest` as an archive in `directory`."""
    layer = Layer()
    layer.busybox()
    return layer.write(directory / "busybox.tar", "busybox:latest", {"Cmd": ["sh"]})


def nginx(directory: Path) -> Path:
    """Debian's nginx: installed, downloaded by scripts/test, or downloaded now."""
    installed = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if installed is not None:
        return Path(installed)
    tree = directory / "nginx"
    tree.mkdir()
    packages = sorted(DOWNLOADS.glob("nginx_*.deb"))
    if not packages:
        # As root, apt-get hands downloads to the user _apt, who cannot write here.
        command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "nginx"]
        try:
            ended = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"nginx is not installed, and cannot be downloaded: {error}") from error
        packages = sorted(tree.glob("nginx_*.deb"))
        if not packages:
            raise Unavailable(f"nginx is not installed, and \"{' '.join(command)}\" said: {ended.stderr}")
    subprocess.run(["dpkg", "-x", packages[-1], tree], check=True)
    return tree / "usr/sbin/nginx"


def pause(directory: Path) -> Path:
    """The image `pause:latest`, which does nothing: what holds a pod's namespaces."""
    layer = Layer()
    layer.busybox()
    waits = ["/bin/sh", "-c", "while :; do sleep 1000; done"]
    return layer.write(directory / "pause.tar", "pause:latest", {"Entrypoint": waits})


def getting_started(directory: Path) -> Path:
    """The image `docker/getting-started:latest`: nginx, which serves `PAGE` on port 80."""
    program = nginx(directory)
    layer = Layer()
    layer.busybox()
    layer.file("usr/sbin/nginx", program.read_bytes(), 0o755)
    layer.libraries(program)
    layer.file("etc/nginx/nginx.conf", NGINX_CONF.encode())
    layer.file("usr/share/nginx/html/index.html", PAGE.encode())
    for name in ("var/log/nginx", "var/lib/nginx"):
        layer.directory(name)
    config: dict[str, object] = {"Cmd": ["nginx"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"}
    return layer.write(directory / "getting-started.tar", "docker/getting-started:latest", config)
