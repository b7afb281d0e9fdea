"""A small image for ``hsrzoo predict``, the cube it should give, and the bytes of a cube's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tiled_networks import Chained, model


def draw(folder: Path) -> Path:
    """50 x 43 pixels, uint8, with a gradient."""
    noise = np.random.default_rng(0).integers(0, 60, (50, 43, 3))
    path = folder / "image.npy"
    np.save(path, (noise + np.arange(43)[:, None] * 4).astype(np.uint8))
    return path


def whole(image: Path, network=Chained) -> np.ndarray:
    return model(network)(np.load(image)).cube


def content(path: Path) -> dict[str, bytes]:
    """All bytes of a cube: of the files of its name, or in its folder."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.stem}.*")
    return {p.name + str(p.relative_to(path.parent)): p.read_bytes() for p in files if p.is_file()}
