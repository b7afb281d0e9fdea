"""Pictures of a scene with the models below each other: bands, error maps, spectra.

In the manner of figures 4 and 5 of the MCGA paper: the truth first, one scale for all models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hsrzoo.datasets.base import Scene
from hsrzoo_benchmark.tables.pictures import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Of Okabe and Ito's palette, for readers of any colour vision; the truth is black."""
_LINES = ("-", "--", ":")
_STYLE: Any = {"font.size": 9, "text.parse_math": False}
_ACROSS = 4
"""Error maps in a row."""


def draw(
    scene: Scene,
    truth: Views,
    shown: Mapping[str, Views],
    chosen: Chosen,
    centres_nm: Sequence[float],
    folder: Path,
    name: str,
) -> list[dict[str, str]]:
    """Four pictures ``folder/NAME-*.png`` as file, title and alternative text. ``shown``: a model's name
    and what it gave, in the order of the pictures."""
    import matplotlib

    nm = [f"{centres_nm[band]:g} nm" for band in chosen.bands]
    at = "; ".join(f"row {y}, column {x}" for y, x in chosen.pixels)
    models = ", ".join(shown)
    with matplotlib.rc_context(_STYLE):
        paths = [
            _bands(truth, shown, nm, folder / f"{name}-bands.png"),
            _errors(scene, shown, chosen, folder / f"{name}-errors.png"),
            _spectra(truth, shown, chosen, centres_nm, folder / f"{name}-spectra.png"),
            _curves(shown, centres_nm, folder / f"{name}-curves.png"),
        ]
    texts = {
        "Bands": f"Truth and {models} at {', '.join(nm)}; a band has one grey scale, from 0 to the truth's "
        "99.5th percentile",
        "Errors": f"Root of the mean over bands of the squared error of {models} on one scale, up to the "
        "99th percentile of all",
        "Spectra": f"Truth and {models} at {at}; r: Pearson's correlation with the truth",
        "Errors by band and by brightness": f"RMSE of {models} in each band, and against the brightness of "
        "the truth, the mean over its bands; each point has as many pixels",
    }
    return [
        {"file": f"{folder.name}/{path.name}", "title": title, "alt": alt}
        for path, (title, alt) in zip(paths, texts.items(), strict=True)
    ]


