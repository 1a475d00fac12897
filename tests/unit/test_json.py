"""JSON texts are decoded and encoded as by the package json, without importing it."""

import json as reference
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import json

ROOT = Path(__file__).resolve().parents[2]

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(VALUES, st.sampled_from([None, 2, 4]))
def test_what_is_encoded_decodes_to_the_same(value: Any, indent: int | None) -> None:
    text = json.encode(value, indent)
    assert json.decode(text) == value
    separators = (",", ": " if indent else ":")
    assert text == reference.dumps(value, indent=indent, separators=separators)


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("", 1, 1, "a value is expected here"),
        ('{\n  "a": ,\n}', 2, 8, "a value is expected here"),
        ('{"a" 1}', 1, 6, "expecting ':' delimiter"),
        ('{"a": 1,}', 1, 9, "expecting property name enclosed in double quotes"),
        ('{"a": 1\n"b": 2}', 2, 1, "expecting ',' delimiter"),
        ("[1, 2\n", 2, 1, "expecting ',' delimiter"),
        ('"a\nb"', 1, 3, "invalid control character"),
        ('["open', 1, 2, "unterminated string starting"),
        ("{} {}", 1, 4, "more text after the end of the document"),
        ("\n nul", 2, 2, "a value is expected here"),
        ('{"a": "\\ud800"}', 1, 8, "a surrogate"),
        ('{"\\uDC00": 1}', 1, 3, "a surrogate"),
        ("[NaN]", 1, 1, "NaN"),
        ("-Infinity", 1, 1, "-Infinity"),
        ("9" * 5000, 1, 1, "too many digits"),
        ("[" * 200000, 1, 1, "too deeply nested"),
    ],
)
def test_an_error_names_line_and_column(text: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(json.DecodeError, match="line") as caught:
        json.decode(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert reason in caught.value.reason
    assert str(caught.value) == f"line {line}, column {column}: {caught.value.reason}"


def test_a_surrogate_pair_is_one_character() -> None:
    assert json.decode('"\\ud83d\\ude00"') == "\U0001f600"
    assert json.decode('"\\\\ud800"') == "\\ud800"


def test_of_two_equal_keys_the_last_one_counts() -> None:
    assert json.decode('{"a": 1, "a": 2}') == {"a": 2}


def test_what_has_no_json_form_is_refused() -> None:
    for indent in (None, 2):
        with pytest.raises(TypeError, match="bytes has no JSON form"):
            json.encode({"a": [b""]}, indent)
        with pytest.raises(ValueError, match="JSON"):
            json.encode([float("nan")], indent)


def test_the_package_json_is_imported_only_for_an_error() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pyrunc.json import decode, encode\n"
        "encode(decode('{\"a\": [1, null]}'), 2); encode([1])\n"
        "assert 'json' not in sys.modules and 're' not in sys.modules, list(sys.modules)\n"
        "try: decode('{\"a\" 1}')\n"
        "except ValueError as error: assert 'delimiter' in str(error), error\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)


@pytest.mark.parametrize("text", ['{"a": [1, "x"]}', '{"a" 1}', "NaN", ""])
def test_without_the_accelerator_texts_mean_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> object:
        try:
            return json.encode(json.decode(text), 2), json.encode(json.decode(text))
        except json.DecodeError as error:
            return str(error)

    fast = outcome()
    monkeypatch.setitem(sys.modules, "_json", None)
    monkeypatch.setattr(json, "_once", None)
    assert outcome() == fast
    monkeypatch.undo()
    assert outcome() == fast
