"""Titled sections of a command's help: which there are, how options come under one, and the commands that show them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import click

SETTINGS = {"auto_envvar_prefix": "LORE", "help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}


class Section(enum.Enum):
    """The sections, by title and in the order in which a help shows them: what is the command's own, then what commands share."""

    OWN = "Options"
    REASONING = "Reasoning"
    SAMPLING = "Sampling"
    LOSS = "Loss"
    TRACES = "Learning from traces"
    REWARD = "Reward"
    CALIBRATION = "Calibration"
    HEAD = "Size of the head"
    CHECKPOINTS = "Checkpoints and evaluation"
    CONTAMINATION = "Contamination"
    GOLD = "Gold pairs"
    INPUT = "Input"
    OUTPUT = "Output"
    JUDGE = "Judge"
    THEORY = "Rulebook and knowledge"
    HTTP = "Language models over HTTP"
    SPENDING = "Spending"
    BATCHES = "Dry runs and batches"
    CLUSTER = "Cluster"
    GENERAL = "General"


def options_of(section: Section, *options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A decorator that adds options, in this order, under the section. An option that is added by itself is the command's own."""

    def add(function: Any) -> Any:
        before = len(getattr(function, "__click_params__", ()))
        for option in reversed(options):
            function = option(function)
        for parameter in function.__click_params__[before:]:
            parameter.section = section
        return function

    return add


class Sectioned:
    """What commands and groups have beside click: the settings of the house, and options in sections in their help."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"context_settings": SETTINGS, **options})

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option is not None:
            option.section = Section.GENERAL
        return option

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        told: dict[Section, list[tuple[str, str]]] = {section: [] for section in Section}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                told[getattr(parameter, "section", Section.OWN)].append(record)
        for section, records in told.items():
            if records:
                with formatter.section(section.value):
                    formatter.write_dl(records)


class Command(Sectioned, click.Command):
    """A command or verb that works on its own."""
