"""``hsrzoo train``: a network, a data set and a recipe become a folder of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import ARCHITECTURE, DATASET, MODEL
from hsrzoo.errors import TrainingError, unknown_name

if TYPE_CHECKING:
    from torch import nn

    from hsrzoo.camera import Camera
    from hsrzoo.spec import BandSet, ModelSpec, Recipe, Start
    from hsrzoo.training.pairs import PairTask


@click.command("train")
@click.argument("name", type=ARCHITECTURE, required=False)
@click.option("--dataset", type=DATASET, help="Data set to train on.")
@click.option("--split", default="train", show_default=True, help="Split of the data set.")
@click.option("--out", type=options.PATH, help="Folder of the run [runs/NAME-DATASET].")
@click.option("--steps", type=int, help="Number of steps [the model's recipe].")
@click.option("--minutes", type=float, help="Time budget: 50 steps are timed, and the number of steps set.")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option(
    "--start", type=options.PATH,
    help="Weights to start from (MCGA: codebooks of stage 1): a folder or hf-hub:ORG/REPO[@REVISION].",
)  # fmt: skip
@click.option(
    "--init", "init_name", type=MODEL,
    help="Weights of this network to fine-tune: ARCH.TAG, local-dir:FOLDER or hf-hub:ORG/REPO[@REVISION].",
)  # fmt: skip
@click.option(
    "--freeze", "frozen", multiple=True, metavar="PATTERN",
    help="Keep parameters of these names, or of parts of the network, as they are; repeatable.",
)  # fmt: skip
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME",
    help="Another recipe that `hsrzoo show` lists: few-pairs, ...",
)
@click.option("--seed", type=int, help="Seed of weights, crops and everything random.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--batch", type=int, help="Crops in a batch, over all processes.")
@click.option("--patch", type=int, help="Side of a crop in pixels.")
@click.option("--holdout", type=int, help="Training scenes held out for validation, the last by name.")
@options.pairs("--set", "sets", "Any other field of the recipe, repeatable.", "FIELD=VALUE")
@options.arguments
@options.threads
@click.option(
    "--workers", type=click.IntRange(min=0), metavar="N",
    help="Processes that draw crops ahead; no weight depends on it [0; on a GPU up to 4].",
)  # fmt: skip
@click.option(
    "--cache/--no-cache", default=None,
    help="Keep scenes in a file on disk instead of in memory [from 2 GB on].",
)  # fmt: skip
@options.data_options
@click.option("--also", type=DATASET, help="A second data set of the same bands to train on.")
@options.data_option("--also-option", "also_options", "Option of the second data set, repeatable.")
@click.option("--also-split", default="train", show_default=True, help="Its split; all scenes are used.")
@click.option("--also-share", default=0.25, show_default=True, type=float, help="Its share of the crops.")
@options.pools
@options.data_root
@click.option("--queue", type=options.PATH, help="Run the jobs of this TOML file instead.")
@click.option("--only", multiple=True, metavar="JOB", help="Of the queue: this job and those it needs.")
def command(
    name: str | None, dataset: str | None, split: str, out: Path | None, minutes: float | None,
    resume: bool, start: Path | None, init_name: str | None, frozen: tuple[str, ...],
    recipe_name: str | None, sets: dict[str, str],
    arguments: dict[str, Any], threads: int | None, workers: int | None, cache: bool | None,
    data_options: dict[str, str], also: str | None,
    also_options: dict[str, str], also_split: str, also_share: float,
    pool_texts: tuple[str, ...], data_root: Path | None,
    queue: Path | None, only: tuple[str, ...], **fields: Any,
) -> None:  # fmt: skip
    """Train a network on a data set and write its weights.

    The folder of the run holds config.json (the resolved settings), log.jsonl (one line per step),
    checkpoint.pt and, at the end, weights/ for `--model local-dir:...`. A run that was stopped at any
    moment and continued with --resume gives the same weights as an uninterrupted run.

    Several processes or GPUs: `torchrun --nproc-per-node N --no-python -- hsrzoo train ...`; the loss
    curve is that of one process with the same --batch.

    `--queue FILE` runs a series of hsrzoo commands, each resumed where it stopped. --out is then the
    folder of all runs. Run the same command again, or in several processes, to complete the series.
    """
    if queue is not None:
        _require_queue_options_only()
        _run_queue(queue, out or Path("runs"), only)
        return
    if name is None or dataset is None:
        raise click.UsageError("Give the NAME of a model and a --dataset, or a --queue")
    both = fields["steps"] is not None and minutes is not None
    options.forbid(only, "--only belongs to --queue")
    options.forbid(both, "--steps and --minutes exclude each other")
    options.forbid(minutes is not None and not minutes > 0, "--minutes must be above 0")
    options.forbid(
        start and init_name, "--start and --init exclude each other: codebooks are part of the weights"
    )
    if also is None:
        options.forbid_without("--also", ("also_options", "also_split", "also_share"))
    from hsrzoo.bands import VISIBLE_31
    from hsrzoo.datasets.named import Opener
    from hsrzoo.models.complexity import only_fitted
    from hsrzoo.models.locate import weights_command
    from hsrzoo.registry import MODELS
    from hsrzoo.spec import settled_extras

    spec = MODELS.get(name)
    if only_fitted(spec, VISIBLE_31):
        raise TrainingError(
            f"{name} is fitted in closed form, not trained",
            fix=f"Use `{weights_command(name, dataset)}`",
        )
    folder = out or Path("runs") / f"{name}-{dataset}".replace(":", "-")
    recipe = options.recipe(_recipe(spec, recipe_name), fields, sets, folder if resume else None)
    if recipe.normalise != "spec" and not init_name:  # trained weights have an input of their own
        spec = replace(spec, input=replace(spec.input, normalise=recipe.normalise))
    opener = Opener(data_root)
    data = opener(dataset, data_options)

    import torch
    from accelerate import PartialState

    from hsrzoo.cli.output import say_weights
    from hsrzoo.cli.run_folder import run_folder
    from hsrzoo.training.floor import compare
    from hsrzoo.training.loop import train
    from hsrzoo.training.pairs import PairTask
    from hsrzoo.training.pools import Pool, parse_pool
    from hsrzoo.training.rundir import RunDir
    from hsrzoo.utils.devices import torch_device
    from hsrzoo.utils.provenance import collect, command_line
    from hsrzoo.utils.threads import set_threads

    pools = [Pool(opener(also, also_options), also_share, also_split)] if also else []
    pools += [parse_pool(text, opener) for text in pool_texts]
    set_threads(threads)
    torch.manual_seed(recipe.seed)
    camera = getattr(data, "camera", None)
    if init_name:
        built = _from_weights(spec, init_name, data.bands, arguments, recipe, camera)
    else:
        built = _from_start(spec, start, data.bands, settled_extras(spec, arguments, camera))
    task = PairTask(
        built.spec, built.module, data, recipe, split=split, arguments=built.arguments, start=built.start,
        init=built.init, freeze=frozen, pools=pools, cache=cache,
    )  # fmt: skip
    # the state of the code when training starts, not when it ends
    origin = {"command": command_line(), "provenance": collect(str(torch_device(None)))}
    with run_folder(folder):
        averaged = train(
            task, recipe, folder, resume=resume, minutes=minutes, notes=origin, workers=workers
        )
        if not PartialState().is_main_process:
            return  # under torchrun every process has the same weights: one of them writes
        RunDir(folder).update_record(**compare(task, averaged))
        _save(folder, task, averaged, recipe, origin)
    say_weights(folder / "weights")


def _require_queue_options_only() -> None:
    """UsageError that names the options of a single training, which a queue would ignore."""
    names = {str(parameter.name) for parameter in click.get_current_context().command.params}
    given = options.given(names - {"queue", "only", "out"})
    options.forbid(given, f"Jobs of a queue set their own options: omit {given}")


def _run_queue(file: Path, runs: Path, only: tuple[str, ...]) -> None:
    """Run a queue and print the state of its jobs; exit code 1 if one is not finished."""
    from hsrzoo.cli.output import print_table, say
    from hsrzoo.training.queue import read_queue, run_queue

    jobs = read_queue(file, runs)
    states = run_queue(jobs, runs, only=only, say=say)
    known = [(job, states[job.name]) for job in jobs if job.name in states]
    rows = [
        {
            "job": job.name,
            "commands": f"{state.done} of {len(job.commands)}",
            "minutes": round(sum(state.seconds) / 60, 1),
            "failed": state.failed or "",
        }
        for job, state in known
    ]
    print_table(rows, ["job", "commands", "minutes", "failed"])
    if any(state.done < len(job.commands) for job, state in known):
        click.get_current_context().exit(1)


def _recipe(spec: ModelSpec, name: str | None) -> Recipe:
    """The model's recipe of this name (default: common)."""
    from hsrzoo.training.recipe import recipes_of

    recipes = recipes_of(spec)
    if (name or "common") not in recipes:
        raise unknown_name(f"recipe of {spec.name}", str(name), list(recipes))
    return recipes[name or "common"]


@dataclass(frozen=True)
class _Built:
    """The network that is trained, and the records of what it starts from."""

    spec: ModelSpec
    module: nn.Module
    arguments: Mapping[str, Any]
    start: Mapping[str, Any] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)


def _from_weights(
    spec: ModelSpec, name: str, bands: BandSet, arguments: Mapping[str, Any], recipe: Recipe,
    camera: Camera | None,
) -> _Built:  # fmt: skip
    """The network with trained weights; says which layers do not take part."""
    from hsrzoo.cli.output import say
    from hsrzoo.training.init import build_from, read_init

    init = read_init(name, spec, arguments, recipe, camera)
    module, fresh = build_from(init, bands)
    say(f"Weights of {init.name} are fine-tuned")
    record = dict(init.record)
    if fresh:
        shown = ", ".join(fresh[:5]) + (f" and {len(fresh) - 5} more" if len(fresh) > 5 else "")
        say(f"Initialised anew, for {len(bands)} bands in place of {len(init.bands)}: {shown}")
        record["reinitialised"] = fresh
    return _Built(init.spec, module, init.arguments, init.codebook, record)


def _from_start(spec: ModelSpec, path: Path | None, bands: BandSet, arguments: Mapping[str, Any]) -> _Built:
    """The network with new weights, and those of ``path``."""
    start = _start(spec, path, bands, {**spec.arguments, **arguments})
    merged = {**spec.arguments, **(start.arguments if start else {}), **arguments}
    module = _build(spec, bands, merged, start)
    return _Built(spec, module, merged, dict(start.record) if start else {})


