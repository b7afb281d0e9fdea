"""The picture of the leaderboard in README.md: a site of the rows in records, in a browser of 1280 pixels.

``python scripts/leaderboard_picture.py`` writes docs/leaderboard.png; needs Playwright and Chromium. The
file tells, as text, which models and figures it shows.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import sync_playwright

from hsrzoo_benchmark.results import groups
from hsrzoo_benchmark.site import writing

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "leaderboard.png"
WIDTH, HEIGHT, SCALE = 1280, 780, 0.75
_SHOWN = """[...document.querySelectorAll("#board tbody tr")].map((row) =>
  [row.querySelector("th a").textContent, row.querySelector("td[data-key=rmse] a").textContent])"""


def main() -> None:
    """See the module."""
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        writing.prepare(Path(folder), overwrite=False)
        page = writing.write(groups.read(ROOT / "records"), Path(folder))
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        view.goto(page.as_uri())
        view.wait_for_selector("#board tbody tr")
        shown = view.evaluate(_SHOWN)
        view.screenshot(path=OUT)
        browser.close()
    with Image.open(OUT) as picture:
        size = round(picture.width * SCALE), round(picture.height * SCALE)
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    text = PngInfo()
    text.add_text("shown", json.dumps(shown))
    small.quantize(32, dither=Image.Dither.NONE).save(OUT, optimize=True, pnginfo=text)


if __name__ == "__main__":
    main()
