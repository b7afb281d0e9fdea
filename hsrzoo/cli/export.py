"""``hsrzoo export``: a network as a file that runs elsewhere, checked against torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli import options
from hsrzoo.cli.names import MODEL
from hsrzoo.cli.output import print_table, say, to_json

if TYPE_CHECKING:
    import numpy as np

    from hsrzoo.export.check import Predictor
    from hsrzoo.models.reconstructor import Reconstructor

_COLUMNS = {
    "size": "image",
    "output": "output",
    "largest": "largest difference",
    "rms": "root mean square",
    "share": "pixels off by 1e-4",
}
_SUFFIX_OF = {"onnx": ".onnx", "torch-export": ".pt2"}


@click.command("export")
@click.argument("name", type=MODEL)
@click.option(
    "--format", "form", type=click.Choice(list(_SUFFIX_OF)), default="onnx", show_default=True,
    help="ONNX, or a torch.export program (.pt2).",
)  # fmt: skip
@click.option("-o", "--out", type=options.PATH, help="The file [NAME.onnx or NAME.pt2].")
@click.option("--opset", type=int, help="ONNX operator set [20].")
@click.option(
    "--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True,
    help="Of weights and features; distances to codes and statistics stay in fp32.",
)  # fmt: skip
@click.option("--calibrate", metavar="DATASET", help="Data set for measuring the ranges of int8.")
@click.option("--split", default="train", show_default=True, help="Its split.")
@click.option("--scenes", type=int, default=8, show_default=True, help="How many of its scenes.")
@click.option(
    "--intervals", is_flag=True,
    help="Also give the scale of errors and the map of unfamiliar pixels (ONNX in fp32 of calibrated "
    "models): predict --interval.",
)  # fmt: skip
@click.option(
    "--check/--no-check", default=True, show_default=True, help="Compare with torch on five images."
)
@click.option("--score", metavar="DATASET", help="Also score both on this data set (test or valid split).")
@options.data_root
@options.threads
@options.as_json
def command(
    name: str, form: str, out: Path | None, opset: int | None, precision: str, calibrate: str | None,
    split: str, scenes: int, intervals: bool, check: bool, score: str | None, data_root: Path | None,
    threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Export a trained network to a file for other machines, and check the file.

    The file takes RGB (1, 3, H, W) float32 in [0, 1], H and W multiples of the network's own, and returns
    (1, C, H, W) float32, with --intervals also a scale of errors (1, C, H, W) and a map (1, H, W).
    `python -m hsrzoo.models.onnx_runtime` runs an ONNX file without torch, `hsrzoo predict --model
    onnx:FILE` with it, both on whole images. Exit code 1 if its results differ from the network's; the
    file is then kept as NAME.failed.onnx.
    """

    import hsrzoo
    from hsrzoo.datasets import open_dataset
    from hsrzoo.export import Calibration, ExportError, export_onnx
    from hsrzoo.export.check import examples
    from hsrzoo.export.pending import failed_name, pending
    from hsrzoo.export.program import MULTIPLES, save_program
    from hsrzoo.utils.threads import set_threads

    if form != "onnx" and (opset is not None or precision != "fp32" or intervals):
        raise click.UsageError("--opset, --precision and --intervals belong to --format onnx")
    if (precision == "int8") != (calibrate is not None):
        raise click.UsageError("--precision int8 and --calibrate DATASET go together")
    if out is not None and out.suffix.lower() != _SUFFIX_OF[form]:
        raise click.UsageError(f"--format {form} does not fit --out {out}: name it *{_SUFFIX_OF[form]}")
    if calibrate is None:
        options.forbid_without("--calibrate", ("split", "scenes"))
    set_threads(threads)
    model = hsrzoo.load(name, device="cpu")
    path = out or _default(model.name, precision, form)
    report: dict[str, Any] = {"file": str(path)}
    made: Predictor
    images: list[np.ndarray] | None
    try:
        with pending(path) as file:
            if form == "onnx":
                calibration = (
                    Calibration(open_dataset(calibrate, data_root), split, scenes) if calibrate else None
                )
                made, images = export_onnx(
                    model,
                    file,
                    opset=opset,
                    precision=precision,
                    calibration=calibration,
                    intervals=intervals,
                )
                facts = {"format": form, "opset": made.opset, "precision": precision}
                facts |= {"intervals": sorted(made.factors)} if intervals else {}
            else:
                made, images = save_program(model, file), examples(model.spec.input, MULTIPLES)
                facts = {"format": form, "precision": precision}
            report |= {"bytes": file.stat().st_size, **facts}
            if check:
                _compare(model, made, images, precision, report, as_json)
            if score:
                _score(model, made, (score, data_root), precision, report, as_json)
    except ExportError:
        report["file"] = str(failed_name(path))
        raise
    finally:
        if as_json and "bytes" in report:
            click.echo(to_json(report))
    kind = f"ONNX opset {report['opset']}, {precision}" if form == "onnx" else "torch.export"
    say(f"{path}: {model.name}, {kind}, {report['bytes'] / 2**20:.2f} MiB")


def _default(name: str, precision: str, form: str) -> Path:
    stem = name.rpartition("/")[2].replace(":", "-")
    return Path(stem + ("" if precision == "fp32" else f".{precision}") + _SUFFIX_OF[form])


def _compare(
    model: Reconstructor, made: Predictor, images: list[np.ndarray] | None, precision: str,
    report: dict[str, Any], as_json: bool,
) -> None:  # fmt: skip
    """Print the differences on ``images`` (None: any); ExportError if they are too large."""
    from hsrzoo.export.check import TOLERANCE, compare, require_equal, rows

    found = compare(model, made, images)
    report["differences"] = rows(found)
    report["tolerance"] = TOLERANCE[precision]
    if not as_json:
        title = f"Against torch (root mean square of at most {TOLERANCE[precision]:g} allowed)"
        print_table(report["differences"], _COLUMNS, title=title)
    require_equal(found, precision)


def _score(
    model: Reconstructor, made: Predictor, where: tuple[str, Path | None], precision: str,
    report: dict[str, Any], as_json: bool,
) -> None:  # fmt: skip
    """Print the metrics of both on a data set; ExportError if fp32 changes them."""
    from hsrzoo.datasets import open_dataset
    from hsrzoo.export.check import METRICS, require_same_score, scores
    from hsrzoo.registry import DATASETS

    name, dataset = where[0], open_dataset(*where)
    splits = dataset.splits()
    split = next((s for s in ("test", "valid") if s in splits), splits[-1])
    before, after = scores([model, made], dataset, split, DATASETS.get(name).mrae_epsilon)
    found = [
        {"model": model.name, **before},
        {"model": f"exported, {precision}", **after},
        {"model": "difference", **{key: after[key] - before[key] for key in METRICS}},
    ]
    report["scores"] = {"dataset": name, "split": split, "rows": found}
    if not as_json:
        print_table(found, ["model", *METRICS], title=f"On {name}, {split}")
    require_same_score(before["rmse"], after["rmse"], precision)
