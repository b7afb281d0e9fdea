"""The perceptron on pixels: its formula, and its fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hsrzoo.bands import VISIBLE_31
from hsrzoo.datasets.base import Scene
from hsrzoo.datasets.synthetic import Synthetic
from hsrzoo.errors import DatasetError, InputError
from hsrzoo_baselines.pixel_mlp import FIT, PixelMLP, build, fit

SHORT = replace(FIT, steps=150, batch=128, lr=0.05, augment_share=0.0)


class Gappy(Synthetic):
    """Some values without data, pixels without any, and a band without any where ``band`` says so."""

    def __init__(self, band: int | None = None) -> None:
        super().__init__(VISIBLE_31)
        self.band = band

    def read(self, split: str, scene: str) -> Scene:
        found = super().read(split, scene)
        found.cube[:, :20] = np.nan  # no pixel of the upper rows is drawn
        found.rgb[:, :20] = np.nan
        found.cube[3, :, 7] = np.nan
        if self.band is not None:
            found.cube[self.band] = np.nan
        return found


def fitted(dataset: Synthetic) -> PixelMLP:
    module = build(dataset.bands, width=16)
    fit(module, dataset, "train", SHORT)
    return module


def test_one_pixel_has_its_value_by_the_formula():
    torch.manual_seed(0)
    module = build(VISIBLE_31, width=5).double()
    x = torch.tensor([0.2, 0.5, 0.1], dtype=torch.float64)
    q = 0.2 + 0.5 + 0.1 + 0.003
    h = torch.cat([x / q, torch.tensor([np.log(q) / 4])])
    first, second, last = module.layers
    mlp = last(F.gelu(second(F.gelu(first(h)))))
    expected = q * mlp + module.linear.weight @ x
    assert torch.allclose(module(x.view(1, 3, 1, 1)).flatten(), expected, rtol=1e-12)
    x[0] = 0
    as_black = module(x.view(1, 3, 1, 1))
    x[0] = -0.1
    assert torch.equal(module(x.view(1, 3, 1, 1)), as_black)


def test_strips_change_nothing():
    module, rgb = build(VISIBLE_31), torch.rand(2, 3, 70, 300)
    with torch.no_grad():
        strips = module(rgb)
    assert torch.allclose(strips, module(rgb), atol=1e-6)


def test_fit_is_decided_by_its_seed_and_learns_a_map_that_is_not_linear():
    data = Synthetic(VISIBLE_31)
    torch.manual_seed(1)
    first = fitted(data)
    torch.manual_seed(2)
    module = build(VISIBLE_31, width=16)
    state = torch.get_rng_state()
    record = fit(module, data, "train", SHORT)
    assert torch.equal(torch.get_rng_state(), state)
    assert record["steps"] == 150 and record["recipe"]["batch"] == SHORT.batch and record["seed"] == 0
    for a, b in zip(first.parameters(), module.parameters(), strict=True):
        assert torch.equal(a, b)
    scene = data.load("train", "a")
    rgb, cube = torch.from_numpy(scene.rgb)[None], torch.from_numpy(scene.cube)
    linear, *_ = np.linalg.lstsq(scene.rgb.reshape(3, -1).T, scene.cube.reshape(31, -1).T, rcond=None)
    of_linear = np.abs(scene.rgb.reshape(3, -1).T @ linear - scene.cube.reshape(31, -1).T).mean()
    with torch.no_grad():
        assert float((module(rgb)[0] - cube).abs().mean()) < 0.5 * of_linear


def test_pixels_and_values_without_data_have_no_part_in_a_fit():
    assert all(p.isfinite().all() for p in fitted(Gappy()).parameters())
    with pytest.raises(DatasetError, match="1 of 31 bands without any, first at 450 nm"):
        fitted(Gappy(band=5))


def test_pixels_are_fitted_at_several_exposures():
    data, errors = Synthetic(VISIBLE_31), []
    scene = data.load("train", "a")
    rgb, cube = (torch.from_numpy(x)[None] * 0.5 for x in (scene.rgb, scene.cube))
    for share in (0.0, 1.0):
        module = build(VISIBLE_31, width=16)
        fit(module, data, "train", replace(SHORT, augment_share=share))
        with torch.no_grad():
            errors.append(float((module(rgb) - cube).abs().mean()))
    assert errors[1] < errors[0]


def test_impossible_widths_are_refused():
    with pytest.raises(InputError, match="width 0"):
        build(VISIBLE_31, width=0)
