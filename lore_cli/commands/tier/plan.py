"""lore-tier plan: a query log cut into tiers."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Output, Run, input_options, output_options, refuse_secret, run_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.commands.tier.shared import Duration, count_log
from lore_cli.manifest import write_manifest

if TYPE_CHECKING:
    from lore_cli.tier.budget import Economy
    from lore_cli.tier.log import Counted, Form

_FORMS = ("auto", "events", "ubi")  # as in tier/log.py, which no --help needs


def budget_options(function: Any) -> Any:
    """What bounds the head, and what answers cost → `bounds: Bounds`."""

    @options_of(
        Section.HEAD,
        click.option("--budget-pairs", type=click.IntRange(1), help="The largest head whose refresh judges so many pairs, in place of --head-traffic."),
        click.option("--budget-hours", type=click.FloatRange(0), help="The same, in hours of the model."),
        click.option("--budget-money", type=click.FloatRange(0), help="The same, at a --price."),
        click.option(
            "--target-ms",
            type=click.FloatRange(0),
            help="The smallest head with which the mean pair takes so long, in place of --head-traffic; needs --measured.",
        ),
        click.option("--pairs-per-query", type=click.IntRange(1), default=40, help="Candidates judged for each head query."),
        click.option("--seconds", type=click.FloatRange(0), help="Seconds that the model takes for 1,000 pairs; as --measured without it."),
        click.option("--price", type=click.FloatRange(0), help="Money that the model takes for 1,000 pairs."),
        click.option("--measured", "measured_path", metavar="FILE", help="Report of lore-tier replay: speed and quality of the tiers as measured."),
    )
    @functools.wraps(function)
    def call(*, target_ms: float | None, measured_path: str | None, **rest: Any) -> Any:
        named = {name: rest.pop(name) for name in ("budget_pairs", "budget_hours", "budget_money", "pairs_per_query", "seconds", "price")}
        return function(bounds=Bounds(target_ms=target_ms, measured_path=measured_path, **named), **rest)

    return call


@dataclass(frozen=True)
class Bounds:
    """The options that bound the head."""

    budget_pairs: int | None
    budget_hours: float | None
    budget_money: float | None
    target_ms: float | None
    pairs_per_query: int
    seconds: float | None
    price: float | None
    measured_path: str | None

    @property
    def bound(self) -> bool:
        """Whether any of them chooses the head."""
        return any(value is not None for value in (self.budget_pairs, self.budget_hours, self.budget_money, self.target_ms))

    def economy(self) -> Economy:
        """Raises `Missing` and `BadInput` for a report that is none."""
        from lore_cli.tier.budget import Economy, measured

        if self.measured_path is None:
            return Economy(self.pairs_per_query, self.seconds, self.price, {}, {})
        return measured(stream.read_json(self.measured_path, "a report of lore-tier replay"), self.pairs_per_query, self.seconds, self.price)

    def head_traffic(self, asked: float, counted: Counted, economy: Economy, tail_traffic: float, min_count: int) -> float:
        """The head's share: that of the budget or the target where one is given. Raises `UsageError` for both, and for those that cannot be met."""
        from lore_cli.tier.budget import Budget, head_for_budget, head_for_latency

        budget = Budget(self.budget_pairs, self.budget_hours, self.budget_money)
        if budget != Budget() and self.target_ms is not None:
            raise errors.UsageError("a budget and --target-ms both choose the head", hint="leave one of them out")
        if self.target_ms is not None:
            return head_for_latency(self.target_ms, economy, tail_traffic)
        return asked if budget == Budget() else head_for_budget(counted, budget, economy, min_count)


