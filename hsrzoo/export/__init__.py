"""Networks as files that run elsewhere: ONNX in fp32, fp16 and int8, and torch.export programs.

Importing this package imports torch; running an exported file does not (:mod:`hsrzoo.models.onnx_runtime`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hsrzoo.errors import HsrzooError, InputError
from hsrzoo.export import check, graph
from hsrzoo.export.graph import DEFAULT_OPSET, ExportError
from hsrzoo.export.pending import pending
from hsrzoo.models.onnx_runtime import OnnxModel
from hsrzoo.utils.files import make_folder, slug

if TYPE_CHECKING:
    import numpy as np

    from hsrzoo.datasets.base import Dataset
    from hsrzoo.models.reconstructor import Reconstructor

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Calibration:
    """The scenes that int8's ranges are measured on: training scenes, never those of a benchmark."""

    dataset: Dataset
    split: str = "train"
    scenes: int = 8


def export_onnx(
    model: Reconstructor,
    path: Path,
    *,
    opset: int | None = None,
    precision: str = "fp32",
    calibration: Calibration | None = None,
    intervals: bool = False,
) -> tuple[OnnxModel, list[np.ndarray] | None]:
    """Write ``model`` as an ONNX file and open it; nothing is checked yet (:mod:`hsrzoo.export.check`).

    ``intervals``: the file also gives what prediction intervals are made of, of a calibrated model in fp32.
    Also returns a crop of each scene that int8 was calibrated on: only on such images can it be judged.
    Raises InputError (opset, precision), WeightsError (not calibrated), StoreError, ExportError,
    PluginError without the extra ``onnx``.
    """
    if intervals and precision != "fp32":
        problem = f"Intervals were calibrated for fp32, not for {precision}"
        raise InputError(problem, fix="Leave --intervals out, or export fp32")
    if precision not in PRECISIONS:
        raise InputError("Unknown precision", expected=", ".join(PRECISIONS), got=repr(precision))
    if precision == "int8" and calibration is None:
        problem = "int8 needs scenes on which the ranges of the features are measured"
        raise InputError(problem, fix="Name a data set: --calibrate cave")
    opset = graph.check_opset(opset)
    make_folder(path.parent)
    proto = graph.to_onnx(model, opset, intervals) if intervals else graph.to_onnx(model, opset)
    images = None
    if precision == "fp16":
        from hsrzoo.export.half import to_fp16

        proto = to_fp16(proto)
    elif calibration is not None and precision == "int8":
        from hsrzoo.export.quantize import CROPS_PER_SCENE, calibration_crops, to_int8

        crops, record = calibration_crops(
            calibration.dataset, calibration.split, calibration.scenes, model.spec.input.multiple
        )
        proto = to_int8(proto, crops, record)
        images = crops[::CROPS_PER_SCENE]
    graph.write(proto, path)
    return OnnxModel(path, device="cpu"), images


def cached_export(model: Reconstructor, folder: Path, precision: str = "fp32") -> Path:
    """The ONNX file of ``model`` in ``folder``, checked; made where it is not there yet.

    It gets its name after the check (:mod:`hsrzoo.export.pending`): a file that failed, or of a process
    that died before, is never taken later. The name holds the model's name and identity, so that a file
    is never taken for another model's.
    Raises InputError for random weights, which have no identity, and what :func:`export_onnx` raises.
    """
    if model.identity is None:
        raise InputError(f"{model.name} has random weights", fix="Export trained weights")
    suffix = "" if precision == "fp32" else f".{precision}"
    path = Path(folder) / f"{slug(model.name)}@{model.identity[:12]}{suffix}.onnx"
    if not _reusable(path, model, precision):
        with pending(path) as file:
            made, _ = export_onnx(model, file, precision=precision)
            check.require_equal(check.compare(model, made), precision)
    return path


def _reusable(path: Path, model: Reconstructor, precision: str) -> bool:
    """Whether ``path`` is a whole file, made of this model by this version of the library."""
    try:
        found = OnnxModel(path, device="cpu").metadata if path.exists() else {}
    except HsrzooError:
        return False
    wanted = graph.metadata(model, DEFAULT_OPSET, precision)
    return {key: found.get(key) for key in wanted} == wanted


__all__ = ["PRECISIONS", "Calibration", "ExportError", "cached_export", "export_onnx"]
