"""Metamers: the colour stays, the spectrum does not, and it stays a possible reflectance."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.colour.responses import STANDARD
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.perturb import DoesNotApplyError, perturb
from hsrzoo.perturb.metamer import _steps, largest_component, modulation
from hsrzoo.spec import PerturbationContext
from make_fixtures import smooth_cube

INFRARED = BandSet.of([*range(400, 1000, 20), *range(990, 2400, 60)])
"""Beyond what a camera sees, and not sorted."""


def made_up(bands: BandSet = VISIBLE_31, response: str = "nikon-d5100", bits: int | None = 8):
    """A scene of smooth spectra and how its RGB was made."""
    cube = smooth_cube(bands, 40, 50, seed=5)
    rgb = Camera.named(response).render(cube, bands, bits=bits)
    return Scene("made-up", rgb, cube), PerturbationContext(bands, Camera.named(response), bits)


def angle_and_rmse(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean spectral angle in degrees by a loop over pixels, and the RMSE."""
    a, b = (cube.astype(np.float64).reshape(len(cube), -1).T for cube in (a, b))
    angles = [
        np.degrees(np.arccos(y @ p / np.sqrt(y @ y) / np.sqrt(p @ p))) for y, p in zip(a, b, strict=True)
    ]
    return float(np.mean(angles)), float(np.sqrt(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("strength", ["0.5", "1"])
@pytest.mark.parametrize("bands", [VISIBLE_31, INFRARED], ids=["visible", "infrared"])
@pytest.mark.parametrize("response", STANDARD)
def test_the_picture_stays_and_the_spectra_change(bands, response, strength):
    scene, context = made_up(bands, response)
    new, info = perturb("metamer", strength, scene, 0, 8, context)
    assert np.abs(new.rgb - scene.rgb).max() * 255 <= 1.001
    assert np.array_equal(new.rgb, Camera.named(response).render(new.cube, bands))
    assert new.cube.min() >= 0 and new.cube.max() <= 1
    angle, rmse = angle_and_rmse(scene.cube, new.cube)
    assert info["spectral_angle"] == pytest.approx(angle, rel=1e-4) and angle > 2
    assert info["rmse"] == pytest.approx(rmse, rel=1e-6) and rmse > 0.01
    assert info["rgb_steps"] <= 1 and info["no_room"] == 0


def test_the_camera_sees_nothing_of_the_change():
    scene, context = made_up(bits=None)
    new, info = perturb("metamer", "1", scene, 0, None, context)
    matrix = Camera.named("nikon-d5100").matrix(VISIBLE_31)
    change = new.cube.astype(np.float64) - scene.cube
    assert np.abs(np.tensordot(matrix, change, axes=1)).max() < 1e-6
    assert np.abs(change).max() > 0.1 and info["rgb_steps"] < 1e-3


def test_strength_one_goes_to_the_limit_and_half_of_it_half_way():
    scene, context = made_up()
    half, full = (perturb("metamer", s, scene, 0, 8, context)[0].cube for s in ("0.5", "1"))
    touches = (full < 1e-6).any(axis=0) | (full > 1 - 1e-6).any(axis=0)
    assert touches.all()
    assert_allclose(half, (scene.cube.astype(np.float64) + full) / 2, atol=1e-6)
    assert half.min() > 0


def test_metamers_are_as_smooth_over_wavelength_and_space_as_the_scene():
    scene, context = made_up()
    change = perturb("metamer", "1", scene, 0, 8, context)[0].cube.astype(np.float64) - scene.cube
    # Features of 70 nm and more have small second differences at 10 nm; noise has a ratio of 1.7.
    ratio = np.sqrt(np.mean(np.diff(change, 2, axis=0) ** 2) / np.mean(np.diff(change, axis=0) ** 2))
    assert ratio < 1
    for axis in (1, 2):
        assert np.sqrt(np.mean(np.diff(change, axis=axis) ** 2)) < 0.35 * change.std()


def test_scenes_and_seeds_have_metamers_of_their_own():
    scene, context = made_up()
    found = {
        hashlib.sha256(
            perturb("metamer", "1", Scene(name, scene.rgb, scene.cube), seed, 8, context)[0].cube.tobytes()
        ).hexdigest()
        for name in ("a", "b")
        for seed in (0, 1)
    }
    assert len(found) == 4


def test_the_modulation_is_a_smooth_function_of_wavelength_in_any_order():
    shuffled = BandSet.of(np.random.default_rng(0).permutation(VISIBLE_31.centres_nm).tolist())
    sorted_curve = modulation(VISIBLE_31, np.random.default_rng(3))
    curve = modulation(shuffled, np.random.default_rng(3))
    assert_allclose(curve[np.argsort(shuffled.centres_nm)], sorted_curve, atol=1e-12)
    assert sorted_curve.std() > 0.1


def test_the_component_agrees_with_a_projection_pixel_by_pixel():
    matrix = Camera.named("nikon-d5100").matrix(VISIBLE_31)
    curve = modulation(VISIBLE_31, np.random.default_rng(1))
    spectra = smooth_cube(VISIBLE_31, 5, 6, seed=2).reshape(31, -1).astype(np.float64)
    found = largest_component(spectra, matrix, curve)
    for y, component in zip(spectra.T, found.T, strict=True):
        v = y * (1 - y)
        _, _, rows = np.linalg.svd(matrix * v)
        null = rows[3:]  # an orthonormal base of what M diag(v) maps to 0
        expected = v * (null.T @ (null @ curve))
        factors = [(1 - y[c]) / d if d > 0 else -y[c] / d for c, d in enumerate(expected)]
        assert_allclose(component, min(factors) * expected, atol=1e-9)


def test_black_white_and_saturated_spectra_have_no_room():
    spectra = np.full((31, 5), 0.5)
    spectra[:, 0] = 0
    spectra[:, 1] = 1
    spectra[:, 2] = np.nan
    spectra[:, 3] = 0
    spectra[[4, 9, 20], 3] = 0.5  # three free bands, and three colours to keep
    matrix = Camera.named("nikon-d5100").matrix(VISIBLE_31)
    component = largest_component(spectra, matrix, modulation(VISIBLE_31, np.random.default_rng(1)))
    assert np.all(component[:, :4] == 0) and np.abs(component[:, 4]).max() > 0.1


def test_values_without_data_and_outside_the_range_stay():
    scene, context = made_up()
    cube = scene.cube.copy()
    cube[:, 2, 3] = np.nan  # a pixel
    cube[5, 7, 7], cube[6, 8, 8] = -0.01, 1.2
    cube[:, 9, 9] = 0
    cube[30] = np.nan  # a band at the foot of the response
    rgb = Camera.named("nikon-d5100").render(cube, VISIBLE_31)
    new, info = perturb("metamer", "1", Scene("holes", rgb, cube), 0, 8, context)
    assert np.array_equal(np.isnan(new.cube), np.isnan(cube))
    assert (new.cube[5, 7, 7], new.cube[6, 8, 8]) == (cube[5, 7, 7], cube[6, 8, 8])
    assert np.nanmax(np.abs(new.cube[:, 7, 7] - cube[:, 7, 7])) > 0.01
    assert np.all(new.cube[:30, 9, 9] == 0)
    assert np.all(new.rgb[:, 2, 3] == 0) and info["rgb_steps"] <= 1
    assert info["no_room"] == pytest.approx(1 / (40 * 50 - 1))  # the black one, of the pixels with data
    assert np.isfinite(info["spectral_angle"]) and np.isfinite(info["rmse"])


def test_images_that_the_camera_did_not_render_have_no_row():
    scene, context = made_up()
    with pytest.raises(DoesNotApplyError, match="a photograph"):
        perturb("metamer", "1", scene, 0, 8)
    other = Scene("jpeg", np.clip(scene.rgb + np.float32(5 / 255), 0, 1), scene.cube)
    with pytest.raises(DoesNotApplyError, match=r"not what nikon-d5100 renders.*5\.0 steps"):
        perturb("metamer", "1", other, 0, 8, context)


def test_one_step_of_8_bits_is_one_at_every_level():
    levels = (np.arange(256) / 255).astype(np.float32)
    assert [_steps(a, b) for a, b in pairwise(levels)] == [1] * 255
    assert [_steps(b, a) for a, b in zip(levels[:-2], levels[2:], strict=True)] == [2] * 254


@pytest.mark.parametrize("step", [-1, 1])
def test_images_one_step_away_from_the_rendering_are_still_renderings(step):
    greys = np.linspace(0.01, 0.99, 900, dtype=np.float32)
    cube = np.broadcast_to(greys, (31, 1, 900)).copy()
    context = made_up()[1]
    rendered = np.rint(Camera.named("nikon-d5100").render(cube, VISIBLE_31) * 255)
    assert set(rendered[0, 0]) == set(range(3, 253))
    rgb = ((rendered + step) / 255).astype(np.float32)
    new, _ = perturb("metamer", "1", Scene("greys", rgb, cube), 0, 8, context)
    assert not np.array_equal(new.cube, cube)


def test_the_scene_itself_is_left_unchanged():
    scene, context = made_up()
    rgb, cube = scene.rgb.copy(), scene.cube.copy()
    perturb("metamer", "1", scene, 0, 8, context)
    assert np.array_equal(rgb, scene.rgb) and np.array_equal(cube, scene.cube)


def test_metamers_of_real_scenes(data_root):
    for name, options in (("cave", {}), ("enmap", {})):
        dataset = open_dataset(name, data_root, **options)
        split = dataset.splits()[-1]
        scene = dataset.load(split, dataset.scenes(split)[0])
        window = np.s_[:, 100:260, 100:260] if name == "cave" else np.s_[:]
        scene = Scene(scene.name, scene.rgb[window], scene.cube[window])
        context = PerturbationContext(dataset.bands, dataset.camera, dataset.rgb_bits)
        new, info = perturb("metamer", "1", scene, 0, dataset.rgb_bits, context)
        assert np.abs(new.rgb - scene.rgb).max() * 255 <= 1.001
        assert np.nanmin(new.cube) >= 0 and np.nanmax(new.cube) <= 1
        assert np.array_equal(np.isnan(new.cube), np.isnan(scene.cube))
        assert info["spectral_angle"] > 5 and info["no_room"] < 0.01
