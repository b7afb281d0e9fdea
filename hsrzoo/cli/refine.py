"""``hsrzoo refine``: a cube corrected by a few measured spectra."""

from __future__ import annotations

from pathlib import Path

import click

from hsrzoo.cli import options
from hsrzoo.cli.output import say


@click.command("refine")
@click.argument("cube", type=options.PATH)
@click.argument("measured", type=options.PATH)
@click.option("-o", "--out", required=True, type=options.PATH, help="Cube file of the result.")
def command(cube: Path, measured: Path, out: Path) -> None:
    """Correct CUBE, which a network made, by MEASURED spectra of the same scene.

    MEASURED is a CSV with the columns row, column and one per wavelength in nm, or a second cube of the
    scene with fewer pixels. The correction is linear in the colour of a pixel; its strength is the one with
    the least leave-one-out error at the measured points. Three spectra are the least; ten help on average.
    """
    from hsrzoo.prediction.refine import refine_file

    found = refine_file(cube, measured, out)
    say(
        f"{out}: refined with {found.points} measured spectra; RMSE there {found.before:.4f} before, "
        f"{found.left_out:.4f} after (each point left out in turn)"
    )
    if found.left_out == found.before:
        say("No correction lowers the leave-one-out error: the cube is unchanged.")
