"""The calibration of prediction intervals on scenes that a model was not trained on.

For every fold there are a model, a table of training colours and a second model that have not seen the
fold's scenes; the errors on a sample of pixels of each of these scenes decide everything else. The scale
of the errors of a scene is made from those of all others. What a fold gave is kept, so that an interrupted
run goes on.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hsrzoo.colour.chromaticity import ChromaticityTable, Moments
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import DatasetError, InputError
from hsrzoo.models.metadata import trained_scenes
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec, build_module, resolve
from hsrzoo.uncertainty.apply import require_same_camera
from hsrzoo.uncertainty.conformal import LEVELS, joint_scores, place, scene_score, thresholds, too_few
from hsrzoo.uncertainty.file import require_pixelwise
from hsrzoo.uncertainty.intervals import Intervals, bounds, percentiles
from hsrzoo.uncertainty.scale import fit_weights, scale_of, scale_terms
from hsrzoo.utils.files import atomic_file, make_folder

if TYPE_CHECKING:
    from torch import nn

    from hsrzoo.models.reconstructor import Reconstructor

PIXELS = 8_192
"""Of each scene that are looked at, drawn at random; all of a smaller scene."""
FITTED = 2_048
"""Of these, which the weights of the scale are fitted to."""


@dataclass(frozen=True)
class Fold:
    """Scenes, and a model that was not trained on them."""

    name: str
    open: Callable[[], Reconstructor]
    scenes: tuple[str, str]
    """Split of the scenes, and the split that model, table and second model were made from."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """What calibration needs of pixels of a scene."""

    rgb: Tensor
    """(N, 3)."""
    cube: Tensor
    """(N, C), predicted."""
    truth: Tensor
    """(N, C); NaN without data."""
    second: Tensor | None
    """(N, C) of the second model."""
    spread: np.ndarray
    """(cells, C) of the table."""
    distance: np.ndarray
    """(N,) of their colours from those of training."""


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors and the terms of their scale."""

    errors: Tensor
    """(N, C) float32, absolute; NaN without data."""
    terms: tuple[Tensor, ...]
    """Of the scale, which broadcast to (N, C)."""
    cube: Tensor
    """(N, C), predicted."""


def calibrate(
    dataset: Dataset,
    folds: Sequence[Fold],
    training: str,
    second: str | None,
    kept: Path,
    advance: Callable[[str], None],
) -> Intervals:
    """Calibrate intervals.

    Args:
        dataset: Of the scenes; its bands are the models'.
        folds: At least one.
        training: The split that the weights were trained on, for the table and the second model that are
            stored.
        second: Architecture of the second model, which is fitted in seconds; None: there is none.
        kept: Folder of what an interrupted run has found.
        advance: Called with the name of each scene that is done.

    Returns:
        The calibration; its ``about`` lacks what is known of the weights.

    Raises:
        BandsError: The data have other bands.
        InputError: Too few scenes for the lowest level, or a model was trained on a scene of its fold.
        DatasetError: A band has no data.
    """
    names = [name for fold in folds for name in dataset.scenes(fold.scenes[0])]
    if place(len(names), LEVELS[0]) > len(names):
        raise too_few(len(names), LEVELS[0])
    make_folder(kept)
    pixels = [each for fold in folds for each in _pixels(dataset, fold, second, kept, advance)]
    table = table_of(dataset, training)
    distances = [each.distance for each in pixels]
    unfamiliar = percentiles(table.distance.numpy(), distances)
    moments = [_moments(each) for each in pixels]
    of_all = reduce(Moments.plus, moments)
    found = [_errors(each, table, of_all.minus(own)) for each, own in zip(pixels, moments, strict=True)]
    weights = fit_weights([_sample(each) for each in found])
    ratios = [(e.errors / scale_of(weights, e.terms)).numpy() for e in found]
    for name, ratio in zip(names, ratios, strict=True):
        if np.isnan(ratio).all(axis=0).any():
            raise DatasetError(f"A band of {name} in {dataset.name} has no data", fix="Choose other scenes")
    of_bands = {level: np.stack([scene_score(ratio, level) for ratio in ratios]) for level in LEVELS}
    scores = np.stack([joint_scores(ratios, of_bands[level], level) for level in LEVELS])
    module = None if second is None else _fitted(MODELS.get(second), dataset, training)
    about = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "response": dataset.info.get("response"),
        "scenes": names,
        "folds": {fold.name: list(fold.scenes) for fold in folds},
        "table_split": training,
        "table_scenes": table.scenes,
        "second": None if second is None else {"architecture": second, "arguments": {}},
        "left_out": _left_out(found, weights, ratios, of_bands),
    }
    return Intervals(
        _with_errors(table, of_all, table.spread.numpy()).spread, tuple(weights),
        torch.from_numpy(scores.astype(np.float32)), torch.from_numpy(unfamiliar.astype(np.float32)),
        module, dataset.bands, about,
    )  # fmt: skip


