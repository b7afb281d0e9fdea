"""``hsrzoo codebook inspect``: what codebooks hold."""

from __future__ import annotations

from pathlib import Path

import click

from hsrzoo.cli.data import parse_options
from hsrzoo.cli.names import DATASET


@click.command("inspect")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--source", help="Only this source [all; with --dataset those of its bands].")
@click.option("--dataset", type=DATASET, help="Measure anew on this data set [the figures of the record].")
@click.option("--data-option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the set.")
@click.option("--split", default="train", show_default=True, help="Its split.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw every code's spectrum (.png).")
@click.option("--spectra", type=click.Path(path_type=Path), help="Write every code's spectrum (.csv).")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of all data sets.")
def inspect_codebook(
    folder: Path,
    source: str | None,
    dataset: str | None,
    options: tuple[str, ...],
    split: str,
    picture: Path | None,
    spectra: Path | None,
    as_json: bool,
    data_root: Path | None,
) -> None:
    """Show the sources in FOLDER: bands, codes, errors and use of the codes, and their spectra.

    FOLDER is the codebook of one run or a mixture. A code becomes a spectrum as stage 1 decodes an even
    area of it, with the codes at other scales that go with it.
    """
    from hsrzoo.cli.output import console, print_table, to_json
    from hsrzoo.datasets import open_dataset
    from hsrzoo_mcga.codebook.folder import CodebookFolder
    from hsrzoo_mcga.stage1.decoding import find_source
    from hsrzoo_mcga.stage1.inspection import draw, facts, inspect_folder, write_spectra

    read = CodebookFolder.read(folder)
    data = open_dataset(dataset, data_root, **parse_options(options)) if dataset else None
    chosen = [find_source(read, source)] if source else list(read.sources)
    if data is not None and not source:
        chosen = [s for s in chosen if s.bands.same_as(data.bands)] or chosen
    reports = inspect_folder(read, chosen, data, split)
    if spectra:
        write_spectra(spectra, reports)
        console.print(f"Spectra: {spectra}", markup=False)
    if picture:
        draw(picture, reports)
        console.print(f"Picture: {picture}", markup=False)
    if as_json:
        click.echo(to_json([r.to_json() for r in reports]))
        return
    told = {r.source.name: facts(r) for r in reports}
    names = list(dict.fromkeys(key for words in told.values() for key in words))
    rows = [{"what": key, **{name: words.get(key) for name, words in told.items()}} for key in names]
    print_table(rows, ["what", *told], title=str(folder))
