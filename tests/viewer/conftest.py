"""Cubes with known values, and hands for the pages that show them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import opened_page
from hsrzoo.bands import BandSet
from hsrzoo.viewer import NamedCube, write_page

BANDS = BandSet.regular(400, 700, 20)
SHAPE = (24, 32, len(BANDS))
STEP = 1 / 65535
"""How far a shown value may lie from the cube's, as a share of its range; six digits are shown."""


def made_cube(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """(H, W, C) float32 in [0, 1], every value another."""
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.fixture
def cube() -> np.ndarray:
    """Sixteen bands of 24 rows and 32 columns."""
    return made_cube()


@pytest.fixture
def path(tmp_path: Path, cube: np.ndarray) -> Path:
    """A page of that cube."""
    write_page(tmp_path / "page.html", [NamedCube("scene", cube, BANDS, "reflectance")])
    return tmp_path / "page.html"


class Hands:
    """What a person does with a page, and reads from it."""

    def __init__(self, page: Any, path: Path, shape: tuple[int, ...]) -> None:
        self.page, self.height, self.width = page, shape[0], shape[1]
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready-ms]")

    def point(self, x: int, y: int, panel: int = 0) -> tuple[float, float]:
        """Where the middle of a pixel is in the window while the whole image is shown."""
        canvas = self.page.locator("canvas.view").nth(panel)
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        scale = min(box["width"] / self.width, box["height"] / self.height)
        return (
            box["x"] + box["width"] / 2 + (x + 0.5 - self.width / 2) * scale,
            box["y"] + box["height"] / 2 + (y + 0.5 - self.height / 2) * scale,
        )

    def click(self, x: int, y: int, panel: int = 0) -> None:
        self.page.mouse.click(*self.point(x, y, panel))

    def drag(self, start: tuple[int, int], end: tuple[int, int], panel: int = 0) -> None:
        self.page.mouse.move(*self.point(*start, panel))
        self.page.mouse.down()
        self.page.mouse.move(*self.point(*end, panel), steps=4)
        self.page.mouse.up()

    def table(self) -> dict[str, list[float]]:
        """The plotted values by heading, as the table under the plot has them; NaN for no data."""
        if self.page.locator("#values").get_attribute("open") is None:
            self.page.locator("#values summary").click()
            # The event that fills the table may come later than the next frames.
            self.page.locator("#table tr").first.wait_for(state="attached")
        self.settle()
        rows = self.page.evaluate(
            "[...document.querySelectorAll('#table tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
        columns = zip(*rows, strict=True)
        return {head: [_number(text) for text in body] for head, *body in columns}

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def band(self) -> str:
        self.settle()
        return self.page.locator("#band-name").inner_text()

    def status(self) -> str:
        return self.page.locator("#status").inner_text()

    def colour_at(self, x: int, y: int, panel: int = 0) -> list[int]:
        """(R, G, B, A) that a canvas shows in the middle of a pixel."""
        self.settle()
        left, top = self.point(x, y, panel)
        return self.page.evaluate(
            """([panel, left, top]) => {
              const canvas = document.querySelectorAll("canvas.view")[panel];
              const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
              const at = [(left - box.left) * ratio, (top - box.top) * ratio].map(Math.floor);
              return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
            }""",
            [panel, left, top],
        )


def _number(text: str) -> float:
    return math.nan if text == "no data" else float(text)


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Any]:
    """One browser for all tests of a file: what a page does wrong is told after the last of them."""
    with opened_page() as page:
        yield page


@pytest.fixture
def opened(browser_page: Any) -> Callable[[Path, tuple[int, ...]], Hands]:
    """``opened(path, shape)``: the page in a browser, ready."""
    return lambda path, shape=SHAPE: Hands(browser_page, path, shape)
