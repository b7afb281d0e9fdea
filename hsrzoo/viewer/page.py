"""The page: facts, packed values and pictures in the template."""

from __future__ import annotations

import base64
import hashlib
import warnings
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.io.metadata import is_reflectance, origin
from hsrzoo.prediction.caveats import rounded_percent
from hsrzoo.uncertainty import UNLIKE
from hsrzoo.utils.files import write_atomically
from hsrzoo.viewer.cubes import NamedCube, check_cubes, fit_photo, runs_of, stride_for
from hsrzoo.viewer.pack import colour_picture, error_maps, outside_of, pack_values, png_uri

_SCRIPTS = ("data.js", "colours.js", "panels.js", "plot.js", "table.js", "input.js", "main.js")
_FIRST_NM = 550.0
"""The band nearest to green is shown first."""
_NOTED = 0.01
"""Share of the values below 0 or above the white that is noted."""


def write_page(
    out: str | Path,
    cubes: Sequence[NamedCube],
    photo: np.ndarray | None = None,
    title: str | None = None,
    *,
    photo_name: str = "Photograph",
    max_side: int | None = None,
) -> None:
    """Write one HTML file that shows one cube, or two cubes and their differences.

    The notes on the page are also issued as warnings.

    Args:
        out: the HTML file.
        cubes: one cube, or two of the same size and bands.
        photo: (H, W, 3) uint8 or uint16 of the cubes' size, or larger by an integer factor.
        title: heading of the page; default: the names of the cubes.
        photo_name: label of ``photo``.
        max_side: longest side in pixels; larger cubes keep every n-th pixel, which the page notes. Default:
            at most 33 million values per cube.

    Raises:
        InputError, BandsError: the cubes or the photograph do not fit; nothing is written.
        StoreError: the file cannot be written.
    """
    content = _Content(cubes, max_side)
    content.add_cubes()
    if len(content.cubes) == 2:
        content.add_errors()
    if photo is not None:
        content.add_photo(np.asarray(photo), photo_name)
    write_atomically(Path(out), content.page(title).encode("utf-8"))
    for note in content.notes:
        warnings.warn(note, stacklevel=2)


