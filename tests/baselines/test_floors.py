"""The floors against maps that are known and against plain least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hsrzoo
from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import DatasetError
from hsrzoo_baselines import floors
from hsrzoo_baselines.floors import PixelRegression, fit, root_products


class Scenes:
    """Scenes in memory."""

    def __init__(self, *pairs: tuple[np.ndarray, np.ndarray]) -> None:
        self.pairs = pairs

    def scenes(self, split: str) -> list[str]:
        return [str(i) for i in range(len(self.pairs))]

    def load(self, split: str, scene: str) -> Scene:
        rgb, cube = self.pairs[int(scene)]
        return Scene(scene, rgb.astype(np.float32), cube.astype(np.float32))


def fitted(degree: int, *pairs: tuple[np.ndarray, np.ndarray]) -> PixelRegression:
    module = PixelRegression(len(pairs[0][1]), degree)
    fit(module, Scenes(*pairs), "train")
    return module


def random_rgb(seed: int, *size: int) -> np.ndarray:
    return np.random.default_rng(seed).random((3, *size))


def test_linear_recovers_a_known_map():
    matrix = np.random.default_rng(0).random((5, 3)) - 0.3
    pairs = [
        (rgb, np.einsum("cr,rhw->chw", matrix, rgb)) for rgb in (random_rgb(1, 9, 7), random_rgb(2, 4, 4))
    ]
    assert np.allclose(fitted(1, *pairs).matrix.numpy(), matrix, atol=1e-6)


def test_mean_spectrum_weighs_every_pixel_alike():
    small, large = np.zeros((2, 1, 1)), np.stack([np.full((1, 3), 0.4), np.full((1, 3), 0.8)])
    module = fitted(0, (random_rgb(1, 1, 1), small), (random_rgb(2, 1, 3), large))
    cube = module(torch.rand(2, 3, 4, 5))
    assert cube.shape == (2, 2, 4, 5)
    expected = torch.tensor([0.3, 0.6]).view(1, 2, 1, 1).expand_as(cube)
    assert torch.allclose(cube, expected, atol=1e-6)


def test_fit_equals_plain_least_squares_for_any_size_of_pieces(monkeypatch):
    monkeypatch.setattr(floors, "PIXELS_AT_ONCE", 10)
    rgb, cube = random_rgb(1, 8, 9), np.random.default_rng(5).random((4, 8, 9))
    module = fitted(2, (rgb, cube))
    r, g, b = rgb.astype(np.float32).astype(np.float64).reshape(3, -1)
    features = np.stack([r, g, b, np.sqrt(r * g), np.sqrt(r * b), np.sqrt(g * b)], axis=1)
    expected, *_ = np.linalg.lstsq(features, cube.reshape(4, -1).T, rcond=None)
    order = [root_products(2).index(p) for p in
             [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)]]  # fmt: skip
    assert np.allclose(module.matrix.numpy()[:, order], expected.T, atol=2e-5)


@pytest.mark.parametrize(("degree", "count"), [(0, 0), (1, 3), (2, 6), (3, 13), (4, 22)])
def test_number_of_root_products_is_that_of_the_paper(degree, count):
    assert len(root_products(degree)) == count


def test_features_of_one_pixel_have_their_hand_computed_values():
    # Roots of 0.064, 0.125 and 0.008 = (0.4, 0.5, 0.2) cubed, so that all cube roots are plain.
    rgb = torch.tensor([0.064, 0.125, 0.008], dtype=torch.float64).view(1, 3, 1, 1)
    module = PixelRegression(1, 3)
    values = dict(zip(root_products(3), module.features(rgb).flatten().tolist(), strict=True))
    assert values[0, 1, 0] == pytest.approx(0.125)
    assert values[1, 0, 1] == pytest.approx((0.4 * 0.2) ** 1.5)
    assert values[2, 1, 0] == pytest.approx(0.4**2 * 0.5)
    assert values[0, 1, 2] == pytest.approx(0.5 * 0.2**2)
    assert values[1, 1, 1] == pytest.approx(0.4 * 0.5 * 0.2)


@pytest.mark.parametrize("gain", [0.01, 0.5, 3.0])
def test_poly_is_exposure_invariant(gain):
    rgb = random_rgb(3, 12, 12)
    module = fitted(3, (rgb, np.random.default_rng(4).random((6, 12, 12)))).double()
    x = torch.from_numpy(rgb)[None]
    assert torch.allclose(module(gain * x), gain * module(x), rtol=1e-9, atol=1e-12)


def test_poly_fits_what_linear_cannot():
    rgb = random_rgb(3, 12, 12)
    cube = np.sqrt(rgb[:1] * rgb[1:2])
    x = torch.from_numpy(rgb.astype(np.float32))[None]
    error = {d: float((fitted(d, (rgb, cube))(x)[0] - torch.from_numpy(cube)).abs().max()) for d in (1, 3)}
    assert error[3] < 1e-5 < 0.05 < error[1]


def test_grey_scene_gets_finite_coefficients_that_predict_it():
    grey = np.broadcast_to(np.random.default_rng(1).random((1, 6, 6)), (3, 6, 6))
    module = fitted(3, (grey, 0.5 * grey[:2]))
    assert float(module.matrix.abs().max()) < 1
    x = torch.from_numpy(grey.astype(np.float32))[None]
    assert torch.allclose(module(x)[0], 0.5 * x[0, :2], atol=1e-5)


@pytest.mark.parametrize("name", ["mean-spectrum", "linear", "poly"])
def test_bundled_indian_pines_weights_are_those_that_a_fit_gives(name):
    bundled = hsrzoo.load(f"{name}.indian-pines", device="cpu")
    module = floors.build(VISIBLE_31, **bundled.config["arguments"])
    fit(module, open_dataset("indian-pines"), "train")
    assert torch.allclose(bundled.module.matrix, module.matrix, rtol=1e-4, atol=1e-4)


def test_bundled_floors_rank_as_they_should_on_unseen_columns():
    data = open_dataset("indian-pines")
    scene = data.load("test", data.scenes("test")[0])
    rmse = {}
    for name in ("mean-spectrum", "linear", "poly"):
        gap = hsrzoo.load(f"{name}.indian-pines", device="cpu").predict(scene.rgb) - scene.cube
        rmse[name] = float(np.sqrt(np.mean(gap.astype(np.float64) ** 2)))
    assert rmse["poly"] < rmse["linear"] < rmse["mean-spectrum"] / 3


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_every_band_is_fitted_on_all_pixels_that_have_it(degree):
    """Scattered gaps, a scene without one band, and one without any data."""
    random = np.random.default_rng(5)
    rgbs, cubes = [random_rgb(seed, 9, 7) for seed in range(3)], list(random.random((3, 4, 9, 7)))
    cubes[0][random.random((4, 9, 7)) < 0.3] = np.nan
    cubes[1][2] = np.nan
    cubes[2][:] = np.nan
    found = fitted(degree, *zip(rgbs, cubes, strict=True)).matrix
    for band in range(4):
        pixels = [~np.isnan(cube[band]) for cube in cubes]
        rgb = np.concatenate([image[:, own] for image, own in zip(rgbs, pixels, strict=True)], axis=1)
        values = np.concatenate([cube[band, own] for cube, own in zip(cubes, pixels, strict=True)])
        alone = fitted(degree, (rgb[:, None], values[None, None])).matrix
        assert torch.allclose(found[band], alone[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("degree", [0, 3])
def test_gaps_in_one_band_change_no_other(degree):
    rgb, cube = random_rgb(1, 9, 7), np.random.default_rng(5).random((4, 9, 7))
    gaps = cube.copy()
    gaps[1, :2] = np.nan
    complete, found = (fitted(degree, (rgb, c)).matrix for c in (cube, gaps))
    others = [0, 2, 3]
    assert torch.allclose(found[others], complete[others], rtol=1e-5)
    assert not torch.allclose(found[1], complete[1], rtol=1e-3)


@pytest.mark.parametrize(
    ("bands", "message"),
    [([2], r"Some bands of gappy/train .*1 of 4 bands.*550 nm.*Choose bands"),
     ([0, 1, 2, 3], r"No pixel of gappy/train has any data")],
)  # fmt: skip
def test_bands_without_any_data_cannot_be_fitted(bands, message):
    cube = np.random.default_rng(5).random((4, 3, 3))
    cube[bands] = np.nan
    data = Scenes((random_rgb(1, 3, 3), cube))
    data.name, data.bands = "gappy", BandSet((450.0, 500.0, 550.0, 600.0))
    with pytest.raises(DatasetError, match=message):
        fit(PixelRegression(4, 1), data, "train")
