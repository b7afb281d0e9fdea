"""The page on a phone, and how soon it is ready: tests that need a browser of their own."""

from __future__ import annotations

import os

import numpy as np
import pytest

from browser import opened_page
from hsrzoo.bands import VISIBLE_31
from hsrzoo.viewer import NamedCube, write_page

from .conftest import SHAPE, STEP, Hands


def test_a_phone_shows_it_without_scrolling_sideways(path, cube):
    with opened_page(360, 740, touch=True) as page:
        hands = Hands(page, path, SHAPE)
        page.touchscreen.tap(*hands.point(8, 19))
        np.testing.assert_allclose(hands.table()["x 8, y 19"], cube[19, 8], atol=STEP)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        _pinch(page, hands.point(16, 12))
        hands.settle()
        assert float(page.locator("#zoom").inner_text().split()[0]) == pytest.approx(300, abs=15)
        assert "x 8, y 19" in hands.table(), "two fingers select nothing"


def _pinch(page, middle: tuple[float, float]) -> None:
    """Two fingers, from 20 pixels left and right of ``middle`` to 60."""
    session = page.context.new_cdp_session(page)

    def touch(kind: str, away: float | None) -> None:
        x, y = middle
        points = (
            [] if away is None else [{"x": x - away, "y": y, "id": 1}, {"x": x + away, "y": y, "id": 2}]
        )
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 20)
    for away in range(24, 61, 4):
        touch("touchMove", away)
    touch("touchEnd", None)


@pytest.mark.long
def test_a_usual_cube_loads_in_under_two_seconds(tmp_path):
    """512 x 512 x 31 with the noise of a real sensor; best of three by the page's own clock.

    Where more processes wait than there are cores, that clock measures them: there the processor time of
    the page counts.
    """
    rows, columns, bands = (np.linspace(0, 6, n, dtype=np.float32) for n in (512, 512, 31))
    smooth = np.sin(rows)[:, None, None] * np.cos(columns)[:, None] * np.sin(bands) + 1
    noise = np.random.default_rng(0).normal(0, 0.005, smooth.shape).astype(np.float32)
    cube = (smooth + noise) / 2
    path = tmp_path / "large.html"
    write_page(path, [NamedCube("large", cube, VISIBLE_31)])
    ready, worked = [], []
    with opened_page() as page:
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        while len(ready) < 3 and min(ready, default=np.inf) >= 2000:
            before = _processor_ms(session)
            hands = Hands(page, path, (512, 512))
            ready.append(float(page.locator("html").get_attribute("data-ready-ms")))
            worked.append(_processor_ms(session) - before)
        hands.click(300, 200)
        np.testing.assert_allclose(hands.table()["x 300, y 200"], cube[200, 300], atol=2 * STEP)
    print(f"\n512 x 512 x 31: {path.stat().st_size / 2**20:.1f} MiB, ready {ready} ms, worked {worked} ms")
    crowded = os.getloadavg()[0] > (os.cpu_count() or 1)
    assert min(worked if crowded else ready) < 2000


def _processor_ms(session) -> float:
    """Processor time that the process of a page has used."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(m["value"] for m in metrics if m["name"] == "ProcessTime")
