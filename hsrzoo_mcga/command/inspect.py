"""``hsrzoo codebook inspect``: what codebooks hold."""

from __future__ import annotations

from pathlib import Path

import click

from hsrzoo.cli.names import DATASET
from hsrzoo.cli.options import parse_options


@click.command("inspect")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--source", help="Only this source [all; with --dataset those of its bands].")
@click.option("--dataset", type=DATASET, help="Measure figures on this data set [those of the record].")
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

    FOLDER is the codebook of one run or a mixture. The spectrum of a code is what stage 1 decodes from a
    constant map of it, with the matching codes at the other scales.
    """
    from hsrzoo.cli.output import console, print_table, to_json
    from hsrzoo.datasets import open_dataset
    from hsrzoo_mcga.codebook.folder import CodebookFolder
    from hsrzoo_mcga.stage1.plot import draw
    from hsrzoo_mcga.stage1.report import report_source, write_spectra

    read = CodebookFolder.read(folder)
    data = open_dataset(dataset, data_root, **parse_options(options)) if dataset else None
    chosen = [read.source(source)] if source else list(read.sources)
    if data is not None and not source:
        chosen = [s for s in chosen if s.bands.same_as(data.bands)] or chosen
    reports = [report_source(read, one, data, split) for one in chosen]
    if spectra:
        write_spectra(spectra, reports)
        console.print(f"Spectra: {spectra}", markup=False)
    if picture:
        draw(picture, reports)
        console.print(f"Picture: {picture}", markup=False)
    if as_json:
        click.echo(to_json([r.to_json() for r in reports]))
        return
    facts = {r.source.name: r.facts() for r in reports}
    headings = list(dict.fromkeys(key for one in facts.values() for key in one))
    rows = [{"what": key, **{name: one.get(key) for name, one in facts.items()}} for key in headings]
    print_table(rows, ["what", *facts], title=str(folder))
