"""The recipes of the networks' authors, against what their trainers do."""

from __future__ import annotations

import pytest
from networks import NETWORKS

from hsrzoo.registry import MODELS

TOOLBOX = {network.name: network.toolbox_lr for network in NETWORKS if network.toolbox_lr}
OPTICS_AWARE = {"hprn": 1.2e-4, "hysat": 4e-4, "msfn": 4e-4, "ssrnet": 2e-4, "ssthyper": 4e-4}
"""Learning rates in the commands of OpticsAwareHSI-Analysis."""
OTHERS = {
    # name: learning rate, schedule, its end, batch, loss, normalise
    "agdnet": (1e-3, "cosine", 1e-5, 8, "l1", "spec"),
    "agdnet-9": (1e-3, "cosine", 1e-5, 8, "l1", "spec"),
    "gmsr": (1e-4, "constant", 0.0, 20, "l1", "spec"),
    "hsiformer": (4e-4, "cosine", 1e-6, 32, "mrae", "minmax-image"),
}


@pytest.mark.parametrize(
    ("name", "recipe", "lr"),
    [
        *[(name, "authors", lr) for name, lr in TOOLBOX.items()],
        *[(name, "optics-aware", lr) for name, lr in OPTICS_AWARE.items()],
    ],
)
def test_networks_of_the_toolbox_train_as_it_does(name: str, recipe: str, lr: float) -> None:
    recipe = MODELS.get(name).recipes[recipe]
    assert (recipe.lr, recipe.schedule, recipe.final_lr) == (lr, "cosine", 1e-6)
    assert (recipe.steps, recipe.batch, recipe.patch) == (300_000, 20, 128)
    assert (recipe.loss, recipe.normalise) == ("mrae", "minmax-image")
    assert (recipe.betas, recipe.weight_decay, recipe.ema, recipe.clip) == ((0.9, 0.999), 0, 0, 0)


@pytest.mark.parametrize("name", OTHERS)
def test_networks_with_trainers_of_their_own(name: str) -> None:
    recipe = MODELS.get(name).recipes["authors"]
    found = (recipe.lr, recipe.schedule, recipe.final_lr, recipe.batch, recipe.loss, recipe.normalise)
    assert found == OTHERS[name]
    assert (recipe.betas, recipe.ema, recipe.clip) == ((0.9, 0.999), 0, 0)


def test_only_the_networks_above_have_a_recipe_of_their_authors() -> None:
    assert {n.name for n in NETWORKS if "authors" in MODELS.get(n.name).recipes} == {*TOOLBOX, *OTHERS}
