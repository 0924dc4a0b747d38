"""Naive chain of thought by the deterministic expert: the same teacher, pairs and grades as the `rules` stage, told in prose. For comparison only.

LORE (table 12) finds that distilling one teacher's free chain of thought raises pass@8 and lowers pass@1. What such a text is like, ours [ours]:
1. what is asked for, everything the item says and what the two have to do with each other stand in three runs of sentences, as a single prompt
   brings them forth: need, evidence and match of one attribute are far apart;
2. all attributes of the item are told, not only those asked for, and no rule is named;
3. wording varies by a draw from seed and row, so the same pair is told the same way in every run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lore_cli.answer import Answer, need_text
from lore_cli.path.evidence import gather
from lore_cli.path.needs import construct
from lore_cli.records import Evidence, Grade, Need, State, Trace, change
from lore_cli.synth import Dropped
from lore_cli.synth.rules import READINGS, Chosen, Room, choose

_MOST_TOLD = 12  # a free text is long by nature, but must end
_OPENING = ("Let me think about what the shopper wants here.", "First I work out what this query means.", "I begin with what is being asked for.")
_WANTED = ("The {attribute} should be {value}.", "They ask for {value} as the {attribute}.", "For the {attribute} they want {value}.")
_TURNING = ("Now I look at the item.", "Next, what does the item say about itself?", "Let me read the item.")
_TOLD = ("According to the {source} its {attribute} is {value}.", "For the {attribute} the {source} gives {value}.", "I see {value} in the {source}, that is the {attribute}.")
_NOTHING = ("It says very little.", "There is hardly anything to go by.")
_WEIGHING = ("Now I compare the two.", "Let me put this together.", "So how well does it fit?")
_COMPARED: dict[State, tuple[str, ...]] = {
    "exact": ("The {attribute} is right.", "On the {attribute} they agree.", "The {attribute} is as wanted."),
    "close": ("The {attribute} is near but not the same.", "The {attribute} comes close.", "The {attribute} is similar."),
    "conflict": ("The {attribute} is not what was wanted.", "On the {attribute} they disagree.", "The {attribute} is wrong."),
    "unknown": ("About the {attribute} I found nothing.", "The {attribute} remains open.", "The {attribute} is not told."),
}
_CLOSING: dict[Grade, tuple[str, ...]] = {
    "L1": ("All in all this is another product.", "So this is not the thing that was searched for."),
    "L2": ("All in all it is the right kind of thing, but it does not do.", "So something that was asked for is plainly missed."),
    "L3": ("All in all it is acceptable.", "So it comes near enough, with some doubt."),
    "L4": ("All in all everything is met.", "So this is just what was searched for."),
}


@dataclass(frozen=True, slots=True)
class ExpertNaive:
    """The expert's reasoning as a free text. It accepts exactly the pairs that `ExpertRules` accepts, with the same grades."""

    room: Room
    readings: int = len(READINGS)
    seed: int = 0
    name: str = "rules"

    def __call__(self, traces: Sequence[Trace]) -> list[Trace | Dropped]:
        return [self._one(trace) for trace in traces]

    def identity(self) -> dict[str, str]:
        return {**self.room.identity(), "readings": " ".join(name for name, _, _ in READINGS[: self.readings]), "naive": "prose 1"}

    def _one(self, trace: Trace) -> Trace | Dropped:
        room = self.room
        chosen = choose(change(trace, needs=construct(trace.query, room.rulebook, room.glossary)), room, self.readings)
        if isinstance(chosen, Dropped):
            return chosen
        every = gather(trace.item, room.rulebook, glossary=room.glossary)
        told = list({(piece.attribute, piece.value): piece for piece in reversed(every)}.values())[::-1][:_MOST_TOLD]
        reasoning = prose(chosen, told, random.Random(f"{self.seed}\0{trace.id}\0{trace.query}"))
        return room.finish(trace, Answer((), (), chosen.answer.grade, reasoning), None, chosen.note())


def prose(chosen: Chosen, told: Sequence[Evidence], draw: random.Random) -> str:
    """One paragraph: the needs, then everything that is `told` of the item, then how they compare. The same draw gives the same words."""
    return " ".join(_sentences(chosen.needs, told, chosen.answer, draw))


def _sentences(needs: Sequence[Need], told: Sequence[Evidence], answer: Answer, draw: random.Random) -> Iterator[str]:
    yield draw.choice(_OPENING)
    for need in needs:
        yield draw.choice(_WANTED).format(attribute=_name(need.attribute), value=need_text(need))
    yield draw.choice(_TURNING)
    for piece in told:
        yield draw.choice(_TOLD).format(attribute=_name(piece.attribute), value=piece.value, source=piece.source)
    if not told:
        yield draw.choice(_NOTHING)
    yield draw.choice(_WEIGHING)
    for match in answer.matches:
        yield draw.choice(_COMPARED[match.state]).format(attribute=_name(match.attribute))
    yield draw.choice(_CLOSING[answer.grade])


def _name(attribute: str) -> str:
    return attribute.replace("-", " ")
