"""The loss of a batch computed in parts: the same numbers, whatever is padded."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
import torch
import training_toys as toys
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from lore_cli.train.common import load_for_training
from lore_cli.train.rl_trainer import Trainer, _parts


@pytest.fixture
def trainer():
    """What the method needs of one: a model, and arithmetic as it is."""
    made = Trainer.__new__(Trainer)
    made.accelerator = SimpleNamespace(autocast=contextlib.nullcontext, is_main_process=False, num_processes=1)
    return made


@pytest.fixture
def calls(monkeypatch):
    """(rows, columns) of each call of TRL's method, which is not run."""
    made: list[tuple[int, int]] = []

    def score(self, model, ids, mask, keep, *rest, **options):
        made.append(tuple(ids.shape))
        return torch.zeros(len(ids), keep), None, None

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", score)
    return made


def batch(prompts: list[int], answers: list[int]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(ids, mask, columns of the answers): prompts padded on the left, answers on the right."""
    left, right = max(prompts), max(answers)
    mask = torch.tensor([[0] * (left - prompt) + [1] * (prompt + answer) + [0] * (right - answer) for prompt, answer in zip(prompts, answers, strict=True)])
    ids = torch.randint(5, 60, mask.shape, generator=torch.Generator().manual_seed(0))
    return ids, mask, right


@pytest.mark.parametrize("answers", [[3, 4, 2, 40, 5, 3, 2, 4], [0, 4, 2, 40, 5, 3, 2, 4], [40] * 8, [1], [6] * 64, [6, 2, 9, 40] * 20])
def test_parts_give_what_the_whole_gives(trainer, answers):
    model, _ = load_for_training(str(toys.graded_by_label()))
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    prompts = ([7, 3, 9, 5, 7, 8, 4, 6] * len(answers))[: len(answers)]
    ids, mask, right = batch(prompts, answers)
    wanted = GRPOTrainer._get_per_token_logps_and_entropies(trainer, model, ids, mask, right, compute_entropy=True)
    seen = mask[:, -right:].bool()
    wanted[0][seen].sum().backward()
    learnt = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    found = trainer._get_per_token_logps_and_entropies(model, ids, mask, right, compute_entropy=True)
    for one, other in zip(found[:2], wanted[:2], strict=True):
        assert one.shape == other.shape and torch.allclose(one[seen], other[seen], atol=1e-4) and torch.isfinite(one).all()
    found[0][seen].sum().backward()
    for weight, before in zip(model.parameters(), learnt, strict=True):
        assert torch.allclose(weight.grad, before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))


def test_what_comes_without_entropy_and_with_pictures(trainer, calls):
    ids, mask, right = batch([5] * 8, [6] * 7 + [96])
    logps, entropies, aux = trainer._get_per_token_logps_and_entropies(None, ids, mask, right, pixel_values=None)
    assert (logps.shape, entropies, aux, len(calls)) == ((8, 96), None, None, 4)
    trainer._get_per_token_logps_and_entropies(None, ids, mask, right, pixel_values=torch.zeros(8, 3))
    assert calls[4:] == [(8, 101)]


def test_one_long_answer_widens_its_own_part_alone(trainer):
    ids, mask, right = batch([5] * 16, [3] * 15 + [96])
    parts = _parts(mask, right)
    assert sorted(row for part in parts for row in part.rows.tolist()) == list(range(16))
    assert [part.end - part.start for part in parts] == [8, 8, 8, 101]


def test_a_large_batch_is_computed_by_sixteen_rows_whatever_its_lengths():
    _, mask, right = batch([5] * 128, [6] * 128)
    assert [len(part.rows) for part in _parts(mask, right)] == [16] * 8


@pytest.mark.parametrize(("rows", "called"), [(64, 4), (63, 1)])
def test_a_small_batch_of_one_length_is_not_parted(trainer, calls, rows, called):
    ids, mask, right = batch([5] * rows, [6] * rows)
    trainer._get_per_token_logps_and_entropies(None, ids, mask, right)
    assert calls == [(rows // called, 11)] * called


def test_several_processes_call_their_models_alike(trainer, calls):
    trainer.accelerator.num_processes = 2
    ids, mask, right = batch([5] * 8, [6] * 7 + [96])
    trainer._get_per_token_logps_and_entropies(None, ids, mask, right)
    assert calls == [(8, 101)]
