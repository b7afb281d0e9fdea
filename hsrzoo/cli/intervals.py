"""``hsrzoo calibrate intervals``: how far a model may be off becomes a file beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import DATASET, MODEL
from hsrzoo.cli.output import print_table, say, steps

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor
    from hsrzoo.uncertainty.intervals import Intervals

SECOND = "pixel-mlp"
"""Default second model, where it is installed."""


class Folds(click.ParamType):
    """``0,1,2``: numbers of folds."""

    name = "folds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        found = [part.strip() for part in value.split(",")]
        if not all(part.isdigit() for part in found) or len(set(found)) < len(found):
            self.fail(f"{value!r} are no folds: write 0,1,2", param, ctx)
        return tuple(map(int, found))


@click.command("intervals")
@click.argument("name", type=MODEL)
@click.option("--dataset", type=DATASET, required=True, help="Data set that NAME was trained on.")
@click.option(
    "--fold-models", "pattern", metavar="PATTERN",
    help="Folders of weights trained without each fold, with {fold} for its number "
    "[models that `hsrzoo fit` makes are fitted].",
)  # fmt: skip
@click.option("--folds", type=Folds(), metavar="N,N,...", help="Folds to use [all five].")
@click.option("--split", help="A split that NAME was not trained on, instead of folds.")
@click.option("--second", metavar="ARCH|none", help=f"Model of single pixels to compare with [{SECOND}].")
@click.option(
    "-o", "--out", type=options.PATH,
    help="File [uncertainty.safetensors beside the weights of local-dir:PATH].",
)  # fmt: skip
@options.threads
@options.data_options
@options.data_root
@options.as_json
def command(
    name: str, dataset: str, pattern: str | None, folds: tuple[int, ...] | None, split: str | None,
    second: str | None, out: Path | None, threads: int | None, data_options: dict[str, str],
    data_root: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Calibrate the prediction intervals of the model NAME.

    The errors on scenes that a model was not trained on decide how wide intervals are: those of a split of
    its own (--split valid), or of the five folds of the training scenes, each by weights that were trained
    without it (--fold-models). Intervals of 90 % need 9 scenes, of 95 % need 19.

    The file belongs beside the weights: `predict --interval` and hsrzoo.load read it there, and `push`
    sends it with them. To continue an interrupted run, run the same command again. The table shows every
    scene as the calibration on all others covers it.
    """
    if split is not None:
        options.forbid(pattern or folds, "--split excludes --fold-models and --folds")
    from hsrzoo.datasets import open_dataset
    from hsrzoo.models.loading import load
    from hsrzoo.uncertainty.calibrate import calibrate, kept_scenes
    from hsrzoo.uncertainty.conformal import LEVELS, percent, smallest_count
    from hsrzoo.uncertainty.file import SCHEMA, save_intervals
    from hsrzoo.uncertainty.folds import cross_validation, pattern_record, split_fold, training_split
    from hsrzoo.utils.locks import hold
    from hsrzoo.utils.threads import set_threads

    set_threads(threads)
    model = load(name, device="cpu")
    path = out or _beside(model)
    data = open_dataset(dataset, data_root, **data_options)
    training = training_split(model, data)
    chosen = split_fold(model, data, split) if split else cross_validation(model, data, pattern, folds)
    other = _second(second, model)
    kept = path.with_name(path.name + ".part")
    identity = {
        "model": model.identity, "dataset": data.fingerprint(), "pattern": pattern, "second": other,
        "folds": [fold.name for fold in chosen], "schema": SCHEMA,
    }  # fmt: skip
    count = sum(len(data.scenes(fold.scenes[0])) for fold in chosen)
    with hold(path), steps("scenes", count) as advance, kept_scenes(kept, identity):
        found = calibrate(data, chosen, training, other, kept, advance)
        about = {
            "model": model.name, "weights_sha256": model.weights_sha256,
            "arguments": dict(model.config["arguments"]), "fold_models": pattern_record(pattern),
        }  # fmt: skip
        save_intervals(path, found.with_record(about))
    _report(found, as_json)
    say(f"Calibration of {model.name} on {count} scenes: {path}")
    for level in LEVELS:
        if smallest_count(level) > count:
            say(f"Intervals of {percent(level)} need {smallest_count(level)} scenes or more")


def _beside(model: Reconstructor) -> Path:
    from hsrzoo.errors import InputError
    from hsrzoo.models.names import parse_name
    from hsrzoo.utils.files import UNCERTAINTY

    name = parse_name(model.name)
    if name.kind != "local-dir" or name.path is None or name.variant is not None:
        raise InputError(
            f"The calibration of {model.name} needs a place",
            expected="weights in a folder, local-dir:PATH",
            fix=f"Give a file by --out: intervals are read from {UNCERTAINTY} in the folder of the weights",
        )
    return name.path / UNCERTAINTY


def _second(asked: str | None, model: Reconstructor) -> str | None:
    """The architecture of the second model: none for itself, nor by default where it is not installed."""
    from hsrzoo.registry import MODELS

    if asked == "none":
        return None
    if asked is None:
        return SECOND if SECOND in MODELS and model.spec.name != SECOND else None
    return MODELS.get(asked).name


def _report(found: Intervals, as_json: bool) -> None:
    """Coverage of every scene, and lines that sum it up."""
    from hsrzoo.uncertainty.conformal import percent

    left_out = found.about["left_out"]
    rows = []
    for i, scene in enumerate(found.about["scenes"]):
        row: dict[str, Any] = {"scene": scene}
        for level, of_scenes in left_out.items():
            row |= {f"coverage {level}": of_scenes["coverage"][i], f"width {level}": of_scenes["width"][i]}
        rows.append(row)
    columns = {"scene": "scene"}
    for level in left_out:
        columns |= {
            f"coverage {level}": f"covered by {percent(float(level))}",
            f"width {level}": "mean width",
        }
    print_table(rows, columns, as_json=as_json)
    for level, of_scenes in left_out.items():
        covered, widths = of_scenes["coverage"], of_scenes["width"]
        mean, width = sum(covered) / len(covered), sum(widths) / len(widths)
        say(
            f"{percent(float(level))} intervals cover {100 * mean:.1f} % of the values, "
            f"{100 * min(covered):.1f} % of the worst scene; mean width {width:.4f}"
        )


__all__ = ["command"]
