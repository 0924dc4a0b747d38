"""What all six commands share: how they start, which options they take, how they end.

An option group is a decorator that adds options and hands the command one object: `inputs`, `output`, `judging`, `run`.
Titles of groups are in sections.py, commands of several verbs in verbs.py; how a command ends is in ending.py.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lore_cli import __version__, config, errors, stream
from lore_cli.commands.ending import entry  # noqa: F401  every command ends by it
from lore_cli.commands.rows import Inputs, Output
from lore_cli.commands.sections import Section, options_of
from lore_cli.commands.spend import spending_of, spending_options
from lore_cli.commands.spread import cluster_of, ray_options
from lore_cli.judges import Judge, JudgeSettings, clustered, open_judge
from lore_cli.judges.modality import PartialView
from lore_cli.ledger import Ledger, Outcome
from lore_cli.manifest import write_manifest
from lore_cli.progress import Log
from lore_cli.records import AnyRecord, Pair, Verdict, row_of
from lore_cli.scale import Cluster

if TYPE_CHECKING:
    from lore_cli.models.spending import Spending

Answered = TypeVar("Answered")
_NOT_SETTINGS = ("config", "help", "version")
_RULEBOOK = click.option("--rulebook", metavar="FILE", help="Rulebook (TOML); the built-in one without it.")
_KNOWLEDGE = click.option("--knowledge", metavar="FILE", multiple=True, help="Glossary and taxonomy rows of the shop (JSONL); repeatable.")
theory_options = options_of(Section.THEORY, _RULEBOOK, _KNOWLEDGE)
knowledge_option = options_of(Section.THEORY, _KNOWLEDGE)
http_options = options_of(
    Section.HTTP,
    click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, help="Seconds to wait for one reply."),
    click.option("--concurrency", type=click.IntRange(min=1), default=32, help="Most requests in flight; fewer while the server cannot keep up."),
)


@dataclass(frozen=True)
class Judging:
    """Which judge, under which rulebook; `open()` gives the judge. others: further ones, where a command takes several. modality: what it is shown of items."""

    uri: str
    rulebook_path: str | None
    options: dict[str, Any] = field(default_factory=dict)
    cluster: Cluster | None = None
    others: tuple[str, ...] = ()
    modality: str = "both"

    @functools.cached_property
    def settings(self) -> JudgeSettings:
        from lore_cli.rulebook import load_rulebook  # here, because no --help needs it

        return JudgeSettings(rulebook=load_rulebook(self.rulebook_path), **self.options)

    @property
    def spending(self) -> Spending | None:
        """What the run's language models cost; None for a judge that is opened without the options for it."""
        return self.options.get("spending")

    def open(self) -> Judge:
        judge = open_judge(self.uri, self.settings) if self.cluster is None else clustered.open(self.uri, self.settings, self.cluster)
        return judge if self.modality == "both" else PartialView(judge, self.modality)


@dataclass(frozen=True)
class Run:
    """The command's own circumstances: name, seed, log, and the resolved settings for the manifest."""

    name: str
    seed: int
    log: Log
    settings: dict[str, Any]


def input_options(function: Any) -> Any:
    """FILE… --limit --sample --on-bad --rejects → `inputs: Inputs`."""

    @options_of(
        Section.INPUT,
        click.argument("files", nargs=-1, metavar="[FILE]..."),
        click.option("--limit", type=click.IntRange(min=0), help="Read at most N rows."),
        click.option("--sample", type=click.IntRange(min=0), help="Of the rows read, take N chosen by a hash of their content."),
        click.option("--on-bad", type=click.Choice(["fail", "skip"]), default="fail", help="At a bad row: stop with exit 3, or skip it and go on (exit 5)."),
        click.option("--rejects", metavar="FILE", help="Where bad rows go, with file, line, field and reason."),
    )
    @functools.wraps(function)
    def call(*, files: tuple[str, ...], limit: int | None, sample: int | None, on_bad: str, rejects: str | None, **rest: Any) -> Any:
        again = any(rest.get(name) for name in ("force", "resume", "retry_failed")) or "force" not in click.get_current_context().params
        stream.refuse_existing(rejects, again)
        return function(inputs=Inputs(files or ("-",), limit, on_bad, stream.Rejects(rejects), sample), **rest)

    return call


