"""Pages in a real browser: a script runs in the page and its result comes back. Chromium without a display; none of it is needed to build or use lore."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(os.environ.get("AXE_CORE", Path(__file__).resolve().parent.parent / "node_modules" / "axe-core" / "axe.min.js"))
"""axe-core's script: `npm install axe-core` in the checkout, or the file that AXE_CORE names."""


def in_browser(page: str, script: str, folder: Path, width: int = 1280, dark: bool = False, libraries: tuple[str, ...] = ()) -> Any:
    """What `script` (the body of an async function) returns in the page. The page's own policy stays; the scripts given are allowed beside it by their hashes."""
    driver = f"(async () => {{ {script} }})().then((found) => {{ document.documentElement.dataset.found = JSON.stringify(found); }})"
    added = [*libraries, driver]
    hashes = "".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}' " for text in added)
    page = page.replace("script-src ", f"script-src {hashes}").replace("</body>", "".join(f"<script>{text}</script>" for text in added) + "</body>")
    target = folder / "page.html"
    target.write_text(page, "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1000"]
    options += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=20000", "--dump-dom", target.as_uri()]
    done = subprocess.run([str(CHROMIUM), *options], capture_output=True, text=True, timeout=120)
    found = re.search(r' data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))
