"""The matrix from linear sRGB to a camera, against a constrained least-squares fit on samples."""

from __future__ import annotations

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.colour.matrix import camera_from_srgb, fit_map, fit_matrix, map_colours
from hsrzoo.colour.spectra import bundled_spectra
from hsrzoo.colour.srgb import srgb_matrix


@pytest.mark.parametrize("name", ["nikon-d5100", "canon-eos-r5", "cie-1931"])
def test_white_is_kept_and_the_residual_is_small(name: str) -> None:
    camera = Camera.named(name)
    matrix, moment = camera_from_srgb(camera), bundled_spectra().second_moment
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    rendered, seen = camera.matrix(VISIBLE_31), srgb_matrix(VISIBLE_31)
    residual = rendered - matrix @ seen
    share = np.trace(residual @ moment @ residual.T) / np.trace(rendered @ moment @ rendered.T)
    assert share**0.5 < 0.025


def test_the_matrix_of_the_default_camera() -> None:
    expected = [[0.63, 0.25, 0.12], [0.07, 0.71, 0.22], [0.0, 0.24, 0.76]]
    np.testing.assert_allclose(camera_from_srgb(Camera.named("nikon-d5100")), expected, atol=0.006)


def test_the_fit_is_the_least_squares_of_all_matrices_that_keep_white() -> None:
    random = np.random.default_rng(0)
    light, seen = random.random((500, 3)), random.random((500, 3))
    matrix = fit_matrix(light.T @ light / 500, seen.T @ light / 500)
    # with m_3 = 1 - m_1 - m_2 the constraint is gone: c - l_3 = m_1 (l_1 - l_3) + m_2 (l_2 - l_3)
    free = np.linalg.lstsq(light[:, :2] - light[:, 2:], seen - light[:, 2:], rcond=None)[0].T
    np.testing.assert_allclose(matrix[:, :2], free, atol=1e-10)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)


def test_a_map_with_roots_is_fitted_where_it_predicts_left_out_colours_better() -> None:
    random = np.random.default_rng(0)
    rgb = random.uniform(0.02, 0.9, (24, 3))
    linear, roots = random.normal(size=(3, 3)), random.normal(size=(3, 6))
    r, g, b = rgb.T
    expected = np.stack([r, g, b, np.sqrt(r * g), np.sqrt(g * b), np.sqrt(b * r)], axis=1) @ roots.T
    np.testing.assert_allclose(fit_map(rgb, expected), roots, atol=1e-9)
    np.testing.assert_allclose(map_colours(3 * rgb, roots), 3 * expected)  # at any exposure
    noise = random.normal(scale=0.01, size=(24, 3))
    assert fit_map(rgb, rgb @ linear.T + noise).shape == (3, 3)
    np.testing.assert_allclose(
        map_colours(np.array([-0.1, 0.2, 0.0]), roots), roots[:, :3] @ [-0.1, 0.2, 0]
    )
