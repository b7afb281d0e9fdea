"""A word on trust: what the weights were trained on, and how far that reaches."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import TYPE_CHECKING, Any

from hsrzoo.errors import HsrzooError
from hsrzoo.registry import DATASETS

if TYPE_CHECKING:
    from hsrzoo.models.onnx_runtime import OnnxModel
    from hsrzoo.models.reconstructor import Reconstructor


def word_on_trust(model: Reconstructor | OnnxModel, taken_by: str | None = None) -> str:
    """Two lines for people: the data set and camera that the weights come from, and how to check them.

    ``taken_by``: maker and model of the camera that an image names in its EXIF, if any does.
    """
    training = model.config.get("training") or {}
    dataset = training.get("dataset")
    if training.get("weights") == "random":
        return "The weights are random: the spectra in these cubes mean nothing."
    if not dataset:
        return (
            "The weights do not say what they were trained on: nothing is known of the scenes they fit.\n"
            f"To check them: {_bench(model, None)}"
        )
    other = f" ({taken_by} is another camera)" if taken_by else ""
    return (
        f"The weights were trained on {_title(str(dataset))}, {_camera(training)}"
        f"{_codebooks(model.config)}.\n"
        f"Other scenes and cameras{other} are outside their domain; how good they are "
        f"within it: {_bench(model, str(dataset))}"
    )


def _title(dataset: str) -> str:
    """The data set by name and title; by name alone where no plugin knows it."""
    try:
        return f"{dataset} ({DATASETS.get(dataset).title})"
    except HsrzooError:
        return dataset


def _camera(training: Mapping[str, Any]) -> str:
    response = (training.get("dataset_info") or {}).get("response")
    return (
        f"with RGB rendered for the camera {response}" if response else "with RGB of a camera not on record"
    )


def _codebooks(config: Mapping[str, Any]) -> str:
    sources = (config.get("codebook") or {}).get("sources") or ()
    return f", codebooks from {' and '.join(sources)}" if sources else ""


def _bench(model: Reconstructor | OnnxModel, dataset: str | None) -> str:
    """The command that scores the model on scenes whose spectra are known."""
    return f"hsrzoo bench --model {quote(model.name)} --dataset {dataset or 'NAME'}"


__all__ = ["word_on_trust"]
