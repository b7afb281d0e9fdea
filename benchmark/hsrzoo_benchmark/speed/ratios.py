"""What a stored speed row says: figures, and ratios to the references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hsrzoo.errors import InputError, UnknownNameError
from hsrzoo.models.names import parse_name
from hsrzoo.results import SpeedRow
from hsrzoo_benchmark.plan.models import plain_name
from hsrzoo_benchmark.speed.bandwidth import bound_megapixels_s

DEFAULT_REFERENCES = ("mst-plus-plus:reference", "mst-plus-plus")
"""MST++ in its published structure, and ours."""


def summarise(row: SpeedRow) -> dict[str, float | str]:
    """A row as figures: milliseconds (CPU time apart), images and megapixels a second, memory, MACs; on a
    GPU the network alone and the bound that the memory sets. OOM rows give their status only."""
    if row.status != "ok" or row.p50 is None or row.p90 is None:
        return {"status": row.status}
    height, width = row.size
    megapixels = height * width / 1e6
    found: dict[str, float | str] = {
        "status": "ok",
        "p50_ms": 1e3 * row.p50,
        "p90_ms": 1e3 * row.p90,
        "images_s": 1 / row.p50,
        "megapixels_s": megapixels / row.p50,
    }
    if row.cpu_p50 is not None:
        found["cpu_ms"] = 1e3 * row.cpu_p50
    if row.peak_mib is not None:
        found |= {"peak_mib": row.peak_mib, "growth_mib": growth(row)}
    if row.macs is not None:
        found["gmacs"] = row.macs / 1e9
    if row.bandwidth is not None and row.device_p50 is not None:
        found["device_megapixels_s"] = megapixels / row.device_p50
        found["bound_megapixels_s"] = bound_megapixels_s(row.bandwidth, row.bands)
    return found


def growth(row: SpeedRow) -> float:
    """MiB that one prediction took above what is there once the model is loaded and warm."""
    return max(0.0, (row.peak_mib or 0.0) - (row.loaded_mib or 0.0))


def time_ratio(row: SpeedRow, reference: SpeedRow) -> float:
    """Median time over the reference's, from the rounds that both ran."""
    shared = min(len(row.seconds), len(reference.seconds))
    own, other = (float(np.median(r.seconds[:shared])) for r in (row, reference))
    return own / other


def ratios(row: SpeedRow, reference: SpeedRow | None) -> dict[str, float]:
    """The row's cost in terms of the reference's: time over the rounds that both ran, peak memory,
    growth of memory; and how many times faster it is. Empty unless both ran, in one run."""
    if reference is None or (reference.run, reference.status, row.status) != (row.run, "ok", "ok"):
        return {}
    found = {"time_ratio": time_ratio(row, reference), "speedup": time_ratio(reference, row)}
    if row.peak_mib is not None and reference.peak_mib is not None:
        found["memory_ratio"] = row.peak_mib / reference.peak_mib
        if growth(reference) > 0:
            found["growth_ratio"] = growth(row) / growth(reference)
    return found


def choose_references(models: Mapping[str, str], wanted: Sequence[str] = ()) -> list[str]:
    """Names of the models that ratios refer to, the main one first.

    ``models``: name -> architecture. ``wanted``: each a model's full name, ``ARCH:VARIANT``, or ``ARCH``
    for the one without a variant. By default :func:`default_references`, else the first.
    """
    if not wanted:
        return default_references(models) or list(models)[:1]
    found = []
    for name in wanted:
        match = _match(models, name)
        if match is None:
            raise InputError("The reference is not among the models", expected=", ".join(models), got=name)
        found.append(match)
    return list(dict.fromkeys(found))


def default_references(models: Mapping[str, str]) -> list[str]:
    """MST++ in its published structure and MST++, as far as they are among ``models``."""
    found = (_match(models, name) for name in DEFAULT_REFERENCES)
    return [name for name in found if name is not None]


def _match(models: Mapping[str, str], wanted: str) -> str | None:
    """The name of the first model that is called so, best in full, or is built so."""
    for key in (str, plain_name, lambda name: _structure(name, models[name])):
        for name in models:
            if key(name) == wanted:
                return name
    return None


def variant_of(label: str) -> str | None:
    """The variant in a model's name, if it has one."""
    try:
        return parse_name(plain_name(label)).variant
    except UnknownNameError:  # what a plugin calls its own
        return None


def _structure(name: str, architecture: str) -> str:
    """``ARCH`` or ``ARCH:VARIANT``, whatever the weights."""
    variant = variant_of(name)
    return architecture + (f":{variant}" if variant else "")
