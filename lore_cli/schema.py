"""JSON Schemas (draft 2020-12) and field tables of typed records: pure functions of the types.

    python -m lore_cli.schema            writes schemas/, docs/records.md and docs/commands/ anew
    python -m lore_cli.schema --check    exits 1, naming the files that would change

Which records and commands there are is told in commands/docs.py: this room knows neither. Unknown fields are allowed
everywhere, because a shop's own fields ride along.
"""

from __future__ import annotations

import inspect
import runpy
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NAMES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "object": "object", "array": "list", "null": "null"}


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of one record; the records inside it are under `$defs`."""
    _, parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for part in parts.values():
        if "description" in part:
            part["description"] = " ".join(inspect.cleandoc(part["description"]).split())
    own = parts.pop(kind.__name__)
    return {"$schema": DRAFT, **own, **({"$defs": dict(sorted(parts.items()))} if parts else {})}


def schema_text(kind: type[msgspec.Struct]) -> str:
    """`schema_of` as a file's content."""
    return orjson.dumps(schema_of(kind), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def tables(kind: type[msgspec.Struct], told: set[str]) -> str:
    """The field table of a record in Markdown, and of the records inside it that are not in `told` yet; adds them to it."""
    schema = schema_of(kind)
    parts = {kind.__name__: schema, **schema.get("$defs", {})}
    texts = [_table(name, part) for name, part in parts.items() if name not in told]
    told.update(parts)
    return "\n".join(texts)


def _table(name: str, part: Mapping[str, Any]) -> str:
    required = part.get("required", ())
    rows = [f"| `{field}` | {_type(described)} | {'yes' if field in required else ''} |" for field, described in part.get("properties", {}).items()]
    return "\n".join([f"## {name}", "", part.get("description", ""), "", "| field | type | required |", "|---|---|---|", *rows, ""])


def _type(described: Mapping[str, Any]) -> str:
    """`text`, `L1, L2, L3 or L4`, `list of Match` … `null` beside another type is left out: it means the same as an absent field."""
    if "anyOf" in described:
        return " or ".join(_type(choice) for choice in described["anyOf"] if choice.get("type") != "null")
    if "$ref" in described:
        name = described["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in described:
        values = [f"`{value}`" for value in described["enum"] if value is not None]
        return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))
    if described.get("type") == "array":
        inner = described.get("items", {})
        nullable = any(choice.get("type") == "null" for choice in inner.get("anyOf", ())) if isinstance(inner, dict) else False
        return f"list of {_type(inner)}{' or null' if nullable else ''}" if inner else "list"
    if described.get("type") == "object" and isinstance(described.get("additionalProperties"), dict) and described["additionalProperties"]:
        return f"object of {_type(described['additionalProperties'])}"
    return _NAMES.get(described.get("type", ""), "any value")


if __name__ == "__main__":
    runpy.run_module("lore_cli.commands.docs", run_name="__main__")
