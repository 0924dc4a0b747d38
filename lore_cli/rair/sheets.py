"""Labelling sheets: pairs as tables for human raters, and their ratings read back.

| kind | line | rating |
|---|---|---|
| csv | what a rater needs to see, and a column `rating` to fill in | L1 to L4 |
| quepid | `query,docid,rating`, as Quepid exports and imports judgements | 0 to 3 |
| trec | `query 0 docid rating`, qrels as trec_eval reads them; query ids are a field of the rows, or the query percent-encoded | 0 to 3 |
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote

from lore_cli.errors import BadInput
from lore_cli.records import GRADES, Grade, Pair, row_of

KINDS = ("csv", "quepid", "trec")
_MARK = "\ufeff"
_QUEPID = ("query", "docid", "rating")
_TREC = ("query", "iteration", "docid", "rating")
_COLUMNS = ("id", "query", "title", "category", "brand", "price", "attributes", "description", "caption", "image", "rating", "comment")
_LONGEST = 1000  # characters of a description: the rest is not read by anybody [ours]

Refuse = Callable[[BadInput, bytes], None]


class Rating(NamedTuple):
    """One rater's grade of one pair."""

    pair: str
    rater: str
    grade: Grade


def sheet(pairs: Iterable[Pair], kind: str, rated: bool = False, query_id: str | None = None) -> str:
    """The text of a sheet. rated: a csv sheet holds the grades of pairs too, as the other kinds always do. query_id: field of the rows for trec.

    Raises `BadInput` for a pair that a line of qrels cannot hold: one without a grade, or with white space in an id.
    """
    file = io.StringIO()
    if kind == "trec":
        file.writelines(f"{_trec_key(pair, query_id)[0]} 0 {pair.item.id} {_rank(pair)}\n" for pair in pairs)
        return file.getvalue()
    if kind == "csv":
        file.write(_MARK)  # without it Excel takes UTF-8 for something else
    table = csv.writer(file)
    table.writerow(_QUEPID if kind == "quepid" else _COLUMNS)
    for pair in pairs:
        table.writerow((pair.query, pair.item.id, _rank(pair) if pair.grade else "") if kind == "quepid" else [_inert(cell) for cell in _cells(pair, rated)])
    return file.getvalue()


def _cells(pair: Pair, rated: bool) -> Iterator[str]:
    item = pair.item
    yield from (pair.id, pair.query, item.title, item.category or "", item.brand or "", "" if item.price is None else f"{item.price:g}")
    yield "; ".join(f"{name}: {value}" for name, value in item.attributes.items())
    yield from ((item.description or "")[:_LONGEST], item.caption or "", item.image or "", (pair.grade or "") if rated else "", "")


