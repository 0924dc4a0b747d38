"""Distil a judge into a small encoder.

LORE serves the middle of the traffic with a model distilled from the language model. The losses follow its sister systems, the rest is ours:
1. distribution: KL(teacher ‖ student) over the four grades (ELLM-MKD), a one-hot target where the teacher gave no scores;
2. margin: squared error between the two models' differences of expected grade over item pairs of one query (Walmart), on the grade scale;
3. attribute heads: the teacher's match state of each attribute as an auxiliary target (ELLM-MKD);
4. human grades, where a row has one, are mixed into the target, so that the student need not inherit all of its teacher's errors;
5. a query-disjoint part is held out: it sets the temperature that calibrates the scores, and tells agreement with the teacher and with humans.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from lore_cli.errors import BadInput
from lore_cli.judges.cached import normalise
from lore_cli.judges.student import STATES_SEEN, Reader
from lore_cli.progress import Log
from lore_cli.records import GRADES, Pair
from lore_cli.train import encoder
from lore_cli.train.finite import require_finite, require_finite_weights
from lore_cli.train.optimizer import MuonAdamW
from lore_cli.train.soft import SoftRow, target_of

NOT_ASKED = -100  # no target for this dimension's head
_GROUP = 8  # items of one query kept together, so that the margin loss has pairs to compare
_POOL = 16  # batches sorted by length together
_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the losses; `human`: share of the target that a human grade takes beside the teacher's."""

    distribution: float = 1.0
    margin: float = 0.3
    states: float = 0.2
    human: float = 0.3


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. epochs: passes over the rows; max_seconds ends earlier, the learning rate following the clock. rates: (Muon, AdamW) of a fresh encoder or (0, AdamW) of a given one."""

    weights: Weights = field(default_factory=Weights)
    max_length: int = 128
    batch_size: int = 64
    epochs: float = 8.0
    max_seconds: float | None = None
    rates: tuple[float, float] = (0.01, 2e-3)
    held_out: float = 0.1
    seed: int = 0


@dataclass(slots=True)
class Examples:
    """Rows ready for training. target: (rows, 4); human: grade number or -1; teacher: grade number or -1; states: (rows, dimensions); query: number of the query."""

    texts: list[tuple[str, str]]
    target: torch.Tensor
    human: torch.Tensor
    teacher: torch.Tensor
    states: torch.Tensor
    query: list[int]
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.texts)


def prepare(rows: Iterable[SoftRow], reader: Reader, human_weight: float) -> Examples:
    """Texts and targets of the rows. Rows with neither a teacher's nor a human grade are skipped and counted. Raises `BadInput` when none is left."""
    dimensions = {name: number for number, name in enumerate(reader.rulebook.dimensions)}
    texts, targets, humans, teachers, states, queries = [], [], [], [], [], []
    numbers: dict[str, int] = {}
    skipped = 0
    for row in rows:
        target = target_of(row, human_weight)
        if target is None:
            skipped += 1
            continue
        texts.append(reader.texts(Pair(row.id, row.query, row.item)))
        targets.append(target)
        humans.append(GRADES.index(row.grade) if row.grade else -1)
        teachers.append(GRADES.index(row.teacher.grade) if row.teacher and row.teacher.grade else -1)
        seen = [NOT_ASKED] * len(dimensions)
        for match in (row.teacher.matches or ()) if row.teacher else ():
            if match.attribute in dimensions and match.state in STATES_SEEN:
                seen[dimensions[match.attribute]] = STATES_SEEN.index(match.state)
        states.append(seen)
        queries.append(numbers.setdefault(normalise(row.query), len(numbers)))
    if not texts:
        raise BadInput("no row has a teacher's verdict or a human grade", field="teacher", hint="make them with lore-distill label")
    return Examples(texts, torch.tensor(targets), torch.tensor(humans), torch.tensor(teachers), torch.tensor(states), queries, skipped)


