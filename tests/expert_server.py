"""A server on the loopback that answers the prompts of lore-synth's stages as the deterministic expert would: a teacher for tests."""

from __future__ import annotations

import functools
import json
from typing import Any

from commands_run import ROOT, lore
from lore_cli.answer import need_text
from lore_cli.prompts import load_prompt, pair_prompt
from lore_cli.records import Trace, parse
from lore_cli.rulebook import load_rulebook
from tiny_models import LoopbackServer, Reply, models, text

EXAMPLES = ROOT / "examples"
PAIRS = EXAMPLES / "pairs.jsonl"
NAME = "expert"


@functools.cache
def traces() -> list[Trace]:
    """What the expert makes of the example pairs."""
    return [parse(Trace, json.loads(line)) for line in lore("lore-synth", PAIRS, "--images", EXAMPLES, "--quiet").lines]


@functools.cache
def _replies() -> tuple[dict[str, str], dict[str, str]]:
    """{query: needs} and {protocol of a pair: answer}."""
    needs = {trace.query: "\n".join(f"{need.attribute} = {need_text(need)}" for need in trace.needs or ()) for trace in traces()}
    return needs, {pair_prompt(trace, load_rulebook(), "judge"): str(trace.completion) for trace in traces()}  # type: ignore[arg-type]


def teach(prompt: str) -> str:
    """The expert's reply to a prompt of any stage; nonsense where it has none."""
    needs, answers = _replies()
    if prompt.startswith(load_prompt("visual").parts[0]):
        return "none"
    if prompt.startswith(load_prompt("knowledge").parts[0]):
        return needs.get(prompt.rpartition("<<<\nquery: ")[2].partition("\n>>>")[0], "what?")
    return next((answer for protocol, answer in answers.items() if protocol in prompt), "what?")


class ExpertServer(LoopbackServer):
    """Counts what it is asked in `paid`. first: what a greedy request about a row is answered with instead, by prompt; tells: whether replies have usage."""

    def __init__(self, *, tells: bool = True, first: Any = None) -> None:
        _replies()  # here: what makes them runs a command in this process, which the server's threads must not
        self._tells, self._first = tells, first or (lambda prompt: None)
        super().__init__(self.tell)

    @property
    def uri(self) -> str:
        return f"{self.address}#{NAME}"

    @property
    def paid(self) -> int:
        """Requests for a reply so far."""
        return sum(body is not None for _, body, _ in self.asked)

    def tell(self, path: str, body: dict[str, Any] | None) -> Reply:
        if body is None:
            return models(NAME)
        prompt = body["messages"][0]["content"]
        said = (self._first(prompt) if body["temperature"] == 0 else None) or teach(prompt)
        reply = text(said)
        if self._tells:
            reply.body["usage"] = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(said) // 4}
        return reply
