"""``--bench refine``: the condition changes no input; drawn pixels correct the cube and are not scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31
from hsrzoo.datasets.base import Scene
from hsrzoo.errors import InputError
from hsrzoo.perturb import perturb
from hsrzoo.prediction.refine import fit_refinement
from hsrzoo_benchmark.protocol import Protocol
from hsrzoo_benchmark.run import scores
from hsrzoo_benchmark.run.refinement import refine

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.uniform(0.1, 0.7, (31, 9, 11)).astype(np.float32)
PRED = (0.9 * TRUTH + 0.02).astype(np.float32)
PROTOCOL = Protocol(
    "full-frame", bands=VISIBLE_31, perturbation="refine", severity="10", severity_value=10, seed=3,
    metrics=(("rmse", "1", ""),),
)  # fmt: skip


def test_the_image_and_the_truth_stay() -> None:
    scene = Scene("a", RANDOM.random((3, 9, 11)).round(1).astype(np.float32), TRUTH)
    changed, info = perturb("refine", "10", scene, 0, None)
    np.testing.assert_array_equal(changed.rgb, scene.rgb)
    assert changed.cube is scene.cube and info["points"] == 10


def test_the_drawn_pixels_correct_the_cube_and_are_left_out() -> None:
    truth, corrected = refine("a", TRUTH, PRED, VISIBLE_31, PROTOCOL)
    drawn = np.isnan(truth).all(axis=0)
    assert drawn.sum() == 10 == np.isnan(truth).any(axis=0).sum()
    np.testing.assert_array_equal(truth[:, ~drawn], TRUTH[:, ~drawn])
    expected = fit_refinement(PRED[:, drawn].T, TRUTH[:, drawn].T, VISIBLE_31)
    np.testing.assert_allclose(corrected.reshape(31, -1).T, expected(PRED.reshape(31, -1).T), atol=1e-6)


def test_pixels_depend_on_seed_and_scene_alone_and_have_data() -> None:
    gaps = TRUTH.copy()
    gaps[3, :5] = np.nan
    first, again = (np.isnan(refine("a", gaps, PRED, VISIBLE_31, PROTOCOL)[0]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first[:, 5:].all(axis=0).sum() == 10
    other = np.isnan(refine("a", gaps, PRED, VISIBLE_31, replace(PROTOCOL, seed=4))[0])
    assert (other != first).any()


def test_a_row_is_that_of_the_corrected_cube_on_the_other_pixels() -> None:
    scene = Scene("a", np.zeros((3, 9, 11), np.float32), TRUTH)
    columns, _, _ = scores.score(scene, scene, PRED, PROTOCOL)
    truth, corrected = refine("a", TRUTH, PRED, VISIBLE_31, PROTOCOL)
    there = np.isfinite(truth)
    expected = np.sqrt(np.mean((truth - corrected)[there].astype(np.float64) ** 2))
    assert columns["rmse"] == pytest.approx(expected, rel=1e-6)
    assert columns["rmse"] < 0.7 * np.sqrt(np.mean((TRUTH - PRED) ** 2))


def test_a_scene_of_fewer_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="more than 200"):
        refine("a", TRUTH, PRED, VISIBLE_31, replace(PROTOCOL, severity="200", severity_value=200))
