"""What a folder of codebooks holds: the figures of every source, and its codes as spectra."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hsrzoo.bands import BandSet
from hsrzoo.errors import StoreError
from hsrzoo.metrics.colour import xyz_matrix
from hsrzoo.utils.files import write_atomically
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source
from hsrzoo_mcga.codebook.lookup import usage
from hsrzoo_mcga.stage1.decoding import code_spectra, crop_to_codes, files_of, influence, to_maps, trained
from hsrzoo_mcga.stage1.evaluation import evaluate

if TYPE_CHECKING:
    from hsrzoo.datasets.base import Dataset

_GAP = 4
"""Bands further apart than this many median spacings have a gap of the sensor between them."""
_GREY = (0.45, 0.45, 0.45)
_XYZ_TO_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
"""Linear sRGB from XYZ under D65 (IEC 61966-2-1)."""


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
    """How much the codes of each scale move a spectrum; see :func:`.decoding.influence`."""
    spectra: tuple[np.ndarray, ...]
    """Every code as a spectrum, (N, C) per scale; see :func:`hsrzoo_mcga.stage1.decoding.code_spectra`."""
    used: tuple[np.ndarray, ...] | None
    """(N,) bool per scale; None where figures come from the record, which does not tell which."""
    sha256: Mapping[str, str]
    """Files of the folder with this source's numbers."""

    def to_json(self) -> dict[str, Any]:
        """All but the spectra."""
        return {
            "source": self.source.name,
            "bands": self.source.bands.to_json(),
            "codes": self.source.n_codes,
            "first_code": self.source.first_code,
            "widths": list(self.widths),
            "figures": dict(self.figures),
            "figures_on": self.figures_on,
            "dead": list(self.dead),
            "influence": list(self.influence),
            "dataset": self.source.record.get("dataset"),
            "options": self.source.record.get("options", {}),
            "scenes": self.source.record.get("scenes", []),
            "fingerprint": self.source.record.get("fingerprint"),
            "sha256": dict(self.sha256),
        }


def inspect_folder(
    folder: CodebookFolder,
    sources: Sequence[Source],
    data: Dataset | None = None,
    split: str = "train",
) -> list[SourceReport]:
    """Reports of ``sources``, with the figures of their records; with ``data``, new ones on the scenes of
    its ``split``. Raises BandsError where a source has other bands than ``data``."""
    return [_report(folder, source, data, split) for source in sources]


def _report(folder: CodebookFolder, source: Source, data: Dataset | None, split: str) -> SourceReport:
    module = trained(folder, source)
    record = source.record
    figures, told, used = record.get("figures", {}), record.get("figures_on", "nothing"), None
    if data is not None:
        fix = "Choose a source by --source, or the bands by --data-option"
        source.bands.require_same(data.bands, f"the source {source.name}", data.name, fix=fix)
        scenes = data.scenes(split)
        cubes = [crop_to_codes(torch.from_numpy(data.load(split, s).cube), module) for s in scenes]
        with torch.inference_mode():
            figures = evaluate(module, cubes, data.bands)
            maps = [to_maps(module, cube[None]) for cube in cubes]
        indices = [torch.cat([m[i].flatten() for m in maps]) for i in range(folder.scales)]
        used = tuple((torch.bincount(x, minlength=source.n_codes) > 0).numpy() for x in indices)
        for i, x in enumerate(indices, 1):  # of the very codes that are called dead
            figures.update({f"{k}_{i}": v for k, v in usage(x, source.n_codes).items()})
        told = f"{data.name}/{split}, {len(scenes)} scenes"
    dead = tuple(
        round((1 - figures[f"usage_{i}"]) * source.n_codes)
        for i in range(1, folder.scales + 1)
        if f"usage_{i}" in figures
    )
    spectra = tuple(s.numpy() for s in code_spectra(module))
    moved = tuple(influence(module))
    return SourceReport(
        source, module.widths, figures, told, dead, moved, spectra, used, files_of(folder, source)
    )