@click.command(cls=Command)
@run_options("tier plan")
@input_options
@output_options
@click.option(
    "--log",
    "form",
    type=click.Choice(_FORMS),
    default="auto",
    help="auto: query counts or pairs; events: one row a request; ubi: OpenSearch's query documents.",
)
@options_of(Section.HEAD, click.option("--head-traffic", type=click.FloatRange(0, 1), default=0.8, help="Share of all requests that the head should hold."))
@budget_options
@click.option("--tail-traffic", type=click.FloatRange(0, 1), default=0.05, help="Share that the least frequent queries, the tail, hold at most.")
@click.option("--min-count", type=click.IntRange(1), default=1, help="Rarer queries (k-anonymity) are never named in the plan or cached.")
@click.option("--cache", metavar="DIR", help="Cache folder that answers the head.")
@click.option("--student", metavar="URI", help="Judge of the middle, and of head pairs that the cache cannot answer.")
@click.option("--tail", metavar="URI", help="Judge of the tail, and of pairs the student is not sure of.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, help="Top probability under which the student hands over to the tail's judge.")
@click.option("--ttl", type=Duration(), default="30d", help="Age at which a refresh judges a cached verdict again.")
@click.option("--expire", type=Duration(), help="Age at which a cached verdict is no longer served; twice --ttl without it.")
@click.option("--previous", metavar="PLAN", help="An earlier plan: tell what moved since.")
@options_of(
    Section.OUTPUT,
    click.option("--report", metavar="FILE", help="Curve, Zipf's law, never-seen traffic, churn and cuts, as JSON."),
    click.option("--html", metavar="FILE", help="The same as a page with a chart."),
)
def cli(
    inputs: Inputs, output: Output, run: Run, form: Form, bounds: Bounds, head_traffic: float, tail_traffic: float, min_count: int, cache: str | None,
    student: str | None, tail: str | None, threshold: float, ttl: float, expire: float | None, previous: str | None, report: str | None, html: str | None,
) -> int:  # fmt: skip
    """Cut a query log into head, middle and tail.

    Reads rows of query and count, pairs, or one row a request (--log), writes PLAN.json with PLAN.head.jsonl and PLAN.middle.jsonl beside it.
    The plan carries who answers each tier, so that tier:PLAN.json is the deployed system. Spellings of one query are added up: NFKC, case
    folded, white space as one space. The head is the smallest set of queries that holds --head-traffic, or what a budget or a target allows.
    Queries that look personal (e-mail, phone and card numbers) are left out of plan and cache, and counted. Memory: one row per distinct query.

    \b
    Example:
      $ lore-tier plan examples/log.jsonl --cache /tmp/cache --tail rulebook: -o /tmp/plan.json --force
      $ lore-tier plan examples/log.jsonl --budget-pairs 2000 --seconds 30 --tail rulebook: -o /tmp/plan.json --force --report /tmp/traffic.json --html /tmp/traffic.html
    """
    from lore_cli.tier import plan as planning

    for uri in (student, tail, cache):
        refuse_secret(uri)
    if output.path is None or stream.is_pipe(output.path):
        raise errors.UsageError("a plan is several files", hint="pass --output plan.json")
    for path in (output.path, report, html):
        stream.refuse_existing(path, output.force)
    expire = 2 * ttl if expire is None else expire
    if expire < ttl:
        raise errors.UsageError("--expire is shorter than --ttl: entries would go before they are judged again")
    economy, before = bounds.economy(), _lists(previous)
    counted = count_log(inputs, form, run)
    head_traffic = bounds.head_traffic(head_traffic, counted, economy, tail_traffic, min_count)
    targets = {
        "head_traffic": head_traffic,
        "tail_traffic": min(tail_traffic, 1 - head_traffic) if bounds.bound else tail_traffic,
        "min_count": float(min_count),
    }
    made = planning.write_plan(output.path, counted, targets, planning.Deployment(cache, student, tail, threshold, ttl, expire))
    counts = {"log_rows": counted.rows, "queries": made.queries, "traffic": made.traffic, "bad_rows": inputs.rejects.count}
    write_manifest(
        output.path, command=run.name, inputs=[s for s in inputs.sources if s != "-"], settings=run.settings, identity={"plan": made.hash}, counts=counts
    )
    run.log.say("\n" + planning.table(made), **counts)
    if before or report or html or bounds.bound:
        _tell_traffic(run, counted, economy, output.path, before, report, html)
    return inputs.exit_code


def _lists(previous: str | None) -> tuple[dict[str, int], dict[str, int]] | None:
    """The head and the middle of an earlier plan, with counts."""
    from lore_cli.judges.plan import listed_queries, load_plan

    if previous is None:
        return None
    earlier = load_plan(previous)
    return dict(listed_queries(previous, earlier.head)), dict(listed_queries(previous, earlier.middle))


def _tell_traffic(
    run: Run, counted: Counted, economy: Economy, plan_path: str, before: tuple[dict[str, int], dict[str, int]] | None, report: str | None, html: str | None
) -> None:
    """Curve, law, never-seen traffic, churn and cuts: on the log, and in the files asked for."""
    from lore_cli.judges.plan import listed_queries, load_plan
    from lore_cli.tier import budget, plan_page, traffic
    from lore_cli.tier.plan import table

    made = load_plan(plan_path)
    rows = budget.cuts(counted, made.targets["head_traffic"], made.targets["tail_traffic"], economy)
    document = {
        "plan": made.hash,
        "curve": traffic.curve(counted, run.seed),
        "zipf": traffic.zipf(counted),
        "never_seen": traffic.never_seen(counted),
        "cuts": rows,
    }
    if before is not None:
        document["churn"] = traffic.churn(counted, dict(listed_queries(plan_path, made.head)), *before)
    texts = [budget.table(rows), traffic.text(document)]
    run.log.say("\n" + "\n".join(texts))
    if report is not None:
        stream.write_json_atomic(report, document)
    if html is not None:
        stream.write_text_atomic(html, plan_page.page(document, made.tiers["head"].queries, [table(made), *texts]))
