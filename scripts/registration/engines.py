"""What each engine's registration consists of, and how it goes wrong; one function for each engine."""

import http.client
import json
import os
import re
import socket
import subprocess
from pathlib import Path

from registration.common import Check, Findings, Table, Unreadable, merge, read, table

# The CRI plugin's table in config.toml, by the file's version.
CRI = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
SHIM = "io.containerd.runc.v2"
# Options of that shim that matter here, and their types in TOML.
SHIM_OPTIONS = {"BinaryName": str, "SystemdCgroup": bool, "Root": str}


class DockerConnection(http.client.HTTPConnection):
    """To dockerd, at a Unix socket."""

    def __init__(self, address: str) -> None:
        super().__init__("docker", timeout=30)
        self.address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.address)


def docker(check: Check, file: Path) -> Findings:
    """daemon.json, and what the daemon says that it knows."""
    found = Findings("docker", str(file))
    document = read(file)
    runtimes = table(document, "runtimes")
    options = document.get("exec-opts", [])
    options = options if isinstance(options, list) else []
    chosen = [each.split("=", 1)[1] for each in options if str(each).startswith("native.cgroupdriver=")]
    pure = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    driver = chosen[-1] if chosen else "systemd" if check.systemd and pure else "cgroupfs"
    check.driver(
        found,
        driver,
        "exec-opts" if chosen else "exec-opts (Docker's default)",
        '"exec-opts": ["native.cgroupdriver=cgroupfs"]',
    )
    if check.name not in runtimes:
        check.missing(found, runtimes, f'"runtimes": {{"{check.name}": {{"path": "/usr/local/bin/pyrunc"}}}}')
        return found
    if check.name == "runc":
        found.wrong('the name "runc" is Docker\'s own, and the daemon refuses it', "choose another name")
    entry = table(runtimes, check.name)
    if entry.get("runtimeType", SHIM) != SHIM:
        found.wrong(f'runtimeType is {entry["runtimeType"]!r}', f'"runtimeType": "{SHIM}", or "path" alone')
    path = entry.get("path") or table(entry, "options").get("BinaryName")
    arguments = entry.get("runtimeArgs", [])
    check.command(found, path, *arguments, driver=driver)
    parent = document.get("cgroup-parent", "")
    if parent and (driver == "systemd") != str(parent).endswith(".slice"):
        form = "the name of a slice (box.slice)" if driver == "systemd" else "a path (/box)"
        found.wrong(f'cgroup-parent "{parent}" does not fit the driver {driver}', f"write {form}")
    check.default(found, document.get("default-runtime"), runtimes, f"docker run --runtime {check.name}")
    if not check.options.files_only:
        docker_daemon(check, found, path, document.get("default-runtime"), driver)
    return found


def docker_daemon(check: Check, found: Findings, path: object, default: object, driver: str) -> None:
    address = check.options.docker_socket
    connection = DockerConnection(address)
    try:
        connection.request("GET", "/info")
        info = json.loads(connection.getresponse().read())
    except OSError as error:
        found.note(f"no daemon at {address} ({error.strerror or error}), so none was asked")
        return
    finally:
        connection.close()
    reload, restart = "systemctl reload docker (or SIGHUP to dockerd)", "systemctl restart docker"
    running = table(info, "Runtimes")
    if check.name not in running:
        found.wrong(f'the daemon at {address} does not know "{check.name}" yet', reload)
    elif table(running, check.name).get("path", path) != path:
        found.wrong(f'the daemon still runs {running[check.name]["path"]} as "{check.name}"', reload)
    elif default and info.get("DefaultRuntime") != default:
        found.wrong(f'the daemon\'s default runtime is still "{info.get("DefaultRuntime")}"', reload)
    elif info.get("CgroupDriver") != driver:
        found.wrong(f"the daemon's cgroup driver is still {info.get('CgroupDriver')}", restart)
    else:
        found.good(f'the daemon at {address} knows "{check.name}"')


