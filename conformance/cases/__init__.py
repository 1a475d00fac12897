"""The cases; importing this registers them all."""

from conformance.cases import cgroups, config, features, hooks, linux, operations, options, process

__all__ = ["cgroups", "config", "features", "hooks", "linux", "operations", "options", "process"]
