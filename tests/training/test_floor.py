"""The comparison of a trained network with the mean spectrum, by values computed with numpy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hsrzoo.training.floor import compare


class Constant(nn.Module):
    """One value everywhere; with ``known`` the bands that the RGB holds as they are."""

    def __init__(self, value: float, known: bool = False) -> None:
        super().__init__()
        self.value, self.known = value, known

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        cube = torch.full((len(rgb), 5, *rgb.shape[2:]), self.value)
        if self.known:
            cube[:, [0, 2, 4]] = rgb
        return cube


def middles(toys: Any, side: int) -> np.ndarray:
    """(5, pixels) of the four scenes of 20 x 24."""
    top, left = (20 - side) // 2, (24 - side) // 2
    cubes = [toys.ToySet().load("train", f"s{i}").cube for i in range(4)]
    crops = [c[:, top : top + side, left : left + side].reshape(5, -1) for c in cubes]
    return np.concatenate(crops, axis=1).astype(np.float64)


def test_both_errors_are_those_of_the_same_pixels(make_task: Callable[..., Any], toys: Any) -> None:
    task, _ = make_task(patch=8)
    task.prepare()
    truth = middles(toys, 8)
    floor = np.sqrt(np.square(truth - truth.mean(axis=1, keepdims=True)).mean())
    ours = np.sqrt(np.square(truth - 2).mean())
    with pytest.warns(UserWarning, match=rf"4 crops.*RMSE {ours:.3g} and {floor:.3g}"):
        found = compare(task, Constant(2))
    expected = {"slice_rmse": ours, "slice_rmse_mean_spectrum": floor}
    assert found == pytest.approx(expected, rel=1e-6)
    truth[[0, 2, 4]] = 0.4
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # three bands of five are exact
        found = compare(task, Constant(0.4, known=True))
    assert found["slice_rmse"] == pytest.approx(np.sqrt(np.square(truth - 0.4).mean()), rel=1e-6)


def test_values_without_data_count_in_neither(make_task: Callable[..., Any], toys: Any) -> None:
    task, _ = make_task(patch=8)
    task.prepare()
    truth = middles(toys, 8)
    for scene in task._crops.scenes:
        scene.values[3 + 3] = float("nan")
    floor = np.sqrt(np.square(np.delete(truth - truth.mean(axis=1, keepdims=True), 3, axis=0)).mean())
    found = compare(task, Constant(0.5, known=True))
    assert found["slice_rmse"] == pytest.approx(np.sqrt(np.square(truth[1] - 0.5).mean() / 4), rel=1e-6)
    assert found["slice_rmse_mean_spectrum"] == pytest.approx(floor, rel=1e-6)
    for scene in task._crops.scenes:
        scene.values[3:] = float("nan")
    assert compare(task, Constant(0.0)) == {}
