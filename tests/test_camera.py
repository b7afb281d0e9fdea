"""Rendering against loops in float64, the shipped tables, the noise model."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hsrzoo.camera
from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera, jpeg_round_trip
from hsrzoo.colour.responses import STANDARD
from hsrzoo.colour.srgb import illuminant
from hsrzoo.errors import BandsError, InputError, UnknownNameError


def test_tables_hold_published_values():
    wavelengths, xyz = Camera.named("cie-1931").table
    at = {int(w): row for w, row in zip(wavelengths, xyz, strict=True)}
    assert at[555].tolist() == [0.5120501, 1.0, 0.0057499990]  # CIE 15, y peaks at 555 nm
    assert at[450].tolist() == [0.3362, 0.038, 1.77211]
    wavelengths, power = illuminant("D65")
    assert power[wavelengths.tolist().index(560)] == 100.0
    assert power[wavelengths.tolist().index(460)] == 117.812


def test_every_table_names_its_source():
    for file in (Path(hsrzoo.camera.__file__).parent / "data").glob("*.csv"):
        assert file.read_text().startswith("# "), file
        assert "nm" in file.read_text().splitlines()[1] or file.stem == "camera-names", file


def test_tables_agree_with_the_package_they_come_from():
    # a module of it: the folder tests/colour would count as the package
    pytest.importorskip("colour.characterisation", reason="needs colour-science")
    colour = pytest.importorskip("colour")
    pairs = {
        "nikon-d5100": colour.MSDS_CAMERA_SENSITIVITIES["Nikon 5100 (NPL)"],
        "sigma-sdmerill": colour.MSDS_CAMERA_SENSITIVITIES["Sigma SDMerill (NPL)"],
        "cie-1931": colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"],
        "cie-1964": colour.MSDS_CMFS["CIE 1964 10 Degree Standard Observer"],
    }
    for name, table in pairs.items():
        wavelengths, values = Camera.named(name).table
        assert np.array_equal(wavelengths, table.wavelengths)
        assert np.array_equal(values, table.values)


@pytest.mark.parametrize("name", ["cie-1931", "nikon-d5100", "sigma-sdmerill"])
def test_matrix_equals_a_loop_over_the_table(name):
    file = Path(hsrzoo.camera.__file__).parent / "data" / f"{name}.csv"
    rows = [[float(x) for x in row] for row in list(csv.reader(file.open()))[2:]]
    expected = np.zeros((3, 31))
    for band, centre in enumerate(VISIBLE_31.centres_nm):
        for row in rows:  # the grid's centres are rows of every table
            if row[0] == centre:
                expected[:, band] = row[1:]
    for channel in range(3):
        expected[channel] /= sum(expected[channel])
    assert np.allclose(Camera.named(name).matrix(VISIBLE_31), expected, rtol=0, atol=1e-15)


def test_render_equals_a_float64_loop():
    cube = np.random.default_rng(3).random((31, 4, 5), dtype=np.float32)
    camera = Camera.named("nikon-d5100")
    matrix = camera.matrix(VISIBLE_31)
    rgb = camera.render(cube, VISIBLE_31, exposure=1.5)
    for channel in range(3):
        for i in range(4):
            for j in range(5):
                value = 1.5 * sum(matrix[channel, c] * float(cube[c, i, j]) for c in range(31))
                assert rgb[channel, i, j] == np.float32(round(min(max(value, 0), 1) * 255) / 255)
    assert rgb.dtype == np.float32 and rgb.shape == (3, 4, 5)


def test_a_cube_of_ones_is_white_and_never_gains_by_image():
    for name in STANDARD:
        ones = Camera.named(name).render(np.ones((31, 2, 2), np.float32), VISIBLE_31)
        dim = Camera.named(name).render(np.full((31, 2, 2), 0.2, np.float32), VISIBLE_31)
        assert np.all(ones == 1) and np.all(dim == np.float32(51 / 255))


def test_sixteen_and_unrounded_bits():
    cube = np.random.default_rng(1).random((31, 6, 6), dtype=np.float32)
    camera = Camera.named("cie-1964")
    exact = camera.render(cube, VISIBLE_31, bits=None).astype(np.float64)
    fine = camera.render(cube, VISIBLE_31, bits=16).astype(np.float64)
    assert np.allclose(fine * 65535, np.rint(fine * 65535), atol=5e-3)
    assert np.abs(fine - exact).max() <= 0.5 / 65535 + 1e-7
    assert not np.allclose(exact * 255, np.rint(exact * 255), atol=1e-3)


def test_bands_measured_twice_count_once():
    once, twice = BandSet.of([450, 500, 550, 600, 650]), BandSet.of([450, 500, 550, 600, 650, 550, 600])
    camera = Camera.named("nikon-d5100")
    single, double = camera.matrix(once), camera.matrix(twice)
    assert np.allclose(double[:, [2, 3]] + double[:, [5, 6]], single[:, [2, 3]])
    assert np.allclose(double[:, [0, 1, 4]], single[:, [0, 1, 4]])


def test_bands_outside_the_table_weigh_nothing_and_none_inside_is_an_error():
    camera = Camera.named("sigma-sdmerill")  # 400-680 nm
    matrix = camera.matrix(BandSet.of([390, 450, 550, 650, 700, 1200]))
    assert np.all(matrix[:, [0, 4, 5]] == 0) and np.allclose(matrix.sum(axis=1), 1)
    with pytest.raises(BandsError, match="sigma-sdmerill"):
        camera.matrix(BandSet.of([1000, 1100]))


def test_noise_has_the_mean_and_variance_of_the_model_and_follows_its_seed():
    cube = np.full((31, 200, 200), 0.25, np.float32)
    camera = Camera.named("nikon-d5100")

    def shot(seed):
        generator = np.random.default_rng(seed)
        return camera.render(cube, VISIBLE_31, bits=None, full_well=1000, read_noise=5, generator=generator)

    rgb = shot(0)
    variance = (0.25 * 1000 + 5**2) / 1000**2  # Poisson + Gaussian, in units of full scale
    assert rgb.mean() == pytest.approx(0.25, abs=4 * np.sqrt(variance / rgb.size))
    assert rgb.var() == pytest.approx(variance, rel=0.05)
    assert np.array_equal(rgb, shot(0)) and not np.array_equal(rgb, shot(1))


def test_jpeg_is_what_pillow_decodes():
    cube = np.random.default_rng(5).random((31, 16, 24), dtype=np.float32)
    camera = Camera.named("nikon-d5100")
    plain = np.rint(camera.render(cube, VISIBLE_31) * 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(plain).save(buffer, "JPEG", quality=65, subsampling="4:2:0")
    decoded = np.asarray(Image.open(buffer)).transpose(2, 0, 1)
    assert np.array_equal(np.rint(camera.render(cube, VISIBLE_31, jpeg=65) * 255), decoded)


def test_impossible_requests_are_refused():
    camera, cube = Camera.named("nikon-d5100"), np.zeros((31, 2, 2), np.float32)
    with pytest.raises(InputError, match="Generator"):
        camera.render(cube, VISIBLE_31, full_well=1000)
    with pytest.raises(InputError, match="full_well"):
        camera.render(cube, VISIBLE_31, read_noise=2, generator=np.random.default_rng(0))
    with pytest.raises(InputError, match=r"\(31, H, W\)"):
        camera.render(cube.transpose(1, 2, 0), VISIBLE_31)
    with pytest.raises(InputError, match="8 bits"):
        camera.render(cube, VISIBLE_31, bits=16, jpeg=90)
    with pytest.raises(InputError, match="quality"):
        jpeg_round_trip(cube[:3], 0)
    with pytest.raises(UnknownNameError, match="nikon-d5100"):
        Camera.named("nikon-d510")
    with pytest.raises(UnknownNameError, match="D65"):
        illuminant("D6")


def test_pixels_without_data_are_black_and_their_neighbours_as_they_were():
    bands = BandSet.regular(400, 900, 10)
    cube = np.random.default_rng(0).random((len(bands), 4, 5))
    camera = Camera.named("nikon-d5100")
    expected = camera.render(cube, bands)
    cube[15, 1, 2] = np.nan  # 550 nm
    cube[45, 3, 3] = np.nan  # 850 nm, which no channel sees
    expected[:, 1, 2] = 0
    assert np.array_equal(camera.render(cube, bands), expected)


def test_pixels_without_data_stay_black_under_noise_and_jpeg():
    bands = BandSet.regular(400, 700, 10)
    cube = np.full((31, 16, 16), 0.8)
    cube[:, 4, 4] = np.nan
    rgb = Camera.named("nikon-d5100").render(
        cube, bands, full_well=100, read_noise=9, jpeg=50, generator=np.random.default_rng(0)
    )
    assert not rgb[:, 4, 4].any() and np.isfinite(rgb).all() and rgb.mean() > 0.6


def test_a_gap_at_the_foot_of_a_response_counts_as_0():
    bands = BandSet.regular(380, 780, 5)
    camera = Camera.named("nikon-d5100")
    weights = camera.matrix(bands).max(axis=0)
    cube = np.full((len(bands), 1, 2), 0.5)
    cube[(weights < 1e-3), 0, 0] = np.nan
    assert weights[weights < 1e-3].any()
    rgb = camera.render(cube, bands, bits=None)
    assert rgb[:, 0, 0] == pytest.approx(0.5, abs=0.005) and rgb[:, 0, 0].max() < 0.5
    assert rgb[:, 0, 1] == pytest.approx(0.5)
