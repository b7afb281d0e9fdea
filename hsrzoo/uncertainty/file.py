"""The file of a calibration, ``uncertainty.safetensors`` beside the weights that it is for.

It holds all that intervals need, the second model included, so that a folder of weights stays complete.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.bands import BandSet
from hsrzoo.colour.chromaticity import packed, unpacked
from hsrzoo.errors import InputError, WeightsError
from hsrzoo.models.building import Size, build_for
from hsrzoo.models.metadata import BANDS, read_object
from hsrzoo.models.tensors import load_tensors, metadata_of, require_finite, tensor_bytes
from hsrzoo.models.weights import load_strictly
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec
from hsrzoo.uncertainty.conformal import LEVELS
from hsrzoo.uncertainty.intervals import Intervals
from hsrzoo.uncertainty.scale import TERMS, as_record, of_record
from hsrzoo.utils.files import UNCERTAINTY, write_atomically
from hsrzoo.utils.json_kinds import Kind

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEMA = 3
"""Version of the file; a higher number in a file asks the user to upgrade. Version 2 had two more tensors,
which only a calibration needs; in version 1 the scale was the sum of its terms, without a root."""
_OLDEST = 2
"""Version that can still be read."""
_SECOND = "second."
_FIELDS: dict[str, Kind] = {
    "schema": int,
    "library_version": str,
    "weights_sha256": str,
    "arguments": dict,
    "bands": BANDS,
    "levels": [float],
    "scale": dict.fromkeys(TERMS, float),
    "dataset": str,
    "scenes": [str],
    "response": (str, type(None)),
    "second": ({"architecture": str, "arguments": dict}, type(None)),
}
"""``dataset``, ``scenes``: of the calibration. ``response``: the camera of its images, where they were
rendered for one."""


def intervals_bytes(intervals: Intervals) -> bytes:
    """The content of the file. ``about`` of ``intervals`` has the fields of the file that it has not."""
    tensors: dict[str, Tensor] = {
        "spread": packed(intervals.spread),
        "scores": intervals.scores,
        "unfamiliar": intervals.unfamiliar,
    }
    if intervals.second is not None:
        tensors |= {_SECOND + name: value for name, value in intervals.second.state_dict().items()}
    about = {
        **intervals.about,
        "schema": SCHEMA,
        "library_version": version("hsrzoo"),
        "bands": intervals.bands.to_json(),
        "levels": list(LEVELS),
        "scale": as_record(intervals.weights),
    }
    require_finite(tensors, "the calibration")
    return tensor_bytes(tensors, about)


def save_intervals(path: Path, intervals: Intervals) -> None:
    """Write the file, completely or not at all. StoreError where it cannot be written."""
    write_atomically(path, intervals_bytes(intervals))


def read_intervals(path: Path) -> Intervals:
    """The calibration in a file. WeightsError where it is damaged, of a newer version, or its parts do not
    fit each other; UnknownNameError where no installed package has the second model."""
    tensors = load_tensors(path)
    about = read_object(metadata_of(path), _FIELDS, SCHEMA, str(path), WeightsError)
    if about["schema"] < _OLDEST:
        fix = "Make it again: hsrzoo calibrate intervals"
        raise WeightsError(f"{path} was written by an older hsrzoo", expected=f"schema {_OLDEST}",
                           got=about["schema"], fix=fix)  # fmt: skip
    require_finite(tensors, str(path))
    bands = BandSet.from_json(about["bands"])
    wanted = {
        "spread": (None, len(bands)),
        "scores": (len(LEVELS), len(about["scenes"]), len(bands)),
        "unfamiliar": (None,),
    }
    shapes = {name: tuple(tensors[name].shape) if name in tensors else () for name in wanted}
    wrong = [f"{name} {shapes[name]}, not {shape}" for name, shape in wanted.items()
             if not _fits(shapes[name], shape)]  # fmt: skip
    if about["levels"] != list(LEVELS):
        wrong.append(f"levels {about['levels']}, not {list(LEVELS)}")
    if wrong:
        raise WeightsError(f"The parts of {path} do not fit each other", got="; ".join(wrong))
    second = None
    if about["second"] is not None:
        state = {name.removeprefix(_SECOND): v for name, v in tensors.items() if name.startswith(_SECOND)}
        second = _second(about["second"], state, bands, str(path))
    unfamiliar, weights = tensors["unfamiliar"].float(), of_record(about["scale"])
    try:
        spread = unpacked(tensors["spread"], len(unfamiliar))
    except InputError as error:
        raise WeightsError(f"The parts of {path} do not fit each other: {error}") from error
    return Intervals(spread, weights, tensors["scores"].float(), unfamiliar, second, bands, about)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape is as wanted; None: any number."""
    return len(shape) == len(wanted) and all(b in (None, a) for a, b in zip(shape, wanted, strict=True))


def _second(record: dict[str, Any], state: dict[str, Tensor], bands: BandSet, where: str) -> nn.Module:
    """The second model of the file ``where``."""
    spec = MODELS.get(record["architecture"])
    size = Size(len(state), sum(value.numel() for value in state.values()))
    module = build_for(spec, bands, record["arguments"], size, where)
    require_pixelwise(module, spec, WeightsError)
    load_strictly(module, state, where)
    return module.eval().requires_grad_(False)


def require_pixelwise(module: nn.Module, spec: ModelSpec, error: type[Exception]) -> None:
    """Raise ``error`` unless the network's output depends on single pixels of the image as it is."""
    if not getattr(module, "pixelwise", False) or spec.input.normalise != "none":
        raise error(f"{spec.name} is no second model: its cubes depend on more than single pixels")


__all__ = ["SCHEMA", "UNCERTAINTY", "intervals_bytes", "read_intervals", "require_pixelwise",
           "save_intervals"]  # fmt: skip
