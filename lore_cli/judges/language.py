"""`hf:`, `vllm:`, `http:`: a language model as judge. The three share everything but where the text comes from.

A model that lore trained is asked as its card says; any other with the full `judge` protocol, through its chat template. `--prompt short` is the
prompt that lore trains with: it is sent as it stands, without a template, to a model whose card is not at hand (over http: to the `completions`
endpoint instead of `chat/completions`), and the answer is read as `answer-last`, which lore-sft trains by default. A model that was taught several
layouts is asked for another one by the prompt's name, `--prompt short+label-only`.

The reply is read strictly: what does not hold to the answer format is a verdict with `error` and the raw reply in `reason`, never a guessed grade.
A reply, a draw or a probability that did not come is a verdict with `error` as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lore_cli import answer, modelcard
from lore_cli.answer import GRADE_CUE, AnswerError, Layout
from lore_cli.errors import require
from lore_cli.judges import JudgeSettings
from lore_cli.models import Cut, TextModel
from lore_cli.models.spending import Spending
from lore_cli.prompts import layout_asked, load_prompt, pair_prompt
from lore_cli.records import GRADES, Grade, Pair, Verdict
from lore_cli.stream import chunks

_LABELS = tuple(f" {grade}" for grade in GRADES)
_LABEL_TOKENS = 8
_WINDOW_BATCHES = 8  # pairs asked together: enough for batches of similar length, few enough to stream


@dataclass(frozen=True, slots=True)
class LanguageJudge:
    """Asks a `TextModel` and reads its replies."""

    model: TextModel
    settings: JudgeSettings
    name: str
    prompt: str
    layout: Layout

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        for window in chunks(pairs, self.settings.batch_size * _WINDOW_BATCHES):
            yield from self._window(window)

    def _window(self, pairs: list[Pair]) -> Iterator[Verdict]:
        settings = self.settings
        prompts = self._prompts(pairs)
        replies = [found[0] for found in self.model.generate(prompts, max_new_tokens=self._longest)]
        draws: list[list[str | Exception]] | list[None] = self._draws(prompts) if settings.samples else [None] * len(pairs)
        verdicts = [self._verdict(pair, reply, drawn) for pair, reply, drawn in zip(pairs, replies, draws, strict=True)]
        scores = self._scores(prompts, replies, verdicts) if settings.soft else {}
        for number, (pair, fields) in enumerate(zip(pairs, verdicts, strict=True)):
            score = scores.get(number)
            if isinstance(score, Exception):
                yield Verdict(**self._about(pair), error=f"no grade probabilities: {score}")
            else:
                yield Verdict(**fields, scores=score)

    def rollouts(self, pairs: Iterable[Pair]) -> Iterator[tuple[str, list[str | Exception]]]:
        """(prompt, draws as they came) of each pair, in order: `samples` draws, of which one that was cut off is a `Cut`. Nothing is read in them."""
        for window in chunks(pairs, self.settings.batch_size * _WINDOW_BATCHES):
            prompts = self._prompts(window)
            yield from zip(prompts, self._draws(prompts), strict=True)

    @property
    def _longest(self) -> int:
        return _LABEL_TOKENS if self.layout == "label-only" else self.settings.max_new_tokens

    def _prompts(self, pairs: Sequence[Pair]) -> list[str]:
        return [pair_prompt(pair, self.settings.rulebook, self.prompt, self.settings.language) for pair in pairs]

    def _draws(self, prompts: Sequence[str]) -> list[list[str | Exception]]:
        settings = self.settings
        return self.model.generate(prompts, samples=settings.samples, temperature=settings.temperature, max_new_tokens=self._longest, seed=settings.seed)

    def _about(self, pair: Pair) -> dict[str, Any]:
        return {"id": pair.id, "query": pair.query, "item_id": pair.item.id, "judge": self.name}

    def _verdict(self, pair: Pair, reply: str | Exception, draws: list[str | Exception] | None) -> dict[str, Any]:
        """The fields of a verdict. A draw that was cut or cannot be read counts as a wrong one; one that did not come is an error of the pair."""
        fields = self._about(pair)
        for lost in (reply, *(draws or ())):
            if isinstance(lost, Exception) and not isinstance(lost, Cut):
                return fields | {"error": f"no reply: {lost}"}
        if draws is not None:
            fields["samples"] = tuple(self._grade(draw) for draw in draws)
        if isinstance(reply, Cut):
            return fields | {"error": f"unparseable: {reply}", "reason": reply.text}
        try:
            given = answer.parse(str(reply), self.settings.rulebook, self.layout)
        except AnswerError as error:
            return fields | {"error": f"unparseable: {error}", "reason": reply}
        reasons = {"matches": given.matches or None, "rules": given.rules if given.matches else None, "reason": given.reasoning or None}
        return fields | {"grade": given.grade, **reasons}

    def _grade(self, reply: str | Exception) -> Grade | None:
        if isinstance(reply, Exception):
            return None
        try:
            return answer.parse(reply, self.settings.rulebook, self.layout).grade
        except AnswerError:
            return None

    def _scores(self, prompts: list[str], replies: list[Any], verdicts: list[dict[str, Any]]) -> dict[int, dict[Grade, float] | Exception]:
        """Probability of each grade where it stands, for pairs that have one: after the reasoning the model gave, or at once."""
        asked = [number for number, fields in enumerate(verdicts) if "error" not in fields]
        begun = [replies[n].strip().rpartition(GRADE_CUE)[0] + GRADE_CUE if self.layout in ("answer-last", "free") else GRADE_CUE for n in asked]
        found = self.model.label_probabilities([prompts[n] for n in asked], _LABELS, begun=begun) if asked else []
        rows = zip(asked, found, strict=True)
        return {number: row if isinstance(row, Exception) else dict(zip(GRADES, row, strict=True)) for number, row in rows}

    def identity(self) -> dict[str, str]:
        """Model, prompt, layout, language and rulebook."""
        prompt_hash = load_prompt(self.prompt, self.settings.language).hash
        own = {"prompt": f"{self.prompt}:{prompt_hash}", "layout": self.layout, "language": self.settings.language, "rulebook": self.settings.rulebook.hash}
        return {**self.model.identity(), **own}


def open(uri: str, settings: JudgeSettings) -> LanguageJudge:
    """The judge of an `hf:`, `vllm:` or `http(s):` URI. Raises `Missing` and `BadInput` as the models do."""
    scheme, _, target = uri.partition(":")
    served = scheme in ("http", "https")
    card = None if served else modelcard.read(target)
    prompt = settings.prompt if settings.prompt != "auto" else card.prompt if card else "judge"
    chat = card is None and prompt.partition("+")[0] != "short"
    layout: Layout = layout_asked(prompt) or (card.layout if card else "free" if prompt == "naive" else "answer-last")
    load_prompt(prompt, settings.language)  # an unknown one is told before a model is loaded
    spending = settings.spending or Spending()
    model = spending.open(uri, chat, settings.max_new_tokens, lambda: _model(uri, settings, chat, layout))
    if served and settings.soft:
        model.label_probabilities(["1 + 1 ="], _LABELS, begun=[GRADE_CUE])  # whether it can: `Missing` before any work is done
    return LanguageJudge(model, settings, uri, prompt, layout)


def _model(uri: str, settings: JudgeSettings, chat: bool, layout: Layout) -> TextModel:
    """The model of a URI, loaded or found to be there."""
    scheme, _, target = uri.partition(":")
    if scheme in ("http", "https"):
        require("httpx", "serve"), require("stamina", "serve")
        from lore_cli.models.http import open_http

        pattern = answer.answer_pattern(settings.rulebook, layout) if settings.structured == "auto" else None
        return open_http(uri, api_key=settings.api_key, timeout_s=settings.timeout_s, concurrency=settings.concurrency, chat=chat, pattern=pattern)
    if scheme == "vllm":
        require("vllm", "vllm")
        from lore_cli.models.vllm import open_vllm

        return open_vllm(target, chat=chat)
    require("torch", "train"), require("transformers", "train")
    from lore_cli.models.hf import open_hf

    return open_hf(target, chat=chat)
