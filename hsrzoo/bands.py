"""Spectral bands: centres and widths in nanometres, comparison and explicit resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hsrzoo.errors import BandsError

_EPSILON_NM = 1e-9
"""Slack for comparing wavelengths that went through a unit conversion."""
_TO_NM = {"nm": 1.0, "um": 1e3, "mm": 1e6, "m": 1e9, "angstrom": 0.1}
"""Unit of length -> nanometres."""
_OVER = {"cm-1": 1e7, "thz": 299_792.458, "ghz": 299_792_458.0, "mhz": 299_792_458e3, "ev": 1239.841984}
"""Unit of wavenumber, frequency or energy -> what divided by the number gives nanometres (in vacuum)."""
_SPELLINGS = {
    **dict.fromkeys(("nanometer", "nanometers", "nanometre", "nanometres"), "nm"),
    **dict.fromkeys(("micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"), "um"),
    **dict.fromkeys(("millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("\u00e5", "ang", "angstroms", "\u00e5ngstr\u00f6m"), "angstrom"),
    **dict.fromkeys(("wavenumber", "wavenumbers", "cm^-1", "cm**-1", "1/cm", "/cm", "kayser"), "cm-1"),
    **{name: name[0] + "hz" for name in ("terahertz", "gigahertz", "megahertz")},
}
_LETTERS = str.maketrans({"\u00b5": "u", "\u03bc": "u", "\u212b": "\u00e5", "\u207b": "-", "\u00b9": "1"})
"""Micro sign and mu, the sign of Angstrom, superscript -1 -> how units are spelled here."""
_LEAST_DETECTOR = 20
"""Bands of the smallest detector of a spectrometer: AVIRIS has 32, those of EnMAP have 91."""


@dataclass(frozen=True)
class BandSet:
    """An ordered set of C spectral bands.

    Attributes:
        centres_nm: C centres in nanometres, in the order of the cube's channels. They need not be sorted or
            unique: spectrometers made of several detectors overlap where these meet (EnMAP, AVIRIS).
        widths_nm: C full widths at half maximum in nanometres, or None where unknown.

    Raises:
        BandsError: No band, or a centre or width that is not finite and positive.
    """

    centres_nm: tuple[float, ...]
    widths_nm: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        centres = tuple(float(c) for c in self.centres_nm)
        if not centres or not all(np.isfinite(c) and c > 0 for c in centres):
            raise BandsError(
                "A band set needs at least one band",
                expected="finite centres above 0 nm",
                got=f"{list(self.centres_nm)[:5]}",
            )
        object.__setattr__(self, "centres_nm", centres)
        if self.widths_nm is not None:
            widths = tuple(float(w) for w in self.widths_nm)
            if len(widths) != len(centres) or not all(np.isfinite(w) and w > 0 for w in widths):
                raise BandsError(
                    "Band widths do not fit the centres",
                    expected=f"{len(centres)} finite widths above 0 nm",
                    got=f"{len(widths)} widths, smallest {min(widths, default=float('nan'))}",
                )
            object.__setattr__(self, "widths_nm", widths)

    @classmethod
    def of(
        cls, centres: Sequence[float], widths: Sequence[float] | None = None, unit: str = "nm"
    ) -> BandSet:
        """Bands from any sequence of numbers.

        Args:
            centres: C centres in ``unit``.
            widths: C full widths at half maximum in ``unit``, if known.
            unit: nm, um, mm, m or Angstrom; or cm-1, THz, GHz, MHz or eV, of which centres become the
                wavelengths in vacuum, and widths are multiplied by the derivative there. Full names
                ("micrometers") and other spellings too.

        Raises:
            BandsError: Unknown unit, or centres or widths that are not finite and positive.
        """
        name = unit_named(unit)
        if name is None:
            known = ", ".join((*_TO_NM, *_OVER))
            raise BandsError("Unknown unit of wavelength", expected=known, got=unit)
        if name in _TO_NM:
            scale = _TO_NM[name]
            widths_nm = None if widths is None else tuple(float(w) * scale for w in widths)
            return cls(tuple(float(c) * scale for c in centres), widths_nm)
        numbers = np.asarray(centres, dtype=np.float64)
        with np.errstate(divide="ignore"):
            centres_nm = _OVER[name] / numbers
            widths_nm = None if widths is None else tuple(np.asarray(widths) * centres_nm / numbers)
        return cls(tuple(centres_nm), widths_nm)

    @classmethod
    def regular(cls, start_nm: float, stop_nm: float, step_nm: float) -> BandSet:
        """Equally spaced bands from ``start_nm`` to ``stop_nm``, both included.

        Raises:
            BandsError: The range is not ascending.
        """
        if not (step_nm > 0 and stop_nm >= start_nm):
            raise BandsError(
                "A regular band set needs an ascending range",
                expected="start <= stop and a step above 0 nm",
                got=f"{start_nm} to {stop_nm} by {step_nm}",
            )
        count = round((stop_nm - start_nm) / step_nm) + 1
        return cls(tuple(start_nm + step_nm * i for i in range(count)))

    def __len__(self) -> int:
        return len(self.centres_nm)

    def __str__(self) -> str:
        low, high = min(self.centres_nm), max(self.centres_nm)
        return f"{len(self)} bands, {low:g}-{high:g} nm"

    def same_as(self, other: BandSet, tolerance_nm: float = 0.5) -> bool:
        """Whether both have the same number of bands in the same order, centres within ``tolerance_nm``."""
        return len(self) == len(other) and bool(
            np.all(np.abs(np.subtract(self.centres_nm, other.centres_nm)) <= tolerance_nm)
        )

    def require_same(
        self,
        other: BandSet,
        what: str,
        other_what: str,
        *,
        fix: str = "Ask for resampling (--resample), or use a model trained on these bands",
    ) -> None:
        """Raise an error that names both sides unless :meth:`same_as`.

        Args:
            other: The bands to compare with.
            what: What these bands belong to, for the message.
            other_what: What ``other`` belongs to.
            fix: What the user can do.

        Raises:
            BandsError: The bands differ.
        """
        if not self.same_as(other):
            raise BandsError(
                f"The bands of {what} and {other_what} differ",
                expected=f"{self} ({what})",
                got=f"{other} ({other_what}){self._first_difference(other)}",
                fix=fix,
            )

    def _first_difference(self, other: BandSet, tolerance_nm: float = 0.5) -> str:
        """Where the lists first differ, counted from 1; "" where one is the beginning of the other."""
        for number, (own, its) in enumerate(zip(self.centres_nm, other.centres_nm, strict=False), 1):
            if not abs(own - its) <= tolerance_nm:
                return f"; the first difference is band {number}: {own:g} nm against {its:g} nm"
        return ""

    def sorting(self) -> list[int] | None:
        """The order that sorts the bands by wavelength; None where they are sorted, or where every
        ascending run is long enough for a detector: spectrometers made of several overlap there."""
        centres = np.asarray(self.centres_nm)
        descents = np.flatnonzero(np.diff(centres) < 0) + 1
        lengths = np.diff([0, *descents, len(centres)])
        if lengths.min() >= _LEAST_DETECTOR or len(lengths) == 1:
            return None
        return [int(i) for i in np.argsort(centres, kind="stable")]

    def select(self, indices: Sequence[int]) -> BandSet:
        """The bands at ``indices``, in that order."""
        widths = self.widths_nm and tuple(self.widths_nm[i] for i in indices)
        return BandSet(tuple(self.centres_nm[i] for i in indices), widths)

    def nearest(self, wanted_nm: Sequence[float]) -> list[int]:
        """Find the band nearest to each wavelength.

        Args:
            wanted_nm: Wavelengths in nanometres. Each must be within half a band spacing of a centre: half
                the median step between neighbouring centres (half a width if there is only one band).

        Returns:
            Indices of the bands, in the order of ``wanted_nm``.

        Raises:
            BandsError: No band is that near, or two wavelengths have the same nearest band.
        """
        centres = np.asarray(self.centres_nm)
        steps = np.diff(np.unique(centres))
        reach = float(np.median(steps)) / 2 if len(steps) else (self.widths_nm or (1.0,))[0] / 2
        found: dict[int, float] = {}
        for nm in wanted_nm:
            index = int(np.abs(centres - nm).argmin()) if np.isfinite(nm) else 0
            if not abs(centres[index] - nm) <= reach + _EPSILON_NM:
                raise BandsError(
                    f"There is no band at {nm:g} nm",
                    expected=f"wavelengths within {reach:g} nm of one of the {self}",
                    got=f"{nm:g} nm, to which {centres[index]:g} nm is nearest",
                )
            if index in found:
                raise BandsError(
                    f"{found[index]:g} and {nm:g} nm are the same band",
                    expected=f"different ones of the {self}",
                    got=f"{centres[index]:g} nm twice",
                )
            found[index] = nm
        return list(found)

    def to_json(self) -> dict[str, list[float] | None]:
        """``{"centres_nm": [...], "widths_nm": [...] or None}``."""
        return {
            "centres_nm": list(self.centres_nm),
            "widths_nm": None if self.widths_nm is None else list(self.widths_nm),
        }

    @classmethod
    def from_json(cls, value: dict) -> BandSet:
        """Inverse of :meth:`to_json`."""
        return cls(value["centres_nm"], value.get("widths_nm"))

    def _runs(self) -> list[np.ndarray]:
        """Indices of each detector: maximal ascending runs of the stored order.

        A descending or shuffled list (runs of single bands) is sorted into one run.
        """
        centres = np.asarray(self.centres_nm)
        cuts = np.flatnonzero(np.diff(centres) <= 0) + 1
        runs = np.split(np.arange(len(centres)), cuts)
        if len(runs) > 1 and min(len(r) for r in runs) < 2:
            order = np.argsort(centres, kind="stable")
            first = np.concatenate([[True], np.diff(centres[order]) > 0])
            runs = [order[first]] + [np.array([i]) for i in order[~first]]
        return runs

    def resample_matrix(self, target: BandSet) -> tuple[np.ndarray, np.ndarray]:
        """The linear operator that resamples spectra to ``target``.

        Each detector (ascending run of centres) is interpolated linearly on its own; where several cover a
        target band they are averaged, weighted by their widths there if known. A target that none covers
        takes the value of an end band up to half a band spacing away; further out it is not covered.

        Returns:
            Weights M (T, C) float64, such that ``M @ spectrum`` gives the target bands, and covered (T,)
            bool. Rows of bands that are not covered are zero.
        """
        matrix = np.zeros((len(target), len(self)))
        covered = np.zeros(len(target), dtype=bool)
        runs = self._runs()
        for t, centre in enumerate(target.centres_nm):
            # Beyond the ends only where no detector covers the band: an overlap is not extrapolated.
            found = [r for r in (self._weights(run, centre, False) for run in runs) if r is not None]
            found = found or [
                r for r in (self._weights(run, centre, True) for run in runs) if r is not None
            ]
            if found:
                total = sum(width for width, _ in found)
                matrix[t] = sum(width * row for width, row in found) / total
                covered[t] = True
        return matrix, covered

    def _weights(self, run: np.ndarray, centre: float, beyond: bool) -> tuple[float, np.ndarray] | None:
        """(width there, row (C,)) of one detector's interpolation at ``centre``; None if outside.

        ``beyond``: allow half a band spacing (half a width for a single band) past the ends.
        """
        x = np.asarray(self.centres_nm)[run]
        widths = np.ones(len(x)) if self.widths_nm is None else np.asarray(self.widths_nm)[run]
        steps = np.diff(x) if len(x) > 1 else widths[:1]
        low, high = (steps[0] / 2, steps[-1] / 2) if beyond else (0.0, 0.0)
        if not x[0] - low - _EPSILON_NM <= centre <= x[-1] + high + _EPSILON_NM:
            return None
        k = min(int(np.searchsorted(x, centre)), len(x) - 1)
        j = max(k - 1, 0)
        share = 0.0 if k == j else float(np.clip((centre - x[j]) / (x[k] - x[j]), 0, 1))
        row = np.zeros(len(self))
        row[run[j]] += 1 - share
        row[run[k]] += share
        return float((1 - share) * widths[j] + share * widths[k]), row

    def resample(self, cube: np.ndarray, target: BandSet) -> tuple[np.ndarray, np.ndarray]:
        """Resample a cube to other bands.

        Args:
            cube: (C, ...) numbers; NaN is a value without data.
            target: The T bands of the result.

        Returns:
            (T, ...) float32, NaN where a band with weight is NaN, and the mask of covered bands (T,).

        Raises:
            BandsError: The first axis of ``cube`` is not C.
        """
        if cube.shape[0] != len(self):
            raise BandsError(
                "The cube does not have these bands", expected=f"{len(self)} channels first", got=cube.shape
            )
        matrix, covered = self.resample_matrix(target)
        flat = combine(matrix, cube.reshape(len(self), -1).astype(np.float64))
        return flat.reshape(len(target), *cube.shape[1:]).astype(np.float32), covered


def unit_named(text: str) -> str | None:
    """The short name of a unit of wavelength, wavenumber, frequency or energy in any usual spelling; None
    for anything else."""
    name = text.lower().translate(_LETTERS).replace("^{-1}", "-1").replace(" ", "")
    name = _SPELLINGS.get(name, name)
    return name if name in _TO_NM or name in _OVER else None


def combine(matrix: np.ndarray, spectra: np.ndarray, least: float = 0.0) -> np.ndarray:
    """``matrix @ spectra``, (T, C) and (C, N) float64: NaN only where a band of weight above ``least`` is.

    The plain product would spread every NaN, since 0 x NaN is NaN. Bands of at most that weight count as
    0 where they lack data.
    """
    missing = np.isnan(spectra)
    if not missing.any():
        return matrix @ spectra
    result = matrix @ np.where(missing, 0.0, spectra)
    counts = (np.abs(matrix) > least).astype(np.float32)
    result[counts @ missing.astype(np.float32) > 0] = np.nan
    return result


VISIBLE_31 = BandSet.regular(400, 700, 10)
"""400-700 nm at 10 nm: the grid of CAVE, ARAD-1K and the 31-band models."""
