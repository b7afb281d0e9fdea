"""``hsrzoo bench`` and ``hsrzoo compare``. torch and the models are imported when a command runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli import options as shared
from hsrzoo.cli.names import CAMERA, DATASET, METRIC_LIST, MODEL, benches
from hsrzoo.errors import unknown_name

if TYPE_CHECKING:
    from hsrzoo_benchmark.plan.options import Options

BENCHES = ("accuracy", "mixed-patch", "brightness", "noise", "jpeg", "camera", "metamer")
SPEED = "speed"

_SMALLEST = (256, 256)
"""The one size of ``--bench all``: large ones of every network take hours on a CPU."""
_CROP = (64, 64)
"""The one size of ``--random-weights``."""


def _parse_size(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[tuple[int, int]]:
    """``512`` or ``482x512`` (height x width) as pixels."""
    sizes = []
    for text in values:
        parts = text.lower().split("x")
        if len(parts) > 2 or not all(part.isdigit() and int(part) for part in parts):
            raise click.BadParameter(f"{text!r} is not a size such as 512 or 482x512")
        sizes.append((int(parts[0]), int(parts[-1])))
    return sizes


def _parse_benches(context: click.Context, _: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Benchmarks of our own, or registered perturbations at their default severities, each once; ``all``
    becomes the names that it stands for."""
    with_speed = (SPEED,) if context.info_name == "bench" else ()
    own = [*BENCHES, *with_speed, "all"]
    for name in names:
        if name not in own:
            from hsrzoo.registry import PERTURBATIONS

            if name not in PERTURBATIONS:
                raise unknown_name("benchmark", name, {*own, *PERTURBATIONS.names()})
    found = ((*BENCHES, *with_speed) if name == "all" else (name,) for name in names)
    return tuple(dict.fromkeys(chain.from_iterable(found)))


_SHARED = [
    click.option("--split", help="Split of the data set [test, else valid]."),
    click.option("--protocol", "protocols", multiple=True, metavar="NAME",
                 help="Named protocol, repeatable [all of the data set's]."),
    click.option("--metrics", type=METRIC_LIST, metavar="A,B",
                 help="Metrics, separated by commas [all of our own]."),
    click.option("--tta", is_flag=True, help="Also with test-time adaptation (brightness: always)."),
    click.option("--seed", "seeds", type=int, multiple=True, default=(0,), show_default=True,
                 help="Seed of the perturbations; several are averaged before scenes are resampled."),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first N scenes."),
    click.option("--resample", is_flag=True,
                 help="Where bands differ, resample the model's output to the data's bands and leave "
                 "out those it does not reach; part of the protocol."),
    shared.data_root,
    shared.data_options,
    shared.store("Folder of the results; what is there is not computed again."),
    click.option("--device", help="torch device [the GPU if there is one]."),
    shared.threads,
    shared.json_or_csv,
    shared.workers,
]  # fmt: skip


def _shared(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SHARED):
        function = option(function)
    return function


@click.command("bench")
@click.option("--model", "models", type=MODEL, multiple=True, required=True, metavar="[TITLE=]NAME",
              help="Model, repeatable; or a quoted shell pattern such as '*', 'mcga-*' or '*.cave'. A "
              "title is what tables and rows call it: "
              "table-4.k-64=local-dir:runs/k-64/weights.")  # fmt: skip
@click.option("--dataset", type=DATASET, help="Data set to score (speed needs none).")
@click.option("--bench", "kinds", type=benches(*BENCHES, SPEED, "all"), callback=_parse_benches,
              multiple=True, default=("accuracy",), show_default=True, metavar="NAME",
              help=f"{', '.join(BENCHES)}, speed, all of these, or any other perturbation; "
              "repeatable.")  # fmt: skip
@_shared
@click.option("--precision", "precisions", type=click.Choice(["fp32", "bf16", "fp16"]), multiple=True,
              default=("fp32",), show_default=True,
              help="Precision of the networks, repeatable: each model runs in each.")  # fmt: skip
@click.option("--runtime", "runtimes", type=click.Choice(["torch", "onnx"]), multiple=True,
              default=("torch",), show_default=True,
              help="What runs them, repeatable: each model in each (onnx: exported first).")  # fmt: skip
@click.option("--compile", is_flag=True, help="Compile the networks with torch.compile.")
@click.option("--tile", type=click.IntRange(min=1), metavar="N",
              help="Run them on tiles of N x N pixels.")  # fmt: skip
@click.option("--consistency", type=CAMERA, metavar="CAMERA",
              help="Camera that took the images, or estimate: cubes then agree with them.")  # fmt: skip
@click.option("--reference", "references", type=MODEL, multiple=True, metavar="NAME",
              help="Speed: model of the ratios, repeatable, the main one first: a full name, ARCH:VARIANT, "
              "or ARCH for the one without a variant [mst-plus-plus:reference and mst-plus-plus, else the "
              "first].")  # fmt: skip
@click.option("--size", "sizes", multiple=True, callback=_parse_size, metavar="HxW",
              help="Speed: image size, repeatable [256, 512, 1024, 482x512; with --bench all "
              "256 alone].")  # fmt: skip
@click.option("--speed-seconds", type=click.FloatRange(min=0), default=30.0, show_default=True,
              help="Speed: time a cell may take, at least 3 runs, or one of a minute.")  # fmt: skip
