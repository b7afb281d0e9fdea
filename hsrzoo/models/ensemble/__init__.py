"""Several models as one: the weighted mean of their cubes. Importing this module imports no torch."""

from __future__ import annotations

from hsrzoo.spec import ModelSpec

SPEC = ModelSpec(
    name="ensemble",
    build="hsrzoo.models.ensemble.network:build",
    summary="Weighted mean of the cubes of other models, made by `hsrzoo ensemble`",
    use="more accuracy from models that are there already",
    source="hsrzoo",
    licence="MIT",
    arguments={"members": ("linear", "pixel-mlp")},
    tags=("ensemble",),
    notes="Each member normalises its input itself; one set of weights holds those of all members.",
)