def output_options(function: Any) -> Any:
    """--output --format --force → `output: Output`."""

    @options_of(
        Section.OUTPUT,
        click.option("-o", "--output", metavar="FILE", help="Output file; standard output without it."),
        click.option("--format", type=click.Choice(stream.FORMATS), help="Output format; by default told by the suffix, else jsonl."),
        click.option("--force", is_flag=True, help="Replace an existing output."),
    )
    @functools.wraps(function)
    def call(*, output: str | None, format: str | None, force: bool, **rest: Any) -> Any:
        return function(output=Output(output, format, force, rest.pop("resume", False), rest.pop("retry_failed", False)), **rest)

    return call


resume_options = options_of(  # directly below `output_options`, whose `Output` takes them
    Section.OUTPUT,
    click.option("--resume", is_flag=True, help="Finish what an interrupted run left."),
    click.option("--retry-failed", is_flag=True, help="Like --resume, and ask again for the rows that failed."),
)


def rulebook_option(function: Any) -> Any:
    """--rulebook → `rulebook: Rulebook`."""

    @options_of(Section.THEORY, _RULEBOOK)
    @functools.wraps(function)
    def call(*, rulebook: str | None, **rest: Any) -> Any:
        from lore_cli.rulebook import load_rulebook

        return function(rulebook=load_rulebook(rulebook), **rest)

    return call


