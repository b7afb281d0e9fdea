"""Recipes of the authors of the MST-plus-plus toolbox."""

from __future__ import annotations

from hsrzoo.spec import Recipe


def toolbox(lr: float) -> Recipe:
    """The toolbox's training; ``lr`` differs between its networks (see its train.py).

    300,000 iterations of Adam on batches of twenty 128 x 128 crops, cosine to 1e-6, MRAE, RGB stretched
    per image. The toolbox divides by the truth itself; here the denominator is at least 1/255, because
    sets other than ARAD-1K have true zeros. It draws its crops at every eighth pixel, here at any.

    The original ends after 395,576 iterations, at the end of the fourth pass over its crops, and
    from 300,000 on its rate rises again; this recipe ends at 300,000. The original keeps the checkpoint
    with the best validation MRAE, this recipe the last.
    """
    return Recipe(
        steps=300_000,
        batch=20,
        patch=128,
        lr=lr,
        schedule="cosine",
        final_lr=1e-6,
        betas=(0.9, 0.999),
        loss="mrae",
        ema=0.0,
        clip=0.0,
        normalise="minmax-image",
    )
