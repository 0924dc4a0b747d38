"""Dynamic sampling, guided replay and alarms: what is drawn, what is learnt from, what stops a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import training_toys as toys
from commands_run import lore

from lore_cli.errors import BadInput, UsageError
from lore_cli.train.alarms import LIMITS, alarm, parse_limits
from lore_cli.train.rl_sampling import Completion, Cursor, Group, fill, guided, require_rewards
from lore_cli.train.unfinished import latest

QUICK = ("--prompts-per-step", 4, "--generations", 4, "--max-new-tokens", 8)


@pytest.fixture
def rows(tmp_path) -> Path:
    return toys.write(tmp_path / "pairs.jsonl", toys.pairs())


def train(rows: Path, folder: Path, *options: object):
    return lore("lore-rl", "train", rows, "--model", toys.graded_by_label(), *QUICK, *options, "-o", folder)


def steps(folder: Path) -> list[dict]:
    return [row for row in toys.read(folder / "metrics.jsonl") if "grad_norm" in row]


def group(*rewards: float, row: int = 0, cut: tuple[int, ...] = ()) -> Group:
    return Group(row, tuple(Completion([1], {"grade": float(reward > 0.5)}, reward, number in cut) for number, reward in enumerate(rewards)))


# ---------------------------------------------------------------- what teaches
def test_equal_rewards_that_rounding_makes_differ_do_not_teach():
    rewards = [1.0 + 0.1 + 0.1, 1.2, 0.1 + 0.1 + 1.0]
    assert len(set(rewards)) > 1 and not group(*rewards).teaches(1e-4, mask_cut=False)


def test_a_group_whose_only_different_answers_are_cut_teaches_nothing_once_cut_answers_are_masked():
    assert group(0, 0, 1.2, 1.2, cut=(2, 3)).teaches(1e-4, mask_cut=True), "those that the loss sees are below the mean"
    assert not group(0.5, 0, 1, cut=(1, 2)).teaches(1e-4, mask_cut=True) and group(0.5, 0, 1, cut=(1, 2)).teaches(1e-4, mask_cut=False)


@pytest.mark.parametrize("wrong", [[1.0], [1.0, None], [1.0, math.nan], [1.0, math.inf], [1.0, 1.0, 1.0], []])
def test_rewards_that_are_missing_or_no_numbers_are_fatal(wrong):
    with pytest.raises(BadInput, match="reward"):
        require_rewards(wrong, 2)


def test_a_full_round_needs_no_refill_and_an_empty_pool_ends():
    def drawing(reward: float):
        asked: list[int] = []

        def draw(number: int) -> list[Group]:
            asked.append(number)
            return [group(0, reward, row=row) for row in range(number)]

        return draw, asked

    teaches = lambda drawn: drawn.teaches(1e-4, mask_cut=False)  # noqa: E731
    draw, asked = drawing(1.0)
    assert fill(draw, teaches, 4, 3).measures["zero_spread_share"] == 0 and asked == [4]
    draw, asked = drawing(0.0)
    batch = fill(draw, teaches, 4, 3)
    assert asked == [4, 4, 4, 4] and len(batch.kept) == 4 and batch.measures["useful_share"] == 0 and batch.measures["zero_spread_share"] == 1
    draw, asked = drawing(0.0)
    assert len(fill(draw, teaches, 4, 0).drawn) == 4 and asked == [4]
    draw, asked = drawing(1.0)
    assert fill(draw, teaches, 4, 1, least=lambda number: number // 2).rounds == 2 and asked == [4, 4], "a process that is full draws on with one that is not"


def test_every_round_has_every_prompt_once():
    cursor = Cursor(7, seed=1)
    taken = cursor.take(21)
    assert [sorted(taken[start : start + 7]) for start in (0, 7, 14)] == [list(range(7))] * 3 and taken[:7] != taken[7:14]


def test_a_group_that_fails_wholly_gets_a_verified_trace_and_no_other_does():
    right, wrong = Completion([7], {"grade": 1.0}, 1.2, False), Completion([8], {"grade": 0.0}, 0.2, False)
    failing = group(0, 0, 0.2)
    assert guided(failing, right).completions == (*failing.completions[:2], right) and guided(failing, right).replayed
    assert guided(failing, wrong) is failing and guided(failing, None) is failing and not failing.replayed
    assert guided(group(0, 1.2), right).replayed is False


# ---------------------------------------------------------------- runs

def test_refills_take_the_place_of_groups_without_spread(rows, tmp_path):
    narrow = ("--temperature", 0.3, "--max-steps", 4, "--rate", 0)  # near greedy: most groups agree
    assert train(rows, tmp_path / "plain", *narrow, "--max-refills", 0).code == 0
    assert train(rows, tmp_path / "refilled", *narrow, "--max-refills", 8).code == 0
    plain, refilled = steps(tmp_path / "plain"), steps(tmp_path / "refilled")
    assert all(row["sampling/rounds"] == 1 and row["sampling/drawn"] == 4 for row in plain)
    assert sum(row["sampling/useful_share"] for row in plain) < 3.5, "there is something to refill"
    assert all(row["sampling/useful_share"] == 1 for row in refilled) and max(row["sampling/drawn"] for row in refilled) > 4


def test_parts_are_logged_for_what_a_query_asks(rows, tmp_path):
    assert train(rows, tmp_path / "rl", "--max-steps", 2).code == 0
    for row in steps(tmp_path / "rl"):
        assert {"reward/grade/colour", "reward/format/category"} <= row.keys()
        assert row["reward/grade/category"] == pytest.approx(row["reward/grade"]), "every query of the toy shop names a category"


def test_guided_replay_puts_traces_into_the_log_and_needs_them(rows, tmp_path):
    traces = toys.write(tmp_path / "traces.jsonl", toys.traces(layout="label-only"))
    narrow = ("--temperature", 0.3, "--max-steps", 3, "--rate", 0, "--max-refills", 0)
    done = train(rows, tmp_path / "guided", *narrow, "--traces", traces, "--sft-weight", 0, "--guided-replay")
    assert done.code == 0, done.err
    assert train(rows, tmp_path / "plain", *narrow).code == 0
    guided_steps, plain = steps(tmp_path / "guided"), steps(tmp_path / "plain")
    assert sum(row["sampling/replayed"] for row in guided_steps) > 0 and all(row["sampling/replayed"] == 0 for row in plain)
    assert sum(row["sampling/useful_share"] for row in guided_steps) > sum(row["sampling/useful_share"] for row in plain)
    assert "sft_loss" not in guided_steps[0]
    done = train(rows, tmp_path / "none", "--guided-replay", "--max-steps", 1)
    assert done.code == 2 and "--traces" in done.err


def test_a_curriculum_takes_easy_prompts_first_and_refuses_pairs_without_a_pass_rate(rows, tmp_path):
    graded = toys.pairs()
    easy = toys.write(tmp_path / "easy.jsonl", [{**row, "pass_rate": 1 - number / 48} for number, row in enumerate(graded)])
    turned = toys.write(tmp_path / "turned.jsonl", [{**row, "pass_rate": 1 - number / 48} for number, row in enumerate(reversed(graded))])
    quick = ("--max-steps", 1, "--max-refills", 0)
    assert train(easy, tmp_path / "one", *quick, "--curriculum").code == 0 and train(turned, tmp_path / "two", *quick, "--curriculum").code == 0
    one, two = steps(tmp_path / "one")[0], steps(tmp_path / "two")[0]
    assert one["drawn/reward"] != two["drawn/reward"], "the first four pairs are not the last four"
    done = train(rows, tmp_path / "rl", *quick, "--curriculum")
    assert done.code == 3 and "row 'p0': pass_rate" in done.err and "lore-rl select" in done.err


@pytest.mark.parametrize(
    "options",
    [
        ("--loss-type", "cispo", "--epsilon-high", 5), ("--loss-type", "sapo"), ("--loss", "dr_grpo", "--scale-rewards", "none"),
        ("--loss-type", "luspo", "--importance-sampling-level", "sequence"),
        ("--epsilon-high", 0.28, "--clip", 0.1, "--num-iterations", 2), ("--mask-truncated-completions", "--overlong-buffer", 4, "--max-completion-length", 6),
    ],
)  # fmt: skip
def test_the_fields_settings_run(rows, tmp_path, options):
    done = train(rows, tmp_path / "rl", "--max-steps", 2, "--rate", 1e-3, *options)
    assert done.code == 0, done.err
    assert len(steps(tmp_path / "rl")) == 2
    if "--overlong-buffer" in options:
        assert all(-1 <= row["reward/overlong"] <= 0 for row in steps(tmp_path / "rl")) and steps(tmp_path / "rl")[0]["reward/overlong"] < 0


# ---------------------------------------------------------------- alarms
HEALTHY = {"entropy": 0.5, "kl": 0.01, "completions/mean_length": 20.0, "sampling/zero_spread_share": 0.2, "completions/clipped_ratio": 0.0}


@pytest.mark.parametrize(
    ("series", "value"),
    [
        ("entropy", 0.01), ("entropy", 11.0), ("kl", 1.5), ("completions/mean_length", 70.0), ("completions/mean_length", 4.0),
        ("sampling/zero_spread_share", 1.0), ("completions/clipped_ratio", 1.0),
    ],
)  # fmt: skip
def test_an_alarm_rings_after_its_patience_and_not_before(series, value):
    history = [HEALTHY] * 30 + [{**HEALTHY, series: value}] * 10
    assert alarm(history[:-1], LIMITS) is None and alarm(history[:30], LIMITS) is None
    assert series in str(alarm(history, LIMITS))
    off = {name: math.nan if name != "patience" else 10 for name in LIMITS}
    assert alarm(history, off) is None


def test_a_reward_that_gets_no_better_rings_and_one_that_grows_does_not():
    limits = parse_limits(["no-progress=20"])
    assert alarm([{"drawn/reward": 0.01 * step} for step in range(100)], limits) is None
    assert "no better mean reward" in str(alarm([{"drawn/reward": min(0.01 * step, 0.3)} for step in range(100)], limits))
    lost_and_regained = [{"drawn/reward": value} for value in [1.2] * 10 + [1.0 + 0.002 * step for step in range(80)]]
    assert alarm(lost_and_regained, limits) is None
    assert "no better mean reward" in str(alarm([*lost_and_regained, *lost_and_regained[-1:] * 30], limits)), "it stays below where it began"
    assert alarm([{"drawn/reward": 0.5}] * 12, parse_limits(["no-progress=1", "patience=1"])) is not None


@pytest.mark.parametrize("wrong", ["kl", "kl=", "kl=-1", "kl=nan", "kl=inf", "taste=1", "patience=0.5", "patience=off"])
def test_limits_are_read_strictly(wrong):
    with pytest.raises(UsageError, match="--alarm"):
        parse_limits([wrong])


def test_an_alarm_stops_the_run_saves_it_and_lets_it_go_on_under_other_limits(rows, tmp_path):
    quick = ("--max-steps", 6, "--rate", 1e-2)
    done = train(rows, tmp_path / "rl", *quick, "--alarm", "kl=1e-9", "--alarm", "patience=3")
    assert done.code == 1 and "alarm at step 4: kl above 1e-09" in done.err and "next: " in done.err and not (tmp_path / "rl").exists()
    assert latest(tmp_path / "rl.unfinished").name == "checkpoint-4"
    assert len(steps(tmp_path / "rl.unfinished")) == 4 and (tmp_path / "rl.unfinished" / "curves.html").exists()
    done = train(rows, tmp_path / "rl", *quick, "--alarm", "kl=off", "--resume")
    assert done.code == 0, done.err
    assert [row["step"] for row in steps(tmp_path / "rl")] == [1, 2, 3, 4, 5, 6]
