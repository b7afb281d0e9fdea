"""What the data sets share: fingerprints, split names and the survey behind ``data verify``."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.datasets.base import Dataset, Scene, VerifyReport, with_data
from hsrzoo.errors import DatasetError, DatasetMissingError, HsrzooError, unknown_name
from hsrzoo.spec import DatasetSpec
from hsrzoo.utils.files import sha256_of_file


def fingerprint_of(
    root: Path,
    files: Iterable[Path],
    *,
    layout: int,
    options: Mapping[str, Any],
    contents: bool = False,
) -> str:
    """16 hex digits of a sha256 over the sorted relative names and sizes of ``files``.

    ``layout`` is the version of the reader (raised when it would read the same files differently),
    ``options`` whatever else decides the arrays. Missing files count with size -1. ``contents``:
    the files' bytes count too, for sets whose files may be written anew at the same size.
    """
    entries = sorted(
        (path.relative_to(root).as_posix(), *(_contents(path) if contents else (_size(path),)))
        for path in files
    )
    text = json.dumps({"layout": layout, "options": dict(options), "files": entries}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _contents(path: Path) -> tuple[int, str]:
    """Size and sha256; read once as long as size and time of change stay the same."""
    if not path.is_file():
        return -1, ""
    found = path.stat()
    return found.st_size, _digest(path, found.st_size, found.st_mtime_ns)


@cache
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return sha256_of_file(path)


def require_split(dataset: str, split: str, known: Sequence[str]) -> None:
    """Raise UnknownNameError unless ``split`` is one of ``known``."""
    if split not in known:
        raise unknown_name(f"split of {dataset}", split, known)


def require_scene(dataset: str, scene: str, known: Sequence[str]) -> None:
    """Raise UnknownNameError unless ``scene`` is one of ``known``."""
    if scene not in known:
        raise unknown_name(f"scene of {dataset}", scene, known)


def missing(spec: DatasetSpec, folder: Path, got: str) -> DatasetMissingError:
    """That a set is not in its ``folder``: what should lie there, what ``got`` says is, where to get it."""
    return DatasetMissingError(
        f"The data set {spec.name} is not here: {spec.title}",
        expected=spec.layout,
        got=got,
        fix=f"{spec.where} Put it into {folder}, or name another data root with --data-root or HSRZOO_DATA",
    )


def require_listed(dataset: str, file: Path, absent: Sequence[str], count: int, fix: str) -> None:
    """Raise DatasetError if ``absent``, of the ``count`` scenes that the list ``file`` names, are not on
    disk: says how many and which come first."""
    if absent:
        more = ", ..." if len(absent) > 3 else ""
        raise DatasetError(
            f"The data set {dataset} lacks scenes that {file} names",
            expected=f"all {count}",
            got=f"{len(absent)} absent: {', '.join(absent[:3])}{more}",
            fix=fix,
        )


def require_disjoint(dataset: str, splits: Mapping[str, Sequence[str]]) -> None:
    """Raise DatasetError if a scene lies in more than one of ``splits`` (name -> scenes): whoever trains on
    one and scores on another would score on what was trained on. Says how many and which come first."""
    where: dict[str, str] = {}
    twice = []
    for split, names in splits.items():
        twice += [f"{name} in {where[name]} and {split}" for name in names if name in where]
        where.update(dict.fromkeys(names, split))
    if twice:
        raise DatasetError(
            f"Splits of {dataset} share scenes",
            expected="every scene in one split",
            got=f"{len(twice)} in two: {', '.join(twice[:3])}{', ...' if len(twice) > 3 else ''}",
            fix="Take them out of one of the splits; rename them if they are different scenes",
        )


def survey(dataset: Dataset, *, problems: Iterable[str] = (), notes: Iterable[str] = ()) -> VerifyReport:
    """Read every scene once; errors become problems instead of ending the survey.

    Values without data (NaN in a cube) are counted in the notes; a scene that has none at all is a
    problem, as are infinite values, and an image that is black throughout.
    """
    problems, notes = list(problems), list(notes)
    shapes: Counter[str] = Counter()
    ranges = dict.fromkeys(("cube", "rgb"), (np.inf, -np.inf))
    gaps = _Gaps()
    counts: dict[str, int] = {}
    seen: dict[str, str] = {}
    for split in dataset.splits():
        names = dataset.scenes(split)
        counts[split] = len(names)
        if not names:
            problems.append(f"split {split} holds no scene")
        for name in names:
            if name in seen:
                problems.append(f"{name} lies in both {seen[name]} and {split}")
            seen[name] = split
            try:
                scene = dataset.load(split, name)
            except HsrzooError as error:
                problems.append(f"{split}/{name}: {error}")
                continue
            shapes[" x ".join(map(str, scene.cube.shape))] += 1
            problems += [f"{split}/{name}: {what}" for what in _faults(scene)]
            gaps.add(scene.cube)
            for what, array in (("cube", scene.cube), ("rgb", scene.rgb)):
                finite = array[np.isfinite(array)]
                if finite.size:
                    low, high = ranges[what]
                    ranges[what] = (min(low, float(finite.min())), max(high, float(finite.max())))
    cube_low, cube_high = ranges["cube"]
    if cube_low < 0 or (np.isfinite(cube_high) and cube_high > 1):
        notes.append(f"cube values leave [0, 1]: {cube_low:.4g} to {cube_high:.4g}")
    return VerifyReport(
        name=dataset.name,
        scenes=counts,
        shapes=dict(shapes),
        bands=dataset.bands,
        cube_range=ranges["cube"],
        rgb_range=ranges["rgb"],
        fingerprint=dataset.fingerprint(),
        problems=problems,
        notes=notes + gaps.notes(dataset),
    )


def _faults(scene: Scene) -> list[str]:
    """What is wrong with the values of one scene."""
    found = []
    infinite = int(np.count_nonzero(np.isinf(scene.cube)))
    if infinite:
        found.append(f"infinite values in its cube: {infinite}")
    bad = int(np.count_nonzero(~np.isfinite(scene.rgb)))
    if bad:
        found.append(f"NaN or infinite values in its rgb: {bad}")
    if not with_data(scene.cube)[1].any():
        found.append(f"none of its {scene.cube[0].size} pixels has data")
    elif not scene.rgb.any():
        found.append("its rgb is black everywhere")
    return found


@dataclass
class _Gaps:
    """Values without data, counted over the scenes of a set."""

    scenes: int = 0
    """Scenes that have any."""
    values: int = 0
    pixels: int = 0
    """Pixels that lack a band which their scene has elsewhere."""
    of: int = 0
    """Values of all scenes."""
    empty: np.ndarray | None = None
    """(C,) bool: bands that have had data in no scene so far."""

    def add(self, cube: np.ndarray) -> None:
        values = int(np.count_nonzero(np.isnan(cube)))
        bands, pixels = with_data(cube)
        self.of += cube.size
        self.scenes += values > 0
        self.values += values
        self.pixels += int(np.count_nonzero(~pixels))
        self.empty = ~bands if self.empty is None else self.empty & ~bands

    def notes(self, dataset: Dataset) -> list[str]:
        """One sentence on values and pixels, one on bands; nothing where nothing lacks."""
        if not self.values or self.empty is None:
            return []
        found = [
            f"{self.values} of {self.of} values have no data, in {self.scenes} scenes; "
            f"{self.pixels} pixels lack a band that their scene has elsewhere"
        ]
        if self.empty.any():
            centres = np.asarray(dataset.bands.centres_nm)[self.empty]
            found.append(
                f"{len(centres)} of {len(dataset.bands)} bands have data in no scene, "
                f"between {centres.min():g} and {centres.max():g} nm"
            )
        return found