def _plain(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _bands(truth: Views, shown: Mapping[str, Views], nm: Sequence[str], out: Path) -> Path:
    """Rows: truth and models; columns: bands, each from 0 to the truth's brightest, but for one in 200."""
    rows = {"truth": truth, **shown}
    tops = [max(float(np.nanpercentile(image, 99.5)), 1e-6) for image in truth.images]
    wide, high = _cell(truth)
    figure = new_figure(2.0 + wide * len(nm), 0.4 + high * len(rows))
    grid = figure.subplots(len(rows), len(nm), squeeze=False)
    for line, (model, view) in zip(grid, rows.items(), strict=True):
        for axes, image, top in zip(line, view.images, tops, strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=top, interpolation="nearest")
            _plain(axes)
        line[0].set_ylabel(_broken(model), rotation=0, ha="right", va="center", fontsize=10)
    for axes, text in zip(grid[0], nm, strict=True):
        axes.set_title(text, fontsize=10)
    return save(figure, out)


def _cell(view: Views) -> tuple[float, float]:
    """Width and height of one picture, inches: its shape, but no taller than it can be seen at once."""
    height, width = view.error.shape
    wide = min(2.3, 3.0 * width / height)
    return max(wide, 1.2), wide * height / width


def _broken(name: str) -> str:
    """A long name in two lines, parted at a dot."""
    head, dot, tail = name.rpartition(".")
    return f"{head}\n{dot}{tail}" if len(name) > 14 and dot else name


def _errors(scene: Scene, shown: Mapping[str, Views], chosen: Chosen, out: Path) -> Path:
    """The picture with the pixels whose spectra are shown, then each model's errors on one scale."""
    from matplotlib.colors import Normalize

    wide, high = _cell(next(iter(shown.values())))
    across = min(_ACROSS, len(shown) + 1)
    down = -(-(len(shown) + 1) // across)
    figure = new_figure(0.9 + 1.2 * wide * across, (1.2 * high + 0.5) * down)
    cells = figure.subplots(down, across, squeeze=False).ravel()
    _picture(cells[0], scene, chosen)
    everything = np.concatenate([view.error.ravel() for view in shown.values()])
    scale = Normalize(0, max(float(np.nanpercentile(everything, 99)), 1e-6))
    for axes, (model, view) in zip(cells[1:], shown.items(), strict=False):
        drawn = axes.imshow(view.error, cmap="inferno", norm=scale, interpolation="nearest")
        axes.set_title(_broken(model), fontsize=10)
        _plain(axes)
    for axes in cells[len(shown) + 1 :]:
        axes.set_visible(False)
    figure.colorbar(drawn, ax=list(cells), shrink=0.8, extend="max", label="RMSE over bands")
    return save(figure, out)


def _picture(axes: Axes, scene: Scene, chosen: Chosen) -> None:
    """RGB with numbered marks."""
    height, width = scene.rgb.shape[1:]
    step = chosen.step
    axes.imshow(np.clip(scene.rgb[:, ::step, ::step].transpose(1, 2, 0), 0, 1),
                extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")  # fmt: skip
    for i, (y, x) in enumerate(chosen.pixels, 1):
        axes.plot(x, y, "o", ms=9, mfc="none", mec="black", mew=3)
        axes.plot(x, y, "o", ms=9, mfc="none", mec="white", mew=1.4)
        near_right = x > width / 2
        axes.annotate(
            str(i), (x, y), (-9 if near_right else 9, 0), textcoords="offset points", va="center",
            ha="right" if near_right else "left", fontsize=10,
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85},
        )  # fmt: skip
    axes.set_title("RGB, pixels\nof the spectra", fontsize=10)
    _plain(axes)


def _spectra(
    truth: Views, shown: Mapping[str, Views], chosen: Chosen, centres_nm: Sequence[float], out: Path
) -> Path:
    """A diagram a pixel: truth black, models with their Pearson correlation with it."""
    order = np.argsort(np.asarray(centres_nm), kind="stable")
    nm = np.asarray(centres_nm, dtype=np.float64)[order]
    down = -(-len(chosen.pixels) // 2)
    figure = new_figure(12.5, (2.2 + 0.16 * max(len(shown) - 4, 0)) * down + 0.6)
    cells: Any = figure.subplots(down, min(2, len(chosen.pixels)), squeeze=False).ravel()
    for i, ((y, x), axes) in enumerate(zip(chosen.pixels, cells, strict=False)):
        true = truth.spectra[i][order]
        axes.plot(nm, true, color="black", lw=2.4, label="truth")
        for k, (model, view) in enumerate(shown.items()):
            curve = view.spectra[i][order]
            axes.plot(
                nm, curve, _LINES[k // len(_COLOURS) % len(_LINES)], color=_COLOURS[k % len(_COLOURS)],
                lw=1.4, label=f"{model}, r = {correlation(true, curve)}",
            )  # fmt: skip
        axes.set_title(f"{i + 1}: row {y}, column {x}", fontsize=10, loc="left")
        axes.set(xlabel="wavelength, nm", ylabel="value, 0 to 1")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(True, color="#e4e4e4", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    for axes in cells[len(chosen.pixels) :]:
        axes.set_visible(False)
    return save(figure, out)


def _curves(shown: Mapping[str, Views], centres_nm: Sequence[float], out: Path) -> Path:
    """RMSE over wavelength, and over the brightness of the truth."""
    order = np.argsort(np.asarray(centres_nm), kind="stable")
    nm = np.asarray(centres_nm, dtype=np.float64)[order]
    figure = new_figure(12.5, 3.2 + 0.16 * max(len(shown) - 10, 0))
    left, right = figure.subplots(1, 2, sharey=True)
    for k, (model, view) in enumerate(shown.items()):
        style: Any = {
            "ls": _LINES[k // len(_COLOURS) % len(_LINES)],
            "color": _COLOURS[k % len(_COLOURS)],
            "lw": 1.4,
        }
        left.plot(nm, view.by_band[order], **style)
        right.plot(view.light, view.by_light, marker="o", ms=3, label=model, **style)
    left.set(xlabel="wavelength, nm", ylabel="RMSE")
    right.set(xlabel="brightness of the truth, mean over bands")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.grid(True, color="#e4e4e4", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return save(figure, out)


def correlation(true: np.ndarray, curve: np.ndarray) -> str:
    """Pearson's r of two spectra (C,) over the bands that have data; n/a where one of them is flat."""
    known = np.isfinite(true) & np.isfinite(curve)
    left, right = (part[known].astype(np.float64) for part in (true, curve))
    if len(left) < 2 or left.std() == 0 or right.std() == 0:
        return "n/a"
    return f"{np.corrcoef(left, right)[0, 1]:.4f}"


@dataclass(frozen=True)
class Views:
    """What pictures show of one cube."""

    images: np.ndarray
    """(K, h, w) float32: the chosen bands."""
    error: np.ndarray
    """(h, w) float32: root of the mean over bands of the squared error; NaN without data."""
    spectra: np.ndarray
    """(P, C) float32 at the chosen pixels."""
    by_band: np.ndarray
    """(C,) float32: RMSE of each band; NaN for one without data."""
    by_light: np.ndarray
    """(L,) float32: RMSE of the pixels of each part of :attr:`light`."""
    light: np.ndarray
    """(L,) float32: mean over bands of the truth, from dark to bright, as means of parts with as many
    pixels each."""


@dataclass(frozen=True)
class Chosen:
    """What is shown of one scene: decided by the truth alone, so the same for all models."""

    bands: np.ndarray
    """(K,) indices."""
    pixels: np.ndarray
    """(P, 2) rows and columns."""
    step: int
    """Every how many-th pixel a picture has."""
