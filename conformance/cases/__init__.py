"""The cases; importing this registers them all."""

from conformance.cases import (
    agents,
    cgroups,
    config,
    engines,
    features,
    hooks,
    linux,
    operations,
    options,
    process,
)

__all__ = [
    "agents",
    "cgroups",
    "config",
    "engines",
    "features",
    "hooks",
    "linux",
    "operations",
    "options",
    "process",
]
