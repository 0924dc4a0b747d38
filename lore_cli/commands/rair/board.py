"""lore-rair board: systems side by side."""

from __future__ import annotations

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Run, run_options
from lore_cli.commands.sections import Command, Section, options_of
from lore_cli.manifest import write_manifest


@click.command(cls=Command)
@run_options("rair board")
@click.argument("reports", nargs=-1, required=True, metavar="REPORT|DIR|NAME=REPORT...")
@click.option("--tier", "replay", metavar="FILE", help="Report of lore-tier replay: adds traffic per tier, cache, GoodRate and cost.")
@click.option("--synth", "manifest", metavar="FILE", help="Manifest of traces (TRACES.manifest.json): adds the teacher's agreement and what was rejected.")
@click.option("--cost", "costs", metavar="NAME=NUMBER", multiple=True, help="What 1,000 pairs of a system cost, where its run was not metered; repeatable.")
@click.option("--title", "heading", default="Relevance board", help="Heading.")
@click.option("--note", default="", help="A line under the heading, for example that the data is simulated.")
@options_of(
    Section.OUTPUT,
    click.option("--html", "html_path", metavar="FILE", help="Write the board as one self-contained page; with --quiet no table is printed."),
    click.option("--markdown", metavar="FILE", help="Write the board as a summary for a pull request."),
    click.option("--force", is_flag=True, help="Replace existing outputs."),
)
def cli(
    run: Run, reports: tuple[str, ...], replay: str | None, manifest: str | None, costs: tuple[str, ...], heading: str, note: str, html_path: str | None,
    markdown: str | None, force: bool,
) -> int:  # fmt: skip
    """Put reports of several systems side by side, a block per subset, in the order given.

    A directory stands for its report.json, named after it, or else for every report in it: lore-rair board runs/*. Reports that were scored with
    different gold pairs or rulebooks are refused.

    Where times or costs are known, quality is set against them and the Pareto front is told. Times are those of the verdicts, costs those of the runs
    with --price-in and --price-out, or --cost.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge lexical:examples/pairs.jsonl --quiet | lore-rair score - --gold examples/pairs.jsonl --json /tmp/lexical.json --force
      $ lore-rair run examples/pairs.jsonl --judge rulebook: --quiet | lore-rair score - --gold examples/pairs.jsonl --json /tmp/rulebook.json --force
      $ lore-rair board /tmp/lexical.json expert=/tmp/rulebook.json --title 'Two judges' --html /tmp/board.html --force
    """
    from lore_cli.rair import board as boards
    from lore_cli.rair import sections
    from lore_cli.rair.markdown import board_markdown
    from lore_cli.rair.page import board_page
    from lore_cli.rair.terminal import show_board, stdout
    from lore_cli.rair.tradeoff import read_costs

    for path in (html_path, markdown):
        stream.refuse_existing(path, force)
    systems = boards.read_systems(reports, read_costs(costs))
    synthesis = sections.synthesis_sections(sections.read_synthesis(manifest)) if manifest else []
    tiers = sections.tier_sections(sections.read_replay(replay)) if replay else []
    made = boards.board(systems, heading, note, synthesis, tiers)
    if not (html_path and run.log.quiet):
        show_board(made, stdout())
    if html_path:
        stream.write_text_atomic(html_path, board_page(made))
    if markdown:
        stream.write_text_atomic(markdown, board_markdown(made))
    sources = [*(system.path for system in systems), *(path for path in (replay, manifest) if path)]
    for path in (html_path, markdown):
        write_manifest(path, command=run.name, inputs=sources, settings=run.settings, counts={"systems": len(systems)})
    return errors.EXIT_DONE
