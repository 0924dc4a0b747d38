"""Options that say what language models may cost, where their replies are kept, and runs that ask nothing: dry runs and batch files."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lore_cli import stream
from lore_cli.commands.sections import Section, options_of
from lore_cli.errors import BadInput, Missing, UsageError, require
from lore_cli.files import is_pipe
from lore_cli.progress import Log

if TYPE_CHECKING:
    from lore_cli.commands.rows import Inputs
    from lore_cli.ledger import Outcome
    from lore_cli.models import TextModel
    from lore_cli.models.spending import Spending

spending_options = options_of(
    Section.SPENDING,
    click.option("--reply-cache", metavar="FILE", help="Keep replies in this file (SQLite) and take from it those that are there; runs may share it."),
    click.option("--price-in", type=click.FloatRange(min=0), default=0.0, help="Price of a million prompt tokens, in any currency."),
    click.option("--price-out", type=click.FloatRange(min=0), default=0.0, help="Price of a million tokens of replies."),
    click.option("--max-cost", type=click.FloatRange(min=0), help="Ask nothing that might cost this run more; rows not asked fail, for --retry-failed."),
)


def spending_of(reply_cache: str | None, price_in: float, price_out: float, max_cost: float | None, output: str | None) -> Spending:
    """What the options come to, for a run that writes `output`. Raises `UsageError` for a limit without prices."""
    from lore_cli.models.metered import Meter
    from lore_cli.models.replies import ReplyStore
    from lore_cli.models.spending import Spending

    if max_cost is not None and not (price_in or price_out):
        raise UsageError("--max-cost needs prices", hint="pass --price-in and --price-out, in money for a million tokens")
    unfinished = None if reply_cache or output is None or is_pipe(output) else ReplyStore(f"{output}.replies")
    return Spending(ReplyStore(reply_cache) if reply_cache else None, Meter(price_in, price_out, max_cost), unfinished)


@dataclass(frozen=True)
class Planning:
    """Runs that ask nothing. emit: the batch file to write. ingest: files of results to take in first."""

    dry_run: bool
    emit: str | None
    ingest: tuple[str, ...]

    @property
    def asks_nothing(self) -> bool:
        """Whether the run ends without an output."""
        return self.dry_run or self.emit is not None

    def prepare(self, spending: Spending | None, uri: str, force: bool, inputs: Inputs, log: Log) -> None:
        """Take the results in, and put a stand-in where the model would be. Raises `UsageError` for options that do not go together, before any work."""
        assert spending is not None
        if self.dry_run:
            spending.stand_in = functools.partial(_estimate, spending)
            spending.replies = spending.replies and spending.replies.read_only()
        if not (self.emit or self.ingest):
            return
        if self.dry_run or not uri.startswith(("http:", "https:")) or spending.replies is None:
            problem = "--dry-run writes no batch" if self.dry_run else "batches need --reply-cache" if spending.replies is None else f"--judge {uri} takes no batches"
            raise UsageError(problem, hint="pass --reply-cache FILE and --judge http://HOST/v1#MODEL (HOST is not asked), and leave --dry-run out")
        stream.refuse_existing(self.emit, force)
        for path in self.ingest:
            _take(path, spending, inputs, log)
        spending.stand_in = functools.partial(_waiting, spending)


def planning_options(function: Any) -> Any:
    """--dry-run --emit-batch --ingest-batch → `planning: Planning`."""

    @options_of(
        Section.BATCHES,
        click.option("--dry-run", is_flag=True, help="Ask and write nothing: say what would be asked, and what it would cost."),
        click.option("--emit-batch", metavar="FILE", help="Write what the reply cache does not hold as a batch file; ask and write nothing else."),
        click.option("--ingest-batch", metavar="FILE", multiple=True, help="Take the results of a batch into the reply cache, then go on with what is there; repeatable."),
    )
    @functools.wraps(function)
    def call(*, dry_run: bool, emit_batch: str | None, ingest_batch: tuple[str, ...], **rest: Any) -> Any:
        return function(planning=Planning(dry_run, emit_batch, ingest_batch), **rest)

    return call


def _estimate(spending: Spending, uri: str, chat: bool, max_new_tokens: int) -> TextModel:
    from lore_cli.models.estimate import Estimate, expected_reply
    from lore_cli.models.unopened import unopened

    identity, count = unopened(uri, chat)
    known = spending.replies.mean_bytes(identity["model"]) if spending.replies else None
    return Estimate(identity, *expected_reply(known, max_new_tokens), count)


def _waiting(spending: Spending, uri: str, chat: bool, max_new_tokens: int) -> TextModel:
    require("httpx", "serve"), require("stamina", "serve")
    from lore_cli.models.batches import BatchRequests
    from lore_cli.models.http import unasked_http

    assert spending.replies is not None
    return BatchRequests(unasked_http(uri, chat=chat), spending.replies)


def _take(path: str, spending: Spending, inputs: Inputs, log: Log) -> None:
    """The results in a file into the cache. Raises `Missing` for no such file."""
    from lore_cli.models.batches import ingest

    assert spending.replies is not None

    def refuse(problem: BadInput, line: int, text: bytes) -> None:
        hint = problem.hint or "mend the line, or pass --on-bad skip --rejects FILE"
        inputs.refuse(BadInput(problem.reason, where=path, line=line, field=problem.field, hint=hint), text)

    try:
        lines = open(path, "rb")
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}", hint="check --ingest-batch") from error
    with lines:
        taken = ingest(lines, spending.replies, spending.meter, refuse)
    log.say(f"{path}: {taken.taken} replies, {taken.failed} failed requests, {taken.again} that were here before, {taken.unknown} that nobody here asked for, {taken.bad} bad lines", **vars(taken))


def emit(path: str, force: bool, spending: Spending, outcomes: Iterator[Outcome], inputs: Inputs, log: Log) -> int:
    """Run the rows with replies of the cache alone, and write what is missing as a batch file. Says how many rows wait."""
    from lore_cli.models.batches import WAITS, BatchRequests

    states: Counter[str] = Counter()
    with stream.open_output(path, format="jsonl", force=force) as writer:
        for model in spending.asked:
            if isinstance(model, BatchRequests):
                model.write = writer.write
        for outcome in outcomes:
            states["wait" if outcome.state == "failed" and WAITS in str(outcome.row.get("error")) else outcome.state] += 1
    told = {name: states[name] for name in ("wait", "done", "rejected", "failed")}
    log.say(f"{writer.count} requests in {path}; {sum(states.values())} rows: {told['wait']} wait for them, {told['done']} would be done, {told['rejected']} rejected, {told['failed']} failed", requests=writer.count, **told)
    if not writer.count:
        log.say("nothing waits: the same command without --emit-batch writes the output")
    return inputs.exit_code


def dry_run(rehearse: Callable[[Callable[[str], None]], int], spending: Spending, inputs: Inputs, log: Log) -> int:
    """Say what a run would ask: a line for each stage, and the same as JSON on standard output. `rehearse(begin)` runs the stages and counts the rows."""
    import orjson

    from lore_cli.models.estimate import Estimate

    estimates = [model for model in spending.asked if isinstance(model, Estimate)]

    def begin(stage: str) -> None:
        for model in estimates:
            model.begin(stage)

    document: dict[str, Any] = {"rows": rehearse(begin)}
    document |= {"cached": spending.replies.found if spending.replies else 0, "models": [model.document(spending.meter) for model in estimates]}
    for model in document["models"]:
        for name, part in (*model["stages"].items(), ("total", model["total"])):
            log.say(f"{name}: {_range(part, 'requests')} requests, {_range(part, 'prompt_tokens')} + {_range(part, 'completion_tokens')} tokens" + (f", cost {_range(part, 'cost')}" if "cost" in part["worst"] else ""))
    if not estimates:
        log.say("no language model: nothing is asked")
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return inputs.exit_code


def _range(part: dict[str, dict[str, Any]], name: str) -> str:
    """`12 (at worst 72)`."""
    return f"{part['expected'][name]:,} (at worst {part['worst'][name]:,})"
