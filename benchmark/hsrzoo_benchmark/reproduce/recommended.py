"""Which bundled weights are recommended, by rules on stored rows; zoo.json holds the result."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hsrzoo.zoo import PHOTOGRAPHS
from hsrzoo_benchmark.reproduce.evidence import Evidence, Place, SeedGroup
from hsrzoo_benchmark.reproduce.ranking import comparable, ranking
from hsrzoo_benchmark.reproduce.sensors import GENERAL, ratios
from hsrzoo_benchmark.reproduce.tables import FOLDS, PLACES
from hsrzoo_benchmark.tables.numbers import significant

Recommendation = dict[str, str]
"""``model``: ARCH.TAG; ``why``: the figure that decided."""

_HOMES = {**{name: places[0] for name, places in PLACES.items()},
          "indian-pines": Place("indian-pines", "test", "full-frame")}  # fmt: skip
_FALLBACK = "cave"
"""Whose recommendation photographs get where no generalist leads."""
COST = 1.05
"""What the RMSE of a generalist on CAVE may at most be, in that of the weights trained on CAVE alone."""


def recommended(evidence: Evidence, bundled: Collection[str]) -> dict[str, Recommendation]:
    """What to take for photographs, and for each data set that bundled weights ``ARCH.DATASET`` were
    trained on and scored on.

    A data set: the smallest mean RMSE in its cross-validation if at least two of the weights have such
    rows, else on its test or validation scenes. Photographs: the generalist with the smallest RMSE on the
    sensors that weights have not seen, of those that cost CAVE little, if it is ahead of all weights that
    were trained on CAVE alone; else what CAVE has.
    """
    found = {}
    for dataset, home in _HOMES.items():
        names = sorted(name for name in bundled if name.endswith(f".{dataset}"))
        best = _by_folds(evidence, dataset, names)
        best = best or _best(comparable(evidence, names, home), home, len(names))
        if best:
            found[dataset] = best
    photographs = _generalist(evidence, bundled) or found.get(_FALLBACK)
    return {PHOTOGRAPHS: photographs, **found} if photographs else found


def _by_folds(evidence: Evidence, dataset: str, names: Collection[str]) -> Recommendation | None:
    if dataset != FOLDS.dataset:
        return None
    folded = {f"{name}-{FOLDS.split}": name for name in names}
    groups = comparable(evidence, list(folded), FOLDS)
    renamed = {folded[name]: group for name, group in groups.items()}
    return _best(renamed, FOLDS, len(renamed)) if len(renamed) > 1 else None


def _best(groups: Mapping[str, SeedGroup], place: Place, count: int) -> Recommendation | None:
    """The smallest mean RMSE among ``count`` weights."""
    ordered = ranking(groups, "rmse")
    if not ordered:
        return None
    best = ordered[0]
    scenes = f"{best.scenes} scene{'s' if best.scenes > 1 else ''}"
    where = f"{scenes} of {place.dataset}/{place.split}"
    why = f"smallest RMSE of {count} models on {where}, {significant(best.mean)}"
    return {"model": best.name, "why": why}


def _generalist(evidence: Evidence, bundled: Collection[str]) -> Recommendation | None:
    sensors, all_ratios = ratios(evidence)
    candidates = [name for name in all_ratios if name in bundled and _costs_little(evidence, name)]
    name = next(iter(candidates), "")
    if not name.endswith(GENERAL):
        return None
    why = f"smallest RMSE of {len(candidates)} models on {sensors} sensors that they have not seen"
    return {"model": name, "why": f"{why}, {all_ratios[name]:.2f} of that of linear regression"}


def _costs_little(evidence: Evidence, name: str) -> bool:
    """True for all but generalists without rows of CAVE, or with an RMSE there that is too large."""
    if not name.endswith(GENERAL):
        return True
    before = f"{name.removesuffix(GENERAL)}.{_FALLBACK}"
    groups = comparable(evidence, [name, before], _HOMES[_FALLBACK])
    means = {group.name: group.mean for group in ranking(groups, "rmse")}
    return len(means) == 2 and means[name] <= COST * means[before]
