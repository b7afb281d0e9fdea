"""The registries themselves. Importing this module imports no plugin and no torch."""

from __future__ import annotations

from typing import Any

from hsrzoo.registry import Registry
from hsrzoo.spec import DatasetSpec, MetricSpec, ModelSpec, PerturbationSpec

MODELS: Registry[ModelSpec] = Registry("model", "hsrzoo.models", ModelSpec)
DATASETS: Registry[DatasetSpec] = Registry("data set", "hsrzoo.datasets", DatasetSpec)
METRICS: Registry[MetricSpec] = Registry("metric", "hsrzoo.metrics", MetricSpec)
PERTURBATIONS: Registry[PerturbationSpec] = Registry(
    "perturbation", "hsrzoo.perturbations", PerturbationSpec
)
ALL: tuple[Registry[Any], ...] = (MODELS, DATASETS, METRICS, PERTURBATIONS)
