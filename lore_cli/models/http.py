"""A language model behind an OpenAI-compatible server: `vllm serve`, `transformers serve`, llama.cpp, a provider.

Two endpoints, one for each way a model was tuned: `chat/completions` for models that talk (the server applies their chat template), and
`completions`, where the prompt is sent as it stands, for models that lore trained: they have no template.

What goes wrong with one prompt becomes that prompt's exception: a time-out, a refusal, a page where JSON was due, a reply cut short, a picture that
cannot be read. How the server is asked, and asked again, is in server.py.

A server that holds replies to a regular expression is asked to (`HttpModel.pattern`): `structured_outputs` of vLLM since 0.11, `guided_regex` before
0.12 and in others. Servers ignore fields they do not know, so that only a reply shows whether one does.

The key goes into the `Authorization` header and nowhere else. Draws are requests of one reply each, with seeds of their own, because many servers
ignore `n`. top_k is what the server's own defaults say; a server that ignores seeds does not repeat its draws [`transformers serve` 5.17
draws only where the model's generation_config.json says `do_sample`, ignores `n`, and gives no log-probabilities].
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar

import httpx

from lore_cli.errors import Missing, UsageError
from lore_cli.models import Blind, Cut, Heard, Look, Usage, completions, draw_seed
from lore_cli.models.completions import LIKELIEST, RequestFailed, Step, choice_of, usage_of
from lore_cli.models.pictures import BadPicture, data_url
from lore_cli.models.server import Server

_MARK = "lore pattern: "  # what no model answers to the question of a probe
_MARK_TOKENS = 24
_HELD_BY: dict[str, Callable[[str], dict[str, Any]]] = {
    "structured_outputs": lambda pattern: {"structured_outputs": {"regex": pattern}},
    "guided_regex": lambda pattern: {"guided_regex": pattern},
}

Job = TypeVar("Job")


@dataclass
class HttpModel:
    """A `TextModel` behind a server, which also takes `Look` prompts where it talks. chat: which endpoint is asked.

    pattern: the regular expression that whole replies are held to; held_by: the field of a request that the server reads it from, "" for none.
    """

    server: Server
    name: str
    chat: bool
    pattern: str | None = None
    held_by: str = ""
    usage: Usage = field(default_factory=Usage)
    _tells: bool = field(default=False, repr=False)  # log-probabilities have been told once: a refusal is then about that one prompt
    _written: dict[str | Look, list[Step]] = field(default_factory=dict, repr=False)  # prompt → tokens of the greedy replies given last, where the server tells

    def generate(
        self, prompts: Sequence[str | Look], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0, heard: Heard | None = None
    ) -> list[list[str | Exception]]:
        """See `TextModel`. Draws are single requests with seeds of their own."""
        if temperature == 0 and self._tells:
            self._written.clear()
        return self._drawn(self._reply, prompts, samples, temperature, max_new_tokens, seed, heard)

    def bodies(
        self, prompts: Sequence[str | Look], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0
    ) -> list[list[dict[str, Any] | Exception]]:
        """The body of each request that `generate` would send, and nothing sent: for batch files."""

        async def body(asked: tuple[str | Look, dict[str, Any]]) -> dict[str, Any]:
            return await self._asked(asked[0]) | asked[1]

        return self._drawn(body, prompts, samples, temperature, max_new_tokens, seed)

    def _drawn(
        self,
        job: Callable[[tuple[str | Look, dict[str, Any]]], Awaitable[Any]],
        prompts: Sequence[str | Look],
        samples: int,
        temperature: float,
        max_new_tokens: int,
        seed: int,
        heard: Heard | None = None,
    ) -> list[list[Any]]:
        """What `job` makes of (prompt, settings) for each draw of each prompt; a greedy reply is one, repeated."""
        drawn = samples if temperature > 0 else 1
        settings: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        if temperature > 0:
            settings["top_p"] = 1.0
        elif self._tells:
            settings |= self._logprobs
        asked = []
        for prompt in prompts:
            text = prompt.text if isinstance(prompt, Look) else prompt
            for draw in range(drawn):
                asked.append((prompt, settings | ({"seed": draw_seed(seed, draw, text)} if temperature > 0 else {})))
        made = self._each(job, asked, heard and (lambda place, reply: heard(*divmod(place, drawn), reply)))
        return [made[row * drawn : (row + 1) * drawn] * (samples // drawn) for row in range(len(prompts))]

    def label_probabilities(
        self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """See `TextModel`. Read from the log-probabilities of the 20 likeliest tokens where the label stands; a label that is not among them counts as 0.

        `begun` must be what the model itself writes: the place is looked up in its greedy reply, because a server that is sent a begun reply as
        text cuts it into other tokens than the model wrote. Once asked for, log-probabilities come with every greedy reply, so that a reply is not
        asked for twice. Raises `Missing` when the server tells none.
        """
        starts = begun if begun is not None else [""] * len(prompts)

        longest = max((len((start + label).encode()) for start in starts for label in labels), default=1)

        async def job(asked: tuple[str, str]) -> list[float]:
            prompt, start = asked
            return completions.label_row(self._written.get(prompt) or await self._next_tokens(prompt, longest), start, labels)

        return self._each(job, list(zip(prompts, starts, strict=True)))

    def identity(self) -> dict[str, str]:
        """The model's name and the endpoint. Not the host, which may move, nor the key; a name that is a path counts by its last part.

        A server does not tell the content of its weights: who serves another model under the same name must start again with --force.
        """
        name = PurePosixPath(self.name).name if self.name.startswith("/") else self.name
        own = {"model": f"served:{name}", "chat": str(self.chat)}
        if self.pattern is None:
            return own
        held = f"{self.held_by}:{hashlib.sha256(self.pattern.encode()).hexdigest()[:16]}" if self.held_by else "not offered"
        return own | {"structured": held}

    async def ask(self, prompt: str | Look, settings: dict[str, Any], *, attempts: int | None = None) -> dict[str, Any]:
        """The choice of a completion. Raises `RequestFailed`, and `Blind` and `BadPicture` for a picture that cannot be shown."""
        document = await self.server.request("POST", self.path, await self._asked(prompt) | settings, attempts=attempts)
        choice = choice_of(document)
        self.usage.add(*usage_of(document))
        return choice

    async def _asked(self, prompt: str | Look) -> dict[str, Any]:
        asked: dict[str, Any] = {"model": self.name}
        if not self.chat:
            if isinstance(prompt, Look):
                raise Blind(f"'{self.name}' is asked for completions of text, and cannot be shown a picture")
            asked["prompt"] = prompt
        elif isinstance(prompt, Look):
            picture = {"url": await asyncio.to_thread(data_url, prompt.image)}
            asked["messages"] = [{"role": "user", "content": [{"type": "text", "text": prompt.text}, {"type": "image_url", "image_url": picture}]}]
        else:
            asked["messages"] = [{"role": "user", "content": prompt}]
        return asked | (_HELD_BY[self.held_by](self.pattern) if self.held_by and self.pattern else {})

    @property
    def _logprobs(self) -> dict[str, Any]:
        return {"logprobs": True, "top_logprobs": LIKELIEST} if self.chat else {"logprobs": LIKELIEST}

    @property
    def path(self) -> str:
        """The endpoint, below the address."""
        return "chat/completions" if self.chat else "completions"

    def _each(self, job: Callable[[Job], Awaitable[Any]], asked: Sequence[Job], heard: Callable[[int, Any], None] | None = None) -> list[Any]:
        """What `job` gives for each, in order; what went wrong with one prompt stands in its own place. `heard(place, found)` is told of each when it is there."""

        async def one(placed: tuple[int, Job]) -> Any:
            place, each = placed
            try:
                found = await job(each)
            except (RequestFailed, Cut, Blind, BadPicture) as error:
                found = error
            if heard:
                heard(place, found)
            return found

        return self.server.run(one, list(enumerate(asked)))

    async def _reply(self, asked: tuple[str | Look, dict[str, Any]]) -> str:
        prompt, settings = asked
        choice = await self.ask(prompt, settings)
        text = completions.reply_of(choice, self.chat, settings["max_tokens"])
        if "logprobs" in settings:
            self._written[prompt] = completions.steps(choice.get("logprobs"), self.chat)
        return text

    async def _next_tokens(self, prompt: str, longest: int) -> list[Step]:
        """The tokens of the greedy reply. Raises `Missing` when the server does not tell their log-probabilities."""
        hint = "--soft needs log-probabilities: vllm serve tells them, and so do hf: and vllm: judges"
        try:
            choice = await self.ask(prompt, {"max_tokens": longest, "temperature": 0.0} | self._logprobs)
        except RequestFailed as error:
            if error.status in (400, 404, 422, 501) and not self._tells:
                raise Missing(f"{self.server.base} does not tell the log-probabilities of '{self.name}': {error}", hint=hint) from error
            raise
        written = completions.steps(choice.get("logprobs"), self.chat)
        if not written and self._tells:
            raise RequestFailed("the server told no log-probabilities")
        if not written:
            raise Missing(f"{self.server.base} tells no log-probabilities for '{self.name}'", hint=hint)
        self._tells = True
        return written


def open_http(
    uri: str, *, api_key: str | None = None, timeout_s: float = 60.0, concurrency: int = 32, chat: bool = True, pattern: str | None = None
) -> HttpModel:
    """The model of `http://HOST/v1#MODEL`; without `#MODEL` the only one that the server has. pattern: what replies are held to where the server can.

    A model that the server does not list is asked for one token, because not every server lists what it serves. Raises `Missing` when nobody
    answers, when the key is refused or the model is not there, naming those that are; `UsageError` when the URI or the key cannot be used.
    """
    model = _unverified(uri, chat, api_key, timeout_s=timeout_s, concurrency=concurrency)

    async def verify(model: HttpModel) -> HttpModel:
        await _verify(model)
        if pattern is not None:
            await _hold(model, pattern)
        return model

    return model.server.run(verify, [model])[0]


def unasked_http(uri: str, *, chat: bool = True) -> HttpModel:
    """The model of `http://HOST/v1#MODEL` without asking the server anything. Raises `UsageError` when the URI names no model."""
    model = _unverified(uri, chat, None)
    if not model.name:
        raise UsageError(f"'{uri}' names no model", hint="write http://HOST:PORT/v1#MODEL: the server is not asked which it has")
    return model


def _unverified(uri: str, chat: bool, api_key: str | None, **how: Any) -> HttpModel:
    base, _, name = uri.partition("#")
    _check(base, api_key)
    return HttpModel(Server(base.rstrip("/"), api_key, **how), name, chat)


def _check(base: str, api_key: str | None) -> None:
    try:
        url = httpx.URL(base)
    except httpx.InvalidURL as error:
        raise UsageError(f"'{base}' is not an address: {error}", hint="write http://HOST:PORT/v1#MODEL") from error
    if url.userinfo:
        raise UsageError("the judge's URI holds a user or password", hint="give the key by --api-key-file or LORE_API_KEY")
    if not url.host:
        raise UsageError(f"'{base}' names no host", hint="write http://HOST:PORT/v1#MODEL")
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise UsageError("the API key holds characters that no key has (spaces, line breaks, other scripts)", hint="check --api-key-file or LORE_API_KEY")


async def _verify(model: HttpModel) -> None:
    """Find out whether the model is there, and which it is when none is named."""
    base, listed = model.server.base, await _listed(model.server)
    if not model.name:
        if len(listed) != 1:
            found = f"lists {len(listed)} models: {', '.join(listed)}" if listed else "does not list its models"
            raise UsageError(f"{base} {found}", hint=f"name one: {base}#MODEL")
        model.name = listed[0]
    if model.name not in listed:
        try:
            await model.ask("1 + 1 =", {"max_tokens": 1, "temperature": 0.0})
        except RequestFailed as error:
            has = f"it lists {', '.join(listed)}" if listed else "does the address end where chat/completions begins (mostly /v1), and is that the model's name?"
            raise Missing(f"{base} does not answer for '{model.name}': {error}", hint=has) from error


async def _hold(model: HttpModel, pattern: str) -> None:
    """Hold the model to a pattern by the first field that the server heeds. A reply shows it: the pattern asked for begins with words that no model says."""
    model.pattern = pattern
    for held_by, field_of in _HELD_BY.items():
        try:
            choice = await model.ask("1 + 1 =", {"max_tokens": _MARK_TOKENS, "temperature": 0.0} | field_of(_MARK + pattern), attempts=1)
        except RequestFailed as error:
            if error.status in (401, 403):
                raise _key_refused(model.server, error) from error
            continue
        if (completions.text_of(choice, model.chat) or "").startswith(_MARK):
            model.held_by = held_by
            return


def _key_refused(server: Server, error: RequestFailed) -> Missing:
    return Missing(f"{server.base} refuses: {error}", hint="give the key by --api-key-file or LORE_API_KEY")


async def _listed(server: Server) -> list[str]:
    """The names a server lists; none where it has no list to give, which says nothing of what it serves [`transformers serve` lists its download cache]."""
    try:
        document = await server.request("GET", "models", attempts=1)
        return [str(entry["id"]) for entry in document["data"]]
    except RequestFailed as error:
        if error.status in (401, 403):
            raise _key_refused(server, error) from error
        if error.status == 0:
            raise Missing(f"{server.base}: {error}", hint="is the server running, and is this its address?") from error
        return []
    except (KeyError, TypeError):
        return []
