"""What an OpenAI-compatible server answers, read strictly: text, log-probabilities, errors. Nothing here sends anything."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Sequence
from typing import Any

from lore_cli.models import Cut

LIKELIEST = 20  # next tokens whose log-probability is asked for: the most that servers allow by default

Step = tuple[str, dict[str, float]]  # a token that was written, and the log-probabilities of the likeliest in its place


class RequestFailed(Exception):
    """One request that brought no usable reply.

    again: asking again may help. overload: the server's trouble, not the prompt's. status: of HTTP, 0 without a reply. hold_s: seconds in which the
    server wants no request at all.
    """

    def __init__(self, message: str, *, again: bool = False, overload: bool = False, status: int = 0, hold_s: float = 0.0) -> None:
        super().__init__(message)
        self.again, self.overload, self.status, self.hold_s = again, overload, status, hold_s


def choice_of(document: Any) -> dict[str, Any]:
    """The one choice of a completion."""
    try:
        choice = document["choices"][0]
    except (IndexError, KeyError, TypeError):
        choice = None
    if not isinstance(choice, dict):
        raise RequestFailed("JSON, but not a completion: it holds no choices")
    return choice


def text_of(choice: dict[str, Any], chat: bool) -> str | None:
    """The text of a choice of either endpoint; None when it holds none."""
    message = choice.get("message") if chat else choice
    text = message.get("content" if chat else "text") if isinstance(message, dict) else None
    return text if isinstance(text, str) else None


def reply_of(choice: dict[str, Any], chat: bool, max_tokens: int) -> str:
    """The reply in a choice. Raises `Cut` for one that reached `max_tokens`, `RequestFailed` where there is no text to take for one."""
    text, ending = text_of(choice, chat), choice.get("finish_reason")
    if ending == "length":
        raise Cut(text or "", max_tokens)
    if text is None or ending in ("content_filter", "tool_calls"):
        raise RequestFailed(f"the server gave no text (finish_reason {ending!r})")
    return text


def steps(told: Any, chat: bool) -> list[Step]:
    """The tokens of a choice's `logprobs`, of either endpoint; empty when it holds none."""
    try:
        if chat:
            return [(step["token"], {entry["token"]: float(entry["logprob"]) for entry in step["top_logprobs"]}) for step in told["content"]]
        likely = [{token: float(value) for token, value in step.items()} for step in told["top_logprobs"]]
        return list(zip(told["tokens"], likely, strict=True))
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def label_row(written: Sequence[Step], begun: str, labels: Sequence[str]) -> list[float]:
    """Probability of each label as what follows `begun` in the tokens of a reply, normalised over the labels.

    Labels that begin with the token which was written (" L", then "1") are followed one token further. A label that is not among the likeliest
    counts as 0. Raises `RequestFailed` when none is, and when the reply does not come to `begun`.

    >>> row = label_row([("grade:", {}), (" L1", {" L1": -0.1, " L2": -2.4, " R1": -9.0})], "grade:", [" L1", " L2", " L3"])
    >>> [round(share, 6) for share in row]
    [0.908877, 0.091123, 0.0]
    """
    rest = list(labels)
    for token, likely in written[_place(written, begun) :]:
        if any(label in likely for label in rest):
            return _normalised([likely.get(label) for label in rest])
        if not token or not all(label.startswith(token) for label in rest):
            break
        rest = [label.removeprefix(token) for label in rest]
    raise RequestFailed(f"none of {', '.join(label.strip() for label in labels)} is among the {LIKELIEST} likeliest next tokens")


def _place(written: Sequence[Step], begun: str) -> int:
    """How many tokens of a reply make up `begun`. Only its last line is compared: a token may be half a Chinese character, and told as none."""
    break_ = begun.rfind("\n")
    places, said = [], ""
    for number, (token, _) in enumerate(written):
        if said.endswith(begun[break_:]) if break_ >= 0 else said.lstrip() == begun:
            places.append(number)
        said += token
    if not places:
        raise RequestFailed(f"the reply does not come to {begun[break_ + 1 :]!r}")
    return places[-1] if break_ >= 0 else places[0]


def _normalised(scores: Sequence[float | None]) -> list[float]:
    """Probabilities that sum to 1 from log-probabilities; None is 0."""
    top = max(score for score in scores if score is not None)
    weights = [0.0 if score is None else math.exp(score - top) for score in scores]
    return [weight / sum(weights) for weight in weights]


def usage_of(document: Any) -> tuple[int, int]:
    """Tokens in and out as a completion's `usage` counts them; 0 where the server tells none.

    >>> usage_of({"usage": {"prompt_tokens": 31, "completion_tokens": 4}}), usage_of({"usage": None}), usage_of({"usage": {"prompt_tokens": "many"}})
    ((31, 4), (0, 0), (0, 0))
    """
    told = document.get("usage")
    counts = [told.get(name) if isinstance(told, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    into, out = (count if isinstance(count, int) and count > 0 else 0 for count in counts)
    return into, out


def message_of(document: Any) -> str:
    """What an error's JSON says, on one line."""
    found = document.get("error", document.get("detail", document.get("message"))) if isinstance(document, dict) else None
    return " ".join(str(found.get("message", found) if isinstance(found, dict) else found or "").split())


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind when it has none."""
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
