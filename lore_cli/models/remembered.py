"""A `TextModel` that takes replies from the reply cache, and asks another model for those that are not there."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from lore_cli.models import Cut, Heard, Look, TextModel
from lore_cli.models.replies import ReplyStore, Stored, draw_keys, reply_key


class Remembered:
    """See the module."""

    def __init__(self, model: TextModel, store: ReplyStore) -> None:
        self._model, self._store = model, store

    def generate(
        self, prompts: Sequence[str | Look], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0, heard: Heard | None = None
    ) -> list[list[str | Exception]]:
        """See `TextModel`. A prompt of which one draw is not there is asked for all of its draws; those that are there stay what they were.

        Each reply is kept when it comes, so that a kill -9 loses none. `heard` is not told of those that were there.
        """
        identity = self.identity()
        keys = [draw_keys(identity, prompt, samples, temperature, max_new_tokens, seed) for prompt in prompts]
        known = self._store.find([key for own in keys for key in own])
        open_rows = [row for row, own in enumerate(keys) if not own or not all(key in known for key in own)]
        fresh: list[list[str | Exception]] = []

        def keep(place: int, draw: int, reply: str | Exception) -> None:
            row = open_rows[place]
            if keys[row] and (entry := stored(reply)):
                self._store.add(identity["model"], [(keys[row][draw], entry)])
            if heard:
                heard(row, draw, reply)

        if open_rows:
            asked = [prompts[row] for row in open_rows]
            fresh = self._model.generate(asked, samples=samples, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed, heard=keep)
        by_row = dict(zip(open_rows, fresh, strict=True))
        draws = samples if temperature > 0 else 1
        return [
            [_reply(known[key], max_new_tokens) if key in known else by_row[row][draw] for draw, key in enumerate(own)] * (samples // draws) if own else by_row[row]
            for row, own in enumerate(keys)
        ]

    def label_probabilities(
        self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """See `TextModel`."""
        identity, starts = self.identity(), begun if begun is not None else [""] * len(prompts)
        keys = [reply_key(identity, prompt, labels=list(labels), begun=start) for prompt, start in zip(prompts, starts, strict=True)]
        known = self._store.find(keys)
        rows: dict[str, list[float] | Exception] = {key: orjson.loads(entry.value) for key, entry in known.items()}
        missing = [place for place, key in enumerate(keys) if key not in rows]
        if missing:
            found = self._model.label_probabilities([prompts[place] for place in missing], labels, begun=[starts[place] for place in missing])
            rows |= dict(zip((keys[place] for place in missing), found, strict=True))
            self._store.add(identity["model"], ((keys[place], Stored("row", orjson.dumps(row))) for place, row in zip(missing, found) if not isinstance(row, Exception)))
        return [rows[key] for key in keys]

    def identity(self) -> dict[str, str]:
        """Of the model that is asked."""
        return self._model.identity()


def stored(reply: str | Exception) -> Stored | None:
    """The entry of a reply; None for what may go better another time."""
    if isinstance(reply, Cut):
        return Stored("cut", reply.text.encode("utf-8", "surrogatepass"))
    return Stored("text", reply.encode("utf-8", "surrogatepass")) if isinstance(reply, str) else None


def _reply(entry: Stored, max_new_tokens: int) -> str | Exception:
    text = entry.value.decode("utf-8", "surrogatepass")
    return Cut(text, max_new_tokens) if entry.kind == "cut" else text
