"""Repainted crops: mixtures of measured reflectances in segments of one colour, brightness kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import TrainingError
from hsrzoo.training.pairs import PairTask
from hsrzoo.training.pools import Pool
from hsrzoo.training.repaint import Repainter, segments

CAMERA = Camera.named("nikon-d5100")
MATRIX = CAMERA.matrix(VISIBLE_31)


def crop(seed: int = 0, top: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """A crop of 16 x 16 random values up to ``top``, and its RGB."""
    cube = np.random.default_rng(seed).random((31, 16, 16), dtype=np.float32) * np.float32(top)
    return torch.from_numpy(CAMERA.render(cube, VISIBLE_31)), torch.from_numpy(cube)


def repainter(*libraries: np.ndarray, bits: int | None = 8) -> Repainter:
    return Repainter(libraries, CAMERA, VISIBLE_31, bits)


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_pixels_keep_their_brightness_and_rgb_is_what_the_camera_renders() -> None:
    rgb, cube = crop()
    paint = repainter(np.random.default_rng(1).uniform(0.05, 0.95, (9, 31)))
    before = MATRIX.mean(axis=0) @ cube.numpy().reshape(31, -1)
    for generator in generators(5):
        image, painted = paint(rgb, cube, generator)
        assert np.array_equal(image, CAMERA.render(painted.numpy(), VISIBLE_31))
        after = MATRIX.mean(axis=0) @ painted.numpy().reshape(31, -1)
        assert np.allclose(after, before, rtol=1e-5)
        shapes = painted.numpy().reshape(31, -1) / after
        assert 1 <= len(np.unique(shapes.round(4), axis=1).T) <= 8, "at most one shape a segment"


def test_paints_are_mixtures_of_two_reflectances_under_a_light_in_half_of_the_crops() -> None:
    rgb, cube = crop()
    two = np.stack([np.linspace(0.1, 0.9, 31), np.r_[np.full(15, 0.2), np.full(16, 0.7)]])
    paint = repainter(two, bits=None)
    lit = 0
    for generator in generators(40):
        _, painted = paint(rgb, cube, generator)
        spectra = painted.numpy().reshape(31, -1).astype(np.float64)
        weights, *_ = np.linalg.lstsq(two.T, spectra, rcond=None)
        inside = np.abs(two.T @ weights - spectra).max() < 1e-5
        assert not inside or weights.min() > -1e-5
        lit += not inside
    assert 12 <= lit <= 28  # of 40, standard deviation 3.2


def test_libraries_are_equally_likely_whatever_their_size_and_noise_is_not_used() -> None:
    rgb, cube = crop()
    large = np.tile(np.linspace(0.1, 0.9, 31), (50, 1))
    small = np.stack([np.linspace(0.9, 0.1, 31), np.full(31, 1e-4)])  # the second is too dark
    red = []
    for generator in generators(60):
        _, painted = repainter(large, small)(rgb, cube, generator)
        red.append(float((painted[-1] > painted[0]).float().mean()))
    assert np.mean(red) == pytest.approx(0.5, abs=0.15)
    grey = repainter(small[1:], np.full((1, 31), 0.5))._libraries
    assert [len(library) for library in grey] == [1], "a library without a usable spectrum is left out"


def test_no_channel_is_clipped_and_gaps_stay() -> None:
    rgb, cube = crop(top=1.9)
    cube[:, 3, 4] = torch.nan
    red = np.r_[np.full(20, 0.02), np.full(11, 0.9)][None]
    for generator in generators(6):
        image, painted = repainter(red)(rgb, cube, generator)
        known = painted.numpy()[:, ~np.isnan(painted[0].numpy())]
        assert float((MATRIX @ known).max()) <= 1 + 1e-5
        assert painted[:, 3, 4].isnan().all() and int(painted.isnan().sum()) == 31
        assert not image[:, 3, 4].any()


def test_segments_hold_similar_colours() -> None:
    rgb = np.zeros((3, 8, 8), np.float32)
    rgb[0, :, :4], rgb[2, :, 4:] = 0.5, 0.5
    found = [segments(rgb, np.random.default_rng(seed)) for seed in range(20)]
    for labels in found:
        assert len(np.unique(labels[:, :4])) == len(np.unique(labels[:, 4:])) == 1
    assert any(labels[0, 0] != labels[0, 7] for labels in found)


def test_bands_that_reflectances_do_not_cover_and_dark_ones_alone_are_refused() -> None:
    with pytest.raises(TrainingError, match="cannot be repainted"):
        Repainter([np.ones((1, 31))], CAMERA, BandSet.regular(400, 900, 50), 8)
    with pytest.raises(TrainingError, match="nothing to repaint with"):
        repainter(np.full((1, 31), 1e-4))


def test_a_repainted_pool_of_the_same_scenes(toys, tmp_path) -> None:
    class Rendered(toys.ToySet):
        camera, rgb_bits = CAMERA, 8

        def __init__(self) -> None:
            super().__init__(count=31)

        def load(self, split, scene):
            cube = super().load(split, scene).cube
            return Scene(scene, CAMERA.render(cube, VISIBLE_31), cube)

    data = Rendered()
    charts = open_dataset("reflectances", tmp_path, sources="charts")
    recipe = replace(toys.NET.recipe, augment=(), batch=8, holdout=1)
    module = toys.ToyNet(VISIBLE_31)
    task = PairTask(toys.NET, module, data, recipe, pools=[Pool(data, 0.5, repaint=charts)])
    task.prepare()
    rgb, cube = task.draw(torch.Generator().manual_seed(0))
    again = task.draw(torch.Generator().manual_seed(0))
    assert torch.equal(rgb, again[0]) and torch.equal(cube, again[1])
    smooth = [float(one.diff(dim=0).abs().mean()) for one in cube]  # the toys' spectra are noise
    assert 1 <= sum(value < 0.1 for value in smooth) <= 7
    assert torch.equal(
        rgb, torch.from_numpy(np.stack([CAMERA.render(c, VISIBLE_31) for c in cube.numpy()]))
    )
    about = task.record()["extra"][0]
    assert about["repaint"]["sources"]["charts"]["licence"] == "MIT" and about["scenes"] == [
        "s0",
        "s1",
        "s2",
    ]
    with pytest.raises(TrainingError, match="cannot be repainted"):
        PairTask(toys.NET, toys.ToyNet(toys.ToySet.bands), toys.ToySet(), recipe,
                 pools=[Pool(toys.ToySet(), 0.5, repaint=charts)])  # fmt: skip
