"""Prompts with a picture: what a server gets to see, and pictures that cannot be shown."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest

pytest.importorskip("httpx")
pytest.importorskip("stamina")
Image = pytest.importorskip("PIL.Image")

from lore_cli.models import Blind, Look  # noqa: E402
from lore_cli.models.http import open_http  # noqa: E402
from lore_cli.models.pictures import SIDE, BadPicture, open_picture  # noqa: E402
from tiny_models import LoopbackServer, Reply, models, text  # noqa: E402


def seen(body: dict) -> tuple[str, str, bytes]:
    """Text, media type and image of a request."""
    words, picture = body["messages"][0]["content"]
    head, _, data = picture["image_url"]["url"].partition(",")
    assert (words["type"], picture["type"]) == ("text", "image_url")
    return words["text"], head, base64.b64decode(data, validate=True)


def describe(_path: str, body: dict | None) -> Reply:
    """Names what colour the middle of the picture has."""
    if body is None:
        return models("m")
    if isinstance(body["messages"][0]["content"], str):
        return text("no picture")
    image = Image.open(io.BytesIO(seen(body)[2]))
    red, green, blue = image.getpixel((image.width // 2, image.height // 2))
    return text(f"{'red' if red > 200 > green else 'white' if blue > 200 else 'blue'} {image.width}x{image.height}")


@pytest.fixture(scope="module")
def server():
    with LoopbackServer(describe) as running:
        yield running


@pytest.fixture
def photo(tmp_path) -> Path:
    """A red JPEG lying on its side, 3000 × 1500 as stored, with a comment and a GPS position."""
    path = tmp_path / "sofa.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    exif[0x010E] = "secret maker's note"
    Image.new("RGB", (3000, 1500), "red").save(path, exif=exif, comment=b"secret comment")
    return path


def test_a_picture_arrives_small_upright_and_without_metadata(server, photo):
    assert b"secret" in photo.read_bytes()
    assert open_http(server.address).generate([Look("What colour?", photo), "and this?"]) == [["red 512x1024"], ["no picture"]]
    words, head, data = next(seen(body) for _, body, _ in server.asked if body and not isinstance(body["messages"][0]["content"], str))
    assert words == "What colour?" and head == "data:image/jpeg;base64" and b"secret" not in data
    assert not Image.open(io.BytesIO(data)).getexif()


def test_pictures_of_every_kind_are_shown(server, tmp_path):
    Image.new("RGBA", (60, 40), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("CMYK", (60, 40), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    Image.new("I;16", (60, 40), 65535).save(tmp_path / "deep.png")
    Image.new("P", (60, 40)).save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("P", (60, 40), 3)])
    replies = open_http(server.address).generate([Look("?", tmp_path / name) for name in ("clear.png", "print.jpg", "deep.png", "moving.gif")])
    assert [reply for (reply,) in replies] == ["white 60x40", "red 60x40", "white 60x40", "blue 60x40"]


def bad_pictures(folder: Path) -> dict[str, str]:
    """Name → what its error says."""
    (folder / "empty.jpg").touch()
    (folder / "page.jpg").write_bytes(b"<html>not found</html>")
    Image.effect_noise((300, 300), 90).save(folder / "whole.png")
    (folder / "torn.png").write_bytes((folder / "whole.png").read_bytes()[:9000])
    Image.new("1", (5000, 4001)).save(folder / "vast.png")
    (folder / "heavy.bmp").write_bytes(b"BM" + bytes(21 << 20))
    (folder / "folder.jpg").mkdir()
    unreadable = "not a picture that can be read"
    return {
        "gone.jpg": "No such file", "folder.jpg": "Is a directory", "empty.jpg": unreadable, "page.jpg": unreadable, "torn.png": unreadable,
        "vast.png": "5000 × 4001 pixels (at most 20 megapixels)", "heavy.bmp": "21 MiB (at most 20)",
    }  # fmt: skip


def test_a_picture_that_cannot_be_shown_is_its_own_prompts_trouble(server, photo, tmp_path):
    expected, before = bad_pictures(tmp_path), len(server.asked)
    replies = open_http(server.address).generate([*(Look("?", tmp_path / name) for name in expected), Look("?", photo)])
    for (name, said), (reply,) in zip(expected.items(), replies):
        assert isinstance(reply, BadPicture) and f"image {name}: " in str(reply) and said in str(reply) and str(tmp_path) not in str(reply)
    assert replies[-1] == ["red 512x1024"] and len([body for _, body, _ in server.asked[before:] if body]) == 1


def test_an_address_is_no_picture(server):
    with LoopbackServer(lambda *_: Reply(b"", status=500)) as elsewhere:
        ((reply,),) = open_http(server.address).generate([Look("?", Path(f"{elsewhere.address}/sofa.jpg"))])
        assert isinstance(reply, BadPicture) and not elsewhere.asked


def test_a_model_that_completes_text_is_blind(server, photo):
    with LoopbackServer(lambda path, body: models("m") if body is None else text(body["prompt"])) as plain:
        (blind,), (read,) = open_http(plain.address, chat=False).generate([Look("What colour?", photo), "words"])
        assert isinstance(blind, Blind) and read == "words"


def test_a_long_side_is_shrunk_and_a_small_picture_left(tmp_path):
    for size, shown in (((4000, 10), (SIDE, 3)), ((20, 30), (20, 30))):
        Image.new("L", size).save(tmp_path / "a.png")
        picture = open_picture(tmp_path / "a.png")
        assert picture.size == shown and picture.mode == "RGB"