def distribution_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over rows of KL(target ‖ softmax(logits)); both (rows, 4).

    >>> round(float(distribution_loss(torch.zeros(1, 4), torch.tensor([[1.0, 0, 0, 0]]))), 4)  # log 4
    1.3863
    """
    entropy = torch.special.entr(target).sum(-1)
    return (-(target * logits.log_softmax(-1)).sum(-1) - entropy).mean()


def expected_grade(probabilities: torch.Tensor) -> torch.Tensor:
    """Mean grade number, 1..4: (rows, 4) → (rows,)."""
    return probabilities @ torch.arange(1.0, len(GRADES) + 1)


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


def batches(lengths: Sequence[int], query: Sequence[int], size: int, rng: random.Random) -> list[list[int]]:
    """One epoch of row numbers: up to eight rows of a query stay together, batches hold rows of similar length, all in random order."""
    by_query: dict[int, list[int]] = {}
    for row in rng.sample(range(len(lengths)), len(lengths)):
        by_query.setdefault(query[row], []).append(row)
    groups = [rows[start : start + _GROUP] for rows in by_query.values() for start in range(0, len(rows), _GROUP)]
    rng.shuffle(groups)
    made: list[list[int]] = []
    pool: list[list[int]] = []
    for number, group in enumerate(groups, 1):
        pool.append(group)
        if sum(map(len, pool)) >= size * _POOL or number == len(groups):
            pool.sort(key=lambda rows: max(lengths[row] for row in rows))
            flat = [row for rows in pool for row in rows]
            made += [flat[start : start + size] for start in range(0, len(flat), size)]
            pool = []
    rng.shuffle(made)
    return made


def fit(model: Any, tokenizer: Any, examples: Examples, rows: Sequence[int], settings: Settings, fresh: bool, log: Log) -> dict[str, Any]:
    """Train on `rows` of the examples. The rate rises over the first 5 % and falls by a cosine, over the steps or the seconds, whichever end first."""
    encoded = tokenizer([examples.texts[row][0] for row in rows], [examples.texts[row][1] for row in rows], truncation="longest_first", max_length=settings.max_length)
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in encoded]
    lengths, queries = [len(ids) for ids in encoded["input_ids"]], [examples.query[row] for row in rows]
    picked = torch.tensor(list(rows))
    query, target, states = torch.tensor(queries), examples.target[picked], examples.states[picked]
    rng, started, step, recent = random.Random(settings.seed), time.monotonic(), 0, 0.0
    torch.manual_seed(settings.seed)
    matrices, others = encoder.parameter_groups(model)
    muon, adamw = settings.rates
    optimiser = MuonAdamW(matrices, others, muon_rate=muon, adamw_rate=adamw) if fresh else torch.optim.AdamW(model.parameters(), lr=adamw, weight_decay=0.01)
    full = [group["lr"] for group in optimiser.param_groups]
    steps = max(1, math.ceil(settings.epochs * math.ceil(len(rows) / settings.batch_size)))
    model.train()
    for batch in _forever(lambda: batches(lengths, queries, settings.batch_size, rng)):
        elapsed = time.monotonic() - started
        progress = max(step / steps, elapsed / settings.max_seconds if settings.max_seconds else 0.0)
        if progress >= 1:
            break
        for group, rate in zip(optimiser.param_groups, full, strict=True):
            group["lr"] = rate * min(1.0, progress / 0.05 + 1e-3, 0.5 * (1 + math.cos(math.pi * progress)) + 1e-3)
        padded = tokenizer.pad({name: [encoded[name][row] for row in batch] for name in names}, return_tensors="pt")
        logits = model(**padded).logits
        loss = _loss(logits, target[batch], states[batch], query[batch], settings.weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step, value = step + 1, require_finite("loss", float(loss.detach()), step + 1)
        recent = value if step == 1 else 0.98 * recent + 0.02 * value
        left = elapsed * (1 / progress - 1) if progress else 0.0
        log.beat(f"step {step} of at most {steps}, loss {recent:.3f}, {left:.0f} s left", step=step, loss=round(recent, 4), seconds=round(elapsed, 1))
    require_finite_weights(model)
    model.eval()
    return {"steps": step, "planned_steps": steps, "seconds": round(time.monotonic() - started, 1)}


def _loss(logits: torch.Tensor, target: torch.Tensor, states: torch.Tensor, query: torch.Tensor, weights: Weights) -> torch.Tensor:
    grades = logits[:, : len(GRADES)]
    loss = weights.distribution * distribution_loss(grades, target)
    if weights.margin:
        loss = loss + weights.margin * margin_loss(expected_grade(grades.softmax(-1)), expected_grade(target), query)
    if weights.states and logits.shape[1] > len(GRADES):
        loss = loss + weights.states * state_loss(logits[:, len(GRADES) :], states)
    return loss


def _forever(epoch: Callable[[], list[list[int]]]) -> Iterator[list[int]]:
    while True:
        yield from epoch()


def logits_of(model: Any, tokenizer: Any, texts: Sequence[tuple[str, str]], max_length: int, size: int = 128) -> torch.Tensor:
    """Uncalibrated grade logits, (rows, 4) in float64."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            batch = tokenizer([one for one, _ in part], [two for _, two in part], truncation="longest_first", max_length=max_length, padding=True, return_tensors="pt")
            found.append(model(**batch).logits[:, : len(GRADES)].double())
    return torch.cat(found) if found else torch.zeros((0, len(GRADES)), dtype=torch.float64)


