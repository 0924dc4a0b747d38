"""lore-synth: pairs become traces with reasoning to learn from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lore_cli import stream
from lore_cli.commands.common import (
    Inputs, Judging, Output, Run, entry, input_options, judge_options, map_to_output, output_options, refuse_secret, resume_options, run_options, version_option,
)  # fmt: skip
from lore_cli.commands.sections import Section, options_of
from lore_cli.commands.spend import Planning, dry_run, emit, planning_options
from lore_cli.commands.teaching import Teaching, teaching_options
from lore_cli.commands.verbs import CommandWithVerbs, Verb
from lore_cli.errors import BadInput, UsageError
from lore_cli.images import Relocation, is_url
from lore_cli.ledger import Outcome
from lore_cli.progress import Log
from lore_cli.records import Trace
from lore_cli.synth import STAGES

if TYPE_CHECKING:  # the expert's tables are no use to --help, and would take half its time
    from lore_cli.synth.clustered import OpenSteps
    from lore_cli.synth.merge import Tally

VERBS: dict[str, Verb] = {
    "mine": Verb("mine", "Hard cases: contrastive variants of what a judge got wrong."),
    "clean": Verb("clean", "Quality gates: duplicates, contamination, length, balance."),
    "cache": Verb("cache", "The reply cache: stat, gc, export."),
}  # NAME: Verb(module in this folder, one line of help); `lore-synth NAME …`


@click.command(cls=CommandWithVerbs, verbs=VERBS)
@run_options("synth")
@input_options
@output_options
@resume_options
@judge_options("rulebook:", several=True)
@click.option("--stages", default=",".join(STAGES), help="Stages to run, separated by commas; each reads what the ones before left in the rows.")
@click.option("--images", metavar="DIR", help="What image paths are relative to; the first input's folder without it.")
@click.option("--image-urls", type=click.Choice(["refuse", "allow"]), default="refuse", help="Whether pictures at public web addresses are fetched.")
@click.option("--vision", metavar="URI", help="A model that sees writes the captions: http://HOST/v1#MODEL · vllm:PATH · hf:PATH; the embedded captioner without it.")
@options_of(Section.OUTPUT, click.option("--rejected", metavar="FILE", help="Where rejected rows go, with the reason."))
@planning_options
@teaching_options
@version_option
def cli(
    inputs: Inputs, output: Output, judging: Judging, run: Run, planning: Planning, teaching: Teaching, stages: str, images: str | None, image_urls: str,
    vision: str | None, rejected: str | None,
) -> int:  # fmt: skip
    """Progressive reasoning: pairs become traces, in three stages that also run piped.

    \b
    knowledge  what the query asks for, with the help of glossary and taxonomy → needs
    visual     what the picture shows → item.caption
    rules      needs against item, rules, grade → matches, prompt, completion

    The teacher (--judge) is the deterministic expert or a language model. Its reasoning is kept when it follows its own rules, quotes only what
    the item holds, demands only what the query does, does not give away that it was told the answer, and comes to the human grade; else it is asked for
    again and then rejected. Two teachers (--judge twice) must both come there. With --naive a teacher reasons in one prompt, without needs or rules: only the
    grade of such a text can be checked. The summary tells what was rejected in which stage and why, and how many rows needed the human grade in view.

    A missing image stops the run, or with --on-bad skip leaves a row with `error`, as an image URL does that is not fetched. Image paths
    in a file that is written elsewhere are adapted; in a
    pipe they stay. Bounded memory.

    --knowledge files hold rows of two kinds, mixed as you like: {"term", "needs"} of a glossary, and {"category", "path", "names", "attributes"} of a
    taxonomy, whose categories and values join the rulebook's tables. examples/importers/shopify_taxonomy.py makes them of Shopify's taxonomy.

    --emit-batch writes the requests whose replies the cache does not hold, for OpenAI's Batch API or `vllm run-batch`; HOST is not asked. Then take its
    results in and emit the next (needs, evidence, answers, those that were no good) until nothing waits. Requests without a result are written again.

    \b
    Example:
      $ lore-synth examples/pairs.jsonl --knowledge examples/glossary.jsonl -o /tmp/traces.jsonl --force
      $ echo '{"id": "1", "query": "clear 贵妃榻", "item": {"id": "1", "title": "Daybed"}}' | lore-synth - --stages knowledge --knowledge examples/taxonomy.jsonl
      $ lore-synth examples/pairs.jsonl --stages knowledge | lore-synth - --stages visual --images examples | lore-synth - --stages rules --layout answer-first > /tmp/piped.jsonl
      $ lore-synth examples/pairs.jsonl --naive --judge rulebook: --quiet > /tmp/naive.jsonl
      $ lore-synth examples/pairs.jsonl --judge http://HOST/v1#MODEL --price-in 0.4 --price-out 1.6 --dry-run
      $ lore-synth examples/pairs.jsonl --judge http://HOST/v1#MODEL --reply-cache /tmp/replies.sqlite --emit-batch /tmp/1.jsonl --force
      $ : > /tmp/1.out.jsonl  # vllm run-batch -i /tmp/1.jsonl -o /tmp/1.out.jsonl --model MODEL
      $ lore-synth examples/pairs.jsonl --judge http://HOST/v1#MODEL --reply-cache /tmp/replies.sqlite --ingest-batch /tmp/1.out.jsonl --emit-batch /tmp/2.jsonl --force
    """
    from lore_cli.synth.merge import synthesise
    from lore_cli.synth.rehearse import rehearse

    chosen = _stages(stages, teaching.layout)
    planning.prepare(judging.spending, judging.uri, output.force, inputs, run.log)
    for path in (output.path, rejected) if not planning.asks_nothing else ():
        stream.refuse_existing(path, output.replaces)
    inputs, first = inputs.peek(Trace)
    source, fail_fast = Path(images).resolve() if images else inputs.folder, inputs.on_bad == "fail"
    if "visual" in chosen and fail_fast:
        _check_pictures(first, source)
    refuse_secret(vision)
    urls = image_urls == "allow" and not planning.dry_run
    ready = functools.partial(teaching.steps, chosen, source, fail_fast, urls, run.log)
    here = dataclasses.replace(judging, cluster=None)
    if not planning.asks_nothing:
        return _traces_to_output(inputs, output, judging, run, chosen, functools.partial(ready, here, vision), source, rejected)
    steps, batch = ready(here, vision)
    if planning.dry_run:
        experts, _ = teaching.by_expert().steps(chosen, source, fail_fast, urls, run.log, dataclasses.replace(here, uri="rulebook:", others=()), None)
        return dry_run(lambda begin: rehearse(inputs.read(Trace), steps, experts, batch, begin), judging.spending, inputs, run.log)
    return emit(planning.emit, output.force, judging.spending, synthesise(inputs.read(Trace), steps, batch), inputs, run.log)


def _traces_to_output(
    inputs: Inputs, output: Output, judging: Judging, run: Run, chosen: tuple[str, ...], open_steps: OpenSteps, source: Path, rejected: str | None
) -> int:  # fmt: skip
    """Rows through the stages to the output, with a count of what came of them. `source`: what image paths are relative to."""
    from lore_cli.synth import clustered
    from lore_cli.synth.merge import Tally

    own, synthesised = clustered.opened(judging.cluster, open_steps)
    identity = {"teacher": " ".join((judging.uri, *judging.others)), "seed": run.seed, "stages": " ".join(chosen), **own}
    tally, counts = Tally(), _Late()
    log = _Counting(run.log, tally, counts)
    moved = Relocation(source, source if stream.is_pipe(output.path) else Path(str(output.path)).resolve().parent)

    def work(traces: Iterator[Trace]) -> Iterator[Outcome]:
        for outcome in synthesised(traces):
            yield dataclasses.replace(outcome, row=moved.row(outcome.row))

    code = map_to_output(Trace, inputs, output, dataclasses.replace(run, log=log), identity, work, "rows", rejected, counts, spending=judging.spending)
    for line in tally.lines():
        run.log.say(line)
    return code


class _Late(dict[str, Any]):
    """Counts for the manifest, filled when the last row has passed."""


class _Counting(Log):
    """A log that sees every outcome pass, those taken over by --resume too, and counts them."""

    def __init__(self, log: Log, tally: Tally, counts: dict[str, Any]) -> None:
        super().__init__(log.command, quiet=log.quiet, json=log.json)
        self._tally, self._counts = tally, counts

    def track(self, rows: Iterable[Any], what: str = "rows", total: int | None = None) -> Iterator[Any]:
        for outcome in super().track(rows, what, total):
            self._tally.add(outcome)
            yield outcome
        self._counts.update(self._tally.counts())


def _stages(text: str, layout: str) -> tuple[str, ...]:
    """The stages named, in their order. Labels and naive reasoning know no needs: label-only and free leave the knowledge stage out."""
    named = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in STAGES]
    if unknown or not named:
        raise UsageError(f"--stages {text}: {f'{unknown[0]!r} is no stage' if unknown else 'names no stage'}", hint=f"stages are {', '.join(STAGES)}")
    return tuple(name for name in STAGES if name in named and not (layout in ("label-only", "free") and name == "knowledge"))


def _check_pictures(first: list[Trace], folder: Path) -> None:
    """Raise `BadInput` when a picture of the first rows is not there: before anybody is paid for reading what belongs to it."""
    for trace in first:
        if trace.item.image and trace.item.caption is None and not is_url(trace.item.image) and not (folder / trace.item.image).is_file():
            raise BadInput(f"{folder / trace.item.image}: no such file", where=f"row '{trace.id}'", field="item.image", hint="pass --images DIR, or --on-bad skip to go on without such rows")


main = entry(cli, "lore-synth")

if __name__ == "__main__":
    main()
