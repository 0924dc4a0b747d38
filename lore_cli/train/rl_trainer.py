"""TRL's GRPOTrainer with dynamic sampling, guided replay, an SFT loss beside its own, and steps that can be resumed.

TRL draws and scores in one method. Ours draws and scores first, until the batch is full (train/rl_sampling.py), and then hands TRL the completions that
were kept as if it had just drawn them: advantages, log-probabilities of policy and reference, and the loss stay TRL's.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn import functional
from trl import GRPOTrainer

from lore_cli.files import read_json, write_json_atomic
from lore_cli.train.checkpoints import Resumable
from lore_cli.train.common import completion_loss
from lore_cli.train.evaluation import Evaluated
from lore_cli.train.rl_sampling import Batch, Completion, Cursor, Group, Line, fill, guided, require_rewards, token_advantages

_CURSOR = "cursor.json"
_SEEDS = 2**32
_PART = 16  # rows that are computed together [ours]
_PARTS, _WORTH = 4, 0.85  # a batch of fewer rows than so many parts is cut into as many, where they hold less than this share of its cells [ours]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked, its token ids, and the capabilities that it tests. trace: the ids of a verified answer, for guided replay."""

    text: str
    ids: list[int]
    capabilities: frozenset[str] = frozenset()
    trace: list[int] | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a batch is drawn. score: (row, texts, lengths in tokens) → the parts of each reward; total: their weighted sum.

    lines: (row, text) → what each line earns, whose advantages are added with `process_weight`; None: every token has its answer's advantage alone.
    """

    prompts: Sequence[Prompt]
    wanted: int
    max_refills: int
    min_spread: float
    score: Callable[[int, Sequence[str], Sequence[int]], list[Mapping[str, float]]]
    total: Callable[[Mapping[str, float]], float]
    order: Sequence[int] | None = None
    lines: Callable[[int, str], Sequence[Line]] | None = None
    process_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a batch and the columns from `start` to `end` that hold all their tokens."""

    rows: torch.Tensor
    start: int
    end: int


