"""``hsrzoo codebook``: stage 1 of MCGA and its code search on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsrzoo.cli.names import DATASET, MODEL
from hsrzoo.cli.options import parse_options
from hsrzoo_mcga.command.inspect import inspect_codebook, judge_samples, sample_codebook
from hsrzoo_mcga.command.push import push_codebook


@click.group("codebook")
def command() -> None:
    """Train, mix and push codebooks (stage 1 of MCGA); time their search."""


for other in (inspect_codebook, sample_codebook, judge_samples, push_codebook):
    command.add_command(other)


@command.command("train")
@click.option("--dataset", type=DATASET, help="Data set whose cubes teach the codebook.")
@click.option("--data-option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the set.")
@click.option(
    "--source",
    "sources",
    type=DATASET,
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="In place of --dataset, repeated: sources that share one codebook. Keys: options of the set, and "
    "name, split, figures, holdout.",
)
@click.option("--split", default="train", show_default=True)
@click.option("--figures-split", metavar="SPLIT", help="Split for the final figures [held-out scenes].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run [runs/codebook-NAMES].")
@click.option("--scales", default=2, show_default=True, type=click.IntRange(1, 4))
@click.option("--latent", default=32, show_default=True, help="Common latent width; D_i = latent / 2^i.")
@click.option("--codes", type=click.IntRange(1), help="Codes per scale [512 for each source].")
@click.option(
    "--mask", default="by-band", show_default=True, type=click.Choice(["by-band", "drop-ordered"])
)
@click.option("--name", help="Name of the source in mixtures [the data set's].")
@click.option("--steps", type=click.IntRange(1), help="Number of steps [3000].")
@click.option("--minutes", type=float, help="Time 50 steps and fix as many as fit into these minutes.")
@click.option("--batch", type=click.IntRange(1))
@click.option("--patch", type=click.IntRange(4))
@click.option("--lr", type=float)
@click.option("--seed", type=int)
@click.option("--holdout", type=click.IntRange(0), help="Scenes kept out, the last by name.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads [torch's default].")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of all data sets.")
def train_codebook(
    dataset: str | None,
    options: tuple[str, ...],
    sources: tuple[str, ...],
    split: str,
    figures_split: str | None,
    out: Path | None,
    scales: int,
    latent: int,
    codes: int | None,
    mask: str,
    name: str | None,
    minutes: float | None,
    resume: bool,
    threads: int | None,
    data_root: Path | None,
    **fields: Any,
) -> None:
    """Train one source's multi-scale codebooks, or those of several sources; the result is OUT/codebook.

    SIGKILL at any moment and the same command with --resume give the same codebooks as an
    uninterrupted run. Figures on another split are for the record alone: nothing is chosen by them.
    """
    import dataclasses

    import torch
    from accelerate import PartialState

    from hsrzoo.cli.output import console, print_table
    from hsrzoo.training.loop import train
    from hsrzoo.utils.provenance import collect
    from hsrzoo_mcga.codebook.lookup import CODES_PER_SOURCE
    from hsrzoo_mcga.stage1.sources import Choice, make_task, parse_source, save
    from hsrzoo_mcga.stage1.task import RECIPE

    if fields["steps"] is not None and minutes is not None:
        raise click.UsageError("--steps and --minutes exclude each other")
    if bool(dataset) == bool(sources):
        raise click.UsageError("Give either --dataset or --source")
    if sources and (options or name or figures_split or split != "train"):
        raise click.UsageError("--source has them in itself: NAME:KEY=VALUE,name=...,split=...,figures=...")
    if threads is not None:
        torch.set_num_threads(threads)
    choices = [parse_source(text) for text in sources]
    if dataset:
        choices = [Choice(dataset, parse_options(options), name, split, figures_split)]
    recipe = dataclasses.replace(RECIPE, **{k: v for k, v in fields.items() if v is not None})
    torch.manual_seed(recipe.seed)
    n_codes = codes or CODES_PER_SOURCE * len(choices)
    task = make_task(choices, recipe, data_root, scales=scales, latent=latent, n_codes=n_codes, mask=mask)
    folder = out or Path("runs") / "-".join(["codebook", *(c.dataset for c in choices)])
    provenance = collect("cuda" if torch.cuda.is_available() else "cpu")
    averaged = train(task, recipe, folder, resume=resume, minutes=minutes, notes={"provenance": provenance})
    if not PartialState().is_main_process:
        return  # under torchrun every process has the same codes: one of them writes
    print_table(save(folder, task, averaged, provenance), ["source", "figure", "value", "on"])
    console.print(f"Codebook: {folder / 'codebook'}", markup=False, highlight=False)


@command.command("mix")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the mixture.")
@click.option(
    "--for",
    "target",
    metavar="BANDS",
    help="Leave out sources without a band in this range: START:STOP:STEP in nm, or visible.",
)
def mix_codebooks(folders: tuple[Path, ...], out: Path, target: str | None) -> None:
    """Join the codebooks in FOLDERS row by row (the mixture of codebooks)."""
    from hsrzoo.cli.output import console, print_table
    from hsrzoo.datasets.wavelengths import parse_bands
    from hsrzoo_mcga.codebook.folder import CodebookFolder, mix

    bands = None if target is None else parse_bands(target)
    read = [CodebookFolder.read(f) for f in folders]
    mixed = mix(read, out, bands)
    kept = {s.name for s in mixed.sources}
    for source in (s for f in read for s in f.sources if s.name not in kept):
        console.print(
            f"Left out: {source.name} ({source.bands}) has no band in the range of {bands}", markup=False
        )
    rows = [
        {"source": s.name, "bands": str(s.bands), "codes": s.n_codes, "scales": mixed.scales}
        for s in mixed.sources
    ]
    print_table(rows, ["source", "bands", "codes", "scales"])


def _numbers(context: click.Context, parameter: click.Parameter, text: str) -> list[int]:
    """Positive whole numbers from "8,16"."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"expected positive whole numbers such as 8,16; got {text!r}")
    return [int(part) for part in parts]


