"""lore-rl train: GRPO from a fine-tuned model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lore_cli import stream
from lore_cli.commands.common import Inputs, Run, input_options, rulebook_option, run_options
from lore_cli.commands.rl.rewarding import Rewarding, reward_options
from lore_cli.commands.verbs import SETTINGS
from lore_cli.errors import EXIT_DONE, EXIT_PARTIAL, BadInput
from lore_cli.manifest import write_manifest
from lore_cli.models import directory_hash
from lore_cli.records import Trace

if TYPE_CHECKING:
    from lore_cli.rulebook import Rulebook


@click.command(context_settings=SETTINGS)
@input_options
@click.option("-o", "--output", required=True, metavar="DIR", help="Model directory to write.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@rulebook_option
@run_options("rl train")
@click.option("--model", required=True, metavar="DIR", help="The fine-tuned model to start from (lore-sft).")
@click.option("--generations", type=click.IntRange(min=2), default=8, help="Answers drawn for one prompt.")
@click.option("--prompts-per-step", type=click.IntRange(min=1), default=8, help="Prompts in one update.")
@click.option("--temperature", type=click.FloatRange(min=0.01), default=1.0, help="Temperature of the draws.")
@click.option("--rate", type=click.FloatRange(min=0), help="Learning rate; by default 1e-6, and 1e-4 for models under 50M parameters.")
@click.option("--kl", type=click.FloatRange(min=0), default=0.02, help="Weight of the KL divergence to the starting model.")
@click.option("--clip", type=click.FloatRange(min=0), default=0.2, help="Clip range of the policy ratio.")
@click.option("--loss", type=click.Choice(["dapo", "grpo", "dr_grpo", "bnpo"]), default="dapo", help="Loss, by TRL's name.")
@click.option("--traces", metavar="FILE", help="Traces (lore-synth) for an SFT loss beside GRPO's, against forgetting; none without it.")
@click.option("--sft-weight", type=click.FloatRange(min=0), default=0.1, help="Weight of that SFT loss.")
@reward_options
@click.option("--max-steps", type=click.IntRange(min=1), help="Updates at most; 200 where --max-seconds is not given either.")
@click.option("--max-seconds", type=click.FloatRange(min=1), help="End training after so many seconds.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, help="Longest answer.")
def cli(inputs: Inputs, output: str, force: bool, rulebook: Rulebook, run: Run, model: str, rewarding: Rewarding, traces: str | None, **options: Any) -> int:
    """GRPO through TRL with verifiable rewards, as `lore-rl reward` gives them.

    Reads all pairs and traces into memory. Pairs that are traces are held to their own needs. Writes an ordinary model directory with `lore.json` and `metrics.jsonl`.

    \b
    Example (fine-tunes a throw-away model first):
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 3 -o /tmp/sft --force --quiet
      $ lore-rl train examples/pairs.jsonl --model /tmp/sft --max-steps 2 --prompts-per-step 2 --max-new-tokens 16 -o /tmp/rl --force
    """
    from lore_cli import modelcard
    from lore_cli.answer import layout_of

    stream.refuse_existing(output, force, directory=True)
    card = modelcard.require(model)
    pairs = list(inputs.read(Trace))
    if not any(pair.grade for pair in pairs):
        raise BadInput("no pair has a human grade: there is nothing to align with", field="grade", hint="give pairs with `grade`, for example from lore-rl select")
    taught = list(stream.read(Trace, [traces])) if traces else []
    odd = next((trace for trace in taught if trace.completion and layout_of(trace.completion) != card.layout), None)
    if odd is not None:
        raise BadInput(f"is written as {layout_of(odd.completion or '')}, the model answers as {card.layout}", where=f"row '{odd.id}'", field="completion", hint="give the traces that the model was taught with")
    from lore_cli.train import rl

    with stream.output_directory(output, force=force) as folder:
        options["max_steps"] = options["max_steps"] or (10_000 if options["max_seconds"] else 200)
        settings = rl.Settings(seed=run.seed, **options)
        base = f"sha256:{directory_hash(Path(model))}"
        summary = rl.train(pairs, model, rulebook, card.layout, card.prompt, rewarding.weights, settings, folder, run.log, taught, rewarding.glossary)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        modelcard.write(folder, layout=card.layout, prompt=card.prompt, stage="rl", base=base, rulebook=rulebook)
    identity = {"rulebook": rulebook.hash, **rewarding.identity(), "base": base, "prompt": f"{card.prompt}:{card.prompt_hash}", "layout": card.layout}
    write_manifest(
        output, command=run.name,
        inputs=[s for s in (*inputs.sources, *filter(None, [traces])) if s != "-"], settings=run.settings, identity=identity,
        counts=summary | {"bad_rows": inputs.rejects.count},
    )
    run.log.say(", ".join(f"{name} {value:g}" for name, value in summary.items()), **summary)
    if inputs.rejects.count:
        run.log.say(f"{inputs.rejects.count} bad rows skipped", bad_rows=inputs.rejects.count)
    return EXIT_PARTIAL if inputs.rejects.count else EXIT_DONE
