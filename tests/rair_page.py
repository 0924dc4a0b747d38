"""Reading a page of RAIR: what it holds, and that it is self-contained; used by the tests of pages."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from rair_rows import ROOT

HOSTILE = "<script>alert(1)</script></style><img src=http://evil.example/x onerror=alert(1)>\" ' & \u202e \x07"
IMAGE = ROOT / "examples" / "images" / "i02861.png"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Tags with their attributes; text; tables as lists of rows. Fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text, self.tables = "", []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def page_of(text: str) -> Page:
    """A page that parses, runs no script but its own, and asks nothing of any server."""
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert [tag for tag, _ in page.tags].count("script") == len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert not names & {"link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not {"href", "xlink:href", "srcset", "action", "data", "background"} & set(attributes)
        assert "src" not in attributes or (tag == "img" and str(attributes["src"]).startswith("data:image/"))
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(styles) == 1 and "url(" not in styles[0] and "@import" not in styles[0] and "prefers-color-scheme: dark" in styles[0]
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-" + digest + "'"}) in page.tags
    readable(page)
    count = [tag for tag, _ in page.tags].count
    assert count("table") == count("caption")
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    return page


def readable(page: Page) -> None:
    """What a screen reader goes by: language, one main part, headings in order, names of regions and pictures."""
    tags = [tag for tag, _ in page.tags]
    assert ("html", {"lang": "en"}) in page.tags and tags.count("main") == tags.count("h1") == 1
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False)), levels
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert attributes.get("aria-labelledby", ids[0]) in ids
        assert tag != "img" or attributes["alt"]
        assert tag != "svg" or (attributes["role"] == "img" and attributes["aria-label"])
        assert "tabindex" not in attributes or (attributes["role"] == "region" and attributes["aria-label"])


def cells(page: Page, first: str) -> list[list[str]]:
    """The rows of the tables whose heading starts with `first`, white space folded."""
    return [[" ".join(text.split()) for text in row] for table in page.tables if " ".join(table[0][0].split()) == first for row in table]
