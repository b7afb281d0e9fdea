"""``hsrzoo codebook sample`` and ``judge``: synthetic cubes, and how near they come to real ones."""

from __future__ import annotations

from pathlib import Path

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import DATASET


@click.command("sample")
@click.argument("folder", type=options.PATH)
@click.option("--source", help="Source of the codes [the only one].")
@click.option("--count", default=64, show_default=True, type=click.IntRange(1), help="Number of cubes.")
@click.option("--size", default=64, show_default=True, type=click.IntRange(1), help="Their side, pixels.")
@click.option("--out", required=True, type=options.PATH, help="Folder to write.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option("--prior-steps", type=click.IntRange(1), help="Steps to fit the prior, at most [600].")
@click.option("--dataset", type=DATASET, help="Scenes to fit the prior to [the source's training scenes].")
@options.data_options
@click.option("--split", help="Its split [the source's].")
@options.threads
@options.as_json
@options.data_root
def sample_codebook(
    folder: Path, source: str | None, count: int, size: int, out: Path, seed: int, prior_steps: int | None,
    dataset: str | None, data_options: dict[str, str], split: str | None, threads: int | None,
    as_json: bool, data_root: Path | None,
) -> None:  # fmt: skip
    """Draw synthetic cubes from a codebook in FOLDER, with the RGB of the default camera.

    A small prior over maps of codes is fitted to the source's training scenes, stored in FOLDER/priors and
    used again. OUT is read by the data set folder (--data-option path=OUT), as its split train;
    OUT/record.json holds the provenance of the pairs.
    """
    from hsrzoo.cli.output import print_table, progress, say, to_json
    from hsrzoo.utils.locks import hold_folder
    from hsrzoo.utils.threads import set_threads
    from hsrzoo_mcga.codebook.folder import CodebookFolder
    from hsrzoo_mcga.stage1.decoding import load_autoencoder
    from hsrzoo_mcga.synthetic.prior_fit import STEPS, load_or_fit
    from hsrzoo_mcga.synthetic.sampling import check_request, sample

    set_threads(threads)
    if data_options and not dataset:
        raise click.UsageError("--data-option needs --dataset")
    read = CodebookFolder.read(folder)
    chosen = read.source(source)
    module = load_autoencoder(read, chosen)
    check_request(module, chosen.bands, size, out)
    steps = prior_steps or STEPS
    with hold_folder(out), progress() as bar:
        check_request(module, chosen.bands, size, out)  # another process may have written meanwhile
        fitting = bar.add_task("prior", total=steps)
        fitted = load_or_fit(
            read, chosen, module, steps, dataset=dataset, options=data_options, split=split,
            data_root=data_root, advance=lambda: bar.advance(fitting),
        )  # fmt: skip
        drawing = bar.add_task("cubes", total=count)
        record = sample(
            module, chosen, fitted, out, count=count, size=size, seed=seed,
            advance=lambda done: bar.advance(drawing, done),
        )  # fmt: skip
    if as_json:
        click.echo(to_json(record))
        return
    rows = [{"figure": k, "value": v} for k, v in fitted.record["figures"].items()]
    rows += [{"figure": k, "value": record[k]} for k in ("agreement", "coarser_rmse", "clipped")]
    print_table(rows, ["figure", "value"], title=f"{count} cubes of {chosen.name} in {out}")
    say(f"Pairs: --dataset folder --data-option path={out} --split train")


@click.command("judge")
@click.argument("folder", type=options.PATH)
@click.option("--against", type=DATASET, required=True, metavar="DATASET", help="Data set of real cubes.")
@options.data_options
@click.option("--split", default="train", show_default=True, help="Its split.")
@click.option("--pixels", default=4000, show_default=True, type=click.IntRange(2), help="Spectra a side.")
@click.option("--splits", default=10, show_default=True, type=click.IntRange(1), help="Ways to halve.")
@click.option("--seed", default=0, show_default=True, help="Seed of pixels and halves.")
@options.as_json
@options.data_root
def judge_samples(
    folder: Path, against: str, data_options: dict[str, str], split: str, pixels: int, splits: int,
    seed: int, as_json: bool, data_root: Path | None,
) -> None:  # fmt: skip
    """Compare the spectra of the cubes in FOLDER with real ones, and halves of these with each other.

    "synthetic" is the mean distance of the synthetic spectra to one half of the real scenes, "real" that of
    the other half: the least that can be expected of any sample of such scenes.
    """
    from hsrzoo.cli.output import print_table, to_json
    from hsrzoo.datasets import open_dataset
    from hsrzoo_mcga.synthetic.judge import judge

    real = open_dataset(against, data_root, **data_options)
    synthetic = open_dataset("folder", data_root, path=str(folder.expanduser().resolve()))
    report = judge(synthetic, real, split, pixels=pixels, splits=splits, seed=seed)
    if as_json:
        click.echo(to_json(report))
        return
    title = f"{report['synthetic']} against {report['real']}"
    print_table(report["distances"], ["distance", "synthetic", "real", "ratio"], title=title)
