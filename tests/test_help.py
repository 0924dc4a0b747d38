"""Every help shows its options under titles: each option once, a command's own first, those of several commands under the same title in all of them."""

from __future__ import annotations

import re

import click
import pytest

from commands_run import COMMANDS, lore
from lore_cli.commands.docs import helps
from lore_cli.commands.sections import Section
from lore_cli.commands.verbs import walk

SHARED = {
    "Input": ("--limit", "--on-bad", "--rejects"),
    "Output": ("--output", "--format", "--force", "--retry-failed", "--rejected", "--html", "--markdown"),
    "Judge": ("--judge", "--prompt", "--soft", "--samples"),
    "Rulebook and knowledge": ("--rulebook", "--knowledge"),
    "Language models over HTTP": ("--timeout", "--concurrency", "--structured", "--api-key-file"),
    "Spending": ("--reply-cache", "--price-in", "--price-out", "--max-cost"),
    "Cluster": ("--ray", "--ray-workers"),
    "Contamination": ("--not-in", "--benchmark", "--shared-items"),
    "Gold pairs": ("--partial", "--draws"),
    "Reward": ("--weights", "--weight"),
    "Checkpoints and evaluation": ("--save-steps", "--evaluate", "--best", "--report-to"),
    "General": ("--seed", "--config", "--quiet", "--log-json", "--version", "--help"),
}
TITLE_OF = {option: title for title, options in SHARED.items() for option in options}
HELPS = [
    pytest.param(inner, text, id="-".join(words))
    for name, command in COMMANDS.items()
    for (words, inner), (_, text) in zip(walk(command, name), helps(command, name), strict=True)
]
every_help = pytest.mark.parametrize(("command", "text"), HELPS)


def sections(text: str) -> dict[str, list[str]]:
    """{title: names of the options under it, as they are shown}, without the sections that have none."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in text.splitlines():
        if re.fullmatch(r"\S.*:", line):
            title = line[:-1]
        elif title and line.startswith("  -"):
            found.setdefault(title, []).extend(re.findall(r"(?<!\S)--?[a-z][a-z-]*", re.split(r"\s{2,}", line.strip())[0]))
    return found


@every_help
def test_every_option_is_shown_once(command, text):
    options = [parameter for parameter in command.get_params(click.Context(command, **command.context_settings)) if isinstance(parameter, click.Option)]
    shown = [name for names in sections(text).values() for name in names]
    assert sorted(shown) == sorted(name for option in options for name in option.opts) and shown


@every_help
def test_titles_are_those_of_the_house_in_one_order(command, text):
    titles = list(sections(text))
    assert titles == [section.value for section in Section if section.value in titles]


@every_help
def test_an_option_of_several_commands_is_under_one_title_everywhere(command, text):
    wrong = [(name, title) for title, names in sections(text).items() for name in names if TITLE_OF.get(name, title) != title]
    assert not wrong


@pytest.mark.parametrize(
    ("typed", "own"),
    [("lore-synth", "--stages"), ("lore-sft", "--model"), ("lore-rl train", "--optimizer"), ("lore-rair sheet import", "--pairs"), ("lore-tier route", "--plan")],
)
def test_what_is_a_commands_own_comes_first(typed, own):
    found = sections(lore(typed, "--help").out.decode())
    assert next(iter(found)) == "Options" and own in found["Options"] and next(reversed(found)) == "General"
    assert not set(found["Options"]) & set(TITLE_OF)


def test_a_command_of_verbs_shows_them_after_its_options():
    text = lore("lore-tier", "--help").out.decode()
    assert 0 < text.index("General:") < text.index("--version") < text.index("Verbs:") < text.index("rollback")
