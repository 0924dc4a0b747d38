"""lore-rl train: GRPO from a fine-tuned model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lore_cli import stream
from lore_cli.commands.common import Inputs, Run, input_options, rulebook_option, run_options
from lore_cli.commands.rl.rewarding import Rewarding, reward_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.commands.training import Training, digest, model_output_options, not_in_options, training_options
from lore_cli.errors import EXIT_DONE, BadInput, UsageError
from lore_cli.manifest import write_manifest
from lore_cli.models import directory_hash
from lore_cli.records import Trace

if TYPE_CHECKING:
    from lore_cli.answer import Layout
    from lore_cli.path.disjoint import KnownPairs
    from lore_cli.path.knowledge import Glossary
    from lore_cli.rulebook import Rulebook

_LOSSES = ["dapo", "grpo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo"]
_ALARMS = "entropy-low, entropy-high, kl, length-low, length-high, zero-spread, clipped, no-progress; patience"


@click.command(cls=Command)
@input_options
@model_output_options
@training_options
@rulebook_option
@run_options("rl train")
@click.option("--model", required=True, metavar="DIR", help="The fine-tuned model to start from (lore-sft); the KL divergence is to it.")
@options_of(
    Section.SAMPLING,
    click.option("--generations", "--num-generations", "generations", type=click.IntRange(min=2), default=8, help="Answers drawn for one prompt."),
    click.option("--prompts-per-step", type=click.IntRange(min=1), default=8, help="Prompts in one update."),
    click.option("--temperature", type=click.FloatRange(min=0.01), default=1.0, help="Temperature of the draws."),
    click.option("--max-new-tokens", "--max-completion-length", "max_new_tokens", type=click.IntRange(min=1), default=128, help="Longest answer."),
    click.option("--curriculum", is_flag=True, help="Take prompts by falling pass_rate (lore-rl select), from easy to hard, instead of at random."),
    click.option("--max-refills", type=click.IntRange(min=0), default=3, help="Dynamic sampling: rounds of draws in place of groups without spread; 0: none."),
    click.option("--min-spread", type=click.FloatRange(min=0), default=1e-4, help="Standard deviation of rewards above which a group has spread."),
    click.option("--vllm", type=click.Choice(["colocate", "server"]), help="Draw answers with vLLM: in this process on the same GPU, or from `trl vllm-serve` (port 8000)."),
)
@click.option("--optimizer", type=click.Choice(["adamw", "muon"]), default="adamw", help="muon: Muon for matrices at eight times --rate, AdamW for the rest.")
@click.option("--rate", type=click.FloatRange(min=0), help="Learning rate; by default 1e-6, and 1e-4 for models under 50M parameters.")
@options_of(
    Section.LOSS,
    click.option("--loss-type", "--loss", "loss_type", type=click.Choice(_LOSSES), default="dapo", help="Loss, by TRL's name."),
    click.option("--beta", "--kl", "beta", type=click.FloatRange(min=0), default=0.02, help="Weight of the KL divergence to the starting model."),
    click.option("--epsilon", "--clip", "epsilon", type=click.FloatRange(min=0), default=0.2, help="Clip range of the policy ratio."),
    click.option("--epsilon-high", type=click.FloatRange(min=0), help="Its upper bound where it differs (clip-higher: 0.28; with cispo 5)."),
    click.option("--importance-sampling-level", type=click.Choice(["token", "sequence"]), default="token", help="Ratio per token (GRPO) or per sequence (GSPO)."),
    click.option("--scale-rewards", type=click.Choice(["group", "batch", "none"]), default="group", help="What divides a reward: its group's deviation, its batch's, none."),
    click.option("--top-entropy-quantile", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Learn from the tokens of highest entropy alone, this share."),
    click.option("--mask-truncated-completions", is_flag=True, help="Leave answers that --max-new-tokens cut out of the loss."),
    click.option("--process-weight", type=click.FloatRange(min=0), default=0.0, help="Process supervision: weight of each line's own advantage beside the answer's; 0: none."),
)
@click.option("--num-iterations", type=click.IntRange(min=1), default=1, help="Updates on one batch of draws.")
@click.option("--steps-per-generation", type=click.IntRange(min=1), default=1, help="Updates that one round of draws serves, each with prompts of its own.")
@options_of(
    Section.TRACES,
    click.option("--traces", metavar="FILE", help="Traces (lore-synth) for an SFT loss beside GRPO's, against forgetting; none without it."),
    click.option("--sft-weight", type=click.FloatRange(min=0), default=0.1, help="Weight of that SFT loss."),
    click.option("--sft-tokens", type=click.IntRange(min=16), default=2048, help="Padded tokens of one step's batch of traces."),
    click.option("--guided-replay", is_flag=True, help="Put the pair's trace in place of one answer where all answers have the wrong grade; needs --traces."),
)
@not_in_options
@reward_options
@options_of(
    Section.REWARD,
    click.option("--overlong-buffer", type=click.IntRange(min=0), default=0, help="Soft overlong punishment: over the last N tokens the reward falls by up to 1."),
)
@click.option("--alarm", multiple=True, metavar="NAME=NUMBER|off", help=f"Limit of an alarm ({_ALARMS}); repeatable.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Updates at most; 200 where --max-seconds is not given either.")
@click.option("--max-seconds", type=click.FloatRange(min=1), help="End training after so many seconds.")
def cli(
    inputs: Inputs, output: str, force: bool, rulebook: Rulebook, run: Run, training: Training, rewarding: Rewarding, model: str, alarm: tuple[str, ...],
    traces: str | None, not_in: tuple[str, ...], shared_items: bool, **options: Any,
) -> int:  # fmt: skip
    """GRPO through TRL with verifiable rewards, as `lore-rl reward` gives them.

    Groups whose answers all earn the same teach nothing: others are drawn in their place. Alarms on entropy, KL, length, groups without spread, cut answers
    and a reward that gets no better stop the run, leave a checkpoint and exit 1. Ctrl-C leaves one too; --resume goes on from it, to the same weights as
    if nothing had happened, and refuses another model, data, rulebook or option.

    Reads all pairs and traces into memory. Pairs that are traces are held to their own needs. Writes an ordinary model directory with `lore.json`, a model
    card (README.md), `metrics.jsonl` (each part of the reward by step, and by what the query asks: `reward/grade/negation`), and `curves.html`.

    \b
    Example (fine-tunes a throw-away model first):
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 3 -o /tmp/sft --force --quiet
      $ lore-rl train examples/pairs.jsonl --model /tmp/sft --max-steps 2 --prompts-per-step 2 --max-new-tokens 16 -o /tmp/rl --force
    """
    from lore_cli import modelcard
    from lore_cli.path.disjoint import load_known
    from lore_cli.train import alarms
    from lore_cli.train.readme import write_readme
    from lore_cli.train.unfinished import is_finished, unfinished

    stream.refuse_existing(output, force or training.resume, directory=True)
    limits = alarms.parse_limits(alarm)
    if options["guided_replay"] and not traces:
        raise UsageError("--guided-replay has nothing to replay", hint="pass --traces FILE")
    card = modelcard.require(model)
    pairs, taught = _rows(inputs, traces, card.layout, load_known(not_in, shared_items=shared_items))
    options["max_steps"] = options["max_steps"] or (10_000 if options["max_seconds"] else 200)
    identity = {
        "rulebook": rulebook.hash, **rewarding.identity(), "base": f"sha256:{directory_hash(Path(model))}", "prompt": f"{card.prompt}:{card.prompt_hash}",
        "layout": card.layout, "pairs": digest(pairs), "traces": digest(taught), "seed": run.seed, **options, **training.identity(),
    }  # fmt: skip
    read = [source for source in (*inputs.sources, *filter(None, [traces, training.evaluate]), *not_in) if source != "-"]
    if training.resume and is_finished(output, identity):
        run.log.say(f"{output} is finished")
        return EXIT_DONE
    with unfinished(output, identity, resume=training.resume, force=force) as kept:
        from lore_cli.train import rl
        from lore_cli.train.checkpoints import Checkpoints
        from lore_cli.train.tracking import tracking

        with stream.output_directory(output, force=force or training.resume) as folder:
            tested = [_capabilities(pair, rulebook, rewarding.glossary) for pair in pairs]
            task = rl.Task(pairs, tested, taught, rulebook, card.layout, card.prompt, rewarding.weights, rewarding.glossary)
            settings = rl.Settings(seed=run.seed, alarms=limits, **options)
            held_out = training.held_out(rulebook, card.layout, card.prompt)
            summary = rl.train(task, model, settings, folder, Checkpoints(kept, training.save_steps), tracking(training.report_to, output), run.log, held_out)
            card = modelcard.write(folder, layout=card.layout, prompt=card.prompt, stage="rl", base=identity["base"], rulebook=rulebook)
            write_readme(folder, card, read, options | {"seed": run.seed}, summary)
        write_manifest(output, command=run.name, inputs=read, settings=run.settings, identity=identity, counts=summary | {"bad_rows": inputs.rejects.count})
    run.log.say(", ".join(f"{name} {value:g}" for name, value in summary.items()), **summary)
    return inputs.end(run.log)


def _rows(inputs: Inputs, traces: str | None, layout: Layout, benchmark: KnownPairs | None) -> tuple[list[Trace], list[Trace]]:
    """(graded pairs, traces). Raises `BadInput` when no pair has a grade, for a trace in another layout than the model's, and for what the benchmark has."""
    from lore_cli.answer import layout_of
    from lore_cli.train.data import refuse_leaks

    pairs = [pair for pair in inputs.read(Trace) if pair.grade is not None]
    if not pairs:
        raise BadInput("no pair has a human grade: there is nothing to align with", field="grade", hint="give graded pairs, for example from lore-rl select")
    taught = list(stream.read(Trace, [traces])) if traces else []
    odd = next((trace for trace in taught if trace.completion and layout_of(trace.completion) != layout), None)
    if odd is not None:
        found, hint = layout_of(odd.completion or ""), "give the traces that the model was taught with"
        raise BadInput(f"is written as {found}, the model answers as {layout}", where=f"row '{odd.id}'", field="completion", hint=hint)
    refuse_leaks([*pairs, *taught], benchmark)
    return pairs, taught


def _capabilities(pair: Trace, rulebook: Rulebook, glossary: Glossary) -> frozenset[str]:
    """What a pair tests: the benchmark's criteria that its query meets, and the attributes it asks for."""
    from lore_cli.rair.criteria import needs_of, query_criteria

    needs = needs_of(pair.query, rulebook, glossary)
    return frozenset({*query_criteria(pair.query, needs, rulebook, glossary), *(need.attribute for need in needs)})
