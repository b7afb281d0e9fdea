"""``hsrzoo export``: a network as a file that runs elsewhere, checked against torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli.names import MODEL

if TYPE_CHECKING:
    import numpy as np

    from hsrzoo.export.check import Predictor
    from hsrzoo.models.reconstructor import Reconstructor

_COLUMNS = {
    "size": "image",
    "largest": "largest difference",
    "rms": "root mean square",
    "share": "pixels off by 1e-4",
}


@click.command("export")
@click.argument("name", type=MODEL)
@click.option(
    "--format", "form", type=click.Choice(["onnx", "torch-export"]), default="onnx", show_default=True,
    help="ONNX, or a torch.export program (.pt2).",
)  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The file [NAME.onnx or NAME.pt2].")
@click.option("--opset", type=int, help="ONNX's operator set [20].")
@click.option(
    "--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True,
    help="Of weights and features; distances to codes and statistics stay in fp32.",
)  # fmt: skip
@click.option("--calibrate", metavar="DATASET", help="Data set on which int8's ranges are measured.")
@click.option("--split", default="train", show_default=True, help="Its split.")
@click.option("--scenes", type=int, default=8, show_default=True, help="How many of its scenes.")
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Compare with torch on five images.",
)
@click.option("--score", metavar="DATASET", help="Also score both on this data set (test or valid split).")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of all data sets.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads [torch's default].")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def command(
    name: str,
    form: str,
    out: Path | None,
    opset: int | None,
    precision: str,
    calibrate: str | None,
    split: str,
    scenes: int,
    check: bool,
    score: str | None,
    data_root: Path | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Write a trained network as a file for other machines, and check it.

    The file takes RGB (1, 3, H, W) float32 in [0, 1], H and W multiples of the network's own, and gives
    (1, C, H, W) float32. An ONNX file is run by `python -m hsrzoo.models.onnx_runtime`, without torch, and
    by `hsrzoo predict --model onnx:FILE`, on whole images. Exit code 1 if it gives other cubes than the
    network; it is then kept as NAME.failed.onnx.
    """
    import torch

    import hsrzoo
    from hsrzoo.cli.output import console, to_json
    from hsrzoo.export import ExportError
    from hsrzoo.export.pending import failed_name, pending

    if form != "onnx" and (opset is not None or precision != "fp32"):
        raise click.UsageError("--opset and --precision belong to --format onnx")
    if (precision == "int8") != (calibrate is not None):
        raise click.UsageError("--precision int8 and --calibrate DATASET go together")
    if threads is not None:
        torch.set_num_threads(threads)
    model = hsrzoo.load(name, device="cpu")
    path = out or _default(model.name, precision, form)
    report: dict[str, Any] = {"file": str(path)}
    try:
        with pending(path) as file:
            if form == "onnx":
                scenes_used = (calibrate, split, scenes)
                made, images, facts = _onnx(model, file, opset, precision, scenes_used, data_root)
            else:
                made, images, facts = _program(model, file)
            report |= {"bytes": file.stat().st_size, **facts}
            if check:
                _compare(model, made, images, precision, report, as_json)
            if score:
                _score(model, made, score, data_root, precision, report, as_json)
    except ExportError:
        report["file"] = str(failed_name(path))
        raise
    finally:
        if as_json and "bytes" in report:
            click.echo(to_json(report))
    size = report["bytes"] / 2**20
    console.print(f"{path}: {model.name}, {_kind(report)}, {size:.2f} MiB", markup=False)


def _default(name: str, precision: str, form: str) -> Path:
    stem = name.rpartition("/")[2].replace(":", "-")
    if form != "onnx":
        return Path(f"{stem}.pt2")
    return Path(f"{stem}.onnx" if precision == "fp32" else f"{stem}.{precision}.onnx")


def _kind(report: dict[str, Any]) -> str:
    if report["format"] == "onnx":
        return f"ONNX opset {report['opset']}, {report['precision']}"
    return "torch.export"


def _onnx(
    model: Reconstructor,
    path: Path,
    opset: int | None,
    precision: str,
    scenes: tuple[str | None, str, int],
    data_root: Path | None,
) -> tuple[Predictor, list[np.ndarray] | None, dict[str, Any]]:
    """The opened file, the images to judge it on (None: any) and what it is."""
    from hsrzoo.datasets import open_dataset
    from hsrzoo.export import Calibration, export_onnx

    dataset, split, count = scenes
    calibration = Calibration(open_dataset(dataset, data_root), split, count) if dataset else None
    made, crops = export_onnx(model, path, opset=opset, precision=precision, calibration=calibration)
    return made, crops, {"format": "onnx", "opset": made.opset, "precision": precision}


def _program(model: Reconstructor, path: Path) -> tuple[Predictor, list[np.ndarray], dict[str, Any]]:
    """As :func:`_onnx` for a torch.export program."""
    from hsrzoo.export.check import examples
    from hsrzoo.export.program import MULTIPLES, save_program

    made = save_program(model, path)
    images = examples(model.spec.input, MULTIPLES)
    return made, images, {"format": "torch-export", "precision": "fp32"}


def _compare(
    model: Reconstructor,
    made: Predictor,
    images: Sequence[np.ndarray] | None,
    precision: str,
    report: dict[str, Any],
    as_json: bool,
) -> None:
    """Print the differences; ExportError if they are too large."""
    from hsrzoo.cli.output import print_table
    from hsrzoo.export.check import TOLERANCE, compare, require_equal, rows

    found = compare(model, made, images)
    report["differences"] = rows(found)
    report["tolerance"] = TOLERANCE[precision]
    if not as_json:
        title = f"Against torch (root mean square of at most {TOLERANCE[precision]:g} allowed)"
        print_table(report["differences"], _COLUMNS, title=title)
    require_equal(found, precision)


def _score(
    model: Reconstructor,
    made: Predictor,
    name: str,
    data_root: Path | None,
    precision: str,
    report: dict[str, Any],
    as_json: bool,
) -> None:
    """Print the metrics of both on a data set; ExportError if fp32 changes them."""
    from hsrzoo.cli.output import print_table
    from hsrzoo.datasets import open_dataset
    from hsrzoo.export.check import METRICS, require_same_score, scores
    from hsrzoo.registry import DATASETS

    dataset = open_dataset(name, data_root)
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
