"""The pages in a real browser, at phone and desktop width, light and dark: sorting, overflow, and what axe-core says of them."""

from __future__ import annotations

import pytest

from browser import AXE, CHROMIUM, in_browser
from commands_run import lore
from lore_cli.rair import board as boards
from lore_cli.rair.page import board_page, score_page
from rair_rows import ROOT, pair, scored, shop, verdict, written

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")

PAGES = ("score", "board", "comparison")
MATCHES = [{"attribute": "colour", "need": "navy", "state": "conflict", "found": "red", "source": "caption"}]
SORT = """
const table = document.querySelector("table.sortable");
const column = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === "Acc@2");
const button = table.tHead.rows[0].cells[column].querySelector("button");
const values = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim().split(" ")[0].split("\\n")[0]);
const found = [[null, values()]];
for (let click = 0; click < 3; click++) {
  button.focus();
  button.click();
  found.push([table.tHead.rows[0].cells[column].getAttribute("aria-sort"), values()]);
}
return { found, focused: document.activeElement === button };
"""
OVERFLOW = "return [document.documentElement.scrollWidth, innerWidth];"
LOOK = "const seen = await axe.run({ resultTypes: ['violations'] }); return seen.violations.map((one) => [one.id, one.nodes.map((node) => node.html.slice(0, 200) + node.failureSummary)]);"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind, with everything on it that there can be."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "images").mkdir()
    (folder / "images" / "a.png").write_bytes((ROOT / "examples" / "images" / "i02861.png").read_bytes())
    pairs, verdicts = shop(90, 1, scores={"L1": 0.1, "L2": 0.1, "L3": 0.2, "L4": 0.6}, latency_ms=12.5)
    pairs[0] = pair(0, "L4", subset="general", query="a" * 60, item={"image": "images/a.png", "title": "word " * 40, "description": "word " * 40})
    verdicts[0] = verdict(pairs[0], "L1", matches=MATCHES, rules=["R3"], reason="because")
    verdicts[1] = verdict(pairs[1], error="the server is down")
    document = scored(folder, pairs, verdicts)
    systems = [boards.System(name, f"{name}.json", document) for name in ("rulebook", "a system with quite a long name")]
    every = {"gold": pairs, "given": verdicts, "others": [verdict(one, one["grade"]) for one in pairs]}
    gold, given, others = (written(folder / f"{name}.jsonl", rows) for name, rows in every.items())
    assert lore("lore-rair", "compare", given, others, "--gold", gold, "--draws", "100", "--html", folder / "comparison.html", "--quiet").code == 0
    return {"score": score_page(document, folder), "board": board_page(boards.board(systems, "A board", "Simulated.")), "comparison": (folder / "comparison.html").read_text("utf-8")}


axe = pytest.mark.skipif(not AXE.is_file(), reason=f"no axe-core at {AXE}: npm install axe-core, or name it with AXE_CORE")


def violations(page, folder, width=1280, dark=False):
    return in_browser(page, LOOK, folder, width, dark, (AXE.read_text("utf-8"),))


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_phone(name, pages, tmp_path):
    full, window = in_browser(pages[name], OVERFLOW, tmp_path, 390)
    assert full <= window


@axe
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_axe_finds_nothing_on_any_page(name, width, dark, pages, tmp_path):
    assert violations(pages[name], tmp_path, width, dark) == []


@axe
def test_axe_finds_what_is_wrong(pages, tmp_path):
    found = violations(pages["score"].replace(' lang="en"', "").replace("--quiet: #57606a", "--quiet: #bbbbbb"), tmp_path)
    assert {"html-has-lang", "color-contrast"} <= {name for name, _ in found}


def test_a_table_is_sorted_by_a_heading_and_back_as_written(pages, tmp_path):
    seen = in_browser(pages["score"], SORT, tmp_path)
    (_, written), (down, largest), (up, smallest), (none, again) = seen["found"]
    assert (down, up, none) == ("descending", "ascending", None) and seen["focused"]
    assert largest == sorted(written, key=float, reverse=True) != smallest == sorted(written, key=float) and again == written
