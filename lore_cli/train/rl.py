"""Align a fine-tuned model with human grades: GRPO with verifiable rewards, through TRL.

The paper (§ stage 2) aligns by RL so that pass@1 moves toward pass@8; the settings follow its sister work where known (group-relative
advantages, temperature near 1, clip 0.2, KL 0.02 to the SFT model, rate 1e-6). Ours:
1. rewards (train/rewards.py);
2. prompts come from `lore-rl select`, whose band leaves out pairs that are always or never right: their groups have no gradient; those that come to be
   so on the way are replaced by further draws (train/rl_sampling.py);
3. a model of a few million parameters needs a rate some hundred times higher than a large one to move at all;
4. an SFT loss on verified traces may stand beside GRPO's (AFRL adds one against forgetting long-tail rules);
5. each line of an answer may have credit of its own, beside that of the whole answer (`rewards.process_rewards`);
6. the run may be ended by the clock, and the learning rate falls with it; alarms end it when the policy collapses (train/alarms.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig

from lore_cli.answer import Layout
from lore_cli.errors import BadInput, Unmet, require
from lore_cli.models.hf import is_small
from lore_cli.path.knowledge import EMPTY, Glossary
from lore_cli.progress import Log
from lore_cli.prompts import pair_prompt
from lore_cli.records import Trace, row_of
from lore_cli.rulebook import Rulebook
from lore_cli.train import rewards
from lore_cli.train.alarms import LIMITS, alarm
from lore_cli.train.bases import write_model
from lore_cli.train.checkpoints import Checkpoints
from lore_cli.train.common import Clock, Watch, encode, load_for_training, pad, run, token_batches, trainer_basics
from lore_cli.train.curves import write_history
from lore_cli.train.evaluation import TOLD, Evaluation, HeldOut, told
from lore_cli.train.finite import diverged
from lore_cli.train.optimizer import ADAMW_RATE, muon_adamw
from lore_cli.train.quiet import hush
from lore_cli.train.rl_sampling import Line
from lore_cli.train.rl_trainer import Prompt, Sampling, Trainer
from lore_cli.train.tracking import Tracking

RATES = {"small": 1e-4, "large": 1e-6}


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be learnt: graded pairs (with their needs, where they are traces) and the capabilities each tests; verified traces; how an answer is asked for
    and scored."""

    pairs: Sequence[Trace]
    capabilities: Sequence[frozenset[str]]
    traces: Sequence[Trace]
    rulebook: Rulebook
    layout: Layout
    prompt: str
    weights: Mapping[str, float]
    glossary: Glossary = EMPTY


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train. generations: answers per prompt; prompts_per_step: groups in one update, drawn for `steps_per_generation` updates at once. rate None: by the
    model's size. vllm: draw by it, `colocate` or `server` (TRL's vllm_mode).

    process_weight: of the advantage of a token's line beside its answer's; 0: lines have none. max_refills: rounds of further draws for groups whose rewards'
    deviation is not above min_spread; 0: every group drawn is learnt from. sft_weight: of the SFT loss beside GRPO's, where traces are given: a batch of
    `sft_tokens` padded tokens in each step. The rest under TRL's names, GRPOConfig has them; overlong_buffer: DAPO's soft punishment over the last so many of
    max_new_tokens.
    """

    generations: int = 8
    prompts_per_step: int = 8
    temperature: float = 1.0
    optimizer: str = "adamw"
    rate: float | None = None
    beta: float = 0.02
    epsilon: float = 0.2
    epsilon_high: float | None = None
    loss_type: str = "dapo"
    importance_sampling_level: str = "token"
    scale_rewards: str = "group"
    num_iterations: int = 1
    steps_per_generation: int = 1
    top_entropy_quantile: float = 1.0
    mask_truncated_completions: bool = False
    overlong_buffer: int = 0
    max_refills: int = 3
    min_spread: float = 1e-4
    process_weight: float = 0.0
    guided_replay: bool = False
    curriculum: bool = False
    max_steps: int = 200
    max_seconds: float | None = None
    max_new_tokens: int = 128
    sft_weight: float = 0.1
    sft_tokens: int = 2048
    vllm: str | None = None
    seed: int = 0
    alarms: Mapping[str, float] = field(default_factory=lambda: LIMITS)


def default_rate(model: Any) -> float:
    """1e-4 under 50M parameters, else 1e-6."""
    return RATES["small" if is_small(model) else "large"]


def train(
    task: Task, base: str, settings: Settings, folder: Path, checkpoints: Checkpoints, tracked: Tracking, log: Log, held_out: HeldOut | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train from the model in `base`, write the aligned model, `metrics.jsonl` and `curves.html` to `folder`; returns the summary of the run.

    Goes on from the last of `checkpoints`; is evaluated on `held_out`, and then the best weights are written. Buffers its prompts.
    Raises `BadInput` when a pair lacks what the settings need and when the numbers of the run cease to be finite; `Interrupted` when the user stopped it, and
    `Unmet` when an alarm did, which both leave a checkpoint.
    """
    if settings.vllm:
        require("vllm", "vllm")
    hush()
    model, tokenizer = load_for_training(base)
    tokenizer.padding_side = "left"
    rate = settings.rate if settings.rate is not None else default_rate(model)
    if len(task.pairs) < settings.prompts_per_step:
        log.say(f"{len(task.pairs)} graded pairs, so {len(task.pairs)} prompts per step instead of {settings.prompts_per_step}")
        settings = replace(settings, prompts_per_step=len(task.pairs))
    sampling = _sampling(task, tokenizer, settings)
    clock = Clock(lambda done: 1 - 0.9 * done, settings.max_steps, settings.max_seconds)
    alarms = _Alarms(settings.alarms)
    evaluation = [Evaluation(held_out, checkpoints)] if held_out else []
    told_on_the_way = ("reward", "kl", "reward_std", *TOLD)
    trainer = Trainer(
        sampling=sampling,
        taught=_taught(task, tokenizer, settings) if task.traces and settings.sft_weight else None,
        sft_weight=settings.sft_weight,
        model=model,
        args=grpo_config(model, settings, rate, checkpoints.folder, tracked.settings),
        train_dataset=Dataset.from_list([{"prompt": prompt.text} for prompt in sampling.prompts]),
        processing_class=tokenizer,
        optimizers=_optimizers(model, settings, rate),
        callbacks=[clock, Watch(log, clock, settings.max_steps, settings.max_seconds, told_on_the_way), alarms, *evaluation, checkpoints, *tracked.callbacks],
    )
    trainer.held_out = held_out
    try:
        run(trainer, clock, checkpoints, "lower --prompts-per-step or --generations, then --max-new-tokens")
    except RuntimeError as error:
        overflow = _overflow(trainer, sampling.prompts[0])
        if overflow is None:
            raise
        raise overflow from error
    if alarms.rung:
        write_history(checkpoints.folder, trainer.state.log_history, "Reinforcement learning, stopped by an alarm")
        reason = f"alarm at step {trainer.state.global_step}: {alarms.rung}; the run is saved in {checkpoints.folder}"
        raise Unmet(reason, hint="look at its curves.html; lower --rate or raise --beta and start again with --force, or set --alarm and pass --resume")
    trainer.take_best(checkpoints)
    history = trainer.state.log_history
    summary = {"steps": trainer.state.global_step, "seconds": round(clock.seconds, 1), "rate": rate, "pairs": len(task.pairs)}
    trainer.model.generation_config.temperature = None
    write_model(trainer, folder, None)
    tokenizer.save_pretrained(folder)
    write_history(folder, history, "Reinforcement learning")
    return summary | _closing(history) | ({"best_step": checkpoints.best} if checkpoints.best else {}) | told(history, checkpoints.best)


