"""The demo as a process of its own, used in a real browser: what is shown is hsrzoo's own cube."""

from __future__ import annotations

import csv
import io
import re
import signal
import socket
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import hsrzoo
from browser import chromium
from files_as_modules import import_file
from forks import Forks, Running
from hsrzoo.colour.srgb import encode_srgb
from hsrzoo.io import read_photo
from hsrzoo.prediction.quicklook import srgb_of
from waiting import LONG

if TYPE_CHECKING:
    from playwright.sync_api import Page

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"
NATURAL_SIZE = "e => e.complete ? [e.naturalWidth, e.naturalHeight] : []"
PATIENCE = 1000 * LONG
"""Milliseconds for what takes a second, or ten, where nothing else runs."""


@pytest.fixture
def outside() -> Iterator[socket.socket]:
    """Where the demo would have to go for anything that is not on this machine: nobody may come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.fixture
def address(tmp_path: Path, outside: socket.socket, forks: Forks) -> Iterator[str]:
    """The demo, started on a free port; Ctrl-C at the end takes its files away."""
    pytest.importorskip("gradio", reason="needs gradio: hsrzoo[demo]")
    chromium()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    proxy = f"http://127.0.0.1:{outside.getsockname()[1]}"
    env = {"TMPDIR": str(tmp_path), "NO_PROXY": "127.0.0.1,localhost"}
    env |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy)
    log = tmp_path / "log"
    with forks.running(str(DEMO), "--port", port, cwd=tmp_path, env=env, log=log) as demo:
        wait_for(f"http://127.0.0.1:{port}", demo, log)
        yield f"http://127.0.0.1:{port}"
        demo.send_signal(signal.SIGINT)  # Ctrl-C
        demo.wait()
    assert list(tmp_path.glob("hsrzoo-demo-*")) == []  # uploads and cubes are gone


def wait_for(url: str, demo: Running, log: Path) -> None:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        assert demo.poll() is None, log.read_text()
        try:
            with urlopen(url):
                return
        except URLError:
            time.sleep(0.2)
    pytest.fail(f"no answer from the demo: {log.read_text()}")


def photograph(path: Path, height: int, width: int) -> None:
    """A PNG that says sRGB, with smooth colours."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9) * np.cos(y / 7), np.cos(x / 5 + y / 11), np.sin((x + 2 * y) / 13)]
    stored = np.rint(110 + 70 * np.stack(waves, axis=-1)).astype(np.uint8)
    says = PngInfo()
    says.add(b"sRGB", b"\0")
    Image.fromarray(stored).save(path, pnginfo=says)


def upload(page: Page, path: Path) -> None:
    """Put a file in the place of the one that is there."""
    there = page.locator("#photo button[aria-label='Clear']")
    if there.count():
        there.click()
    page.locator("#photo input[type=file]").set_input_files(path)
    page.locator("#photo").get_by_text(path.stem, exact=True).wait_for()


def reconstruct(page: Page, path: Path, size: str) -> str:
    """Upload a photograph and press the button; what the page says of it then."""
    upload(page, path)
    page.get_by_role("button", name="Reconstruct").click()
    page.locator("#words").get_by_text(f"{size} pixels").wait_for()
    return page.locator("#words").inner_text()


def click_at(page: Page, x: int, y: int, width: int, height: int) -> tuple[int, int]:
    """Click on a pixel of the colour rendering; the pixel (x, y) whose spectrum appears, which may be its
    neighbour, as browsers round positions."""
    shown = page.locator("#colour img")
    natural = np.array([width, height])
    # The text of the page is there before its picture, which the browser loads by itself.
    wait_until(page, lambda: shown.evaluate(NATURAL_SIZE) == [width, height])
    box = shown.bounding_box()
    assert box
    sides = np.array([box["width"], box["height"]])
    scale = min(1.0, *(sides / natural))  # it is shown no larger than it is
    left, top = (sides - scale * natural) / 2 + scale * (np.array([x, y]) + 0.5)
    before = page.locator("#csv textarea").input_value()
    shown.click(position={"x": left, "y": top})
    page.wait_for_function("before => document.querySelector('#csv textarea').value !== before", arg=before)
    found = tuple(map(int, re.findall(r"\d+", list(table(page))[-1])))
    assert max(abs(found[0] - x), abs(found[1] - y)) <= 1
    return found


def table(page: Page) -> dict[str, list[float]]:
    """The columns of the CSV."""
    head, *rows = csv.reader(io.StringIO(page.locator("#csv textarea").input_value()))
    return {name: [float(row[i]) for row in rows] for i, name in enumerate(head)}


def plotted(page: Page) -> list[list[float]]:
    """Heights of the plotted lines' points in pixels from the top, line by line."""
    page.wait_for_selector("#plot svg.marks g.mark-line path")
    lines = page.eval_on_selector_all(
        "#plot svg.marks g.mark-line path", "all => all.map(e => e.getAttribute('d'))"
    )
    return [[float(y) for y in re.findall(r"[ML][-\d.e]+,([-\d.e]+)", line)] for line in lines]


def picture(page: Page, part: str) -> np.ndarray:
    """The image that is shown in a part of the page."""
    source = page.locator(f"#{part} img").get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(page.request.get(str(source)).body())).convert("RGB"))


