"""Caveats for users: what the weights were trained on, and where that stops being valid."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

from hsrzoo.errors import HsrzooError
from hsrzoo.models.locate import dataset_arguments
from hsrzoo.models.reconstruction import METAMER
from hsrzoo.registry import DATASETS, MODELS
from hsrzoo.zoo import LOW_COVERAGE, low_coverage

if TYPE_CHECKING:
    from hsrzoo.io.photo import Photo
    from hsrzoo.models.onnx_runtime import OnnxModel
    from hsrzoo.models.reconstruction import Level
    from hsrzoo.models.reconstructor import Reconstructor

_UNMAPPED = "68 to 81"
"""Per cent that intervals of 90 % held for rendered images of three other cameras, by model and camera."""
_CAMERAS, _LEAST, _MOST = 52, 0.95, 1.11
"""Cameras that intervals were measured for, and the factors of width that they need."""


def caveats(
    model: Reconstructor | OnnxModel, camera: str | None = None, unlike: float | None = None,
    images: int = 1,
) -> str:  # fmt: skip
    """One or two lines: the data set and camera of the training data, and how far they hold: the share of
    the picture that is unlike them, or else the command that scores the weights.

    Args:
        model: a loaded model; its config says how the weights were trained.
        camera: maker and model of the camera that took the image, from its EXIF.
        unlike: the share in [0, 1], of models whose intervals are calibrated; the mean over ``images``.
        images: how many there are.
    """
    training = model.config.get("training") or {}
    dataset = training.get("dataset")
    if training.get("weights") == "random":
        return "The weights are random: the spectra in these cubes mean nothing."
    program = MODELS.program(model.config.get("architecture", ""))
    data = dataset_arguments(dataset or "NAME", training.get("dataset_info"))
    bench = f"{program} bench --model {quote(model.name)} {data}"
    if not dataset:
        return f"The training data of these weights are unknown.\nTo check them: {bench}"
    other = f" (such as {camera})" if camera else ""
    init = training.get("init")
    how = f"fine-tuned from {init['name']}" if init else "trained"
    if unlike is not None:
        taken = f"; the camera {camera} is not in it" if camera else ""
        line = unlike_text(unlike, images) + taken
        return f"The weights were {how} on {_pairs(model.config)}.\n{line}"
    return (
        f"The weights were {how} on {_pairs(model.config)}.\n"
        f"Other scenes and cameras{other} are outside their domain; accuracy within it: {bench}"
    )


def unlike_text(share: float, images: int = 1) -> str:
    """A sentence on the share in [0, 1] of a picture, or of several, that is unlike the training data."""
    where = "the picture" if images == 1 else f"the {images} pictures, on average,"
    return f"{rounded_percent(share)} of {where} is unlike the training data"


def rounded_percent(share: float) -> str:
    """A share in [0, 1] in per cent: whole ones from 10 % on, else one digit."""
    return f"{100 * share:.0f} %" if share >= 0.095 or share == 0 else f"{100 * share:.1g} %"


def training_data(config: Mapping[str, Any]) -> str:
    """Data set and camera of the training data, by a config.json; also the sources of codebooks and the
    weights that were fine-tuned."""
    training = config.get("training") or {}
    if training.get("weights") == "random":
        return "none, the weights are random"
    if not training.get("dataset"):
        return "unknown"
    init = training.get("init")
    return _pairs(config) + (f", fine-tuned from {init['name']}" if init else "")


def _pairs(config: Mapping[str, Any]) -> str:
    training = config["training"]
    sources = (config.get("codebook") or {}).get("sources")
    codebooks = f", codebooks from {' and '.join(sources)}" if sources else ""
    more = [str(one.get("dataset")) for one in training.get("extra") or ()]
    more = [name for name in dict.fromkeys(more) if name != training["dataset"]]
    sets = ", ".join([_title(str(training["dataset"])), *more])
    return f"{sets}, with {_training_camera(training)}{codebooks}"


def other_encoding(model: Reconstructor | OnnxModel, photo: Photo) -> str | None:
    """A sentence where the weights learned from photographs whose values were read in another way."""
    training = model.config.get("training") or {}
    learned = (training.get("dataset_info") or {}).get("encoding")
    if learned is None or learned == photo.encoding:
        return None
    if learned == "linear":
        return (
            "The weights learned from photographs whose values were taken as they are; this one is decoded "
            "(--linear takes it as it is)"
        )
    return (
        "The weights learned from photographs that were decoded to linear light; this one is taken as it "
        "is (--srgb decodes it)"
    )


def mapped_interval(photo: Photo, level: Level) -> str | None:
    """What intervals mean for a photograph: one that is mapped to the camera of the training pairs, by
    ``scripts/interval_cameras.py``, and linear RGB as it is, by ``bench --bench uncertainty``."""
    how = photo.about.get("input_map")
    if how is None and level == METAMER:
        return None
    if how is None:
        return (
            "Intervals hold for linear RGB of the camera of the training data. Of images of other cameras "
            f"that were not mapped to it, those of 90 % of bundled models held only {_UNMAPPED} % of the "
            "values"
        )
    if level == METAMER:
        return (
            "The range of metamers is that of linear RGB of the camera of the training data; the errors of "
            "the map to it are not counted"
        )
    if "chart" in how:
        return "For photographs that are mapped by a chart the coverage of intervals was not measured"
    return (
        "Intervals keep the width for the camera of the training data. Those of bundled models need "
        f"{_LEAST} to {_MOST} times that width for images mapped to it from sRGB or from {_CAMERAS} "
        "measured cameras, rendered from training scenes"
    )


def low_interval(weights_sha256: str | None, level: Level) -> str | None:
    """A sentence on scenes of which intervals of these weights hold few of the values, by stored rows."""
    low = {} if level == METAMER else low_coverage(weights_sha256)
    if not low:
        return None
    items = "; ".join(f"{where}: {100 * share:.1f} %" for where, share in low.items())
    return (
        "Do not trust intervals of scenes like these, of which those of 90 % held less than "
        f"{100 * LOW_COVERAGE:.0f} % of the values: {items}"
    )


def _title(dataset: str) -> str:
    """The data set by name and title; by name alone if no plugin provides it."""
    try:
        return f"{dataset} ({DATASETS.get(dataset).title})"
    except HsrzooError:
        return dataset


def _training_camera(training: Mapping[str, Any]) -> str:
    response = (training.get("dataset_info") or {}).get("response")
    return f"RGB rendered for the camera {response}" if response else "RGB of an unknown camera"


__all__ = [
    "caveats", "low_interval", "mapped_interval", "other_encoding", "rounded_percent", "training_data",
    "unlike_text",
]  # fmt: skip
