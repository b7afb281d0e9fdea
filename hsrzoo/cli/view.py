"""``hsrzoo view``: an HTML page that shows a cube."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsrzoo.cli import options
from hsrzoo.cli.output import say

if TYPE_CHECKING:
    import numpy as np

    from hsrzoo.viewer import NamedCube

_LEVELS = ("90", "95", "80", "50", "metamer")
"""Of intervals, in the order in which they are looked for."""
_ENVI = (".hdr", ".img", ".dat", ".bsq", ".bil", ".bip")


@click.command("view")
@click.argument("cube", type=options.PATH)
@click.argument("other", required=False, type=options.PATH)
@click.option("-o", "--out", type=options.PATH, help="The page [CUBE.html in the folder of the cube].")
@click.option("--title", help="Heading of the page [the names of the files].")
@click.option("--units", help="Units of the values, for the axis of the plot [from the file].")
@click.option(
    "--max-side", type=click.IntRange(min=1), metavar="PIXELS",
    help="Keep every n-th pixel, so that no side is longer [so that 33 million values remain].",
)  # fmt: skip
@click.option("--key", help="Name of the cube in a .mat, .h5, .npz or .zarr file.")
@click.option("--axes", help='Order of its axes, such as "chw" or "c(wh)"; not for ENVI.')
@click.option(
    "--interval", type=click.Choice([*_LEVELS, "none"]),
    help="What `predict --interval` wrote beside the cube, to be drawn around spectra [90, else any].",
)  # fmt: skip
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
def command(
    cube: Path, other: Path | None, out: Path | None, title: str | None, units: str | None,
    max_side: int | None, key: str | None, axes: str | None, interval: str | None, show: bool,
) -> None:  # fmt: skip
    """Show a cube in the browser: images, spectra, and a second cube.

    OTHER is a photograph of the same scene, or a second cube of the same size and bands, whose error
    against CUBE is shown, or the difference of both if models made them. What `predict --interval` wrote
    beside a cube is shown with it: the intervals, and which pixels are unlike the training data.

    The page is one HTML file that needs no server and no network. Its path is printed on stdout.
    """
    from hsrzoo.utils.files import make_folder
    from hsrzoo.viewer import write_page

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"The page is an HTML file: -o NAME.html, not {out.name}")
    target = out or cube.parent / f"{cube.stem}.html"
    photo = None if other is None else _photo(other)
    paths = [cube] if other is None or photo is not None else [cube, other]
    if (key or axes) and all(path.suffix.lower() in _ENVI for path in paths):
        raise click.UsageError("--key and --axes are not for ENVI, whose header describes the cube")
    cubes = [_cube(path, name, key, axes, units) for path, name in zip(paths, _names(paths), strict=True)]
    wanted = _LEVELS if interval is None else () if interval == "none" else (interval,)
    cubes = [_with_interval(one, path, wanted) for one, path in zip(cubes, paths, strict=True)]
    if interval in _LEVELS and all(one.interval is None for one in cubes):
        raise click.UsageError(f"There are no intervals of {interval} beside {cube}: predict --interval")
    make_folder(target.parent)
    write_page(target, cubes, photo, title, photo_name=other.name if other else "", max_side=max_side)
    click.echo(target)
    size = target.stat().st_size / 2**20
    say(f"{size:.1f} MiB; open it in any browser, no server needed.")
    if show:
        import webbrowser

        webbrowser.open(target.resolve().as_uri())


def _photo(path: Path) -> np.ndarray | None:
    """A photograph as it looks, (H, W, 3) uint8 in sRGB; None for a cube.

    A TIFF of three channels of 8 or 16 bits is a photograph.
    """
    import numpy as np

    from hsrzoo.colour.srgb import encode_srgb
    from hsrzoo.errors import InputError
    from hsrzoo.io import CUBE_SUFFIXES
    from hsrzoo.io.photo import to_linear
    from hsrzoo.io.raster import open_raster

    suffix = path.suffix.lower()
    if suffix in CUBE_SUFFIXES and suffix not in (".tif", ".tiff"):
        return None
    try:
        raster = open_raster(path)
    except InputError:  # a TIFF that is not RGB: a cube, or load_cube reports what is wrong
        if suffix not in CUBE_SUFFIXES:
            raise
        return None
    if suffix in CUBE_SUFFIXES and raster.pixels.read(0, 0, 1, 1).dtype.name not in ("uint8", "uint16"):
        return None
    photo = to_linear(raster, path, untagged="srgb")
    say(photo.note.partition(" (--")[0])
    return np.rint(encode_srgb(photo.unit()) * 255).astype(np.uint8)


def _cube(path: Path, name: str, key: str | None, axes: str | None, units: str | None) -> NamedCube:
    from hsrzoo.io import load_cube
    from hsrzoo.io.common import by_wavelength
    from hsrzoo.io.metadata import metadata_of
    from hsrzoo.viewer import NamedCube

    if path.suffix.lower() in _ENVI:
        key = axes = None
    values, bands = by_wavelength(*load_cube(path, key=key, axes=axes))
    about = metadata_of(path)
    return NamedCube(name, values, bands, units or about.units, about.facts)


def _with_interval(shown: NamedCube, path: Path, levels: tuple[str, ...]) -> NamedCube:
    """The cube with what `predict --interval` wrote beside its file, for the first of ``levels`` that is
    there."""
    from dataclasses import replace

    import numpy as np

    from hsrzoo.errors import notes_to
    from hsrzoo.io.metadata import metadata_of
    from hsrzoo.prediction.files import ends_beside, half_widths_of, unfamiliar_of
    from hsrzoo.viewer import Interval

    found, others = None, []
    for level in levels:
        files = ends_beside(path) if level == "metamer" else [half_widths_of(path, int(level) / 100)]
        if not all(file.exists() for file in files):  # of Zarr a folder
            continue
        if any(_origin(metadata_of(file).facts) != _origin(shown.facts) for file in files):
            others.append(files[0].name)
            continue
        parts = [_cube(file, file.name, None, None, None).values for file in files]
        if level == "metamer":
            words = (
                "Shaded, of a pixel: the range of all spectra that have its colour; no prediction interval."
            )
            lower, upper = (part.astype(np.float32) for part in parts)
            found = Interval("range of metamers", words, (upper - lower) / 2, (upper + lower) / 2)
        else:
            words = (
                f"Shaded, of a pixel: the {level} % interval. On scenes and cameras like those of "
                f"training, {level} % of the values or more lie in theirs."
            )
            found = Interval(f"{level} % interval", words, parts[0])
        break
    unfamiliar = None
    if others:
        say(f"Not shown, since the cube was made again without it: {', '.join(others)}")
    if levels and unfamiliar_of(path).is_file() and not (others and found is None):
        with notes_to(lambda _: None):  # of its scale, which is no matter of the cube
            unfamiliar = _cube(unfamiliar_of(path), "map", None, None, None).values[..., 0]
        if unfamiliar.max() > 1:  # a map of an earlier version states no scale
            unfamiliar = unfamiliar / np.float32(65535)
    return replace(shown, interval=found, unfamiliar=unfamiliar)


def _origin(facts: Mapping[str, str]) -> dict[str, str]:
    """What a cube has in common with its intervals: model, weights, how the image was read."""
    return {name: text for name, text in facts.items() if name != "cube_values"}


def _names(paths: list[Path]) -> list[str]:
    """File names, with their folders if the names are equal."""
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    return [f"{path.absolute().parent.name}/{path.name}" for path in paths]
