"""Judges: whatever turns pairs into verdicts, chosen by a URI.

    judge = open_judge("rulebook:", JudgeSettings(load_rulebook()))
    for verdict in judge(pairs): ...

A judge answers in the order asked, lazily, once per pair; what it cannot judge is a verdict with `error`, never a grade.
To add one: a module here with `open(target, settings) -> Judge`, and its scheme in `SCHEMES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lore_cli.errors import UsageError
from lore_cli.records import Pair, Verdict

if TYPE_CHECKING:
    from lore_cli.models.spending import Spending
    from lore_cli.rulebook import Rulebook

SCHEMES: dict[str, tuple[str, str]] = {
    "rulebook": ("rulebook", "rulebook:            the deterministic expert; no model, no network"),
    "hf": ("language", "hf:PATH              a causal language model in this process (transformers)"),
    "vllm": ("language", "vllm:PATH            the same through vLLM's offline engine"),
    "http": ("language", "http://HOST/v1#MODEL any OpenAI-compatible server"),
    "https": ("language", "https://HOST/v1#MODEL the same over TLS"),
    "student": ("student", "student:PATH         the distilled small encoder"),
    "cache": ("cached", "cache:DIR            a published head-cache generation"),
    "tier": ("tiered", "tier:PLAN            cache, student and model behind one routing policy"),
    "lexical": ("lexical", "lexical:PAIRS        the lexical baseline, fitted on graded pairs"),
    "replay": ("replay", "replay:FILE          recorded verdicts"),
}


class Judge(Protocol):
    """Turns pairs into verdicts. `name` is written to every verdict."""

    name: str

    def __call__(self, pairs: Iterable[Pair]) -> Iterator[Verdict]: ...

    def identity(self) -> dict[str, str]:
        """What determines the answers (model, prompt, rulebook hashes …): ledgers and manifests hold it."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How a judge is asked.

    samples: draws per pair beside the greedy answer (0: none). temperature: of those draws. soft: fill `scores` with the
    probability of each grade. prompt: a template name, or `auto` for the one the model was trained with.
    knowledge: files of glossary and taxonomy rows. api_key is never written anywhere. limit of a reply: max_new_tokens tokens, timeout_s seconds.
    concurrency: most requests in flight. structured: `auto` holds replies to the answer format where a server can do that, `off` does not.
    spending: reply cache and meter of the run's language models.
    """

    rulebook: Rulebook
    language: str = "en"
    samples: int = 0
    temperature: float = 1.0
    seed: int = 0
    batch_size: int = 32
    soft: bool = False
    max_new_tokens: int = 256
    prompt: str = "auto"
    knowledge: tuple[str, ...] = ()
    api_key: str | None = None
    timeout_s: float = 60.0
    concurrency: int = 32
    structured: str = "auto"
    spending: Spending | None = None


def open_judge(uri: str, settings: JudgeSettings) -> Judge:
    """Open the judge a URI names. Raises `UsageError` for an unknown scheme and `Missing` for a model, package or server that is not there."""
    scheme, separator, target = uri.partition(":")
    if not separator or scheme not in SCHEMES:
        forms = "\n  ".join(text for _, text in SCHEMES.values())
        raise UsageError(f"'{uri}' names no judge", hint=f"use one of\n  {forms}")
    module = importlib.import_module(f"lore_cli.judges.{SCHEMES[scheme][0]}")
    return module.open(uri if scheme in ("http", "https", "hf", "vllm") else target, settings)
