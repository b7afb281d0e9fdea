"""Synthetic pairs: index maps drawn from a prior, decoded by stage 1, rendered by the default camera."""

from __future__ import annotations

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
from hsrzoo.utils.files import make_folder, write_json
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.decoding import coarser_map, decode

if TYPE_CHECKING:
    from hsrzoo_mcga.codebook.folder import Source
    from hsrzoo_mcga.synthetic.prior_fit import FittedPrior

RECORD = "record.json"
SPLIT = "train"
"""Synthetic scenes are for training; nothing should be scored on them."""
_AT_ONCE = 16
"""Maps drawn together: with fewer, calls of small layers cost more than their work."""
_SLACK = 0.01
"""A value further than this outside [0, 1] counts as clipped."""


def check_request(module: SpectralAutoencoder, bands: BandSet, size: int, out: Path) -> None:
    """Raise before anything is computed: InputError for an impossible size or a folder in use, BandsError
    for bands that the camera cannot render, StoreError where ``out`` cannot be written."""
    multiple = 1 << module.scales
    if size < multiple or size % multiple:
        raise InputError(
            "Cubes cannot have this size", expected=f"a multiple of {multiple} pixels", got=size
        )
    Camera.named(DEFAULT_CAMERA).matrix(bands)
    if (out / RECORD).exists() or (out / SPLIT).exists():
        raise InputError(f"{out} already holds synthetic cubes", fix="Give another --out")
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

    The finest map is drawn given the coarser ones, which are then computed from it, as stage 1 does:
    ``agreement`` is the share of indices that are equal to the drawn ones, ``coarser_rmse`` how much the
    others change the cubes. Values are clipped to [0, 1]; ``clipped`` is the share of those that were well
    outside.
    """
    generator = torch.Generator().manual_seed(seed)
    sums = {"agreement": 0.0, "coarser_rmse": 0.0, "clipped": 0.0}
    for start in range(0, count, _AT_ONCE):
        number = min(_AT_ONCE, count - start)
        cubes, figures = _cubes(module, fitted, number, size, generator)
        sums = {k: v + figures[k] * number / count for k, v in sums.items()}
        for i, cube in enumerate(np.clip(cubes, 0, 1), start):
            _write(out / SPLIT, f"{source.name}-{seed}-{i:04d}", cube, source.bands)
        advance(number)
    record = {
        "source": source.name,
        "count": count,
        "size": size,
        "seed": seed,
        "camera": DEFAULT_CAMERA,
        **sums,
        "codebook": fitted.record["codebook"],
        "prior": dict(fitted.record),
    }
    write_json(out / RECORD, record)
    return record


@torch.inference_mode()
def _cubes(
    module: SpectralAutoencoder, fitted: FittedPrior, count: int, size: int, generator: torch.Generator
) -> tuple[np.ndarray, dict[str, float]]:
    """(count, C, size, size) not clipped, and the figures of :func:`sample`."""
    drawn = fitted.prior.sample(count, size, size, generator)
    maps = drawn[:1]
    for scale in range(1, len(drawn)):
        maps.append(coarser_map(module, scale, maps[-1]))
    cubes = decode(module, maps)
    coarser = [(a == b).double().mean() for a, b in zip(maps[1:], drawn[1:], strict=True)]
    figures = {
        "agreement": float(torch.stack(coarser).mean()) if coarser else 1.0,
        "coarser_rmse": float((cubes - decode(module, drawn)).square().mean().sqrt()),
        "clipped": float(((cubes < -_SLACK) | (cubes > 1 + _SLACK)).double().mean()),
    }
    return cubes.numpy(), figures


def _write(folder: Path, name: str, cube: np.ndarray, bands: BandSet) -> None:
    """One pair: cube/NAME.npz with wavelengths, rgb/NAME.png of 8 bits."""
    rgb = Camera.named(DEFAULT_CAMERA).render(cube, bands, bits=8)
    for part in ("cube", "rgb"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    save_cube(folder / "cube" / f"{name}.npz", cube.transpose(1, 2, 0), bands)
    pixels = np.rint(rgb * 255).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(folder / "rgb" / f"{name}.png")
