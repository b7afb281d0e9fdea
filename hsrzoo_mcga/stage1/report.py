"""What a folder of codebooks holds: the figures of every source, and its codes as spectra."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hsrzoo.utils.files import write_atomically
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source
from hsrzoo_mcga.codebook.lookup import usage
from hsrzoo_mcga.stage1.decoding import code_spectra, encode, influence, load_autoencoder
from hsrzoo_mcga.stage1.evaluation import evaluate, load_cubes

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset


@dataclass(frozen=True)
class SourceReport:
    """One source of a folder."""

    source: Source
    widths: tuple[int, ...]
    """D_1 .. D_S."""
    figures: Mapping[str, float]
    """RMSE, usage and perplexity; see :func:`hsrzoo_mcga.stage1.evaluation.evaluate`."""
    figures_on: str
    """What they were measured on."""
    dead: tuple[int, ...]
    """Codes without use there, per scale."""
    influence: tuple[float, ...]
    """How much the codes of each scale change a spectrum; see :func:`.decoding.influence`."""
    spectra: tuple[np.ndarray, ...]
    """Every code as a spectrum, (N, C) per scale; see :func:`hsrzoo_mcga.stage1.decoding.code_spectra`."""
    used: tuple[np.ndarray, ...] | None
    """(N,) bool per scale; None where figures come from the record, which does not say which."""
    sha256: Mapping[str, str]
    """Files of the folder with this source's numbers."""

    def to_json(self) -> dict[str, Any]:
        """All but the spectra."""
        source, record = self.source, self.source.record
        return {
            "source": source.name,
            "bands": source.bands.to_json(),
            "codes": source.n_codes,
            "first_code": source.first_code,
            "widths": list(self.widths),
            "figures": dict(self.figures),
            "figures_on": self.figures_on,
            "dead": list(self.dead),
            "influence": list(self.influence),
            "dataset": record.get("dataset"),
            "options": record.get("options", {}),
            "scenes": record.get("scenes", []),
            "fingerprint": record.get("fingerprint"),
            "sha256": dict(self.sha256),
        }

    def facts(self) -> dict[str, str]:
        """Headings and texts for the table of ``hsrzoo codebook inspect``."""
        source, figures, scales = self.source, self.figures, range(1, len(self.widths) + 1)

        def by_scale(name: str, form: str) -> str:
            values = (figures.get(f"{name}_{i}") for i in scales)
            return ", ".join(format(value, form) for value in values if value is not None)

        errors = {k: v for k, v in figures.items() if k.startswith("rmse")}
        return {
            "bands": str(source.bands),
            "codes per scale": ", ".join(f"{source.n_codes} of width {d}" for d in self.widths),
            **{k.replace("rmse_", "RMSE, ").replace("_", " "): f"{v:.5f}" for k, v in errors.items()},
            "usage": by_scale("usage", ".3f"),
            "perplexity": by_scale("perplexity", ".1f"),
            "dead codes": ", ".join(map(str, self.dead)),
            "influence on spectra (RMS)": ", ".join(f"{x:.4f}" for x in self.influence),
            "measured on": self.figures_on,
            "data set": f"{source.record.get('dataset')} {source.record.get('fingerprint')}",
            **{f"sha256 of {file}": digest[:16] for file, digest in sorted(self.sha256.items())},
        }


def report_source(
    folder: CodebookFolder, source: Source, data: Dataset | None = None, split: str = "train"
) -> SourceReport:
    """The report of one source, with the figures of its record or of ``data``.

    Args:
        folder: Folder of codebooks.
        source: One of its sources.
        data: Data set whose scenes of ``split`` are evaluated; None: the figures of the record.
        split: Split of ``data``.

    Raises:
        BandsError: If the source has other bands than ``data``.
    """
    module = load_autoencoder(folder, source)
    figures, measured_on = source.record.get("figures", {}), source.record.get("figures_on", "nothing")
    used = None
    if data is not None:
        fix = "Choose a source by --source, or the bands by --data-option"
        source.bands.require_same(data.bands, f"the source {source.name}", data.name, fix=fix)
        cubes = load_cubes(data, split, data.scenes(split), folder.scales)
        with torch.inference_mode():
            figures = evaluate(module, cubes, data.bands)
            maps = [encode(module, cube[None]) for cube in cubes]
        indices = [torch.cat([m[i].flatten() for m in maps]) for i in range(folder.scales)]
        used = tuple((torch.bincount(x, minlength=source.n_codes) > 0).numpy() for x in indices)
        for i, x in enumerate(indices, 1):  # of the same look-ups as ``used``
            figures.update({f"{k}_{i}": v for k, v in usage(x, source.n_codes).items()})
        measured_on = f"{data.name}/{split}, {len(cubes)} scenes"
    dead = tuple(
        round((1 - figures[f"usage_{i}"]) * source.n_codes)
        for i in range(1, folder.scales + 1)
        if f"usage_{i}" in figures
    )
    return SourceReport(
        source=source,
        widths=module.widths,
        figures=figures,
        figures_on=measured_on,
        dead=dead,
        influence=tuple(influence(module)),
        spectra=tuple(s.numpy() for s in code_spectra(module)),
        used=used,
        sha256=folder.files_of(source),
    )


def write_spectra(path: Path, reports: Sequence[SourceReport]) -> None:
    """CSV with one line for each source, scale, code and band; codes count from 0 within their source,
    bands are in the sensor's order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "scale", "code", "wavelength_nm", "value"])
    for report in reports:
        for scale, table in enumerate(report.spectra, 1):
            for code, spectrum in enumerate(table):
                for nm, value in zip(report.source.bands.centres_nm, spectrum, strict=True):
                    writer.writerow([report.source.name, scale, code, f"{nm:g}", f"{value:.6g}"])
    write_atomically(path, text.getvalue().encode())
