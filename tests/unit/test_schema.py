"""The project's schemas against the official ones, and the generated validator against the schema.

The official schemas and samples of runtime-spec are looked for at $PYRUNC_RUNTIME_SPEC, or in
shared/runtime-spec beside the checkout.
"""

import copy
import json
import os
import random
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc.config import explain, generate, schema, walk
from pyrunc.config.default import default
from pyrunc.config.position import join

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = Path(os.environ.get("PYRUNC_RUNTIME_SPEC", ROOT.parent / "shared" / "runtime-spec"))
official = pytest.mark.skipif(
    not (OFFICIAL / "config-schema.json").exists(),
    reason=f"no official schemas in {OFFICIAL}: set PYRUNC_RUNTIME_SPEC",
)

CONFIG = schema.document("config")

# What the official schema accepts and this one refuses: pointer, keyword, reason.
STRICTER = [
    ("", "required", "config.md: root is required on all platforms but Windows"),
    ("/process", "required", "config.md: at least one entry of args is required"),
    ("/process/args", "minItems", "config.md: at least one entry of args is required"),
    ("/process/cwd", "pattern", "config.md: it must be absolute"),
    ("/process/consoleSize/.*", "maximum", "ioctl_tty(2): the kernel has 16 bits for it"),
    ("/process/oomScoreAdj", "minimum|maximum", "proc(5): the kernel refuses other values"),
    ("/process/rlimits/.*/type", "enum", "config.md: an error for names that no limit has"),
    ("/process/execCPUAffinity/.*", "pattern", "$ of the official pattern admits a line's end"),
    ("/process/user/(uid|gid|additionalGids/.*)", "maximum", "setresuid(2), setgroups(2): -1 is no id"),
    ("/linux/devices/.*/(uid|gid)", "maximum", "chown(2): -1 leaves the owner as it is"),
    ("/hooks/.*/path", "pattern", "config.md: it must be absolute"),
    ("/annotations", "minLength", "config.md: keys must not be an empty string"),
    ("/linux/namespaces/.*/path", "pattern", "config-linux.md: it must be absolute"),
    ("/linux/(masked|readonly)Paths/.*", "pattern", "config-linux.md: they must be absolute"),
    ("/linux/timeOffsets/.*", "additionalProperties", "config.md: an unsupported value is an error"),
    ("/linux/timeOffsets", "additionalProperties", "config.md: an unsupported value is an error"),
    ("/linux/devices/.*", "anyOf", "config-linux.md: major and minor are required but for FIFOs"),
    ("/linux/memoryPolicy", "required", "config-linux.md: mode is required"),
    ("/linux/personality", "required", "config-linux.md: domain is required"),
    ("/linux/resources/devices/.*/(type|access)", "enum|pattern", "config-linux.md: a, c, b; r, w, m"),
    ("/linux/resources/blockIO/weightDevice/.*", "anyOf", "config-linux.md: one of them is required"),
    ("/linux/resources/blockIO/throttle.*", "required", "config-linux.md: rate is required"),
    ("/linux/resources/rdma/.*", "anyOf", "config-linux.md: one of them is required"),
]

# What this schema accepts and the official one refuses.
LOOSER = [
    ("/linux/rootfsPropagation", "enum", "Docker sends rslave, and runc takes all recursive forms"),
    ("/(solaris|windows|vm|zos|freebsd)(/.*)?", ".*", "settings of other platforms are not looked at"),
    ("/linux/devices/.*/fileMode", "maximum", "config-linux.md: uint32; engines send more bits"),
]


def differs(deliberate: list[tuple[str, str, str]], pointer: str, keyword: str) -> bool:
    return any(re.fullmatch(where, pointer) and re.fullmatch(rule, keyword) for where, rule, _ in deliberate)


def official_validator(name: str) -> Any:
    from referencing import Registry
    from referencing.jsonschema import DRAFT4

    documents = {path.name: json.loads(path.read_text()) for path in OFFICIAL.glob("*.json")}
    registry: Any = Registry().with_resources(
        (key, DRAFT4.create_resource(document)) for key, document in documents.items()
    )
    return jsonschema.Draft4Validator(documents[f"{name}-schema.json"], registry=registry)