def facts(report: SourceReport) -> dict[str, str]:
    """What the table of ``hsrzoo codebook inspect`` says of a source, in words."""
    figures, scales = report.figures, range(1, len(report.widths) + 1)

    def listed(name: str, form: str) -> str:
        return ", ".join(format(figures[f"{name}_{i}"], form) for i in scales if f"{name}_{i}" in figures)

    errors = {k: v for k, v in figures.items() if k.startswith("rmse")}
    return {
        "bands": str(report.source.bands),
        "codes per scale": ", ".join(f"{report.source.n_codes} of width {d}" for d in report.widths),
        **{k.replace("rmse_", "RMSE, ").replace("_", " "): f"{v:.5f}" for k, v in errors.items()},
        "usage": listed("usage", ".3f"),
        "perplexity": listed("perplexity", ".1f"),
        "dead codes": ", ".join(map(str, report.dead)),
        "influence on spectra (RMS)": ", ".join(f"{x:.4f}" for x in report.influence),
        "measured on": report.figures_on,
        "data set": f"{report.source.record.get('dataset')} {report.source.record.get('fingerprint')}",
        **{f"sha256 of {file}": digest[:16] for file, digest in sorted(report.sha256.items())},
    }


def write_spectra(path: Path, reports: Sequence[SourceReport]) -> None:
    """CSV with one line for each source, scale, code and band; codes count from 0 within their source,
    bands are in the sensor's order."""
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "scale", "code", "wavelength_nm", "value"])
    for report in reports:
        for scale, table in enumerate(report.spectra, 1):
            for code, spectrum in enumerate(table):
                for nm, value in zip(report.source.bands.centres_nm, spectrum, strict=True):
                    writer.writerow([report.source.name, scale, code, f"{nm:g}", f"{value:.6g}"])
    write_atomically(path, text.getvalue().encode())


def colours(spectra: np.ndarray, bands: BandSet) -> np.ndarray:
    """What spectra of reflectance (N, C) look like in daylight: sRGB (N, 3) in [0, 1] under D65 for the
    CIE 1931 observer; one grey where the bands cover too little of the visible range."""
    matrix = xyz_matrix(bands)
    if matrix is None:
        return np.tile(_GREY, (len(spectra), 1))
    linear = np.clip(spectra.astype(np.float64) @ matrix.T @ _XYZ_TO_SRGB.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def open_at_gaps(bands: BandSet, spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths (C',) and spectra (N, C') with NaN where the sensor has a gap or another detector
    begins, so that no line is drawn there."""
    nm = np.asarray(bands.centres_nm)
    steps = np.diff(nm)
    if len(steps) and np.median(steps) < 0:  # listed from the longest wavelength on
        nm, spectra, steps = nm[::-1], spectra[:, ::-1], -steps[::-1]
    far = _GAP * np.median(steps) if len(steps) else np.inf
    breaks = np.flatnonzero((steps > far) | (steps < 0)) + 1
    return np.insert(nm, breaks, nm[breaks]), np.insert(spectra, breaks, np.nan, axis=1)


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise StoreError(
            "Pictures need the package matplotlib",
            fix='pip install "hsrzoo[report]", or leave --picture out',
        ) from None
    matplotlib.use("Agg")  # files only: no display is needed
    from matplotlib import pyplot

    return pyplot


def draw(path: Path, reports: Sequence[SourceReport]) -> None:
    """A picture with one panel for each source (row) and scale (column): every code's spectrum, in its own
    colour in daylight. Codes known to be dead are dashed. The suffix of ``path`` says the format."""
    pyplot = _pyplot()
    scales = max(len(r.spectra) for r in reports)
    size = (5.2 * scales, 3.2 * len(reports) + 0.4)
    figure, axes = pyplot.subplots(len(reports), scales, figsize=size, squeeze=False, layout="constrained")
    for row, report in zip(axes, reports, strict=True):
        for scale, (axis, spectra) in enumerate(zip(row, report.spectra, strict=False), 1):
            _panel(axis, report, scale, spectra)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be drawn", got=str(error), fix="Name a .png, .svg or .pdf"
        ) from None
    finally:
        pyplot.close(figure)


def _panel(axis: Any, report: SourceReport, scale: int, spectra: np.ndarray) -> None:
    nm, values = open_at_gaps(report.source.bands, spectra)
    alive = np.ones(len(spectra), bool) if report.used is None else report.used[scale - 1]
    shown = colours(spectra, report.source.bands)
    for value, colour, is_alive in zip(values, shown, alive, strict=True):
        axis.plot(nm, value, color=colour, lw=0.8, alpha=0.8, ls="-" if is_alive else (0, (1, 3)))
    side = f"1/{2**scale} resolution"
    dead = f", {report.dead[scale - 1]} dead (dashed)" if report.used is not None else ""
    axis.set_title(f"{report.source.name}, {side}: {len(spectra)} codes{dead}", fontsize=9)
    axis.set_xlabel("wavelength (nm)")
    axis.set_ylabel("decoded value")
    axis.set_facecolor("0.82")  # white and black spectra are both seen on it
    axis.tick_params(labelsize=8)
