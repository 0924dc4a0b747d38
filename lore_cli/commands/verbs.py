"""Commands of several verbs: a group of them, or a command that has some beside the work it does without one."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

SETTINGS = {"auto_envvar_prefix": "LORE", "help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}


class Verbs(click.Group):
    """A command of several verbs. Each verb reads LORE_SEED, LORE_JUDGE … like a command without verbs."""

    def command(self, *arguments: Any, **options: Any) -> Any:
        return super().command(*arguments, **{"context_settings": SETTINGS, **options})


class Verb(NamedTuple):
    """A verb in a module of its own: `cli` in `lore_cli.commands.MODULE`, imported when the verb is asked for. `help` is the line a list of verbs shows."""

    module: str
    help: str


class CommandWithVerbs(click.Command):
    """A command that works on its own and has verbs: `lore-synth pairs.jsonl`, `lore-synth cache stat FILE`. A verb is the first word, or none is meant."""

    def __init__(self, *arguments: Any, verbs: Mapping[str, Verb], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.verbs = verbs

    @functools.cached_property
    def commands(self) -> dict[str, click.Command]:
        """Every verb, imported: for docs and tests, which want them all."""
        return {name: self._load(name) for name in self.verbs}

    def _load(self, name: str) -> click.Command:
        return import_module(f"lore_cli.commands.{self.verbs[name].module}").cli

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        if args and args[0] in self.verbs:
            return self._load(args[0]).make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        if self.verbs:
            with formatter.section("Verbs, in place of FILE (a file of that name is ./NAME)"):
                formatter.write_dl([(name, verb.help) for name, verb in self.verbs.items()])


def walk(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """(words typed, command) of a command, its verbs and theirs."""
    yield words, command
    for name, verb in getattr(command, "commands", {}).items():
        yield from walk(verb, *words, name)
