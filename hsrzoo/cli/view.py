"""``hsrzoo view``: a cube as one page for the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np

    from hsrzoo.viewer import NamedCube

_ENVI = (".hdr", ".img", ".dat", ".bsq", ".bil", ".bip")


@click.command("view")
@click.argument("cube", type=click.Path(path_type=Path))
@click.argument("other", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The page [CUBE.html beside the cube].")
@click.option("--title", help="Heading of the page [the names of the files].")
@click.option("--units", help="Units of the values, for the plot's axis [as the file says].")
@click.option(
    "--max-side", type=click.IntRange(min=1), metavar="PIXELS",
    help="Keep every n-th pixel so that no side is longer [as many as fit into 33 million values].",
)  # fmt: skip
@click.option("--key", help="Name of the cube in a .mat, .h5, .npz or .zarr file.")
@click.option("--axes", help='Its order of axes, such as "chw" or "c(wh)"; not for ENVI.')
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
def command(
    cube: Path,
    other: Path | None,
    out: Path | None,
    title: str | None,
    units: str | None,
    max_side: int | None,
    key: str | None,
    axes: str | None,
    show: bool,
) -> None:
    """Look at a cube in the browser: images, spectra, and what another cube does differently.

    OTHER is a photograph of the same scene, or a second cube of the same size and bands, of which the
    error against CUBE is shown. The page is one HTML file that needs no server and no network. Its
    path is printed on stdout.
    """
    from hsrzoo.cli.output import console
    from hsrzoo.utils.files import make_folder
    from hsrzoo.viewer import write_page

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"The page is HTML: -o NAME.html, not {out.name}")
    target = out or cube.parent / f"{cube.stem}.html"
    photo = None if other is None else _photo(other)
    paths = [cube] if other is None or photo is not None else [cube, other]
    if (key or axes) and all(path.suffix.lower() in _ENVI for path in paths):
        raise click.UsageError("An ENVI header says what it holds: --key and --axes are for other formats")
    cubes = [_cube(path, name, key, axes, units) for path, name in zip(paths, _names(paths), strict=True)]
    make_folder(target.parent)
    write_page(target, cubes, photo, title, photo_name=other.name if other else "", max_side=max_side)
    click.echo(target)
    size = target.stat().st_size / 2**20
    console.print(f"{size:.1f} MiB; open it in any browser, no server needed.", markup=False)
    if show:
        import webbrowser

        webbrowser.open(target.resolve().as_uri())


def _photo(path: Path) -> np.ndarray | None:
    """A photograph; None for a cube. A TIFF of three channels of 8 or 16 bits is a photograph."""
    from hsrzoo.errors import InputError
    from hsrzoo.io import CUBE_SUFFIXES, read_image

    suffix = path.suffix.lower()
    if suffix not in CUBE_SUFFIXES:
        return read_image(path)
    if suffix not in (".tif", ".tiff"):
        return None
    try:
        return read_image(path)
    except InputError:  # not RGB: then it is a cube, or load_cube says what is wrong
        return None


def _cube(path: Path, name: str, key: str | None, axes: str | None, units: str | None) -> NamedCube:
    from hsrzoo.io import load_cube
    from hsrzoo.viewer import NamedCube
    from hsrzoo.viewer.units import units_of

    if path.suffix.lower() in _ENVI:
        key = axes = None
    values, bands = load_cube(path, key=key, axes=axes)
    return NamedCube(name, values, bands, units or units_of(path))


def _names(paths: list[Path]) -> list[str]:
    """File names, with their folders where these tell them apart."""
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    return [f"{path.absolute().parent.name}/{path.name}" for path in paths]