def _pixels(
    dataset: Dataset, fold: Fold, second: str | None, kept: Path, advance: Callable[[str], None]
) -> Iterator[Pixels]:
    """Pixels of the scenes of a fold; its models are only made where a scene is still missing."""
    split, training = fold.scenes
    names = dataset.scenes(split)
    files = [kept / f"{fold.name}.{i}.npz" for i in range(len(names))]
    if not all(file.exists() for file in files):
        model = fold.open()
        _require_unseen(model, dataset, names)
        table = table_of(dataset, training)
        other = None if second is None else _fitted(MODELS.get(second), dataset, training)
    for name, file in zip(names, files, strict=True):
        if not file.exists():
            _write(file, _pixels_of(dataset, split, name, model, table, other))
        advance(name)
        yield _read(file)


def _pixels_of(
    dataset: Dataset, split: str, name: str, model: Reconstructor, table: ChromaticityTable,
    second: nn.Module | None,
) -> Pixels:  # fmt: skip
    scene = dataset.load(split, name)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    count = scene.rgb[0].size
    chosen = np.arange(count) if count <= PIXELS else np.sort(rng.choice(count, PIXELS, replace=False))

    def pixels(image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image.reshape(len(image), -1)[:, chosen].T))

    rgb, cube, truth = pixels(scene.rgb), pixels(model.predict(scene.rgb)), pixels(scene.cube)
    spectra = None if second is None else spectra_of(second, rgb)
    return Pixels(rgb, cube, truth, spectra, table.spread.numpy(), table.distance_at(rgb).numpy())


def _moments(found: Pixels) -> Moments:
    """Of the errors of a scene; pixels without data in a band do not count."""
    errors = found.cube - found.truth
    known, moments = ~errors.isnan().any(dim=1), Moments()
    moments.add(found.rgb[known], errors[known].numpy())
    return moments


def _with_errors(table: ChromaticityTable, errors: Moments, spread: np.ndarray) -> ChromaticityTable:
    """The table with the size of errors, and where few scenes have a colour, of ``spread``."""
    combined = errors.root_mean_square(spread).astype(np.float32)
    return replace(table, spread=torch.from_numpy(combined))


def _errors(found: Pixels, table: ChromaticityTable, others: Moments) -> Errors:
    """The errors of a scene with the terms that all ``others`` give."""
    own = _with_errors(table, others, found.spread)
    terms = tuple(scale_terms(own, found.rgb, found.cube, found.second))
    return Errors((found.cube - found.truth).abs(), terms, found.cube)


@torch.inference_mode()
def spectra_of(module: nn.Module, rgb: Tensor) -> Tensor:
    """Spectra (N, C) of pixels (N, 3) by a model of single pixels."""
    return module(rgb.t()[None, :, None])[0, :, 0].t().contiguous()


