"""`rulebook:`, the deterministic expert: path construction, path following, then the rulebook. No model, no network, nothing to install."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lore_cli.errors import UsageError
from lore_cli.judges import JudgeSettings
from lore_cli.path.follow import follow
from lore_cli.path.knowledge import Glossary, load_glossary, vocabulary
from lore_cli.path.needs import construct
from lore_cli.records import Pair, Verdict
from lore_cli.rulebook import Rulebook

NAME = "rulebook"


class RulebookJudge:
    """Judges along the path. Its grade is certain of itself, so it gives no `scores`, and all samples are its one answer."""

    name = NAME

    def __init__(self, rulebook: Rulebook, glossary: Glossary, samples: int = 0) -> None:
        self._rulebook, self._glossary, self._samples = rulebook, glossary, samples
        vocabulary(rulebook, glossary)  # compiled now, so that a glossary the rulebook cannot read fails before the first pair

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        for pair in pairs:
            yield self._verdict(pair)

    def identity(self) -> dict[str, str]:
        return {"judge": NAME, "rulebook": self._rulebook.hash, "knowledge": self._glossary.hash}

    def _verdict(self, pair: Pair) -> Verdict:
        try:
            needs = construct(pair.query, self._rulebook, self._glossary)
            matches = follow(needs, pair.item, self._rulebook, self._glossary)
            grade, rules = self._rulebook.grade(matches)
        except Exception as error:  # one odd pair must not end the run: its row says what happened, and it has no grade
            return Verdict(pair.id, pair.query, pair.item.id, NAME, error=f"{type(error).__name__}: {error}")
        samples = (grade,) * self._samples if self._samples else None
        return Verdict(pair.id, pair.query, pair.item.id, NAME, grade, matches=matches, rules=rules, samples=samples)


def open(target: str, settings: JudgeSettings) -> RulebookJudge:
    """The expert under the rulebook and glossary files of the settings. Raises `UsageError` for a target: the rulebook is named by --rulebook."""
    if target:
        raise UsageError(f"'rulebook:{target}' names a target", hint="write rulebook: and pass the file with --rulebook FILE")
    return RulebookJudge(settings.rulebook, load_glossary(settings.knowledge), settings.samples)
