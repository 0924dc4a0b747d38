"""What a student is taught: losses that are summed by weight.

1. distribution: KL(teacher ‖ student) over the four grades (ELLM-MKD, arXiv 2411.13045, the score distribution);
2. ordinal: squared earth mover's distance between the two distributions (Hou, Yu, Samaras, arXiv 1611.05916): L1 for an L4 costs more than L3 does;
3. margin: squared error between the two models' differences of expected grade over item pairs of one query (Walmart, arXiv 2505.07105);
4. attribute heads: the teacher's match state of each attribute (ELLM-MKD, what its reasoning says).

The human's share of the target is ours: a student need not inherit all of its teacher's errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from lore_cli.judges.student import STATES_SEEN
from lore_cli.records import GRADES
from lore_cli.train.soft import Weights

NOT_ASKED = -100  # no target for this dimension's head


@dataclass(frozen=True, slots=True)
class Targets:
    """What rows are to become. grades: (rows, 4) distributions; states: (rows, dimensions) numbers or NOT_ASKED; query: (rows,) numbers of their queries."""

    grades: torch.Tensor
    states: torch.Tensor
    query: torch.Tensor

    def of(self, rows: torch.Tensor) -> Targets:
        """Those of some rows, on the device of `rows`."""
        return Targets(*(part.to(rows.device)[rows] for part in (self.grades, self.states, self.query)))


def distribution_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over rows of KL(target ‖ softmax(logits)); both (rows, 4).

    >>> round(float(distribution_loss(torch.zeros(1, 4), torch.tensor([[1.0, 0, 0, 0]]))), 4)  # log 4
    1.3863
    """
    entropy = torch.special.entr(target).sum(-1)
    return (-(target * logits.log_softmax(-1)).sum(-1) - entropy).mean()


def ordinal_loss(probabilities: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over rows of Σ (difference of the cumulative probabilities)² ÷ 3, so that it lies in [0, 1]; both (rows, 4).

    >>> [round(float(ordinal_loss(torch.eye(4)[[given]], torch.eye(4)[[3]])), 2) for given in range(4)]
    [1.0, 0.67, 0.33, 0.0]
    """
    return (probabilities.cumsum(-1) - target.cumsum(-1)).square().sum(-1).mean() / (len(GRADES) - 1)


def expected_grade(probabilities: torch.Tensor) -> torch.Tensor:
    """Mean grade number, 1..4: (rows, 4) → (rows,)."""
    return probabilities @ torch.arange(1, len(GRADES) + 1, dtype=probabilities.dtype, device=probabilities.device)


def margin_loss(expected: torch.Tensor, target: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Mean over row pairs i<j of one query of ((e_i − e_j) − (t_i − t_j))² ÷ 9, so that it lies in [0, 4]; 0 when no two rows share a query. All (rows,).

    >>> float(margin_loss(torch.tensor([4.0, 1.0]), torch.tensor([3.0, 3.0]), torch.tensor([0, 0])))
    1.0
    """
    pairs = torch.triu(query[:, None] == query[None, :], diagonal=1)
    if not bool(pairs.any()):
        return expected.sum() * 0
    gaps = (expected[:, None] - expected[None, :]) - (target[:, None] - target[None, :])
    return gaps[pairs].square().mean() / 9


def state_loss(logits: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the attribute heads over asked dimensions. logits: (rows, dimensions × 4), states: (rows, dimensions) with NOT_ASKED."""
    if not bool((states != NOT_ASKED).any()):
        return logits.sum() * 0
    return functional.cross_entropy(logits.reshape(-1, len(STATES_SEEN)), states.reshape(-1), ignore_index=NOT_ASKED)


def total_loss(logits: torch.Tensor, target: Targets, weights: Weights) -> torch.Tensor:
    """The weighted sum. logits: (rows, 4), or (rows, 4 + 4 × dimensions) with attribute heads."""
    grades = logits[:, : len(GRADES)].float()
    probabilities = grades.softmax(-1)
    loss = weights.distribution * distribution_loss(grades, target.grades)
    if weights.ordinal:
        loss = loss + weights.ordinal * ordinal_loss(probabilities, target.grades)
    if weights.margin:
        loss = loss + weights.margin * margin_loss(expected_grade(probabilities), expected_grade(target.grades), target.query)
    if weights.states and logits.shape[1] > len(GRADES):
        loss = loss + weights.states * state_loss(logits[:, len(GRADES) :].float(), target.states)
    return loss
