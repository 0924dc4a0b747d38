"""The judge judged: agreement with humans, which way it errs, whether it holds to its grade when nothing that matters changes, and what its verdicts are worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lore_cli.errors import BadInput
from lore_cli.rair.judge_agreement import AGREEMENT, SHARES, every
from lore_cli.rair.figures import ABSENT, measured, percent, short, title
from lore_cli.rair.intervals import LEVEL, bounds
from lore_cli.rair.perturb import MARK
from lore_cli.rair.ppi import Powered
from lore_cli.rair.report import named, plain
from lore_cli.rair.sections import Section
from lore_cli.rair.tally import Tally
from lore_cli.records import GRADES, RELEVANT, Pair, Verdict
from lore_cli.values import fold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_CHANGES = ("changed", "crossed", "shift")


@dataclass
class Audit:
    """Collects graded pairs with their verdicts, then verdicts on variants of the pairs, then verdicts on pairs without a human grade."""

    tally: Tally
    powered: Powered = field(default_factory=Powered)
    given: dict[str, int | None] = field(default_factory=dict)  # pair id → the judge's grade
    varied: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # kind → query of the original → rows, changed, crossed, shift
    not_judged: dict[str, int] = field(default_factory=dict)
    _queries: dict[str, str] = field(default_factory=dict)

    def add(self, pair: Pair, verdict: Verdict | None) -> None:
        """A graded pair and its verdict."""
        self.tally.add(pair, verdict)
        self.powered.add_labelled(pair, verdict)
        self.given[pair.id] = GRADES.index(verdict.grade) if verdict and verdict.grade else None
        self._queries[pair.id] = fold(pair.query)

    def add_variants(self, verdicts: Iterable[Verdict]) -> None:
        """Verdicts on variants (`p1~length`), held against those on their originals. Raises `BadInput` for one that is no variant of a graded pair."""
        for verdict in verdicts:
            original, mark, kind = verdict.id.rpartition(MARK)
            if not mark or original not in self.given:
                raise BadInput(f"verdict '{verdict.id}' is on no variant of a pair of --gold", where="--variants", field="id", hint="make them with lore-rair perturb GOLD | lore-rair run -")
            before, counts = self.given[original], self.varied.setdefault(kind, {}).setdefault(self._queries[original], [0.0] * 4)
            if before is None or verdict.grade is None:
                self.not_judged[kind] = self.not_judged.get(kind, 0) + 1
                continue
            now = GRADES.index(verdict.grade)
            crossed = (GRADES[before] in RELEVANT) != (verdict.grade in RELEVANT)
            for place, value in enumerate((1, now != before, crossed, now - before)):
                counts[place] += value

    def document(self, draws: int, seed: int) -> dict[str, Any]:
        """What was found. `agreement`, `sensitivity`: {value, lo, hi}, clustered by query; `estimates`: see `Powered.estimates`, null without other verdicts."""
        import numpy

        per_query = self.tally.per_query(self.tally.matrix())
        values = bounds(per_query, every, numpy.array([name in SHARES for name in AGREEMENT]), draws, seed)
        return {
            "audit": 1,
            "judges": sorted(self.tally.judges),
            "pairs": len(self.tally.cell),
            "queries": len(per_query),
            "unjudged": sum(self.tally.errors.values()) + self.tally.missing,
            "interval": {"method": "BCa bootstrap over queries", "level": LEVEL, "draws": draws, "seed": seed},
            "agreement": named(AGREEMENT, *values),
            "sensitivity": {kind: self._sensitivity(kind, draws, seed) for kind in sorted(self.varied)},
            "estimates": self._estimates() if self.powered.unlabelled else None,
        }

    def _sensitivity(self, kind: str, draws: int, seed: int) -> dict[str, Any]:
        import numpy

        sums = numpy.array([self.varied[kind][query] for query in sorted(self.varied[kind])])
        sums = sums[sums[:, 0] > 0]

        def shares(values: Array) -> Array:
            counts = values[..., :1]
            return numpy.divide(values[..., 1:], counts, out=numpy.full_like(values[..., 1:], numpy.nan), where=counts > 0)

        values = bounds(sums, shares, numpy.array([True, True, False]), draws, seed) if len(sums) else [numpy.full(3, numpy.nan)] * 3
        return {"rows": int(sums[:, 0].sum()), "queries": len(sums), "not_judged": self.not_judged.get(kind, 0), **named(_CHANGES, *values)}

    def _estimates(self) -> dict[str, Any]:
        def triple(found: tuple[float, float, float]) -> dict[str, float | None]:
            return {name: plain(number, 6) for name, number in zip(("value", "lo", "hi"), found, strict=True)}

        rates = {
            name: {"powered": triple(found["powered"]), "labels": triple(found["labels"]), "verdicts": plain(found["verdicts"], 6), "weight": plain(found["weight"], 6)}
            for name, found in self.powered.estimates().items()
        }
        return {"pairs": int(sum(sums[0] for sums in self.powered.unlabelled.values())), "queries": len(self.powered.unlabelled), "rates": rates}


def sections(document: dict[str, Any]) -> list[Section]:
    """The document as tables."""
    rows = [[_TITLES.get(name, title(name)), measured(measure, 3, name.startswith("bias"))] for name, measure in document["agreement"].items()]
    note = f"{document['pairs']:,} graded pairs of {document['queries']:,} queries, {document['unjudged']:,} not judged. Bias: mean of given minus human grade, in grades; above 0 the judge is too generous."
    found = [Section(f"Agreement of {', '.join(document['judges']) or 'no judge'} with humans", ["measure", "value [lo, hi]"], rows, notes=[note])]
    if document["sensitivity"]:
        rows = [
            [kind, f"{entry['rows']:,}", *(measured(entry.get(name), 3, name == "shift") for name in _CHANGES), f"{entry['not_judged']:,}"] for kind, entry in document["sensitivity"].items()
        ]
        columns = ["variant", "pairs", "another grade", "other side", "mean shift", "not judged"]
        found.append(Section("When nothing that matters changes", columns, rows, notes=["Other side: from relevant (L3, L4) to not, or back. Mean shift: in grades."]))
    if document["estimates"]:
        estimates = document["estimates"]
        rows = [
            [name, measured(entry["powered"], 3), measured(entry["labels"], 3), ABSENT if entry["verdicts"] is None else short(entry["verdicts"], 3), percent(entry["weight"])]
            for name, entry in estimates["rates"].items()
        ]
        note = f"For {estimates['pairs']:,} pairs of {estimates['queries']:,} queries that the judge has seen. Weight: how far the judge's verdicts are relied on."
        found.append(Section("What humans would say", ["rate", "labels and verdicts", "labels alone", "verdicts alone", "weight"], rows, notes=[note]))
    return found


_TITLES = {"kappa": "kappa", "alpha_nominal": "alpha", "alpha_ordinal": "alpha, ordinal", "overrated": "graded too high", "underrated": "graded too low", "self_consistency": "self-consistency"}
