"""Protocols: everything that decides a number, frozen and hashed.

Two figures may stand side by side only when their protocols have one hash. What cannot change a
number (device, number of workers or threads, where the data lies) has no place here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset
from hsrzoo.errors import InputError, require_known
from hsrzoo.metrics import STANDARD
from hsrzoo.registry import METRICS, PERTURBATIONS
from hsrzoo.results import digest, plain
from hsrzoo.spec import DatasetSpec

DEFAULT_METRICS = STANDARD
"""Fixed, not "all that are registered": installing a plugin metric must not change any hash."""


@dataclass(frozen=True)
class Condition:
    """What is done to the input before the model sees it: a severity of a perturbation, or nothing."""

    perturbation: str | None = None
    severity: str | None = None

    def __str__(self) -> str:
        return "clean" if self.perturbation is None else f"{self.perturbation} {self.severity}"

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition whose text this is: ``clean`` or ``PERTURBATION SEVERITY``."""
        return cls() if text == "clean" else cls(*text.split(" ", 1))


CLEAN = Condition()


@dataclass(frozen=True)
class Protocol:
    """How one figure comes about. ``hash`` covers every field but ``name``."""

    name: str
    crop: int = 0
    """Border left out of the score on each of the four sides, pixels; the model sees all of it."""
    value_range: tuple[float, float] = (0.0, 1.0)
    """Range of RGB and cube; its upper end is the peak of PSNR."""
    clamp: Literal["psnr"] = "psnr"
    """Which metrics see cubes clamped to ``value_range``: only PSNR, all others the raw output."""
    aggregation: Literal["mean-of-scenes"] = "mean-of-scenes"
    """A metric is computed per scene; the figure is the mean over scenes."""
    mrae_epsilon: float = 1 / 255
    """Floor of MRAE's denominator."""
    normalisation: Literal["model"] = "model"
    """RGB is normalised as the model's own input spec says, after the perturbation."""
    tiling: Literal["none"] = "none"
    ensemble: Literal["none"] = "none"
    bands: BandSet | None = None
    """The data's bands, on which the score is computed."""
    resampled_from: BandSet | None = None
    """The model's bands where its output is resampled to ``bands``; None: they are the same."""
    rgb_bits: int | None = 8
    """Perturbed RGB is rounded to this many bits again."""
    perturbation: str | None = None
    severity: str | None = None
    severity_value: Any = None
    seed: int | None = None
    """Seed of the perturbation; None where there is none."""
    tta: bool = False
    """Test-time adaptation of the model to each image."""
    tta_settings: Mapping[str, Any] = field(default_factory=dict)
    """Its steps, rate and so on: the defaults of the model's ``adapt`` function."""
    metrics: tuple[tuple[str, str, str], ...] = ()
    """(name, version, signature) of each metric."""
    dataset: Mapping[str, Any] = field(default_factory=dict)
    """``Dataset.info``: how RGB was made, how values were scaled."""

    @property
    def condition(self) -> Condition:
        """The perturbation and its severity."""
        return Condition(self.perturbation, self.severity)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}

    @cached_property
    def hash(self) -> str:
        """sha256 (64 hex digits) of the canonical JSON of every field but the name."""
        value = self.to_json()
        del value["name"]
        return digest(value)

    @cached_property
    def group(self) -> str:
        """Hash of what two figures of one metric must share to be compared: all but the metrics, each of
        which has a version, the seed, over which one averages, and test-time adaptation, which belongs to
        the model."""
        value = replace(self, seed=None, tta=False, tta_settings={}).to_json()
        return digest({key: item for key, item in value.items() if key not in ("name", "metrics")})

    @property
    def setting(self) -> tuple[Any, ...]:
        """As :attr:`hsrzoo.results.ScoreRow.setting` of its rows."""
        return self.group, self.seed, self.tta, digest(self.tta_settings)


NAMED = {
    "full-frame": Protocol("full-frame"),
    # The NTIRE 2022 challenge scores the centre of its 482 x 512 images only.
    "ntire2022": Protocol("ntire2022", crop=128),
}


def named_protocol(name: str) -> Protocol:
    """The named protocol before it meets a data set; unknown names raise UnknownNameError."""
    require_known("protocol", name, NAMED)
    return NAMED[name]


def resolve_protocol(
    name: str,
    dataset: Dataset,
    spec: DatasetSpec,
    *,
    condition: Condition = CLEAN,
    metrics: Sequence[str] = DEFAULT_METRICS,
    seed: int = 0,
    tta: bool = False,
    tta_settings: Mapping[str, Any] | None = None,
    model_bands: BandSet | None = None,
) -> Protocol:
    """The protocol ``name`` on an opened data set, complete and ready to be hashed.

    ``model_bands``: give them only where the model's output must be resampled to the data's bands.
    """
    value = None
    if condition.perturbation is not None:
        severity, severities = str(condition.severity), PERTURBATIONS.get(condition.perturbation).severities
        require_known(f"severity of {condition.perturbation}", severity, severities)
        value = severities[severity]
    specs = [METRICS.get(metric) for metric in metrics]
    return replace(
        named_protocol(name),
        mrae_epsilon=spec.mrae_epsilon,
        bands=dataset.bands,
        resampled_from=model_bands,
        rgb_bits=dataset.rgb_bits,
        perturbation=condition.perturbation,
        severity=condition.severity,
        severity_value=value,
        seed=None if condition.perturbation is None else seed,
        tta=tta,
        tta_settings=dict(tta_settings or {}),
        metrics=tuple((m.name, m.version, m.signature) for m in specs),
        dataset=dict(dataset.info),
    )


def crop_border(array: np.ndarray, border: int) -> np.ndarray:
    """``array`` (C, H, W) without ``border`` pixels on each side; InputError where nothing is left."""
    if border == 0:
        return array
    height, width = array.shape[1:]
    if min(height, width) <= 2 * border:
        raise InputError(
            "The scene is too small for this protocol's crop",
            expected=f"more than {2 * border} x {2 * border} pixels",
            got=f"{height} x {width}",
            fix="Use --protocol full-frame",
        )
    return array[:, border:-border, border:-border]
