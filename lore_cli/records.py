"""The records that travel between commands. Defined once: schemas/ and docs/records.md are generated from here.

A record is a frozen typed view over the row it was read from. `record.raw` is that row, fields unknown to us included;
`change(record, grade="L3")` gives a new record whose row carries the change and everything else untouched, so a shop's
own fields ride along through every pipe. Ids are strings: 18-digit ids survive where a float would not.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

Grade = Literal["L1", "L2", "L3", "L4"]
State = Literal["exact", "close", "unknown", "conflict", "not-asked"]
Source = Literal["title", "category", "brand", "attributes", "description", "caption", "price"]

GRADES: tuple[Grade, ...] = ("L1", "L2", "L3", "L4")
STATES: tuple[State, ...] = ("exact", "close", "unknown", "conflict", "not-asked")
SOURCES: tuple[Source, ...] = ("title", "category", "brand", "attributes", "description", "caption", "price")
RELEVANT: frozenset[str] = frozenset({"L3", "L4"})


class Record(msgspec.Struct, frozen=True, dict=True, omit_defaults=True):
    """Base of every record; see `parse`, `change` and `row_of`."""


class Item(Record, frozen=True):
    """A product as the shop describes it. `image` is a path relative to the input file; `caption` is what the visual stage read from it."""

    id: str
    title: str
    category: str | None = None
    brand: str | None = None
    attributes: dict[str, str] = {}
    description: str | None = None
    price: float | None = None
    image: str | None = None
    caption: str | None = None


class Need(Record, frozen=True):
    """One demand of a query, mapped to an attribute dimension. `negated`: the shopper excludes the value."""

    attribute: str
    value: str
    negated: bool = False


class Evidence(Record, frozen=True):
    """What an item says about one attribute, and in which of its fields."""

    attribute: str
    value: str
    source: Source


class Match(Record, frozen=True):
    """One need held against the item. `found` and `source` are absent when the item is silent."""

    attribute: str
    need: str
    state: State
    found: str | None = None
    source: Source | None = None


class Understanding(Record, frozen=True):
    """What a query means as a whole, beside its needs. `subject`: the product wanted; `modifiers`: what else is asked of it; `excluded`: what must not be.

    `intent`: a product, an accessory of one, a model named outright, or a use without a product. `alternatives`: values of which one will do
    ("red or blue"). `corrected`: the query with its spelling mended, absent when nothing was.
    """

    intent: Literal["product", "accessory", "model", "use"]
    subject: str | None = None
    modifiers: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    alternatives: tuple[tuple[str, ...], ...] = ()
    corrected: str | None = None


class Pair(Record, frozen=True):
    """A query and an item shown for it. `grade`: a human's; `count`: how often the pair was shown."""

    id: str
    query: str
    item: Item
    grade: Grade | None = None
    count: int | None = None


class Trace(Record, frozen=True):
    """A Pair with its reasoning. Stages fill it in turn: `understanding` and `needs` (path construction), `evidence`, `matches` (path following), `rules`, then the training text."""

    id: str
    query: str
    item: Item
    grade: Grade | None = None
    count: int | None = None
    understanding: Understanding | None = None
    needs: tuple[Need, ...] | None = None
    evidence: tuple[Evidence, ...] | None = None
    matches: tuple[Match, ...] | None = None
    rules: tuple[str, ...] | None = None
    prompt: str | None = None
    completion: str | None = None


class Verdict(Record, frozen=True):
    """A judge's answer for one pair. Exactly one of `grade` and `error` is set. `scores`: probability per grade, summing to 1.

    `samples` holds the grades of repeated draws (null: a draw that could not be parsed), in the order drawn.
    """

    id: str
    query: str
    item_id: str
    judge: str
    grade: Grade | None = None
    scores: dict[Grade, float] | None = None
    matches: tuple[Match, ...] | None = None
    rules: tuple[str, ...] | None = None
    reason: str | None = None
    tier: str | None = None
    latency_ms: float | None = None
    samples: tuple[Grade | None, ...] | None = None
    error: str | None = None


class QueryCount(Record, frozen=True):
    """One line of a query log: how often a query was asked in the period."""

    query: str
    count: int


AnyRecord = TypeVar("AnyRecord", bound=Record)


def parse(kind: type[AnyRecord], row: dict[str, Any]) -> AnyRecord:
    """The typed view of `row`. Raises `msgspec.ValidationError`, whose text ends in the path of the field (`$.item.title`)."""
    record = msgspec.convert(row, kind)
    record.__dict__["raw"] = row
    return record


def row_of(record: Record) -> dict[str, Any]:
    """The row to write: the one it was read from where there is one, else the record's own fields."""
    row = record.__dict__.get("raw")
    return msgspec.to_builtins(record) if row is None else row


def change(record: AnyRecord, **fields: Any) -> AnyRecord:
    """A copy with `fields` replaced, in the view and in the row. None removes a field from the row."""
    changed = msgspec.structs.replace(record, **fields)
    row = dict(row_of(record))
    for name, value in fields.items():
        if value is None:
            row.pop(name, None)
        else:
            row[name] = _plain(value)
    changed.__dict__["raw"] = row
    return changed


def change_item(pair: AnyRecord, **fields: Any) -> AnyRecord:
    """`change` for fields of the pair's item; the item's own unknown fields stay."""
    raw_item = row_of(pair)["item"]
    item = msgspec.structs.replace(pair.item, **fields)
    item.__dict__["raw"] = {**raw_item, **{name: value for name, value in fields.items() if value is not None}}
    return change(pair, item=item)


def _plain(value: Any) -> Any:
    return row_of(value) if isinstance(value, Record) else msgspec.to_builtins(value)
