"""Figures of the zoo's networks and bundled weights that the package carries, so that they can be listed
without building a network and without a store: ``data/zoo.json``, which ``scripts/export_zoo.py`` makes of
stored rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.errors import require_known

if TYPE_CHECKING:
    from hsrzoo.spec import ModelSpec

TABLE = Path(__file__).parent / "data" / "zoo.json"
PHOTOGRAPHS = "photographs"
"""Key of :attr:`Zoo.recommended` for images that belong to no data set."""
LOW_COVERAGE = 0.75
"""Coverage of intervals of 90 % below which pages and `predict` say so in words."""
COST_SIDE = 256
"""Rows and columns of the image for which cards state multiply-accumulates and memory."""
GENERAL = "other scenes and sensors"
"""Use of weights that learned from several data sets."""
_YEAR = re.compile(r"(?<![\d:/])(?:19|20)\d\d(?!\d)")
_ARXIV = re.compile(r"arXiv:(\d\d)\d\d\.")


@dataclass(frozen=True)
class Zoo:
    """What ``zoo.json`` holds."""

    scores: Mapping[str, Any]
    """What the scores have in common: ``dataset``, ``split``, ``protocol``, ``hash``, ``scenes``."""
    speed: Mapping[str, Any]
    """What the times have in common: ``side`` of the square image in pixels, ``device``, ``threads``."""
    networks: Mapping[str, Mapping[str, Any]]
    """Architecture -> ``year`` (None: unknown), ``licence``, ``use``, ``default`` (tag of its default
    weights, or None), and with 31 bands ``parameters``, ``frozen``, ``buffers``, and ``gmac`` of one pass
    over the square of :attr:`speed`."""
    weights: Mapping[str, Mapping[str, Any]]
    """ARCH.TAG -> ``rank``, ``rmse``, ``sam`` (degrees) where scored; ``gmac``, ``ms``, ``mib`` where
    timed; and where they are not those of the architecture ``use``, ``parameters``, ``frozen``,
    ``buffers``, ``gmac``. See :meth:`facts`."""
    recommended: Mapping[str, Mapping[str, str]]
    """:data:`PHOTOGRAPHS`, or a data set -> ``model`` (ARCH.TAG) and ``why`` (the figure that decided)."""
    intervals: Mapping[str, Mapping[str, Any]]
    """ARCH.TAG of weights whose intervals were scored -> ``weights_sha256``, and ``low``: scenes of which
    intervals of 90 % hold less than :data:`LOW_COVERAGE` of the values -> the share in [0, 1]."""

    def facts(self, name: str) -> dict[str, Any]:
        """What is known of an architecture, or of weights (ARCH.TAG): their own figures, and those of their
        architecture where they have none."""
        own = self.networks.get(name.partition(".")[0], {})
        return {**own, **self.weights.get(name, {})}


@cache
def read_zoo() -> Zoo:
    """The table that the package carries."""
    return Zoo(**json.loads(TABLE.read_text(encoding="utf-8")))


def recommended(dataset: str | None = None) -> str:
    """Name the model that ``hsrzoo.load()`` loads.

    Args:
        dataset: A data set to score: then the best of the bundled weights trained on it. None: for
            photographs.

    Returns:
        ARCH.TAG.

    Raises:
        UnknownNameError: No bundled weights were trained and scored on this data set.
    """
    known = read_zoo().recommended
    name = dataset or PHOTOGRAPHS
    require_known("data set with a recommended model", name, known)
    return known[name]["model"]


def low_coverage(weights_sha256: str | None) -> Mapping[str, float]:
    """Where intervals of 90 % of these weights hold less than :data:`LOW_COVERAGE` of the values, and which
    share in [0, 1] they hold; empty for weights that were not scored."""
    known = (one for one in read_zoo().intervals.values() if one["weights_sha256"] == weights_sha256)
    return next(known, {}).get("low", {})


def use_of(spec: ModelSpec, training: Mapping[str, Any]) -> str:
    """When to take weights with this record of training: :data:`GENERAL` where they learned from several
    data sets, else :attr:`.ModelSpec.use`."""
    sets = {one.get("dataset") for one in (training, *(training.get("extra") or ()))}
    return GENERAL if len(sets) > 1 else spec.use


def year_of(source: str) -> int | None:
    """The first year that a :attr:`.ModelSpec.source` names, else that of its arXiv number, else None."""
    found = _YEAR.search(source)
    if found:
        return int(found[0])
    arxiv = _ARXIV.search(source)
    return 2000 + int(arxiv[1]) if arxiv else None
