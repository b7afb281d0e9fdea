"""The page of one cube in a real browser: what is clicked is compared with the cube's own values."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

from hsrzoo.prediction.quicklook import srgb_of
from hsrzoo.viewer import NamedCube, write_page

from .conftest import BANDS, STEP, made_cube


def test_a_click_shows_the_spectrum_of_that_pixel(opened, path, cube):
    hands = opened(path)
    hands.click(5, 7)
    table = hands.table()
    assert table["wavelength (nm)"] == list(BANDS.centres_nm)
    np.testing.assert_allclose(table["x 5, y 7"], cube[7, 5], atol=STEP)
    assert hands.status().startswith("x 5, y 7: 540 nm 0.")
    hands.click(31, 23)
    np.testing.assert_allclose(hands.table()["x 31, y 23"], cube[23, 31], atol=STEP)


def test_the_line_lies_where_the_ticks_say(opened, path, cube):
    """The points of the drawn line, converted by the labelled ticks, are the cube's values."""
    hands = opened(path)
    hands.click(11, 3)
    hands.settle()
    found = hands.page.evaluate(
        """() => {
          const numbers = (name, key) => [...document.querySelectorAll("#plot " + name)]
            .map(t => [Number(t.textContent), Number(t.getAttribute(key))]);
          return {
            x: numbers(".tick-x", "x"), y: numbers(".tick-y", "y"),
            line: document.querySelector("#plot .series polyline").getAttribute("points"),
            names: [...document.querySelectorAll("#plot .name-x, #plot .name-y")].map(t => t.textContent),
          };
        }"""
    )
    points = np.array([[float(v) for v in pair.split(",")] for pair in found["line"].split()])
    across, up = (np.array(found[key]) for key in "xy")
    to_nm = np.polyfit(across[:, 1], across[:, 0], 1)
    to_value = np.polyfit(up[:, 1] - 4, up[:, 0], 1)  # labels stand 4 pixels below their lines
    np.testing.assert_allclose(np.polyval(to_nm, points[:, 0]), BANDS.centres_nm, atol=0.05)
    np.testing.assert_allclose(np.polyval(to_value, points[:, 1]), cube[3, 11], atol=1e-4)
    assert found["names"] == ["wavelength (nm)", "value, unit: reflectance"]


def test_a_drag_shows_mean_and_range_of_the_region(opened, path, cube):
    hands = opened(path)
    hands.drag((20, 15), (9, 4))
    region = cube[4:16, 9:21].reshape(-1, len(BANDS)).astype(np.float64)
    table = hands.table()
    for what, wanted in (("mean", region.mean(0)), ("minimum", region.min(0)), ("maximum", region.max(0))):
        np.testing.assert_allclose(table[f"x 9 to 20, y 4 to 15, {what}"], wanted, atol=STEP)
    assert hands.page.locator("#plot polygon.range").count() == 1


def test_values_that_are_missing_are_gaps(opened, tmp_path, cube):
    cube[7, 5, [3, 6]] = np.nan
    cube[7, 6, 0] = np.inf
    cube[8:10, 8:10] = np.nan
    write_page(tmp_path / "page.html", [NamedCube("gaps", cube, BANDS)])
    hands = opened(tmp_path / "page.html")
    hands.click(5, 7)
    np.testing.assert_allclose(hands.table()["x 5, y 7"], cube[7, 5], atol=STEP)
    pieces = hands.page.locator("#plot .series polyline").evaluate_all(
        "lines => lines.map(l => l.getAttribute('points').split(' ').length)"
    )
    assert pieces == [3, 2, 9]
    hands.click(6, 7)
    assert np.isnan(hands.table()["x 6, y 7"][0])
    hands.drag((4, 6), (7, 8))
    mean = np.nanmean(cube[6:9, 4:8].reshape(-1, len(BANDS))[:, 3].astype(np.float64))
    assert hands.table()["x 4 to 7, y 6 to 8, mean"][3] == pytest.approx(mean, abs=STEP)
    hands.click(30, 2)  # the cursor's ring away from the place that is looked at
    assert hands.colour_at(8, 9)[3] == 0, "nothing is drawn where there is no data"