def _optimizers(model: Any, settings: Settings, rate: float) -> tuple[Any, Any]:
    """Muon and a schedule that leaves its rates to the clock; (None, None), TRL's own, for AdamW."""
    if settings.optimizer == "adamw":
        return None, None
    optimizer = muon_adamw(model, rate / ADAMW_RATE)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)


class _Alarms(TrainerCallback):
    """Stops and saves the run when its log says that something is wrong."""

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = limits
        self.rung: str | None = None

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.rung = alarm(state.log_history, self._limits)
        if self.rung:
            control.should_save = control.should_training_stop = True


def _sampling(task: Task, tokenizer: Any, settings: Settings) -> Sampling:
    texts = [pair_prompt(pair, task.rulebook, task.prompt) for pair in task.pairs]
    answers: dict[str, list[int]] = {}
    if settings.guided_replay:
        asked, given = zip(*_answers(task), strict=True)
        answers = {prompt: row.ids[row.prompt :] for prompt, row in zip(asked, encode(tokenizer, asked, given), strict=True)}
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    longest, punished = settings.max_new_tokens, settings.overlong_buffer
    weights = {**task.weights, "overlong": 1.0} if punished else task.weights

    def score(row: int, completions: Sequence[str], lengths: Sequence[int]) -> list[Mapping[str, float]]:
        found: list[Mapping[str, float]] = []
        for text, length in zip(completions, lengths, strict=True):
            parts = rewards.reward_parts(text, task.pairs[row], task.rulebook, task.layout, task.glossary)
            found.append({**parts, "overlong": rewards.length_reward(length, longest - punished, longest) - 1} if punished else parts)
        return found

    def of_lines(row: int, text: str) -> Sequence[Line]:
        return rewards.process_rewards(text, task.pairs[row], task.rulebook, task.layout, task.glossary)

    return Sampling(
        prompts=[Prompt(text, tokens, tests, answers.get(text)) for text, tokens, tests in zip(texts, ids, task.capabilities, strict=True)],
        wanted=settings.prompts_per_step * settings.steps_per_generation,
        max_refills=settings.max_refills,
        min_spread=settings.min_spread,
        score=score,
        total=lambda parts: rewards.total(parts, weights),
        order=_easy_first(task.pairs) if settings.curriculum else None,
        lines=of_lines if settings.process_weight else None,
        process_weight=settings.process_weight,
    )


