"""The cases; importing this registers them all."""

from conformance.cases import (
    agents,
    cgroups,
    config,
    engines,
    features,
    hooks,
    invalid,
    linux,
    netdevices,
    operations,
    options,
    process,
    resources,
    seccomp,
)

__all__ = [
    "agents",
    "cgroups",
    "config",
    "engines",
    "features",
    "hooks",
    "invalid",
    "linux",
    "netdevices",
    "operations",
    "options",
    "process",
    "resources",
    "seccomp",
]