def test_the_slider_shows_the_band_in_grey(opened, path, cube):
    hands = opened(path)
    hands.click(30, 2)
    slider = hands.page.locator("#band")
    slider.focus()
    hands.page.keyboard.press("Home")
    hands.page.keyboard.press("ArrowRight")
    assert hands.band() == "420 nm (band 2 of 16)"
    assert slider.get_attribute("aria-valuetext") == "420 nm, band 2 of 16"
    assert hands.page.locator("#mode-band").is_checked()
    band = np.sort(cube[..., 1].ravel().astype(np.float64))
    low, high = (band[max(1, int(np.ceil(share * band.size))) - 1] for share in (0.005, 0.995))
    for x, y in ((3, 4), (12, 20), (20, 9)):
        wanted = round(255 * min(1, max(0, (cube[y, x, 1] - low) / (high - low))))
        assert hands.colour_at(x, y)[:3] == pytest.approx([wanted] * 3, abs=1)
    labels = hands.page.locator("figure .bar span").all_inner_texts()
    assert [float(t.strip("≥ ")) for t in labels] == pytest.approx([low, high], rel=5e-3)
    hands.page.locator("label", has_text="Colour").click()
    hands.settle()
    assert hands.page.locator("figure .how").inner_text().startswith("sRGB under D65")
    assert hands.colour_at(3, 4)[:3] == srgb_of(cube, BANDS)[4, 3].tolist()


def test_everything_works_by_keyboard(opened, path, cube):
    hands = opened(path)
    press = hands.page.keyboard.press
    hands.click(10, 10)
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    press("ArrowRight")
    assert hands.page.evaluate(outline) == "solid", "the focus is visible"
    for key in ("ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp", "Control+ArrowRight", "]", "PageUp", "["):
        press(key)
    assert hands.status().startswith("x 20, y 9: 560 nm"), "the band is told with the pixel"
    assert hands.band() == "560 nm (band 9 of 16)"
    press("Enter")
    press("Shift+ArrowRight")
    press("Shift+ArrowDown")
    press("Enter")
    table = hands.table()
    np.testing.assert_allclose(table["1: x 20, y 9"], cube[9, 20], atol=STEP)
    wanted = cube[9:11, 20:22].reshape(4, -1).mean(axis=0)
    np.testing.assert_allclose(table["2: x 20 to 21, y 9 to 10, mean"], wanted, atol=STEP)
    hands.page.locator("canvas.view").focus()
    press("PageDown")
    press("PageDown")
    assert hands.band() == "520 nm (band 7 of 16)"
    press("Escape")
    assert list(hands.table()) == ["wavelength (nm)"]
    assert hands.page.locator("#pin").is_disabled()


def test_pinned_spectra_differ_in_colour_dash_and_mark(opened, path):
    hands = opened(path)
    for x in range(6):
        hands.click(4 * x, 5)
        hands.page.locator("#pin").click()
    hands.settle()
    drawn = hands.page.evaluate(
        """[...document.querySelectorAll("#plot .series")].slice(1).map(g => [g.getAttribute("stroke"),
          g.querySelector("polyline").getAttribute("stroke-dasharray"), g.querySelector(".mark")
          .getAttribute("d").replace(/^M[^a-zA-Z]*/, "")])"""
    )
    assert [len({one[i] for one in drawn}) for i in range(3)] == [6, 6, 6]
    hands.page.get_by_role("button", name="Remove 2: x 4, y 5").click()
    hands.settle()
    names = hands.page.locator("#legend li").all_inner_texts()
    assert [re.sub("\\s*\u00d7", "", n) for n in names][1:] == [
        f"{i + 1}: x {4 * i}, y 5" for i in (0, 2, 3, 4, 5)
    ]


def test_the_csv_holds_the_plotted_values(opened, path, cube):
    hands = opened(path)
    hands.click(2, 3)
    hands.page.keyboard.press("Enter")
    hands.drag((4, 4), (6, 9))
    table = hands.table()
    with hands.page.expect_download() as download:
        hands.page.locator("#download").click()
    assert download.value.suggested_filename == "scene-spectra.csv"
    text = Path(download.value.path()).read_text("utf-8")
    head, *rows = csv.reader(io.StringIO(text))
    assert dict(zip(head, np.array(rows, dtype=float).T.tolist(), strict=True)) == table
    hands.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    hands.page.locator("#copy").click()
    hands.page.get_by_text("Copied as CSV.").wait_for()
    assert hands.page.evaluate("navigator.clipboard.readText()") == text