class OneOrMore(click.Option):
    """An option that may be repeated, and whose environment variable and setting in a file may be one value as it stands."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        found = self.resolve_envvar_value(ctx)
        return None if found is None else [found]


def judge_options(default: str | None = None, several: bool = False, needed: bool = True) -> Callable[[Any], Any]:
    """--judge --rulebook and how a judge is asked → `judging: Judging`. several: --judge may be repeated. needed: a judge must be named; else `judging.uri` may be ''."""
    asked: dict[str, Any] = {"default": default} if default else {"required": needed}
    if several:
        asked = {"cls": OneOrMore, "multiple": True, "default": [default]}

    def decorate(function: Any) -> Any:
        @options_of(
            Section.JUDGE,
            click.option("--judge", metavar="URI", **asked, help="Who judges: rulebook: · hf:PATH · vllm:PATH · http://HOST/v1#MODEL · student:PATH · cache:DIR · tier:PLAN · replay:FILE · lexical:PAIRS"),
            click.option("--language", type=click.Choice(["en", "zh"]), default="en", help="Language of the prompts."),
            click.option("--prompt", default="auto", help="Prompt template; auto takes the one the model was trained with."),
            click.option("--samples", type=click.IntRange(min=0), default=0, help="Draws per pair beside the greedy answer, for pass@k."),
            click.option("--temperature", type=click.FloatRange(min=0), default=1.0, help="Temperature of the draws."),
            click.option("--soft", is_flag=True, help="Add the probability of each grade (scores)."),
            click.option("--batch-size", type=click.IntRange(min=1), default=64, help="Pairs asked together."),
            click.option("--max-new-tokens", type=click.IntRange(min=1), default=256, help="Longest reply."),
        )
        @theory_options
        @http_options
        @options_of(
            Section.HTTP,
            click.option("--structured", type=click.Choice(["auto", "off"]), default="auto", help="Hold replies to the answer format where the server can."),
            click.option("--api-key-file", metavar="FILE", help="File with the key; else LORE_API_KEY."),
        )
        @spending_options
        @ray_options
        @functools.wraps(function)
        def call(*, judge: str | tuple[str, ...] | None, rulebook: str | None, api_key_file: str | None, run: Run, **rest: Any) -> Any:
            names = ("language", "samples", "temperature", "batch_size", "soft", "max_new_tokens", "prompt", "knowledge", "timeout_s", "concurrency", "structured")
            output = rest.get("output")
            written = output.path if isinstance(output, Output) and not rest["ray"] else None  # hosts of a cluster share no file
            spending = spending_of(*(rest.pop(name) for name in ("reply_cache", "price_in", "price_out", "max_cost")), written)
            uri, *others = judge if isinstance(judge, tuple) else [judge or ""]
            cluster = cluster_of(rest.pop("ray"), rest.pop("ray_workers"), uri, spending)
            options = {name: rest.pop(name) for name in names} | {"seed": run.seed, "api_key": _api_key(api_key_file), "spending": spending}
            for named in (uri, *others):
                refuse_secret(named)
            return function(judging=Judging(uri, rulebook, options, cluster, tuple(others)), run=run, **rest)

        return call

    return decorate


def run_options(name: str) -> Callable[[Any], Any]:
    """--seed --config --quiet --log-json → `run: Run`. `name` as typed, `rair run` for a verb of a group."""
    path = tuple(name.split())

    def decorate(function: Any) -> Any:
        @options_of(
            Section.GENERAL,
            click.option("--seed", type=int, default=0, help="Seed of everything random."),
            click.option("--config", metavar="FILE", is_eager=True, callback=functools.partial(_use_config, path), help="Settings (TOML); flags and LORE_* variables win over it."),
            click.option("--quiet", is_flag=True, help="Say nothing but errors."),
            click.option("--log-json", is_flag=True, is_eager=True, callback=_log_errors_as_json, help="Log as JSON lines."),
        )
        @functools.wraps(function)
        def call(*, seed: int, quiet: bool, log_json: bool, config: str | None, **rest: Any) -> Any:
            settings = dict(click.get_current_context().params)
            return function(run=Run(f"lore-{name}", seed, Log(f"lore-{name}", quiet=quiet, json=log_json), settings), **rest)

        return call

    return decorate


def _use_config(path: tuple[str, ...], context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Make the file's settings the defaults, each checked against its option's type."""
    if not value:
        return value
    options = {parameter.name or "": parameter for parameter in context.command.params if isinstance(parameter, click.Option) and parameter.name not in _NOT_SETTINGS}
    found = config.load_config(value, path, frozenset(options))
    for name, setting in found.items():
        option = options[name]
        if isinstance(option, OneOrMore) and not isinstance(setting, list):
            found[name] = setting = [setting]
        several = isinstance(setting, list)
        if several != option.multiple or (option.is_flag and not isinstance(setting, bool)):
            expected = "true or false" if option.is_flag else "a list" if option.multiple else "one value"
            raise errors.BadInput(f"found {setting!r} (expected {expected})", where=value, field=name)
        try:
            option.type_cast_value(context, setting)
        except click.BadParameter as error:
            raise errors.BadInput(error.message, where=value, field=name) from error
    context.default_map = found
    return value


