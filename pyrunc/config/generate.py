"""Makes `_validator.py`, the hot path's validator, from spec/config.json. Used at build time only.

The output is `walk.py` followed by the schema as a table. Only those parts of JSON Schema that
spec/config.json uses are understood; anything else stops the build, so that the validator cannot
silently ask less than the schema does.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

# Each pattern of the schema and the function of walk.py that does the same.
PATTERNS = {
    "^/": "absolute",
    "^(?![^/])": "absolute_or_empty",
    "^(?!.*[^rwm])": "device_access",
    "^(?!.*[^0-9, -])": "number_list",
    "^MB:(?!.*\\n)": "one_bandwidth_line",
    "^[1-9][0-9]*[KMG]B$(?!\\n)": "page_size",
}

ANNOTATIONS = {"description", "title", "$schema", "$id", "$defs"}
OBJECT = {"properties", "propertyNames", "required", "additionalProperties", "anyOf"}
SCALAR = {"enum", "minimum", "maximum", "pattern"}
KNOWN = ANNOTATIONS | OBJECT | SCALAR | {"$ref", "type", "items", "minItems"}


class Table:
    """The nodes of the table as source text, each once."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.names: dict[str, str] = {}

    def node(self, schema: dict[str, Any], where: str) -> str:
        """The name of the node for a schema at the JSON pointer where."""
        if schema.keys() - KNOWN:
            raise ValueError(f"{where}: {sorted(schema.keys() - KNOWN)} are not understood")
        if "$ref" in schema:
            if schema.keys() - {"$ref"} - ANNOTATIONS:
                raise ValueError(f"{where}: nothing but a description is understood beside $ref")
            return self.node(self.resolve(schema["$ref"]), schema["$ref"])
        return self.name(getattr(self, "make_" + schema["type"])(schema, where))

    def resolve(self, reference: str) -> dict[str, Any]:
        value: Any = self.schema
        for part in reference.removeprefix("#/").split("/"):
            value = value[part]
        assert isinstance(value, dict)
        return value

    def name(self, text: str) -> str:
        return self.names.setdefault(text, f"_{len(self.names)}")

    def make_boolean(self, schema: dict[str, Any], where: str) -> str:
        return "(bool, PLAIN)"

    def make_integer(self, schema: dict[str, Any], where: str) -> str:
        return f"(int, RANGE, {schema.get('minimum')}, {schema.get('maximum')})"

    def make_string(self, schema: dict[str, Any], where: str) -> str:
        if "enum" in schema:
            return f"(str, ENUM, {tuple(schema['enum'])})"
        if "pattern" in schema:
            if schema["pattern"] not in PATTERNS:
                raise ValueError(f"{where}: write a function for the pattern {schema['pattern']} in walk.py")
            return f"(str, TEXT, {PATTERNS[schema['pattern']]})"
        return "(str, PLAIN)"

    def make_array(self, schema: dict[str, Any], where: str) -> str:
        item, fewest = self.node(schema["items"], where + "/items"), schema.get("minItems", 0)
        if item == self.name("(str, PLAIN)"):
            return f"(list, STRINGS, {fewest})"
        return f"(list, ITEMS, {fewest}, {item})"

    def make_object(self, schema: dict[str, Any], where: str) -> str:
        properties = schema.get("properties", {}).items()
        nodes = ", ".join(f"{key!r}: {self.node(value, f'{where}/{key}')}" for key, value in properties)
        names = schema.get("propertyNames")
        if names is not None:
            if nodes or names != {"minLength": 1}:
                raise ValueError(f"{where}: propertyNames is understood as minLength 1 without properties")
            nodes = "'': False"
        rest = schema.get("additionalProperties")
        if isinstance(rest, dict):
            rest = self.node(rest, where + "/*")
        alternatives = tuple(self.alternative(each, where) for each in schema.get("anyOf", ()))
        return f"(dict, OBJECT, {{{nodes}}}, {rest}, {tuple(schema.get('required', ()))}, {alternatives})"

    def alternative(self, schema: dict[str, Any], where: str) -> tuple[Any, Any]:
        properties = schema.get("properties", {})
        constants = tuple((key, value["const"]) for key, value in properties.items())
        strange = schema.keys() - {"properties", "required"}
        if strange or any(value.keys() != {"const"} for value in properties.values()):
            raise ValueError(f"{where}: of anyOf, only required and const are understood")
        return constants, tuple(schema.get("required", ()))


def source(schema: dict[str, Any]) -> str:
    """The text of _validator.py for a schema."""
    table = Table(schema)
    config = table.node(schema, "#")
    process = table.node(schema["$defs"]["process"], "#/$defs/process")
    resources = table.node(schema["$defs"]["resources"], "#/$defs/resources")
    lines = "".join(f"{name} = {text}\n" for text, name in table.names.items())
    return f'''{(HERE / "walk.py").read_text()}

# Made from spec/config.json by pyrunc.config.generate.

{lines}

def valid(config: "Any", unknown: "list[tuple[dict[str, Any], str]]") -> bool:
    """Whether a decoded config.json is valid; unknown is as in `check`."""
    return check({config}, config, unknown)


def valid_process(process: "Any", unknown: "list[tuple[dict[str, Any], str]]") -> bool:
    """Whether a decoded process object, such as exec is given, is valid."""
    return check({process}, process, unknown)


def valid_resources(resources: "Any", unknown: "list[tuple[dict[str, Any], str]]") -> bool:
    """Whether a decoded resources object, such as update is given, is valid."""
    return check({resources}, resources, unknown)
'''


def write(path: str) -> None:
    """Writes the validator to path. The schema is taken from beside the package, or from inside it."""
    schema = json.loads((HERE.parent / "spec" / "config.json").read_text())
    Path(path).write_text(source(schema))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pyrunc.config.generate OUT")
    write(sys.argv[1])
