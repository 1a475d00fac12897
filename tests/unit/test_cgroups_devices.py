"""The device allow list: both layouts answer as the kernel's v1 controller does."""

from struct import iter_unpack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc.compile import device_filter
from pyrunc.errors import Error

MKNOD, READ, WRITE = 1, 2, 4
BITS = {"m": MKNOD, "r": READ, "w": WRITE}


def interpret(program: bytes | None, kind: str, major: int, minor: int, access: int) -> bool:
    """The few instructions of eBPF that a device filter uses."""
    if program is None:
        return True
    instructions = list(iter_unpack("<BBhI", program))
    context = {0: access << 16 | {"b": 1, "c": 2}[kind], 4: major, 8: minor}
    registers: dict[int, int] = {}
    at = 0
    while True:
        code, both, offset, value = instructions[at]
        to, source = both & 15, both >> 4
        at += 1
        if code == 0x61:
            assert source == 1
            assert 1 not in registers, "the context pointer has been overwritten"
            registers[to] = context[offset]
        elif code == 0xBC:
            registers[to] = registers[source]
        elif code == 0xB4:
            registers[to] = value
        elif code == 0x54:
            registers[to] &= value
        elif code == 0x74:
            registers[to] >>= value
        elif code in (0x56, 0x5E, 0x16):
            other = registers[source] if code == 0x5E else value
            if (registers[to] == other) == (code == 0x16):
                assert offset >= 0, "a jump back would be a loop"
                at += offset
        else:
            assert code == 0x95
            return bool(registers[0])


def v1_controller(lines: list[tuple[str, str]], kind: str, major: int, minor: int, access: int) -> bool:
    """security/device_cgroup.c, from the lines that are written to its files."""
    allow = True
    exceptions: list[tuple[str, str, str, int]] = []
    for file, line in lines:
        letter, numbers, modes = line.split(" ")
        if letter == "a":
            allow, exceptions = file == "devices.allow", []
        else:
            assert (file == "devices.allow") != allow
            mask = sum(BITS[mode] for mode in modes)
            first, second = numbers.split(":")
            exceptions.append((letter, first, second, mask))
    for letter, a, b, mask in exceptions:
        if letter != kind or a not in ("*", str(major)) or b not in ("*", str(minor)):
            continue
        if (access & mask) if allow else not access & ~mask:
            return not allow
    return allow


def answers(rules: list[dict[str, Any]], kind: str, major: int, minor: int, access: str) -> bool:
    state = device_filter.devices(rules)
    bits = sum(BITS[letter] for letter in access)
    result = interpret(device_filter.program(state), kind, major, minor, bits)
    assert result == v1_controller(device_filter.v1_rules(state), kind, major, minor, bits)
    return result


NUMBERS = st.sampled_from([-1, 0, 1, 3, 5, 136, 0xFFFFFFFF])
RULES = st.lists(
    st.builds(
        lambda allow, kind, major, minor, access: {
            "allow": allow, "type": kind, "major": major, "minor": minor, "access": access,
        },
        st.booleans(), st.sampled_from("abc"), NUMBERS, NUMBERS,
        st.lists(st.sampled_from("rwm"), min_size=1, max_size=3).map("".join),
    ),
    max_size=6,
)  # fmt: skip


@settings(deadline=None)
@given(RULES, st.sampled_from("bc"), NUMBERS, NUMBERS, st.integers(1, 7))
def test_a_device_is_allowed_on_cgroup_v2_exactly_when_it_is_on_v1(
    rules: list[dict[str, Any]], kind: str, major: int, minor: int, access: int
) -> None:
    try:
        state = device_filter.devices(rules)
    except Error as error:
        # Of the rule, or of all where it is a default device that they cannot let be excepted.
        assert error.pointer.startswith("/linux/resources/devices")
        return
    major, minor = max(major, 0), max(minor, 0)
    assert interpret(device_filter.program(state), kind, major, minor, access) == v1_controller(
        device_filter.v1_rules(state), kind, major, minor, access
    )


