"""``hsrzoo check``: the contract test on one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hsrzoo.cli import options, output
from hsrzoo.cli.names import MODEL

if TYPE_CHECKING:
    from hsrzoo.contract.checks import Result
    from hsrzoo.spec import ModelSpec

FAILED = 1
SIDE = 1024
"""Side of the test image of --tiles, in pixels."""


@click.command("check")
@click.argument("name", type=MODEL)
@options.as_json
@click.option(
    "--tiles", type=click.IntRange(min=1), metavar="N",
    help="Instead: compare a large image run whole and in tiles of N pixels.",
)  # fmt: skip
@click.option("--size", type=click.IntRange(min=1), help=f"Its side in pixels, with --tiles [{SIDE}].")
@click.pass_context
def command(ctx: click.Context, name: str, as_json: bool, tiles: int | None, size: int | None) -> None:
    """Run the contract test on a model.

    NAME is an architecture; its weights are random, or fitted to synthetic scenes. For a model of your
    own use `hsrzoo --plugin FILE check NAME`. The first failure is repeated at the end, because later
    ones may follow from it. --tiles uses trained weights if there are any, and NAME may name them. Exit
    code 1 if a check fails.
    """
    if tiles is not None:
        ctx.exit(_check_seams(name, tiles, size or SIDE, as_json))
    options.forbid(size is not None, "--size belongs to --tiles")
    import traceback

    from hsrzoo.cli.errors import one_paragraph
    from hsrzoo.registry import MODELS

    results = _run(MODELS.get(name))
    rows = [
        {"check": r.check, "result": "ok" if r.passed else "FAILED", "what": one_paragraph(r.text)}
        for r in results
    ]
    output.print_table(rows, {"check": "check", "result": "result", "what": name}, as_json=as_json)
    failed = [r for r in results if not r.passed]
    if ctx.find_root().params.get("debug"):
        for result in failed:
            traceback.print_exception(result.error)
    if failed:
        output.say(f"First failure: {failed[0].check}: {one_paragraph(failed[0].text)}", style="red")
        ctx.exit(FAILED)


def _run(spec: ModelSpec) -> list[Result]:
    """All checks under a progress bar."""
    from hsrzoo.contract.checks import CHECKS, run_all

    results = []
    with output.progress() as bar:
        task = bar.add_task(spec.name, total=len(CHECKS))
        for result in run_all(spec):
            results.append(result)
            bar.update(task, advance=1, description=f"{spec.name}: {result.check} done")
    return results


def _check_seams(name: str, tile: int, size: int, as_json: bool) -> int:
    """Print how a large image in tiles differs from the same one run whole; the exit code."""
    from pathlib import Path

    import torch

    from hsrzoo.contract.checks import TOLERANCE
    from hsrzoo.errors import InputError, WeightsError
    from hsrzoo.models.loading import load
    from hsrzoo.models.tiling.choice import check_execution, cut_for
    from hsrzoo.models.tiling.seams import VISIBLE, compare, smooth_image
    from hsrzoo.spec import Execution

    try:
        model = load(name)
    except WeightsError:
        torch.manual_seed(0)
        model = load(name, weights=None)
    check_execution(Execution(tile=tile), model.spec.input, name)
    if cut_for(model, (size, size), tile).whole:
        raise InputError(
            "One tile holds the whole image, so there is nothing to compare",
            expected=f"tiles of fewer than {size} pixels",
            got=tile,
            fix="Lower --tiles, or raise --size",
        )
    seams = compare(model, smooth_image(size, size), tile, Path.cwd())
    passed = seams.relative <= TOLERANCE
    row = {
        "model": model.name if model.weights_sha256 else f"{model.name} (random weights)",
        "pixels": f"{size} x {size}",
        "tiles": len(seams.grid.tiles),
        "tile": "{} x {}".format(*seams.grid.step),
        "halo": seams.grid.halo,
        "passes": seams.passes,
        "largest difference": seams.largest,
        "RMSE": seams.rmse,
        f"pixels off by {VISIBLE:g}": seams.share,
        "relative": seams.relative,
        "whole s": seams.seconds[0],
        "tiles s": seams.seconds[1],
        "whole CPU s": seams.cpu_seconds[0],
        "tiles CPU s": seams.cpu_seconds[1],
        "CPU ratio": seams.cpu_seconds[1] / max(seams.cpu_seconds[0], 1e-9),
        "result": "ok" if passed else "FAILED",
    }
    output.print_table([row], list(row), as_json=as_json)
    return 0 if passed else FAILED
