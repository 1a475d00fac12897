"""The cases; importing this registers them all."""

from conformance.cases import cgroups, config, hooks, linux, operations, process

__all__ = ["cgroups", "config", "hooks", "linux", "operations", "process"]
