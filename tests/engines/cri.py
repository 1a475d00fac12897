"""containerd as Kubernetes drives it: its CRI plugin, with the runtime as BinaryName, called over gRPC.

The interface is described in cri.proto, which is compiled when the tests start; requests and answers are
dictionaries of its fields. A pod's cgroups, network (Debian's CNI plugins), logs and runtime's root are in
the engine's place.
"""

import base64
import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import streaming
from engine import Containerd
from look import namespace
from machine import wait_for
from tasks import IMAGE

PLUGINS = "/usr/lib/cni"
PAUSE = "docker.io/library/pause:latest"
#: Of the pods' network, which is behind a bridge in containerd's network namespace.
GATEWAY = "10.89.7.1"

SLEEP = ("sleep", "1000")
#: Namespaces of the node, of the pod, or of the container alone.
NODE, POD, OWN = "NODE", "POD", "CONTAINER"

Fields = dict[str, Any]


def own_namespaces(pid: str = OWN) -> Fields:
    """A security context, in which all but the processes are the pod's."""
    return {"namespace_options": {"pid": pid}}


class Refused(Exception):
    """A call that was answered with a gRPC status."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class Client:
    """Calls of the CRI over a Unix socket, with dictionaries of fields."""

    def __init__(self, socket: Path) -> None:
        import grpc
        from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
        from grpc_tools import protoc

        self.grpc = grpc
        self.json_format = json_format
        with tempfile.NamedTemporaryFile() as compiled:
            here = Path(__file__).parent
            words = ["protoc", f"-I{here}", f"--descriptor_set_out={compiled.name}", "cri.proto"]
            assert protoc.main(words) == 0
            files = descriptor_pb2.FileDescriptorSet.FromString(Path(compiled.name).read_bytes())
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
        self.channel = grpc.insecure_channel(f"unix://{socket}")
        self.methods = {}
        for service in ("RuntimeService", "ImageService"):
            descriptor = pool.FindServiceByName(f"runtime.v1.{service}")
            for method in descriptor.methods:
                request = message_factory.GetMessageClass(method.input_type)
                answer = message_factory.GetMessageClass(method.output_type)
                call = self.channel.unary_unary(
                    f"/runtime.v1.{service}/{method.name}",
                    request_serializer=request.SerializeToString,
                    response_deserializer=answer.FromString,
                )
                self.methods[method.name] = (call, request)

    def __call__(self, method: str, fields: Fields, timeout: float) -> Fields:
        call, request = self.methods[method]
        try:
            answer = call(self.json_format.ParseDict(fields, request()), timeout=timeout)
        except self.grpc.RpcError as error:
            raise Refused(error.code().name, error.details()) from None
        said: Fields = self.json_format.MessageToDict(answer, preserving_proto_field_name=True)
        return said

    def close(self) -> None:
        self.channel.close()


class Cri(Containerd):
    """containerd with its CRI plugin, and the runtime as its only one, by two names."""

    name = "cri"
    namespace = "k8s.io"
    programs = (
        *Containerd.programs,
        "iptables",
        *(f"{PLUGINS}/{name}" for name in ("bridge", "host-local", "loopback", "portmap")),
    )

    @classmethod
    def unavailable(cls) -> str | None:
        for package in ("grpc", "grpc_tools"):
            if find_spec(package) is None:
                return f"not installed: {package}, a Python package"
        return super().unavailable()

    def start(self) -> None:
        place = self.place.directory
        (place / "cni").mkdir()
        network = {
            "type": "bridge",
            "bridge": "cri0",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.89.7.0/24", "gateway": GATEWAY}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": str(place / "addresses"),
            },
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        configuration = {"cniVersion": "0.4.0", "name": "tests", "plugins": [network, ports]}
        (place / "cni/10-tests.conflist").write_text(json.dumps(configuration))
        super().start()
        self.client = Client(self.socket)
        self.ending.callback(self.client.close)
        self._wait_ready()

    def restart(self) -> None:
        super().restart()
        self._wait_ready()

    def _wait_ready(self) -> None:
        wait_for(self._is_ready, f"ready state of the CRI plugin ({self.daemon.tail()})")

    def _is_ready(self) -> bool:
        try:
            status = self.client("Status", {}, 10)
        except Refused:  # not listening, or not initialised yet
            return False
        return all(condition.get("status", False) for condition in status["status"]["conditions"])

    def configuration_text(self) -> str:
        place = self.place.directory
        plugin = '[plugins."io.containerd.grpc.v1.cri"'

        def handler(name: str) -> str:
            return (
                f'{plugin}.containerd.runtimes.{name}]\n  runtime_type = "io.containerd.runc.v2"\n'
                f'{plugin}.containerd.runtimes.{name}.options]\n'
                f'  BinaryName = "{self.runtime.path}"\n  Root = "{place}/{name}"\n'
            )

        return (
            super().configuration_text().replace(', "io.containerd.grpc.v1.cri"', "")
            + f'{plugin}]\n  sandbox_image = "{PAUSE}"\n'
            # Not less than the daemon's own: lowering it takes CAP_SYS_RESOURCE.
            + "  restrict_oom_score_adj = true\n  netns_mounts_under_state_dir = true\n"
            + f'{plugin}.cni]\n  bin_dir = "{PLUGINS}"\n  conf_dir = "{place}/cni"\n'
            + f'{plugin}.containerd]\n  default_runtime_name = "usual"\n'
            + handler("usual")
            + handler("special")
        )

    def load(self, image: Path) -> None:
        known = len(self._images())
        self("images", "import", str(image))
        # The plugin hears of it by an event.
        wait_for(lambda: len(self._images()) > known, "image in the plugin's list")

    def _images(self) -> list[Fields]:
        images: list[Fields] = self.client("ListImages", {}, 10).get("images", [])
        return images

    def call(
        self,
        method: str,
        *,
        refused: str | None = None,
        seconds: float = 60,
        compare: bool = True,
        ignore: str | None = None,
        **fields: Any,
    ) -> Fields:
        """The answer to a call, or the `details` of its refusal. Both are compared, without times."""
        told = {key: value for key, value in fields.items() if key != "sandbox_config"}
        words = (method, json.dumps(told))
        times = rf'"\d{{19}}"|cni-[-0-9a-f]{{36}}{f"|{ignore}" if ignore else ""}'
        try:
            answer = self.client(method, fields, seconds)
        except Refused as error:
            if compare:
                self.recording.add(words, None, "", str(error), times)
            if error.code != refused:
                raise
            return {"details": error.details}
        if compare:
            self.recording.add(words, None, json.dumps(answer, indent=1, sort_keys=True), "", times)
        assert refused is None, f"{method}: {answer}"
        return answer

    def pod(self, name: str, handler: str = "", **linux: Any) -> "Pod":
        """A running pod; `linux` are fields of LinuxPodSandboxConfig, and some of PodSandboxConfig."""
        keys = ("hostname", "port_mappings", "dns_config")
        own: Fields = {key: linux.pop(key) for key in keys if key in linux}
        logs = self.place.directory / "logs" / name
        logs.mkdir(parents=True, exist_ok=True)
        config: Fields = {
            "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "default"},
            "hostname": name,
            "log_directory": str(logs),
            "labels": {"app": name},
            "annotations": {"example.org/note": "kept"},
            "linux": {"cgroup_parent": f"/{self.place.name}/pod-{name}", **linux},
            **own,
        }
        return Pod(self, config, handler)

    def clean(self) -> None:
        for pod in self.call("ListPodSandbox", compare=False).get("items", []):
            self.call("StopPodSandbox", pod_sandbox_id=pod["id"], compare=False)
            self.call("RemovePodSandbox", pod_sandbox_id=pod["id"], compare=False)


class Pod:
    """A pod sandbox."""

    def __init__(self, cri: Cri, config: Fields, handler: str) -> None:
        self.cri = cri
        self.config = config
        answer = cri.call("RunPodSandbox", config=config, runtime_handler=handler)
        self.id = answer["pod_sandbox_id"]

    def status(self) -> Fields:
        answer = self.cri.call("PodSandboxStatus", pod_sandbox_id=self.id, ignore=r'"ip": ".*"')
        status: Fields = answer["status"]
        return status

    def container(self, name: str, *command: str, **config: Any) -> "Container":
        """A started container."""
        return self.created(name, *command, **config).start()

    def created(self, name: str, *command: str, **config: Any) -> "Container":
        """`config` are fields of ContainerConfig, `security` and `resources` those of its `linux`."""
        linux = {"security_context": config.pop("security", {}), "resources": config.pop("resources", {})}
        whole: Fields = {
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": list(command),
            "log_path": f"{name}.log",
            "linux": linux,
            **config,
        }
        answer = self.cri.call(
            "CreateContainer", pod_sandbox_id=self.id, config=whole, sandbox_config=self.config
        )
        return Container(self, name, answer["container_id"])

    def stop(self) -> None:
        self.cri.call("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self) -> None:
        self.cri.call("RemovePodSandbox", pod_sandbox_id=self.id)

    def forward(self, port: int, request: bytes) -> bytes:
        """What whoever listens in the pod answers to a request over a forwarded port."""
        answer = self.cri.call("PortForward", pod_sandbox_id=self.id, port=[port], compare=False)
        return streaming.forward(answer["url"], self.cri.place.inside(), request)


class Container:
    def __init__(self, pod: Pod, name: str, container_id: str) -> None:
        self.pod = pod
        self.cri = pod.cri
        self.name = name
        self.id = container_id

    def start(self) -> Self:
        self.cri.call("StartContainer", container_id=self.id)
        return self

    def sync(self, *command: str, code: int = 0, ignore: str | None = None, timeout: int = 0) -> str:
        """What a command in the container prints; what it ends with is `code`."""
        answer = self.cri.call(
            "ExecSync", container_id=self.id, cmd=list(command), timeout=timeout, compare=False
        )
        out = base64.b64decode(answer.get("stdout", "")).decode()
        err = base64.b64decode(answer.get("stderr", "")).decode()
        self.cri.recording.add(("ExecSync", *command), answer.get("exit_code", 0), out, err, ignore)
        assert answer.get("exit_code", 0) == code, (command, answer, out, err)
        return out + err

    def shell(self, script: str, code: int = 0, ignore: str | None = None) -> str:
        return self.sync(*self.cri.shell(script), code=code, ignore=ignore)

    def status(self) -> Fields:
        status: Fields = self.cri.call("ContainerStatus", container_id=self.id)["status"]
        return status

    def pid(self) -> int:
        answer = self.cri.call("ContainerStatus", container_id=self.id, verbose=True, compare=False)
        return int(json.loads(answer["info"]["info"])["pid"])

    def namespace(self, kind: str) -> str:
        return namespace(self.pid(), kind)

    def cgroup(self) -> str:
        """The name of its cgroup below those of the hierarchies."""
        return f"{self.cri.place.name}/pod-{self.pod.config['metadata']['name']}/{self.id}"

    def ended(self) -> Fields:
        """Its status once it has ended."""

        def state() -> bool:
            answer = self.cri.call("ContainerStatus", container_id=self.id, compare=False)
            return bool(answer["status"].get("state") == "CONTAINER_EXITED")

        wait_for(state, f"end of {self.name}")
        return self.status()

    def log(self) -> list[tuple[str, str]]:
        """The lines of its log, each with the name of its stream."""
        path = Path(self.pod.config["log_directory"], f"{self.name}.log")
        lines = [line.split(" ", 3) for line in path.read_text().splitlines()]
        return [(stream, text) for _, stream, _, text in lines]

    def stop(self, timeout: int = 0) -> float:
        """Seconds that it took."""
        before = time.monotonic()
        self.cri.call("StopContainer", container_id=self.id, timeout=timeout)
        return time.monotonic() - before

    def remove(self) -> None:
        self.cri.call("RemoveContainer", container_id=self.id)

    def stream(self, *command: str, tty: bool = False, stdin: str = "") -> tuple[str, str, Fields]:
        """What a command prints on stdout and stderr, and its status, over the streaming server."""
        return self._converse("Exec", stdin, cmd=list(command), tty=tty)

    def attach(self, stdin: str, tty: bool = False) -> tuple[str, str, Fields]:
        """What the container's process prints when it is typed `stdin`, to its end."""
        return self._converse("Attach", stdin, tty=tty)

    def _converse(self, method: str, stdin: str, tty: bool, **more: Any) -> tuple[str, str, Fields]:
        request = {"stdin": True, "stdout": True, "stderr": not tty, "tty": tty, **more}
        answer = self.cri.call(method, container_id=self.id, compare=False, **request)
        return streaming.converse(answer["url"], self.cri.place.inside(), stdin)
