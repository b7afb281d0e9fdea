"""Which files of a folder are cubes, which are their photographs, and which split they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hsrzoo.datasets.common import unique_files
from hsrzoo.io import CUBE_SUFFIXES, images

ONLY_SPLIT = "valid"
"""Name of the split where there are no split folders: scenes to score a model on."""
_SPLITS = ("train", "valid", "test")
ENVI_BINARIES = (".img", ".dat", ".bsq", ".bil", ".bip")
"""They count as cubes only if there is no .hdr of that name."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split by their names without suffix; ``images`` is empty where RGB is rendered."""

    cubes: dict[str, Path]
    images: dict[str, Path]


def find_splits(folder: Path, *, rendered: bool) -> dict[str, SplitFiles]:
    """Split -> files; empty if nothing here looks like cubes.

    ``folder/SPLIT/cube`` (any name; train, valid and test come first) or ``folder/cube``, with ``rgb``
    beside ``cube``. If RGB is ``rendered``, the cubes may also be directly in ``folder/train``,
    ``valid``, ``test`` or in ``folder``, and ``folder`` may be one cube.
    """
    if folder.is_file() or folder.suffix == ".zarr":
        return {ONLY_SPLIT: SplitFiles({_stem(folder): folder}, {})} if rendered and folder.exists() else {}
    if not folder.is_dir():
        return {}
    with_cubes = [f for f in folder.iterdir() if (f / "cube").is_dir()]
    found = {f.name: f / "cube" for f in sorted(with_cubes, key=_order)}
    if not found and (folder / "cube").is_dir():
        found = {ONLY_SPLIT: folder / "cube"}
    if not found and rendered:
        found = {s: folder / s for s in _SPLITS if (folder / s).is_dir() and by_stem(folder / s)}
        if not found and by_stem(folder):
            found = {ONLY_SPLIT: folder}
    return {
        split: SplitFiles(
            by_stem(cubes), {} if rendered else by_stem(cubes.with_name("rgb"), images.SUFFIXES)
        )
        for split, cubes in found.items()
    }


def _order(folder: Path) -> tuple[int, str]:
    return _SPLITS.index(folder.name) if folder.name in _SPLITS else len(_SPLITS), folder.name


def by_stem(folder: Path, suffixes: tuple[str, ...] = CUBE_SUFFIXES) -> dict[str, Path]:
    """Stem -> file; two files of one stem are an error, ENVI's pairs of files count once."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [f for f in files if f.suffix.lower() in suffixes and not f.name.startswith(".")]
    headers = {f.stem for f in files if f.suffix.lower() == ".hdr"}
    with_header = {f for f in files if f.suffix.lower() in ENVI_BINARIES and {f.stem, f.name} & headers}
    return unique_files(folder, ((_stem(file), file) for file in files if file not in with_header))


def _stem(file: Path) -> str:
    """The name without suffix: ``a`` for ``a.bil.hdr`` too, beside the binary ``a.bil``."""
    binary = file.with_suffix("")
    is_header = file.suffix.lower() == ".hdr" and binary.suffix.lower() in ENVI_BINARIES
    return binary.stem if is_header and binary.is_file() else file.stem


def parts_of(cube: Path) -> list[Path]:
    """All files that make up one cube: an ENVI header and its binary, the chunks of a .zarr folder."""
    if cube.is_dir():
        return sorted(f for f in cube.rglob("*") if f.is_file())
    own = cube.suffix.lower()
    if own not in (".hdr", *ENVI_BINARIES):
        return [cube]
    others = (suffix for suffix in (".hdr", "", *ENVI_BINARIES) if suffix != own)
    beside = [(cube.with_suffix(suffix), cube.with_suffix(suffix.upper())) for suffix in others]
    beside.append((cube.with_name(cube.name + ".hdr"), cube.with_name(cube.name + ".HDR")))
    # Not both, which are one file on case-insensitive file systems.
    found = (next((file for file in either if file.is_file()), cube) for either in beside)
    return sorted({cube, *found})