def test_zooming_keeps_the_pixel_under_the_pointer(opened, path, cube):
    hands = opened(path)
    where = hands.point(25, 6)
    hands.page.mouse.move(*where)
    hands.page.mouse.wheel(0, -400)
    hands.settle()
    assert hands.page.locator("#zoom").inner_text() == "272 %"
    hands.page.mouse.click(*where)
    np.testing.assert_allclose(hands.table()["x 25, y 6"], cube[6, 25], atol=STEP)
    hands.page.locator("label", has_text="Move").click()
    hands.page.mouse.move(*where)
    hands.page.mouse.down()
    hands.page.mouse.move(where[0] - 60, where[1] + 30, steps=3)
    hands.page.mouse.up()
    hands.page.locator("label", has_text="Select").click()
    hands.page.mouse.click(where[0] - 60, where[1] + 30)
    assert "x 25, y 6" in hands.table(), "the image went along with the pointer"
    hands.page.locator("#fit").click()
    hands.click(1, 22)
    assert "x 1, y 22" in hands.table()


def test_a_click_in_the_plot_chooses_the_band(opened, path):
    hands = opened(path)
    box = hands.page.locator("#plot").bounding_box()
    hands.page.mouse.click(box["x"] + box["width"] - 16, box["y"] + 60)
    assert hands.band() == "700 nm (band 16 of 16)"


def test_a_large_cube_keeps_every_third_pixel_and_says_so(opened, tmp_path):
    cube = made_cube(1, (50, 70, 4))
    with pytest.warns(UserWarning, match="shows one in 3"):
        write_page(tmp_path / "page.html", [NamedCube("wide", cube, BANDS.select(range(4)))], max_side=24)
    hands = opened(tmp_path / "page.html", (17, 24))
    assert "one in 3 of the 50 rows and 70 columns" in hands.page.locator(".notes").inner_text()
    hands.click(23, 16)
    np.testing.assert_allclose(hands.table()["x 69, y 48"], cube[48, 69], atol=STEP)


def test_names_are_shown_as_text_and_nothing_of_them_runs(opened, browser_page, tmp_path, cube):
    name = "<img src=x onerror=alert(1)>.hdr"
    title = "</script><script>alert(2)</script>{{ 7 * 7 }}"
    ran = []
    browser_page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    other = NamedCube("\"><svg onload=alert(3)> <!-- '", cube / 2, BANDS, "<b>W</b>")
    photo = np.zeros((*cube.shape[:2], 3), np.uint8)
    write_page(tmp_path / "page.html", [NamedCube(name, cube, BANDS), other], photo, title,
               photo_name="<script>alert(4)</script>")  # fmt: skip
    hands = opened(tmp_path / "page.html")
    hands.click(3, 3)
    assert f"x 3, y 3, A: {name}" in hands.table()
    assert hands.page.locator("h1").inner_text() == title == hands.page.title()
    assert hands.page.locator("figcaption .name").all_inner_texts() == [
        f"A: {name}", f"B: {other.name}", "Error of B", "<script>alert(4)</script>"
    ]  # fmt: skip
    assert hands.page.locator("img[src=x], svg[onload], b").count() == 0
    assert hands.page.locator("#plot .name-y").inner_html().endswith("&lt;b&gt;W&lt;/b&gt;")
    assert ran == []


def test_bands_without_wavelengths_go_by_number(opened, tmp_path, cube):
    with pytest.warns(UserWarning, match="No wavelengths in mute"):
        write_page(tmp_path / "page.html", [NamedCube("mute", cube)])
    hands = opened(tmp_path / "page.html")
    assert "bands are shown by number" in hands.page.locator(".notes").inner_text()
    assert hands.page.locator(".how").inner_text() == "bands 13, 9, 3 as red, green, blue"
    hands.click(4, 2)
    table = hands.table()
    assert table["band number"] == list(range(1, 17))
    np.testing.assert_allclose(table["x 4, y 2"], cube[2, 4], atol=STEP)
    assert hands.band() == "9 of 16"