def _log_errors_as_json(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    if value:
        context.ensure_object(dict)["json"] = True
    return value


def refuse_secret(uri: str | None) -> None:
    """Raise `UsageError`, without repeating it, for a URI with a user or password in it: it would end in verdicts and manifests."""
    scheme, _, rest = (uri or "").partition("://")
    if scheme in ("http", "https", "redis", "rediss") and "@" in rest.partition("#")[0].partition("/")[0]:
        raise errors.UsageError("the URI holds a user or password", hint="give the key by --api-key-file or LORE_API_KEY, the password of a Redis by LORE_REDIS_PASSWORD")


def _api_key(path: str | None) -> str | None:
    if path is None:
        return os.environ.get("LORE_API_KEY")
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise errors.Missing(f"{path}: {error.strerror}", hint="check --api-key-file") from error


def judge_to_output(
    inputs: Inputs, output: Output, judging: Judging, run: Run, row: Callable[[Pair, Verdict], dict[str, Any]] = lambda pair, verdict: row_of(verdict)
) -> int:
    """Pairs → judge → one row each, through the ledger, with manifest and summary. The exit code: 0, or 5 when some failed."""
    stream.refuse_existing(output.path, output.replaces)
    inputs, _ = inputs.peek(Pair)
    judge = judging.open()

    def work(pairs: Iterator[Pair]) -> Iterator[Outcome]:
        for pair, verdict in beside(judge, pairs):
            yield Outcome("failed" if verdict.error else "done", row(pair, verdict))

    identity = {**judge.identity(), "samples": judging.settings.samples, "soft": judging.settings.soft, "seed": run.seed, "temperature": judging.settings.temperature}
    return map_to_output(Pair, inputs, output, run, identity, work, "pairs judged", spending=judging.spending)


def beside(answering: Callable[[Iterator[AnyRecord]], Iterator[Answered]], pairs: Iterator[AnyRecord]) -> Iterator[tuple[AnyRecord, Answered]]:
    """Every pair beside what a judge answers, which may read some pairs ahead."""
    asked: deque[AnyRecord] = deque()

    def remember() -> Iterator[AnyRecord]:
        for pair in pairs:
            asked.append(pair)
            yield pair

    for answered in answering(remember()):
        yield asked.popleft(), answered


def map_to_output(
    kind: type[AnyRecord],
    inputs: Inputs,
    output: Output,
    run: Run,
    identity: dict[str, Any],
    work: Callable[[Iterator[AnyRecord]], Iterator[Outcome]],
    what: str,
    rejected_path: str | None = None,
    counts: dict[str, Any] | None = None,
    needs: Sequence[str] = (),
    spending: Spending | None = None,
    last: Callable[[Iterator[Outcome]], Iterator[Outcome]] = iter,
) -> int:
    """Rows → `work` → rows, resumable, with rejected rows in a file of their own, a manifest and a summary line, which tell what `spending` came to.

    last: what is decided of a row by the others, after `work`; it is not recorded, and sees the recorded outcomes too.
    """
    ledger = Ledger(output.path, identity, resume=output.resume, retry_failed=output.retry_failed, force=output.force)
    if spending:
        spending.begin(resume=output.resume and not output.retry_failed)
    complete = False
    rejected = 0
    try:
        with output.open() as writer, _rejected_writer(rejected_path) as reject_writer:
            for outcome in last(run.log.track(ledger.map(inputs.read(kind, needs=needs), work), what)):
                if outcome.state != "rejected":
                    writer.write(outcome.row)
                elif reject_writer is not None:
                    reject_writer.write(outcome.row)
                rejected += outcome.state == "rejected"
        total = {"written": writer.count, "failed": ledger.failed, "rejected": rejected, "bad_rows": inputs.rejects.count, "reused": ledger.reused}
        total |= spending.counts() if spending else {}
        write_manifest(output.path, command=run.name, inputs=[s for s in inputs.sources if s != "-"], settings=run.settings, identity=identity, counts=total | (counts or {}))
        complete = True
        if spending:
            spending.end()
    finally:
        ledger.close(complete)
    run.log.say(f"{writer.count} {what}, {ledger.failed} failed, {rejected} rejected, {inputs.rejects.count} bad rows skipped", **total)
    if spending and (spent := spending.line()):
        run.log.say(spent)
    return errors.EXIT_PARTIAL if ledger.failed or inputs.rejects.count else errors.EXIT_DONE


def _rejected_writer(path: str | None) -> Any:
    return contextlib.nullcontext() if path is None else stream.open_output(path, force=True)


version_option = options_of(Section.GENERAL, click.version_option(__version__, package_name="lore-cli"))
