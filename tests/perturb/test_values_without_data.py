"""Values without data survive every perturbation: they stay with their pixels, and images stay finite."""

from __future__ import annotations

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import Scene
from hsrzoo.perturb import perturb
from hsrzoo.registry import PERTURBATIONS
from hsrzoo.spec import PerturbationContext


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("mixed-patch", "8"), ("gamma", "e=0.9"), ("gain", "2"), ("gain-both", "0.5"),
        ("noise", "low"), ("jpeg", "95"), ("camera", "cie-1931"), ("metamer", "0.5"),
    ],
)  # fmt: skip
def test_values_without_data_stay_without(name: str, severity: str) -> None:
    cube = np.random.default_rng(0).uniform(0.2, 0.4, (31, 16, 16)).astype(np.float32)
    cube[:, 3, 4] = cube[:, 9:, 9:] = np.nan
    rgb = Camera.named(DEFAULT_CAMERA).render(cube, VISIBLE_31)
    context = PerturbationContext(VISIBLE_31, Camera.named(DEFAULT_CAMERA))
    found, _ = perturb(name, severity, Scene("a", rgb, cube), 0, 8, context)
    assert np.isfinite(found.rgb).all()
    missing = np.isnan(found.cube)
    assert np.array_equal(missing.all(axis=0), missing.any(axis=0))
    if name == "mixed-patch":  # image and cube are shuffled by one permutation
        assert missing.sum() == np.isnan(cube).sum()
        assert np.array_equal(~found.rgb.any(axis=0), missing[0])
    else:
        assert np.array_equal(missing, np.isnan(cube))
    assert PERTURBATIONS.get(name).touches_cube or found.cube is cube


NAMES = [
    ("mixed-patch", "8"), ("gamma", "e=0.9"), ("gain", "2"), ("gain-both", "2"),
    ("noise", "high"), ("jpeg", "35"), ("camera", "cie-1931"), ("metamer", "0.5"),
]  # fmt: skip
CONTEXT = PerturbationContext(VISIBLE_31, Camera.named(DEFAULT_CAMERA))


def scene_with_gaps(seed: int = 0) -> Scene:
    """Bright spectra; no data in rows 0-15, whole blocks of JPEG's, and in one pixel."""
    cube = np.random.default_rng(seed).uniform(0.4, 0.8, (31, 48, 32)).astype(np.float32)
    cube[:, :16] = cube[:, 30, 7] = np.nan
    return Scene("a", Camera.named(DEFAULT_CAMERA).render(cube, VISIBLE_31), cube)


@pytest.mark.parametrize(("name", "severity"), NAMES)
def test_black_pixels_without_data_stay_black(name: str, severity: str) -> None:
    found, _ = perturb(name, severity, scene_with_gaps(), 0, 8, CONTEXT)
    missing = np.isnan(found.cube).all(axis=0)
    assert missing.sum() == 16 * 32 + 1
    assert not found.rgb[:, missing].any() and found.rgb[:, ~missing].all()


@pytest.mark.parametrize("name", ["noise", "jpeg"])
def test_photographs_are_disturbed_where_the_cube_has_no_data(name: str) -> None:
    scene = scene_with_gaps()
    photograph = np.random.default_rng(1).random(scene.rgb.shape, dtype=np.float32) + np.float32(0.01)
    found, _ = perturb(name, PERTURBATIONS.get(name).default[-1], Scene("a", photograph, scene.cube), 0, 8)
    assert np.mean(found.rgb[:, :16] != photograph[:, :16]) > 0.9


@pytest.mark.parametrize(
    ("name", "severity", "facts"),
    [
        ("gain", "2", ["clipped"]), ("gain-both", "2", ["clipped"]), ("gamma", "e=0.9", []),
        ("jpeg", "35", ["psnr_to_clean"]), ("camera", "cie-1931", ["rgb_rmse"]),
    ],
)  # fmt: skip
def test_facts_are_those_of_the_pixels_with_data(name: str, severity: str, facts: list[str]) -> None:
    """Whole rows of blocks without data do not reach the others: the facts are those of the rest alone."""
    scene = scene_with_gaps()
    scene.cube[:, 30, 7], scene.rgb[:, 30, 7] = scene.cube[:, 30, 8], scene.rgb[:, 30, 8]
    rest = Scene("a", np.ascontiguousarray(scene.rgb[:, 16:]), np.ascontiguousarray(scene.cube[:, 16:]))
    _, info = perturb(name, severity, scene, 0, 8, CONTEXT)
    _, expected = perturb(name, severity, rest, 0, 8, CONTEXT)
    for fact in (*facts, "mean_change"):
        assert info[fact] == pytest.approx(expected[fact], rel=1e-9, abs=1e-12), fact


def test_noise_is_measured_on_the_pixels_with_data() -> None:
    scene = scene_with_gaps()
    found, info = perturb("noise", "high", scene, 0, None)
    known = ~np.isnan(scene.cube[0])
    clean, noisy = (image[:, known].astype(np.float64) for image in (scene.rgb, found.rgb))
    # The result is clipped; nothing here is so bright or dark that more than a few values are.
    expected = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
    assert info["snr_db"] == pytest.approx(expected, abs=0.1) and info["clipped"] < 0.01
    assert info["mean_change"] == pytest.approx(noisy.mean() / clean.mean() - 1, abs=1e-12)
