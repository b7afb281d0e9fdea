"""What data sets share: an index of scenes, fingerprints, errors, and the survey behind ``data verify``."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import Camera
from hsrzoo.datasets.base import Dataset, Scene, VerifyReport
from hsrzoo.datasets.layout import entries
from hsrzoo.datasets.survey import survey
from hsrzoo.errors import (
    BandsError,
    DatasetError,
    DatasetMissingError,
    HsrzooError,
    require_known,
)
from hsrzoo.spec import DatasetSpec
from hsrzoo.utils.files import sha256_of_file

BAND_CHOICES = ("visible", "all")
"""Bands that many sets offer. ``visible``: :data:`hsrzoo.bands.VISIBLE_31`, NaN where the sensor does not
reach; ``all``: as measured, without bands that hold no data."""
FOLDS = 5
"""Parts of the split ``train`` in cross-validation."""


class IndexedDataset(Dataset):
    """A data set that knows its scenes as soon as it is opened.

    A subclass sets :attr:`index`, reads one scene in :meth:`read` and names its files in :meth:`files`.
    """

    index: Mapping[str, Sequence[str]]
    """Split -> names of its scenes, sorted."""
    folder: Path
    """What the names of files in the fingerprint are relative to."""
    camera: Camera | None = None
    """What renders RGB; None where RGB comes with the set."""
    measured: BandSet | None = None
    """The bands of the files, where scenes are resampled to others after RGB has been rendered."""
    layout = 1
    """Version of the reader, raised when it would read the same files differently."""
    usual_shape: str | None = None
    """C x H x W of the published scenes, where figures were published."""
    contents = False
    """Whether the fingerprint covers the files' bytes too, and not their sizes alone."""

    @abstractmethod
    def read(self, split: str, scene: str) -> Scene:
        """Read a scene that :attr:`index` lists."""

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """All files that the scenes are read from."""

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in the order of :attr:`index`."""
        return tuple(self.index)

    def scenes(self, split: str) -> list[str]:
        """Names of the scenes of a split, sorted; also those of :meth:`folds`."""
        known = {**self.folds(), **self.index}
        require_known(f"split of {self.name}", split, known)
        return list(known[split])

    def load(self, split: str, scene: str) -> Scene:
        """Validate the names, then :meth:`read` the scene."""
        require_known(f"scene of {self.name}", scene, self.scenes(split))
        return self.read(split if split in self.index else "train", scene)

    def folds(self) -> dict[str, list[str]]:
        """The splits ``fold-0``, ``without-fold-0`` and so on, for cross-validation on the split ``train``
        where it has :data:`FOLDS` or more scenes. Fold 0 has the last ones by name, fold 1 those before.

        They are not among :meth:`splits`, as their scenes are in ``train`` too.
        """
        names = sorted(self.index.get("train", ()))
        found: dict[str, list[str]] = {}
        for fold in range(FOLDS if len(names) >= FOLDS else 0):
            first, stop = (len(names) * place // FOLDS for place in (FOLDS - 1 - fold, FOLDS - fold))
            found[f"fold-{fold}"] = names[first:stop]
            found[f"without-fold-{fold}"] = names[:first] + names[stop:]
        return found

    def fingerprint(self) -> str:
        """:func:`fingerprint_of` the files and :meth:`options`."""
        return fingerprint_of(
            self.folder, self.files(), layout=self.layout, options=self.options(), contents=self.contents
        )

    def options(self) -> Mapping[str, Any]:
        """What decides the arrays besides the files."""
        return self.info

    def verify(self) -> VerifyReport:
        """Read everything; shapes other than :attr:`usual_shape` are a note."""
        report = survey(self, problems=self.problems(), notes=self.notes())
        usual = self.usual_shape
        odd = ", ".join(shape for shape in report.shapes if shape != usual)
        if usual and odd:
            report.notes.append(f"shapes other than the published {usual}: {odd}; figures will not compare")
        return report

    def problems(self) -> list[str]:
        """Problems that are known without reading the scenes."""
        return []

    def notes(self) -> list[str]:
        """What ``data verify`` reports besides counts and ranges."""
        if self.camera is None:
            return []
        source = f" from {self.measured}" if self.measured else ""
        return [f"RGB rendered by {self.camera.name}{source}, linear, 8 bits"]

    def require_disjoint(self) -> None:
        """Raise DatasetError if a scene is in more than one split: a model that trains on one and is scored
        on another would be scored on its training scenes. Names the first few."""
        where: dict[str, str] = {}
        twice = []
        for split, names in self.index.items():
            twice += [f"{name} in {where[name]} and {split}" for name in names if name in where]
            where.update(dict.fromkeys(names, split))
        if twice:
            raise DatasetError(
                f"Splits of {self.name} share scenes",
                expected="every scene in one split",
                got=f"{len(twice)} in two: {', '.join(twice[:3])}{', ...' if len(twice) > 3 else ''}",
                fix="Take them out of one of the splits; rename them if they are different scenes",
            )

    def require_list(self, file: Path, fix: str) -> None:
        """Raise DatasetError if the list of scenes ``file`` is not there."""
        if not file.is_file():
            problem = f"The data set {self.name} is incomplete"
            raise DatasetError(problem, expected=f"the list {file}", fix=fix)

    def require_listed(self, file: Path, absent: Sequence[str], count: int, fix: str) -> None:
        """Raise an error if scenes that a list names are not on the disk.

        Args:
            file: The list.
            absent: The missing scenes.
            count: How many scenes the list names.
            fix: What the user can do.

        Raises:
            DatasetError: ``absent`` is not empty; gives their number and the first few.
        """
        if absent:
            more = ", ..." if len(absent) > 3 else ""
            raise DatasetError(
                f"The data set {self.name} lacks scenes that {file} names",
                expected=f"all {count}",
                got=f"{len(absent)} absent: {', '.join(absent[:3])}{more}",
                fix=fix,
            )

    def paired(self, scene: str, image: Path, rgb: np.ndarray, file: Path, cube: np.ndarray) -> Scene:
        """The scene of an image (3, H, W) and a cube (C, H, W) that were read from two files."""
        if rgb.shape[1:] != cube.shape[1:]:
            hint = "If the axes are stored in another order, give --data-option axes=... (e.g. cwh)"
            raise DatasetError(
                f"Image and cube of {scene} differ in size",
                expected=f"{cube.shape[1:]} pixels as in {file}",
                got=f"{rgb.shape[1:]} in {image}",
                fix=hint if "axes" in self.info else None,
            )
        return Scene(scene, rgb, cube)

    def rendered(self, scene: str, cube: np.ndarray) -> Scene:
        """The scene of a cube (C, H, W) in the bands :attr:`measured`: RGB is rendered from it before it is
        resampled to :attr:`bands`, NaN where the measured ones do not reach."""
        if self.camera is None:
            raise RuntimeError(f"{self.name} has no camera")
        bands = self.measured or self.bands
        rgb = self.camera.render(cube, bands, bits=self.rgb_bits)
        if bands is not self.bands:
            cube, covered = bands.resample(cube, self.bands)
            cube[~covered] = np.nan
        return Scene(scene, rgb, cube)


def fingerprint_of(
    root: Path, files: Iterable[Path], *, layout: int, options: Mapping[str, Any], contents: bool = False
) -> str:
    """A digest that changes when the files or the options do.

    Args:
        root: Names of files count relative to it.
        files: In any order. Missing files count with size -1.
        layout: Version of the reader, raised when it would read the same files differently.
        options: What else determines the arrays; JSON values.
        contents: Whether the files' bytes count too, for files that may be rewritten with the same size.

    Returns:
        16 hex digits of a sha256 over the sorted relative names and sizes.
    """
    entries = sorted((path.relative_to(root).as_posix(), *_content(path, contents)) for path in files)
    text = json.dumps({"layout": layout, "options": dict(options), "files": entries}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content(path: Path, hashed: bool) -> tuple[int | str, ...]:
    """Size and, if ``hashed``, sha256; read once as long as size and time of change stay the same."""
    if not path.is_file():
        return (-1, "") if hashed else (-1,)
    found = path.stat()
    size = found.st_size
    return (size, _digest(path, size, found.st_mtime_ns)) if hashed else (size,)


@cache
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return sha256_of_file(path)


def missing(
    spec: DatasetSpec, folder: Path, got: str, *, path_option: bool = False, fix: str = ""
) -> DatasetMissingError:
    """The error for a set that is not in its ``folder``.

    Args:
        spec: The data set: its layout says what is expected, ``where`` where to get it.
        folder: Where it should be.
        got: What is there instead.
        path_option: Whether the set has an option ``path``.
        fix: What to do once it has been obtained. Default: put it into ``folder``, or name another one.
    """
    option = "data root with --data-root or HSRZOO_DATA"
    if path_option:
        option = "folder with --data-option path=FOLDER"
    check = f"hsrzoo data verify {spec.name}"
    if not fix:
        fix = f"Put it into {folder}, or name another {option}"
        place = f"--data-option path={folder}" if path_option else f"--data-root {folder.parent}"
        check = f"{check} {shlex.join(place.split(' ', 1))}"
    size = f"Size: {spec.size}. " if spec.size else ""
    mirrors = f"Mirrors (not checked): {', '.join(spec.mirrors)}. " if spec.mirrors else ""
    return DatasetMissingError(
        f"The data set {spec.name} was not found: {spec.title}",
        expected=spec.layout,
        got=got,
        fix=f"{spec.where} {size}{mirrors}{fix}. Then run: {check}",
    )


def nothing_in(folder: Path, nothing: str = "") -> str:
    """What was found instead of a data set: ``nothing``, by default the first names in ``folder``, or that
    there is not even the folder."""
    if not folder.is_dir():
        return f"no folder {folder}"
    names = [entry.name for entry in entries(folder)]
    listing = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return nothing or (f"a folder with {listing}" if names else "an empty folder")


def package_folder(
    spec: DatasetSpec, package: str, below: str, files: Sequence[str], requirement: str
) -> Path:
    """The folder ``below`` the installed ``package``, found without importing it, with all ``files``.

    Raises DatasetMissingError, which says how to install the package: ``pip install REQUIREMENT``.
    """
    found = importlib.util.find_spec(package)
    folder = Path(found.origin).parent / below if found and found.origin else None
    absent = [name for name in files if folder is None or not (folder / name).is_file()]
    if folder is None or absent:
        got = f"no package {package}" if folder is None else f"no {', '.join(absent)} in {folder}"
        raise missing(spec, Path(), got, fix=f"pip install {requirement}")
    return folder


def unique_files(folder: Path, files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Name -> file of (name, file) pairs found in ``folder``; DatasetError where two share a name."""
    found: dict[str, Path] = {}
    for name, file in files:
        if found.setdefault(name, file) != file:
            raise DatasetError(
                f"Two files in {folder} share a name", expected="one each", got=f"{found[name]}, {file}"
            )
    return found


def require_stored_bands(
    bands: BandSet, file: Path, shape: tuple[int, ...], stated: BandSet | None, hint: str | None = None
) -> None:
    """Raise BandsError unless a cube of ``shape`` (H, W, C), whose file states the bands ``stated``, has
    the ``bands`` of its set; ``hint``: what to do where it has another number of them."""
    if shape[2] != len(bands):
        raise BandsError(
            f"{file} does not have the bands of its set",
            expected=bands,
            got=f"shape {shape} (H, W, C)",
            fix=hint,
        )
    if stated is not None:
        fix = "Keep cubes of other bands in a folder of their own"
        bands.require_same(stated, "this set", str(file), fix=fix)


def mask_among(
    arrays: Mapping[str, Any],
    key: str,
    size: tuple[int, ...],
    path: Path,
    error: type[HsrzooError],
    fix: str | None = None,
) -> np.ndarray:
    """The mask ``key`` (H, W) of a cube of ``size`` (H, W); ``error`` where the file has none."""
    mask = np.asarray(arrays[key][()]) if key in arrays else None
    if mask is None or mask.shape != size:
        got = "none" if mask is None else mask.shape
        raise error(f"{path} has no mask of its pixels", expected=f"{key} {size}", got=got, fix=fix)
    return mask
