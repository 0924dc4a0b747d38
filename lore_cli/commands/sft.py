"""lore-sft: teach a language model to reason as the traces do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lore_cli import answer, stream
from lore_cli.answer import Layout
from lore_cli.commands.common import SETTINGS, Inputs, Run, entry, input_options, rulebook_option, run_options, version_option
from lore_cli.commands.training import Training, digest, training_options
from lore_cli.errors import EXIT_DONE, EXIT_PARTIAL, BadInput, UsageError
from lore_cli.manifest import write_manifest
from lore_cli.models import directory_hash
from lore_cli.records import Trace

if TYPE_CHECKING:
    from lore_cli.rulebook import Rulebook

_TEMPLATES = ("short", "judge", "naive")


@click.command(context_settings=SETTINGS)
@version_option
@input_options
@click.option("-o", "--output", required=True, metavar="DIR", help="Model directory to write.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@rulebook_option
@run_options("sft")
@training_options
@click.option("--model", metavar="DIR|ID", help="Base model: a local directory or a hub id.")
@click.option("--from-scratch", type=click.Choice(["tiny", "small"]), help="Build a small model from the training text: tiny about 1.1M parameters, small about 3.7M.")
@click.option("--lora", is_flag=True, help="Train a low-rank adapter; it is merged into the model that is written.")
@click.option("--lora-rank", type=click.IntRange(min=1), default=16, help="Rank of the adapter.")
@click.option("--rate", type=click.FloatRange(min=0), help="Learning rate (2e-5; LoRA 2e-4); with --from-scratch a factor on its own rates.")
@click.option("--epochs", type=click.FloatRange(min=0), default=1.0, help="Passes over the traces.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Updates, going round the traces as often as needed.")
@click.option("--max-seconds", type=click.FloatRange(min=1), help="End training after so many seconds; the rate falls with the clock.")
@click.option("--batch-tokens", type=click.IntRange(min=16), default=2048, help="Tokens in one batch, padding included.")
@click.option("--packing", is_flag=True, help="Put rows end to end instead of padding them; each still attends to itself alone.")
@click.option("--max-length", type=click.IntRange(min=8), default=1024, help="Longest row in tokens; longer ones are refused, never cut.")
def cli(
    inputs: Inputs, output: str, force: bool, rulebook: Rulebook, run: Run, training: Training, model: str | None, from_scratch: str | None, **options: Any
) -> int:
    """Fine-tune a causal language model on traces (completion-only loss, TRL underneath).

    Reads all traces into memory. Writes an ordinary model directory with `lore.json`, which says how the model is to be asked, and `metrics.jsonl`.
    While it runs, checkpoints are in DIR.unfinished. An interrupted run goes on with --resume, to the same weights as if it had not been interrupted;
    with other data, model, rulebook or options it is refused.

    --evaluate measures greedy answers by the metrics of lore-rair score (those with _all count a reply that cannot be read as wrong).

    \b
    Example:
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 3 --save-steps 2 -o /tmp/sft --force
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 3 --save-steps 2 -o /tmp/sft --resume
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 4 --evaluate examples/pairs.jsonl --evaluate-every 2 --best acc4_all -o /tmp/best --force
    """
    if (model is None) == (from_scratch is None):
        raise UsageError("give either --model or --from-scratch", hint="--from-scratch tiny needs no download")
    if from_scratch and options["lora"]:
        raise UsageError("--lora adapts a given model; --from-scratch has none to adapt")
    stream.refuse_existing(output, force or training.resume, directory=True)
    from lore_cli import modelcard
    from lore_cli.train.unfinished import is_finished, unfinished

    traces = list(inputs.read(Trace))
    base = f"scratch:{from_scratch}" if model is None else f"sha256:{directory_hash(Path(model))}" if Path(model).is_dir() else model
    taught = Taught(layout_of(traces), prompt_of(traces, rulebook), base)
    identity = identity_of(traces, taught, rulebook, run.seed, options | training.identity())
    if training.resume and is_finished(output, identity):
        run.log.say(f"{output} is finished")
        return EXIT_DONE
    with unfinished(output, identity, resume=training.resume, force=force) as kept:
        from lore_cli.train import sft
        from lore_cli.train.checkpoints import Checkpoints

        with stream.output_directory(output, force=force or training.resume) as folder:
            settings = sft.Settings(base=model, size=from_scratch, seed=run.seed, **options)
            held_out = training.held_out(rulebook, taught.layout, taught.prompt)
            summary = sft.train(traces, settings, folder, Checkpoints(kept, training.save_steps), run.log, held_out)
            modelcard.write(folder, layout=taught.layout, prompt=taught.prompt, stage="sft", base=base, rulebook=rulebook)
        read = [source for source in (*inputs.sources, *filter(None, [training.evaluate])) if source != "-"]
        write_manifest(output, command=run.name, inputs=read, settings=run.settings, identity=identity, counts=summary | {"bad_rows": inputs.rejects.count})
    run.log.say(", ".join(f"{name} {value:,}" for name, value in summary.items()), **summary)
    if inputs.rejects.count:
        run.log.say(f"{inputs.rejects.count} bad rows skipped", bad_rows=inputs.rejects.count)
    return EXIT_PARTIAL if inputs.rejects.count else EXIT_DONE


class Taught(NamedTuple):
    """How the model will be asked, and what it began as."""

    layout: Layout
    prompt: str
    base: str


def identity_of(traces: list[Trace], taught: Taught, rulebook: Rulebook, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """What determines the weights: a run is resumed under the same alone."""
    from lore_cli.prompts import load_prompt

    own = {"rulebook": rulebook.hash, "base": taught.base, "prompt": f"{taught.prompt}:{load_prompt(taught.prompt).hash}", "layout": taught.layout}
    return own | {"data": digest(traces), "seed": seed} | options


def layout_of(traces: list[Trace]) -> Layout:
    """The layout of the completions. Raises `BadInput` when there are none, `UsageError` when the rows mix layouts: a judge could not read such a model's answers."""
    found = {answer.layout_of(trace.completion) for trace in traces if trace.prompt is not None and trace.completion}
    if not found:
        raise BadInput("no row has a prompt and a completion: nothing can be learnt", field="completion", hint="make traces with lore-synth")
    if len(found) != 1:
        raise UsageError(f"the traces mix layouts: {', '.join(sorted(found))}", hint="make them with one lore-synth --layout")
    return found.pop()


def prompt_of(traces: list[Trace], rulebook: Rulebook) -> str:
    """The template that the prompts were made from: a judge will ask the model by it. Raises `BadInput` naming a row whose prompt is none of ours under this rulebook."""
    from lore_cli.prompts import pair_prompt

    asked = [trace for trace in traces if trace.prompt is not None]
    for name in _TEMPLATES:
        if asked and pair_prompt(asked[0], rulebook, name) == asked[0].prompt:  # type: ignore[arg-type]
            break
    else:
        name = _TEMPLATES[0]
    odd = next((trace for trace in asked if pair_prompt(trace, rulebook, name) != trace.prompt), None)  # type: ignore[arg-type]
    if odd is not None:
        hint = "make the traces again with lore-synth, with one --prompt and this rulebook: a judge asks as the model was taught"
        raise BadInput(f"is not what the templates {' and '.join(_TEMPLATES)} make of this row", where=f"row '{odd.id}'", field="prompt", hint=hint)
    return name


main = entry(cli, "lore-sft")

if __name__ == "__main__":
    main()