def containerd(check: Check, file: Path) -> Findings:
    """config.toml with its imports: the table of the CRI plugin."""
    found = Findings("containerd", str(file))
    document, files = read(file), [file]
    for pattern in document.get("imports", []):
        place = Path(pattern)
        parent = place.parent if place.is_absolute() else file.parent / place.parent
        for imported in sorted(parent.glob(place.name)):
            merge(document, {key: value for key, value in read(imported).items() if key != "version"})
            files.append(imported)
    version = document.get("version", 1)
    if version not in CRI:
        found.wrong(f"it is of version {version}", "containerd config migrate prints it as the newest one")
        return found
    if not check.options.files_only:
        containerd_version(found, version)
    plugins = table(document, "plugins")
    prefix = f'plugins."{CRI[version]}".containerd'
    cri = table(plugins, CRI[version], "containerd")
    disabled = {"cri", *CRI.values()} & set(document.get("disabled_plugins", []))
    if disabled:
        found.wrong(f"disabled_plugins has {', '.join(sorted(disabled))}", "take it out: that is CRI")
    runtimes = table(cri, "runtimes")
    for other, plugin in CRI.items():
        if other != version and check.name in table(plugins, plugin, "containerd", "runtimes"):
            found.wrong(
                f'"{check.name}" is in the table of version {other}, and the file is of version {version}',
                f"[{prefix}.runtimes.{check.name}]",
            )
            return found
    if check.name not in runtimes:
        check.missing(found, runtimes, f"[{prefix}.runtimes.{check.name}]; see docs/engines.md")
        return found
    entry = table(runtimes, check.name)
    if entry.get("runtime_type") != SHIM:
        found.wrong(f"runtime_type is {entry.get('runtime_type')!r}", f'runtime_type = "{SHIM}"')
    options = shim_options(check, found, entry, prefix)
    driver = "systemd" if options.get("SystemdCgroup") is True else "cgroupfs"
    check.driver(found, driver, "SystemdCgroup", "SystemdCgroup = false")
    check.command(found, options.get("BinaryName"), driver=driver)
    check.default(
        found, cri.get("default_runtime_name"), runtimes, f"a RuntimeClass with handler: {check.name}"
    )
    address = table(document, "grpc").get("address", "/run/containerd/containerd.sock")
    check.stale(found, check.options.containerd_socket or address, files, "systemctl restart containerd")
    return found


def shim_options(check: Check, found: Findings, entry: Table, prefix: str) -> Table:
    """The shim's options, of which wrongly written ones are ignored by containerd without a word."""
    heading = f"[{prefix}.runtimes.{check.name}.options]"
    options = table(entry, "options")
    for name, kind in SHIM_OPTIONS.items():
        if name in entry:
            found.wrong(f"{name} is beside runtime_type, where it is ignored", f"write it below {heading}")
        for key in options:
            if key != name and key.lower().replace("_", "") == name.lower():
                found.wrong(f"the option {key} is not known", f"write it as {name}")
        if name in options and not isinstance(options[name], kind):
            found.wrong(f"{name} is {options[name]!r}", f"a {'boolean' if kind is bool else 'string'}")
    return options