def faults(validator: Any, document: Any) -> list[tuple[str, str]]:
    """Pointer and keyword of each error, those inside of official anyOf and allOf included."""
    errors, found = list(validator.iter_errors(document)), []
    while errors:
        error = errors.pop()
        if error.context and validator is not SLOW:
            errors += error.context
        else:
            found.append((join(list(error.absolute_path)), str(error.validator)))
    return found


def fresh_validator() -> Any:
    """The generated validator as the present schema makes it, whatever lies in the checkout."""
    module = types.ModuleType("fresh_validator")
    exec(generate.source(CONFIG), module.__dict__)  # noqa: S102
    return module


FAST = fresh_validator()
SLOW: Any = explain._validator()(CONFIG)

SAMPLES: list[Any] = [default(rootless, cgroup_v2=v2) for rootless in (False, True) for v2 in (False, True)]
ODD: list[Any] = [None, True, False, 0, 1, -1, 1.0, 2**32, 2**64, -(2**63) - 1, "", "/", "x", "a:b", "\u00e9"]
ODD += ["SCMP_ACT_NOTIFY", "CAP_KILL", "RLIMIT_XYZ", "0-3", "rwm", "rwx", "MB:0=1", "2MB", "64kB"]
ODD += [[], {}, [""], ["/a"], {"a": "b"}, {"": "b"}]
ODD += [[{}], {"a": {}}, {"path": "/x"}, [{"type": "pid"}], "a\n", "/\n"]
EXAMPLES = {
    "^/": ["/", "/a/b"],
    "^(?![^/])": ["", "/proc/1/ns/pid"],
    "^(?!.*[^rwm])": ["", "rwm", "w"],
    "^(?!.*[^0-9, -])": ["", "0-3,7"],
    "^MB:(?!.*\\n)": ["MB:0=20;1=70"],
    "^[1-9][0-9]*[KMG]B$(?!\\n)": ["64KB", "2MB", "1GB"],
}


def grow(here: dict[str, Any], rnd: random.Random, depth: int = 0) -> Any:
    """A value that the schema allows."""
    here = schema.resolve(here, CONFIG)
    kind = here["type"]
    if kind == "object":
        wanted = set(here.get("required", ()))
        for each in rnd.sample(here.get("anyOf", []), min(1, len(here.get("anyOf", ())))):
            wanted |= set(each.get("required", ()))
        value = {}
        for key, rule in here.get("properties", {}).items():
            if key in wanted or rnd.random() < (0.5 if depth < 2 else 0.3):
                value[key] = grow(rule, rnd, depth + 1)
        if "anyOf" in here and "type" in here.get("properties", {}) and "major" not in value:
            value["type"] = "p"
        rest = here.get("additionalProperties")
        if isinstance(rest, dict):
            for key in rnd.sample(["a", "net.core.somaxconn", "eth0"], rnd.randint(0, 2)):
                value[key] = grow(rest, rnd, depth + 1)
        return value
    if kind == "array":
        low = here.get("minItems", 0)
        return [grow(here["items"], rnd, depth + 1) for _ in range(rnd.randint(low, low + 2))]
    if kind == "integer":
        low, high = here["minimum"], here.get("maximum", 10**6)
        return rnd.choice([low, high, rnd.randint(low, high), min(max(0, low), high)])
    if kind == "boolean":
        return rnd.random() < 0.5
    if "enum" in here:
        return rnd.choice(here["enum"])
    return rnd.choice(EXAMPLES[here["pattern"]] if "pattern" in here else ["", "x", "1.0.0", "/a"])


def mutate(document: Any, rnd: random.Random) -> None:
    """Replaces, removes or adds one value somewhere."""
    holder = rnd.choice([document, *inner_nodes(document)])
    if isinstance(holder, list):
        if holder and rnd.random() < 0.7:
            holder[rnd.randrange(len(holder))] = copy.deepcopy(rnd.choice(ODD))
        else:
            holder.append(copy.deepcopy(rnd.choice(ODD)))
    else:
        action = rnd.random()
        if holder and action < 0.6:
            holder[rnd.choice(sorted(holder))] = copy.deepcopy(rnd.choice(ODD))
        elif holder and action < 0.8:
            del holder[rnd.choice(sorted(holder))]
        else:
            holder[rnd.choice(["strange", "windows", "freebsd", "linux"])] = copy.deepcopy(rnd.choice(ODD))


