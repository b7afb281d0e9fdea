"""``hsrzoo predict``: photographs and rasters become hyperspectral cubes in files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli.names import CAMERA, MODEL
from hsrzoo.cli.workers import chosen_workers, worker_options
from hsrzoo.io import SUFFIX_OF

if TYPE_CHECKING:
    from hsrzoo.many import Job
    from hsrzoo.prediction import PredictOptions, PredictReport, Progress, Step
    from hsrzoo.reconstructor import Reconstructor
    from hsrzoo.workers import Workers

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


class Bytes(click.ParamType):
    """``4GiB``, ``512M``, ``1000000``: a decimal number without an exponent; units are powers of 1024, and
    without one it is bytes."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        found = _SIZE.fullmatch(value.strip())
        if not found or float(found[1]) <= 0:
            self.fail(f"{value!r} is not a size: write 4GiB, 512MiB or a number of bytes", param, ctx)
        return float(found[1]) * _UNITS[found[2].upper()]


@click.command("predict")
@click.argument("image", nargs=-1, required=True)
@click.option("--model", type=MODEL, required=True, help="Name of the model, as in `hsrzoo list`.")
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path),
    help="Cube file: .hdr (ENVI), .tif, .zarr are written part by part; .h5, .mat, .npz at once. "
    "For several images a folder.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(list(SUFFIX_OF)),
    help="Of the files in the folder --out [envi].",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Make cubes anew that the folder --out has already.")
@worker_options
@click.option("--tile", type=int, metavar="N", help="Side of the tiles in pixels [whole if it fits].")
@click.option(
    "--max-memory", type=Bytes(), metavar="SIZE", help="Memory to stay below, e.g. 4GiB; each worker."
)
@click.option("--approximate-tiles", is_flag=True, help="Each tile has statistics of its own: one pass.")
@click.option(
    "--dtype", type=click.Choice(["float32", "uint16"]), default="float32", show_default=True,
    help="uint16: values in [0, 1] times 65535, the factor in the file.",
)  # fmt: skip
@click.option(
    "--value-range",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    help="Of the image, if its dtype does not say.",
)
@click.option("--device", help="cpu, cuda, ... [a GPU if there is one].")
@click.option("--threads", type=click.IntRange(min=1), help="Threads on the CPU.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", show_default=True)
@click.option("--consistency", type=CAMERA, metavar="CAMERA",
              help="Camera that took the image, or estimate: the cube agrees with it then.")  # fmt: skip
@click.option("--compile", "compiled", is_flag=True, help="Compile the network first.")
@click.pass_context
def command(
    context: click.Context, image: tuple[str, ...], model: str, out: Path,
    form: str | None, overwrite: bool,
    worker_count: int | None, ray_address: str | None, tile: int | None, max_memory: float | None,
    approximate_tiles: bool, dtype: str, value_range: tuple[float, float] | None, device: str | None,
    threads: int | None, precision: str, consistency: str | None, compiled: bool,
) -> None:  # fmt: skip
    """Reconstruct the hyperspectral cube of an image, or of many.

    IMAGE is a photograph, or a raster that stays on the disk: ENVI (.hdr, three bands), .npy, plain
    TIFF. Images of any size: what does not fit into memory runs in tiles, exactly as if it were whole.
    Folders and patterns ("*.png") stand for all their images; their cubes go into the folder --out,
    a broken image stops no other, and then the command exits with 1. Interrupted, the same command goes
    on where it stopped. --model onnx:FILE runs an exported file, on the whole image.
    """
    import torch

    from hsrzoo.loading import load
    from hsrzoo.prediction import PredictOptions

    jobs = _jobs(image, out, form)
    workers = chosen_workers(worker_count, ray_address, threads, device)
    if jobs is None and workers is not None:
        raise click.UsageError("--workers and --ray are for several images, whose --out is a folder")

    if threads is not None:
        torch.set_num_threads(threads)
    network = load(
        model,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # click has checked it
        compile=compiled,
        tile=tile,
        max_memory=max_memory,
        approximate=approximate_tiles,
        consistency=consistency,
    )
    options = PredictOptions(dtype=dtype, value_range=value_range)  # type: ignore[arg-type]
    with Bar() as bar:
        try:
            if jobs is None:
                _predict_one(Path(image[0]), out, network, options, bar)
            elif _predict_many(jobs, network, model, options, workers, overwrite, bar):
                context.exit(1)
        except KeyboardInterrupt:
            if _left(out, jobs):
                bar.say("What is done is kept: the same command goes on with it.")
            raise


