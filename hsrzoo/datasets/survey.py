"""The survey behind ``hsrzoo data verify``: every scene is read once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsrzoo.datasets.base import Dataset, Scene, VerifyReport, data_masks
from hsrzoo.datasets.orientation import Turned
from hsrzoo.errors import HsrzooError, notes_to
from hsrzoo.utils.files import sha256_of_file


def survey(dataset: Dataset, *, problems: Iterable[str] = (), notes: Iterable[str] = ()) -> VerifyReport:
    """Read every scene once, for ``data verify``; errors become problems instead of ending the survey.

    Values without data (NaN in a cube) are counted in the notes; a scene without any data is a problem, as
    are infinite values, and an image that is black everywhere. How files were read, and images that
    resemble their cubes more after a turn, are notes.

    Args:
        dataset: The opened data set.
        problems: Problems that are known already.
        notes: Notes that come first.
    """
    problems, notes = list(problems), list(notes)
    shapes: Counter[str] = Counter()
    ranges = dict.fromkeys(("cube", "rgb"), (np.inf, -np.inf))
    gaps, turned = _Gaps(), Turned()
    read_notes: list[str] = []
    counts: dict[str, int] = {}
    seen: dict[str, str] = {}
    for split in dataset.splits():
        names = dataset.scenes(split)
        counts[split] = len(names)
        if not names:
            problems.append(f"split {split} holds no scene")
        for name in names:
            if name in seen:
                problems.append(f"{name} is in both {seen[name]} and {split}")
            seen[name] = split
            try:
                with notes_to(read_notes.append):
                    scene = dataset.load(split, name)
            except HsrzooError as error:
                problems.append(f"{split}/{name}: {error}")
                continue
            shapes[" x ".join(map(str, scene.cube.shape))] += 1
            problems += [f"{split}/{name}: {what}" for what in _faults(scene)]
            gaps.add(scene.cube)
            if getattr(dataset, "camera", None) is None:  # rendered images fit their cubes
                turned.add(scene)
            for what, array in (("cube", scene.cube), ("rgb", scene.rgb)):
                (low, high), finite = ranges[what], np.isfinite(array)
                low, high = array.min(initial=low, where=finite), array.max(initial=high, where=finite)
                ranges[what] = (float(low), float(high))
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
        notes=[*notes, *dict.fromkeys(read_notes), *gaps.notes(dataset), *turned.notes()],
        files=_digests(dataset),
    )


def _digests(dataset: Dataset) -> dict[str, str]:
    """File -> sha256, for a set that names its files; names are relative to their common folder."""
    files = sorted(path for path in getattr(dataset, "files", list)() if path.is_file())
    if not files:
        return {}
    top = Path(os.path.commonpath([path.parent for path in files]))
    return {path.relative_to(top).as_posix(): sha256_of_file(path) for path in files}


def _faults(scene: Scene) -> list[str]:
    """What is wrong with the values of one scene."""
    found = []
    infinite = int(np.count_nonzero(np.isinf(scene.cube)))
    if infinite:
        found.append(f"infinite values in its cube: {infinite}")
    bad = int(np.count_nonzero(~np.isfinite(scene.rgb)))
    if bad:
        found.append(f"NaN or infinite values in its rgb: {bad}")
    if not data_masks(scene.cube)[1].any():
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
        bands, pixels = data_masks(cube)
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
