"""The imaging benchmarks: what the sensor, the file format and the camera do to the picture.

The truth stays: ``noise`` adds that of a sensor, ``jpeg`` compresses, ``camera`` renders the scene by
other responses. The camera that rendered the data set is left out, and so are data sets of photographs.
"""

from __future__ import annotations

from hsrzoo_benchmark.protocol import Condition

from hsrzoo.registries import PERTURBATIONS


def noise() -> tuple[Condition, ...]:
    """The default sensors of ``noise``."""
    return _defaults("noise")


def jpeg() -> tuple[Condition, ...]:
    """The default qualities of ``jpeg``."""
    return _defaults("jpeg")


def camera() -> tuple[Condition, ...]:
    """The default responses of ``camera``."""
    return _defaults("camera")


def _defaults(name: str) -> tuple[Condition, ...]:
    return tuple(Condition(name, severity) for severity in PERTURBATIONS.get(name).default)
