"""lore-rl: align a fine-tuned model with human grades by reinforcement learning."""

from __future__ import annotations

import click

from lore_cli.commands.common import version_option
from lore_cli.commands.ending import entry
from lore_cli.commands.verbs import Verb, Verbs

VERBS: dict[str, Verb] = {
    "select": Verb("rl.select", "Choose pairs worth learning from."),
    "rollout": Verb("rl.rollout", "Draw completions, as they come."),
    "train": Verb("rl.train", "GRPO through TRL with verifiable rewards."),
    "reward": Verb("rl.reward", "Score completions, and filter by the score."),
    "prefer": Verb("rl.prefer", "Make preference pairs of scored rollouts."),
    "dpo": Verb("rl.dpo", "DPO through TRL from preference pairs, the offline alternative."),
    "inspect": Verb("rl.inspect", "Look at rollouts: means, the worst, what changed."),
}


@click.group(cls=Verbs, verbs=VERBS)
@version_option
def cli() -> None:
    """Reinforcement learning with verifiable rewards: select pairs worth learning from, train, score completions, look at rollouts.

    Online: select, train. Offline: rollout, reward, prefer, dpo.

    \b
    Example:
      $ lore-rl select examples/pairs.jsonl --judge rulebook: --quiet | head -3
      $ lore-rl reward examples/traces.jsonl --quiet | lore-rl inspect --worst 3
    """


main = entry(cli, "lore-rl")