@settings(deadline=None)
@given(RULES.map(lambda rules: [{"allow": False, "access": "rwm"}, *rules]))
def test_the_last_word_on_a_device_counts(rules: list[dict[str, Any]]) -> None:
    """Applied one after the other to every single device, as the specification words it."""
    try:
        state = device_filter.devices(rules)
    except Error:
        return

    def said(kind: str, major: int, minor: int, letter: str) -> bool:
        last = False
        for rule in rules:
            everything = rule.get("type", "a") == "a"
            if everything or (
                rule["type"] == kind
                and rule["major"] in (-1, major)
                and rule["minor"] in (-1, minor)
                and letter in rule["access"]
            ):
                last = rule["allow"]
        return last

    for major, minor in ((0, 0), (3, 5), (0xFFFFFFFF, 1)):
        for kind in "bc":
            for letter, bit in BITS.items():
                expected = said(kind, major, minor, letter)
                # By default mknod is allowed for the whole range, where the rules do not allow it.
                if letter == "m" and not said(kind, 4242, 4242, "m"):
                    expected = True
                assert interpret(device_filter.program(state), kind, major, minor, bit) == expected


def test_a_default_device_takes_back_only_what_is_denied_of_it() -> None:
    """That the range may not be read is no reason to let devices of it be made that may not."""
    rules = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "b", "major": -1, "minor": -1, "access": "r"},
        {"allow": False, "type": "b", "major": -1, "minor": 0, "access": "m"},
    ]
    assert not answers(rules, "b", 8, 0, "m")
    assert answers(rules, "b", 8, 1, "m")


def test_a_range_that_is_denied_takes_the_devices_in_it_along() -> None:
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "rw"},
        {"allow": False, "type": "b", "major": 8, "minor": -1, "access": "r"},
    ]
    assert not answers(rules, "b", 8, 0, "r")
    assert answers(rules, "b", 8, 0, "w")


def test_ranges_that_cross_are_refused() -> None:
    rules = [
        {"allow": True, "type": "b", "major": -1, "minor": 0, "access": "r"},
        {"allow": False, "type": "b", "major": 3, "minor": -1, "access": "r"},
    ]
    with pytest.raises(Error, match="exception from a range"):
        device_filter.devices(rules)


def test_without_rules_only_the_default_devices_work() -> None:
    assert answers([], "c", 1, 3, "rw")
    assert answers([], "c", 136, 7, "rw")
    assert answers([], "c", 5, 2, "rw")
    assert answers([], "b", 8, 0, "m"), "mknod is allowed for every device, as with runc"
    assert not answers([], "b", 8, 0, "r")
    assert not answers([], "c", 10, 229, "rw")


def test_an_allowed_device_is_limited_to_the_accesses_given() -> None:
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"},
    ]
    assert answers(rules, "c", 10, 229, "r")
    assert not answers(rules, "c", 10, 229, "w")
    assert not answers(rules, "c", 10, 229, "rw")


def test_opening_for_reading_and_writing_is_denied_where_writing_is() -> None:
    rules = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "b", "major": 8, "minor": 0, "access": "w"},
    ]
    assert answers(rules, "b", 8, 0, "r")
    assert not answers(rules, "b", 8, 0, "rw")
    assert answers(rules, "b", 8, 1, "rw")


def test_a_privileged_container_needs_no_filter() -> None:
    state = device_filter.devices([{"allow": True, "access": "rwm"}])
    assert device_filter.program(state) is None
    assert device_filter.v1_rules(state) == [("devices.allow", "a *:* rwm")]


def test_a_rule_for_all_devices_makes_earlier_ones_void() -> None:
    one = {"allow": True, "type": "b", "major": 8, "minor": 1, "access": "rwm"}
    assert not answers([one, {"allow": False, "type": "a", "access": "rwm"}], "b", 8, 1, "r")


def test_a_hole_in_an_allowed_range_is_refused_with_its_pointer() -> None:
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "b", "major": 8, "access": "rw"},
        {"allow": False, "type": "b", "major": 8, "minor": 3, "access": "w"},
    ]
    with pytest.raises(Error, match=r"denies b 8:3 w") as caught:
        device_filter.devices(rules)
    assert caught.value.pointer == "/linux/resources/devices/2"


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({"allow": True}, "access"),
        ({"allow": True, "access": ""}, "access"),
        ({"allow": True, "access": "rx"}, "access"),
        ({"allow": True, "access": "r", "type": "u"}, "type"),
        ({"allow": True, "access": "r", "type": "c", "major": 2**32}, "major"),
        ({"allow": True, "access": "r", "type": "c", "major": 1, "minor": -2}, "minor"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Error) as caught:
        device_filter.devices([rule])
    assert caught.value.pointer == f"/linux/resources/devices/0/{pointer}"
