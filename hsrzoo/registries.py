"""The former place of :mod:`hsrzoo.registry`, kept because plugins import it by this name."""

from __future__ import annotations

from hsrzoo.registry import DATASETS, METRICS, MODELS, PERTURBATIONS

__all__ = ["DATASETS", "METRICS", "MODELS", "PERTURBATIONS"]
