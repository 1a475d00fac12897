"""The pure parts of mounts: their options, id mappings, and an overlay's directories."""

from typing import Any

import pytest
from examples import LAYOUTS, compiled, ordinary

from pyrunc.compile import cgroups, idmaps, mounting, overlay
from pyrunc.compile.create import compile_create
from pyrunc.compile.facts import Facts, Request
from pyrunc.compile.mount_options import parse
from pyrunc.errors import Error
from pyrunc.linux import flags as f
from pyrunc.linux.mounts import ATTRIBUTES, RECURSIVE


def with_mounts(*mounts: dict[str, Any], **linux: Any) -> dict[str, Any]:
    config = ordinary()
    config["mounts"] = [{"destination": "/x", "type": "bind", "source": "/srv/src", **m} for m in mounts]
    config["linux"] |= linux
    return config


def mapping(inside: int, outside: int, size: int = 10) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": outside, "size": size}]


# -- options


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_has_a_recursive_form_for_bind_mounts_and_what_is_below(name: str) -> None:
    plain = parse({"type": "bind", "options": [name]}, 0)
    recursive = parse({"options": ["rbind", "r" + name]}, 0)
    assert (recursive.recursive_set, recursive.recursive_clear) == (plain.set, plain.clear)
    assert (recursive.set, recursive.clear) == (0, 0)
    assert set(RECURSIVE) == {"r" + each for each in ATTRIBUTES}


def test_later_options_win_over_earlier_ones() -> None:
    options = parse({"type": "bind", "options": ["ro", "rro", "rnoatime", "rw", "rrw", "rstrictatime"]}, 0)
    assert (options.set, options.clear) == (0, f.MOUNT_ATTR_RDONLY)
    assert options.recursive_set == f.MOUNT_ATTR_STRICTATIME
    assert options.recursive_clear == f.MOUNT_ATTR_RDONLY | f.MOUNT_ATTR__ATIME


@pytest.mark.parametrize("options", [["bind", "size=1m"], ["bind", "remount", "size=1m"]])
def test_file_systems_options_are_none_of_bind_mounts(options: list[str]) -> None:
    with pytest.raises(Error, match="not an option of bind mounts"):
        parse({"options": options}, 3)


def test_a_superblock_s_flag_on_a_bind_mount_is_a_warning() -> None:
    program, _ = compiled(with_mounts({"options": ["bind", "sync"]}), LAYOUTS["v2"])
    assert [pointer for pointer, _ in program.warnings] == ["/mounts/0/options"]


def calls(program: Any, name: str) -> list[tuple[Any, ...]]:
    return [step.args for step in program.steps if step.call == name]


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (["iversion"], f.MS_I_VERSION),
        (["iversion", "noiversion"], 0),
        (["sync", "lazytime", "async", "mand", "nomand", "noiversion"], f.MS_LAZYTIME),
        (["silent", "loud", "defaults"], 0),
    ],
)
def test_superblock_flags_of_mount_2(options: list[str], flags: int) -> None:
    assert mounting.superblock_flags(parse({"type": "ext4", "options": options}, 0)) == flags


def test_iversion_of_a_file_system_that_the_host_may_have_mounted_changes_nothing_of_it() -> None:
    mount = {"type": "ext4", "source": "/dev/vdb", "options": ["iversion"]}
    program, _ = compiled(with_mounts(mount), LAYOUTS["v2"])
    found = calls(program, "mount")
    assert found == [("/dev/vdb", ".", "ext4", f.MS_I_VERSION, "")]


@pytest.mark.parametrize(
    "mount",
    [
        {"type": "sysfs", "options": ["iversion"]},
        {"type": "cgroup2", "options": ["iversion"]},
        {"type": "tmpfs", "options": ["remount", "iversion"]},
    ],
)
def test_iversion_where_it_does_nothing_is_a_warning(mount: dict[str, Any]) -> None:
    program, _ = compiled(with_mounts(mount), LAYOUTS["v2"])
    assert ("/mounts/0/options", '"iversion" does nothing on this mount') in program.warnings
    assert not calls(program, "mount")


def test_acl_is_a_file_system_s_own_option() -> None:
    assert parse({"type": "ext4", "options": ["acl"]}, 0).data == [("acl", None)]


# -- id mappings


