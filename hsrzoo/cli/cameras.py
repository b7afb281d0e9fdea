"""``hsrzoo cameras``: the built-in camera responses."""

from __future__ import annotations

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import chosen
from hsrzoo.cli.output import print_table


@click.command("cameras")
@click.argument("pattern", required=False)
@options.as_json
def command(pattern: str | None, as_json: bool) -> None:
    """List the camera responses that options named --camera, response and consistency take.

    PATTERN is a part of a name, or a shell pattern such as 'canon-*' (quoted, so that the shell does not
    expand it). A response of your own is given as a file instead, .csv or .json: rows of wavelength in nm,
    red, green, blue.
    """
    from hsrzoo.colour.responses import exif_of, response, response_names, source_of

    rows = []
    for name in chosen(response_names(), pattern):
        wavelengths, curves = response(name)
        peaks = [float(nm) for nm in wavelengths[curves.argmax(axis=0)]]
        rows.append({
            "name": name, "from_nm": float(wavelengths[0]), "to_nm": float(wavelengths[-1]),
            "peaks_nm": ", ".join(f"{nm:g}" for nm in peaks),
            "exif": ", ".join(exif_of(name)), "source": source_of(name),
        })  # fmt: skip
    columns = {
        "name": "name", "from_nm": "from nm", "to_nm": "to nm", "peaks_nm": "peaks of R, G, B (nm)",
        "exif": "make and model by EXIF", "source": "source",
    }  # fmt: skip
    print_table(rows, columns, as_json=as_json)