def _parts(mask: torch.Tensor, answer: int) -> list[Part]:
    """The rows of a mask, (rows, columns), whose last `answer` columns are the answers', in parts of similar length of answer. A part has one column of them at least."""
    found = []
    for rows in mask[:, -answer:].sum(1).argsort(stable=True).chunk(max(_PARTS, len(mask) // _PART)):
        used = mask[rows].any(0).nonzero().flatten().tolist()
        found.append(Part(rows, used[0], max(used[-1] + 1, mask.shape[1] - answer + 1)))
    return found


class Trainer(Resumable, Evaluated, GRPOTrainer):
    """Learns from the groups that teach. taught: batches for the SFT loss, one for each step, `sft_weight` times; None without it.

    Every step draws from a seed of its own, so a checkpoint need not hold the state of any random number generator, only where the prompts stand.
    """

    def __init__(self, *, sampling: Sampling, taught: Callable[[int], Iterator[dict[str, torch.Tensor]]] | None, sft_weight: float, **options: Any) -> None:
        self._sampling, self._taught_from, self._sft_weight = sampling, taught, sft_weight
        self._taught: Iterator[dict[str, torch.Tensor]] | None = None
        self._kept: list[Completion] | None = None
        self._texts: dict[int, str] = {}
        super().__init__(reward_funcs=_verifiable, **options)
        self._cursor = Cursor(len(sampling.prompts), self.args.seed, sampling.order)

    def training_step(self, *inputs: Any) -> Any:
        step = self.state.global_step * self.accelerator.num_processes + self.accelerator.process_index
        transformers.set_seed((self.args.seed * 1_000_003 + step) % _SEEDS)
        return super().training_step(*inputs)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self._taught_from is None:
            return loss
        if self._taught is None:
            self._taught = self._taught_from(self.state.global_step)
        batch = {name: values.to(loss.device) for name, values in next(self._taught).items()}
        with self.accelerator.autocast():
            learnt = completion_loss(model, batch)
        self._note({"rl_loss": loss.item(), "sft_loss": learnt.item(), "sft_loss_weighted": self._sft_weight * learnt.item()})
        return loss + self._sft_weight * learnt

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """TRL's, on the prompts that our cursor chose: what its data loader brought is not looked at, because refills need prompts out of turn."""
        sampling = self._sampling

        def teaches(group: Group) -> bool:
            return group.teaches(sampling.min_spread, self.mask_truncated_completions)

        batch = fill(self._draw, teaches, sampling.wanted, sampling.max_refills, self._least)
        self._note({f"sampling/{name}": value for name, value in batch.measures.items()} | measured(batch, sampling.prompts))
        self._kept = [completion for group in batch.kept for completion in group.completions]
        output = super()._generate_and_score_completions([
            {"prompt": sampling.prompts[group.row].text, "reward": completion.reward} for group in batch.kept for completion in group.completions
        ])  # fmt: skip
        if sampling.lines:
            output["advantages"] = self._by_line(output["advantages"], batch.kept, output["completion_ids"].shape[1])
        return output

    def _by_line(self, outcome: torch.Tensor, groups: Sequence[Group], width: int) -> torch.Tensor:
        """Advantages of shape (completions, tokens), which TRL's loss takes too: each token has its answer's and its line's."""
        rows = [of_tokens for group in groups for of_tokens in token_advantages(group, self._text_of)]
        padded = torch.tensor([[*of_tokens, *[0.0] * (width - len(of_tokens))] for of_tokens in rows], device=outcome.device)
        return outcome[:, None] + self._sampling.process_weight * padded

    def _text_of(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self.processing_class.decode([token], skip_special_tokens=True)
        return self._texts[token]

    def _tokenize_prompts(self, prompts: list[str]) -> Any:
        """As a judge will see them: TRL's would add a start token that SFT never showed."""
        return self.processing_class(prompts, add_special_tokens=False)["input_ids"], None, {}

    def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **options: Any) -> Any:
        if self._kept is None:
            return super()._generate_single_turn(prompt_ids, *rest, **options)
        kept, self._kept = self._kept, None
        if all(completion.logprobs is None for completion in kept):
            return [completion.ids for completion in kept], None
        # a replayed trace has none: TRL takes null as unknown and corrects nothing there
        return [completion.ids for completion in kept], [completion.logprobs or [None] * len(completion.ids) for completion in kept]

    def _draw(self, number: int) -> list[Group]:
        """Groups for the next `number` prompts of this process."""
        own = self._cursor.take(number * self.accelerator.num_processes)[self.accelerator.process_index :: self.accelerator.num_processes]
        each, prompts = self.num_generations, self._sampling.prompts
        ids, logprobs = super()._generate_single_turn([prompts[row].ids for row in own for _ in range(each)], None, {}, each)
        groups = []
        for number, row in enumerate(own):
            part = slice(number * each, (number + 1) * each)
            group = Group(row, tuple(self._scored(row, ids[part], logprobs[part] if logprobs else [None] * each)))
            trace = prompts[row].trace
            groups.append(guided(group, self._scored(row, [trace], [None])[0] if trace else None))
        return groups

    def _scored(self, row: int, ids: Sequence[list[int]], logprobs: Sequence[Any]) -> list[Completion]:
        texts = self.processing_class.batch_decode(ids, skip_special_tokens=True)
        parts = self._sampling.score(row, texts, [len(tokens) for tokens in ids])
        rewards = require_rewards([self._sampling.total(part) for part in parts], len(ids))
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        found = zip(ids, parts, rewards, logprobs, strict=True)
        lines = [self._sampling.lines(row, text) if self._sampling.lines else () for text in texts]
        return [
            Completion(list(tokens), part, reward, tokens[-1] not in ends, known, own) for (tokens, part, reward, known), own in zip(found, lines, strict=True)
        ]

    def _least(self, number: int) -> int:
        return int(self.accelerator.gather(torch.tensor([number], device=self.accelerator.device)).min())

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int, batch_size: int | None = None, compute_entropy: bool = False,
        **others: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:  # fmt: skip
        """TRL's, for the rows in parts of similar length [ours]: it pads all to the longest answer, so that one which runs on costs as much memory as if all did,
        and its backward pass holds what comes between for all rows at once.

        Not with several processes, whose models, where they are sharded, must be called as often as one another's; nor with pictures or a loss of experts (`others`).
        """
        score, width = super()._get_per_token_logps_and_entropies, attention_mask.shape[1]
        parts = _parts(attention_mask, logits_to_keep)
        cells = sum(len(part.rows) * (part.end - part.start) for part in parts)
        more = any(value is not None and value is not False for value in others.values())
        little = len(input_ids) < _PARTS * _PART and cells > _WORTH * attention_mask.numel()
        if more or little or self.accelerator.num_processes > 1:
            return score(model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **others)
        found = []
        for part in parts:
            cut = (part.rows, slice(part.start, part.end))
            logps, entropies, _ = score(model, input_ids[cut], attention_mask[cut], logits_to_keep - (width - part.end), batch_size, compute_entropy)
            found.append([functional.pad(values, (0, width - part.end)) for values in (logps, entropies) if values is not None])
        back = torch.cat([part.rows for part in parts]).argsort()
        logps, *entropies = (torch.cat(values)[back] for values in zip(*found, strict=True))
        return logps, entropies[0] if entropies else None, None

    def _note(self, measures: Mapping[str, float]) -> None:
        for name, value in measures.items():
            self._metrics["train"][name].append(value)

    # ---------------------------------------------------------------- checkpoints
    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:  # every process stands at the same place
            write_json_atomic(Path(output_dir) / _CURSOR, {"place": self._cursor.place})
        if self._step % (self.num_iterations * self.args.steps_per_generation):  # an older policy drew these, which are not learnt out: they cannot be drawn again
            # clones: parts of one tensor cannot be saved
            parts = enumerate(self._buffered_inputs)
            drawn = {f"{number}.{name}": values.clone(memory_format=torch.contiguous_format) for number, part in parts for name, values in part.items()}
            save_file(drawn, self._buffer(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        round_, row = read_json(Path(checkpoint) / _CURSOR, "the place in the prompts")["place"]
        self._cursor.place = (round_, row)
        self._step = self.state.global_step
        if self._buffer(checkpoint).exists():
            self._buffered_inputs = [{} for _ in range(self.args.steps_per_generation)]
            for name, values in load_file(self._buffer(checkpoint), device=str(self.accelerator.device)).items():
                number, _, name = name.partition(".")
                self._buffered_inputs[int(number)][name] = values

    def _buffer(self, folder: str) -> Path:
        return Path(folder) / f"drawn-{self.accelerator.process_index}.safetensors"


def _verifiable(prompts: Sequence[str], completions: Sequence[str], reward: list[float], **_: Any) -> list[float]:
    """TRL's reward function: they were scored as they were drawn."""
    return reward


def measured(batch: Batch, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Mean reward and its parts over all that the policy drew (`drawn/reward`, `reward/PART`), and the parts by capability (`reward/PART/CAPABILITY`);
    `drawn/lines`: mean reward of a line, where lines have credit of their own.

    What was drawn, not what was kept: groups are kept because some of their answers are wrong. A replayed trace is not the policy's and does not count.
    """
    own = [(completion, prompts[group.row].capabilities) for group in batch.drawn for completion in group.completions[: -1 if group.replayed else None]]
    values: defaultdict[str, list[float]] = defaultdict(list)
    for completion, capabilities in own:
        values["drawn/reward"].append(completion.reward)
        values["drawn/lines"] += [reward for _, reward in completion.lines]
        for part, value in completion.parts.items():
            for name in (f"reward/{part}", *(f"reward/{part}/{capability}" for capability in capabilities)):
                values[name].append(value)
    return {name: statistics.fmean(found) for name, found in sorted(values.items()) if found}
