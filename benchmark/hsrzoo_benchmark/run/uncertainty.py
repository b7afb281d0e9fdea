"""The benchmark of prediction intervals: do they hold the truth, how wide are they, and do they say where
a model is wrong?

Of the intervals of 90 %, over all values of a scene that have data:

- ``coverage``: share of the values within their interval; for each band, too.
- ``width``: mean of upper - lower.
- ``interval_score``: mean of the width plus 2 / 0.1 times the distance of values outside from the nearer
  end (Gneiting and Raftery 2007, eq. 43); lower is better.
- ``calibration_error``: mean over all supported levels of |coverage - level|.

Of the scale that the intervals are multiples of:

- ``ause``: area under the sparsification error curve (Ilg et al. 2018): RMSE of the pixels that are left
  after those of largest scale were removed, minus that after those of largest error were, divided by the
  RMSE of all and averaged over removed shares from 0 to 0.95. 0: the scale orders pixels as errors do.
- ``ause_brightness``: the same with R + G + B in place of the scale.
- ``scale_correlation``: Spearman's rank correlation of scale and |error| over values.

And ``unlike``: share of the pixels whose colour is unlike the training data.

Conditions: the scenes as they are; image and truth at another exposure; and, where RGB is rendered, other
cameras and metamers. A metamer has the same picture and so the same intervals around another truth: what
they do not cover then is what no interval from colour alone could.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hsrzoo.colour.responses import STANDARD
from hsrzoo.datasets.base import Scene, any_data
from hsrzoo.errors import HsrzooError, InputError
from hsrzoo.perturb import Perturbed
from hsrzoo.registry import PERTURBATIONS
from hsrzoo.spec import PerturbationContext, PerturbationSpec, resolve
from hsrzoo_benchmark.protocol import crop_border

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

NAME, RENDERED = "uncertainty", "uncertainty-rendered"
NAMES = (NAME, RENDERED)
LEVEL = 0.9
COLUMNS = (
    "coverage", "width", "interval_score", "calibration_error", "ause", "ause_brightness",
    "scale_correlation", "unlike",
)  # fmt: skip
"""What rows have besides the metrics."""
WORST = "coverage_worst"
"""The least ``coverage`` of a scene, as a figure."""
Aligned = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
_REMOVED = np.arange(20) / 20
_RANKED = 20_000
"""Pixels whose values are ranked, drawn at random: more change no digit that is shown."""


def _apply(
    rgb: np.ndarray, cube: np.ndarray, inner: tuple[str, str] | None, generator: np.random.Generator,
    *context: PerturbationContext,
) -> Perturbed:  # fmt: skip
    """The scene as ``inner``, a perturbation and its severity, changes it; None: as it is."""
    if inner is None:
        return rgb, cube, {}
    spec = PERTURBATIONS.get(inner[0])
    known = context if spec.needs_camera else ()
    return resolve(spec.apply)(rgb, cube, spec.severities[inner[1]], generator, *known)


SPEC = PerturbationSpec(
    name=NAME,
    apply=_apply,
    severities={"clean": None, **{f"gain-both-{s}": ("gain-both", s) for s in ("0.5", "2")}},
    default=("clean", "gain-both-0.5", "gain-both-2"),
    summary="prediction intervals: coverage, width and what they say of errors",
    touches_cube=True,
)
RENDERED_SPEC = PerturbationSpec(
    name=RENDERED,
    apply=_apply,
    severities={**{name: ("camera", name) for name in STANDARD}, "metamer-1": ("metamer", "1")},
    default=(*STANDARD, "metamer-1"),
    summary="prediction intervals for other cameras and for metamers",
    touches_cube=True,
    needs_camera=True,
)


def reason_without_intervals(model: Reconstructor) -> HsrzooError | None:
    """Why there are no intervals of a model to score; None: there are."""
    from hsrzoo.models.onnx_runtime import OnnxModel

    if isinstance(model, OnnxModel):
        fix = "Score the model that it was exported from: the file was checked against it"
        return InputError("Intervals of exported files are not scored", got=model.name, fix=fix)
    try:
        model.require_intervals(LEVEL)
    except HsrzooError as error:
        return error
    return None


def score_intervals(
    model: Reconstructor, scene: Scene, pred: np.ndarray, aligned: Aligned, crop: int
) -> tuple[dict[str, float], np.ndarray]:
    """:data:`COLUMNS` of a prediction (C, H, W) of ``scene``, and the coverage (C',) of each scored band.

    ``aligned``: gives truth and a cube (C, H, W) on the bands (C', H', W') and pixels that are scored,
    without ``crop`` pixels on each side.
    """
    import torch

    from hsrzoo.uncertainty.conformal import LEVELS, place
    from hsrzoo.uncertainty.intervals import UNLIKE, bounds

    intervals = model.require_intervals(LEVEL)
    rgb, cube = (torch.from_numpy(np.ascontiguousarray(x, np.float32))[None] for x in (scene.rgb, pred))
    with torch.inference_mode():
        scale = intervals.scale(rgb, cube)[0]
        unfamiliar = intervals.unfamiliar_at(rgb)[0].numpy()
    truth, made = aligned(pred)
    there, gaps = ~np.isnan(truth), []
    columns: dict[str, float] = {}
    for level in (one for one in LEVELS if place(intervals.scenes, one) <= intervals.scenes):
        half = scale * torch.from_numpy(intervals.factors(level)).float()[:, None, None]
        lower, upper = (aligned(end.numpy())[1] for end in bounds(cube[0], half))
        inside = (truth >= lower) & (truth <= upper)
        gaps.append(abs(float(inside[there].mean()) - level))
        if level == LEVEL:
            columns |= _interval_score(truth[there], lower[there], upper[there])
            per_band = _share_by_band(inside, there)
    columns["calibration_error"] = float(np.mean(gaps))
    brightness = crop_border(scene.rgb.sum(axis=0)[None], crop)[0]
    columns |= _ordering(np.abs(truth - made), aligned(scale.numpy())[1], brightness)
    known = any_data(scene.cube)
    columns["unlike"] = float((unfamiliar > UNLIKE)[known].mean()) if known.any() else float("nan")
    return columns, per_band


def _interval_score(truth: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> dict[str, float]:
    """Coverage, width and interval score of values (N,)."""
    missed = np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0)
    width = float((upper - lower).mean(dtype=np.float64))
    return {
        "coverage": float((missed == 0).mean()),
        "width": width,
        "interval_score": width + 2 / (1 - LEVEL) * float(missed.mean(dtype=np.float64)),
    }


def _share_by_band(inside: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(C,): the share of the values of each band that have data; NaN where none has."""
    counts = there.sum(axis=(1, 2))
    found = (inside & there).sum(axis=(1, 2))
    return np.divide(found, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _ordering(errors: np.ndarray, scale: np.ndarray, brightness: np.ndarray) -> dict[str, float]:
    """What a scale (C, H, W) says of absolute errors (C, H, W), NaN without data."""
    there = ~np.isnan(errors).all(axis=(1, 2))  # some sensors lack a band
    errors, scale = errors[there], scale[there]
    known = ~np.isnan(errors).any(axis=0)
    errors, scale, brightness = errors[:, known], scale[:, known], brightness[known]
    if errors.shape[1] < 2:
        return dict.fromkeys(("ause", "ause_brightness", "scale_correlation"), float("nan"))
    squares = (errors.astype(np.float64) ** 2).mean(axis=0)
    best = sparsification(squares, squares)
    ause = {
        "ause": sparsification(squares, scale.mean(axis=0)) - best,
        "ause_brightness": sparsification(squares, brightness) - best,
    }
    chosen = np.random.default_rng(0).permutation(errors.shape[1])[:_RANKED]
    ranks = [np.argsort(np.argsort(values[:, chosen], axis=None)) for values in (errors, scale)]
    correlation = np.corrcoef(ranks[0], ranks[1])[0, 1]
    return {**{name: float(curve.mean()) for name, curve in ause.items()},
            "scale_correlation": float(correlation)}  # fmt: skip


def sparsification(squares: np.ndarray, by: np.ndarray) -> np.ndarray:
    """RMSE of the pixels that are left after each of the shares 0 to 0.95 with the largest ``by`` (N,) were
    removed, relative to that of all; ``squares`` (N,): mean squared errors."""
    ordered = squares[np.argsort(by, kind="stable")]
    means = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    left = np.maximum(np.rint(len(ordered) * (1 - _REMOVED)).astype(int), 1)
    return np.sqrt(means[left - 1] / means[-1]) if means[-1] > 0 else np.zeros(len(left))
