"""Two cubes side by side: both spectra in one plot, and the errors of the second."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

from hsrzoo.errors import BandsError, InputError
from hsrzoo.viewer import NamedCube, write_page
from hsrzoo.viewer.pack import error_maps

from .conftest import BANDS, STEP, made_cube


@pytest.fixture
def pair(cube: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A cube and another, far off at one pixel, without data in one band of another pixel."""
    other = cube + 0.1 * made_cube(1) - 0.05
    other[5, 6] = 1 - cube[5, 6]
    other[20, 30, 4] = np.nan
    return cube, other


def numpy_errors(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """RMSE and angle in degrees of two spectra, by their definitions."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both].astype(np.float64), b[both].astype(np.float64)
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return np.sqrt(np.mean((a - b) ** 2)), np.degrees(np.arccos(cosine))


def shown_errors(status: str) -> list[float]:
    found = re.search(r"RMSE (?:mean )?(\S+); Spectral angle (?:mean )?(\S+)°", status)
    assert found, status
    return [float(found[1]), float(found[2])]


def test_both_spectra_and_the_errors_of_a_pixel(opened, tmp_path, pair):
    a, b = pair
    write_page(tmp_path / "page.html", [NamedCube("truth", a, BANDS), NamedCube("guess", b, BANDS)])
    hands = opened(tmp_path / "page.html")
    spread = np.nanmax(b) - np.nanmin(b)
    # Clicked in A, in B and in the error map: the cursor is one.
    for panel, (x, y) in enumerate(((6, 5), (30, 20), (13, 2))):
        hands.click(x, y, panel)
        table = hands.table()
        np.testing.assert_allclose(table[f"x {x}, y {y}, A: truth"], a[y, x], atol=STEP)
        np.testing.assert_allclose(table[f"x {x}, y {y}, B: guess"], b[y, x], atol=STEP * spread)
        rmse, angle = shown_errors(hands.status())
        wanted = numpy_errors(a[y, x], b[y, x])
        assert rmse == pytest.approx(wanted[0], abs=STEP)
        assert angle == pytest.approx(wanted[1], abs=90 * STEP)
    dashes = hands.page.locator("#plot .series polyline").evaluate_all(
        "lines => lines.map(l => l.getAttribute('stroke-dasharray'))"
    )
    assert (dashes[0], dashes[-1]) == ("", "6 4")


def test_the_error_maps_have_the_colours_of_their_scale(opened, tmp_path, pair):
    a, b = pair
    write_page(tmp_path / "page.html", [NamedCube("truth", a, BANDS), NamedCube("guess", b, BANDS)])
    hands = opened(tmp_path / "page.html")
    hands.click(0, 0)
    for index, name in enumerate(("RMSE", "Spectral angle")):
        hands.page.locator("figure label", has_text=name).click()
        errors = np.array([[numpy_errors(p, q)[index] for p, q in zip(*rows, strict=True)]
                           for rows in zip(a, b, strict=True)])  # fmt: skip
        top = np.sort(errors.ravel())[int(np.ceil(0.995 * errors.size)) - 1]
        hands.settle()
        low, high = hands.page.locator("figure[data-kind=error] .bar span").all_inner_texts()
        assert low == "0"
        assert float(high.strip("≥ ")) == pytest.approx(top, rel=5e-3)
        assert hands.colour_at(6, 5, 2)[:3] == [254, 232, 56], "the worst pixel has the last colour"
        x, y = 20, 12
        ramp = hands.page.evaluate(
            """share => [...document.querySelector("figure[data-kind=error] .bar canvas").getContext("2d")
                 .getImageData(Math.round(255 * share), 0, 1, 1).data]""",
            errors[y, x] / top,
        )
        assert hands.colour_at(x, y, 2) == pytest.approx(ramp, abs=3)


def test_errors_over_all_pixels_are_told(opened, tmp_path, pair):
    a, b = pair
    write_page(tmp_path / "page.html", [NamedCube("truth", a, BANDS), NamedCube("guess", b, BANDS)])
    hands = opened(tmp_path / "page.html")
    both = np.isfinite(b)
    rmse = np.sqrt(np.mean((a[both].astype(np.float64) - b[both]) ** 2))
    angles = [numpy_errors(p, q)[1] for p, q in zip(a.reshape(-1, len(BANDS)), b.reshape(-1, len(BANDS)),
                                                    strict=True)]  # fmt: skip
    wanted = f"RMSE {rmse:.4g}, mean spectral angle {np.mean(angles):.3g}°"
    assert hands.page.locator("header p").inner_text().endswith(wanted)


MADE = {"model": "net.<i>one</i>", "training_data": "pairs", "cube_values": "reflectance"}


def test_cubes_of_models_tell_their_origin_and_mark_what_is_no_reflectance(opened, tmp_path, pair):
    """Of A's first row, shown as one band, half lies below 0 and a quarter above 1."""
    a, b = pair[0].copy(), np.clip(pair[0], 0, 1)
    a[0, :16], a[0, 16:24], a[0, 24:28], a[0, 28:] = -0.25, 1.5, 0, 1
    with pytest.warns(UserWarning, match=r'^Values of a: 2.1 % below 0, 1 % above the white. "One band"'):
        write_page(
            tmp_path / "page.html",
            [NamedCube("a", a, BANDS, facts=MADE), NamedCube("b", b, BANDS, facts=MADE)],
        )
    hands = opened(tmp_path / "page.html")
    page = hands.page
    one, two = page.locator(".origins div").all_inner_texts()
    assert one == "A: a Model: net.<i>one</i>; training data: pairs; values: reflectance"
    assert two.startswith("B: b ")
    assert page.locator("figure[data-kind=error] .name").inner_text() == "Difference"
    page.locator("label", has_text="One band").click()
    hands.settle()
    assert page.locator(".outside").all_inner_texts() == [
        "below 0: 2.1 %\nabove the white, 1: 1 %", "below 0: 0 %\nabove the white, 1: 0 %",
    ]  # fmt: skip
    assert hands.colour_at(3, 0)[:3] == [86, 180, 233] and hands.colour_at(20, 0)[:3] == [213, 94, 0]
    assert hands.colour_at(26, 0)[:3] == [0, 0, 0] and hands.colour_at(30, 0)[:3] == [255, 255, 255]
    before = page.viewport_size
    for width in (390, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        hands.settle()
        assert page.evaluate("document.documentElement.scrollWidth") == width
    used, height = page.evaluate(
        "(c => [c.clientWidth, c.clientHeight])(document.querySelector('canvas.view'))"
    )
    assert used / height == pytest.approx(32 / 24, rel=0.01), "the picture fills its panel"
    page.set_viewport_size(before)


@pytest.mark.parametrize("facts", [({}, {}), ({}, MADE), (MADE, {})])
def test_the_error_is_that_of_b_unless_models_made_both(tmp_path, pair, facts):
    cubes = [NamedCube(n, c, BANDS, facts=f) for n, c, f in zip("ab", pair, facts, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_page(tmp_path / "page.html", cubes)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert ">Error of B<" in text and "; error of B: RMSE" in text and "<i>one" not in text


def test_error_maps_of_special_spectra():
    one = np.zeros((1, 5, 3), np.float32)
    two = np.zeros((1, 5, 3), np.float32)
    one[0, 0], two[0, 0] = (1, 0, 0), (0, 2, 0)
    one[0, 1], two[0, 1] = (1, 1, 1), (1, 1, 1 + 1e-6)
    one[0, 2], two[0, 2] = (0, 0, 0), (3, 4, 0)
    one[0, 3], two[0, 3] = (np.nan,) * 3, (1, 1, 1)
    one[0, 4], two[0, 4] = (1, np.nan, 1), (2, 1, np.inf)
    found = error_maps(one, two)
    wanted = [np.sqrt(5 / 3), 1e-6 / np.sqrt(3), 5 / np.sqrt(3), np.nan, 1]
    np.testing.assert_allclose(found.rmse[0], wanted, rtol=0.05)
    assert found.angle[0, 0] == pytest.approx(90)
    assert found.angle[0, 1] == pytest.approx(np.degrees(np.sqrt(2) / 3 * np.float32(1e-6)), rel=0.1)
    assert np.isnan(found.angle[0, 2:]).all(), "no angle with a spectrum of zeros, or of one band"
    assert found.total_rmse == pytest.approx(np.sqrt((5 + 25 + 1) / 10), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda c: c[:, :-1], InputError, "24 rows x 31 columns"),
        (lambda c: c[..., :-1], BandsError, "15 bands"),
        (lambda c: c[..., 0], InputError, "shape"),
        (lambda c: np.full_like(c, np.nan), InputError, "no value is finite"),
    ],
)
def test_cubes_that_do_not_fit_are_refused_before_writing(tmp_path, cube, change, error, told):
    other = change(cube)
    bands = BANDS.select(range(other.shape[-1])) if other.ndim == 3 else BANDS
    with pytest.raises(error, match=told):
        write_page(tmp_path / "page.html", [NamedCube("one", cube, BANDS), NamedCube("two", other, bands)])
    assert list(tmp_path.iterdir()) == []


def test_other_wavelengths_are_refused_and_unknown_ones_taken_over(tmp_path, cube):
    moved = type(BANDS)(tuple(c + 5 for c in BANDS.centres_nm))
    with pytest.raises(BandsError, match="differ"):
        write_page(tmp_path / "page.html", [NamedCube("one", cube, BANDS), NamedCube("two", cube, moved)])
    with pytest.warns(UserWarning, match="two has no wavelengths"):
        write_page(tmp_path / "page.html", [NamedCube("one", cube, BANDS), NamedCube("two", cube)])
    assert (tmp_path / "page.html").is_file()
