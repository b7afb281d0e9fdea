"""What camera consistency changes, on training scenes of CAVE rendered by every built-in camera.

    python scripts/consistency_figures.py --model mcga-s2 --model linear

RMSE without it, with the true camera named, and with an estimate whose colours leave the scene itself out.
Every second pixel of every third scene; no benchmark scene is read. ``--trained`` names the camera of
weights whose record does not.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

import hsrzoo
from hsrzoo.camera import Camera, camera_names
from hsrzoo.datasets import open_dataset
from hsrzoo.models.camera_estimate import colours_of
from hsrzoo.models.spectra import bundled_spectra
from hsrzoo.models.steps.camera import ESTIMATE, CameraStep


def leave_out(full: np.ndarray, step: CameraStep) -> None:
    """Take the colours of one scene out of what an estimate compares with."""
    known = bundled_spectra()
    own = {name: colours_of(Camera.named(name).render(full, step.bands)) for name in known.colours}
    left = {name: table - own[name] for name, table in known.colours.items()}
    step.spectra = replace(known, colours=left)


def main() -> None:
    """One line for each model and camera."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", required=True, help="repeatable")
    parser.add_argument("--trained", help="camera of the training pairs, where the record lacks it")
    parser.add_argument("--every", type=int, default=3, help="of the scenes, every so many [3]")
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    data = open_dataset("cave", options.data_root)
    scenes = {name: data.load("train", name).cube for name in data.scenes("train")[:: options.every]}
    for name in options.model:
        model = hsrzoo.load(name, device="cpu")
        plain = tuple(step for step in model.steps if not isinstance(step, CameraStep))
        trained = model.trained_camera or options.trained
        for camera in camera_names():
            known, guess = (CameraStep(how, data.bands, trained, name) for how in (camera, ESTIMATE))
            errors = []
            for full in scenes.values():
                cube = np.ascontiguousarray(full[:, ::2, ::2])
                rgb = Camera.named(camera).render(cube, data.bands)
                leave_out(full, guess)
                row = []
                for step in (None, known, guess):
                    model.steps = plain if step is None else (step, *plain)
                    row.append(float(np.sqrt(np.mean((model.predict(rgb) - cube) ** 2))))
                errors.append(row)
            means = np.mean(errors, axis=0)
            print(f"{name:14} {camera:15} none {means[0]:.4f} known {means[1]:.4f} estimate {means[2]:.4f} "
                  f"worst ratio {max(r[2] / r[0] for r in errors):.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