def containerd_version(found: Findings, version: int) -> None:
    """containerd 1 reads versions up to 2; from 2.0 on it reads both."""
    try:
        command = ["containerd", "--version"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        found.note(f"containerd's version is not known: {error}")
        return
    major = re.search(r"containerd v?(\d+)\.", done.stdout)
    if major and int(major[1]) < 2 and version > 2:
        found.wrong(f"it is of version {version}, which containerd {major[1]} does not read", "version = 2")


def podman(check: Check, file: Path) -> Findings:
    """containers.conf and what is in containers.conf.d; there is no daemon to ask."""
    files = [each for each in [file, *sorted(Path(f"{file}.d").glob("*.conf"))] if each.exists()] or [file]
    found = Findings("podman", ", ".join(map(str, files)))
    document: Table = {}
    for each in files:
        merge(document, read(each))
    engine = table(document, "engine")
    driver = engine.get("cgroup_manager", "systemd" if check.systemd else "cgroupfs")
    where = "cgroup_manager" if "cgroup_manager" in engine else "cgroup_manager (Podman's default)"
    check.driver(found, driver, where, 'cgroup_manager = "cgroupfs"')
    runtimes = table(engine, "runtimes")
    if check.name not in runtimes:
        check.missing(found, runtimes, f'[engine.runtimes] {check.name} = ["/usr/local/bin/pyrunc"]')
        return found
    paths = runtimes[check.name]
    if not isinstance(paths, list):
        found.wrong(f"engine.runtimes.{check.name} is {paths!r}", f'a list: {check.name} = ["{paths}"]')
        paths = [paths]
    # Podman takes the first that exists.
    check.command(found, next((each for each in paths if os.path.exists(each)), *paths[:1]), driver=driver)
    if check.name not in engine.get("runtime_supports_json", ["crun", "runc", "kata", "runsc", "krun"]):
        found.note(
            f'runtime_supports_json does not name "{check.name}", which doubles names in error messages'
        )
    default = engine.get("runtime")
    if default and os.path.isabs(default):
        found.note(f"the default runtime is {default}; this one is chosen with --runtime {check.name}")
    else:
        also = {**runtimes, "crun": {}}
        check.default(found, default or "crun", also, f"podman --runtime {check.name}")
    return found


def crio(check: Check, directory: Path) -> Findings:
    """crio.conf and what is in crio.conf.d."""
    files = [directory / "crio.conf", *sorted((directory / "crio.conf.d").glob("*.conf"))]
    files = [each for each in files if each.exists()]
    found = Findings("crio", ", ".join(map(str, files)) or str(directory))
    if not files:
        raise Unreadable(f"{directory} has neither crio.conf nor crio.conf.d")
    document: Table = {}
    for each in files:
        merge(document, read(each))
    settings = table(document, "crio", "runtime")
    runtimes = table(settings, "runtimes")
    driver = settings.get("cgroup_manager", "systemd")
    where = "cgroup_manager" if "cgroup_manager" in settings else "cgroup_manager (CRI-O's default)"
    check.driver(found, driver, where, 'cgroup_manager = "cgroupfs" and conmon_cgroup = "pod"')
    if driver == "cgroupfs" and settings.get("conmon_cgroup") != "pod":
        found.wrong(f"conmon_cgroup is {settings.get('conmon_cgroup')!r}", 'conmon_cgroup = "pod"')
    if check.name not in runtimes:
        check.missing(found, runtimes, f"[crio.runtime.runtimes.{check.name}]; see docs/engines.md")
        return found
    entry = table(runtimes, check.name)
    if entry.get("runtime_type", "oci") not in ("", "oci"):
        found.wrong(f"runtime_type is {entry['runtime_type']!r}", 'runtime_type = "oci"')
    check.command(found, entry.get("runtime_path"), driver=driver)
    root = entry.get("runtime_root", "/run/runc")
    others = {name: table(runtimes, name).get("runtime_root", "/run/runc") for name in runtimes}
    same = sorted(name for name, its in others.items() if its == root and name != check.name)
    if same:
        found.wrong(f"runtime_root {root} is also that of {', '.join(same)}", 'runtime_root = "/run/pyrunc"')
    check.default(
        found, settings.get("default_runtime"), runtimes, f"a RuntimeClass with handler: {check.name}"
    )
    address = table(document, "crio", "api").get("listen", "/var/run/crio/crio.sock")
    check.stale(found, check.options.crio_socket or address, files, "systemctl restart crio")
    return found


ENGINES = {"docker": docker, "containerd": containerd, "podman": podman, "crio": crio}
