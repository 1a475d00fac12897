"""`plan`: the program that create would run, compiled and verified, without any effect or privilege."""

from pyrunc.compile.create import compile_create
from pyrunc.compile.facts import Request
from pyrunc.config.load import load
from pyrunc.host.facts import gather
from pyrunc.host.facts import rootless as unprivileged
from pyrunc.program.verify import verify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.compile.cgroups import Plan
    from pyrunc.compile.facts import Facts
    from pyrunc.compile.rdt import Plan as GroupPlan
    from pyrunc.compile.systemd import Unit
    from pyrunc.container import Runtime
    from pyrunc.program.model import Program


def facts_for(
    rt: "Runtime", config: "dict[str, Any]", id: str, bundle: str, *, pivot: bool, need_sources: bool = True
) -> "tuple[Facts, Plan]":
    """All that the compiler has to know besides the configuration, and the plan of the cgroups."""
    from pyrunc.compile import cgroups
    from pyrunc.host.cgroups.facts import layout as find_layout

    setgroups = None
    for namespace in config.get("linux", {}).get("namespaces") or ():
        if namespace["type"] == "user" and namespace.get("path"):
            from pyrunc.host import userns

            setgroups = userns.adopt(config)
    layout = find_layout()
    rootless = is_rootless(rt)
    plan = cgroups.plan(
        config, layout, id, rootless=rootless, unit=unit_for(rt, config, id),
        disabled=rt.cgroup_manager == "disabled",
    )
    profile = config.get("linux", {}).get("seccomp")
    filter = None
    if profile:
        from pyrunc import log
        from pyrunc.host.seccomp import filter_for

        filter, warnings = filter_for(profile, f"{rt.root}/@seccomp" if need_sources else None)
        for warning in warnings:
            log.warning(warning)
    facts = gather(
        config, bundle, filter=filter, layout=layout, cgroups=plan, pivot=pivot, need_sources=need_sources,
    )
    if facts.rootless:
        from pyrunc.host import userns

        userns.describe(facts, config, run=need_sources)
    if setgroups is not None:
        facts.setgroups = setgroups
    if config.get("linux", {}).get("intelRdt") is not None:
        groups = rdt_plan(config, id)
        facts.rdt = (groups.clos, groups.monitor)
    return facts, plan


def unit_for(rt: "Runtime", config: "dict[str, Any]", id: str) -> "Unit | None":
    """The unit of systemd that a container is, where that makes the cgroups."""
    if rt.cgroup_manager != "systemd":
        return None
    from pyrunc.host.cgroups import systemd

    return systemd.unit_for(config, id, users=rt.rootless)


def rdt_plan(config: "dict[str, Any]", id: str) -> "GroupPlan":
    """The resctrl groups of a configuration with linux.intelRdt."""
    from pyrunc.compile import rdt
    from pyrunc.host.rdt import root

    return rdt.plan(config["linux"]["intelRdt"], root(), id, rootless=unprivileged())


def is_rootless(rt: "Runtime") -> bool:
    """Whether the runtime does without the cgroups that it may not make (--rootless)."""
    return unprivileged() if rt.rootless is None else rt.rootless


def plan(
    rt: "Runtime", bundle: str, *, id: str = "plan", no_pivot: bool = False, no_new_keyring: bool = False
) -> "Program":
    """The verified program for a bundle."""
    config = load(bundle)
    facts, _ = facts_for(rt, config, id, bundle, pivot=not no_pivot, need_sources=False)
    request = Request(id, bundle, pivot=not no_pivot, new_keyring=not no_new_keyring)
    program = compile_create(config, facts, request)
    verify(program)
    return program
