"""A model behind a server that behaves: `transformers serve`, and the log-probabilities of a real model. How servers misbehave: test_http_troubles.py."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("httpx")
pytest.importorskip("stamina")

from commands_run import lore  # noqa: E402
from lore_cli.models import Cut  # noqa: E402
from lore_cli.models.completions import RequestFailed, label_row, steps
from lore_cli.models.http import open_http  # noqa: E402
from tiny_models import PAIRS_FILE, TAUGHT, LoopbackServer, Reply, answers, models, taught_model, text, transformers_server  # noqa: E402

RUN = ("lore-rair run", PAIRS_FILE, "--quiet")
PROMPTS = list(answers())[:TAUGHT]


def rows(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


END = "<|end|>"

# ------------------------------------------------------------------------------------------------ transformers serve


@pytest.fixture(scope="module")
def served():
    for package in ("torch", "fastapi", "uvicorn", "openai"):
        pytest.importorskip(package)
    with transformers_server(taught_model()) as address:
        yield f"{address}#{taught_model()}"


def test_a_served_model_gives_the_verdicts_it_gives_in_this_process(served):
    options = ("--prompt", "short", "--limit", TAUGHT)
    over_http, here = lore(*RUN, "--judge", served, *options), lore(*RUN, "--judge", f"hf:{taught_model()}", *options)
    assert (over_http.code, here.code) == (0, 0), over_http.err + here.err
    found = [[{**row, "judge": ""} for row in rows(run.out)] for run in (over_http, here)]
    assert found[0] == found[1] and len(found[0]) == TAUGHT and {row["grade"] for row in found[0]} == {"L1", "L2", "L3", "L4"}


def test_a_chat_model_is_asked_through_the_servers_template(served):
    model = open_http(served)
    assert model.chat and model.generate(PROMPTS[:2]) == [[answers()[prompt]] for prompt in PROMPTS[:2]]
    ((cut,),) = model.generate(PROMPTS[:1], max_new_tokens=6)
    assert isinstance(cut, Cut) and answers()[PROMPTS[0]].startswith(cut.text)


def test_draws_over_http_repeat_with_the_seed(served):
    model = open_http(served, chat=False, concurrency=1)  # `transformers serve` keeps one random state for all requests

    def draw(seed: int) -> list[str]:
        (drawn,) = model.generate(PROMPTS[:1], samples=3, temperature=2.0, max_new_tokens=6, seed=seed)
        return [str(reply) if isinstance(reply, str) else reply.text for reply in drawn]

    assert draw(1) == draw(1) and draw(1) != draw(2) and len(set(draw(1))) > 1


def test_soft_needs_a_server_that_tells_log_probabilities(served):
    run = lore(*RUN, "--judge", served, "--prompt", "short", "--soft")
    assert run.code == 4 and run.out == b"" and "log-probabilities" in run.err and "--soft" in run.err


def test_a_model_the_server_does_not_have_is_missing(served):
    run = lore(*RUN, "--judge", f"{served.partition('#')[0]}#another")
    assert run.code == 4 and "does not answer for 'another'" in run.err and "next: " in run.err


# ------------------------------------------------------------------------------------------------ log-probabilities, from a real model


class ProbabilityServer(LoopbackServer):
    """The two endpoints over the tiny model in this process: greedy replies, with the 20 likeliest tokens of each step where they are asked for."""

    def __init__(self, folder) -> None:
        from lore_cli.models.hf import open_hf

        self.model = open_hf(str(folder), chat=False)
        super().__init__(self.tell)

    def tell(self, path: str, body: dict | None) -> Reply:
        if body is None:
            return models("tiny")
        messages = body.get("messages", [])
        said = body.get("prompt") or messages[0]["content"]
        ids, tokens, likely = self.model._plain_ids(said), [], []
        while len(tokens) < body["max_tokens"] and END not in tokens:
            top = self.model._next_logits(self.model._pad([ids]))[0].float().log_softmax(-1).topk(20)
            likely.append({self.model._tokenizer.decode([token]): value for token, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)})
            ids = [*ids, top.indices[0].item()]
            tokens.append(self.model._tokenizer.decode(ids[-1:]))
        told = {"tokens": tokens, "top_logprobs": likely}
        if messages:
            told = {"content": [{"token": token, "top_logprobs": [{"token": t, "logprob": v} for t, v in step.items()]} for token, step in zip(tokens, likely)]}
        reply = text("".join(tokens).removesuffix(END), "stop" if END in tokens else "length")
        reply.body["choices"][0]["logprobs"] = told if "logprobs" in body else None
        return reply


@pytest.fixture(scope="module")
def telling():
    pytest.importorskip("torch")
    with ProbabilityServer(taught_model()) as server:
        yield server


def test_label_probabilities_over_http_are_the_models_own(telling):
    labels, begun = (" L1", " L2", " L3", " L4"), [answers()[prompt][:-3] for prompt in PROMPTS]
    here = telling.model.label_probabilities(PROMPTS, labels, begun=begun)
    there = open_http(telling.address, chat=False).label_probabilities(PROMPTS, labels, begun=begun)
    for expected, found in zip(here, there, strict=True):
        assert found == pytest.approx(expected, abs=1e-3) and sum(found) == pytest.approx(1)  # beyond the 20 likeliest counts as 0


def test_labels_that_begin_with_one_token_are_followed(telling):
    model, prompt, begun = telling.model, PROMPTS[4], "category ="
    assert answers()[prompt].startswith("category = phone case ;")
    labels = (" phone case", " phone pack")
    assert [len(model._plain_ids(label)) for label in labels] == [2, 2]
    (expected,) = model.label_probabilities([prompt], labels, begun=[begun])
    (found,) = open_http(telling.address, chat=False).label_probabilities([prompt], labels, begun=[begun])
    assert found == pytest.approx(expected, abs=2e-3) and found[0] > 0.9


def test_a_chat_model_tells_probabilities_too(telling):
    labels, begun = (" L1", " L2", " L3", " L4"), [answers()[prompt][:-3] for prompt in PROMPTS]
    here = telling.model.label_probabilities(PROMPTS, labels, begun=begun)
    for expected, found in zip(here, open_http(telling.address).label_probabilities(PROMPTS, labels, begun=begun), strict=True):
        assert found == pytest.approx(expected, abs=1e-3)


def test_log_probabilities_are_read_where_the_label_stands():
    reply = [("rules:", {}), (" none", {}), ("\n", {}), ("grade:", {}), (" L", {" L": -0.1, " R": -3.0}), ("2", {"2": -0.5, "3": -1.5})]
    half_characters = [("\ufffd", {}), ("\ufffd", {}), *reply[2:]]
    for written in (reply, half_characters):
        assert label_row(written, "rules: none\ngrade:", [" L1", " L2", " L3"]) == pytest.approx([0, 0.7311, 0.2689], abs=1e-4)
    for wrong in (reply[:3], [("rules:", {})], []):
        with pytest.raises(RequestFailed, match="does not come to 'grade:'"):
            label_row(wrong, "rules: none\ngrade:", [" L1"])
    for told in (None, {}, {"content": None}, {"content": [{"token": "a"}]}, {"tokens": ["a"], "top_logprobs": None}, {"tokens": ["a"], "top_logprobs": []}):
        assert steps(told, chat=True) == [] and steps(told, chat=False) == []


def test_soft_verdicts_over_http_are_those_of_this_process(telling):
    options, before = ("--prompt", "short", "--soft", "--limit", TAUGHT), len(telling.asked)
    over_http, here = lore(*RUN, "--judge", telling.address, *options), lore(*RUN, "--judge", f"hf:{taught_model()}", *options)
    assert (over_http.code, here.code) == (0, 0), over_http.err + here.err
    for found, expected in zip(rows(over_http.out), rows(here.out), strict=True):
        assert found["grade"] == expected["grade"] and found["scores"] == pytest.approx(expected["scores"], abs=1e-3)
    asked = [body for _, body, _ in telling.asked[before:] if body]
    assert len(asked) == 3 + TAUGHT, "what the server can do is asked before the work (two forms of a pattern, probabilities); then one request a pair"


def test_a_label_that_cannot_be_read_is_no_guess(telling):
    model = open_http(telling.address, chat=False)
    (found,) = model.label_probabilities(PROMPTS[:1], ("\u00e9\u00e9", "\u00e8\u00e8"))
    assert isinstance(found, RequestFailed) and "likeliest next tokens" in str(found)
    (found,) = model.label_probabilities(PROMPTS[:1], (" L1", " L2"), begun=["verdict:"])
    assert isinstance(found, RequestFailed) and "does not come to 'verdict:'" in str(found)
