"""lore-rair board: systems side by side."""

from __future__ import annotations

import click

from lore_cli import errors, stream
from lore_cli.commands.common import Run, run_options
from lore_cli.commands.verbs import SETTINGS
from lore_cli.manifest import write_manifest


@click.command(context_settings=SETTINGS)
@run_options("rair board")
@click.argument("reports", nargs=-1, required=True, metavar="NAME=REPORT.json...")
@click.option("--tier", "replay", metavar="FILE", help="Report of lore-tier replay: adds traffic per tier, cache, GoodRate and cost.")
@click.option("--synth", "manifest", metavar="FILE", help="Manifest of traces (TRACES.manifest.json): adds the teacher's agreement and what was rejected.")
@click.option("--title", "heading", default="Relevance board", help="Heading.")
@click.option("--note", default="", help="A line under the heading, for example that the data is simulated.")
@click.option("--html", "html_path", metavar="FILE", help="Write the board as one self-contained page; with --quiet no table is printed.")
@click.option("--force", is_flag=True, help="Replace an existing page.")
def cli(run: Run, reports: tuple[str, ...], replay: str | None, manifest: str | None, heading: str, note: str, html_path: str | None, force: bool) -> int:
    """Put reports of several systems side by side, a block per subset, in the order given.

    Reports that were scored with different gold pairs or rulebooks are refused.

    \b
    Example:
      $ lore-rair run examples/pairs.jsonl --judge lexical:examples/pairs.jsonl --quiet | lore-rair score - --gold examples/pairs.jsonl --json /tmp/lexical.json --force
      $ lore-rair run examples/pairs.jsonl --judge rulebook: --quiet | lore-rair score - --gold examples/pairs.jsonl --json /tmp/rulebook.json --force
      $ lore-rair board lexical=/tmp/lexical.json rulebook=/tmp/rulebook.json --title 'Two judges' --html /tmp/board.html --force
    """
    from lore_cli.rair import board as boards
    from lore_cli.rair import sections
    from lore_cli.rair.page import board_page
    from lore_cli.rair.terminal import show_board, stdout

    stream.refuse_existing(html_path, force)
    systems = boards.read_systems(reports)
    synthesis = sections.synthesis_sections(sections.read_synthesis(manifest)) if manifest else []
    tiers = sections.tier_sections(sections.read_replay(replay)) if replay else []
    made = boards.board(systems, heading, note, synthesis, tiers)
    if not (html_path and run.log.quiet):
        show_board(made, stdout())
    if html_path:
        stream.write_text_atomic(html_path, board_page(made))
        sources = [*(system.path for system in systems), *(path for path in (replay, manifest) if path)]
        write_manifest(html_path, command=run.name, inputs=sources, settings=run.settings, counts={"systems": len(systems)})
    return errors.EXIT_DONE
