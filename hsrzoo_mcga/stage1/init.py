"""Stage 1 of a finished run as the start of another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.hub.client import origin_of
from hsrzoo.training.init import take_over
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.decoding import load_autoencoder


@dataclass(frozen=True)
class Init:
    """The autoencoder of one source."""

    settings: Mapping[str, Any]
    """Arguments of :class:`SpectralAutoencoder`: scales, latent, n_codes, mask."""
    bands: BandSet
    state: Mapping[str, Tensor]
    record: Mapping[str, Any]
    """For the record of the run: name of folder or repository, revision (of the Hub), source, and sha256 of
    the files."""


def read_init(path: Path, source: str, asked: Mapping[str, Any]) -> Init:
    """Read stage 1 from a folder of codebooks.

    Args:
        path: The folder, or ``hf-hub:ORG/NAME[@REVISION]``.
        source: Name of the source to train; where the folder holds several, that of this name is taken.
        asked: Settings that the user gave; all others are those of the folder.

    Returns:
        The autoencoder with its codes.

    Raises:
        WeightsError: The folder is damaged.
        InputError: Its settings are not those asked for, or no source of several has that name.
    """
    folder = CodebookFolder.read(path)
    chosen = _choose(folder, source)
    module = load_autoencoder(folder, chosen)
    settings = {
        "scales": folder.scales, "latent": folder.latent, "n_codes": chosen.n_codes, "mask": module.mask,
    }  # fmt: skip
    wrong = {key: value for key, value in asked.items() if settings[key] != value}
    if wrong:
        raise InputError(
            f"{path} was trained with other settings",
            expected=", ".join(f"{key} {settings[key]}" for key in wrong),
            got=", ".join(f"{key} {value}" for key, value in wrong.items()),
            fix="Omit them: they are those of the folder",
        )
    origin = origin_of(folder.path)
    place = {"name": folder.path.resolve().name}
    if origin:
        place = {"name": f"hf-hub:{origin['repo']}", "revision": origin["revision"]}
    record = {**place, "source": chosen.name, "sha256": folder.files_of(chosen)}
    return Init(settings, chosen.bands, module.state_dict(), record)


def _choose(folder: CodebookFolder, name: str) -> Source:
    named = {source.name: source for source in folder.sources}
    if len(named) > 1 and name not in named:
        raise InputError(
            f"{folder.path} holds several sources",
            expected=f"a run with the name of one of them: {', '.join(named)}",
            got=name,
            fix="Give it with --name",
        )
    return named.get(name, folder.sources[0])


def apply_init(init: Init, module: SpectralAutoencoder, bands: BandSet) -> dict[str, Any]:
    """Copy the weights into ``module``, for ``bands``; the record, with the layers re-initialised because
    their shape depends on the number of bands as ``reinitialised``."""
    fresh = take_over(module, init.state, init.record["source"], init.bands, bands)
    return {**init.record, **({"reinitialised": fresh} if fresh else {})}
