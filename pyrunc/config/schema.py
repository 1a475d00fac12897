"""The project's JSON Schemas as documents, and how they are looked through. Not for the hot path."""

import json
import os
from typing import Any


def document(name: str) -> dict[str, Any]:
    """The schema "config", "state" or "features"; installed, it is inside the package."""
    path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "spec", name + ".json")
    with open(path, encoding="utf-8") as file:
        schema: dict[str, Any] = json.load(file)
    return schema


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """schema with what its $ref names filled in; its own keywords win."""
    while "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def member(schema: dict[str, Any], key: str | int, root: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of an object's member or an array's item; None for a key that it does not know."""
    if isinstance(key, int):
        return resolve(schema.get("items", {}), root)
    known = schema.get("properties", {})
    if key in known:
        return resolve(known[key], root)
    rest = schema.get("additionalProperties", None if known else True)
    if isinstance(rest, dict):
        return resolve(rest, root)
    return {"additionalProperties": True} if rest else None
