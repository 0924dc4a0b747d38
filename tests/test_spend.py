"""What a run costs: counted, told, and kept under a limit, with rows that were not asked left for --retry-failed."""

from __future__ import annotations

import json
from types import SimpleNamespace

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

    def generate(self, prompts, *, samples=1, temperature=0.0, max_new_tokens=256, seed=0, heard=None):
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
    done = lore("lore-rair run", PAIRS, "--judge", served.uri, "--limit", 6, "--structured", "off", *PRICES, "-o", out)
    usage = usage_of(out)
    assert usage["requests"] == served.paid - before == 6 and usage["cost"] > 0 and "6 requests" in done.err and f"cost {usage['cost']}" in done.err
    assert lore("lore-rair run", PAIRS, "--judge", "rulebook:", "-o", out, "--force").code == 0
    assert "usage" not in json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["counts"]


def test_what_a_run_cost_reaches_its_report_and_the_board(tmp_path):
    gold = tmp_path / "gold.jsonl"
    gold.write_bytes(b"".join(PAIRS.read_bytes().splitlines(keepends=True)[:6]))
    with ExpertServer(first=lambda prompt: "category = sofa ; not found ; unknown\nrules: none\ngrade: L3") as server:
        assert lore("lore-rair run", gold, "--judge", server.uri, "--structured", "off", *PRICES, "-o", tmp_path / "paid.jsonl").code == 0
    assert lore("lore-rair run", gold, "--judge", "rulebook:", "-o", tmp_path / "free.jsonl").code == 0
    for name in ("paid", "free"):
        assert lore("lore-rair score", tmp_path / f"{name}.jsonl", "--gold", gold, "--draws", 100, "--json", tmp_path / "reports" / f"{name}.json").code == 0
    cost = json.loads((tmp_path / "reports" / "paid.json").read_bytes())["cost"]
    assert cost == {"per_1000": pytest.approx(1000 * usage_of(tmp_path / "paid.jsonl")["cost"] / 6), "pairs": 6}
    assert json.loads((tmp_path / "reports" / "free.json").read_bytes())["cost"] is None
    shown = lore("lore-rair board", tmp_path / "reports", "--cost", "free=0")
    assert shown.code == 0 and b"Quality against cost" in shown.out and b"cost/1,000" in shown.out


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


# ------------------------------------------------------------------------------------------------ dry runs

SYNTH = ("lore-synth", "--images", EXAMPLES)


def planned(*words: object, **more):
    done = lore(*SYNTH, *words, "--dry-run", **more)
    assert done.code == 0, done.err
    return json.loads(done.out), done.err