@command.command("search")
@click.option("--codes", default=1536, show_default=True, type=click.IntRange(1), help="Number of codes.")
@click.option("--pixels", default=262144, show_default=True, type=click.IntRange(1), help="Look-ups.")
@click.option("--widths", default="8,16", show_default=True, callback=_numbers, help="Code widths.")
@click.option("--engines", help="Engines, by comma [all that run here].")
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1))
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="[cuda where there is one]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads [torch's default].")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.pass_context
def search_codes(
    context: click.Context,
    codes: int,
    pixels: int,
    widths: list[int],
    engines: str | None,
    repeats: int,
    device: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Time the nearest-code engines against matmul + argmin, and check them against float64.

    Exit code 1 where an index is wrong by more than rounding.
    """
    import torch

    from hsrzoo.cli.output import print_table
    from hsrzoo_mcga.codebook.search import check_engine, runnable_engines
    from hsrzoo_mcga.codebook.search.compare import compare

    if threads is not None:
        torch.set_num_threads(threads)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    sample = torch.empty(0, 1, device=device)
    names = engines.split(",") if engines else runnable_engines(sample)
    for name in names:
        check_engine(name, sample)
    rows = [row for width in widths for row in compare(width, codes, pixels, names, repeats, device)]
    columns = {
        "d": "D",
        "engine": "engine",
        "ms": "ms (median)",
        "ratio": "to matmul + argmin",
        "differ": "other index",
        "beyond_rounding": "beyond rounding",
        "checked": "of pixels checked",
    }
    title = f"{pixels} pixels, {codes} codes, {device}, {torch.get_num_threads()} threads"
    print_table(rows, columns, as_json=as_json, title=title)
    if any(row["beyond_rounding"] for row in rows):
        context.exit(1)


@command.command("ties")
@click.option(
    "--model", "name", type=MODEL, default="mcga-s2", show_default=True, help="Model with codebooks."
)
@click.option("--dataset", type=DATASET, required=True, help="Data set whose scenes are run.")
@click.option("--split", default="valid", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only the first scenes.")
@click.option(
    "--way", "ways", multiple=True, help="strips, torch-search, tiles, compile [all but compile]."
)
@click.option("--tile", default=128, show_default=True, type=click.IntRange(8), help="Side of the tiles.")
@click.option("--data-option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the set.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of all data sets.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads [torch's default].")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.pass_context
def compare_at_ties(
    context: click.Context,
    name: str,
    dataset: str,
    split: str,
    limit: int | None,
    ways: tuple[str, ...],
    tile: int,
    options: tuple[str, ...],
    data_root: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Run a model in several exact ways and show what ties of codes make of rounding.

    "prescribed": largest difference of the cubes when all take the same codes; "free": when each takes
    its own; "RMSE change": of the mean over the scenes. Exit code 1 where another code is more than a
    tie.
    """
    import torch

    from hsrzoo.cli.output import print_table
    from hsrzoo.datasets import open_dataset
    from hsrzoo.errors import unknown_name
    from hsrzoo.models.loading import load
    from hsrzoo_mcga.stage2.ties import WAYS, compare_dataset

    for way in ways:
        if way not in WAYS:
            raise unknown_name("way", way, WAYS)
    if threads is not None:
        torch.set_num_threads(threads)
    data = open_dataset(dataset, data_root, **parse_options(options))
    rows = compare_dataset(load(name), data, split, data.scenes(split)[:limit], ways or WAYS[:-1], tile)
    columns = {
        "way": "way",
        "scenes": "scenes",
        "asked": "look-ups",
        "flipped": "other code (share)",
        "beyond": "beyond rounding",
        "prescribed": "prescribed: max difference",
        "free": "free: max difference",
        "rmse": "RMSE",
        "rmse_change": "RMSE change",
    }
    print_table(
        rows, columns, as_json=as_json, title=f"{name} on {dataset}/{split}, against whole features"
    )
    if any(row["beyond"] for row in rows):
        context.exit(1)
