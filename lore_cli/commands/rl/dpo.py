"""lore-rl dpo: align a fine-tuned model by preference pairs, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lore_cli import stream
from lore_cli.commands.common import Inputs, Run, input_options, rulebook_option, run_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.commands.training import digest, model_output_options
from lore_cli.errors import EXIT_DONE, BadInput
from lore_cli.manifest import write_manifest
from lore_cli.models import directory_hash
from lore_cli.records import Trace, row_of

if TYPE_CHECKING:
    from lore_cli.answer import Layout
    from lore_cli.rulebook import Rulebook

_LOSSES = ["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down", "sigmoid_norm"]


@click.command(cls=Command)
@input_options
@model_output_options
@options_of(
    Section.CHECKPOINTS,
    click.option("--resume", is_flag=True, help="Go on from the last checkpoint of an interrupted run."),
    click.option("--save-steps", type=click.IntRange(min=1), help="Updates between checkpoints; without it only an interruption writes one."),
)
@rulebook_option
@run_options("rl dpo")
@click.option("--model", required=True, metavar="DIR", help="The fine-tuned model to start from (lore-sft), whose rollouts the pairs are of.")
@options_of(
    Section.LOSS,
    click.option("--beta", type=click.FloatRange(min=0, min_open=True), default=0.1, help="How dear it is to move away from that model."),
    click.option("--loss-type", type=click.Choice(_LOSSES), default="sigmoid", help="Loss, by TRL's name."),
    click.option("--sft-weight", type=click.FloatRange(min=0), default=0.1, help="Weight of an SFT loss on the chosen answers beside it."),
)
@click.option("--rate", type=click.FloatRange(min=0), help="Learning rate; by default 1e-6, and 3e-5 for models under 50M parameters.")
@click.option("--batch", type=click.IntRange(min=1), default=16, help="Pairs in one update.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Updates at most; one pass over the pairs where --max-seconds is not given either.")
@click.option("--max-seconds", type=click.FloatRange(min=1), help="End training after so many seconds.")
def cli(inputs: Inputs, output: str, force: bool, resume: bool, rulebook: Rulebook, run: Run, model: str, save_steps: int | None, **options: Any) -> int:
    """Direct preference optimisation through TRL, from pairs of `lore-rl prefer`: the offline alternative to `lore-rl train`.

    Reads all pairs into memory and holds the model twice. Writes an ordinary model directory with `lore.json`, `metrics.jsonl` and `curves.html`. Ctrl-C
    leaves a checkpoint; --resume goes on from it, and refuses another model, data, rulebook or option.

    \b
    Example (fine-tunes a throw-away model first):
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 3 -o /tmp/sft --force --quiet
      $ lore-rl prefer examples/rollouts.jsonl --quiet | lore-rl dpo - --model /tmp/sft --max-steps 2 -o /tmp/dpo --force
    """
    from lore_cli import modelcard
    from lore_cli.train.unfinished import is_finished, unfinished

    stream.refuse_existing(output, force or resume, directory=True)
    card = modelcard.require(model)
    rows = [_checked(row, card.layout) for row in inputs.read(Trace, needs=("prompt", "chosen", "rejected"))]
    if not rows:
        raise BadInput("there are no preference pairs to learn from", hint="make them with lore-rl rollout, reward and prefer")
    one_pass = -(-len(rows) // options["batch"])
    options["max_steps"] = options["max_steps"] or (10_000 if options["max_seconds"] else one_pass)
    identity = {
        "rulebook": rulebook.hash, "base": f"sha256:{directory_hash(Path(model))}", "prompt": f"{card.prompt}:{card.prompt_hash}", "layout": card.layout,
        "pairs": digest(rows), "seed": run.seed, **options,
    }  # fmt: skip
    if resume and is_finished(output, identity):
        run.log.say(f"{output} is finished")
        return EXIT_DONE
    with unfinished(output, identity, resume=resume, force=force) as kept:
        from lore_cli.train import dpo
        from lore_cli.train.checkpoints import Checkpoints

        preferences = [dpo.Preference(row.id, *(row_of(row)[name] for name in ("prompt", "chosen", "rejected"))) for row in rows]
        with stream.output_directory(output, force=force or resume) as folder:
            summary = dpo.train(preferences, model, dpo.Settings(seed=run.seed, **options), folder, Checkpoints(kept, save_steps), run.log)
            modelcard.write(folder, layout=card.layout, prompt=card.prompt, stage="dpo", base=identity["base"], rulebook=rulebook)
        counts = summary | {"bad_rows": inputs.rejects.count}
        write_manifest(output, command=run.name, inputs=[s for s in inputs.sources if s != "-"], settings=run.settings, identity=identity, counts=counts)
    run.log.say(", ".join(f"{name} {value:g}" for name, value in counts.items()), **counts)
    return inputs.exit_code


def _checked(trace: Trace, layout: Layout) -> Trace:
    """A row whose texts are texts, of the model's own layout, and differ."""
    row = row_of(trace)
    for name in ("chosen", "rejected"):
        if not isinstance(row[name], str):
            raise BadInput(f"found {row[name]!r} (expected a text)", where=f"row '{trace.id}'", field=name)
    if row["chosen"] == row["rejected"]:
        raise BadInput("is the chosen answer itself", where=f"row '{trace.id}'", field="rejected")
    if row.get("layout", layout) != layout:
        raise BadInput(f"drawn in the layout {row['layout']}, the model answers as {layout}", where=f"row '{trace.id}'", field="layout", hint="give rollouts of this model")
    return trace
