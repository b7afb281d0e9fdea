"""Figures 3, 4b and 5 of the MCGA paper: numbers on stdout and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.errors import InputError
from hsrzoo_benchmark.reproduce.tables import OURS, PLACES, headline
from hsrzoo_benchmark.tables.pictures import new_figure, save

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Scene
    from hsrzoo.models.reconstructor import Reconstructor


def shares(rows: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Figure 3: RMSE and MRAE against the share of gamma, with intervals over scenes."""
    figure = new_figure(7, 3)
    axes = figure.subplots(1, 2)
    percent = [int(row["model"].partition(" ")[0]) for row in rows]
    for axis, metric in zip(axes, ("rmse", "mrae"), strict=True):
        means = [row[metric] for row in rows]
        axis.plot(percent, means, "o-")
        if all(row[f"{metric}_low"] is not None for row in rows):
            low, high = ([row[f"{metric}_{end}"] for row in rows] for end in ("low", "high"))
            axis.fill_between(percent, low, high, alpha=0.2)
        axis.set(xlabel="channels given to gamma, %", ylabel=metric.upper())
    return save(figure, out)


def draw(
    what: str,
    dataset: str,
    *,
    out: Path | None,
    models: tuple[str, ...],
    scene: str | None,
    region: str | None,
    data_root: Path | None,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Figures 4b and 5, which run models: print the numbers, save the picture; the exit code."""
    from hsrzoo.cli import output
    from hsrzoo.datasets import open_dataset
    from hsrzoo_benchmark.plan.models import RunModes, load_models

    if what == "figure-4b" and len(models) > 1:
        raise InputError("Figure 4b shows one model", expected="one --model", got=", ".join(models))
    data = open_dataset(dataset, data_root)
    split = PLACES[dataset][-1].split
    loaded = data.load(split, scene or data.scenes(split)[0])
    wanted = (OURS, "mst-plus-plus") if what == "figure-5" else (OURS,)
    names = models or tuple(headline(arch, dataset) for arch in wanted)
    reconstructors = load_models(names, RunModes(), "cpu", None, data.bands).models
    out = out or Path(f"{what}.png")
    if what == "figure-4b":
        rows = features(reconstructors[0], loaded, out)
    else:
        for model in reconstructors:
            data.bands.require_same(model.bands, f"the data set {dataset}", f"the model {model.name}")
        rows = densities(reconstructors, loaded, data.bands.centres_nm, out, region)
    title = f"{what}: {dataset}/{split}, {loaded.name}"
    output.print_table(rows, list(rows[0]), as_json=as_json, as_csv=as_csv, title=title)
    output.say(f"Picture: {out}")
    return 0


def features(model: Reconstructor, scene: Scene, out: Path) -> list[dict[str, Any]]:
    """Figure 4b: the maps that the model's spec tells, each drawn from its least to its greatest value; as
    numbers their mean, spread and how dark they are: the share of pixels below a quarter of the range."""
    import torch

    from hsrzoo.models.rgb import normalise, pad
    from hsrzoo.spec import resolve

    if model.spec.features is None or not hasattr(model, "module"):  # an exported file has none
        raise InputError(
            f"{model.name} does not tell its features", expected="a model whose ModelSpec has `features`"
        )
    image = torch.from_numpy(np.ascontiguousarray(scene.rgb))[None].float()
    rgb = pad(normalise(image, model.spec.input.normalise), model.spec.input)
    maps = resolve(model.spec.features)(model.module, rgb)
    arrays = {title: part.float().cpu().numpy() for title, part in maps.items()}
    figure = new_figure(2.2 * (len(arrays) + 1), 2.5)
    axes = figure.subplots(1, len(arrays) + 1)
    axes[0].imshow(np.clip(scene.rgb.transpose(1, 2, 0), 0, 1))
    axes[0].set_title("RGB")
    for axis, (title, part) in zip(axes[1:], arrays.items(), strict=True):
        axis.imshow(part, cmap="gray")
        axis.set_title(title)
    for axis in axes:
        axis.set_axis_off()
    save(figure, out)
    return [{"feature": title, **_spread(part)} for title, part in arrays.items()]


def _spread(part: np.ndarray) -> dict[str, float]:
    low, high = float(part.min()), float(part.max())
    dark = float(np.mean(part < low + (high - low) / 4))
    return {
        "mean": float(part.mean()),
        "std": float(part.std()),
        "least": low,
        "greatest": high,
        "dark": dark,
    }


def densities(
    models: Sequence[Reconstructor],
    scene: Scene,
    centres_nm: Sequence[float],
    out: Path,
    region: str | None,
) -> list[dict[str, Any]]:
    """Figure 5: the mean spectrum of a region as a density over wavelength (its integral is 1), true and
    reconstructed, and each one's Pearson correlation with the truth. One row a band, nm and 1/nm; the last
    row holds the correlations."""
    y, x, height, width = window(region, *scene.cube.shape[1:])
    order = np.argsort(np.asarray(centres_nm), kind="stable")  # spectrometers overlap on EnMAP
    nm = np.asarray(centres_nm, dtype=np.float64)[order]

    def density(cube: np.ndarray) -> np.ndarray:
        mean = cube[:, y : y + height, x : x + width].astype(np.float64).mean((1, 2))[order]
        return mean / np.sum((mean[1:] + mean[:-1]) / 2 * np.diff(nm))  # the trapezoidal rule

    curves = {"true": density(scene.cube)}
    curves |= {model.name: density(model.predict(scene.rgb)) for model in models}
    correlation = {name: float(np.corrcoef(curves["true"], c)[0, 1]) for name, c in curves.items()}
    figure = new_figure(8, 3)
    picture, axis = figure.subplots(1, 2)
    picture.imshow(np.clip(scene.rgb.transpose(1, 2, 0), 0, 1))
    picture.plot([x, x + width, x + width, x, x], [y, y, y + height, y + height, y], "r-")
    picture.set_axis_off()
    for name, curve in curves.items():
        label = name if name == "true" else f"{name}, r = {correlation[name]:.4f}"
        axis.plot(nm, curve, "k" if name == "true" else "-", label=label)
    axis.set(xlabel="wavelength, nm", ylabel="density, 1/nm")
    axis.legend(fontsize=7)
    save(figure, out)
    rows: list[dict[str, Any]] = [
        {"nm": float(at), **{name: float(c[i]) for name, c in curves.items()}} for i, at in enumerate(nm)
    ]
    return [*rows, {"nm": "correlation", **correlation}]


def window(region: str | None, height: int, width: int) -> tuple[int, int, int, int]:
    """``Y,X,H,W`` in pixels, by default the middle quarter; InputError where it is not in the image."""
    if region is None:
        return height // 4, width // 4, max(1, height // 2), max(1, width // 2)
    parts = region.split(",")
    if len(parts) == 4 and all(part.strip().isdecimal() for part in parts):
        y, x, h, w = (int(part) for part in parts)
        if h and w and y + h <= height and x + w <= width:
            return y, x, h, w
    raise InputError(
        "The region is not in the image", expected=f"Y,X,H,W within {height} x {width} pixels", got=region
    )
