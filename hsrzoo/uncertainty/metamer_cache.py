"""The table of metamers of a model's camera: solved once on this machine, then read from a cache.

The spectra are those that :func:`hsrzoo.colour.spectra.bundled_spectra` describes, so that no data set is
needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.colour.spectra import spectra_for
from hsrzoo.errors import HsrzooError, InputError, StoreError
from hsrzoo.models.steps.base import LoadedModel
from hsrzoo.models.tensors import load_tensors, tensor_bytes
from hsrzoo.uncertainty import metamers
from hsrzoo.uncertainty.metamers import MetamerTable, Programmes, count_of_nodes
from hsrzoo.utils.files import cache_folder, make_folder, slug, write_atomically
from hsrzoo.utils.locks import hold

VERSION = 1
"""Of the programmes and their grid: tables of another one are not read."""
_WHAT = "the spectra that a colour can have"

Advance = Callable[[int, int], object]


def metamers_of(model: LoadedModel, advance: Advance | None = None) -> MetamerTable:
    """The table for the camera of the training pairs of a model, from the cache if it is there.

    Args:
        model: As it was loaded.
        advance: Called as ``advance(done, total)`` while the programmes are solved, which takes a minute or
            two.

    Raises:
        InputError: The camera of its training pairs is unknown, or images are those of another one.
        BandsError: It has other bands than the bundled spectra.
    """
    camera, consistency = model.trained_camera, model.execution.consistency
    if camera is None:
        raise InputError(
            f"The range of metamers of {model.name} cannot be computed",
            expected="weights whose config.json names the camera of the training pairs",
            got="no camera",
        )
    if consistency not in (None, model.own_consistency):
        raise InputError(
            "The range of metamers is that of the camera of the training pairs",
            expected=f"images of {camera.name}",
            got=f"camera consistency for {consistency}",
            fix="Leave it out",
        )
    spectra = spectra_for(model.bands, model.name, _WHAT, "Leave it out")
    programmes = Programmes.of_spectra(camera.matrix(model.bands), spectra.second_moment)
    return _cached(programmes, model.bands, camera, advance or (lambda done, total: None))


def _cached(programmes: Programmes, bands: BandSet, camera: Camera, advance: Advance) -> MetamerTable:
    path = cache_folder() / f"metamers-{slug(camera.name)}-{_key(programmes)}.safetensors"
    found = _read(path, bands, camera.name)
    if found is not None:
        return found
    try:
        make_folder(path.parent)
    except StoreError:  # a read-only home: every process solves it for itself
        return _solved(programmes, bands, camera.name, advance)
    with hold(path, lambda _: None):
        found = _read(path, bands, camera.name)  # another process may have solved it meanwhile
        if found is None:
            found = _solved(programmes, bands, camera.name, advance)
            with suppress(StoreError):
                write_atomically(path, tensor_bytes({"ends": found.ends, "gap": found.gap}))
    return found


def _solved(programmes: Programmes, bands: BandSet, camera: str, advance: Advance) -> MetamerTable:
    total = count_of_nodes()
    return MetamerTable.solve(programmes, bands, camera, lambda done: advance(done, total))


def _key(programmes: Programmes) -> str:
    """All that decides the table."""
    digest = hashlib.sha256(repr((VERSION, metamers.STEPS, metamers.LEVELS, metamers.TOLERANCE)).encode())
    for values in (
        programmes.response,
        programmes.components @ programmes.components.T,
        programmes.residual,
    ):
        digest.update(np.round(values, 9).tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path, bands: BandSet, camera: str) -> MetamerTable | None:
    """The table in a file; None where there is none, or it is damaged."""
    try:
        found = load_tensors(path)
    except HsrzooError:
        return None
    ends, gap = found.get("ends"), found.get("gap")
    if ends is None or gap is None or ends.shape != (len(gap), 2 * len(bands)):
        return None
    return MetamerTable(ends, gap, bands, camera)


__all__ = ["metamers_of"]
