"""lore-sft: teach a language model to reason as the traces do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lore_cli import stream
from lore_cli.commands.common import Inputs, Run, entry, input_options, rulebook_option, run_options, version_option
from lore_cli.commands.sections import Command
from lore_cli.commands.training import Training, digest, model_output_options, not_in_options, training_options
from lore_cli.errors import EXIT_DONE, UsageError
from lore_cli.manifest import write_manifest
from lore_cli.models import directory_hash
from lore_cli.records import Trace

if TYPE_CHECKING:
    from lore_cli.rulebook import Rulebook
    from lore_cli.train.data import Lesson

@click.command(cls=Command)
@version_option
@input_options
@model_output_options
@rulebook_option
@run_options("sft")
@training_options
@click.option("--model", metavar="DIR|ID", help="Base model: a local directory or a hub id.")
@click.option("--from-scratch", type=click.Choice(["tiny", "small"]), help="Build a small model from the training text: tiny about 1.1M parameters, small about 3.7M.")
@click.option("--lora", is_flag=True, help="Train a low-rank adapter; it is merged into the model that is written.")
@click.option("--lora-rank", type=click.IntRange(min=1), default=16, help="Rank of the adapter.")
@click.option("--quantize", type=click.Choice(["4bit"]), help="With --lora keep the base in four bits (QLoRA); needs a CUDA GPU and bitsandbytes.")
@click.option("--optimizer", type=click.Choice(["adamw", "muon"]), help="muon: Muon for matrices, AdamW for the rest. By default muon from scratch, adamw for a given model.")
@click.option("--rate", type=click.FloatRange(min=0), help="Learning rate of AdamW (2e-5; LoRA 2e-4), Muon's is eight times as high; with --from-scratch a factor on its own rates.")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), default=1.0, help="Passes over the traces; 0.5 takes half of the batches.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Updates, going round the traces as often as needed.")
@click.option("--max-seconds", type=click.FloatRange(min=1), help="End training after so many seconds; the rate falls with the clock.")
@click.option("--batch-tokens", type=click.IntRange(min=16), default=2048, help="Tokens in one batch, padding included.")
@click.option("--packing", is_flag=True, help="Put rows end to end instead of padding them; each still attends to itself alone.")
@click.option("--max-length", type=click.IntRange(min=8), default=1024, help="Longest row in tokens; longer ones are refused, never cut.")
@not_in_options
@click.option("--allow-rulebook-change", is_flag=True, help="Learn traces that were made under another rulebook.")
def cli(
    inputs: Inputs, output: str, force: bool, rulebook: Rulebook, run: Run, training: Training, model: str | None, from_scratch: str | None,
    not_in: tuple[str, ...], shared_items: bool, allow_rulebook_change: bool, **options: Any,
) -> int:  # fmt: skip
    """Fine-tune a causal language model on traces (completion-only loss, TRL underneath).

    Reads all traces into memory. Writes an ordinary model directory with `lore.json`, which says how the model is to be asked, a model card (README.md),
    `metrics.jsonl`, and `curves.html`, which draws them.
    While it runs, checkpoints are in DIR.unfinished. An interrupted run goes on with --resume, to the same weights as if it had not been interrupted;
    with other data, model, rulebook or options it is refused.

    --evaluate measures greedy answers by the metrics of lore-rair score (those with _all count a reply that cannot be read as wrong).

    Rows may mix layouts, reasoning and bare labels: each prompt then ends in a line that says which is wanted. A judge asks for the reasoning, and
    with --prompt short+label-only for the grade alone. A row longer than --max-length or than the model's context is refused.

    \b
    Example:
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 3 --save-steps 2 -o /tmp/sft --force
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 3 --save-steps 2 -o /tmp/sft --resume
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 4 --evaluate examples/pairs.jsonl --evaluate-every 2 --best acc4_all -o /tmp/best --force
    """
    if (model is None) == (from_scratch is None):
        raise UsageError("give either --model or --from-scratch", hint="--from-scratch tiny needs no download")
    if (from_scratch and options["lora"]) or (options["quantize"] and not options["lora"]):
        raise UsageError("--quantize goes with --lora, and --lora with --model", hint="for example --model Qwen/Qwen3-8B --lora --quantize 4bit")
    stream.refuse_existing(output, force or training.resume, directory=True)
    from lore_cli import modelcard
    from lore_cli.train.readme import write_readme
    from lore_cli.train.unfinished import is_finished, unfinished

    base = f"scratch:{from_scratch}" if model is None else f"sha256:{directory_hash(Path(model))}" if Path(model).is_dir() else model
    lesson = _lesson(inputs, rulebook, not_in, shared_items, allow_rulebook_change)
    identity = {"rulebook": rulebook.hash, "base": base, "prompt": lesson.prompt_identity, "layout": lesson.layout, "data": digest(lesson.traces), "seed": run.seed}
    identity |= options | training.identity()
    read = [source for source in (*inputs.sources, *filter(None, [training.evaluate]), *not_in) if source != "-"]
    if training.resume and is_finished(output, identity):
        run.log.say(f"{output} is finished")
        return EXIT_DONE
    with unfinished(output, identity, resume=training.resume, force=force) as kept:
        from lore_cli.train import sft
        from lore_cli.train.checkpoints import Checkpoints
        from lore_cli.train.tracking import tracking

        with stream.output_directory(output, force=force or training.resume) as folder:
            settings = sft.Settings(base=model, size=from_scratch, seed=run.seed, **options)
            held_out = training.held_out(rulebook, lesson.layout, lesson.prompt)
            summary = sft.train(lesson.traces, settings, folder, Checkpoints(kept, training.save_steps), tracking(training.report_to, output), run.log, held_out)
            card = modelcard.write(folder, layout=lesson.layout, prompt=lesson.prompt, stage="sft", base=base, rulebook=rulebook)
            write_readme(folder, card, read, options | {"seed": run.seed}, summary)
        write_manifest(output, command=run.name, inputs=read, settings=run.settings, identity=identity, counts=summary | {"bad_rows": inputs.rejects.count})
    run.log.say(", ".join(f"{name} {value:,}" for name, value in summary.items()), **summary)
    return inputs.end(run.log)


def _lesson(inputs: Inputs, rulebook: Rulebook, not_in: tuple[str, ...], shared_items: bool, allow_rulebook_change: bool) -> Lesson:
    """The traces, checked, and how they teach the model to be asked."""
    from lore_cli.path.disjoint import load_known
    from lore_cli.train.data import lesson_of, refuse_leaks, refuse_other_rulebook

    lesson = lesson_of(list(inputs.read(Trace)), rulebook)
    refuse_leaks(lesson.traces, load_known(not_in, shared_items=shared_items))
    if not allow_rulebook_change:
        refuse_other_rulebook(lesson.traces, inputs.sources, rulebook)
    return lesson


main = entry(cli, "lore-sft")

if __name__ == "__main__":
    main()
