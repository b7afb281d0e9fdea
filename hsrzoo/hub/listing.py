"""What the card of a repository says in figures, for ``hsrzoo list --hub``. Cards are written by others:
what has another form than ours counts as absent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hsrzoo.hub.card import FACTS
from hsrzoo.zoo import Zoo, year_of


def figures_of(card: Mapping[str, Any], zoo: Zoo) -> dict[str, Any]:
    """The columns of ``hsrzoo list`` that a card answers.

    Args:
        card: Metadata of the card.
        zoo: What the package carries. Scores count only where they are of its data set, split and protocol;
            cost is that of its network of the same architecture and size.

    Returns:
        ``architecture``, ``parameters``, ``frozen``, ``buffers``, ``rmse``, ``sam``, ``gmac``, ``ms``,
        ``mib``, ``year``, ``licence``, as far as they are known.
    """
    facts = _mapping(card.get(FACTS))
    architecture = facts.get("architecture")
    found = {key: facts[key] for key in ("parameters", "frozen", "buffers") if _is_count(facts.get(key))}
    licence = card.get("license_name") or card.get("license")
    found |= {"licence": licence} if isinstance(licence, str) else {}
    found |= {name: value for name, value in _scores(card, zoo) if name in ("rmse", "sam")}
    if not isinstance(architecture, str):
        return found
    found["architecture"] = architecture
    own = zoo.networks.get(architecture, {})
    source = facts.get("source")
    found["year"] = own.get("year", year_of(source) if isinstance(source, str) else None)
    if own and own.get("parameters") == found.get("parameters"):
        found["gmac"] = own.get("gmac")
        timed = (w for name, w in zoo.weights.items() if name.partition(".")[0] == architecture)
        found |= next(({key: w[key] for key in ("ms", "mib")} for w in timed if "ms" in w), {})
    return found


def _scores(card: Mapping[str, Any], zoo: Zoo) -> Iterator[tuple[str, float]]:
    """Metric -> mean, of the results on the data, split and protocol that the zoo's scores are of."""
    wanted, mark = zoo.scores, ", {protocol}, hash {hash},".format_map(zoo.scores)
    for entry in _list(card.get("model-index")):
        for result in _list(_mapping(entry).get("results")):
            dataset = _mapping(_mapping(result).get("dataset"))
            if (dataset.get("type"), dataset.get("split")) != (wanted["dataset"], wanted["split"]):
                continue
            for metric in map(_mapping, _list(result.get("metrics"))):
                value = metric.get("value")
                named = mark in str(metric.get("name"))  # with adaptation its word stands between them
                if named and isinstance(value, int | float) and math.isfinite(value):
                    yield str(metric.get("type")), float(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
