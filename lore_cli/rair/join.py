"""Verdicts against the graded pairs they are about: every misfit is refused, naming the id.

Both sides are streamed. In the order of the benchmark (as `lore-rair run` writes them) nothing is kept; out of order, only what waits for its partner.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from lore_cli import stream
from lore_cli.errors import BadInput
from lore_cli.manifest import sha256_of
from lore_cli.records import Pair, Verdict

Refuse = Callable[[BadInput, Verdict], None]
CARD = "card.json"


def graded(sources: Sequence[str]) -> Iterator[Pair]:
    """The pairs of gold files. Raises `BadInput` for one without a grade, and for an id that is there twice, in one file or in two."""
    for pair in stream.read(Pair, sources):
        if pair.grade is None:
            raise BadInput(f"pair '{pair.id}' has no grade", where=" ".join(sources), field="grade", hint="gold rows need a human grade: L1, L2, L3 or L4")
        yield pair


def joined(gold: Iterable[Pair], verdicts: Iterable[Verdict], refuse: Refuse) -> Iterator[tuple[Pair, Verdict | None]]:
    """Every gold pair with its verdict, None where there is none. `refuse` is called with each verdict that fits no gold pair; it raises, or the verdict is left out.

    Both must be without doubled ids, as `stream.read` gives them.
    """
    source = iter(gold)
    waiting: dict[str, Pair] = {}
    for verdict in verdicts:
        pair = waiting.pop(verdict.id, None) if waiting else None
        while pair is None and (candidate := next(source, None)) is not None:
            if candidate.id == verdict.id:
                pair = candidate
            else:
                waiting[candidate.id] = candidate
        problem = _problem(pair, verdict)
        if problem is None and pair is not None:
            yield pair, verdict
            continue
        refuse(problem or BadInput("no such pair"), verdict)
        if pair is not None:
            waiting[pair.id] = pair
    for pair in itertools.chain(waiting.values(), source):
        yield pair, None


def _problem(pair: Pair | None, verdict: Verdict) -> BadInput | None:
    name = f"verdict '{verdict.id}'"
    if pair is None:
        return BadInput(f"{name} is for no pair of --gold", field="id", hint="score a run against the pairs that it judged")
    if (verdict.query, verdict.item_id) != (pair.query, pair.item.id):
        found, wanted = f"({verdict.query!r}, {verdict.item_id!r})", f"({pair.query!r}, {pair.item.id!r})"
        return BadInput(f"{name} is about {found}, the gold pair of this id about {wanted}", field="query, item_id", hint="the ids were reused: judge the pairs of --gold again")
    if (verdict.grade is None) == (verdict.error is None):
        return BadInput(f"{name} has {'neither a grade nor an error' if verdict.grade is None else 'a grade and an error'}", field="grade", hint="exactly one of the two")
    if verdict.scores is not None and not (abs(sum(verdict.scores.values()) - 1) <= 1e-3 and all(0 <= share <= 1 for share in verdict.scores.values())):
        return BadInput(f"{name}: the scores {msgspec.to_builtins(verdict.scores)} are not probabilities that sum to 1", field="scores")
    return None


def check_benchmark(source: str, rulebook_hash: str | None = None) -> dict[str, object] | None:
    """The card of the benchmark that a file belongs to, None for a file of no benchmark.

    Raises `BadInput` when the file was edited after the benchmark was built, or when it is to be used under another rulebook.
    """
    path = Path(source)
    card_path = path.parent / CARD
    if source == "-" or not card_path.is_file():
        return None
    card = stream.read_json(card_path, "a benchmark's card")
    recorded = card.get("files", {}).get(path.name) if isinstance(card, dict) and card.get("kind") == "rair-benchmark" else None
    if recorded is None:
        return None
    if sha256_of(path) != recorded:
        raise BadInput("was edited after the benchmark was built (its sha256 is not the one on card.json)", where=source, hint="build the benchmark again, or copy the file elsewhere")
    if rulebook_hash is not None and rulebook_hash != card["rulebook"]["hash"]:
        found = f"rulebook {rulebook_hash} is not the benchmark's ({card['rulebook']['hash']})"
        raise BadInput(found, where=source, hint=f"leave --rulebook out or pass {path.parent / 'rulebook.toml'}; a new rulebook needs a new build")
    return card
