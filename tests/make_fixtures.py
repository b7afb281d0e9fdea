"""Small data sets in exactly the formats of the real ones, for tests and for trying commands.

``python tests/make_fixtures.py arad FOLDER --train 2 --valid 2`` writes ``FOLDER/arad``. The scenes
are smooth random spectra, the same for the same arguments.
"""

from __future__ import annotations

import argparse
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.camera import Camera

ARAD_SIZE = (482, 512)
CAVE_TRAIN = ("balloons", "cd", "clay", "cloth")
CAVE_VALID = ("beads", "fake_and_real_food", "feathers", "paints")


def smooth_cube(bands: BandSet, height: int, width: int, seed: int) -> np.ndarray:
    """(C, H, W) float32 in [0.02, 0.95]: mixtures of three broad spectra with smooth abundances."""
    generator = np.random.default_rng(seed)
    axis = np.linspace(0, 1, len(bands))[:, None]
    middles, breadths = generator.uniform(0, 1, 3), generator.uniform(0.15, 0.5, 3)
    spectra = np.exp(-(((axis - middles) / breadths) ** 2))  # (C, 3)
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    waves = generator.uniform(2, 9, (3, 2))
    shares = np.stack([0.5 + 0.5 * np.sin(a * rows * 6 + b * columns * 6) for a, b in waves])
    cube = np.tensordot(spectra, shares / shares.sum(axis=0).max(), axes=1)
    return (0.02 + 0.93 * cube / cube.max()).astype(np.float32)


def write_arad_mat(path: Path, cube: np.ndarray, bands_nm: Sequence[float] | None) -> None:
    """One challenge cube: MATLAB v7.3, ``cube`` as HDF5 C x W x H, ``bands`` as a MATLAB row."""
    with h5py.File(path, "w", userblock_size=512) as file:
        stored = file.create_dataset("cube", data=cube.transpose(0, 2, 1))
        stored.attrs["MATLAB_class"] = np.bytes_("single")
        if bands_nm is not None:
            row = file.create_dataset("bands", data=np.asarray(bands_nm, dtype=np.float64)[:, None])
            row.attrs["MATLAB_class"] = np.bytes_("double")
    header = (
        b"MATLAB 7.3 MAT-file, Platform: PCWIN64, Created on: Mon Jan 03 10:00:00 2022 HDF5 schema 1.00 ."
    )
    with path.open("rb+") as stream:
        stream.write(header.ljust(116) + bytes(8) + b"\x00\x02IM")


def make_arad_tree(
    root: Path, train: int = 2, valid: int = 2, height: int = ARAD_SIZE[0], width: int = ARAD_SIZE[1]
) -> dict[str, np.ndarray]:
    """Write ``root/arad`` with the first scenes of each list; returns name -> cube (31, H, W)."""
    folder = root / "arad"
    for name in ("Train_Spec", "Train_RGB", "split_txt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    cubes = {}
    for split, first, count in (("train", 1, train), ("valid", 901, valid)):
        names = [f"ARAD_1K_{first + i:04d}" for i in range(count)]
        (folder / "split_txt" / f"{split}_list.txt").write_text("".join(f"{n}\n" for n in names))
        for i, name in enumerate(names):
            cube = smooth_cube(VISIBLE_31, height, width, seed=first + i)
            write_arad_mat(folder / "Train_Spec" / f"{name}.mat", cube, VISIBLE_31.centres_nm)
            rgb = Camera.named("nikon-d5100").render(cube, VISIBLE_31)
            pixels = np.rint(rgb.transpose(1, 2, 0) * 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "Train_RGB" / f"{name}.jpg", quality=95)
            cubes[name] = cube
    return cubes


def write_cave_stack(folder: Path, scene: str, cube: np.ndarray, bits: int = 16) -> None:
    """``folder/SCENE_ms/SCENE_ms/SCENE_ms_01.png`` ...: 16-bit grey, or 8-bit RGBA as watercolors is."""
    stack = folder / f"{scene}_ms" / f"{scene}_ms"
    stack.mkdir(parents=True, exist_ok=True)
    for band, plane in enumerate(cube, start=1):
        stored = np.rint(plane.astype(np.float64) * (2**bits - 1))
        if bits == 16:
            image = Image.fromarray(stored.astype(np.uint16))
        else:
            grey = stored.astype(np.uint8)
            image = Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 255)]))
        image.save(stack / f"{scene}_ms_{band:02d}.png")


def make_cave_tree(
    root: Path,
    train: Sequence[str] = CAVE_TRAIN[:2],
    valid: Sequence[str] = CAVE_VALID[:2],
    height: int = 24,
    width: int = 32,
    flat: bool = False,
) -> dict[str, np.ndarray]:
    """Write ``root/cave`` (``flat``: as the original download, without split folders).

    Returns scene -> cube (31, H, W) float32 before rounding to 16 bits (8 for ``watercolors``).
    """
    cubes = {}
    for split, scenes in (("train", train), ("valid", valid)):
        for scene in scenes:
            cube = smooth_cube(VISIBLE_31, height, width, seed=zlib.crc32(scene.encode()))
            folder = root / "cave" if flat else root / "cave" / split
            write_cave_stack(folder, scene, cube, bits=8 if scene == "watercolors" else 16)
            cubes[scene] = cube
    return cubes


def write_png16(path: Path, pixels: np.ndarray) -> None:
    """A 16-bit RGB PNG from (H, W, 3) uint16; pillow cannot write one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def main() -> None:
    """Write one tree from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("arad", "cave"))
    parser.add_argument("root", type=Path)
    parser.add_argument("--train", type=int, default=2, help="number of training scenes")
    parser.add_argument("--valid", type=int, default=2, help="number of validation scenes")
    parser.add_argument("--height", type=int)
    parser.add_argument("--width", type=int)
    chosen = parser.parse_args()
    size = {k: v for k, v in (("height", chosen.height), ("width", chosen.width)) if v}
    if chosen.kind == "arad":
        make_arad_tree(chosen.root, chosen.train, chosen.valid, **size)
    else:
        make_cave_tree(chosen.root, CAVE_TRAIN[: chosen.train], CAVE_VALID[: chosen.valid], **size)


if __name__ == "__main__":
    main()