@click.option("--memory-limit", type=click.FloatRange(min=0, min_open=True), metavar="GIB",
              help="Speed: memory of a cell's process; what needs more is OOM.")  # fmt: skip
@click.option("--random-weights", is_flag=True,
              help="Smoke test: all networks with random weights on one crop of 64 x 64 pixels; counts "
              "rows, shows no scores, keeps nothing.")  # fmt: skip
@click.pass_context
def bench(
    context: click.Context, models: tuple[str, ...], dataset: str | None, kinds: tuple[str, ...],
    **values: Any,
) -> None:  # fmt: skip
    """Score models on a data set and print a table with intervals and ranks.

    Rows are appended to --store scene by scene: after an interruption the same command computes what is
    missing. Exits with 1 if a scene failed, or a model that a pattern matches.

    A network without trained weights is only timed, with random ones, and marked untrained; a line says
    what it was left out of, as for models of other bands than the data's.

    Speed is always measured in this process, also with --workers or --ray. Stored times are reused if all
    models were timed in one run with the same hsrzoo and torch versions, device, threads,
    --memory-limit, --speed-seconds and HSRZOO_SEARCH; a note names the commit if it differs.
    """
    benches = tuple(kind for kind in kinds if kind != SPEED)
    if not benches and (values["worker_count"] is not None or values["ray_address"] is not None):
        raise click.UsageError("--bench speed is measured in this process: leave out --workers and --ray")
    if benches and dataset is None:
        raise click.UsageError(f"--bench {benches[0]} needs --dataset")
    if SPEED not in kinds:
        shared.forbid_without("--bench speed", ("references", "sizes", "speed_seconds", "memory_limit"))
    if dataset is None:
        shared.forbid_without("--dataset", ("split", "protocols", "limit", "resample", "data_options"))
    if values["random_weights"]:
        tagged = [name for name in models if "." in name and not {":", "="} & set(name)]
        if tagged:
            raise click.UsageError(f"--random-weights takes architectures, without .TAG: not {tagged[0]}")
        if dataset is None:
            raise click.UsageError("--random-weights needs --dataset for its crop")
        if values["worker_count"] is not None or values["ray_address"] is not None:
            raise click.UsageError("--random-weights runs in this process: leave out --workers and --ray")
        values |= {"sizes": values["sizes"] or [_CROP], "speed_seconds": 0.0}
    elif {*BENCHES, SPEED} <= set(kinds):
        values["sizes"] = values["sizes"] or [_SMALLEST]
    # Imported here, because these import numpy, rich and, with the models, torch.
    from hsrzoo_benchmark.plan.models import RunModes
    from hsrzoo_benchmark.session import run_bench
    from hsrzoo_benchmark.speed.timing import SIZES, SpeedOptions

    speed = SpeedOptions(
        references=values.pop("references"),
        sizes=tuple(values.pop("sizes")) or SIZES,
        speed_seconds=values.pop("speed_seconds"),
        memory_limit=values.pop("memory_limit"),
    )
    ways = RunModes(
        runtimes=tuple(dict.fromkeys(values.pop("runtimes"))),
        precisions=tuple(dict.fromkeys(values.pop("precisions"))),
        compile=values.pop("compile"),
        tile=values.pop("tile"),
        consistency=values.pop("consistency"),
    )
    options = _options(models, dataset, benches, {**values, "ways": ways})
    context.exit(run_bench(options, speed if SPEED in kinds else None))


@click.command("compare")
@click.argument("a", type=MODEL)
@click.argument("b", type=MODEL)
@click.option("--dataset", type=DATASET, required=True, help="Data set to score.")
@click.option("--bench", "benches", type=benches(*BENCHES, "all"), callback=_parse_benches,
              multiple=True, default=("accuracy",), show_default=True, metavar="NAME",
              help=f"{', '.join(BENCHES)}, all of these, or any other perturbation; "
              "repeatable.")  # fmt: skip
@_shared
@click.pass_context
def compare(
    context: click.Context, a: str, b: str, dataset: str, benches: tuple[str, ...], **values: Any
) -> None:
    """Compare two models scene by scene: differences, intervals, verdicts.

    A and B are NAME or TITLE=NAME. Scores that the store lacks are computed first. With --tta both run
    with test-time adaptation.
    """
    if a == b:
        raise click.UsageError("A and B are the same model")
    options = _options((a, b), dataset, benches, values)
    from hsrzoo_benchmark.session import run_compare  # imports numpy, rich and, with the models, torch

    context.exit(run_compare(options))


def _options(
    models: tuple[str, ...], dataset: str | None, benches: tuple[str, ...], values: dict[str, Any]
) -> Options:
    """The shared options as one value."""
    from hsrzoo_benchmark.plan.options import Options
    from hsrzoo_benchmark.protocol import DEFAULT_METRICS

    names = values.pop("metrics")
    where = values.pop("worker_count"), values.pop("ray_address")
    return Options(
        models=tuple(dict.fromkeys(models)),
        dataset=dataset,
        benches=benches,
        metrics=tuple(dict.fromkeys(names.split(","))) if names else DEFAULT_METRICS,
        workers=shared.choose_workers(*where, values["threads"], values["device"]),
        **{**values, "seeds": tuple(dict.fromkeys(values["seeds"]))},
    )
