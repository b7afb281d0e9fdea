"""Recipes of authors, and what the networks of the MST-plus-plus toolbox have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hsrzoo.spec import ModelSpec, Official, Recipe, RgbInput

ADAM = Recipe(betas=(0.9, 0.999), ema=0.0, clip=0.0)
"""What most authors do: Adam with its usual settings, no average of weights, gradients as they are."""


def toolbox(lr: float) -> Recipe:
    """The toolbox's training; ``lr`` differs between its networks (see its train.py).

    300,000 iterations of Adam on batches of twenty 128 x 128 crops, cosine to 1e-6, MRAE, RGB stretched
    per image. The toolbox divides by the truth itself; here the denominator is at least 1/255, because
    sets other than ARAD-1K have true zeros. It draws its crops at every eighth pixel, here at any.

    The original ends after 395,576 iterations, at the end of the fourth pass over its crops, and
    from 300,000 on its rate rises again; this recipe ends at 300,000. The original keeps the checkpoint
    with the best validation MRAE, this recipe the last.
    """
    return replace(
        ADAM,
        steps=300_000,
        batch=20,
        patch=128,
        lr=lr,
        schedule="cosine",
        final_lr=1e-6,
        loss="mrae",
        normalise="minmax-image",
    )


def toolbox_spec(
    *, paper: str, lr: float, kind: str = "cnn", multiple: int = 1, min_size: int = 1, **fields: Any
) -> ModelSpec:
    """The spec of a network of the toolbox: ``fields`` of :class:`ModelSpec`, and what all of them share.

    ``multiple``: of which the network pads H and W itself, as the official one does. Reflection fails on
    images smaller than the padding; declared here, the Reconstructor does it for every size.
    """
    return ModelSpec(
        source=f"{paper}; https://github.com/caiyuanhao1998/MST-plus-plus at 18e2032",
        licence="MIT",
        input=RgbInput(multiple=multiple, min_size=max(multiple, min_size)),
        recipes={"authors": toolbox(lr)},
        **{"tags": ("baseline", kind), "official": Official("minmax-image"), **fields},
    )


def optics_aware_spec(
    *, paper: str, lr: float, kind: str = "transformer", multiple: int = 1, min_size: int = 1, **fields: Any
) -> ModelSpec:
    """The spec of a network as a study of optics trains it (OpticsAwareHSI-Analysis): ``fields`` of
    :class:`ModelSpec`, and what these networks share.

    Their trainer is the toolbox's with another ``lr`` and 1e-6 added to the truth in the denominator of
    MRAE, where :func:`toolbox` has a floor. It is the recipe ``optics-aware``, as it is not the authors'.
    """
    source = "https://github.com/vccimaging/OpticsAwareHSI-Analysis at e6fd100"
    return ModelSpec(
        source=f"{paper}; {source}",
        licence=fields.pop("licence", "MIT"),
        input=RgbInput(multiple=multiple, min_size=max(multiple, min_size)),
        recipes={"optics-aware": toolbox(lr), **fields.pop("recipes", {})},
        **{"tags": ("baseline", kind), "official": Official("minmax-image"), **fields},
    )
