"""Building a GANet from plain arguments, and starting it from a folder of codebooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError, WeightsError
from hsrzoo.spec import Start
from hsrzoo_mcga.codebook.folder import CodebookFolder
from hsrzoo_mcga.stage2.ablations import Ablation, draw_like, make_network
from hsrzoo_mcga.stage2.network import GANet, Settings


def build(bands: BandSet, scales: int | None = None, **arguments: Any) -> GANet:
    """A GANet for ``bands``.

    Args:
        bands: Bands of the cubes.
        scales: Number of scales of the codebooks that it will be started from, if known.
        **arguments: Fields of :class:`Settings` and of :class:`Ablation`; lists are accepted for tuples.

    Raises:
        InputError: For unknown arguments, and for values that make no network.
        WeightsError: If ``scales`` is not the network's number of scales.
    """
    own, ablation = ({f.name for f in fields(kind)} for kind in (Settings, Ablation))
    unknown = sorted(set(arguments) - own - ablation)
    if unknown:
        raise InputError(
            "Unknown arguments of MCGA", expected=", ".join(sorted(own | ablation)), got=", ".join(unknown)
        )
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    try:
        settings = Settings(**{k: v for k, v in plain.items() if k in own})
        network = make_network(
            len(bands), settings, Ablation(**{k: v for k, v in plain.items() if k in ablation})
        )
    except ValueError as error:
        raise InputError("MCGA cannot be built with these arguments", got=str(error)) from None
    if scales is not None and scales != len(settings.widths):
        raise WeightsError(
            "These codebooks were trained for another number of scales",
            expected=f"{len(settings.widths)} scales",
            got=f"{scales} scales",
            fix=f"Train them with: hsrzoo codebook train --scales {len(settings.widths)}",
        )
    return network


def start(path: Path, bands: BandSet, arguments: Mapping[str, Any]) -> Start:
    """What stage 2 takes from a folder of ``hsrzoo codebook train`` or ``hsrzoo codebook mix``.

    These are the frozen codebooks of every scale, and the weights of algorithm 2 of the first source on the
    same bands. Without such a source, its band-independent layers come from the first source and the head
    to C bands is initialised at random (the record says so). A network without codes takes algorithm 2
    alone; for one with random codes, codebooks are drawn like the learned ones.

    Args:
        path: The folder, or ``hf-hub:ORG/NAME[@REVISION]``.
        bands: Bands of the network.
        arguments: Arguments of the network; ``codebook`` and ``reconstruction`` count.

    Raises:
        WeightsError: If the folder is damaged, or a frozen reconstruction finds no source on its bands.
    """
    folder = CodebookFolder.read(path)
    codes = folder.codes()
    kind = arguments.get("codebook", "mixture")
    state: dict[str, Tensor] = {}
    if kind in ("mixture", "random"):
        tables = codes if kind == "mixture" else _draw_tables(codes)
        state = {f"moc.codes_{i}": table for i, table in enumerate(tables, 1)}
    same = [s for s in folder.sources if s.bands.same_as(bands)]
    if not same and arguments.get("reconstruction") == "frozen":
        raise WeightsError(
            "A frozen reconstruction needs a source on the network's own bands",
            expected=str(bands),
            got=", ".join(f"{s.name}: {s.bands}" for s in folder.sources),
            fix="Add such a source to the mixture, or leave reconstruction at finetuned",
        )
    chosen = same[0] if same else folder.sources[0]
    for name, tensor in folder.autoencoder(chosen).items():
        if name.startswith("reconstruction.") and (same or ".head." not in name):
            state[name] = tensor
    record = {
        "sources": [s.name for s in folder.sources],
        "codes": len(codes[0]),
        "sha256": folder.sha256,
        "reconstruction": chosen.name if same else f"{chosen.name}, head fresh",
        "stage1": [s.record for s in folder.sources],
    }
    if kind != "mixture":
        record["taken"] = _TAKEN[kind]
    if kind in ("bypass", "none"):
        record["sources"] = [chosen.name]  # nothing of the others is taken
    own = {"n_codes": len(codes[0]), "latent": folder.latent, "scales": folder.scales}
    return Start(own, state, record)


_TAKEN = {
    "random": "algorithm 2; codes drawn from normal distributions with the tables' means and covariances",
    "bypass": "algorithm 2 alone",
    "none": "algorithm 2 alone",
}


def _draw_tables(codes: list[Tensor]) -> list[Tensor]:
    """Random codebooks (N, D_i) instead of the learned ones, by the seed of the run but from a generator of
    their own, so that all other weights start as they do with learned codes."""
    generator = torch.Generator().manual_seed(torch.initial_seed())
    return [draw_like(table, generator) for table in codes]
