"""By how much intervals must be wider for images that are mapped to the camera of the training pairs.

``HSRZOO_DATA=... python scripts/interval_cameras.py [--model NAME]...`` takes models that are fitted, so
that each fold's scenes are seen by a model that was fitted without them; ``--fold-models PATTERN`` gives
the weights of a network, as for ``hsrzoo calibrate intervals``. Printed are, for scenes read as sRGB of 8
bits and for 8-bit images of each measured camera, named or not: the coverage of the 90 % intervals, and
their conformal threshold divided by that of images of the trained camera (mean of the bands).

A network sees every second pixel of every second row of a scene, and ``--every 4`` takes a quarter of the
cameras: some minutes of CPU time instead of an hour.
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
    """|error| / scale (N, C) of an image (H, W, 3) and its cube (H, W, C)."""
    image = np.ascontiguousarray(np.clip(rgb, 0, 1).transpose(2, 0, 1), np.float32)
    cube = model.predict(image)
    scale = calibrated.intervals.scale(torch.from_numpy(image)[None], torch.from_numpy(cube)[None])
    ratio = np.abs(cube - truth.transpose(2, 0, 1)) / scale[0].numpy()
    return np.ascontiguousarray(ratio.reshape(len(ratio), -1).T)


def seen(cube: np.ndarray, model: Reconstructor, rng: np.random.Generator) -> np.ndarray:
    """What is looked at of a cube (C, H, W), as (h, w, C): single pixels where a model needs no others."""
    if model.spec.fit is None:
        return cube[:, ::2, ::2].transpose(1, 2, 0)
    spectra = cube.reshape(len(cube), -1).T
    return spectra[rng.choice(len(spectra), PIXELS, replace=False)][None]


def eight_bits(rgb: np.ndarray) -> np.ndarray:
    return np.rint(rgb.clip(0, 1) * 255) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append")
    parser.add_argument("--fold-models")
    parser.add_argument("--every", type=int, default=1)
    asked = parser.parse_args()
    dataset = open_dataset("cave", None)
    srgb = srgb_matrix(dataset.bands)
    assert srgb is not None
    rng = np.random.default_rng(0)
    for name in asked.model or ["linear.cave", "poly.cave", "pixel-mlp.cave"]:
        calibrated = hsrzoo.load(name, device="cpu")
        own = Camera.of_training(calibrated.config)
        assert own is not None
        others = [other for other in response_names() if other not in STANDARD]
        cameras = {other: Camera.named(other) for other in others[:: asked.every]}
        found: dict[str, list[np.ndarray]] = {}
        for fold in cross_validation(calibrated, dataset, asked.fold_models, None):
            model = fold.open()
            for scene in dataset.scenes(fold.scenes[0]):
                spectra = seen(dataset.load(fold.scenes[0], scene).cube, model, rng)
                shown = decode_srgb(eight_bits(encode_srgb((spectra @ srgb.T).clip(0, 1))))
                images = {"own": eight_bits(spectra @ own.matrix(dataset.bands).T)}
                images["sRGB"] = shown @ camera_from_srgb(own).T
                for other, camera in cameras.items():
                    raw = eight_bits(spectra @ camera.matrix(dataset.bands).T)
                    images[other] = raw @ camera_from_camera(own, camera).T
                    images[f"{other}, not named"] = raw
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
