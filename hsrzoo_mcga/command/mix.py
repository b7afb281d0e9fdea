"""``hsrzoo codebook mix``: one folder of codebooks from several."""

from __future__ import annotations

from pathlib import Path

import click

from hsrzoo.cli import options


@click.command("mix")
@click.argument("folders", nargs=-1, type=options.PATH)
@click.option("--out", required=True, type=options.PATH, help="Folder of the mixture.")
@click.option(
    "--for", "target", metavar="BANDS",
    help="Leave out sources without a band in this range: START:STOP:STEP in nm, or visible.",
)  # fmt: skip
def mix_codebooks(folders: tuple[Path, ...], out: Path, target: str | None) -> None:
    """Join the codebooks in FOLDERS row by row (the mixture of codebooks)."""
    from hsrzoo.cli.output import print_table, say
    from hsrzoo.datasets.wavelengths import parse_bands
    from hsrzoo_mcga.codebook.folder import CodebookFolder, mix

    bands = None if target is None else parse_bands(target)
    read = [CodebookFolder.read(f) for f in folders]
    mixed = mix(read, out, bands)
    kept = {s.name for s in mixed.sources}
    for source in (s for f in read for s in f.sources if s.name not in kept):
        say(f"Left out: {source.name} ({source.bands}) has no band in the range of {bands}")
    rows = [
        {"source": s.name, "bands": str(s.bands), "codes": s.n_codes, "scales": mixed.scales}
        for s in mixed.sources
    ]
    print_table(rows, ["source", "bands", "codes", "scales"])
