"""Muon for matrices and AdamW for the rest, as one optimiser."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lore_cli.train.optimizer import MuonAdamW, muon_adamw, orthogonalised


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 9), nn.Linear(9, 9), nn.Linear(9, 4))


def optimizer_of(net: nn.Module) -> MuonAdamW:
    embedding, *linear = net
    return MuonAdamW([layer.weight for layer in linear], [embedding.weight, *(layer.bias for layer in linear)])


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, count: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for _ in range(count):
        ids, wanted = torch.randint(7, (5,), generator=random), torch.randint(4, (5,), generator=random)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(ids), wanted).backward()
        optimizer.step()


def test_a_run_taken_up_from_its_state_goes_on_identically():
    whole = model()
    optimizer = optimizer_of(whole)
    steps(whole, optimizer, 3, seed=1)
    taken_up = copy.deepcopy(whole)
    other = optimizer_of(taken_up)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(whole, optimizer, 3, seed=2)
    steps(taken_up, other, 3, seed=2)
    for one, two in zip(whole.parameters(), taken_up.parameters(), strict=True):
        assert torch.equal(one, two)


def test_without_its_state_a_run_goes_on_differently():
    whole = model()
    optimizer = optimizer_of(whole)
    steps(whole, optimizer, 3, seed=1)
    bare = copy.deepcopy(whole)
    steps(whole, optimizer, 1, seed=2)
    steps(bare, optimizer_of(bare), 1, seed=2)
    assert not all(torch.equal(one, two) for one, two in zip(whole.parameters(), bare.parameters(), strict=True))


def test_its_adamw_is_torchs():
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)) for _ in range(2))
    mine = MuonAdamW([nn.Parameter(torch.eye(2))], [ours], adamw_rate=0.01)
    reference = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05)
    for step in range(5):
        for weight, optimizer in ((ours, mine), (theirs, reference)):
            weight.grad = torch.sin(weight.detach() * 3 + step)
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 16), (2, 16, 4)])
def test_orthogonalised_keeps_directions_and_evens_out_strengths(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    out = orthogonalised(matrices)
    strengths = torch.linalg.svdvals(out)
    assert out.shape == matrices.shape
    assert float(strengths.min()) > 0.3 and float(strengths.max()) < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    in_their_directions = left.mT @ out @ right.mT
    off_diagonal = in_their_directions - torch.diag_embed(torch.diagonal(in_their_directions, dim1=-2, dim2=-1))
    assert float(off_diagonal.abs().max()) < 1e-3


def test_every_weight_is_in_one_group_and_tables_are_left_to_adamw():
    net = nn.ModuleDict({"embed_tokens": nn.Embedding(7, 6), "up": nn.Linear(6, 9), "norm": nn.LayerNorm(9), "lm_head": nn.Linear(9, 7, bias=False)})
    made = muon_adamw(net, scale=0.5)
    matrices, others = (group["params"] for group in made.param_groups)
    assert [tuple(weight.shape) for weight in matrices] == [(9, 6)]
    assert len(matrices) + len(others) == len(list(net.parameters()))
    assert made.param_groups[0]["lr"] == pytest.approx(0.012) and made.param_groups[1]["lr"] == pytest.approx(1.5e-3)


def test_a_weight_without_gradient_stays_as_it_is():
    used, unused = nn.Parameter(torch.eye(3)), nn.Parameter(torch.eye(3))
    bias = nn.Parameter(torch.ones(3))
    used.grad = torch.ones(3, 3)
    MuonAdamW([used, unused], [bias]).step()
    assert torch.equal(unused, torch.eye(3)) and torch.equal(bias, torch.ones(3)) and not torch.equal(used, torch.eye(3))
