"""A data set on another grid of bands, written as a new ``folder`` set."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo import __version__
from hsrzoo.bands import BandSet
from hsrzoo.datasets.base import Dataset, Scene
from hsrzoo.datasets.wavelengths import FILE_NAME, wavelengths_text
from hsrzoo.errors import BandsError, DatasetError, InputError, StoreError, require_known
from hsrzoo.io import save_cube
from hsrzoo.io.common import output_file
from hsrzoo.utils.files import write_atomically
from hsrzoo.utils.locks import hold

RECORD = "resampled.json"
_LAYOUT = 1


@dataclass(frozen=True)
class Resampling:
    """What is written, from what: the content of ``resampled.json``."""

    bands: BandSet
    """The target's bands that the source covers."""
    left_out_nm: tuple[float, ...]
    """The target's bands that it does not."""
    record: dict[str, Any]


def plan(
    source: Dataset,
    target: BandSet,
    *,
    splits: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    terms: str = "",
) -> Resampling:
    """What :func:`write` is going to write; ``splits``: those alone (default: all of ``source``).

    ``options`` (those that ``source`` was opened with) and ``terms`` (where it is from) are recorded.
    Raises BandsError if ``source`` covers none of the bands.
    """
    for split in splits:
        require_known(f"split of {source.name}", split, source.splits())
    _, covered = source.bands.resample_matrix(target)
    if not covered.any():
        problem = f"{source.name} covers none of the requested bands"
        raise BandsError(problem, expected=source.bands, got=target)
    bands = target.select(np.flatnonzero(covered).tolist())
    left_out = tuple(np.asarray(target.centres_nm)[~covered].tolist())
    record = {
        "layout": _LAYOUT,
        "hsrzoo": __version__,
        "source": {
            "data_set": source.name,
            "options": dict(options or {}),
            "info": dict(source.info),
            "fingerprint": source.fingerprint(),
            "bands": source.bands.to_json(),
            "terms": terms,
        },
        "bands": bands.to_json(),
        "left_out_nm": list(left_out),
        "scenes": {split: source.scenes(split) for split in splits or source.splits()},
        "rgb": f"as the source has it, {_bits(source)} bits",
    }
    return Resampling(bands, left_out, record)


def write(
    source: Dataset, resampling: Resampling, out: Path, tell: Callable[[str], None] = lambda scene: None
) -> int:
    """Write the set; returns how many scenes were written now rather than by an interrupted run.

    ``out`` appears when everything is written; until then it grows in ``.NAME-part`` beside it, which a
    repeated run completes. ``tell`` is called with the name of each scene that is done.
    """
    with hold(out):
        return _write(source, resampling, out, tell)


def _write(source: Dataset, resampling: Resampling, out: Path, tell: Callable[[str], None]) -> int:
    part = out.with_name(f".{out.name}-part")
    if out.exists():
        raise InputError(f"{out} exists already", fix="Delete it, or give another --out")
    try:
        _begin(part, resampling.record)
        written = 0
        for split, scenes in resampling.record["scenes"].items():
            for scene in scenes:
                written += _write_scene(source, resampling.bands, part / split, split, scene)
                tell(scene)
        write_atomically(part / FILE_NAME, wavelengths_text(resampling.bands).encode())
        write_atomically(part / "README.md", _readme(resampling).encode())
        for left in part.rglob(".*"):  # temporary files of a run that was killed
            left.unlink()
        os.replace(part, out)
    except OSError as error:
        got = error.strerror or str(error)
        raise StoreError(f"Cannot write {part}", expected="a writable folder with room", got=got) from error
    return written


def _begin(part: Path, record: dict[str, Any]) -> None:
    """Create the folder with its record, or check that an existing one is the beginning of the same set."""
    text = json.dumps(record, indent=1, sort_keys=True, default=str) + "\n"
    file = part / RECORD
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise StoreError(
            f"{part} is the beginning of another set",
            expected="one from the same source, with the same files, bands and options",
            fix="Delete it, or give another --out",
        )
    part.mkdir(exist_ok=True)
    if not file.is_file():
        write_atomically(file, text.encode())


def _write_scene(source: Dataset, bands: BandSet, folder: Path, split: str, name: str) -> bool:
    """Both files of one scene; False if they are there already."""
    if Path(name).name != name or name.startswith("."):
        raise DatasetError(f"The scene {name!r} of {source.name} cannot be a file name")
    suffix = ".png" if _bits(source) == 8 else ".tif"
    cube_file, rgb_file = folder / "cube" / f"{name}.h5", folder / "rgb" / f"{name}{suffix}"
    if cube_file.is_file() and rgb_file.is_file():
        return False
    scene = source.load(split, name)
    cube, _ = source.bands.resample(scene.cube, bands)
    for file in (cube_file, rgb_file):
        file.parent.mkdir(parents=True, exist_ok=True)
    _write_image(rgb_file, scene)
    save_cube(cube_file, cube.transpose(1, 2, 0), bands)
    return True


def _bits(source: Dataset) -> int:
    """Bits of the images that are written: 16 where the source does not round RGB."""
    return 8 if source.rgb_bits is not None and source.rgb_bits <= 8 else 16


def _write_image(file: Path, scene: Scene) -> None:
    levels, dtype = (255, np.uint8) if file.suffix == ".png" else (65535, np.uint16)
    pixels = np.ascontiguousarray(np.rint(scene.rgb.transpose(1, 2, 0) * levels)).astype(dtype)
    with output_file(file) as temporary:
        if file.suffix == ".png":
            from PIL import Image

            Image.fromarray(pixels).save(temporary)
        else:  # pillow writes no RGB of 16 bits
            import tifffile

            tifffile.imwrite(temporary, pixels, photometric="rgb", metadata=None, software=False)


def _readme(resampling: Resampling) -> str:
    source = resampling.record["source"]
    left_out = ", ".join(f"{centre:g}" for centre in resampling.left_out_nm) or "none"
    counts = ", ".join(f"{split} {len(names)}" for split, names in resampling.record["scenes"].items())
    return (
        f"# {source['data_set']} on {resampling.bands}\n\n"
        f"Written by `hsrzoo data resample` (hsrzoo {__version__}) from the data set {source['data_set']}, "
        f"fingerprint {source['fingerprint']}. Scenes: {counts}. The source's terms hold for this copy: "
        f"{source['terms'] or 'not recorded.'}\n\n"
        f"Requested bands that the source does not cover, in nm: {left_out}. NaN: no data. "
        f"See `{RECORD}` for details.\n\n"
        "Use: `hsrzoo data verify folder --data-option path=THIS_FOLDER`\n"
    )
