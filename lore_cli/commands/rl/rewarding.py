"""The options that say how completions are rewarded, for every verb that does so."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lore_cli.commands.common import knowledge_option
from lore_cli.commands.sections import Section, options_of

if TYPE_CHECKING:
    from lore_cli.path.knowledge import Glossary


@dataclass(frozen=True)
class Rewarding:
    """Weights of the reward parts, and the shop's knowledge that needs and evidence are checked with."""

    weights: dict[str, float]
    glossary: Glossary

    def identity(self) -> dict[str, Any]:
        """What changes a reward, for ledgers and manifests."""
        return {"weights": self.weights, "knowledge": self.glossary.hash}


def reward_options(function: Any) -> Any:
    """--weights --weight --knowledge → `rewarding: Rewarding`."""

    @options_of(
        Section.REWARD,
        click.option("--weights", metavar="FILE", help="Weights of reward parts, a table [weights] in TOML; those it leaves out keep their defaults."),
        click.option("--weight", metavar="PART=NUMBER", multiple=True, help="Weight of a part: grade, ordinal, right, format, adherence, evidence, path, length; repeatable."),
    )
    @knowledge_option
    @functools.wraps(function)
    def call(*, weights: str | None, weight: tuple[str, ...], knowledge: tuple[str, ...], **rest: Any) -> Any:
        from lore_cli.path.knowledge import load_glossary
        from lore_cli.train.weights import read_weights

        return function(rewarding=Rewarding(read_weights(weights, weight), load_glossary(knowledge)), **rest)

    return call
