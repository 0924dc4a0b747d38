"""The visual stage: captions by a model that sees, image URLs, and what becomes of rows whose picture cannot be described."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL")
from commands_run import ROOT, lore  # noqa: E402
from lore_cli.synth import fetch  # noqa: E402
from lore_cli.synth.teacher import Unusable  # noqa: E402
from lore_cli.synth.vision import LONGEST, clean_caption  # noqa: E402
from tiny_models import LoopbackServer, Reply  # noqa: E402

IMAGES = ROOT / "examples" / "images"
NAMES = sorted(path.name for path in IMAGES.glob("*.png"))
PNG = (IMAGES / NAMES[0]).read_bytes()


def rows(*images: str) -> bytes:
    return b"".join(json.dumps({"id": str(n), "query": "navy sofa", "item": {"id": f"i{n}", "title": "sofa", "image": image}}).encode() + b"\n" for n, image in enumerate(images))


def captioned(*images: str, options: tuple[object, ...] = ()) -> tuple[int, list[dict[str, Any]], str]:
    done = lore("lore-synth", "-", "--stages", "visual", "--images", IMAGES, *options, stdin=rows(*images))
    return done.code, [json.loads(line) for line in done.lines], done.err


class Seer(LoopbackServer):
    """An OpenAI-compatible server that describes pictures. It keeps the size of each picture it was shown."""

    def __init__(self, said: list[str] | str) -> None:
        self.shown: list[tuple[int, int]] = []
        self._said = said
        super().__init__(self.look)

    def look(self, path: str, body: dict[str, Any] | None) -> Reply:
        from PIL import Image

        if body is None:
            return Reply({"object": "list", "data": [{"id": "seer", "object": "model"}]})
        (said_text, picture) = body["messages"][0]["content"]
        assert said_text["type"] == "text" and "one line" in said_text["text"] and picture["type"] == "image_url"
        head, _, data = picture["image_url"]["url"].partition(",")
        assert head.startswith("data:image/") and head.endswith(";base64")
        self.shown.append(Image.open(io.BytesIO(base64.b64decode(data))).size)
        said = self._said if isinstance(self._said, str) else self._said[min(len(self.shown), len(self._said)) - 1]
        return Reply({"choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 5}})

    @property
    def option(self) -> tuple[object, ...]:
        return ("--vision", f"{self.address}#seer", "--attempts", 2)


@pytest.fixture(autouse=True)
def with_httpx():
    pytest.importorskip("httpx")
    pytest.importorskip("stamina")


def test_a_vision_model_sees_each_picture_once_and_its_line_is_the_caption():
    with Seer('Caption: "A navy velvet sofa,\nwith brass legs."') as seer:
        code, found, said = captioned(NAMES[0], NAMES[1], NAMES[0], options=seer.option)
    assert code == 0, said
    assert [row["item"]["caption"] for row in found] == ["A navy velvet sofa, with brass legs."] * 3
    assert len(seer.shown) == 2 and all(min(size) > 30 for size in seer.shown)


@pytest.mark.parametrize("reply", ["", "  \n ", "I'm sorry, I can't help with that.", "As an AI, I can see nothing.", "抱歉，我无法查看图片。", "***"])
def test_a_refusal_or_an_empty_reply_fails_the_row_and_is_no_caption(reply: str):
    with Seer(reply) as seer:
        code, (row,), _ = captioned(NAMES[0], options=seer.option)
    assert code == 5 and "caption" not in row["item"] and "visual: " in row["error"] and len(seer.shown) == 2  # asked again once


def test_what_could_not_be_used_is_asked_again():
    with Seer(["", "plain navy sofa"]) as seer:
        code, (row,), _ = captioned(NAMES[0], options=seer.option)
    assert code == 0 and row["item"]["caption"] == "plain navy sofa"


def test_a_file_that_is_no_picture_is_told_before_the_model_is_asked(tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"<html>")
    with Seer("a sofa") as seer:
        done = lore("lore-synth", "-", "--stages", "visual", "--images", tmp_path, *seer.option, stdin=rows("broken.png"))
        skipped = lore("lore-synth", "-", "--stages", "visual", "--images", tmp_path, "--on-bad", "skip", *seer.option, stdin=rows("broken.png"))
    assert done.code == 3 and "item.image" in done.err and "not a readable picture" in done.err
    assert skipped.code == 5 and "not a readable picture" in json.loads(skipped.out)["error"] and seer.shown == []


def test_a_judge_that_writes_no_text_cannot_see():
    code, _, said = captioned(NAMES[0], options=("--vision", "rulebook:"))
    assert code == 2 and "rulebook: writes no reasoning and no captions" in said
    code, _, said = captioned(NAMES[0], options=("--vision", "http://me:secret@localhost/v1#m"))
    assert code == 2 and "secret" not in said


def test_a_caption_is_one_line_cut_at_a_word():
    long = clean_caption("navy sofa " * 60)
    assert len(long) <= LONGEST and long.endswith(("navy", "sofa")) and "\n" not in clean_caption("a\u2028b\r\nc")
    assert len(clean_caption("藏青色沙发" * 100)) == LONGEST
    with pytest.raises(Unusable, match="describes no picture"):
        clean_caption("I cannot see any image.")
    assert clean_caption("Sorrel-brown leather sofa") == "Sorrel-brown leather sofa"


# ------------------------------------------------------------------------------------------------ image URLs


class Shop(LoopbackServer):
    """A web server with pictures, and other things, at /NAME."""

    def __init__(self, **pages: Reply) -> None:
        super().__init__(lambda path, _: pages.get(path.strip("/").replace(".", "_"), Reply(b"no", 404)))

    def at(self, name: str) -> str:
        return f"http://localhost:{self.port}/{name}"


@pytest.fixture
def loopback_is_public(monkeypatch):
    monkeypatch.setattr(fetch, "is_public", lambda address: address in ("127.0.0.1", "::1"))


def test_addresses_are_not_fetched_unless_asked_for():
    with Shop(a_png=Reply(PNG)) as shop:
        code, found, said = captioned(shop.at("a.png"), NAMES[0])
    assert code == 5 and shop.asked == [] and "--image-urls allow" in found[0]["error"] and found[1]["item"]["caption"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.1.2.3", "0.0.0.0", "2130706433", "0x7f.1", "[64:ff9b::a00:1]", "[fe80::1]"])
def test_addresses_of_this_network_are_never_asked(host: str):
    with Shop(a_png=Reply(PNG)) as shop:
        code, (row,), _ = captioned(f"http://{host}:{shop.port}/a.png", options=("--image-urls", "allow"))
    assert code == 5 and shop.asked == [] and "not fetched" in row["error"] and "caption" not in row["item"]


def test_a_public_picture_is_fetched_once_and_its_address_stays_in_the_row(loopback_is_public, tmp_path: Path):
    with Shop(a_png=Reply(PNG)) as shop:
        code, found, said = captioned(shop.at("a.png"), shop.at("a.png"), options=("--image-urls", "allow", "-o", tmp_path / "out.jsonl"))
        written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
        assert code == 0 and len(shop.asked) == 1, said
        assert [row["item"]["image"] for row in written] == [shop.at("a.png")] * 2
    assert written[0]["item"]["caption"] == captioned(NAMES[0])[1][0]["item"]["caption"]


def test_each_redirect_is_checked_anew(monkeypatch):
    monkeypatch.setattr(fetch, "public_address", lambda host, port: "127.0.0.1" if host == "localhost" else fetch_public(host, port))
    with Shop(a_png=Reply(PNG)) as shop:
        inner = f"http://127.0.0.1:{shop.port}/a.png"
        with Shop(there=Reply(b"", 302, {"location": inner}), round=Reply(b"", 302, {"location": "/round"}), file=Reply(b"", 302, {"location": "file:///etc/passwd"})) as outer:
            _, found, _ = captioned(*(outer.at(name) for name in ("there", "round", "file")), options=("--image-urls", "allow"))
        assert shop.asked == [] and [reason in row["error"] for reason, row in zip(("no public address", "redirects", "an address is http"), found, strict=True)] == [True] * 3


fetch_public = fetch.public_address


def test_https_is_never_answered_in_the_clear(loopback_is_public, tmp_path: Path):
    """A server that talks no TLS: the connection fails, the row says so, nothing hangs."""
    with Shop(a_png=Reply(PNG)) as shop:
        code, (row,), _ = captioned(shop.at("a.png").replace("http:", "https:"), options=("--image-urls", "allow"))
    assert code == 5 and "not fetched" in row["error"] and "SSL" in row["error"]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Reply(b"<html>", 200), "not a readable picture"),
        (Reply(PNG, 404), "status 404"),
        (Reply(PNG, 200, length=len(PNG) + 10), "image"),
        (Reply(b"\0" * 3000, 200), "more than 0 MB"),
        (Reply(PNG, hang=True), "image"),
    ],
)
def test_what_is_no_whole_small_picture_fails_its_row_alone(page: Reply, reason: str, loopback_is_public, monkeypatch):
    monkeypatch.setattr(fetch, "SECONDS", 0.5)
    monkeypatch.setattr(fetch, "MOST_BYTES", len(PNG) + 100 if len(PNG) < 2900 else 2900)
    with Shop(page=page) as shop:
        code, found, _ = captioned(shop.at("page"), NAMES[0], options=("--image-urls", "allow"))
    assert code == 5 and reason in found[0]["error"] and "caption" not in found[0]["item"] and found[1]["item"]["caption"]
