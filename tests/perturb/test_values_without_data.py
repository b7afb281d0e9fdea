"""Values without data survive every perturbation: they stay with their pixels, and images stay finite."""

from __future__ import annotations

import numpy as np
import pytest

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.datasets.base import Scene
from hsrzoo.perturb import perturb
from hsrzoo.registries import PERTURBATIONS
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
    context = PerturbationContext(VISIBLE_31, DEFAULT_CAMERA)
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
