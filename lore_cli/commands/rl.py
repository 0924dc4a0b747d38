"""lore-rl: align a fine-tuned model with human grades by reinforcement learning."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lore_cli import stream
from lore_cli.commands.common import (
    SETTINGS,
    Inputs,
    Judging,
    Output,
    Run,
    Verbs,
    entry,
    input_options,
    judge_options,
    map_to_output,
    output_options,
    resume_options,
    rulebook_option,
    run_options,
    version_option,
)
from lore_cli.errors import EXIT_DONE, EXIT_PARTIAL, BadInput, UsageError
from lore_cli.ledger import Outcome
from lore_cli.manifest import write_manifest
from lore_cli.models import directory_hash
from lore_cli.records import Pair, Trace, Verdict, row_of

if TYPE_CHECKING:
    from lore_cli.rulebook import Rulebook


@click.group(cls=Verbs, context_settings=SETTINGS)
@version_option
def cli() -> None:
    """Reinforcement learning with verifiable rewards: select pairs worth learning from, train, score completions, look at rollouts.

    \b
    Example:
      $ lore-rl select examples/pairs.jsonl --judge rulebook: --quiet | head -3
      $ lore-rl reward examples/traces.jsonl --quiet | lore-rl inspect --worst 3
    """


@cli.command("select")
@input_options
@output_options
@resume_options
@run_options("rl select")
@judge_options()
@click.option("--least", type=click.FloatRange(0, 1), default=0.01, help="Least share of draws that must be right.")
@click.option("--most", type=click.FloatRange(0, 1), default=0.9, help="Greatest share of draws that may be right.")
def select(inputs: Inputs, output: Output, judging: Judging, run: Run, least: float, most: float) -> int:
    """Keep the pairs a model gets right sometimes: pass rate within [LEAST, MOST] over --samples draws (default 8).

    Pairs that are always or never right give GRPO no gradient. A kept row is the pair with `pass_rate` (share of draws with the human
    grade) and `selected_because`. Pairs without a human grade are left out and counted.

    \b
    Example:
      $ lore-rl select examples/pairs.jsonl --judge rulebook: --least 0 --most 1 -o /tmp/selected.jsonl --force
    """
    if least > most:
        raise UsageError(f"--least {least:g} is more than --most {most:g}")
    judging.options["samples"] = judging.options["samples"] or 8
    judge = judging.open()

    def work(pairs: Iterator[Pair]) -> Iterator[Outcome]:
        asked: deque[Pair] = deque()

        def remember() -> Iterator[Pair]:
            for pair in pairs:
                asked.append(pair)
                yield pair

        for verdict in judge(remember()):
            yield _selected(asked.popleft(), verdict, least, most)

    identity = {**judge.identity(), "samples": judging.settings.samples, "temperature": judging.settings.temperature, "seed": run.seed, "band": [least, most]}
    return map_to_output(Pair, inputs, output, run, identity, work, "pairs selected")


def _selected(pair: Pair, verdict: Verdict, least: float, most: float) -> Outcome:
    row = dict(row_of(pair))
    if verdict.samples is None:
        return Outcome("failed", row | {"error": verdict.error or "the judge draws no samples"})
    if pair.grade is None:
        return Outcome("rejected", row | {"reason": "no human grade"})
    rate = sum(grade == pair.grade for grade in verdict.samples) / len(verdict.samples)
    reason = f"pass rate {rate:.3g} of {len(verdict.samples)} draws lies in [{least:g}, {most:g}]"
    if not least <= rate <= most:
        return Outcome("rejected", row | {"pass_rate": rate, "reason": reason.replace("lies in", "is outside")})
    return Outcome("done", row | {"pass_rate": rate, "selected_because": reason})


@cli.command("train")
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
@click.option("--weight", multiple=True, metavar="PART=NUMBER", help="Weight of a reward part (grade, ordinal, format, adherence); repeatable.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Updates at most; 200 where --max-seconds is not given either.")
@click.option("--max-seconds", type=click.FloatRange(min=1), help="End training after so many seconds.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, help="Longest answer.")
def train(inputs: Inputs, output: str, force: bool, rulebook: Rulebook, run: Run, model: str, weight: tuple[str, ...], traces: str | None, **options: Any) -> int:
    """GRPO through TRL with verifiable rewards: the human grade, the format, and whether the grade follows from the answer's own matches.

    Reads all pairs and traces into memory. Writes an ordinary model directory with `lore.json` and `metrics.jsonl`.

    \b
    Example (fine-tunes a throw-away model first):
      $ lore-sft examples/traces.jsonl --from-scratch tiny --max-steps 3 -o /tmp/sft --force --quiet
      $ lore-rl train examples/pairs.jsonl --model /tmp/sft --max-steps 2 --prompts-per-step 2 --max-new-tokens 16 -o /tmp/rl --force
    """
    from lore_cli import modelcard
    from lore_cli.answer import layout_of
    from lore_cli.train import rewards

    stream.refuse_existing(output, force, directory=True)
    weights = rewards.parse_weights(weight)
    card = modelcard.require(model)
    pairs = list(inputs.read(Pair))
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
        summary = rl.train(pairs, model, rulebook, card.layout, card.prompt, weights, settings, folder, run.log, taught)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        modelcard.write(folder, layout=card.layout, prompt=card.prompt, stage="rl", base=base, rulebook=rulebook)
    identity = {"rulebook": rulebook.hash, "weights": weights, "base": base, "prompt": f"{card.prompt}:{card.prompt_hash}", "layout": card.layout}
    write_manifest(
        output, command=run.name,
        inputs=[s for s in (*inputs.sources, *filter(None, [traces])) if s != "-"], settings=run.settings, identity=identity,
        counts=summary | {"bad_rows": inputs.rejects.count},
    )
    run.log.say(", ".join(f"{name} {value:g}" for name, value in summary.items()), **summary)
    if inputs.rejects.count:
        run.log.say(f"{inputs.rejects.count} bad rows skipped", bad_rows=inputs.rejects.count)
    return EXIT_PARTIAL if inputs.rejects.count else EXIT_DONE


@cli.command("reward")
@input_options
@output_options
@resume_options
@rulebook_option
@run_options("rl reward")
@click.option("--layout", type=click.Choice(["answer-last", "answer-first", "label-only", "free"]), default="answer-last", help="Where the grade stands in the completion.")
@click.option("--weight", multiple=True, metavar="PART=NUMBER", help="Weight of a reward part (grade, ordinal, format, adherence); repeatable.")
def reward(inputs: Inputs, output: Output, rulebook: Rulebook, run: Run, layout: Any, weight: tuple[str, ...]) -> int:
    """Score completions: Traces in, the same rows with `reward` and `rewards{part}` out. `grade` is the human's, `completion` the text scored.

    \b
    Example:
      $ lore-rl reward examples/traces.jsonl
    """
    from lore_cli.train import rewards

    weights = rewards.parse_weights(weight)

    def work(traces: Iterator[Trace]) -> Iterator[Outcome]:
        for trace in traces:
            assert trace.completion is not None and trace.grade is not None  # refused as they were read
            parts = rewards.reward_parts(trace.completion, trace.grade, rulebook, layout)
            yield Outcome("done", {**row_of(trace), "reward": rewards.total(parts, weights), "rewards": parts})

    identity = {"rulebook": rulebook.hash, "weights": weights, "layout": layout}
    return map_to_output(Trace, inputs, output, run, identity, work, "completions scored", needs=("grade", "completion"))


@cli.command("inspect")
@input_options
@run_options("rl inspect")
@click.option("--worst", type=click.IntRange(min=1), default=10, help="How many of the lowest rewards to show.")
def inspect(inputs: Inputs, run: Run, worst: int) -> int:
    """A table of the completions with the lowest rewards, from rows that `lore-rl reward` wrote. Keeps only as many rows as it shows.

    \b
    Example:
      $ lore-rl reward examples/traces.jsonl --quiet | lore-rl inspect --worst 3
    """
    import heapq

    from rich.console import Console
    from rich.table import Table

    def scored() -> Iterator[tuple[float, int, Trace]]:
        for number, trace in enumerate(inputs.read(Trace, needs=("reward",))):
            value = row_of(trace)["reward"]
            if not isinstance(value, int | float):
                raise BadInput(f"found {value!r} (expected a number)", where=f"row '{trace.id}'", field="reward", hint="pipe the rows through lore-rl reward first")
            yield float(value), number, trace

    table = Table("reward", "parts", "query", "item", "human", "completion", show_lines=True)
    for value, _, trace in heapq.nsmallest(worst, scored()):
        parts = " ".join(f"{name}={part:g}" for name, part in row_of(trace).get("rewards", {}).items())
        table.add_row(f"{value:.3g}", parts, trace.query, trace.item.title, trace.grade or "-", trace.completion or "-")
    Console().print(table)
    return EXIT_PARTIAL if inputs.rejects.count else EXIT_DONE


main = entry(cli, "lore-rl")

if __name__ == "__main__":
    main()
