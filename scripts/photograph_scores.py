"""RMSE on cave/valid when its scenes are read as photographs instead of as RGB of the trained camera.

``HSRZOO_DATA=... python scripts/photograph_scores.py [--model NAME]...`` prints, per model: the linear
images of the data set; sRGB JPEGs of quality 95; images of each measured camera, with and without its name.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import hsrzoo
from hsrzoo.camera import Camera
from hsrzoo.colour.matrix import camera_from_camera
from hsrzoo.colour.responses import STANDARD, response_names
from hsrzoo.colour.srgb import encode_srgb, srgb_matrix
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Scene
from hsrzoo.io import read_photo
from hsrzoo.models.reconstructor import Reconstructor


def rmse(model: Reconstructor, rgb: np.ndarray, scene: Scene) -> float:
    """Of the cube of an image (3, H, W) against that of its scene."""
    pred = model.predict(np.clip(rgb, 0, 1).astype(np.float32)).astype(np.float64)
    return float(np.sqrt(np.mean((pred - scene.cube) ** 2)))


def as_jpeg(scene: Scene, model: Reconstructor, folder: Path) -> np.ndarray:
    """The scene as an sRGB JPEG without tags, read as a photograph: (3, H, W)."""
    matrix = srgb_matrix(model.bands)
    assert matrix is not None
    linear = np.tensordot(matrix, scene.cube, axes=1).clip(0, 1)
    stored = np.rint(encode_srgb(linear) * 255).astype(np.uint8).transpose(1, 2, 0)
    path = folder / f"{scene.name}.jpg"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, quality=95)
    return read_photo(path, model).transpose(2, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append")
    asked = parser.parse_args()
    dataset = open_dataset("cave", None)
    scenes = [dataset.load("valid", name) for name in dataset.scenes("valid")]
    for name in asked.model or ["mcga-s2", "mst-plus-plus"]:
        model = hsrzoo.load(name, device="cpu")
        own = Camera.of_training(model.config)
        assert own is not None
        linear = np.mean([rmse(model, scene.rgb, scene) for scene in scenes])
        with tempfile.TemporaryDirectory() as folder:
            jpeg = np.mean([rmse(model, as_jpeg(scene, model, Path(folder)), scene) for scene in scenes])
        print(f"{name}: linear {linear:.4f}, JPEG {jpeg:.4f} ({jpeg / linear - 1:+.1%})", flush=True)
        named, unnamed = [], []
        for other in (c for c in response_names() if c not in STANDARD):
            camera = Camera.named(other)
            images = [camera.render(scene.cube, model.bands) for scene in scenes]
            matrix = camera_from_camera(own, camera)
            pairs = list(zip(images, scenes, strict=True))
            named.append(np.mean([rmse(model, np.tensordot(matrix, x, axes=1), s) for x, s in pairs]))
            unnamed.append(np.mean([rmse(model, x, s) for x, s in pairs]))
        for what, found in (("named", named), ("not named", unnamed)):
            least, median, most = np.quantile(found, [0, 0.5, 1])
            change = f"({median / linear - 1:+.1%}), {least:.4f} to {most:.4f}"
            print(f"  {len(found)} cameras, {what}: median {median:.4f} {change}", flush=True)


if __name__ == "__main__":
    main()
