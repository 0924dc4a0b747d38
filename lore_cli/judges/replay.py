"""`replay:FILE`: verdicts recorded earlier, given again for the pairs asked.

For comparing, re-scoring and mixing without asking a model twice. Samples and scores are what was recorded, whatever is asked for now. A pair that
the file does not hold, or holds for another query or item, is a verdict with `error`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lore_cli.errors import Missing
from lore_cli.judges import JudgeSettings
from lore_cli.manifest import sha256_of
from lore_cli.records import Pair, Verdict, parse, row_of
from lore_cli.stream import encode, read


@dataclass(frozen=True, slots=True)
class ReplayJudge:
    """Streams while pairs come in the order recorded; from the first that does not, keeps the file's rows (their JSON and id) in memory."""

    path: str
    hash: str
    name: str

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        recorded: Iterator[Verdict] | None = self._rows()
        by_id: dict[str, bytes] = {}
        for pair in pairs:
            if recorded is not None:
                verdict = next(recorded, None)
                if verdict is not None and verdict.id == pair.id:
                    yield self._answer(pair, row_of(verdict))
                    continue
                recorded, by_id = None, {row.id: encode(row_of(row)) for row in self._rows()}
            found = by_id.get(pair.id)
            yield self._answer(pair, None if found is None else orjson.loads(found))

    def _rows(self) -> Iterator[Verdict]:
        return read(Verdict, [self.path])

    def _answer(self, pair: Pair, recorded: dict[str, Any] | None) -> Verdict:
        asked = {"id": pair.id, "query": pair.query, "item_id": pair.item.id, "judge": self.name}
        if recorded is None:
            return parse(Verdict, asked | {"error": "not recorded"})
        if (recorded["query"], recorded["item_id"]) != (pair.query, pair.item.id):
            other = f"query {recorded['query']!r} and item {recorded['item_id']!r}"
            return parse(Verdict, asked | {"error": f"recorded for {other}: the id means another pair"})
        return parse(Verdict, {**recorded, **asked, "replayed_from": recorded["judge"]})

    def identity(self) -> dict[str, str]:
        """The content of the file."""
        return {"judge": "replay", "recorded": self.hash}


def open(target: str, settings: JudgeSettings) -> ReplayJudge:
    """The judge over a file of verdicts. Raises `Missing` when there is none; a bad row is told when it is reached."""
    content = sha256_of(target) if Path(target).is_file() else None
    if content is None:
        raise Missing(f"{target or 'replay:'}: no such file of verdicts", hint="record them first: lore-rair run PAIRS --judge URI -o FILE")
    return ReplayJudge(target, content[:16], f"replay:{target}")
