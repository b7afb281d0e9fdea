"""By how much intervals must be wider for images that are mapped to the camera of the training pairs.

``HSRZOO_DATA=... python scripts/interval_cameras.py [--model NAME]...`` takes models that are fitted, so
that each fold's scenes are seen by a model that was fitted without them. Printed are, for scenes read as
sRGB of 8 bits and for 8-bit images of each measured camera, named or not: the coverage of the 90 %
intervals, and their conformal threshold divided by that of images of the trained camera (mean of the
bands).
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import hsrzoo
from hsrzoo.camera import Camera
from hsrzoo.colour.matrix import camera_from_camera, camera_from_srgb
from hsrzoo.colour.responses import STANDARD, response_names
from hsrzoo.colour.srgb import decode_srgb, encode_srgb, srgb_matrix
from hsrzoo.datasets import open_dataset
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.uncertainty.conformal import scene_score, thresholds
from hsrzoo.uncertainty.folds import cross_validation

LEVEL, PIXELS = 0.9, 4096


def ratios(
    model: Reconstructor, calibrated: Reconstructor, rgb: np.ndarray, truth: np.ndarray
) -> np.ndarray:
    """|error| / scale (N, C) of pixels (N, 3) and their spectra (N, C)."""
    image = np.clip(rgb, 0, 1).astype(np.float32).T[:, None]
    cube = model.predict(image)
    scale = calibrated.intervals.scale(torch.from_numpy(image)[None], torch.from_numpy(cube)[None])
    return np.abs(cube[:, 0].T - truth) / scale[0, :, 0].T.numpy()


def eight_bits(rgb: np.ndarray) -> np.ndarray:
    return np.rint(rgb.clip(0, 1) * 255) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append")
    asked = parser.parse_args()
    dataset = open_dataset("cave", None)
    srgb = srgb_matrix(dataset.bands)
    assert srgb is not None
    rng = np.random.default_rng(0)
    for name in asked.model or ["linear", "poly", "pixel-mlp"]:
        calibrated = hsrzoo.load(name, device="cpu")
        own = Camera.of_training(calibrated.config)
        assert own is not None
        cameras = {other: Camera.named(other) for other in response_names() if other not in STANDARD}
        found: dict[str, list[np.ndarray]] = {}
        for fold in cross_validation(calibrated, dataset, None, None):
            model = fold.open()
            for scene in dataset.scenes(fold.scenes[0]):
                cube = dataset.load(fold.scenes[0], scene).cube
                spectra = cube.reshape(len(cube), -1).T
                spectra = spectra[rng.choice(len(spectra), PIXELS, replace=False)]
                shown = decode_srgb(eight_bits(encode_srgb((spectra @ srgb.T).clip(0, 1))))
                images = {"own": eight_bits(spectra @ own.matrix(dataset.bands).T)}
                images["sRGB"] = shown @ camera_from_srgb(own).T
                for other, camera in cameras.items():
                    seen = eight_bits(spectra @ camera.matrix(dataset.bands).T)
                    images[other] = seen @ camera_from_camera(own, camera).T
                    images[f"{other}, not named"] = seen
                for what, rgb in images.items():
                    found.setdefault(what, []).append(ratios(model, calibrated, rgb, spectra))
        factors = calibrated.intervals.factors(LEVEL)
        limits, covered = {}, {}
        for what, of_scenes in found.items():
            scores = np.stack([scene_score(ratio, LEVEL) for ratio in of_scenes])
            limits[what] = float(np.mean(thresholds(scores, LEVEL) / factors))
            covered[what] = [float((ratio <= factors).mean()) for ratio in of_scenes]
        for what in ("own", "sRGB"):
            mean, least = np.mean(covered[what]), np.min(covered[what])
            factor = limits[what] / limits["own"]
            print(f"{name} {what}: covers {mean:.1%}, worst scene {least:.1%}; factor {factor:.3f}")
        for how in ("", ", not named"):
            each = sorted(limits[other + how] / limits["own"] for other in cameras)
            means = [np.mean(covered[other + how]) for other in cameras]
            least = min(min(covered[other + how]) for other in cameras)
            print(
                f"{name} {len(cameras)} cameras{how or ', named'}: covers {np.median(means):.1%}, "
                f"{min(means):.1%} at least, worst scene {least:.1%}; factor {np.median(each):.3f}, "
                f"{each[0]:.3f} to {each[-1]:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
