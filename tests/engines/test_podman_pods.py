"""Pods: containers that share namespaces, made one by one or from a Kubernetes manifest."""

import os

import pytest
from machine import CGROUPS
from podman import Podman

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata:
  name: walk
spec:
  restartPolicy: Never
  volumes:
  - name: scratch
    emptyDir: {}
  containers:
  - name: web
    image: localhost/busybox:latest
    imagePullPolicy: Never
    command: [sh, -c, "echo page >/scratch/page; exec httpd -f -p 80 -h /scratch"]
    ports:
    - containerPort: 80
      hostPort: 8090
    resources:
      limits:
        memory: 64Mi
    volumeMounts:
    - name: scratch
      mountPath: /scratch
  - name: side
    image: localhost/busybox:latest
    imagePullPolicy: Never
    command: [sleep, "1000"]
    env:
    - name: GREETING
      value: hello
    securityContext:
      runAsUser: 1000
      readOnlyRootFilesystem: true
    volumeMounts:
    - name: scratch
      mountPath: /shared
"""


def pid(podman: Podman, name: str) -> int:
    return int(podman("inspect", name, "--format", "{{.State.Pid}}", compare=False).out)


def namespace(process: int, kind: str) -> str:
    return os.readlink(f"/proc/{process}/ns/{kind}")


@pytest.mark.parametrize(
    "flags",
    [[], ["--infra-image", "busybox", "--infra-command", "sleep 1000"]],
    ids=["default", "infra-image"],
)
def test_containers_of_a_pod_share_namespaces(podman: Podman, flags: list[str]) -> None:
    flags = [*flags, "--share", "ipc,net,uts,pid", "--hostname", "together", "-p", "8091:80"]
    podman("pod", "create", "--name", "pod", *flags)
    serve = "echo page >/tmp/page; exec httpd -f -p 80 -h /tmp"
    podman("run", "-d", "--pod", "pod", "--name", "web", "busybox", "sh", "-c", serve)
    podman("run", "-d", "--pod", "pod", "--name", "side", "busybox", "sleep", "1000")
    web, side = pid(podman, "web"), pid(podman, "side")
    for kind in ("ipc", "net", "uts", "pid"):
        assert namespace(web, kind) == namespace(side, kind) != os.readlink(f"/proc/self/ns/{kind}")
    assert namespace(web, "mnt") != namespace(side, "mnt")
    script = "hostname; wget -q -O - http://127.0.0.1/page"
    podman.until("exec", "side", "sh", "-c", script)
    assert podman("exec", "side", "sh", "-c", script).out == "together\npage\n"
    assert podman.place.fetch("http://127.0.0.1:8091/page") == "page\n"
    assert podman("ps", "--pod", "--sort", "names", "--format", "{{.Names}} {{.PodName}}").out.endswith(
        "side pod\nweb pod\n"
    )


def test_the_life_of_a_pod(podman: Podman) -> None:
    podman("pod", "create", "--name", "pod")
    for name in ("one", "two"):
        podman("create", "--pod", "pod", "--name", name, "--stop-timeout", "0", "busybox", "sleep", "1000")
    podman("pod", "start", "pod")
    shown = ["inspect", "one", "two", "--format", "{{.Name}} {{.State.Status}}"]
    assert podman(*shown).out == "one running\ntwo running\n"
    (top,) = [*CGROUPS.glob(f"cpu/{podman.place.name}"), *CGROUPS.glob(podman.place.name)][:1]
    (group,) = [path for path in top.iterdir() if len(path.name) == 64]
    assert len([path for path in group.iterdir() if path.name.startswith("libpod-")]) >= 3
    podman("pod", "pause", "pod")
    assert podman(*shown).out == "one paused\ntwo paused\n"
    podman("pod", "unpause", "pod")
    podman("pod", "kill", "--signal", "KILL", "pod")
    podman.until(*shown, printed="one exited\ntwo exited\n")
    podman("pod", "restart", "pod")
    assert podman(*shown).out == "one running\ntwo running\n"
    podman("pod", "top", "pod", "args", compare=False)
    podman("pod", "stop", "--time", "0", "pod")
    assert podman("pod", "ps", "--format", "{{.Name}} {{.Status}}").out == "pod Exited\n"
    podman("pod", "rm", "pod", compare=False)
    assert not group.exists()


def test_a_pod_without_an_infra_container(podman: Podman) -> None:
    podman("pod", "create", "--name", "pod", "--infra=false")
    assert podman("run", "--rm", "--pod", "pod", "busybox", "echo", "hello").out == "hello\n"


def test_a_manifest_is_played_and_taken_down(podman: Podman) -> None:
    manifest = podman.place.directory / "manifest.yaml"
    manifest.write_text(MANIFEST)
    podman("play", "kube", str(manifest), compare=False)
    podman.until("exec", "walk-side", "cat", "/shared/page")
    assert podman.place.fetch("http://127.0.0.1:8090/page") == "page\n"
    script = "id -u; echo $GREETING; hostname; touch /new; cat /shared/page"
    ended = podman("exec", "walk-side", "sh", "-c", script)
    assert ended.out == "1000\nhello\nwalk\npage\n" and "Read-only file system" in ended.err
    assert podman("inspect", "walk-web", "--format", "{{.HostConfig.Memory}}").out == "67108864\n"
    generated = podman("generate", "kube", "walk", ignore="[0-9a-f]{63}").out
    assert "kind: Pod" in generated and "hostPort: 8090" in generated
    podman("pod", "kill", "walk", compare=False)
    podman("play", "kube", "--down", str(manifest), compare=False)
    assert podman("ps", "--all", "--quiet").out == ""
