"""Which files of a folder are cubes, which are their photographs, and which split they belong to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hsrzoo.datasets.common import unique_files
from hsrzoo.datasets.layout import child, entries, subfolders, unpacked
from hsrzoo.io import CUBE_SUFFIXES
from hsrzoo.io.envi_header import BINARIES
from hsrzoo.io.gdal import sidecars
from hsrzoo.io.photographs import images

ONLY_SPLIT = "valid"
"""Name of the split where there are no split folders: scenes to score a model on."""
_SPLITS = ("train", "valid", "test")
_ENVI_BINARIES = BINARIES[1:]
"""They count as cubes only if there is no .hdr of that name."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split by their names without suffix; ``images`` is empty where RGB is rendered."""

    cubes: dict[str, Path]
    images: dict[str, Path]


@dataclass(frozen=True)
class Layout:
    """How a folder may hold cubes."""

    rendered: bool
    """Whether RGB is rendered: there need be no photographs."""
    suffix: str | None = None
    """Of the cubes, where there are files of this suffix: others beside them are not cubes of the set."""
    several: bool = False
    """Whether the set may consist of several archives, each unpacked into a folder of its own."""

    def base(self, folder: Path) -> Path:
        """``folder``, or the one below it into which the set was unpacked."""
        if _is_cube(folder):
            return folder
        return unpacked(folder, lambda one: bool(self._folders(one)), several=self.several)

    def splits(self, base: Path) -> dict[str, SplitFiles]:
        """Split -> files; empty if nothing here looks like cubes.

        ``base/SPLIT/cube`` (any name; train, valid and test come first) or ``base/cube``, with ``rgb``
        beside ``cube``. If RGB is ``rendered``, the cubes may also be directly in ``base/train``,
        ``valid``, ``test`` or in ``base``, and ``base`` may be one cube.
        """
        if _is_cube(base):
            exists = self.rendered and base.exists()
            return {ONLY_SPLIT: SplitFiles({_stem(base): base}, {})} if exists else {}
        found = self._folders(base)
        if not found and self.several:
            below = [one for outer in subfolders(base) for one in (outer, *subfolders(outer))]
            holding = [one for one in below if self._cubes(one)]
            found = {ONLY_SPLIT: holding} if holding else {}
        return {
            split: SplitFiles(
                unique_files(base, (pair for folder in folders for pair in self._cubes(folder).items())),
                {} if self.rendered else by_stem(child(folders[0].parent, "rgb"), images.SUFFIXES),
            )
            for split, folders in found.items()
        }

    def _folders(self, base: Path) -> dict[str, list[Path]]:
        """Split -> folders of its cubes."""
        within = {one.name: child(one, "cube") for one in subfolders(base)}
        found = {split: [within[split]] for split in sorted(within, key=_order) if within[split].is_dir()}
        if not found and child(base, "cube").is_dir():
            found = {ONLY_SPLIT: [child(base, "cube")]}
        if not found and self.rendered:
            parts = {split: child(base, split) for split in _SPLITS}
            found = {split: [cubes] for split, cubes in parts.items() if self._cubes(cubes)}
            if not found and self._cubes(base):
                found = {ONLY_SPLIT: [base]}
        return found

    def _cubes(self, folder: Path) -> dict[str, Path]:
        suffix = self.suffix
        chosen = suffix is not None and any(file.suffix.lower() == suffix for file in entries(folder))
        return by_stem(folder, (suffix,) if suffix and chosen else CUBE_SUFFIXES)


def _is_cube(path: Path) -> bool:
    return path.is_file() or path.suffix == ".zarr"


def _order(split: str) -> tuple[int, str]:
    return _SPLITS.index(split) if split in _SPLITS else len(_SPLITS), split


def by_stem(folder: Path, suffixes: tuple[str, ...] = CUBE_SUFFIXES) -> dict[str, Path]:
    """Stem -> file; two files of one stem are an error, ENVI's pairs of files count once.

    A header without its binary does not count beside another file of its stem.
    """
    files = [file for file in entries(folder) if file.suffix.lower() in suffixes]
    headers = {f.stem for f in files if f.suffix.lower() == ".hdr"}
    with_header = {f for f in files if f.suffix.lower() in _ENVI_BINARIES and {f.stem, f.name} & headers}
    stems = [(_stem(file), file) for file in files if file not in with_header]
    count = Counter(stem for stem, _ in stems)
    alone = {file for stem, file in stems if count[stem] > 1 and _is_header_alone(file)}
    return unique_files(folder, ((stem, file) for stem, file in stems if file not in alone))


def _is_header_alone(file: Path) -> bool:
    return file.suffix.lower() == ".hdr" and parts_of(file) == [file]


def _stem(file: Path) -> str:
    """The name without suffix: ``a`` for ``a.bil.hdr`` too, beside the binary ``a.bil``."""
    binary = file.with_suffix("")
    is_header = file.suffix.lower() == ".hdr" and binary.suffix.lower() in _ENVI_BINARIES
    return binary.stem if is_header and binary.is_file() else file.stem


def parts_of(cube: Path) -> list[Path]:
    """All files that make up one cube: an ENVI header and its binary, the chunks of a .zarr folder, a TIFF
    file and its mask and metadata."""
    if cube.is_dir():
        return sorted(f for f in cube.rglob("*") if f.is_file())
    own = cube.suffix.lower()
    if own in (".tif", ".tiff"):
        return [cube, *sidecars(cube)]
    if own not in (".hdr", *_ENVI_BINARIES):
        return [cube]
    others = (suffix for suffix in (".hdr", "", *_ENVI_BINARIES) if suffix != own)
    beside = [(cube.with_suffix(suffix), cube.with_suffix(suffix.upper())) for suffix in others]
    beside.append((cube.with_name(cube.name + ".hdr"), cube.with_name(cube.name + ".HDR")))
    # Not both, which are one file on case-insensitive file systems.
    found = (next((file for file in either if file.is_file()), cube) for either in beside)
    return sorted({cube, *found})
