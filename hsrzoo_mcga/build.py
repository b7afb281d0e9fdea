"""Building a GANet from plain arguments, and starting it from a folder of codebooks."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError, WeightsError
from hsrzoo.spec import Start
from hsrzoo_mcga.network import GANet, Settings, check
from hsrzoo_mcga.store import CodebookFolder


def build(bands: BandSet, scales: int | None = None, **arguments: Any) -> GANet:
    """A GANet for ``bands``; ``arguments`` are fields of :class:`Settings` (lists pass for tuples).

    ``scales``, where given, is the number of scales of the codebooks it will be started from.
    """
    known = {f.name for f in fields(Settings)}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise InputError(
            "Unknown arguments of MCGA", expected=", ".join(sorted(known)), got=", ".join(unknown)
        )
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    settings = Settings(**plain)
    try:
        check(settings)
    except ValueError as error:
        raise InputError("MCGA cannot be built with these arguments", got=str(error)) from None
    if scales is not None and scales != len(settings.widths):
        raise WeightsError(
            "These codebooks were trained for another number of scales",
            expected=f"{len(settings.widths)} scales",
            got=f"{scales} scales",
            fix=f"Train them with: hsrzoo codebook train --scales {len(settings.widths)}",
        )
    return GANet(len(bands), settings)


def start(path: Path, bands: BandSet) -> Start:
    """What stage 2 takes from a folder made by ``hsrzoo codebook train`` or ``codebook mix``.

    The frozen tables of every scale, and the weights of algorithm 2 of the first source on the same
    bands; without such a source, its band-independent layers come from the first source and the head
    to C bands is fresh (the record says so).
    """
    folder = CodebookFolder.read(path)
    state: dict[str, Tensor] = {f"moc.codes_{i}": codes for i, codes in enumerate(folder.codes(), 1)}
    same = [s for s in folder.sources if s.bands.same_as(bands)]
    chosen = same[0] if same else folder.sources[0]
    for name, tensor in folder.autoencoder(chosen).items():
        if name.startswith("reconstruction.") and (same or ".head." not in name):
            state[name] = tensor
    record = {
        "sources": [s.name for s in folder.sources],
        "codes": len(state["moc.codes_1"]),
        "sha256": folder.sha256,
        "reconstruction": chosen.name if same else f"{chosen.name}, head fresh",
        "stage1": [s.record for s in folder.sources],
    }
    arguments = {"n_codes": len(state["moc.codes_1"]), "latent": folder.latent, "scales": folder.scales}
    return Start(arguments, state, record)
