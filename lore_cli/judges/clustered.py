"""`--ray ADDRESS`: any judge, opened in every worker of a Ray cluster. The verdicts are those of the judge itself, in the order asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from lore_cli.judges import JudgeSettings, open_judge
from lore_cli.records import Pair, Verdict, parse, row_of
from lore_cli.scale import Cluster, Row, Work

_BLOCK_BATCHES = 8  # batches of a block: what a language model is asked together


@dataclass(frozen=True, slots=True)
class ClusteredJudge:
    """A judge whose work is done elsewhere. All pairs are read before the first verdict comes."""

    uri: str
    settings: JudgeSettings
    cluster: Cluster
    name: str
    known: dict[str, str]

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        found = self.cluster.map(map(row_of, pairs), partial(_worker, self.uri, self.settings), self.settings.batch_size * _BLOCK_BATCHES)
        return (parse(Verdict, row) for row in found)

    def identity(self) -> dict[str, str]:
        """That of the judge: a run may be finished with or without a cluster."""
        return self.known


def open(uri: str, settings: JudgeSettings, cluster: Cluster) -> ClusteredJudge:
    """Open the judge in one worker, to know that it can be. Raises as `open_judge` does there, and `Missing` without Ray or the cluster."""
    name, identity = cluster.ask(partial(_known, uri, settings))
    return ClusteredJudge(uri, settings, cluster, name, identity)


def _known(uri: str, settings: JudgeSettings) -> tuple[str, dict[str, str]]:
    judge = open_judge(uri, settings)
    return judge.name, judge.identity()


def _worker(uri: str, settings: JudgeSettings) -> Work:
    judge = open_judge(uri, settings)

    def work(rows: list[Row]) -> list[Row]:
        return [row_of(verdict) for verdict in judge(parse(Pair, row) for row in rows)]

    return work