def _inert(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: titles are other people's text. `_active` undoes it."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r", "'") else cell


def _active(cell: str) -> str:
    return cell.removeprefix("'")


def _rank(pair: Pair) -> int:
    if pair.grade is None:
        raise BadInput("a line of qrels needs one", where=f"row '{pair.id}'", field="grade", hint="export ungraded pairs as --kind csv")
    return GRADES.index(pair.grade)


def _trec_key(pair: Pair, query_id: str | None) -> tuple[str, str]:
    key = quote(pair.query, safe="") if query_id is None else str(row_of(pair).get(query_id) or "")
    for name, value in ((query_id or "query", key), ("item.id", pair.item.id)):
        if not value or len(value.split()) != 1:
            reason = f"found {value!r} (qrels need an id without white space)"
            raise BadInput(reason, where=f"row '{pair.id}'", field=name, hint="name a field of ids with --query-id")
    return key, pair.item.id


class Reader:
    """Reads sheets of any kind against the pairs that they are about. Memory: a few keys for each pair."""

    def __init__(self, pairs: Iterable[Pair], query_id: str | None = None) -> None:
        self._keys: dict[str, dict[tuple[str, ...], list[str]]] = {kind: defaultdict(list) for kind in KINDS}
        self._rated: set[tuple[str, str]] = set()
        for pair in pairs:
            query = quote(pair.query, safe="") if query_id is None else str(row_of(pair).get(query_id))
            for kind, key in zip(KINDS, ((pair.id,), (pair.query, pair.item.id), (query, pair.item.id)), strict=True):
                self._keys[kind][key].append(pair.id)

    def ratings(self, text: str, where: str, rater: str, refuse: Refuse) -> Iterator[Rating]:
        """The ratings of a sheet, whose kind its first line tells. A csv column `rater` wins over `rater`.

        `refuse` is called with every line that is no rating (blank, out of scale, of no pair, given twice) and its text; it raises, or the line is left out.
        Raises `BadInput` for a sheet of no kind.
        """
        kind, lines = _lines(text, where)
        for number, row in lines:
            try:
                rating = Rating(self._pair(kind, row), _active(row.get("rater", "")).strip() or rater, _grade(kind, row))
                if rating[:2] in self._rated:
                    hint = "keep one; raters are told apart by the sheet's name, or by a column rater"
                    raise BadInput(f"'{rating.rater}' has rated pair '{rating.pair}' before", field="rating", hint=hint)
            except BadInput as problem:
                refuse(BadInput(problem.reason, where=where, line=number, field=problem.field, hint=problem.hint), "\t".join(row.values()).encode())
                continue
            self._rated.add(rating[:2])
            yield rating

    def _pair(self, kind: str, row: Mapping[str, str]) -> str:
        names = ("id",) if kind == "csv" else ("query", "docid")
        key = tuple(_active(row.get(name, "")) if kind == "csv" else row.get(name, "") for name in names)
        found = self._keys[kind].get(key, [])
        if len(found) != 1:
            strange = "give the pairs that the sheet was made of; spreadsheets shorten long numbers: format ids as text"
            hint = "use a csv sheet, which names pairs by id" if found else strange
            raise BadInput(f"{', '.join(map(repr, key))}: {len(found) or 'no'} pairs of --pairs are this", field=", ".join(names), hint=hint)
        return found[0]


def _lines(text: str, where: str) -> tuple[str, Iterator[tuple[int, dict[str, str]]]]:
    """The kind of a sheet, and its lines by number."""
    file = io.StringIO(text.removeprefix(_MARK))
    head = file.readline().rstrip("\r\n")
    delimiter = max(",;\t", key=head.count)  # spreadsheets of some countries write semicolons
    columns = [name.strip().casefold() for name in head.split(delimiter)]
    for kind, needed in (("csv", {"id", "rating"}), ("quepid", set(_QUEPID))):
        if needed <= set(columns):
            return kind, _table(file, columns, delimiter, where)
    if len(head.split()) == len(_TREC):
        file.seek(0)
        return "trec", ((number, dict(zip(_TREC, line.split(), strict=False))) for number, line in enumerate(file, 1) if line.strip())
    hint = "a sheet begins with a line of names (id … rating; or query,docid,rating), or holds qrels: QUERY 0 DOCID RATING"
    raise BadInput("is no sheet", where=where, line=1, hint=hint)


def _table(file: io.StringIO, columns: Sequence[str], delimiter: str, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    table = csv.DictReader(file, fieldnames=columns, delimiter=delimiter, restval="")
    line = 2
    try:
        for row in table:
            yield line, {name: value for name, value in row.items() if isinstance(value, str)}
            line = table.line_num + 2  # a cell may go over several
    except csv.Error as error:
        raise BadInput(f"not a table: {error}", where=where, line=line, hint="save the sheet as CSV again") from error


def _grade(kind: str, row: Mapping[str, str]) -> Grade:
    text = row.get("rating", "").strip()
    allowed = {grade.casefold(): grade for grade in GRADES} if kind == "csv" else {str(rank): grade for rank, grade in enumerate(GRADES)}
    if not text:
        raise BadInput(f"is blank (allowed: {_listed(kind)})", field="rating", hint="rate it, or pass --on-bad skip to leave it out")
    if text.casefold() not in allowed:
        raise BadInput(f"found {text!r} (allowed: {_listed(kind)})", field="rating")
    return allowed[text.casefold()]


def _listed(kind: str) -> str:
    return ", ".join(GRADES if kind == "csv" else map(str, range(len(GRADES))))


@dataclass
class Labels:
    """The ratings of every pair. adjudicator: the rater whose grade is taken where the others disagree."""

    adjudicator: str | None = None
    ratings: dict[str, dict[str, Grade]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, rating: Rating) -> None:
        """Take a rating."""
        self.ratings[rating.pair][rating.rater] = rating.grade

    def raters(self) -> list[str]:
        """Everybody who rated something."""
        return sorted({rater for given in self.ratings.values() for rater in given})

    def units(self) -> list[Sequence[Grade]]:
        """The grades of each pair by raters who did not see those of others: for their agreement."""
        return [[grade for rater, grade in given.items() if rater != self.adjudicator] for given in self.ratings.values()]

    def decision(self, pair: str) -> tuple[Grade | None, str]:
        """The grade of a pair and how it came about: `single`, `unanimous`, `majority` (more than half), `adjudicated`; None and `open` without one."""
        given = self.ratings[pair]
        grades = Counter(grade for rater, grade in given.items() if rater != self.adjudicator)
        grade, votes = grades.most_common(1)[0] if grades else (None, 0)
        total = sum(grades.values())
        if total and votes == total:
            return grade, "unanimous" if total > 1 else "single"
        if self.adjudicator in given:
            return given[self.adjudicator], "adjudicated"  # type: ignore[index]
        return (grade, "majority") if 2 * votes > total else (None, "open")
