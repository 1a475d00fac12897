"""What this runtime supports, as the document of runtime-spec's features.md and features-linux.md.

The lists are those that the code itself looks names up in, so that the document cannot promise what
the code refuses. Nothing is asked of the host: the document tells what pyrunc knows, not what this
kernel can do.
"""

from pyrunc import OCI_VERSION, OCI_VERSION_MIN, __version__
from pyrunc.compile import namespaces
from pyrunc.compile.annotations import HONOURED
from pyrunc.linux import capabilities, mounts, scheduling, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# In the order in which runtime.md runs them.
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

# Annotations of config.json that change what the runtime does.
UNSAFE_ANNOTATIONS = (*HONOURED, "org.systemd.property.")

CGROUP = {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}


def document() -> "dict[str, Any]":
    """The features document."""
    return {
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": list(mounts.OPTIONS),
        "linux": {
            "namespaces": sorted(namespaces.CLONE_FLAGS),
            "capabilities": list(capabilities.NAMES),
            "cgroup": dict(CGROUP),
            "seccomp": {
                "enabled": True,
                "actions": sorted(seccomp.ACTIONS),
                "operators": sorted(seccomp.OPERATORS),
                "archs": sorted(seccomp.ARCHITECTURES),
                "knownFlags": sorted(seccomp.FLAGS),
                "supportedFlags": sorted(seccomp.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {
                "modes": sorted(scheduling.MEMORY_POLICIES),
                "flags": sorted(scheduling.MEMORY_POLICY_FLAGS),
            },
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "org.pyrunc.version": __version__,
            "org.pyrunc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }
