"""``hsrzoo train``: a network, a data set and a recipe become a folder of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hsrzoo.cli.data import parse_options
from hsrzoo.cli.names import ARCHITECTURE, DATASET
from hsrzoo.errors import TrainingError, unknown_name

if TYPE_CHECKING:
    from torch import nn

    from hsrzoo.datasets.base import Dataset
    from hsrzoo.spec import BandSet, ModelSpec, Recipe, Start
    from hsrzoo.training.pairs import PairTask


@click.command("train")
@click.argument("name", type=ARCHITECTURE, required=False)
@click.option("--dataset", type=DATASET, help="Data set to train on.")
@click.option("--split", default="train", show_default=True, help="Its split.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run [runs/NAME-DATASET].")
@click.option("--steps", type=int, help="Number of steps [the model's recipe].")
@click.option("--minutes", type=float, help="Time 50 steps and fix as many as fit into these minutes.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option(
    "--start", type=click.Path(path_type=Path),
    help="What to take over (MCGA: codebooks of stage 1): a folder or hf-hub:ORG/REPO[@REVISION].",
)  # fmt: skip
@click.option("--recipe", "recipe_name", metavar="NAME", help="Another recipe of the model: authors.")
@click.option("--seed", type=int, help="Seed of weights, crops and everything random.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--batch", type=int, help="Crops in a batch, of all processes together.")
@click.option("--patch", type=int, help="Side of a crop, pixels.")
@click.option("--holdout", type=int, help="Training scenes kept out for validation, the last by name.")
@click.option("--set", "sets", multiple=True, metavar="FIELD=VALUE", help="Any other field of the recipe.")
@click.option("--arg", "args", multiple=True, metavar="KEY=VALUE", help="Constructor argument.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads [torch's default].")
@click.option(
    "--data-option", "data_options", multiple=True, metavar="KEY=VALUE", help="Option of the set."
)
@click.option("--also", type=DATASET, help="Train on this data set of the same bands as well.")
@click.option("--also-option", "also_options", multiple=True, metavar="KEY=VALUE", help="Option of it.")
@click.option("--also-split", default="train", show_default=True, help="Its split; all scenes are used.")
@click.option(
    "--also-share", default=0.25, show_default=True, type=float, help="Share of the crops that are its."
)
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of all data sets.")
@click.option(
    "--queue", type=click.Path(path_type=Path), help="Work through the jobs of this TOML file instead."
)
@click.option("--only", multiple=True, metavar="JOB", help="Of the queue: this job and what it needs.")
def command(
    name: str | None,
    dataset: str | None,
    split: str,
    out: Path | None,
    steps: int | None,
    minutes: float | None,
    resume: bool,
    start: Path | None,
    recipe_name: str | None,
    sets: tuple[str, ...],
    args: tuple[str, ...],
    threads: int | None,
    data_options: tuple[str, ...],
    also: str | None,
    also_options: tuple[str, ...],
    also_split: str,
    also_share: float,
    data_root: Path | None,
    queue: Path | None,
    only: tuple[str, ...],
    **fields: Any,
) -> None:
    """Train a network on a data set and write its weights.

    The folder of the run holds config.json (what was asked), log.jsonl (one line a step),
    checkpoint.pt and, at the end, weights/ for `--model local-dir:...`. SIGKILL at any moment and
    the same command with --resume give the weights of an uninterrupted run.

    Several processes or GPUs: `torchrun --nproc-per-node N --no-python -- hsrzoo train ...`; the loss
    curve is that of one process with the same --batch.

    `--queue FILE` runs whole series: jobs of hsrzoo commands, each resumed where it stopped. --out is then
    the folder of all runs. The same command again, or in several processes at once, does what is missing.
    """
    if queue is not None:
        _refuse_beside_queue()
        _work_through(queue, out or Path("runs"), only)
        return
    if only:
        raise click.UsageError("--only belongs to --queue")
    if name is None or dataset is None:
        raise click.UsageError("Give the NAME of a model and a --dataset, or a --queue")
    from hsrzoo.datasets import open_dataset
    from hsrzoo.registry import MODELS
    from hsrzoo.training.recipe import assignments, json_or_text

    if steps is not None and minutes is not None:
        raise click.UsageError("--steps and --minutes exclude each other")
    if also_options and not also:
        raise click.UsageError("--also-option belongs to --also")
    if minutes is not None and not minutes > 0:
        raise click.UsageError("--minutes must be above 0")
    spec = MODELS.get(name)
    if spec.fit is not None:
        raise TrainingError(
            f"{name} is fitted in closed form, not trained",
            fix=f"Use `hsrzoo fit {name} --dataset {dataset}`",
        )
    changes = {"steps": steps, **fields}
    recipe = _recipe(_named_recipe(spec, recipe_name), changes, assignments(sets, "--set"))
    if recipe.normalise != "spec":
        spec = replace(spec, input=replace(spec.input, normalise=recipe.normalise))
    arguments = {key: json_or_text(text) for key, text in assignments(args, "--arg").items()}
    data = open_dataset(dataset, data_root, **parse_options(data_options))
    folder = out or Path("runs") / f"{name}-{dataset}".replace(":", "-")
    added = [(open_dataset(also, data_root, **parse_options(also_options)), also_split)] if also else []
    extra = {"extra": added, "extra_share": also_share}
    _run(spec, recipe, data, split, folder, minutes, resume, start, arguments, threads, extra)


def _refuse_beside_queue() -> None:
    """UsageError naming what was given of one training, which a queue would pass over."""
    context = click.get_current_context()
    given = [
        parameter.human_readable_name if isinstance(parameter, click.Argument) else parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in ("queue", "only", "out")
        and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"The jobs of a queue say themselves how they train: leave {', '.join(sorted(given))} out"
        )


def _work_through(file: Path, runs: Path, only: tuple[str, ...]) -> None:
    """Run a queue and print what became of its jobs; exit code 1 where one is not finished."""
    from hsrzoo.cli.output import console, print_table
    from hsrzoo.training.queue import read_queue, run_queue

    jobs = read_queue(file, runs)
    states = run_queue(
        jobs, runs, only=only, say=lambda line: console.print(line, markup=False, highlight=False)
    )
    rows = [
        {
            "job": job.name,
            "commands": f"{states[job.name].done} of {len(job.commands)}",
            "minutes": round(sum(states[job.name].seconds) / 60, 1),
            "failed": states[job.name].failed or "",
        }
        for job in jobs
        if job.name in states
    ]
    print_table(rows, ["job", "commands", "minutes", "failed"])
    if any(states[job.name].done < len(job.commands) for job in jobs if job.name in states):
        click.get_current_context().exit(1)


def _named_recipe(spec: ModelSpec, name: str | None) -> Recipe:
    """The recipe that all networks of the zoo are compared by, or another that the model has."""
    if name is None or name == "common":
        return spec.recipe
    if name not in spec.recipes:
        raise unknown_name(f"recipe of {spec.name}", name, ["common", *spec.recipes])
    return spec.recipes[name]


def _recipe(recipe: Recipe, options: Mapping[str, Any], sets: Mapping[str, str]) -> Recipe:
    """``recipe`` with what the user changed."""
    from hsrzoo.training.recipe import override

    given = {key: str(value) for key, value in options.items() if value is not None}
    twice = sorted(given.keys() & sets.keys())
    if twice:
        raise click.UsageError(f"--{twice[0]} and --set {twice[0]}=... exclude each other")
    return override(recipe, {**given, **sets})


def _run(
    spec: ModelSpec,
    recipe: Recipe,
    data: Dataset,
    split: str,
    folder: Path,
    minutes: float | None,
    resume: bool,
    start: Path | None,
    arguments: Mapping[str, Any],
    threads: int | None,
    extra: Mapping[str, Any],
) -> None:
    import torch
    from accelerate import PartialState

    from hsrzoo.cli.output import console
    from hsrzoo.training.loop import train
    from hsrzoo.training.pairs import PairTask
    from hsrzoo.utils.devices import torch_device
    from hsrzoo.utils.provenance import collect, command_line

    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    taken = _start(spec, start, data.bands, {**spec.arguments, **arguments})
    merged = {**spec.arguments, **(taken.arguments if taken else {}), **arguments}
    module = _build(spec, data.bands, merged, taken)
    record = dict(taken.record) if taken else {}
    task = PairTask(spec, module, data, recipe, split=split, arguments=merged, start=record, **extra)
    # of the code that trains, not of what the checkout holds when it is done
    provenance = collect(str(torch_device(None)))
    notes = {"command": command_line(), "provenance": provenance}
    averaged = train(task, recipe, folder, resume=resume, minutes=minutes, notes=notes)
    if not PartialState().is_main_process:
        return  # under torchrun every process has the same weights: one of them writes
    _save(folder, task, averaged, data.bands, recipe, provenance)
    console.print(f"Weights: {folder / 'weights'}", markup=False, highlight=False)


def _start(
    spec: ModelSpec, path: Path | None, bands: BandSet, arguments: Mapping[str, Any]
) -> Start | None:
    from hsrzoo.hub.client import origin_of
    from hsrzoo.models.locate import resolve_folder
    from hsrzoo.spec import resolve

    if path is None:
        return None
    if spec.start is None:
        raise TrainingError(f"{spec.name} takes nothing over", fix="Leave --start out")
    folder = resolve_folder(path)
    taken: Start = resolve(spec.start)(folder, bands, arguments)
    origin = origin_of(folder)
    return replace(taken, record={**taken.record, "repository": origin}) if origin else taken


def _build(spec: ModelSpec, bands: BandSet, arguments: Mapping[str, Any], start: Start | None) -> nn.Module:
    """The module with fresh weights, then with the start's tensors; every one must have its place."""
    import torch

    from hsrzoo.training.recipe import build_as_asked

    module = build_as_asked(spec, bands, arguments)
    state = module.state_dict()
    for name, value in (start.state if start else {}).items():
        own = state.get(name)
        if own is None or own.shape != value.shape:
            raise TrainingError(
                f"The start does not fit {spec.name}",
                expected=f"{name} of shape {tuple(own.shape)}"
                if own is not None
                else "names of its tensors",
                got=f"{name} of shape {tuple(value.shape)}",
                fix="Build the network with the widths of the start, or make the start again",
            )
        with torch.no_grad():
            own.copy_(value)
    return module


def _save(
    folder: Path,
    task: PairTask,
    module: nn.Module,
    bands: BandSet,
    recipe: Recipe,
    provenance: Mapping[str, Any],
) -> None:
    """Write the averaged weights with the record of how they were made."""
    import dataclasses
    import json

    from hsrzoo.models.weights import save_folder
    from hsrzoo.utils.provenance import command_line

    run = json.loads((folder / "record.json").read_text())
    about = {key: value for key, value in task.record().items() if key not in ("model", "arguments")}
    training = {
        **about,
        **run,
        "recipe": {**dataclasses.asdict(recipe), "steps": run["steps"]},
        "seed": recipe.seed,
        "provenance": provenance,
        "command": command_line(),
    }
    save_folder(
        folder / "weights",
        module,
        task.spec,
        bands,
        arguments=task.arguments,
        training=training,
        codebook=task.start or None,
    )
