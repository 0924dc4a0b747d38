"""A causal language model in this process: what it writes, when it counts as whole, and how sure it is."""

from __future__ import annotations

import math
import os
import shutil

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the libraries load: no test looks for a model on a hub
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lore_cli.errors import BadInput, Missing  # noqa: E402
from lore_cli.models import Blind, Cut, Look, Usage, directory_hash, draw_seed  # noqa: E402
from lore_cli.models.hf import open_hf  # noqa: E402
from lore_cli.models.pictures import SIDE, BadPicture, open_picture  # noqa: E402
from tiny_models import TAUGHT, answers, picture, seeing_model, taught_model  # noqa: E402

PROMPTS, TEXTS = list(answers())[:TAUGHT], list(answers().values())[:TAUGHT]


@pytest.fixture(scope="module")
def model():
    return open_hf(str(taught_model()), chat=False)


def test_greedy_replies_come_in_the_order_of_prompts_without_the_end_token(model):
    assert model.generate(PROMPTS) == [[text] for text in TEXTS]
    backwards = PROMPTS[::-1] + PROMPTS[:1]
    assert model.generate(backwards) == [[text] for text in TEXTS[::-1] + TEXTS[:1]]


def test_batches_under_the_token_budget_change_nothing(model, monkeypatch):
    monkeypatch.setattr(model, "_token_budget", 400)
    assert model.generate(PROMPTS) == [[text] for text in TEXTS]


def test_a_reply_without_its_end_is_cut_not_text(model):
    (only,) = model.generate(PROMPTS[:1], max_new_tokens=5)[0]
    assert isinstance(only, Cut) and TEXTS[0].startswith(only.text) and only.text and "5 tokens" in str(only)


def test_a_reply_that_just_fits_is_whole(model):
    tokens = len(model._plain_ids(TEXTS[0])) + 1  # and the end token
    assert model.generate(PROMPTS[:1], max_new_tokens=tokens) == [[TEXTS[0]]]
    assert isinstance(model.generate(PROMPTS[:1], max_new_tokens=tokens - 1)[0][0], Cut)


def test_draws_repeat_with_the_seed_and_differ_without(model):
    def draw(seed):
        return [[str(reply) if isinstance(reply, str) else reply.text for reply in row] for row in model.generate(PROMPTS[:3], samples=4, temperature=2.0, max_new_tokens=12, seed=seed)]

    state = torch.random.get_rng_state()
    first = draw(1)
    assert first == draw(1) and first != draw(2)
    assert all(len(row) == 4 and len(set(row)) > 1 for row in first)
    assert torch.equal(state, torch.random.get_rng_state()), "the caller's random state was moved"


def test_greedy_samples_are_copies_of_one_reply(model):
    assert model.generate(PROMPTS[:2], samples=3) == [[TEXTS[0]] * 3, [TEXTS[1]] * 3]


def label_by_hand(model, prompt, begun, labels):
    """exp of the summed log-probability of each label's tokens, normalised: by one plain forward pass each."""
    scores = []
    for label in labels:
        head, tail = model._plain_ids(prompt), model._plain_ids(begun + label)
        with torch.inference_mode():
            logits = model._model(input_ids=torch.tensor([head + tail])).logits[0].double().log_softmax(-1)
        scores.append(sum(float(logits[len(head) + place - 1, token]) for place, token in enumerate(tail)))
    weights = [math.exp(score - max(scores)) for score in scores]
    return [weight / sum(weights) for weight in weights]


def test_label_probabilities_are_those_of_the_next_text(model):
    labels = (" L1", " L2", " L3", " L4")
    begun = [text.removesuffix(text[-3:]) for text in TEXTS]  # up to "grade:"
    found = model.label_probabilities(PROMPTS, labels, begun=begun)
    for prompt, start, text, row in zip(PROMPTS, begun, TEXTS, found, strict=True):
        assert row == pytest.approx(label_by_hand(model, prompt, start, labels), abs=1e-4)
        assert sum(row) == pytest.approx(1) and labels[row.index(max(row))] == text[-3:]


def test_labels_of_several_tokens_are_scored_whole(model):
    labels = (" L1", " sofa bed", " navy blue lamp")
    assert len({len(model._plain_ids(label)) for label in labels}) > 1
    (row,) = model.label_probabilities(PROMPTS[:1], labels)
    assert row == pytest.approx(label_by_hand(model, PROMPTS[0], "", labels), abs=1e-4)


def test_a_chat_model_is_asked_through_its_template():
    plain, talking = open_hf(str(taught_model()), chat=False), open_hf(str(taught_model()), chat=True)
    talking._tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
    wrapped = f"[user] {PROMPTS[0]}\n[assistant] "
    assert talking._prompt_ids(PROMPTS[0]) == plain._plain_ids(wrapped)
    ((said,),), ((written,),) = talking.generate(PROMPTS[:1], max_new_tokens=3), plain.generate([wrapped], max_new_tokens=3)
    assert isinstance(said, Cut) and said.text == written.text
    assert talking.identity() != plain.identity()


def test_the_identity_is_of_content_not_of_place(tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(taught_model(), moved)
    (moved / "log.jsonl").write_text("{}\n")
    assert open_hf(str(moved), chat=False).identity() == open_hf(str(taught_model()), chat=False).identity()
    assert str(tmp_path) not in str(open_hf(str(moved), chat=False).identity())
    weights = moved / "model.safetensors"
    before = directory_hash(moved)
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert directory_hash(moved) != before


def test_what_is_no_model_is_told_with_what_to_do(tmp_path):
    with pytest.raises(Missing, match="no such directory\n  next: give a local model directory"):
        open_hf(str(tmp_path / "nowhere"), chat=False)
    with pytest.raises(Missing, match="holds no config.json"):
        open_hf(str(tmp_path), chat=False)
    with pytest.raises(Missing, match="model some/model-that-is-not-here: "):
        open_hf("some/model-that-is-not-here", chat=False)
    shutil.copytree(taught_model(), tmp_path / "torn")
    weights = tmp_path / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadInput, match="not a loadable causal language model: .*\n  next: is the directory complete"):
        open_hf(str(tmp_path / "torn"), chat=False)


