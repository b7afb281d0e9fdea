"""Noise, JPEG and other cameras against the noise model, Pillow and a rendering of one's own."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.colour.responses import STANDARD, response_names
from hsrzoo.datasets.base import Scene
from hsrzoo.perturb import DoesNotApplyError, perturb
from hsrzoo.registry import PERTURBATIONS
from hsrzoo.spec import PerturbationContext

CONTEXT = PerturbationContext(VISIBLE_31, Camera.named("nikon-d5100"), 8)


def flat(level: float, side: int = 300) -> Scene:
    """A scene of one grey."""
    return Scene("flat", np.full((3, side, side), level, np.float32), np.zeros((2, side, side), np.float32))


def rendered(seed: int = 0, height: int = 12, width: int = 17) -> Scene:
    """Random spectra and their RGB."""
    cube = np.random.default_rng(seed).uniform(0.05, 0.95, (31, height, width)).astype(np.float32)
    return Scene("rendered", Camera.named("nikon-d5100").render(cube, VISIBLE_31), cube)


@pytest.mark.parametrize("severity", ["low", "medium", "high"])
@pytest.mark.parametrize("level", [0.3, 0.6])
def test_noise_has_the_mean_and_the_variance_of_its_sensor(severity, level):
    scene = flat(level)
    noisy, info = perturb("noise", severity, scene, 0, None)
    sensor = PERTURBATIONS.get("noise").severities[severity]
    variance = (level * sensor["full_well"] + sensor["read_noise"] ** 2) / sensor["full_well"] ** 2
    values = noisy.rgb.astype(np.float64)
    assert values.mean() == pytest.approx(level, abs=4 * np.sqrt(variance / values.size))
    # Relative standard deviation of a variance: sqrt(2 / n), 0.3 % here.
    assert values.var() == pytest.approx(variance, rel=0.012)
    assert info["snr_db"] == pytest.approx(10 * np.log10(level**2 / variance), abs=0.06)
    assert (info["full_well"], info["read_noise"]) == (sensor["full_well"], sensor["read_noise"])
    assert noisy.cube is scene.cube


def test_noise_is_independent_between_neighbours_and_channels():
    noisy, _ = perturb("noise", "high", flat(0.5), 0, None)
    error = noisy.rgb.astype(np.float64) - 0.5
    scale = error.var()
    neighbours = np.mean(error[:, :, 1:] * error[:, :, :-1]) / scale
    channels = np.mean(error[0] * error[1]) / scale
    assert abs(neighbours) < 0.01 and abs(channels) < 0.015


def test_noise_in_the_dark_is_read_noise_alone_cut_at_zero():
    noisy, info = perturb("noise", "high", flat(0.0), 0, None)
    assert info["clipped"] == pytest.approx(0.5, abs=0.01) and info["snr_db"] is None
    # Half of a normal distribution: the mean of max(x, 0) is sigma / sqrt(2 pi).
    assert noisy.rgb.mean() == pytest.approx(8 / 400 / np.sqrt(2 * np.pi), rel=0.02)


def test_noise_follows_scene_seed_and_severity():
    scenes = [Scene(name, *(getattr(flat(0.5, 20), part) for part in ("rgb", "cube"))) for name in "ab"]
    results = {
        perturb("noise", "low", scene, seed, 8)[0].rgb.tobytes() for scene in scenes for seed in (0, 1)
    }
    assert len(results) == 4


def test_noise_is_the_same_with_every_version_of_numpy():
    """Pinned, so that stored rows stay comparable with new ones."""
    noisy, _ = perturb("noise", "high", flat(0.5, 2), 0, 8)
    assert np.rint(noisy.rgb * 255).astype(int).ravel().tolist() == [
        118,
        128,
        132,
        125,
        122,
        112,
        127,
        121,
        139,
        132,
        132,
        120,
    ]


def test_info_tells_a_rendered_image_from_a_photograph():
    assert perturb("noise", "low", rendered(), 0, 8, CONTEXT)[1]["rendered_by"] == "nikon-d5100"
    assert perturb("noise", "low", rendered(), 0, 8)[1]["rendered_by"] is None


@pytest.mark.parametrize("severity", ["95", "65", "35"])
def test_jpeg_is_what_pillow_writes_and_reads(severity):
    scene = rendered(height=40, width=51)
    compressed, info = perturb("jpeg", severity, scene, 0, 8)
    pixels = np.rint(scene.rgb * 255).astype(np.uint8).transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(severity))  # 4:2:0 is Pillow's default
    expected = np.asarray(Image.open(file))
    assert np.array_equal(np.rint(compressed.rgb * 255).transpose(1, 2, 0), expected)
    assert info["bytes"] == len(file.getvalue()) and info["subsampling"] == "4:2:0"
    error = np.mean((expected / 255.0 - pixels / 255.0) ** 2)
    assert info["psnr_to_clean"] == pytest.approx(-10 * np.log10(error), abs=1e-4)
    assert compressed.cube is scene.cube


def test_lower_quality_is_a_smaller_file_and_a_worse_image():
    found = [perturb("jpeg", q, rendered(height=64, width=64), 0, 8)[1] for q in ("95", "65", "35")]
    sizes, ratios = ([info[key] for info in found] for key in ("bytes", "psnr_to_clean"))
    assert sizes == sorted(sizes, reverse=True) and ratios == sorted(ratios, reverse=True)


@pytest.mark.parametrize("response", [name for name in STANDARD if name != "nikon-d5100"])
def test_another_camera_sees_the_same_spectra_with_its_own_curves(response):
    scene = rendered()
    changed, info = perturb("camera", response, scene, 0, 8, CONTEXT)
    light = Camera.named(response).matrix(VISIBLE_31) @ scene.cube.reshape(31, -1).astype(np.float64)
    expected = np.rint(light.reshape(scene.rgb.shape) * 255) / 255
    assert_allclose(changed.rgb, expected, atol=1e-6)
    assert changed.cube is scene.cube
    assert info["rgb_rmse"] == pytest.approx(np.sqrt(np.mean((expected - scene.rgb) ** 2)), abs=1e-6)
    assert info["rgb_rmse"] > 1 / 255


def test_the_cameras_are_all_there_is():
    spec = PERTURBATIONS.get("camera")
    assert sorted(spec.severities) == response_names() and spec.default == STANDARD


def test_another_camera_leaves_pixels_without_data_black():
    scene = rendered()
    cube = scene.cube.copy()
    cube[:, 3, 4] = np.nan
    rgb = scene.rgb.copy()
    rgb[:, 3, 4] = 0
    changed, info = perturb("camera", "cie-1931", Scene("holes", rgb, cube), 0, 8, CONTEXT)
    assert np.all(changed.rgb[:, 3, 4] == 0) and np.all(changed.rgb[:, 3, 5] > 0)
    assert np.isfinite(info["rgb_rmse"])


def test_a_camera_cannot_see_bands_that_no_pixel_has():
    scene = rendered()
    scene.cube[:3] = np.nan  # as of a sensor that begins at 430 nm
    with pytest.raises(DoesNotApplyError, match="without values at 400, 410, 420 nm"):
        perturb("camera", "cie-1931", scene, 0, 8, CONTEXT)


def test_the_own_camera_and_photographs_have_no_row():
    with pytest.raises(DoesNotApplyError, match="nothing would change"):
        perturb("camera", "nikon-d5100", rendered(), 0, 8, CONTEXT)
    with pytest.raises(DoesNotApplyError, match="a photograph"):
        perturb("camera", "cie-1931", rendered(), 0, 8)