def test_a_dry_run_says_what_the_run_then_asks_and_asks_nothing_itself(tmp_path):
    with ExpertServer() as server:
        document, said = planned(PAIRS, "--judge", server.uri, "--attempts", 4, *PRICES, "-o", tmp_path / "new" / "out.jsonl")
        assert server.asked == [] and list(tmp_path.iterdir()) == []
        assert lore(*SYNTH, PAIRS, "--judge", server.uri, "-o", tmp_path / "out.jsonl").code == 0
        (model,) = document["models"]
        prompts = [body["messages"][0]["content"] for _, body, _ in server.asked if body]
    assert document["rows"] == 24 and list(model["stages"]) == ["knowledge", "visual", "rules"]
    assert {name: part["expected"]["requests"] for name, part in model["stages"].items()} == {"knowledge": 6, "visual": len(prompts) - 30, "rules": 24}
    total = model["total"]
    assert total["expected"]["requests"] == len(prompts) and total["worst"]["requests"] == 4 * len(prompts)
    assert total["expected"]["prompt_tokens"] == sum(-(-len(prompt.encode()) // 4) for prompt in prompts)
    assert total["worst"]["completion_tokens"] == 256 * 4 * len(prompts) and "estimate" in model["prompt_tokens_by"]
    assert total["worst"]["cost"] == pytest.approx((total["worst"]["prompt_tokens"] * 1000 + total["worst"]["completion_tokens"] * 2000) / MILLION)
    assert "knowledge: 6 (at worst 24) requests" in said and "cost" in said


def test_a_dry_run_reads_a_pipe_and_checks_it(served):
    rows = PAIRS.read_bytes()
    document, _ = planned("--judge", served.uri, "--stages", "knowledge", "--limit", 5, stdin=rows)
    assert document["rows"] == 5 and "cost" not in document["models"][0]["total"]["worst"]
    bad = lore(*SYNTH, "--judge", served.uri, "--dry-run", stdin=rows + b"no json\n")
    assert bad.code == 3 and "<stdin>:25: not valid JSON" in bad.err and bad.out == b""
    assert planned(stdin=b"")[0] == {"rows": 0, "cached": 0, "models": []}


def test_a_dry_run_counts_what_the_cache_holds_and_leaves_it_as_it_is(served, tmp_path):
    cache = tmp_path / "replies.sqlite"
    words = (PAIRS, "--judge", served.uri, "--reply-cache", cache)
    assert planned(*words)[0]["cached"] == 0 and not cache.exists()
    assert lore(*SYNTH, *words, "--limit", 12).code == 0
    before = json.loads(lore("lore-synth", "cache", "stat", cache, "--json").out)["hits"]
    document, _ = planned(*words, "--limit", 12)
    assert document["models"][0]["total"]["worst"]["requests"] == 0 and document["cached"] > 12
    model = planned(*words)[0]["models"][0]
    assert model["stages"]["rules"]["expected"]["requests"] == 12 and model["completion_tokens_by"] == "the model's replies in the cache"
    assert json.loads(lore("lore-synth", "cache", "stat", cache, "--json").out)["hits"] == before


def test_a_local_model_is_counted_by_its_own_tokenizer_without_its_weights(tmp_path):
    pytest.importorskip("transformers")
    from lore_cli.train import scratch

    scratch.train_tokenizer([PAIRS.read_text("utf-8")], 400).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    document, _ = planned(PAIRS, "--judge", f"hf:{tmp_path / 'model'}", "--stages", "knowledge", "--limit", 4)
    (model,) = document["models"]
    assert model["prompt_tokens_by"] == "the model's tokenizer" and model["model"].startswith("sha256:")
    assert model["total"]["expected"]["prompt_tokens"] > 1000
    missing = lore(*SYNTH, PAIRS, "--judge", f"hf:{tmp_path / 'none'}", "--dry-run")
    assert missing.code == 4 and "no such directory" in missing.err


# ------------------------------------------------------------------------------------------------ before the first paid call


@pytest.mark.parametrize("command", ["lore-synth", "lore-rair run", "lore-distill label"])
def test_a_bad_row_among_the_first_is_told_before_anything_is_asked(command, tmp_path):
    rows = PAIRS.read_bytes().splitlines(keepends=True)
    rows = [row.replace(b'"image":"images/', f'"image":"{EXAMPLES}/images/'.encode()) for row in rows]
    (tmp_path / "rows.jsonl").write_bytes(b"".join(rows[:20]) + b'{"id": 1}\n')
    with ExpertServer() as server:
        words = (command, tmp_path / "rows.jsonl", "--judge", server.uri, "--batch-size", 1, "-o", tmp_path / "out.jsonl")
        done = lore(*words)
        assert done.code == 3 and "rows.jsonl:21: id" in done.err and server.paid == 0
        (tmp_path / "out.jsonl").write_text("kept")
        assert lore(*words).code == 2 and server.asked == []


def test_a_picture_that_is_missing_is_told_before_anything_is_asked(tmp_path):
    rows = [json.loads(line) for line in PAIRS.read_bytes().splitlines()]
    rows[9]["item"]["image"] = "images/none.png"
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ExpertServer() as server:
        done = lore(*SYNTH, path, "--judge", server.uri, "--batch-size", 1)
        assert done.code == 3 and f"row '{rows[9]['id']}': item.image" in done.err and server.asked == []
        assert lore(*SYNTH, path, "--judge", server.uri, "--stages", "knowledge", "--limit", 2).code == 0


def test_an_output_without_space_is_told_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    done = lore("lore-rair run", tmp_path / "none.jsonl", "--judge", "rulebook:", "-o", tmp_path / "out.jsonl")
    assert done.code == 4 and "1000 bytes free" in done.err and "none.jsonl" not in done.err