def test_mounts_with_one_mapping_share_its_namespace() -> None:
    maps = {"uidMappings": mapping(0, 1), "gidMappings": mapping(0, 2)}
    other = {"uidMappings": mapping(0, 3), "gidMappings": mapping(0, 2)}
    found, names = idmaps.namespaces(with_mounts(maps, {}, other, maps))
    assert names == {0: "idmap-0", 2: "idmap-1", 3: "idmap-0"}
    assert (found["idmap-0"].uids, found["idmap-0"].gids) == ("0 1 10\n", "0 2 10\n")
    assert found["idmap-1"].index == 2


def test_an_idmap_without_mappings_is_the_container_s() -> None:
    user = {"namespaces": [{"type": "user"}], "uidMappings": mapping(0, 9), "gidMappings": mapping(0, 8)}
    found, _ = idmaps.namespaces(with_mounts({"options": ["bind", "ridmap"]}, **user))
    assert (found["idmap-0"].uids, found["idmap-0"].gids) == ("0 9 10\n", "0 8 10\n")
    joined = {"namespaces": [{"type": "user", "path": "/proc/7/ns/user"}]}
    found, _ = idmaps.namespaces(with_mounts({"options": ["bind", "idmap"]}, **joined))
    assert (found["idmap-0"].path, found["idmap-0"].uids) == ("/proc/7/ns/user", "")


@pytest.mark.parametrize(
    ("text", "uids"),
    [
        ("idmap=uids=0-1-10#10-11-10;gids=0-1-1", "0 1 10\n10 11 10\n"),
        ("idmap=gids=0-1-1;uids=@1-3-10", "1 4 10\n"),
        ("ridmap=uids=@0-0-1#7-8-9;gids=0-1-1", "0 0 1\n7 8 9\n"),
    ],
)
def test_crun_s_mappings(text: str, uids: str) -> None:
    """The example of crun(1): id 3 of the container is in the range that starts at host id 2."""
    linux = {"uidMappings": [*mapping(0, 0, 1), *mapping(1, 2, 1000)], "gidMappings": mapping(0, 0)}
    found, _ = idmaps.namespaces(with_mounts({"options": ["bind", text]}, **linux))
    assert (found["idmap-0"].uids, found["idmap-0"].gids) == (uids, "0 1 1\n")


@pytest.mark.parametrize(
    "text",
    ["uids=@0-0-2;gids=0-0-1", "uids=;gids=0-0-1", "users=0-0-1", "uids=0-0-1;uids=0-0-1", "uids=0--1-1"],
)
def test_crun_s_mappings_that_mean_nothing(text: str) -> None:
    linux = {"uidMappings": [*mapping(0, 0, 1), *mapping(1, 2, 1000)], "gidMappings": mapping(0, 0)}
    with pytest.raises(Error) as caught:
        idmaps.namespaces(with_mounts({"options": ["bind", "idmap=" + text]}, **linux))
    assert caught.value.pointer == "/mounts/0/options"


def test_too_many_mappings_are_refused() -> None:
    maps = [{"uidMappings": mapping(0, n), "gidMappings": mapping(0, 2)} for n in range(21)]
    with pytest.raises(Error, match="more than 20"):
        idmaps.namespaces(with_mounts(*maps))


# -- overlays


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/a:/b", ["/a", "/b"]),
        ("/a::/data", ["/a", "", "/data"]),
        (r"/a\:b:/c", [r"/a\:b", "/c"]),
        (r"/a\\:/c", [r"/a\\", "/c"]),
    ],
)
def test_lower_directories_are_separated_by_colons_without_a_backslash(text: str, parts: list[str]) -> None:
    assert overlay.split(text) == parts


def test_an_overlay_s_directories_get_short_names() -> None:
    long = "/" + "x" * 100
    lower = rf"lowerdir={long}\:1:{long}\\2:{long}::{long}"
    options = [lower, f"upperdir={long}/u", "workdir=/w", "index=off"]
    config = with_mounts({"type": "overlay", "source": "overlay", "options": options})
    program, _ = compiled(config, LAYOUTS["v2"])
    links = [step.args for step in program.steps if step.call == "symlinkat" and step.origin == "/mounts/0"]
    targets = [f"{long}:1", f"{long}\\2", long, long, f"{long}/u", "/w"]
    assert [(args[0], args[2]) for args in links] == [(t, str(n)) for n, t in enumerate(targets)]
    (mount,) = [step.args for step in program.steps if step.call == "mount"]
    assert mount[1] == "."
    assert mount[4] == "lowerdir=../0:../1:../2::../3,upperdir=../4,workdir=../5,index=off"