def fit_temperature(logits: torch.Tensor, target: torch.Tensor) -> float:
    """The T in [0.05, 20] that minimises the cross-entropy of softmax(logits ÷ T) against the target; 1 without rows."""
    from scipy.optimize import minimize_scalar

    if not len(logits):
        return 1.0
    wanted = target.double()

    def cost(log_temperature: float) -> float:
        return float(-(wanted * (logits / math.exp(log_temperature)).log_softmax(-1)).sum(-1).mean())

    return float(math.exp(minimize_scalar(cost, bounds=(math.log(0.05), math.log(20)), method="bounded").x))


def agreement(probabilities: torch.Tensor, examples: Examples, rows: Sequence[int]) -> dict[str, Any]:
    """On held-out rows: the student against its teacher, student and teacher against humans, and what each abstention threshold keeps."""
    if not rows:
        return {"rows": 0}
    picked = torch.tensor(list(rows))
    student, teacher, human = probabilities.argmax(-1), examples.teacher[picked], examples.human[picked]
    report: dict[str, Any] = {
        "rows": len(rows),
        "queries": len({examples.query[row] for row in rows}),
        "with_teacher": _scores(student, teacher),
        "student_with_human": _scores(student, human),
        "teacher_with_human": _scores(teacher, human),
        "kl": round(float(distribution_loss(probabilities.clamp_min(1e-12).log(), examples.target[picked].double())), 4),
    }
    reference = torch.where(teacher >= 0, teacher, human)
    sure = probabilities.amax(-1)
    report["thresholds"] = [
        {"threshold": least, "kept": round(float((sure >= least).double().mean()), 4), **_scores(student[sure >= least], reference[sure >= least])} for least in _THRESHOLDS
    ]
    return report


def _scores(found: torch.Tensor, wanted: torch.Tensor) -> dict[str, Any]:
    """Acc@2, Acc@4 and Macro-F1 over the rows where both are known; nulls where there is none."""
    from sklearn.metrics import f1_score

    known = (found >= 0) & (wanted >= 0)
    one, other = found[known], wanted[known]
    if not len(one):
        return {"n": 0, "acc2": None, "acc4": None, "macro_f1": None}
    acc2, acc4 = float(((one >= 2) == (other >= 2)).double().mean()), float((one == other).double().mean())
    return {"n": len(one), "acc2": round(acc2, 4), "acc4": round(acc4, 4), "macro_f1": round(float(f1_score(other, one, average="macro")), 4)}
