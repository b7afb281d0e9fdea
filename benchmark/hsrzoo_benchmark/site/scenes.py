"""Scenes of a site: models run on them once; what pictures need is kept, so that a killed run goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.cli import output
from hsrzoo.datasets import open_dataset
from hsrzoo.datasets.base import Dataset, Scene, data_masks
from hsrzoo.errors import HsrzooError, InputError, require_known
from hsrzoo.io.common import output_file
from hsrzoo.registry import METRICS
from hsrzoo.results import HASH_LENGTH, POOLED, ScoreRow
from hsrzoo.utils.files import make_folder, slug
from hsrzoo_benchmark.plan.models import RunModes, load_models, plain_name
from hsrzoo_benchmark.results.figures import Entry, Group
from hsrzoo_benchmark.results.groups import Current, clean_group, groups
from hsrzoo_benchmark.site import scene_figures
from hsrzoo_benchmark.site.scene_figures import Chosen, Views
from hsrzoo_benchmark.tables.numbers import in_main_order, measured, metric_heading

FIRST = 3
"""Scenes that are drawn where none is named."""
LARGEST = 512
"""Pixels of a side beyond which pictures show every second, third, ... pixel."""
_BANDS, _PIXELS = 4, 4
_PARTS = 10
"""Of the pixels, from dark to bright."""
_LAYOUT = 2
"""Of a cached file; raised when what it holds changes."""


def sections(
    current: Current,
    folder: Path,
    wanted: Sequence[str],
    data_root: Path | None,
    data_options: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Draw the ``wanted`` scenes of the first group of undisturbed images; what the page shows of each."""
    group = clean_group(
        groups(row for row in current.scores if row.split != POOLED)
    )  # of one set of weights
    dataset, split = group.place
    data = open_dataset(dataset, data_root, **data_options)
    names = _names(data, split, wanted)
    if data.fingerprint() != group.first.fingerprint:
        raise InputError(
            f"The files of {dataset} are others than those that were scored",
            expected=f"fingerprint {group.first.fingerprint}",
            got=data.fingerprint(),
            fix="Name the data with --data-root and --data-option",
        )
    make_folder(folder / ".cache")
    entries = _ordered(group)
    missing = _predict(data, split, names, entries, folder / ".cache")
    return [_section(group, data.load(split, name), data, entries, folder, missing) for name in names]


def _names(data: Dataset, split: str, wanted: Sequence[str]) -> list[str]:
    known = data.scenes(split)
    for name in wanted:
        require_known(f"scene of {data.name}/{split}", name, known)
    return list(dict.fromkeys(wanted)) or known[:FIRST]


def _cell(entry: Entry, row: ScoreRow, column: str) -> str:
    value = entry.values[row.scene, row.seed].get(column)
    return "n/a" if value is None else measured(value)


def _ordered(group: Group) -> list[Entry]:
    """Models run as usual, without adaptation, by their mean RMSE."""
    usual = [
        e for e in group.all_entries if not e.first.tta and e.label == plain_name(e.label) and e.has("rmse")
    ]

    def mean(entry: Entry) -> float:
        value = float(np.mean(list(entry.scenes("rmse").values())))
        return math.inf if math.isnan(value) else value

    return sorted(usual, key=mean)