def test_seeds_of_draws_are_their_own():
    seeds = {draw_seed(seed, draw, prompt) for seed in range(5) for draw in range(5) for prompt in ("a", "b")}
    assert len(seeds) == 50 and all(0 <= seed < 2**31 for seed in seeds)
    assert draw_seed(1, 2, "navy sofa") == draw_seed(1, 2, "navy sofa")


def test_what_was_asked_is_counted_in_the_tokenizers_tokens():
    model = open_hf(str(taught_model()), chat=False)
    read = [len(model._plain_ids(prompt)) for prompt in PROMPTS]
    written = [len(model._plain_ids(text)) + 1 for text in TEXTS]  # and the end token
    model.generate(PROMPTS)
    assert model.usage == Usage(TAUGHT, sum(read), sum(written))
    model.generate(PROMPTS[:1], samples=3, temperature=1e-4, max_new_tokens=5)
    assert model.usage == Usage(TAUGHT + 1, sum(read) + read[0], sum(written) + 15)
    model.label_probabilities(PROMPTS[:2], (" L1", " L2"), begun=["grade:", "grade:"])
    assert model.usage == Usage(TAUGHT + 3, sum(read) + read[0] + sum(read[:2]) + 2 * (len(model._plain_ids("grade: L1")) - 1), sum(written) + 15)


# ------------------------------------------------------------------------------------------------ pictures


@pytest.fixture(scope="module")
def seeing():
    pytest.importorskip("PIL")
    return open_hf(str(seeing_model()), chat=True)


def test_a_model_that_sees_is_shown_the_picture(seeing, tmp_path):
    red, blue = (Look("colour: ", picture(tmp_path / f"{colour}.png", colour)) for colour in ("red", "blue"))
    before = seeing.usage.prompt_tokens
    replies = seeing.generate([blue, "colour: ", red, blue], max_new_tokens=12)
    said = [reply.text if isinstance(reply, Cut) else reply for (reply,) in replies]
    assert said[0] == said[3] and len(set(said)) == 3 and all(isinstance(text, str) for text in said)
    assert seeing.usage.prompt_tokens - before == 4 * len(seeing._plain_ids("colour: ")) + 3 * 4, "a picture is four tokens"


@pytest.mark.parametrize("labels", [(" L1", " L2", " L3"), (" L1", " sofa bed")], ids=["one step", "several tokens"])
def test_label_probabilities_depend_on_the_picture(seeing, tmp_path, labels):
    red, blue = (Look("colour: ", picture(tmp_path / f"{colour}.png", colour)) for colour in ("red", "blue"))
    first, other, again = seeing.label_probabilities([red, blue, red], labels, begun=["grade:"] * 3)
    assert first == pytest.approx(again, rel=1e-4, abs=0) and first != pytest.approx(other, rel=1e-2, abs=0) and sum(first) == pytest.approx(1)


def test_a_picture_that_cannot_be_read_is_told_in_its_place(seeing, tmp_path, model):
    torn = tmp_path / "torn.png"
    torn.write_bytes(picture(tmp_path / "whole.png", "red").read_bytes()[:60])
    (broken,), (missing,), (good,) = seeing.generate([Look("?", torn), Look("?", tmp_path / "none.png"), Look("?", tmp_path / "whole.png")], max_new_tokens=3)
    assert isinstance(broken, BadPicture) and "not a picture that can be read" in str(broken) and isinstance(good, Cut | str)
    assert isinstance(missing, BadPicture) and "No such file" in str(missing) and "\n" not in str(missing)
    (blind,), (text,) = model.generate([Look(PROMPTS[0], tmp_path / "whole.png"), PROMPTS[0]])
    assert isinstance(blind, Blind) and "whole.png" in str(blind) and text == TEXTS[0]
    assert isinstance(model.label_probabilities([Look("?", torn)], (" L1", " L2"))[0], Blind)


def test_pictures_are_bounded(tmp_path, monkeypatch):
    Image = pytest.importorskip("PIL.Image")
    path = tmp_path / "wide.png"
    Image.new("RGBA", (3000, 1000), (255, 0, 0, 0)).save(path)
    opened = open_picture(path)
    assert opened.size == (SIDE, round(SIDE / 3)) and opened.mode == "RGB" and opened.getpixel((5, 5)) == (255, 255, 255), "transparent is white"
    monkeypatch.setattr("lore_cli.models.pictures.LARGEST_PIXELS", 2_000_000)
    with pytest.raises(BadPicture, match="3000 × 1000 pixels \\(at most 2 megapixels\\)"):
        open_picture(path)
    monkeypatch.setattr("lore_cli.models.pictures.LARGEST_BYTES", 100)
    with pytest.raises(BadPicture, match="MiB"):
        open_picture(path)


def test_bfloat16_is_for_large_models_on_processors_that_have_it(model, monkeypatch):
    from lore_cli.models import hf

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert not hf.bfloat16_pays(model._model), "a small model gives the same scores everywhere"
    monkeypatch.setattr(hf, "_SMALL", 1000)
    assert hf.bfloat16_pays(model._model)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not hf.bfloat16_pays(model._model)
