"""A language model behind an OpenAI-compatible server: `vllm serve`, `transformers serve`, llama.cpp, a provider.

Two endpoints, one for each way a model was tuned: `chat/completions` for models that talk (the server applies their chat template), and
`completions`, where the prompt is sent as it stands, for models that lore trained: they have no template.

What goes wrong with one prompt becomes that prompt's exception: a time-out, a refusal, a page where JSON was due, a reply cut short. A busy or
failing server (429, 5xx) and a broken connection are asked again with growing waits, or after the wait that `Retry-After` names. Once a prompt
has used up its attempts on a server that is not there, the others get one attempt each until it answers again, so that a dead server
fails a long run in seconds and `--retry-failed` finishes it later. A time-out is not asked again: it would only add to the load.

The key goes into the `Authorization` header and nowhere else. Draws are requests of one reply each, with seeds of their own, because many servers
ignore `n`. top_k is what the server's own defaults say; a server that ignores seeds does not repeat its draws [`transformers serve` 5.17
draws only where the model's generation_config.json says `do_sample`, ignores `n`, and gives no log-probabilities].
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar

import httpx
import orjson
import stamina
import stamina.instrumentation

from lore_cli.errors import Missing, UsageError
from lore_cli.models import Cut, completions, draw_seed
from lore_cli.models.completions import LIKELIEST, RequestFailed, Step, choice_of, first_line, message_of, retry_after_s

_BUSY = (408, 425, 429, 500, 502, 503, 504, 529)
_CONNECT_S = 10.0
_LONGEST_WAIT_S = 8.0  # between attempts, where the server names no time
_LONGEST_ASKED_WAIT_S = 120.0  # a server that asks for more than this is given up for that prompt

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass
class HttpModel:
    """A `TextModel` behind a server. chat: which endpoint is asked. attempts: of one request; first_wait_s: before the second, then doubling."""

    base: str
    name: str
    chat: bool
    timeout_s: float
    concurrency: int
    api_key: str | None = field(default=None, repr=False)
    attempts: int = 5
    first_wait_s: float = 0.5
    _down: bool = field(default=True, repr=False)  # until the first reply one attempt is enough to say that nobody is there
    _tells: bool = field(default=False, repr=False)  # log-probabilities have been told once: a refusal is then about that one prompt
    _written: dict[str, list[Step]] = field(default_factory=dict, repr=False)  # prompt → tokens of the greedy replies given last, where the server tells

    def generate(
        self, prompts: Sequence[str], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0
    ) -> list[list[str | Exception]]:
        """See `TextModel`."""
        drawn = samples if temperature > 0 else 1
        settings: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        if temperature > 0:
            settings["top_p"] = 1.0
        elif self._tells:
            settings |= self._logprobs
            self._written.clear()
        bodies = []
        for prompt in prompts:
            for draw in range(drawn):
                seeded = {"seed": draw_seed(seed, draw, prompt)} if temperature > 0 else {}
                bodies.append(self._asked(prompt) | settings | seeded)
        replies = self._run(self._reply, list(zip((prompt for prompt in prompts for _ in range(drawn)), bodies, strict=True)))
        return [replies[row * drawn : (row + 1) * drawn] * (samples // drawn) for row in range(len(prompts))]

    def label_probabilities(
        self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """See `TextModel`. Read from the log-probabilities of the 20 likeliest tokens where the label stands; a label that is not among them counts as 0.

        `begun` must be what the model itself writes: the place is looked up in its greedy reply, because a server that is sent a begun reply as
        text cuts it into other tokens than the model wrote. Once asked for, log-probabilities come with every greedy reply, so that a reply is not
        asked for twice. Raises `Missing` when the server tells none.
        """
        starts = begun if begun is not None else [""] * len(prompts)

        async def job(client: httpx.AsyncClient, asked: tuple[str, str]) -> list[float]:
            prompt, start = asked
            written = self._written.get(prompt) or await self._next_tokens(client, prompt, max(len((start + label).encode()) for label in labels))
            return completions.label_row(written, start, labels)

        return self._run(job, list(zip(prompts, starts, strict=True)))

    def identity(self) -> dict[str, str]:
        """The model's name and the endpoint. Not the host, which may move, nor the key; a name that is a path counts by its last part.

        A server does not tell the content of its weights: who serves another model under the same name must start again with --force.
        """
        name = PurePosixPath(self.name).name if self.name.startswith("/") else self.name
        return {"model": f"served:{name}", "chat": str(self.chat)}

    def _asked(self, prompt: str) -> dict[str, Any]:
        asked = {"messages": [{"role": "user", "content": prompt}]} if self.chat else {"prompt": prompt}
        return {"model": self.name, **asked}

    @property
    def _logprobs(self) -> dict[str, Any]:
        return {"logprobs": True, "top_logprobs": LIKELIEST} if self.chat else {"logprobs": LIKELIEST}

    @property
    def _path(self) -> str:
        return "chat/completions" if self.chat else "completions"

    def _run(self, job: Callable[[httpx.AsyncClient, Job], Awaitable[Result]], jobs: Sequence[Job]) -> list[Any]:
        """What `job` gives for each, in order, `concurrency` at a time; a `RequestFailed` or `Cut` stands in its own place."""

        async def run() -> list[Any]:
            free = asyncio.Semaphore(self.concurrency)

            async def one(asked: Job) -> Result | Exception:
                async with free:
                    try:
                        return await job(client, asked)
                    except (RequestFailed, Cut) as error:
                        return error

            async with self._client() as client:
                return await asyncio.gather(*(one(asked) for asked in jobs))

        return asyncio.run(run())

    def _client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        limits = httpx.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        return httpx.AsyncClient(headers=headers, limits=limits, timeout=httpx.Timeout(None, connect=_CONNECT_S))

    async def _reply(self, client: httpx.AsyncClient, asked: tuple[str, dict[str, Any]]) -> str:
        prompt, body = asked
        choice = choice_of(await self.request(client, "POST", self._path, body))
        text = (choice.get("message") or {}).get("content") if self.chat else choice.get("text")
        ending = choice.get("finish_reason")
        if ending == "length":
            raise Cut(text if isinstance(text, str) else "", body["max_tokens"])
        if not isinstance(text, str) or ending in ("content_filter", "tool_calls"):
            raise RequestFailed(f"the server gave no text (finish_reason {ending!r})")
        if "logprobs" in body:
            self._written[prompt] = completions.steps(choice.get("logprobs"), self.chat)
        return text

    async def _next_tokens(self, client: httpx.AsyncClient, prompt: str, longest: int) -> list[Step]:
        """The tokens of the greedy reply. Raises `Missing` when the server does not tell their log-probabilities."""
        hint = "--soft needs log-probabilities: vllm serve tells them, and so do hf: and vllm: judges"
        try:
            choice = choice_of(await self.request(client, "POST", self._path, self._asked(prompt) | {"max_tokens": longest, "temperature": 0.0} | self._logprobs))
        except RequestFailed as error:
            if error.status in (400, 404, 422, 501) and not self._tells:
                raise Missing(f"{self.base} does not tell the log-probabilities of '{self.name}': {error}", hint=hint) from error
            raise
        written = completions.steps(choice.get("logprobs"), self.chat)
        if not written and self._tells:
            raise RequestFailed("the server told no log-probabilities")
        if not written:
            raise Missing(f"{self.base} tells no log-probabilities for '{self.name}'", hint=hint)
        self._tells = True
        return written

    async def request(self, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None, *, attempts: int | None = None) -> Any:
        """The JSON of a successful reply. Raises `RequestFailed` when the attempts are used up or asking again cannot help."""
        wait = {"wait_initial": self.first_wait_s, "wait_jitter": self.first_wait_s, "wait_max": _LONGEST_WAIT_S}
        try:
            async for attempt in stamina.retry_context(on=self._again, attempts=attempts or self.attempts, timeout=None, **wait):
                with attempt:
                    return self._read(await self._send(client, method, path, body))
        except RequestFailed as error:
            self._down = self._down or error.unreachable
            raise
        raise AssertionError("an attempt returns or raises")

    async def _send(self, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            async with asyncio.timeout(self.timeout_s):
                reply = await client.request(method, f"{self.base}/{path}", json=body)
        except TimeoutError:
            raise RequestFailed(f"no reply within {self.timeout_s:g} s (--timeout)") from None
        except httpx.ConnectTimeout:
            raise RequestFailed(f"no connection within {_CONNECT_S:g} s", again=True, unreachable=True) from None
        except httpx.ConnectError as error:
            raise RequestFailed(f"no connection: {first_line(error)}", again=True, unreachable=True) from None
        except httpx.TransportError as error:
            raise RequestFailed(f"the connection broke: {first_line(error)}", again=True) from None
        except httpx.HTTPError as error:
            raise RequestFailed(f"the reply cannot be read: {first_line(error)}") from None
        self._down = False
        return reply

    def _again(self, error: Exception) -> bool | float:
        if not isinstance(error, RequestFailed) or (error.unreachable and self._down):
            return False
        return error.again

    def _read(self, reply: httpx.Response) -> Any:
        kind = reply.headers.get("content-type", "no content type").partition(";")[0]
        try:
            document = orjson.loads(reply.content)
        except orjson.JSONDecodeError:
            document = None
        if reply.is_success and document is not None:
            return document
        if reply.is_success:
            raise RequestFailed(f"not JSON but {kind}" if "json" not in kind else "the JSON is not whole", status=reply.status_code)
        status = reply.status_code
        again: bool | float = status in _BUSY
        told = reply.headers.get("retry-after")
        if again and told is not None and (wait := retry_after_s(told, time.time())) is not None:
            again = wait if wait <= _LONGEST_ASKED_WAIT_S else False
            if again is False:
                raise RequestFailed(f"HTTP {status}: asks to come back in {wait:.0f} s", status=status)
        reason = f"redirects to {reply.headers.get('location')}" if reply.is_redirect else message_of(document, self.api_key) or reply.reason_phrase or kind
        raise RequestFailed(f"HTTP {status}: {reason}", again=again, status=status)


def open_http(uri: str, *, api_key: str | None = None, timeout_s: float = 60.0, concurrency: int = 8, chat: bool = True) -> HttpModel:
    """The model of `http://HOST/v1#MODEL`; without `#MODEL` the only one that the server has.

    A model that the server does not list is asked for one token, because not every server lists what it serves. Raises `Missing` when nobody
    answers, when the key is refused or the model is not there, naming those that are; `UsageError` when the URI or the key cannot be used.
    """
    base, _, name = uri.partition("#")
    _check(base, api_key)
    # stamina would tell of every retry, by structlog on standard output where that is installed
    stamina.instrumentation.set_on_retry_hooks([])
    model = HttpModel(base.rstrip("/"), name, chat, timeout_s, concurrency, api_key)
    return asyncio.run(_verify(model))


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


async def _verify(model: HttpModel) -> HttpModel:
    async with model._client() as client:
        listed = await _listed(model, client)
        if not model.name:
            if len(listed) != 1:
                found = f"lists {len(listed)} models: {', '.join(listed)}" if listed else "does not list its models"
                raise UsageError(f"{model.base} {found}", hint=f"name one: {model.base}#MODEL")
            model.name = listed[0]
        if model.name not in listed:
            try:
                await model.request(client, "POST", model._path, model._asked("1 + 1 =") | {"max_tokens": 1, "temperature": 0.0})
            except RequestFailed as error:
                has = f"it lists {', '.join(listed)}" if listed else "does the address end where chat/completions begins (mostly /v1), and is that the model's name?"
                raise Missing(f"{model.base} does not answer for '{model.name}': {error}", hint=has) from error
    return model


async def _listed(model: HttpModel, client: httpx.AsyncClient) -> list[str]:
    """The names a server lists; none where it has no list to give, which says nothing of what it serves [`transformers serve` lists its download cache]."""
    try:
        document = await model.request(client, "GET", "models", attempts=1)
        return [str(entry["id"]) for entry in document["data"]]
    except RequestFailed as error:
        if error.status in (401, 403):
            raise Missing(f"{model.base} refuses: {error}", hint="give the key by --api-key-file or LORE_API_KEY") from error
        if error.status == 0:
            raise Missing(f"{model.base}: {error}", hint="is the server running, and is this its address?") from error
        return []
    except (KeyError, TypeError):
        return []
