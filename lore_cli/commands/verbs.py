"""Commands of several verbs: a group of them, or a command that has some beside the work it does without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

from lore_cli.commands.sections import Command, Sectioned


class Verb(NamedTuple):
    """A verb in a module of its own: `cli` in `lore_cli.commands.MODULE`, imported when the verb is asked for. `help` is the line a list of verbs shows."""

    module: str
    help: str

    def load(self) -> click.Command:
        """The verb's command."""
        return import_module(f"lore_cli.commands.{self.module}").cli


class Verbs(Sectioned, click.Group):
    """A command of several verbs, which does nothing without one. Each verb reads LORE_SEED, LORE_JUDGE … like a command without verbs.

    verbs: those in modules of their own; `@cli.command()` adds one that stands beside the group.
    """

    command_class = Command

    def __init__(self, *arguments: Any, verbs: Mapping[str, Verb] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.verbs = verbs or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.verbs, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.verbs[cmd_name].load() if cmd_name in self.verbs else super().get_command(ctx, cmd_name)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.verbs:
            return super().format_commands(ctx, formatter)
        _list_verbs("Verbs", self.verbs, formatter)


class CommandWithVerbs(Command):
    """A command that works on its own and has verbs: `lore-synth pairs.jsonl`, `lore-synth cache stat FILE`. A verb is the first word, or none is meant."""

    def __init__(self, *arguments: Any, verbs: Mapping[str, Verb], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.verbs = verbs

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        if args and args[0] in self.verbs:
            return self.verbs[args[0]].load().make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        if self.verbs:
            _list_verbs("Verbs, in place of FILE (a file of that name is ./NAME)", self.verbs, formatter)


def _list_verbs(title: str, verbs: Mapping[str, Verb], formatter: click.HelpFormatter) -> None:
    with formatter.section(title):
        formatter.write_dl([(name, verb.help) for name, verb in verbs.items()])


def walk(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """(words typed, command) of a command, its verbs and theirs: every one imported, for docs and tests."""
    yield words, command
    loaded = {name: verb.load() for name, verb in getattr(command, "verbs", {}).items()}
    for name, verb in (loaded | getattr(command, "commands", {})).items():
        yield from walk(verb, *words, name)
