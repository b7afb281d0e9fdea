"""``hsrzoo codebook inspect``: what codebooks hold."""

from __future__ import annotations

from pathlib import Path

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import DATASET


@click.command("inspect")
@click.argument("folder", type=options.PATH)
@click.option("--source", help="Only this source [all; with --dataset those of its bands].")
@click.option("--dataset", type=DATASET, help="Measure figures on this data set [those of the record].")
@options.data_options
@click.option("--split", default="train", show_default=True, help="Its split.")
@click.option("--picture", type=options.PATH, help="Draw every code's spectrum (.png).")
@click.option("--spectra", type=options.PATH, help="Write every code's spectrum (.csv).")
@options.as_json
@options.data_root
def inspect_codebook(
    folder: Path, source: str | None, dataset: str | None, data_options: dict[str, str], split: str,
    picture: Path | None, spectra: Path | None, as_json: bool, data_root: Path | None,
) -> None:  # fmt: skip
    """Show the sources in FOLDER: bands, codes, errors and use of the codes, and their spectra.

    FOLDER is the codebook of one run or a mixture. The spectrum of a code is what stage 1 decodes from a
    constant map of it, with the matching codes at the other scales.
    """
    from hsrzoo.cli.output import print_table, say, to_json
    from hsrzoo.datasets import open_dataset
    from hsrzoo_mcga.codebook.folder import CodebookFolder
    from hsrzoo_mcga.stage1.plot import draw
    from hsrzoo_mcga.stage1.report import report_source, write_spectra

    if dataset is None:
        options.forbid_without("--dataset", ("data_options", "split"))
    read = CodebookFolder.read(folder)
    data = open_dataset(dataset, data_root, **data_options) if dataset else None
    chosen = [read.source(source)] if source else list(read.sources)
    if data is not None and not source:
        chosen = [s for s in chosen if s.bands.same_as(data.bands)] or chosen
    reports = [report_source(read, one, data, split) for one in chosen]
    if spectra:
        write_spectra(spectra, reports)
        say(f"Spectra: {spectra}")
    if picture:
        draw(picture, reports)
        say(f"Picture: {picture}")
    if as_json:
        click.echo(to_json([r.to_json() for r in reports]))
        return
    facts = {r.source.name: r.facts() for r in reports}
    headings = list(dict.fromkeys(key for one in facts.values() for key in one))
    rows = [{"what": key, **{name: one.get(key) for name, one in facts.items()}} for key in headings]
    print_table(rows, ["what", *facts], title=str(folder))