def _easy_first(pairs: Sequence[Trace]) -> list[int]:
    """Row numbers by falling pass rate: each round goes from what the model mostly gets right to what it seldom does [ours]."""
    rates = [row_of(pair).get("pass_rate") for pair in pairs]
    for pair, rate in zip(pairs, rates, strict=True):
        if not isinstance(rate, int | float):
            hint = "--curriculum orders by it: lore-rl select writes it"
            raise BadInput(f"found {rate!r} (a number in [0, 1])", where=f"row '{pair.id}'", field="pass_rate", hint=hint)
    return sorted(range(len(pairs)), key=lambda row: (-rates[row], row))


def _answers(task: Task) -> list[tuple[str, str]]:
    """(prompt, completion) of the traces that have both, asked as the model is asked. Raises `BadInput` when none has."""
    rows = [(pair_prompt(trace, task.rulebook, task.prompt), trace.completion) for trace in task.traces if trace.prompt and trace.completion]
    if not rows:
        raise BadInput("no row has a prompt and a completion to learn from", field="completion", hint="make traces with lore-synth, or leave --traces out")
    return rows


def _taught(task: Task, tokenizer: Any, settings: Settings) -> Callable[[int], Iterator[dict[str, torch.Tensor]]]:
    """From a step on, one batch of traces for each step without end, each round shuffled anew."""
    rows = _answers(task)
    data = encode(tokenizer, [prompt for prompt, _ in rows], [completion for _, completion in rows])

    def batches(step: int) -> Iterator[dict[str, torch.Tensor]]:
        rounds = (token_batches([len(row.ids) for row in data], settings.sft_tokens, settings.seed + number) for number in itertools.count())
        every = (batch for batches in rounds for batch in batches)
        return (pad([data[row] for row in batch], tokenizer.pad_token_id) for batch in itertools.islice(every, step, None))

    return batches


def _overflow(trainer: Trainer, prompt: Prompt) -> BadInput | None:
    """What drawing from a model whose logits overflow comes to: it fails deep in torch. None for anything else, which is a bug and keeps its traceback."""
    with torch.no_grad():
        logits = trainer.model(torch.tensor([prompt.ids], device=trainer.model.device)).logits
    finite = bool(torch.isfinite(logits).all())
    return None if finite else diverged(f"the logits are not finite at step {trainer.state.global_step}")


def grpo_config(model: Any, settings: Settings, rate: float, folder: Path, tracked: Mapping[str, Any]) -> GRPOConfig:
    """TRL's settings for ours."""
    return GRPOConfig(
        output_dir=str(folder),
        **trainer_basics(model, settings.seed),
        per_device_train_batch_size=settings.generations * settings.prompts_per_step,
        steps_per_generation=settings.steps_per_generation,
        num_generations=settings.generations,
        temperature=settings.temperature,
        max_completion_length=settings.max_new_tokens,
        learning_rate=rate,
        lr_scheduler_type="constant",
        optim="adamw_torch",
        beta=settings.beta,
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon_high,
        loss_type=settings.loss_type,
        importance_sampling_level=settings.importance_sampling_level,
        scale_rewards=settings.scale_rewards,
        num_iterations=settings.num_iterations,
        top_entropy_quantile=settings.top_entropy_quantile,
        mask_truncated_completions=settings.mask_truncated_completions,
        max_steps=settings.max_steps,
        logging_steps=1,
        use_vllm=settings.vllm is not None,
        vllm_mode=settings.vllm or "colocate",
        remove_unused_columns=False,
        log_completions=False,
        **tracked,
    )


def _closing(history: list[dict[str, float]]) -> dict[str, float]:
    """Mean reward, share of groups without spread, KL and length over the first and last fifth of the run."""
    steps = [row for row in history if "reward" in row]
    if not steps:
        return {}
    fifth = max(1, len(steps) // 5)
    names = {
        "drawn/reward": "reward", "reward_std": "reward_std", "sampling/zero_spread_share": "groups_without_spread", "kl": "kl", "completions/mean_length": "length",
    }  # fmt: skip
    closing = {}
    for name, short in names.items():
        for when, part in (("first", steps[:fifth]), ("last", steps[-fifth:])):
            values = [float(row[name]) for row in part if name in row]
            if values:
                closing[f"{short}_{when}"] = round(sum(values) / len(values), 4)
    return closing
