"""lore-rl inspect: what a model wrote, what each reward part made of it, and what a later model writes instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lore_cli import stream
from lore_cli.commands.common import Inputs, Run, input_options, run_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.errors import UsageError
from lore_cli.manifest import write_manifest
from lore_cli.records import Trace

if TYPE_CHECKING:
    from rich.text import Text

    from lore_cli.rair.rollouts import Inspection, Rollout, Words

_DRAWN = {"same": ("{}", ""), "gone": ("[-{}-]", "red"), "new": ("{{+{}+}}", "green")}  # as wdiff writes it, for those who see no colours


@click.command(cls=Command)
@input_options
@run_options("rl inspect")
@click.option("--worst", type=click.IntRange(min=0), default=10, help="How many of the lowest rewards to show, and of the greatest changes.")
@click.option("--groups", type=click.IntRange(min=0), default=3, help="How many groups to show, of the lowest mean reward.")
@click.option("--before", metavar="FILE", help="Scored rollouts with the same ids from an earlier model: shows what changed, word by word.")
@options_of(
    Section.OUTPUT,
    click.option("--html", "html_path", metavar="FILE", help="Write the same as one self-contained page."),
    click.option("--force", is_flag=True, help="Replace an existing page."),
)
def cli(inputs: Inputs, run: Run, worst: int, groups: int, before: str | None, html_path: str | None, force: bool) -> int:
    """Look at rollouts that `lore-rl reward` scored: means, the lowest rewards, the worst groups, and what changed since --before.

    A group is the completions of one pair, one after the other, as `lore-rl rollout` writes them. Memory: what is shown, and the rows of --before.
    For tables of your own: `lore-rl reward -o rollouts.parquet`.

    \b
    Example:
      $ lore-rl reward examples/traces.jsonl --quiet | lore-rl inspect --worst 3 --html /tmp/rollouts.html --force
    """
    from lore_cli.rair.rollouts import inspect, rollout_of

    stream.refuse_existing(html_path, force)
    if before == "-" and "-" in inputs.sources:
        raise UsageError("the rollouts and --before cannot both be standard input", hint="give one of them as a file")
    earlier = {row.id: rollout_of(row) for row in stream.read(Trace, [before], needs=("reward",))} if before else None
    found = inspect(map(rollout_of, inputs.read(Trace, needs=("reward",))), worst, groups, earlier)
    _show(found)
    if html_path:
        from lore_cli.rair.page import rollouts_page

        stream.write_text_atomic(html_path, rollouts_page(found))
        sources = [source for source in (*inputs.sources, *filter(None, [before])) if source != "-"]
        write_manifest(html_path, command=run.name, inputs=sources, settings=run.settings, counts={"bad_rows": inputs.rejects.count})
    return inputs.exit_code


def _show(found: Inspection) -> None:
    """As tables on standard output."""
    from rich.console import Console
    from rich.table import Table

    from lore_cli.rair.figures import short
    from lore_cli.rair.terminal import show_section, stdout

    console = Console()
    for section in found.sections():
        show_section(section, stdout())
        print()

    def table(title: str, *columns: str, rows: list[list[Text]]) -> None:
        if rows:
            drawn = Table(*columns, title=_text(title), title_justify="left", show_lines=True)
            for row in rows:
                drawn.add_row(*row)
            console.print(drawn)

    table("Lowest rewards", "reward", "parts", "query and item", "human", "completion", rows=[[*_about(rollout), _text(rollout.completion)] for rollout in found.worst])
    for group in found.groups:
        first = group.rollouts[0]
        title = f"Group {first.group}: mean {short(group.mean, 3)}, spread {short(group.spread, 3)}"
        rows = [[*_about(rollout), _text(f"{drawn} ×"), _text(rollout.completion)] for rollout, drawn in group.distinct()]
        table(title, "reward", "parts", "query and item", "human", "drawn", "completion", rows=rows)
    changes = [[_text(f"{change.gain:+.3g}"), *_about(change.after)[2:], _diff(change.words())] for change in found.changes]
    table("Greatest changes", "gain", "query and item", "human", "before and after", rows=changes)


def _about(rollout: Rollout) -> list[Text]:
    return [_text(f"{rollout.reward:.3g}"), _text(rollout.earned()), _text(f"{rollout.query}\n{rollout.title}"), _text(rollout.human or "-")]


def _diff(words: Words) -> Text:
    drawn = _text("")
    for kind, text in words:
        form, colour = _DRAWN[kind]
        drawn.append_text(_text(form.format(text), colour))
    return drawn


def _text(text: str, style: str = "") -> Text:
    """Text as it is: brackets are no markup, and control characters do not steer the terminal."""
    from rich.text import Text

    from lore_cli.rair.terminal import printable

    return Text("\n".join(map(printable, text.split("\n"))), style)
