"""`lexical:PAIRS`, the baseline every model has to beat: word overlap, mapped to grades by a logistic regression on graded pairs.

It knows no attribute, rule, synonym or picture. Features of a pair: the share of the query's words in title and attributes, the same squared, the
share in the title alone, whether the query's last word (in English mostly the product) is in the title, how many of its words are missing, and its
length. Grades are weighted equally in the fit, because Macro-F1 is what it is compared by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lore_cli.errors import BadInput, UsageError, require
from lore_cli.judges import JudgeSettings
from lore_cli.manifest import sha256_of
from lore_cli.path.lexical import overlap
from lore_cli.path.text import GAP, tokenise
from lore_cli.records import GRADES, Grade, Item, Pair, Verdict
from lore_cli.stream import chunks, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "lexical"
_FIT_AT_MOST = 20_000  # pairs: seven numbers are learnt per grade, more rows change nothing


class Baseline:
    """The fitted map from overlap to grade probabilities. Deterministic: same pairs, same baseline."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        """Fit on graded pairs, evenly thinned to 20,000. Raises `BadInput` when they hold fewer than two grades."""
        linear = require("sklearn.linear_model", "report")
        pipeline, preprocessing = require("sklearn.pipeline", "report"), require("sklearn.preprocessing", "report")

        graded = [pair for pair in pairs if pair.grade is not None]
        graded = graded[:: -(-len(graded) // _FIT_AT_MOST) or 1]
        self.grades: tuple[Grade, ...] = tuple(sorted({pair.grade for pair in graded}))  # type: ignore[type-var]
        if len(self.grades) < 2:
            found = f"only {self.grades[0]}" if self.grades else "no grade"
            raise BadInput(f"the lexical baseline cannot be fitted: the pairs hold {found}", field="grade", hint="give graded pairs with at least two grades")
        self._model = pipeline.make_pipeline(preprocessing.StandardScaler(), linear.LogisticRegression(class_weight="balanced", max_iter=1000))
        self._model.fit(features(graded), [pair.grade for pair in graded])

    def probabilities(self, pairs: Sequence[Pair]) -> NDArray[Any]:
        """Probability of each of `grades`, [pairs, grades]."""
        return self._model.predict_proba(features(pairs))  # type: ignore[no-any-return]

    def judge(self, pairs: Sequence[Pair]) -> list[Grade]:
        """The most probable grade of each pair."""
        return [self.grades[index] for index in self.probabilities(pairs).argmax(1)]


def features(pairs: Sequence[Pair]) -> NDArray[Any]:
    """[pairs, 6] numbers, see the module's text."""
    numpy = require("numpy", "report")

    rows = []
    for pair in pairs:
        words = [stem for stem in tokenise(pair.query).stems if stem != GAP]
        share = overlap(pair.query, pair.item)
        title = overlap(pair.query, Item(pair.item.id, pair.item.title))
        last = overlap(words[-1], Item(pair.item.id, pair.item.title)) if words else 0.0
        rows.append((share, share * share, title, last, (1 - share) * len(set(words)), len(words)))
    return numpy.array(rows, dtype=float).reshape(len(rows), 6)  # type: ignore[no-any-return]


class LexicalJudge:
    """The baseline as a judge. All samples are its one answer; `soft` gives its probabilities."""

    name = NAME

    def __init__(self, baseline: Baseline, fitted_on: str, settings: JudgeSettings) -> None:
        self._baseline, self._fitted_on, self._settings = baseline, fitted_on, settings

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        for chunk in chunks(pairs, self._settings.batch_size):
            for pair, row in zip(chunk, self._baseline.probabilities(chunk), strict=True):
                grade = self._baseline.grades[int(row.argmax())]
                shares = dict.fromkeys(GRADES, 0.0) | {name: float(share) for name, share in zip(self._baseline.grades, row, strict=True)}
                samples = (grade,) * self._settings.samples if self._settings.samples else None
                yield Verdict(pair.id, pair.query, pair.item.id, NAME, grade, scores=shares if self._settings.soft else None, samples=samples)

    def identity(self) -> dict[str, str]:
        return {"judge": NAME, "fitted_on": self._fitted_on}


def open(target: str, settings: JudgeSettings) -> LexicalJudge:
    """Fit on the graded pairs of a file. Raises `UsageError` without one, `Missing` when it is not there."""
    if not target or target == "-":
        raise UsageError("'lexical:' names no file of graded pairs", hint="write lexical:train.jsonl; never the pairs it is then scored on")
    return LexicalJudge(Baseline(read(Pair, (target,))), sha256_of(target) or "", settings)