def _start(
    spec: ModelSpec, path: Path | None, bands: BandSet, arguments: Mapping[str, Any]
) -> Start | None:
    """What training starts from, read from a folder."""
    from hsrzoo.hub.client import origin_of
    from hsrzoo.models.locate import resolve_folder
    from hsrzoo.spec import resolve

    if path is None:
        return None
    if spec.start is None:
        raise TrainingError(f"{spec.name} cannot start from other weights", fix="Omit --start")
    folder = resolve_folder(path)
    start: Start = resolve(spec.start)(folder, bands, arguments)
    origin = origin_of(folder)
    return replace(start, record={**start.record, "repository": origin}) if origin else start


def _build(spec: ModelSpec, bands: BandSet, arguments: Mapping[str, Any], start: Start | None) -> nn.Module:
    """The module with new weights, then with the tensors of ``start``, all of which must fit."""
    import torch

    from hsrzoo.models.building import build_as_asked

    module = build_as_asked(spec, bands, arguments)
    state = module.state_dict()
    for name, value in (start.state if start else {}).items():
        own = state.get(name)
        if own is None or own.shape != value.shape:
            raise TrainingError(
                f"The start does not fit {spec.name}",
                expected="names of its tensors" if own is None else f"{name} of shape {tuple(own.shape)}",
                got=f"{name} of shape {tuple(value.shape)}",
                fix="Build the network with the widths of the start, or make the start again",
            )
        with torch.no_grad():
            own.copy_(value)
    return module


def _save(
    folder: Path, task: PairTask, module: nn.Module, recipe: Recipe, origin: Mapping[str, Any]
) -> None:
    """Write the averaged weights with the record of how they were made."""
    from hsrzoo.models.weights import save_folder

    run = json.loads((folder / "record.json").read_text())
    about = {key: value for key, value in task.record().items() if key not in ("model", "arguments")}
    trained_by = {**asdict(recipe), "steps": run["steps"]}
    training = {**about, **run, "recipe": trained_by, "seed": recipe.seed, **origin}
    save_folder(
        folder / "weights", module, task.spec, task.dataset.bands,
        arguments=task.arguments, training=training, codebook=task.start or None,
    )  # fmt: skip
