"""Batch exchange: requests as lines of a file, results as lines of another, in the layout of OpenAI's Batch API, which `vllm run-batch` reads as well.

    {"custom_id": KEY, "method": "POST", "url": "/v1/chat/completions", "body": {…}}
    {"custom_id": KEY, "response": {"status_code": 200, "body": {…}}, "error": null}

The custom_id is the reply's key in the cache, so that results may come late, in any order, twice and in part, and those of other files are told apart.
`vllm run-batch` takes chat requests only ("completions coming soon" in its guide), providers those of both endpoints; 50,000 requests or 200 MB are the
most that OpenAI takes in one file. The cache remembers what was asked for: a result that nobody here asked for is never taken for a reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from lore_cli.errors import BadInput
from lore_cli.models import Cut, Heard, Look, Unasked, completions
from lore_cli.models.completions import RequestFailed
from lore_cli.models.http import HttpModel
from lore_cli.models.metered import Meter
from lore_cli.models.remembered import stored
from lore_cli.models.replies import ReplyStore, draw_keys
from lore_cli.seen import Seen

WAITS = "waits for its batch"
_LAYOUT = "\"response\" and \"custom_id\" are needed, as the Batch API and vllm run-batch write them"


@dataclass
class BatchRequests:
    """A `TextModel` that answers nothing. What it is asked and the cache does not hold goes to `write`, each once; without `write` it goes nowhere.

    requests: how many were written.
    """

    model: HttpModel
    store: ReplyStore
    write: Callable[[dict[str, Any]], None] | None = None
    requests: int = 0
    _written: Seen = field(default_factory=Seen)

    def generate(
        self, prompts: Sequence[str | Look], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0, heard: Heard | None = None
    ) -> list[list[str | Exception]]:
        """See `TextModel`: `Unasked` everywhere, but for a prompt that cannot be asked at all."""
        how = {"samples": samples, "temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed}
        replies: list[list[str | Exception]] = []
        written: list[str] = []
        for prompt, bodies in zip(prompts, self.model.bodies(prompts, **how), strict=True):
            for key, body in zip(draw_keys(self.identity(), prompt, samples, temperature, max_new_tokens, seed), bodies):
                if self.write and not isinstance(body, Exception) and not self.store.holds(key) and self._written.add(key):
                    self.write({"custom_id": key, "method": "POST", "url": f"/v1/{self.model.path}", "body": body})
                    written.append(key)
            replies.append([body if isinstance(body, Exception) else Unasked(WAITS) for body in bodies] * (samples // len(bodies)))
        self.store.expect(self.identity()["model"], self.model.chat, ((key, max_new_tokens) for key in written))
        self.requests += len(written)
        return replies

    def label_probabilities(
        self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """See `TextModel`. Batches bring texts only."""
        return [Unasked(WAITS)] * len(prompts)

    def identity(self) -> dict[str, str]:
        """Of the model whose replies are waited for."""
        return self.model.identity()


@dataclass
class Taken:
    """What became of the results: taken into the cache, again (its reply was there), failed (still waited for), unknown (nobody here asked), bad lines."""

    taken: int = 0
    again: int = 0
    failed: int = 0
    unknown: int = 0
    bad: int = 0


def ingest(lines: Iterable[bytes], store: ReplyStore, meter: Meter, refuse: Callable[[BadInput, int, bytes], None]) -> Taken:
    """Take results into the cache, tokens onto the meter. `refuse` gets what is no result, with its line; it may raise."""
    counts = Taken()
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            key, response, error = _result(line)
        except BadInput as problem:
            counts.bad += 1
            refuse(problem, number, line)
            continue
        expected = store.expected(key)
        if expected is None:
            known = store.holds(key)
            counts.again, counts.unknown = counts.again + known, counts.unknown + (not known)
            continue
        try:
            document = _document(response, error)
            meter.usage.add(*completions.usage_of(document))
            reply: str | Exception = completions.reply_of(completions.choice_of(document), expected.chat, expected.max_new_tokens)
        except Cut as cut:
            reply = cut
        except RequestFailed:
            counts.failed += 1
            continue
        if entry := stored(reply):
            store.add(expected.model, [(key, entry)])
            counts.taken += 1
    return counts


def _result(line: bytes) -> tuple[str, Any, Any]:
    """(custom_id, response, error) of a line. Raises `BadInput` for one that is no result."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"not valid JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
        raise BadInput("no result of a batch", field="custom_id", hint=_LAYOUT)
    if not isinstance(row.get("response"), dict) and not row.get("error"):
        raise BadInput("holds neither a response nor an error", field="response", hint=_LAYOUT)
    return row["custom_id"], row.get("response"), row.get("error")


def _document(response: Any, error: Any) -> dict[str, Any]:
    """The completion in a response. Raises `RequestFailed` for a request that failed."""
    if error or not isinstance(response, dict) or response.get("status_code") != 200 or not isinstance(response.get("body"), dict):
        raise RequestFailed("the request failed")
    return response["body"]
