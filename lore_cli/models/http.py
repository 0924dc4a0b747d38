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
import email.utils
import math
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
from lore_cli.models import Cut, draw_seed

_BUSY = (408, 425, 429, 500, 502, 503, 504, 529)
_CONNECT_S = 10.0
_LONGEST_WAIT_S = 8.0  # between attempts, where the server names no time
_LONGEST_ASKED_WAIT_S = 120.0  # a server that asks for more than this is given up for that prompt
_LIKELIEST = 20  # next tokens whose log-probability is asked for: the most that servers allow by default
_PIECES = 4  # tokens that a label may be made of
_SHOWN = 200  # characters of a server's own message

Job = TypeVar("Job")
Result = TypeVar("Result")


class RequestFailed(Exception):
    """One request that brought no usable reply. again: whether asking again may help, or after how many seconds. unreachable: nobody answered."""

    def __init__(self, message: str, *, again: bool | float = False, unreachable: bool = False, status: int = 0) -> None:
        super().__init__(message)
        self.again, self.unreachable, self.status = again, unreachable, status


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
    _tells: bool = field(default=False, repr=False)  # log-probabilities have been given once: a refusal is then about that one prompt

    def generate(
        self, prompts: Sequence[str], *, samples: int = 1, temperature: float = 0.0, max_new_tokens: int = 256, seed: int = 0
    ) -> list[list[str | Exception]]:
        """See `TextModel`."""
        drawn = samples if temperature > 0 else 1
        settings: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        if temperature > 0:
            settings["top_p"] = 1.0
        bodies = []
        for prompt in prompts:
            for draw in range(drawn):
                seeded = {"seed": draw_seed(seed, draw, prompt)} if temperature > 0 else {}
                bodies.append(self._asked(prompt) | settings | seeded)
        replies = self._run(self._reply, bodies)
        return [replies[row * drawn : (row + 1) * drawn] * (samples // drawn) for row in range(len(prompts))]

    def label_probabilities(
        self, prompts: Sequence[str], labels: Sequence[str], *, begun: Sequence[str] | None = None
    ) -> list[list[float] | Exception]:
        """See `TextModel`. Read from the log-probabilities of the 20 likeliest next tokens; a label that is not among them counts as 0.

        A chat model must let a begun reply be continued (`continue_final_message`, as vLLM does). Raises `Missing` when the server does neither.
        """
        starts = begun if begun is not None else [""] * len(prompts)

        async def job(client: httpx.AsyncClient, pair: tuple[str, str]) -> list[float]:
            return await self._label_row(client, *pair, labels)

        return self._run(job, list(zip(prompts, starts, strict=True)))

    def identity(self) -> dict[str, str]:
        """The model's name and the endpoint. Not the host, which may move, nor the key; a name that is a path counts by its last part.

        A server does not tell the content of its weights: who serves another model under the same name must start again with --force.
        """
        name = PurePosixPath(self.name).name if self.name.startswith("/") else self.name
        return {"model": f"served:{name}", "chat": str(self.chat)}

    def _asked(self, prompt: str, begun: str = "") -> dict[str, Any]:
        if not self.chat:
            return {"model": self.name, "prompt": prompt + begun}
        messages = [{"role": "user", "content": prompt}]
        if not begun:
            return {"model": self.name, "messages": messages}
        continued = {"add_generation_prompt": False, "continue_final_message": True}
        return {"model": self.name, "messages": [*messages, {"role": "assistant", "content": begun}], **continued}

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

    async def _reply(self, client: httpx.AsyncClient, body: dict[str, Any]) -> str:
        choice = _choice(await self.request(client, "POST", self._path, body))
        text = (choice.get("message") or {}).get("content") if self.chat else choice.get("text")
        ending = choice.get("finish_reason")
        if ending == "length":
            raise Cut(text if isinstance(text, str) else "", body["max_tokens"])
        if not isinstance(text, str) or ending in ("content_filter", "tool_calls"):
            raise RequestFailed(f"the server gave no text (finish_reason {ending!r})")
        return text

    async def _label_row(self, client: httpx.AsyncClient, prompt: str, begun: str, labels: Sequence[str]) -> list[float]:
        """Labels that begin with the same token (" L", then "1") are followed token by token."""
        rest = list(labels)
        for _ in range(_PIECES):
            likely = await self._next_tokens(client, prompt, begun)
            top = max((likely[label] for label in rest if label in likely), default=None)
            if top is not None:
                weights = [math.exp(likely[label] - top) if label in likely else 0.0 for label in rest]
                return [weight / sum(weights) for weight in weights]
            shared = [token for token in likely if token and all(label.startswith(token) for label in rest)]
            if not shared:
                break
            step = max(shared, key=likely.__getitem__)
            begun, rest = begun + step, [label.removeprefix(step) for label in rest]
        raise RequestFailed(f"none of {', '.join(label.strip() for label in labels)} is among the {_LIKELIEST} likeliest next tokens")

    async def _next_tokens(self, client: httpx.AsyncClient, prompt: str, begun: str) -> dict[str, float]:
        """Log-probabilities of the likeliest next tokens. Raises `Missing` when the server does not give them."""
        asked = {"logprobs": True, "top_logprobs": _LIKELIEST} if self.chat else {"logprobs": _LIKELIEST}
        body = self._asked(prompt, begun) | {"max_tokens": 1, "temperature": 0.0} | asked
        hint = "--soft needs log-probabilities after a begun reply: vllm serve gives them, and so do hf: and vllm: judges"
        try:
            told = _choice(await self.request(client, "POST", self._path, body)).get("logprobs")
        except RequestFailed as error:
            if error.status in (400, 404, 422, 501) and not self._tells:
                raise Missing(f"{self.base} does not tell the log-probabilities of '{self.name}': {error}", hint=hint) from error
            raise
        try:
            if self.chat:
                likely = {entry["token"]: float(entry["logprob"]) for entry in told["content"][0]["top_logprobs"]}
            else:
                likely = {token: float(value) for token, value in told["top_logprobs"][0].items()}
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            likely = {}
        if not likely:
            raise Missing(f"{self.base} gives no log-probabilities for '{self.name}'", hint=hint)
        self._tells = True
        return likely

    async def request(self, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of a successful reply. Raises `RequestFailed` when the attempts are used up or asking again cannot help."""
        wait = {"wait_initial": self.first_wait_s, "wait_jitter": self.first_wait_s, "wait_max": _LONGEST_WAIT_S}
        try:
            async for attempt in stamina.retry_context(on=self._again, attempts=self.attempts, timeout=None, **wait):
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
            raise RequestFailed(f"no connection: {_first_line(error)}", again=True, unreachable=True) from None
        except httpx.TransportError as error:
            raise RequestFailed(f"the connection broke: {_first_line(error)}", again=True) from None
        except httpx.HTTPError as error:
            raise RequestFailed(f"the reply cannot be read: {_first_line(error)}") from None
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
        reason = f"redirects to {reply.headers.get('location')}" if reply.is_redirect else self._message(document) or reply.reason_phrase or kind
        raise RequestFailed(f"HTTP {status}: {reason}", again=again, status=status)

    def _message(self, document: Any) -> str:
        """What an error's JSON says, on one line, without the key should the server repeat it."""
        found = document.get("error", document.get("detail", document.get("message"))) if isinstance(document, dict) else None
        text = " ".join(str(found.get("message", found) if isinstance(found, dict) else found or "").split())
        return (text.replace(self.api_key, "[key]") if self.api_key else text)[:_SHOWN]


def _choice(document: Any) -> dict[str, Any]:
    try:
        choice = document["choices"][0]
    except (IndexError, KeyError, TypeError):
        choice = None
    if not isinstance(choice, dict):
        raise RequestFailed("JSON, but not a completion: it holds no choices")
    return choice


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def retry_after_s(header: str, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for, as a number or a date; None when it says neither.

    >>> retry_after_s("2", 0.0), retry_after_s("Thu, 01 Jan 1970 00:00:30 GMT", 10.0), retry_after_s("soon", 0.0)
    (2.0, 20.0, None)
    """
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - now
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


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
                has = f"it lists {', '.join(listed)}" if listed else "see what it serves, and by which name"
                raise Missing(f"{model.base} does not answer for '{model.name}': {error}", hint=has) from error
    return model


async def _listed(model: HttpModel, client: httpx.AsyncClient) -> list[str]:
    """The names a server lists; none where it keeps no list."""
    try:
        document = await model.request(client, "GET", "models")
        return [str(entry["id"]) for entry in document["data"]]
    except RequestFailed as error:
        if error.status in (404, 405, 501):
            return []
        if error.status in (401, 403):
            raise Missing(f"{model.base} refuses: {error}", hint="give the key by --api-key-file or LORE_API_KEY") from error
        raise Missing(f"{model.base}: {error}", hint="is the server running, and does the address end where its models/ begins (mostly /v1)?") from error
    except (KeyError, TypeError) as error:
        raise Missing(f"{model.base}/models is not an OpenAI-compatible list of models", hint="does the address end where its models/ begins (mostly /v1)?") from error
