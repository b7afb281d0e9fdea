"""Synthetic pairs: index maps drawn from a prior, decoded by stage 1, seen by the default camera."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from hsrzoo.bands import BandSet
from hsrzoo.camera import DEFAULT_CAMERA, Camera
from hsrzoo.errors import InputError
from hsrzoo.io import save_cube
from hsrzoo.weights import make_folder, write_atomically
from hsrzoo_mcga.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.decoding import coarser_map, to_cubes

if TYPE_CHECKING:
    from hsrzoo_mcga.prior_fit import FittedPrior
    from hsrzoo_mcga.store import Source

RECORD = "record.json"
SPLIT = "train"
"""Synthetic scenes may teach a network; nothing should be scored on them."""
_AT_ONCE = 16
"""Maps drawn together: the fewer, the more the calls of small layers cost."""


def check_request(module: SpectralAutoencoder, bands: BandSet, size: int, out: Path) -> None:
    """Raise before anything is computed: InputError for an impossible size or a folder in use, BandsError
    for bands that the camera cannot render, StoreError where ``out`` cannot be written."""
    multiple = 1 << module.scales
    if size < multiple or size % multiple:
        raise InputError("No such size of cubes", expected=f"a multiple of {multiple} pixels", got=size)
    Camera.named(DEFAULT_CAMERA).matrix(bands)
    if (out / RECORD).exists() or (out / SPLIT).exists():
        raise InputError(f"{out} holds synthetic cubes already", fix="Give another --out")
    make_folder(out)


def sample(
    module: SpectralAutoencoder,
    source: Source,
    fitted: FittedPrior,
    out: Path,
    *,
    count: int,
    size: int,
    seed: int,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Write ``count`` pairs of ``size`` x ``size`` pixels into ``out``/train, as the data set ``folder``
    reads them, and ``out``/record.json, which is returned.

    Coarser maps guide the finer one and are then computed from it, as stage 1 does; ``agreement`` tells
    how often they turn out as drawn. Values are clipped to [0, 1], ``clipped`` is the share of those that
    were further than 0.01 outside.
    """
    generator = torch.Generator().manual_seed(seed)
    agreed: list[float] = []
    clipped: list[float] = []
    for start in range(0, count, _AT_ONCE):
        number = min(_AT_ONCE, count - start)
        cubes, same = _cubes(module, fitted, number, size, generator)
        agreed += same
        clipped.append(float(((cubes < -0.01) | (cubes > 1.01)).mean()) * number / count)
        for i, cube in enumerate(np.clip(cubes, 0, 1), start):
            _write(out / SPLIT, f"{source.name}-{seed}-{i:04d}", cube, source.bands)
        advance(number)
    record = {
        "source": source.name,
        "count": count,
        "size": size,
        "seed": seed,
        "camera": DEFAULT_CAMERA,
        "agreement": sum(agreed) / len(agreed) if agreed else None,
        "clipped": sum(clipped),
        "codebook": fitted.record["codebook"],
        "prior": dict(fitted.record),
    }
    write_atomically(out / RECORD, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
    return record


@torch.inference_mode()
def _cubes(
    module: SpectralAutoencoder, fitted: FittedPrior, count: int, size: int, generator: torch.Generator
) -> tuple[np.ndarray, list[float]]:
    """(count, C, size, size), and for each scale but the finest the share of codes that stayed as drawn."""
    maps = fitted.prior.sample(count, size, size, generator)
    agreed = []
    for place in range(1, len(maps)):
        found = coarser_map(module, place, maps[place - 1])
        agreed.append(float((found == maps[place]).double().mean()))
        maps[place] = found
    return to_cubes(module, maps).numpy(), agreed


def _write(folder: Path, name: str, cube: np.ndarray, bands: BandSet) -> None:
    """One pair: cube/NAME.npz with wavelengths, rgb/NAME.png of 8 bits."""
    rgb = Camera.named(DEFAULT_CAMERA).render(cube, bands, bits=8)
    for part in ("cube", "rgb"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    save_cube(folder / "cube" / f"{name}.npz", cube.transpose(1, 2, 0), bands)
    pixels = np.rint(rgb * 255).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(folder / "rgb" / f"{name}.png")