def test_an_overlay_s_relative_directory_is_refused() -> None:
    options = ["lowerdir=" + ":".join(["layer"] * 60)]
    config = with_mounts({"type": "overlay", "source": "overlay", "options": options})
    with pytest.raises(Error, match="absolute path"):
        compiled(config, LAYOUTS["v2"])


# -- control groups


def cgroup_mount(kind: str, layout: str, *namespaces: str, rootless: bool = False, own: bool = True) -> Any:
    """The options that end on the hierarchies' mounts, by their slots' names, and the warnings."""
    config = with_mounts({"type": kind, "source": "cgroup", "options": ["nosuid", "rw"]})
    config["linux"]["namespaces"] = [{"type": name} for name in ("mount", "uts", *namespaces)]
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = mapping(0, 1000)
    if "user" not in namespaces:
        del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
    plan = cgroups.plan(config, LAYOUTS[layout], "box")
    facts = Facts("/b/rootfs", layout=LAYOUTS[layout], rootless=rootless, cgroups=plan if own else None)
    config["linux"]["maskedPaths"] = []
    config["linux"].pop("seccomp", None)
    program = compile_create(config, facts, Request("box", "/b"))
    found: dict[str, int] = {}
    for step in program.steps:
        if step.origin != "/mounts/0":
            continue
        args: Any = step.args
        if step.call == "fsmount":
            found[step.out.name] = args[2]  # type: ignore[union-attr]
        elif step.call == "open_tree":
            found[step.out.name] = 0  # type: ignore[union-attr]
        elif step.call == "mount_setattr":
            found[args[0].name] = found[args[0].name] & ~args[3].fields[1] | args[3].fields[0]
    return found, program.warnings


@pytest.mark.parametrize(
    ("namespaces", "rootless", "own", "readonly"),
    [
        (("cgroup",), False, True, False),
        ((), False, True, False),
        (("user", "cgroup"), False, True, False),
        (("user",), False, True, True),
        (("user",), True, True, True),
        (("user", "cgroup"), True, True, False),
        (("user", "cgroup"), True, False, True),
    ],
)
def test_what_is_not_the_container_s_alone_is_readonly_for_an_ordinary_user(
    namespaces: tuple[str, ...], rootless: bool, own: bool, readonly: bool
) -> None:
    found, warnings = cgroup_mount("cgroup", "v2", *namespaces, rootless=rootless, own=own)
    assert bool(found["cgroup2"] & f.MOUNT_ATTR_RDONLY) == readonly
    assert [pointer for pointer, _ in warnings] == ["/mounts/0"] * readonly


@pytest.mark.parametrize("namespaces", [("cgroup",), ()])
def test_v1_hierarchies_in_which_the_container_has_no_group_are_readonly(namespaces: tuple[str, ...]) -> None:
    found, _ = cgroup_mount("cgroup", "v1", "user", *namespaces, rootless=True, own=False)
    del found["cgroups"]
    assert len(found) == len(set(LAYOUTS["v1"].v1.values()))
    assert all(attributes & f.MOUNT_ATTR_RDONLY for attributes in found.values())
    found, _ = cgroup_mount("cgroup", "v1", *namespaces)
    assert not any(attributes & f.MOUNT_ATTR_RDONLY for attributes in found.values())


def test_type_cgroup2_beside_v1_is_the_unified_hierarchy() -> None:
    found, _ = cgroup_mount("cgroup2", "v1", "cgroup")
    assert list(found) == ["cgroup2"]


# -- propagation


@pytest.mark.parametrize(("value", "wanted"), [("shared", 1), ("rshared", 1), ("rslave", 0), ("rprivate", 0)])
def test_the_old_root_is_made_a_slave_before_it_goes_where_it_is_shared(value: str, wanted: int) -> None:
    program, _ = compiled(with_mounts(rootfsPropagation=value), LAYOUTS["v2"])
    calls = [step.call for step in program.steps]
    between = program.steps[calls.index("pivot_root") + 1 : calls.index("umount2")]
    assert [step.call for step in between] == ["mount_setattr", "close"] * wanted
    for step in between[:1]:
        args: Any = step.args
        assert (args[2], args[3].fields[2]) == (f.AT_EMPTY_PATH | f.AT_RECURSIVE, f.MS_SLAVE)