def inner_nodes(value: Any) -> Iterator[Any]:
    for item in value if isinstance(value, list) else value.values():
        if isinstance(item, dict | list):
            yield item
            yield from inner_nodes(item)


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Configurations: good ones, and good ones with a few changes."""
    rnd = draw(st.randoms(use_true_random=True))
    document = copy.deepcopy(rnd.choice(SAMPLES)) if rnd.random() < 0.3 else grow(CONFIG, rnd)
    for _ in range(rnd.choice([0, 0, 1, 2, 5])):
        mutate(document, rnd)
    return document


@settings(max_examples=600, deadline=None)
@given(documents())
def test_the_generated_validator_says_what_the_schema_says(document: Any) -> None:
    found = faults(SLOW, document)
    assert FAST.valid(document, []) == (not found), found


@settings(max_examples=200, deadline=None)
@given(documents())
def test_unknown_properties_are_the_same_for_load_and_for_validate(document: Any) -> None:
    unknown: list[Any] = []
    if FAST.valid(document, unknown):
        found = explain.violations(json.dumps(document, indent=1))
        told = [each.pointer for each in found if "no such property" in each.message]
        assert FAST.pointers(document, unknown) == told


@official
@settings(max_examples=600, deadline=None)
@given(documents())
def test_a_configuration_is_judged_as_by_the_official_schema(document: Any) -> None:
    ours, theirs = faults(SLOW, document), faults(official_validator_once("config"), document)
    places = {pointer for pointer, _ in theirs}
    assert [each for each in ours if each[0] not in places and not differs(STRICTER, *each)] == []
    places = {pointer for pointer, _ in ours}
    assert [each for each in theirs if each[0] not in places and not differs(LOOSER, *each)] == []


CACHE: dict[str, Any] = {}


def official_validator_once(name: str) -> Any:
    if name not in CACHE:
        CACHE[name] = official_validator(name)
    return CACHE[name]


def sample_files(kind: str, verdict: str) -> list[Any]:
    paths = sorted(OFFICIAL.glob(f"test/{kind}/{verdict}/*.json"))
    return [pytest.param(path, id=path.stem) for path in paths]


@official
@pytest.mark.parametrize("path", sample_files("config", "good"))
def test_official_good_samples_are_valid(path: Path) -> None:
    assert faults(SLOW, json.loads(path.read_text())) == []


@official
@pytest.mark.parametrize("path", sample_files("config", "bad"))
def test_official_bad_samples_are_invalid(path: Path) -> None:
    errors = [each for each in explain.violations(path.read_text()) if each.severity == "error"]
    # The one sample that is bad in the section of another platform.
    assert bool(errors) == (path.stem != "freebsd-vnet-disable")


@official
@pytest.mark.parametrize("kind", ["state", "features"])
def test_official_samples_of_state_and_features_are_judged_alike(kind: str) -> None:
    validator = jsonschema.Draft202012Validator(schema.document(kind))
    for verdict in ("good", "bad"):
        paths = sorted(OFFICIAL.glob(f"test/{kind}/{verdict}/*.json"))
        assert paths
        for path in paths:
            try:
                document = json.loads(path.read_text())
            except ValueError:
                assert verdict == "bad"
                continue
            assert validator.is_valid(document) == (verdict == "good"), path


@official
@pytest.mark.parametrize("kind", ["config", "state", "features"])
def test_no_property_or_value_of_the_official_schema_is_missing(kind: str) -> None:
    documents = {path.name: json.loads(path.read_text()) for path in OFFICIAL.glob("*.json")}

    def fill(here: dict[str, Any], file: str) -> tuple[dict[str, Any], str]:
        while "$ref" in here:
            name, _, fragment = here["$ref"].partition("#")
            file = name or file
            here = documents[file]
            for part in fragment.split("/")[1:]:
                here = here[part]
        return here, file

    def properties(here: dict[str, Any], file: str, where: str) -> Iterator[str]:
        here, file = fill(here, file)
        yield from (f"{where}={value}" for value in here.get("enum", ()))
        for key, inner in here.get("properties", {}).items():
            yield f"{where}/{key}"
            yield from properties(inner, file, f"{where}/{key}")
        for keyword in ("items", "additionalProperties"):
            if isinstance(here.get(keyword), dict):
                yield from properties(here[keyword], file, f"{where}/*")
        for keyword in ("anyOf", "allOf"):
            for inner in here.get(keyword, ()):
                yield from properties(inner, file, where)

    root = schema.document(kind)

    def known(pointer: str) -> bool:
        here: Any = root
        pointer, _, value = pointer.partition("=")
        for part in pointer.split("/")[1:]:
            here = schema.resolve(here, root)
            inner = here.get("properties", {}).get(part)
            if part == "*":
                inner = here.get("items", here.get("additionalProperties"))
            if inner is None:
                return False
            here = inner
        return value in ["", *schema.resolve(here, root).get("enum", [value])]

    other = ("/solaris/", "/windows/", "/vm/", "/zos/", "/freebsd/")
    theirs = set(properties(documents[f"{kind}-schema.json"], f"{kind}-schema.json", ""))
    missing = {each for each in theirs if not known(each) and not each.startswith(other)}
    assert missing == set()


def test_every_property_is_described() -> None:
    for kind in ("config", "state", "features"):
        root = schema.document(kind)
        jsonschema.Draft202012Validator.check_schema(root)
        parts = {f"$defs/{name}": rule for name, rule in root.get("$defs", {}).items()}
        parts[""] = root
        assert [each for name, rule in parts.items() for each in undescribed(rule, root, name)] == []


def undescribed(here: Any, root: Any, where: str) -> Iterator[str]:
    for key, rule in here.get("properties", {}).items():
        if "description" not in schema.resolve(rule, root):
            yield f"{where}/{key}"
        yield from undescribed(rule, root, f"{where}/{key}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(here.get(keyword), dict):
            yield from undescribed(here[keyword], root, f"{where}/*")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("/a\nrwmx019, -MBKG:.\0é٣") | st.characters(), max_size=6))
def test_hand_written_checks_do_what_the_patterns_say(text: str) -> None:
    for pattern, name in generate.PATTERNS.items():
        assert getattr(walk, name)(text) == bool(re.search(pattern, text)), (pattern, text)
    for pattern, examples in EXAMPLES.items():
        assert all(getattr(walk, generate.PATTERNS[pattern])(example) for example in examples)


def test_every_pattern_can_be_explained() -> None:
    assert generate.PATTERNS.keys() == explain._PATTERNS.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "string", "format": "date"}, "format"),
        ({"type": "string", "pattern": "x+"}, "write a function"),
        ({"type": "object", "anyOf": [{"minProperties": 1}]}, "anyOf"),
        ({"$ref": "#/$defs/uint16", "maximum": 5}, "beside"),
    ],
)
def test_a_schema_that_the_generator_does_not_understand_stops_the_build(change: Any, message: str) -> None:
    document = copy.deepcopy(CONFIG)
    document["properties"]["hostname"] = change
    with pytest.raises(ValueError, match=message):
        generate.source(document)


def test_the_generated_module_imports_nothing() -> None:
    text = generate.source(CONFIG)
    assert re.findall(r"^\s*(?:import|from) (\S+)", text, re.MULTILINE) == ["typing"]
    assert "if TYPE_CHECKING:\n    from typing" in text
    assert len(compile(text, "_validator.py", "exec").co_code) < 10000


ALLOW = "SCMP_ACT_ALLOW"

# What engines send for what they do not set.
EMPTY = [
    ("/process/selinuxLabel", ""),
    ("/process/apparmorProfile", ""),
    ("/mounts/0/uidMappings", []),
    ("/linux/netDevices", {}),
    ("/linux/mountLabel", ""),
    ("/linux/seccomp", {"defaultAction": ALLOW, "listenerPath": "", "listenerMetadata": ""}),
]


def with_value(pointer: str, value: Any) -> Any:
    config: Any = default(cgroup_v2=False)
    here = config
    *parents, last = pointer.split("/")[1:]
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here[part]
    here[last] = value
    return config


@pytest.mark.parametrize(("pointer", "value"), EMPTY)
def test_empty_values_of_what_an_engine_does_not_set_are_valid(pointer: str, value: Any) -> None:
    config = with_value(pointer, value)
    assert FAST.valid(config, [])
    assert [each.text("config.json") for each in explain.violations(json.dumps(config))] == []


def test_the_default_configuration_is_valid() -> None:
    for config in SAMPLES:
        unknown: list[Any] = []
        assert FAST.valid(config, unknown)
        assert unknown == []
        assert explain.violations(json.dumps(config)) == []
