"""Shopify's product taxonomy to rows for --knowledge: its folder of categories.jsonl and attributes.jsonl.

    python examples/importers/shopify_taxonomy.py taxonomy -o knowledge.jsonl
    python examples/importers/shopify_taxonomy.py taxonomy --values attributes.zh-CN.jsonl -o knowledge.zh.jsonl
    lore-synth pairs.jsonl --knowledge knowledge.jsonl -o traces.jsonl

One row per category, with its path and, by attribute dimension, the values that it adds to those of the categories above it. Which attribute
belongs to which dimension is in shopify_dimensions.toml (--dimensions names another); attributes without one, and those without a list of
values, are left out and counted. "Upholstery color" has no list of its own and takes that of "color", whose name ends its own. "Other" is no value.

--values reads the value lists from another file of the folder: the Chinese ones are in an order of their own, so that nothing says which two mean the same.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import orjson
from importing import Row, end, options, say, write

from lore_cli.errors import BadInput, Missing

DIMENSIONS = Path(__file__).with_name("shopify_dimensions.toml")
_NO_VALUE = ("Other", "其他")


def objects(path: Path, fields: dict[str, type]) -> Iterator[Row]:
    """The rows of a JSONL file, their fields checked. Raises `Missing` for no such file, `BadInput` with the line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}", hint="give the folder that holds categories.jsonl and attributes.jsonl") from error
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise BadInput(str(error), where=str(path), line=number) from error
        for name, kind in fields.items():
            if not isinstance(row, dict) or not isinstance(row.get(name), kind):
                raise BadInput(f"a {kind.__name__} is needed", where=str(path), line=number, field=name)
        yield row


def handle(name: str) -> str:
    """An attribute's name as its handle is written: `Toy/Game material`, `toy/game_material` → `toy-game-material`."""
    return re.sub(r"[^a-z0-9]+", "-", name.casefold())


def dimension_map(path: Path) -> list[tuple[str, str]]:
    """(pattern of a handle, dimension), in the order of the file."""
    try:
        return [(pattern, dimension) for dimension, patterns in tomllib.loads(path.read_text("utf-8")).items() for pattern in patterns]
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}", hint="check --dimensions") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"not valid TOML: {error}", where=str(path)) from error


class Attributes:
    """The value lists by handle, and which dimension each belongs to. `left_out` counts the uses of those without."""

    def __init__(self, values: dict[str, list[str]], dimensions: list[tuple[str, str]]) -> None:
        self._values, self._dimensions = values, dimensions
        self.left_out: Counter[str] = Counter()

    def of(self, names: list[str]) -> dict[str, list[str]]:
        """The values that a category's attributes allow, by dimension."""
        found: dict[str, list[str]] = {}
        for name in map(handle, names):
            dimension = next((dimension for pattern, dimension in self._dimensions if fnmatch(name, pattern)), None)
            values = self._list(name)
            if dimension and values:
                found.setdefault(dimension, []).extend(values)
            else:
                self.left_out[name] += 1
        return {dimension: list(dict.fromkeys(values)) for dimension, values in found.items()}

    def _list(self, name: str) -> list[str]:
        words = name.split("-")
        base = next((handle for start in range(len(words)) if (handle := "-".join(words[start:])) in self._values), None)
        return [value for value in self._values[base] if value not in _NO_VALUE] if base else []


def categories(folder: Path, attributes: Attributes) -> Iterator[Row]:
    """One row per category, in the order of categories.jsonl."""
    given: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for source in objects(folder / "categories.jsonl", {"name": str, "path": str, "attributes": list}):
        path = tuple(source["path"].split(" > "))
        allowed = given[path] = attributes.of(source["attributes"])
        above = [given[path[:depth]] for depth in range(1, len(path)) if path[:depth] in given]
        own = {dimension: [v for v in values if not any(v in other.get(dimension, ()) for other in above)] for dimension, values in allowed.items()}
        yield {"category": source["name"], "path": path[:-1], "attributes": {dimension: values for dimension, values in own.items() if values}}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("folder", type=Path, help="the folder that holds categories.jsonl and attributes.jsonl")
    parser.add_argument("--values", metavar="FILE", default="attributes.jsonl", help="the file of the folder that lists the values (default: attributes.jsonl)")
    parser.add_argument("--dimensions", metavar="FILE", type=Path, default=DIMENSIONS, help="which attributes belong to which dimension, as TOML")
    given: argparse.Namespace = parser.parse_args()
    values = {row["handle"]: row["values"] for row in objects(given.folder / given.values, {"handle": str, "values": list})}
    attributes = Attributes(values, dimension_map(given.dimensions))
    count = write(categories(given.folder, attributes), given)
    say(f"{count} categories; left out {len(attributes.left_out)} attributes without dimension or values, used {attributes.left_out.total()} times")


if __name__ == "__main__":
    end(main)