def _jobs(names: tuple[str, ...], out: Path, form: str | None) -> list[Job] | None:
    """The images and their files in the folder ``out``; None: one image, and ``out`` is its file."""
    from hsrzoo.errors import InputError
    from hsrzoo.io import CUBE_SUFFIXES
    from hsrzoo.many import find_images, into_folder

    is_file = out.suffix.lower() in CUBE_SUFFIXES
    found = find_images(names)
    one = len(names) == 1 and [str(path) for path in found] == [str(Path(names[0]))]
    if one and form is None and (is_file or not out.is_dir()):
        return None
    if is_file or (out.exists() and not out.is_dir()):
        raise InputError(
            "Cubes of several images go into a folder",
            expected="a folder as --out, and the format by --format",
            got=out,
        )
    if any(Path(name).is_dir() and out.resolve() == Path(name).resolve() for name in names):
        raise InputError(
            f"The cubes in {out} would be taken for images next time", fix="Use another folder"
        )
    return into_folder(found, out, form or "envi")


def _left(out: Path, jobs: list[Job] | None) -> bool:
    """Whether an interrupted run has left cubes or parts of them."""
    from hsrzoo.io.stream import part_of

    if jobs is None:
        return part_of(out.with_suffix(".hdr") if out.suffix.lower() == ".img" else out).exists()
    return any(job.out.exists() or part_of(job.out).exists() for job in jobs)


def _predict_one(image: Path, out: Path, network: Reconstructor, options: PredictOptions, bar: Bar) -> None:
    from hsrzoo.prediction import predict_file

    bar.say(summary(predict_file(image, network, out, options, bar.show, bar.say)))


def _predict_many(
    jobs: list[Job],
    network: Reconstructor,
    name: str,
    options: PredictOptions,
    workers: Workers | None,
    overwrite: bool,
    bar: Bar,
) -> int:
    """Make all cubes that are not there; returns how many failed."""
    from hsrzoo.many import predict_many
    from hsrzoo.weights import make_folder
    from hsrzoo.workers import TaskFailure

    make_folder(jobs[0].out.parent)
    there = [] if overwrite else [job for job in jobs if job.out.exists()]
    if there:
        bar.say(f"{len(there)} cubes are there already and stay (--overwrite makes them anew)")
    left = [job for job in jobs if job not in there]
    failed = 0
    bar.count(len(left))
    for i, result in predict_many(left, network, name, options, workers, bar.part):
        bar.next()
        if isinstance(result, TaskFailure):
            failed += 1
            bar.say(f"Failed: {left[i].image}: {result.error}")
            continue
        for note in result.notes:
            bar.say(f"{left[i].image.name}: {note}")
        bar.say(summary(result.report))
    bar.say(f"{len(left) - failed} of {len(left)} images done, {failed} failed")
    return failed


class Bar:
    """A bar on stderr, over all tiles of all passes or over several images, and a way to say something
    beside it."""

    def __enter__(self) -> Bar:
        from hsrzoo.cli.output import progress

        self.bar = progress().__enter__()
        self.task = self.bar.add_task("", total=None)
        self.images = 0
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)

    def show(self, step: Step) -> None:
        """Move on."""
        self.bar.update(
            self.task,
            description=f"pass {step.current} of {step.passes}",
            total=step.passes * step.total,
            completed=(step.current - 1) * step.total + step.done,
        )

    def count(self, total: int) -> None:
        """There will be so many images."""
        self.bar.update(self.task, description="images", total=total)

    def part(self, image: int) -> Progress:
        """Show the tiles of an image as a part of one step."""

        def show(step: Step) -> None:
            done = (step.current - 1) * step.total + step.done
            self.bar.update(self.task, completed=image + done / (step.passes * step.total))

        return show

    def next(self) -> None:
        """One more image is done."""
        self.images += 1
        self.bar.update(self.task, completed=self.images)

    def say(self, text: str) -> None:
        """One line for the reader."""
        self.bar.console.print(text, markup=False, soft_wrap=not self.bar.console.is_terminal)


def summary(report: PredictReport) -> str:
    """What was done, in one line or two."""
    height, width = report.size
    how = "whole" if report.tiles == 1 else (
        f"{report.tiles} tiles of {report.tile[0]} x {report.tile[1]} pixels, {report.halo} around them"
    )  # fmt: skip
    passes = f"{report.passes} pass{'es' * (report.passes != 1)}"
    text = (
        f"{report.out}: {height} x {width} pixels, {report.bands} bands, {report.bytes / 1e6:,.1f} MB; "
        f"{how}, {passes}{' (some by an earlier run)' if report.resumed else ''}, {report.seconds:.1f} s"
    )
    return text + (f"\nApproximate tiles: {report.difference}" if report.difference else "")
