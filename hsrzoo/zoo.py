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
from typing import Any

TABLE = Path(__file__).parent / "data" / "zoo.json"
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
    """Architecture -> ``year`` (None: unknown), ``licence``, and ``parameters``, ``frozen``, ``buffers``
    with 31 bands."""
    weights: Mapping[str, Mapping[str, Any]]
    """ARCH.TAG -> ``rank``, ``rmse``, ``sam`` (degrees) where scored; ``gmac``, ``ms``, ``mib`` where
    timed."""


@cache
def read_zoo() -> Zoo:
    """The table that the package carries."""
    return Zoo(**json.loads(TABLE.read_text(encoding="utf-8")))


def year_of(source: str) -> int | None:
    """The first year that a :attr:`.ModelSpec.source` names, else that of its arXiv number, else None."""
    found = _YEAR.search(source)
    if found:
        return int(found[0])
    arxiv = _ARXIV.search(source)
    return 2000 + int(arxiv[1]) if arxiv else None