def wait_until(page: Page, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not holds() and time.monotonic() < end:
        page.wait_for_timeout(100)
    assert holds()


@pytest.mark.long  # the demo's own functions: below
def test_spectra_of_an_uploaded_photograph_are_those_of_the_library(
    address: str, page: Page, tmp_path: Path
) -> None:
    photograph(tmp_path / "garden.png", 60, 90)
    model = hsrzoo.load("mcga-s2")
    expected = model(read_photo(tmp_path / "garden.png", model))
    page.set_default_timeout(PATIENCE)
    page.goto(address)

    page.get_by_role("button", name="Reconstruct").click()
    page.get_by_text("Upload a photograph first").wait_for()

    words = reconstruct(page, tmp_path / "garden.png", "60 x 90")
    assert "sRGB by its PNG chunk sRGB" in words and "trained on cave" in words
    assert np.abs(picture(page, "colour").astype(int) - srgb_of(expected.cube, expected.bands)).max() <= 1

    pixels = [click_at(page, x, y, 90, 60) for x, y in [(5, 7), (40, 31), (87, 2)]]
    shown = table(page)
    assert shown.pop("nm") == list(expected.bands.centres_nm)
    truth = {f"x {x}, y {y}": expected.cube[y, x] for x, y in pixels}
    assert list(shown) == list(truth)
    for name, spectrum in truth.items():
        np.testing.assert_allclose(shown[name], spectrum, atol=1e-5)

    wait_until(page, lambda: len(plotted(page)) == len(pixels))
    heights, values = np.ravel(plotted(page)), np.ravel(list(truth.values()))
    slope, offset = np.polyfit(heights, values, 1)
    assert slope < 0  # upwards is more
    assert np.abs(slope * heights + offset - values).max() < 0.01 * np.ptp(values)
    page.screenshot(path=tmp_path / "demo.png", full_page=True)

    page.locator("#band input[type=number]").fill("31")
    page.locator("#band input[type=number]").press("Tab")
    page.locator("#grey").get_by_text("700 nm").wait_for()
    grey = np.rint(encode_srgb(expected.cube[..., 30].clip(0, 1)) * 255)
    assert np.abs(picture(page, "grey")[..., 0] - grey).max() <= 1

    with page.expect_download() as download:
        page.locator("#file").click()
    check_archive(Path(download.value.path()), expected)

    page.get_by_role("button", name="Clear the spectra").click()
    wait_until(page, lambda: page.locator("#csv textarea").input_value() == "")

    check_large_and_broken(page, tmp_path)


def check_archive(path: Path, expected: hsrzoo.models.reconstructor.Reconstruction) -> None:
    """ENVI, as SPy reads it."""
    import spectral

    with zipfile.ZipFile(path) as archive:
        archive.extractall(path.parent / "cube")
    (header,) = (path.parent / "cube").glob("garden.mcga-s2.cave.hdr")
    cube = spectral.envi.open(str(header))
    np.testing.assert_allclose(np.array(cube.load()), expected.cube, atol=1e-5)
    np.testing.assert_allclose(cube.bands.centers, expected.bands.centres_nm)


def check_large_and_broken(page: Page, folder: Path) -> None:
    """A large photograph is averaged in light and the page says so; what cannot be read is told."""
    photograph(folder / "panorama.png", 41, 1030)
    model = hsrzoo.load("linear.cave")
    light = read_photo(folder / "panorama.png", model)
    page.get_by_role("listbox", name="Model").or_(page.get_by_label("Model")).first.click()
    page.get_by_role("option", name="linear.cave").click()
    words = reconstruct(page, folder / "panorama.png", "41 x 1030")
    assert "averaged to 13 x 343" in words
    small = light[:39, :1029].reshape(13, 3, 343, 3, 3).mean(axis=(1, 3))
    x, y = click_at(page, 200, 6, 343, 13)
    expected = model(small).cube[y, x]
    np.testing.assert_allclose(table(page)[f"x {x}, y {y}"], expected, atol=1e-5)

    (folder / "empty.png").touch()
    upload(page, folder / "empty.png")
    page.get_by_role("button", name="Reconstruct").click()
    page.get_by_text("is empty (0 bytes)").wait_for()


def test_a_large_photograph_is_averaged_in_light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", mock.MagicMock())  # importing it takes seconds
    demo = import_file(DEMO)
    model = demo.load("linear.cave")
    photograph(tmp_path / "panorama.png", 41, 1030)
    rgb, note = demo.read(str(tmp_path / "panorama.png"), "auto", model)
    light = read_photo(tmp_path / "panorama.png", model)
    means = light[:39, :1029].reshape(13, 3, 343, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(rgb, means, atol=1e-6)
    assert "sRGB by its PNG chunk sRGB" in note and "averaged to 13 x 343" in note

    result = model(rgb)
    table, text = demo.click(result, None, mock.Mock(index=(200, 6)))
    np.testing.assert_allclose(table["x 200, y 6"], result.cube[6, 200])
    assert text.startswith("nm,") and len(text.splitlines()) == 1 + len(result.bands)
    demo.band(result, 31)
    (grey,) = demo.gr.Image.call_args.args
    np.testing.assert_array_equal(grey[..., 0], np.rint(encode_srgb(result.cube[..., 30].clip(0, 1)) * 255))


def test_the_demo_stays_one_short_file() -> None:
    text = DEMO.read_text()
    assert len(text.splitlines()) <= 150
    assert "share=False" in text