def _left_out(
    scenes: Sequence[Errors], weights: Sequence[float], ratios: Sequence[np.ndarray],
    of_bands: Mapping[float, np.ndarray],
) -> dict[str, dict[str, list[float]]]:  # fmt: skip
    """Level -> the coverage and the mean width, upper - lower, of each scene by the factors that all other
    scenes give; levels that so many do not support are left out."""
    count = len(scenes)
    found: dict[str, dict[str, list[float]]] = {}
    for level in (one for one in LEVELS if place(count - 1, one) <= count - 1):
        columns: dict[str, list[float]] = {"coverage": [], "width": []}
        for i, (scene, ratio) in enumerate(zip(scenes, ratios, strict=True)):
            others = [*ratios[:i], *ratios[i + 1 :]]
            factors = thresholds(joint_scores(others, np.delete(of_bands[level], i, axis=0), level), level)
            known = ~scene.errors.isnan()
            columns["coverage"].append(float(np.mean((ratio <= factors)[known.numpy()])))
            half = scale_of(weights, scene.terms) * torch.from_numpy(factors).float()
            lower, upper = bounds(scene.cube, half)
            columns["width"].append(float((upper - lower)[known].mean()))
        found[f"{level:g}"] = columns
    return found


def _sample(found: Errors) -> tuple[Tensor, Sequence[Tensor]]:
    """Every few pixels of a scene, for the fit of the weights."""
    step = max(1, len(found.errors) // FITTED)
    return found.errors[::step], [term[::step] if len(term) > 1 else term for term in found.terms]


def table_of(dataset: Dataset, split: str) -> ChromaticityTable:
    """The table of the colours of a split; pixels without data in a band do not count."""

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for name in dataset.scenes(split):
            scene = dataset.load(split, name)
            known = ~np.isnan(scene.cube).any(axis=0)
            if known.any():
                yield scene.rgb[:, known].T, scene.cube[:, known].T

    return ChromaticityTable.build(pairs())


def _fitted(spec: ModelSpec, dataset: Dataset, split: str) -> nn.Module:
    """The second model, fitted to a split."""
    if spec.fit is None:
        fix = "Name one that `hsrzoo fit` takes, or none"
        raise InputError(f"{spec.name} is trained, not fitted, and cannot be the second model", fix=fix)
    module = build_module(spec, dataset.bands, {})
    require_pixelwise(module, spec, InputError)
    resolve(spec.fit)(module, dataset, split)
    return module.eval().requires_grad_(False)


def _require_unseen(model: Reconstructor, dataset: Dataset, names: Sequence[str]) -> None:
    dataset.bands.require_same(model.bands, dataset.name, model.name)
    require_same_camera(model.name, model.config, dataset.info.get("response"))
    seen = sorted(trained_scenes(model.config, dataset.name).intersection(names))
    if seen:
        raise InputError(
            f"{model.name} was trained on scenes that it is to be calibrated on",
            expected="a split without them, or weights of every fold",
            got=", ".join(seen[:5]) + (f" and {len(seen) - 5} more" if len(seen) > 5 else ""),
            fix="Train a model without each fold (--split without-fold-0 and so on) and name them by "
            "--fold-models, or calibrate on another split",
        )


def _write(file: Path, found: Pixels) -> None:
    arrays = {name: np.asarray(value) for name, value in vars(found).items() if value is not None}
    with atomic_file(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _read(file: Path) -> Pixels:
    with np.load(file, allow_pickle=False) as found:
        images = {name: torch.from_numpy(found[name]) for name in ("rgb", "cube", "truth")}
        second = torch.from_numpy(found["second"]) if "second" in found.files else None
        return Pixels(**images, second=second, spread=found["spread"], distance=found["distance"])


@contextmanager
def kept_scenes(kept: Path, identity: Mapping[str, Any]) -> Iterator[None]:
    """Keep the scenes of an interrupted run in the folder ``kept``; of a complete or refused one, nothing.

    Raises:
        InputError: The folder has scenes of a run with another ``identity``, a JSON object.
    """
    file, text = kept / "run.json", json.dumps(dict(identity), sort_keys=True)
    if any(kept.glob("*.npz")) and file.exists() and file.read_text() != text:
        raise InputError(
            f"{kept} is of an interrupted run with other options or weights",
            fix="Repeat that command, or delete the folder",
        )
    make_folder(kept)
    file.write_text(text)
    try:
        yield
    except BaseException:
        if not any(kept.glob("*.npz")):
            shutil.rmtree(kept)
        raise
    shutil.rmtree(kept)


__all__ = ["Fold", "calibrate", "kept_scenes", "spectra_of", "table_of"]