def choose(scene: Scene, centres_nm: Sequence[float]) -> Chosen:
    """Bands spread evenly over the range that has data; pixels of unlike colours among the brighter half
    (dark ones have hardly a spectrum), neither at the border nor overexposed."""
    there, valid = data_masks(scene.cube)
    kept = np.flatnonzero(there)
    kept = kept[np.argsort(np.asarray(centres_nm)[kept], kind="stable")]
    at = (np.arange(_BANDS) + 0.5) / _BANDS * len(kept)
    bands = kept[np.unique(at.astype(int))]
    return Chosen(bands, _unlike(scene.rgb, valid), -(-max(scene.cube.shape[1:]) // LARGEST))


def _unlike(rgb: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(P, 2): pixels of ``rgb`` (3, H, W) whose colours are far apart, found one after another."""
    from scipy.ndimage import uniform_filter

    smooth = np.stack([uniform_filter(channel.astype(np.float64), 5) for channel in rgb])
    light = smooth.sum(axis=0)
    inner = np.zeros_like(valid)
    edge = min(4, (min(valid.shape) - 1) // 2)
    inner[edge : valid.shape[0] - edge, edge : valid.shape[1] - edge] = True
    usable = valid & inner & (light > 0)
    if not usable.any():
        usable = valid
    calm = usable & (smooth.max(axis=0) < 0.98) & (light >= np.median(light[usable]))
    places = np.argwhere(calm if calm.any() else usable)
    colours = np.array([smooth[:, y, x] / max(light[y, x], 1e-9) for y, x in places])
    first = int(np.argmin(np.linalg.norm(colours - np.median(colours, axis=0), axis=1)))
    chosen, distance = [first], np.full(len(places), np.inf)
    while len(chosen) < min(_PIXELS, len(places)):
        distance = np.minimum(distance, np.linalg.norm(colours - colours[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance)))
    return places[chosen]


def _predict(
    data: Dataset, split: str, names: Sequence[str], entries: Sequence[Entry], cache: Path
) -> list[str]:
    """Make the cached files that are missing; what could not be made, one line each."""
    failed = []
    jobs = {e.label: [name for name in names if not cached(cache, e, name).exists()] for e in entries}
    with output.steps("scenes", sum(map(len, jobs.values()))) as advance:
        for entry in entries:
            try:
                _predict_with(data, split, jobs[entry.label], entry, cache, advance)
            except HsrzooError as error:
                failed.append(f"{entry.label} is not shown: {error}")
    for line in failed:
        output.say(line)
    return failed


def _predict_with(
    data: Dataset, split: str, names: Sequence[str], entry: Entry, cache: Path, advance: Any
) -> None:
    if not names:
        return
    model = load_models([entry.label], RunModes(), None, None, data.bands).models[0]
    if model.identity != entry.first.model_sha256:
        raise InputError(
            "The weights on this machine are others than those that were scored",
            expected=str(entry.first.model_sha256)[:HASH_LENGTH],
            got=str(model.identity)[:HASH_LENGTH],
        )
    data.bands.require_same(model.bands, f"the data set {data.name}", f"the model {model.name}")
    for name in names:
        scene = data.load(split, name)
        shown = views(scene, model.predict(scene.rgb), choose(scene, data.bands.centres_nm))
        with output_file(cached(cache, entry, name)) as temporary:
            images, error = (part.astype(np.float16) for part in (shown.images, shown.error))
            np.savez_compressed(temporary, **{**vars(shown), "images": images, "error": error})
        advance(f"{name}: {entry.label}")


def cached(cache: Path, entry: Entry, scene: str) -> Path:
    """The file of one model's :class:`Views` of one scene: by the model's identity, the scene and its
    files, and the protocol."""
    first = entry.first
    model, protocol = (str(hash_)[:HASH_LENGTH] for hash_ in (first.model_sha256, first.protocol_hash))
    parts = model, first.fingerprint, scene, protocol
    return cache / f"{_LAYOUT}_{'_'.join(slug(part) for part in parts)}.npz"


def views(scene: Scene, cube: np.ndarray, chosen: Chosen) -> Views:
    """What pictures show of ``cube`` (C, H, W), a reconstruction of ``scene`` or its truth."""
    step = chosen.step
    there, _ = data_masks(scene.cube)
    true = scene.cube[there, ::step, ::step].astype(np.float64)
    squares = (cube[there, ::step, ::step] - true) ** 2
    error = np.sqrt(np.mean(squares, axis=0))
    rows, columns = chosen.pixels.T
    known = np.isfinite(true).all(axis=0)
    by_band = np.full(len(cube), np.nan, np.float32)
    if known.any():
        by_band[there] = np.sqrt(squares[:, known].mean(axis=1))
    light = true.mean(axis=0)[known]
    parts = [part for part in np.array_split(np.argsort(light, kind="stable"), _PARTS) if len(part)]
    by_light = [np.sqrt(squares[:, known][:, part].mean()) for part in parts]
    return Views(
        cube[chosen.bands, ::step, ::step].astype(np.float32),
        error.astype(np.float32),
        cube[:, rows, columns].T.astype(np.float32),
        by_band,
        np.array(by_light, np.float32),
        np.array([light[part].mean() for part in parts], np.float32),
    )


def _bands(shown: Mapping[str, Views], centres_nm: Sequence[float]) -> dict[str, Any]:
    """The table of RMSE by band: names of models, and a row for each band, by wavelength."""
    rows = [
        [f"{centres_nm[i]:g}", *(measured(float(view.by_band[i])) for view in shown.values())]
        for i in np.argsort(np.asarray(centres_nm), kind="stable")
    ]
    return {"models": list(shown), "rows": rows}


def _section(
    group: Group,
    scene: Scene,
    data: Dataset,
    entries: Sequence[Entry],
    folder: Path,
    missing: Sequence[str],
) -> dict[str, Any]:
    chosen = choose(scene, data.bands.centres_nm)
    shown: dict[str, Views] = {}
    for entry in entries:
        path = cached(folder / ".cache", entry, scene.name)
        if path.exists():
            with np.load(path, allow_pickle=False) as file:
                shown[entry.label] = Views(*(file[key].astype(np.float32) for key in Views.__annotations__))
    metrics = in_main_order(group.metrics)
    pictures = scene_figures.draw(
        scene, views(scene, scene.cube, chosen), shown, chosen, data.bands.centres_nm, folder / "pictures",
        "-".join(slug(part) for part in (*group.place, scene.name)),
    ) if shown else []  # fmt: skip
    crop = group.first.protocol["crop"]
    notes = [f"Scored without a border of {crop} pixels; pictures show the whole frame."] if crop else []
    return {
        "name": scene.name,
        "place": f"{'/'.join(group.place)}, protocol {group.first.protocol_name}",
        "headings": [metric_heading(metric) for metric in metrics],
        "rows": [
            {
                "model": entry.label,
                "cells": [_cell(entry, row, METRICS.get(metric).columns[0]) for metric in metrics],
                "identity": row.model_sha256,
                "protocol": row.protocol_hash,
            }
            for entry in entries
            for row in [row for row in entry.rows if row.scene == scene.name][-1:]
        ],
        "pictures": pictures,
        "bands": _bands(shown, data.bands.centres_nm),
        "notes": [*notes, *missing],
    }
