"""What several verbs of lore-tier share: time spans, the options of a plan, JSON documents."""

from __future__ import annotations

import functools
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from lore_cli import errors, stream
from lore_cli.commands.common import Inputs, Judging, Run, http_options, theory_options
from lore_cli.commands.sections import Section, options_of

if TYPE_CHECKING:
    from lore_cli.judges.tiered import Live, TieredJudge
    from lore_cli.tier.log import Counted, Form

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType):
    """A time span such as 90m, 12h or 30d, in seconds."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        parts = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value.strip())
        if not parts:
            self.fail(f"'{value}' is not a time span: a number and s, m, h or d, such as 30d", parameter, context)
        return float(parts[1]) * _UNITS[parts[2]]


@dataclass(frozen=True)
class Deployed(Judging):
    """The judge of a plan. live: how it behaves under traffic; None: offline. named: cache, student and tail in place of the plan's."""

    live: Live | None = None
    named: dict[str, str | None] = field(default_factory=dict)

    def open(self) -> TieredJudge:
        from lore_cli.judges import tiered

        return tiered.open(self.uri.partition(":")[2], self.settings, self.live, **self.named)


def plan_options(function: Any) -> Any:
    """--plan and how its judges are asked → `plan_path: str`, `judging: Deployed` of tier:PLAN. An http judge takes its key from LORE_API_KEY."""

    @click.option("--plan", "plan_path", metavar="FILE", required=True, help="The plan to route by.")
    @options_of(
        Section.JUDGE,
        click.option("--samples", type=click.IntRange(min=0), default=0, help="Draws per pair beside the greedy answer, for pass@k."),
        click.option("--soft", is_flag=True, help="Add the probability of each grade (scores) where a judge has it."),
        click.option("--batch-size", type=click.IntRange(min=1), default=64, help="Pairs asked together."),
    )
    @theory_options
    @http_options
    @functools.wraps(function)
    def call(*, plan_path: str, rulebook: str | None, run: Run, **rest: Any) -> Any:
        names = ("knowledge", "samples", "soft", "batch_size", "timeout_s", "concurrency")
        options = {name: rest.pop(name) for name in names} | {"seed": run.seed, "api_key": os.environ.get("LORE_API_KEY")}
        return function(plan_path=plan_path, judging=Deployed(f"tier:{plan_path}", rulebook, options), run=run, **rest)

    return call


def count_log(inputs: Inputs, form: Form, run: Run) -> Counted:
    """The log added up: in blocks where it is plain files, else row by row, which names what is bad."""
    from lore_cli.tier.log import count_files, count_queries, kind_of

    whole = inputs.limit is None and inputs.sample is None and inputs.rejects.path is None
    counted = count_files(inputs.sources, form) if whole else None
    return counted or count_queries(run.log.track(inputs.read(kind_of(form), unique=False), "log rows"), form)


def publish_served(run: Run, folder: Path, url: str | None, keep: int = 3) -> int:
    """What a cache folder serves to a Redis too, where one is named. Returns exit code 0; raises `Missing` when Redis is gone."""
    if url is not None:
        from lore_cli.tier.publishing import publish_remote

        number = publish_remote(folder, url, keep)
        run.log.say(f"{url} serves {'the same generation' if number is None else f'generation {number}'}")
    return errors.EXIT_DONE


def write_document(path: str | None, document: dict[str, Any]) -> None:
    """A JSON document to a file, whole or not at all, or to standard output."""
    if path is None or path == "-":
        sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))
        sys.stdout.buffer.flush()
    else:
        stream.write_json_atomic(path, document)
