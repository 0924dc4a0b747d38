"""What a run costs: counted, told, and kept under a limit, with rows that were not asked left for --retry-failed."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("httpx")
pytest.importorskip("stamina")

from commands_run import lore  # noqa: E402
from expert_server import EXAMPLES, PAIRS, ExpertServer  # noqa: E402
from lore_cli.models import Cut, Unasked, Usage  # noqa: E402
from lore_cli.models.metered import LIMIT_REACHED, Meter, Metered  # noqa: E402

MILLION = 1_000_000


class Priced:
    """A model that answers `reply` and tells what that came to: one token a character. tells: whether it tells at all."""

    def __init__(self, reply: str | Exception = "abc", tells: bool = True) -> None:
        self.reply, self.asked = reply, []
        if tells:
            self.usage = Usage()

    def generate(self, prompts, *, samples=1, temperature=0.0, max_new_tokens=256, seed=0):
        self.asked.append(list(prompts))
        for prompt in prompts:
            if hasattr(self, "usage"):
                self.usage.add(len(prompt), 3)
        return [[self.reply] * samples for _ in prompts]

    def label_probabilities(self, prompts, labels, *, begun=None):
        self.asked.append(list(prompts))
        for prompt in prompts:
            self.usage.add(len(prompt), 1)
        return [[0.5, 0.5] for _ in prompts]

    def identity(self):
        return {"model": "priced"}


def metered(max_cost: float | None, **options) -> tuple[Metered, Priced, Meter]:
    """Prices: 1 a token of a prompt, 10 a token of a reply."""
    meter, model = Meter(MILLION, 10 * MILLION, max_cost), Priced(**options)
    return Metered(model, meter), model, meter


def test_without_a_limit_everything_is_asked_at_once_and_counted():
    model, priced, meter = metered(None)
    model.generate(["ab", "abcd"])
    assert priced.asked == [["ab", "abcd"]] and meter.usage == Usage(2, 6, 6) and meter.cost == 6 + 60
    assert meter.counts() == {"requests": 2, "prompt_tokens": 6, "completion_tokens": 6, "cost": 66.0}


def test_asking_stops_before_the_limit_could_be_passed_and_what_was_saved_is_used():
    model, priced, meter = metered(300.0)  # a prompt costs 2 + 10 × 9 = 92 at worst, 2 + 10 × 3 = 32 in the end
    replies = model.generate(["ab"] * 10, max_new_tokens=9)
    assert [len(part) for part in priced.asked] == [3, 2, 1, 1] and meter.cost == 7 * 32 and meter.cost + 92 > 300
    assert replies[:7] == [["abc"]] * 7 and all(isinstance(reply, Unasked) and str(reply) == LIMIT_REACHED for (reply,) in replies[7:])
    assert meter.unasked == 3 and model.generate(["ab"], max_new_tokens=9) != [["abc"]]
    assert model.generate(["ab"], max_new_tokens=7) == [["abc"]]  # 72 at worst still fit


@pytest.mark.parametrize("limit", [0.0, 91.0])
def test_a_limit_under_one_request_asks_nothing(limit):
    model, priced, meter = metered(limit)
    assert isinstance(model.generate(["ab"], max_new_tokens=9)[0][0], Unasked) and priced.asked == [] and meter.cost == 0


def test_draws_are_held_back_for_together_and_probabilities_count_too():
    model, priced, _ = metered(300.0)
    assert [isinstance(row[0], str) for row in model.generate(["ab", "ab"], samples=2, temperature=1.0, max_new_tokens=9)] == [True, True]
    model, priced, meter = metered(41.0)  # 2 + 10 × 3 for each at worst
    rows = model.label_probabilities(["ab", "ab", "ab"], ["L1"], begun=["b"] * 3)
    assert rows[:1] == [[0.5, 0.5]] and isinstance(rows[1], Unasked) and meter.cost == 12


def test_a_model_that_tells_no_tokens_is_charged_at_worst_and_a_failure_is_not():
    model, _, meter = metered(1000.0, tells=False)
    model.generate(["ab"], max_new_tokens=9)
    assert meter.cost == 92 and meter.counts() == {"requests": 1, "prompt_tokens": 0, "completion_tokens": 0, "cost": 92.0, "untold": 1}
    model, _, meter = metered(1000.0, tells=False, reply=RuntimeError("no reply"))
    model.generate(["ab"], max_new_tokens=9)
    assert meter.cost == 0 and meter.untold == 0
    model, _, meter = metered(1000.0, tells=False, reply=Cut("abc", 9))
    model.generate(["ab"], max_new_tokens=9)
    assert meter.untold == 1


# ------------------------------------------------------------------------------------------------ commands

PRICES = ("--price-in", 1000, "--price-out", 2000)


def usage_of(out) -> dict:
    return json.loads(out.with_name(out.name + ".manifest.json").read_bytes())["counts"]["usage"]


@pytest.fixture(scope="module")
def served():
    with ExpertServer() as server:
        yield server


def test_a_run_tells_what_it_asked_and_cost(served, tmp_path):
    out = tmp_path / "out.jsonl"
    before = served.paid
    done = lore("lore-rair run", PAIRS, "--judge", served.uri, "--limit", 6, *PRICES, "-o", out)
    usage = usage_of(out)
    assert usage["requests"] == served.paid - before == 6 and usage["cost"] > 0 and "6 requests" in done.err and f"cost {usage['cost']}" in done.err
    assert lore("lore-rair run", PAIRS, "--judge", "rulebook:", "-o", out, "--force").code == 0
    assert "usage" not in json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["counts"]


def test_rows_past_the_limit_fail_and_a_retry_finishes_them(served, tmp_path):
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    words = ("lore-synth", PAIRS, "--images", EXAMPLES, "--judge", served.uri, "--batch-size", 1, "--limit", 12, *PRICES)
    assert lore(*words, "-o", whole).code == 0
    limit = usage_of(whole)["cost"] / 2
    before = served.paid
    done = lore(*words, "-o", out, "--max-cost", limit)
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    failed = [row for row in rows if row.get("error")]
    assert done.code == 5 and failed and all(LIMIT_REACHED in row["error"] for row in failed) and len(rows) == len(whole.read_bytes().splitlines())
    usage = usage_of(out)
    assert 0 < usage["cost"] <= limit and usage["unasked"] >= len({row["query"] for row in failed}) and f"{usage['unasked']} not asked" in done.err
    assert served.paid - before == usage["requests"] > 0
    assert lore(*words, "-o", out, "--retry-failed").code == 0 and out.read_bytes() == whole.read_bytes()


def test_a_limit_needs_prices():
    done = lore("lore-rair run", PAIRS, "--judge", "rulebook:", "--max-cost", 3)
    assert done.code == 2 and "--max-cost needs prices" in done.err and "--price-in" in done.err
