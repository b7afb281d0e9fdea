"""Whether an exported file gives the cubes of its network: on synthetic images, and on scenes by the
metrics.

Nearest codes and top-K sets are discontinuous: where two codes are equally near, rounding decides, and
one flipped code moves its pixel, and through the attention a little of the whole image. So it is the
root mean square of the difference that must stay small; the largest is reported as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from hsrzoo.export.graph import ExportError
from hsrzoo.models.onnx_file import INTERVAL_OUTPUTS
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.spec import MetricContext

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset
    from hsrzoo.models.reconstructor import Reconstructor
    from hsrzoo.spec import RgbInput

TOLERANCE = {"fp32": 1e-3, "fp16": 5e-3, "int8": 3e-2}
"""Root mean square difference from torch that a precision may show, cubes lying in [0, 1]."""
SCORE_TOLERANCE = 1e-5
"""By how much an fp32 file may change the RMSE on a data set."""
LARGE = 1e-4
"""A pixel differs when one of its bands differs by more than this."""
SIZES = ((64, 96), (104, 40), (37, 51), (256, 320))
"""Height and width of synthetic images: wide, high, odd, and large (a graph that keeps the size it was
traced with fails on one of them)."""
METRICS = ("rmse", "psnr", "sam")


class Predictor(Protocol):
    """A Reconstructor, an OnnxModel or a Program."""

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """(3, H, W) -> (C, H, W), float32."""
        ...


@dataclass(frozen=True)
class Difference:
    """One image through both."""

    height: int
    width: int
    largest: float
    """Largest absolute difference of two numbers."""
    rms: float
    """Root mean square of the differences."""
    share: float
    """Share of the pixels that differ by more than :data:`LARGE`."""
    output: str = "cube"
    """Which output of the file."""


def compare(
    model: Reconstructor, exported: Predictor, images: Sequence[np.ndarray] | None = None
) -> list[Difference]:
    """Both on each of ``images``, (3, H, W) float32 in [0, 1]; by default :func:`examples`. All outputs of
    files with intervals are compared."""
    found = []
    for rgb in images or examples(model.spec.input):
        cube = model.predict(rgb)
        if isinstance(exported, OnnxModel) and exported.factors:
            one, scale, unfamiliar = exported.predict_with_scale(rgb)
            pixels, own = torch.from_numpy(rgb)[None], torch.from_numpy(cube)[None]
            expected = model.intervals.scale(pixels, own)[0].numpy()
            found += [
                _difference(one, cube, "cube"),
                _difference(scale, expected, INTERVAL_OUTPUTS[0]),
                _difference(
                    unfamiliar[None], model.intervals.unfamiliar_at(pixels).numpy(), INTERVAL_OUTPUTS[1]
                ),
            ]
        else:
            found.append(_difference(exported.predict(rgb), cube, "cube"))
    return found


def examples(wanted: RgbInput, multiples: int = 1) -> list[np.ndarray]:
    """Synthetic images of the least size of ``multiples`` that needs no padding, and of :data:`SIZES`."""
    side = wanted.padded(multiples * wanted.multiple)
    return [example(*size) for size in ((side, side), *SIZES)]


def example(height: int, width: int) -> np.ndarray:
    """(3, H, W) float32 in [0, 1]: a smooth image with some noise, as photographs have."""
    random = np.random.default_rng(height * 10007 + width)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(6 * (a * y + b * x) + c) for a, b, c in random.uniform(-2, 2, (3, 3))]
    return (0.5 + 0.4 * np.stack(waves) + random.uniform(-0.1, 0.1, (3, height, width))).astype(np.float32)


def _difference(exported: np.ndarray, expected: np.ndarray, output: str) -> Difference:
    gap = np.abs(exported.astype(np.float64) - expected)
    share = float((gap.max(0) > LARGE).mean())
    _, height, width = expected.shape
    return Difference(height, width, float(gap.max()), float(np.sqrt((gap**2).mean())), share, output)


def require_equal(found: Sequence[Difference], precision: str) -> None:
    """Raise ExportError for a difference above :data:`TOLERANCE`, or one that is not finite."""
    allowed = TOLERANCE[precision]
    wrong = [d for d in found if not d.rms <= allowed]
    if wrong:
        raise ExportError(
            "The exported file gives other cubes than the network",
            expected=f"a root mean square difference of at most {allowed:g} for {precision}",
            got=", ".join(f"{d.rms:.2g} at {d.height} x {d.width} ({d.output})" for d in wrong),
        )


def scores(
    models: Sequence[Predictor], dataset: Dataset, split: str, epsilon: float, limit: int | None = None
) -> list[dict[str, float]]:
    """Means of :data:`METRICS` over the scenes of a split, one dict for each of ``models``.

    ``epsilon`` is the data set's floor of MRAE; ``limit``: only that many scenes, the first ones.
    """
    from hsrzoo.metrics import compute

    context = MetricContext(dataset.bands, epsilon)
    found: list[list[dict[str, float]]] = [[] for _ in models]
    for name in dataset.scenes(split)[:limit]:
        scene = dataset.load(split, name)
        for rows, model in zip(found, models, strict=True):
            pred = model.predict(scene.rgb)
            rows.append(compute(METRICS, scene.cube, pred, context, check_range=False))
    return [{key: float(np.mean([row[key] for row in rows])) for key in METRICS} for rows in found]


def require_same_score(before: float, after: float, precision: str) -> None:
    """Raise ExportError if an fp32 file changes a data set's RMSE by :data:`SCORE_TOLERANCE` or more."""
    if precision == "fp32" and not abs(after - before) < SCORE_TOLERANCE:
        raise ExportError(
            "The exported file has another score than the network",
            expected=f"an RMSE that differs by less than {SCORE_TOLERANCE:g}",
            got=f"{before:.6f} in torch, {after:.6f} exported",
        )


def rows(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """The differences as rows of a table."""
    return [{"size": f"{d.height}x{d.width}", **asdict(d)} for d in found]