class _Content:
    """Contents of the page, added step by step."""

    def __init__(self, cubes: Sequence[NamedCube], max_side: int | None) -> None:
        self.cubes = check_cubes(cubes)
        self.height, self.width, self.bands = self.cubes[0].shape
        self.stride = stride_for(self.cubes[0].shape, max_side)
        self.notes = _notes(cubes)
        if self.stride > 1:
            self.notes.append(
                f"The page shows one in {self.stride} of the {self.height} rows and {self.width} columns; "
                "positions are those of the whole cube."
            )
        self.figures: list[dict[str, Any]] = []
        self.payloads: dict[str, str] = {}
        kinds = ("cubes", "intervals", "maps", "unfamiliar")
        self.about: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
        self.meanings: list[str] = []
        """Of the intervals, for the legend."""
        self.dimmed = ""
        self.origins: list[tuple[str, str]] = []
        size = f"{self.height} rows x {self.width} columns"
        first = self.cubes[0].bands
        self.summary = f"{size}, {first if first is not None else f'{self.bands} bands'}"

    def add_cubes(self) -> None:
        """Values, origin and colour rendering of each cube."""
        letters = ("A: ", "B: ") if len(self.cubes) > 1 else ("",)
        for letter, cube in zip(letters, self.cubes, strict=True):
            kept = self._subsample(np.asarray(cube.values))
            marked = is_reflectance(cube.units, cube.facts)
            self._store("cubes", kept, name=cube.name, label=letter + cube.name, marked=marked)
            self._add_interval(cube, letter)
            self._add_unfamiliar(cube)
            outside = outside_of(cube.values) if marked else None
            if outside is not None and outside.share > _NOTED:
                self.notes.append(f'Values of {cube.name}: {outside.shares}. "One band" marks them.')
            if text := origin(cube.facts):
                self.origins.append((letter + cube.name if letter else "Origin", text))
            pixels, how = colour_picture(kept, cube.bands)
            self._show("cube", letter + cube.name, how, pixels)

    def _add_interval(self, cube: NamedCube, letter: str) -> None:
        """What is drawn around the spectra of the cube that was stored last."""
        if cube.interval is None:
            return
        self._store("intervals", self._subsample(cube.interval.half), name=cube.name)
        shown = {"name": cube.interval.name, "half": self.about["intervals"][-1]}
        if cube.interval.centre is not None:
            self._store("intervals", self._subsample(cube.interval.centre), name=cube.name)
            shown["centre"] = self.about["intervals"][-1]
        self.about["cubes"][-1]["interval"] = shown
        self.meanings.append(letter + cube.interval.words)

    def _add_unfamiliar(self, cube: NamedCube) -> None:
        """The map of unfamiliar pixels, of the first cube that has one."""
        if cube.unfamiliar is None or self.about["unfamiliar"]:
            return
        self._store("unfamiliar", self._subsample(cube.unfamiliar)[..., None], name=cube.name)
        share = rounded_percent(float(np.mean(cube.unfamiliar > UNLIKE)))
        self.dimmed = f"{share} of the picture is unlike the training data"

    def add_errors(self) -> None:
        """The error maps of two cubes, and overall errors: of B, or differences if models made both."""
        one, two = self.cubes
        found = error_maps(one.values, two.values)
        maps = {"RMSE": (found.rmse, ""), "Spectral angle": (found.angle, "°")}
        there = {name: v for name, v in maps.items() if np.isfinite(self._subsample(v[0])).any()}
        for name, (values, sign) in there.items():
            self._store("maps", self._subsample(values)[..., None], name=name, sign=sign)
        if there:
            name = "Difference" if all("model" in cube.facts for cube in self.cubes) else "Error of B"
            self._show("error", name)
            self.summary += f"; {name[0].lower()}{name[1:]}: RMSE {found.total_rmse:.4g}"
        if "Spectral angle" in there:
            self.summary += f", mean spectral angle {found.mean_angle:.3g}°"

    def add_photo(self, photo: np.ndarray, name: str) -> None:
        """A photograph of the same scene."""
        fitted = fit_photo(photo, self.height, self.width)
        shrunk = f", {photo.shape[0] // self.height} x {photo.shape[0] // self.height} pixels averaged"
        how = "photograph" + (shrunk if photo.shape[0] > self.height else "")
        self._show("photo", name, how, self._subsample(fitted))

    def _subsample(self, values: np.ndarray) -> np.ndarray:
        return values[:: self.stride, :: self.stride]

    def _store(self, kind: str, values: np.ndarray, **facts: str | bool) -> None:
        key = f"{kind}-{len(self.about[kind])}"
        found = pack_values(values, str(facts["name"]))
        self.payloads[key] = found.text
        self.about[kind].append({"id": key, "offset": found.offset, "step": found.step, **facts})

    def _show(self, kind: str, name: str, how: str = "", pixels: np.ndarray | None = None) -> None:
        index = sum(figure["kind"] == kind for figure in self.figures)
        picture = None if pixels is None else png_uri(np.ascontiguousarray(pixels))
        self.figures.append({"kind": kind, "index": index, "name": name, "how": how, "picture": picture})

    def page(self, title: str | None) -> str:
        """The whole page."""
        import jinja2

        folder = files("hsrzoo.viewer")
        bodies = "\n".join(folder.joinpath(name).read_text("utf-8") for name in _SCRIPTS)
        script = f'(() => {{\n"use strict";\n{bodies}}})();\n'
        style = folder.joinpath("style.css").read_text("utf-8")
        source = folder.joinpath("page.html").read_text("utf-8")
        environment = jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        return environment.from_string(source).render(
            facts=self._facts(title),
            figures=self.figures,
            payloads=self.payloads,
            notes=self.notes,
            summary=self.summary,
            origins=self.origins,
            meanings=self.meanings,
            dimmed=self.dimmed,
            script=script,
            script_hash=_hash(script),
            style=style,
            style_hash=_hash(style),
        )

    def _facts(self, title: str | None) -> dict[str, Any]:
        """Facts for the script, as JSON without NaN and infinities."""
        cube = self.cubes[0]
        centres = None if cube.bands is None else [float(f"{c:.6g}") for c in cube.bands.centres_nm]
        first = self.bands // 2
        if centres is not None:
            first = min(range(self.bands), key=lambda i: abs(centres[i] - _FIRST_NM))
        units = next((c.units for c in self.cubes if c.units), None)
        return {
            "title": title or " and ".join(c.name for c in self.cubes),
            "width": -(-self.width // self.stride),
            "height": -(-self.height // self.stride),
            "stride": self.stride,
            "bands": self.bands,
            "wavelengths": centres,
            "runs": runs_of(cube.bands, self.bands),
            "axis": "band number" if centres is None else "wavelength (nm)",
            "value_axis": f"value, unit: {units}" if units else "value (unit unknown)",
            "first_band": first,
            "csv": f"{Path(cube.name).stem}-spectra.csv",
            "unlike": UNLIKE,
            **self.about,
        }


def _notes(cubes: Sequence[NamedCube]) -> list[str]:
    """Notes about the bands."""
    silent = [cube.name for cube in cubes if cube.bands is None]
    if not silent:
        return []
    if len(silent) < len(cubes):
        return [f"{silent[0]} has no wavelengths; those of the other cube are shown."]
    return [
        f"No wavelengths in {' or '.join(silent)}: bands are shown by number, and three of them as red, "
        "green and blue."
    ]


def _hash(text: str) -> str:
    """Hash of a script or style sheet for the content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
