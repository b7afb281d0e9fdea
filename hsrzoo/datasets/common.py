"""What the data sets share: fingerprints, split names and the survey behind ``data verify``."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.datasets.base import Dataset, VerifyReport
from hsrzoo.errors import HsrzooError, unknown_name


def fingerprint_of(root: Path, files: Iterable[Path], *, layout: int, options: Mapping[str, Any]) -> str:
    """16 hex digits of a sha256 over the sorted relative names and sizes of ``files``.

    ``layout`` is the version of the reader (raised when it would read the same files differently),
    ``options`` whatever else decides the arrays. Missing files count with size -1.
    """
    entries = sorted(
        (path.relative_to(root).as_posix(), path.stat().st_size if path.is_file() else -1) for path in files
    )
    text = json.dumps({"layout": layout, "options": dict(options), "files": entries}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def require_split(dataset: str, split: str, known: Sequence[str]) -> None:
    """Raise UnknownNameError unless ``split`` is one of ``known``."""
    if split not in known:
        raise unknown_name(f"split of {dataset}", split, known)


def require_scene(dataset: str, scene: str, known: Sequence[str]) -> None:
    """Raise UnknownNameError unless ``scene`` is one of ``known``."""
    if scene not in known:
        raise unknown_name(f"scene of {dataset}", scene, known)


def survey(dataset: Dataset, *, problems: Iterable[str] = (), notes: Iterable[str] = ()) -> VerifyReport:
    """Read every scene once; errors become problems instead of ending the survey."""
    problems, notes = list(problems), list(notes)
    shapes: Counter[str] = Counter()
    cube_low, cube_high, rgb_low, rgb_high = np.inf, -np.inf, np.inf, -np.inf
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
            cube_low, cube_high = min(cube_low, scene.cube.min()), max(cube_high, scene.cube.max())
            rgb_low, rgb_high = min(rgb_low, scene.rgb.min()), max(rgb_high, scene.rgb.max())
    if cube_low < 0 or (np.isfinite(cube_high) and cube_high > 1):
        notes.append(f"cube values leave [0, 1]: {cube_low:.4g} to {cube_high:.4g}")
    return VerifyReport(
        name=dataset.name,
        scenes=counts,
        shapes=dict(shapes),
        bands=dataset.bands,
        cube_range=(float(cube_low), float(cube_high)),
        rgb_range=(float(rgb_low), float(rgb_high)),
        fingerprint=dataset.fingerprint(),
        problems=problems,
        notes=notes,
    )
