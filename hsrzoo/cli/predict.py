"""``hsrzoo predict``: photographs and rasters become hyperspectral cubes in files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli.names import CAMERA, MODEL
from hsrzoo.cli.predict_bar import Bar, summary
from hsrzoo.cli.workers import chosen_workers, worker_options
from hsrzoo.io import SUFFIX_OF

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor
    from hsrzoo.prediction.batch import Job
    from hsrzoo.prediction.predict import PredictOptions
    from hsrzoo.utils.workers import Workers

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


class Wavelengths(click.ParamType):
    """``450,550,650``: numbers above 0, in nm."""

    name = "wavelengths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(float(part) for part in value.split(","))
        except ValueError:
            found = ()
        if not found or not all(0 < nm < float("inf") for nm in found):
            self.fail(f"{value!r} are not wavelengths: write 450,550,650", param, ctx)
        return found


@click.command("predict")
@click.argument("image", nargs=-1, required=True)
@click.option("--model", type=MODEL, required=True, help="Name of the model, as in `hsrzoo list`.")
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path),
    help="Cube file: .hdr (ENVI), .tif, .zarr are written part by part; .h5, .mat, .npz at once. "
    "Any other name is a folder, which several images need.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(list(SUFFIX_OF)),
    help="Of the files in the folder --out [envi].",
)  # fmt: skip
@click.option("--linear", is_flag=True, help="Values are proportional to light.")
@click.option(
    "--srgb", is_flag=True,
    help="Values are sRGB, as phones and cameras write it: decoded first "
    "[sRGB where the file says so by profile or tag, else linear].",
)  # fmt: skip
@click.option("--tta", is_flag=True, help="Adapt the network to each image first (models that can).")
@click.option("--bands", type=Wavelengths(), metavar="NM,NM,...", help="Keep these bands alone, in nm.")
@click.option("--quicklook", is_flag=True, help="Beside each cube a picture in sRGB, NAME.png.")
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
    form: str | None, linear: bool, srgb: bool, tta: bool, bands: tuple[float, ...] | None, quicklook: bool,
    overwrite: bool, worker_count: int | None, ray_address: str | None, tile: int | None,
    max_memory: float | None, approximate_tiles: bool, dtype: str,
    value_range: tuple[float, float] | None, device: str | None, threads: int | None, precision: str,
    consistency: str | None, compiled: bool,
) -> None:  # fmt: skip
    """Reconstruct the hyperspectral cube of an image, or of many.

    IMAGE is a photograph, or a raster that stays on the disk: ENVI (.hdr, three bands), .npy, plain
    TIFF. Images of any size: what does not fit into memory runs in tiles, exactly as if it were whole.
    Folders and patterns ("*.png") stand for all their images; their cubes go into the folder --out,
    a broken image stops no other, and then the command exits with 1. Interrupted, the same command goes
    on where it stopped. --model onnx:FILE runs an exported file, on the whole image.

    Networks expect values proportional to light. What an image's values are taken for is said for each:
    sRGB where an ICC profile or a tag says so, else linear; --linear and --srgb decide it. --bands keeps
    the nearest bands, which must lie within half a band spacing.
    """
    import torch

    from hsrzoo.models.loading import load
    from hsrzoo.prediction.predict import PredictOptions

    if linear and srgb:
        raise click.UsageError("--linear and --srgb exclude each other")
    jobs, alone = _jobs(image, out, form)
    workers = chosen_workers(worker_count, ray_address, threads, device)
    if alone and workers is not None:
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
    options = PredictOptions(
        dtype=dtype,  # type: ignore[arg-type]  # click has checked it
        value_range=value_range,
        tta=tta,
        encoding="linear" if linear else "srgb" if srgb else "auto",
        bands=bands,
        quicklook=quicklook,
    )
    if bands is not None:
        network.bands.nearest(bands)  # what is wrong for one image is wrong for all
    with Bar() as bar, nullcontext() if jobs[0].out == out else _folder(jobs[0].out.parent):
        try:
            if alone:
                if jobs[0].out == out or _has_place(jobs[0].out, overwrite, bar):
                    _predict_one(jobs[0], network, options, bar)
            elif _predict_many(jobs, network, model, options, workers, overwrite, bar):
                context.exit(1)
        except KeyboardInterrupt:
            if _left(jobs):
                bar.say("What is done is kept: the same command goes on with it.")
            raise


def _jobs(names: tuple[str, ...], out: Path, form: str | None) -> tuple[list[Job], bool]:
    """The images and their cubes, and whether it is one image that was named itself.

    For one image ``out`` is a file if it ends as a cube does, or, without --format, in any other way that
    a folder does not (which will be refused).
    """
    from hsrzoo.errors import InputError
    from hsrzoo.io import CUBE_SUFFIXES
    from hsrzoo.prediction.batch import Job, find_images, into_folder

    is_file = out.suffix.lower() in CUBE_SUFFIXES
    found = find_images(names)
    alone = len(names) == 1 and [str(path) for path in found] == [str(Path(names[0]))]
    if alone and (is_file or (form is None and out.suffix and not out.is_dir())):
        _require_format(out, form)
        return [Job(found[0], out)], True
    if is_file:
        raise InputError(
            "Cubes of several images go into a folder",
            expected="a folder as --out, and the format by --format",
            got=out,
        )
    if any(Path(name).is_dir() and out.resolve() == Path(name).resolve() for name in names):
        raise InputError(
            f"The cubes in {out} would be taken for images next time", fix="Use another folder"
        )
    return into_folder(found, out, form or "envi"), alone


def _require_format(out: Path, form: str | None) -> None:
    """UsageError where --format names another format than the file's ending does."""
    from hsrzoo.io import format_of

    if form is not None and format_of(out) != form:
        raise click.UsageError(f"--format {form} does not fit --out {out}: leave one of them out")


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """``folder``, made where it is missing, and gone again where nothing was written into it."""
    from hsrzoo.utils.files import make_folder

    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        yield
    finally:
        for path in made:
            with suppress(OSError):  # there is something in it
                path.rmdir()


def _left(jobs: list[Job]) -> bool:
    """Whether an interrupted run has left cubes or parts of them."""
    from hsrzoo.io.stream import part_of

    parts = [part_of(j.out.with_suffix(".hdr") if j.out.suffix.lower() == ".img" else j.out) for j in jobs]
    return any(part.exists() for part in parts) or (len(jobs) > 1 and any(job.out.exists() for job in jobs))


def _predict_one(job: Job, network: Reconstructor, options: PredictOptions, bar: Bar) -> None:
    """One image, named itself: what is wrong with it ends the command."""
    from hsrzoo.prediction.caveats import word_on_trust
    from hsrzoo.prediction.predict import predict_file

    report = predict_file(job.image, network, job.out, options, bar.show, bar.say)
    bar.say(summary(report))
    bar.say(word_on_trust(network, report.camera))


def _has_place(out: Path, overwrite: bool, bar: Bar) -> bool:
    """False where the cube is there already and stays."""
    if out.exists() and not overwrite:
        bar.say(f"{out} is there already and stays (--overwrite makes it anew)")
        return False
    return True


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
    from hsrzoo.prediction.batch import predict_many
    from hsrzoo.prediction.caveats import word_on_trust
    from hsrzoo.utils.workers import TaskFailure

    there = [] if overwrite else [job for job in jobs if job.out.exists()]
    if there:
        bar.say(f"{len(there)} cubes are there already and stay (--overwrite makes them anew)")
    failed = _missing_pictures(there, bar) if options.quicklook else 0
    left = [job for job in jobs if job not in there]
    done, camera = 0, None
    bar.count(len(left))
    for i, result in predict_many(left, network, name, options, workers, bar.part):
        bar.next()
        if isinstance(result, TaskFailure):
            failed += 1
            bar.say(f"Failed: {left[i].image}: {result.error}")
            continue
        done, camera = done + 1, camera or result.report.camera
        for note in result.notes:
            bar.say(f"{left[i].image.name}: {note}")
        bar.say(summary(result.report))
    bar.say(f"{done} of {len(left)} images done, {failed} failed")
    if done:
        bar.say(word_on_trust(network, camera))
    return failed


def _missing_pictures(there: list[Job], bar: Bar) -> int:
    """Make the quick looks that cubes of earlier runs lack; returns how many failed."""
    from hsrzoo.errors import HsrzooError
    from hsrzoo.prediction.quicklook import quicklook_of, save_quicklook

    failed = 0
    for job in there:
        if quicklook_of(job.out).exists():
            continue
        try:
            bar.say(f"Quick look {save_quicklook(job.out)}")
        except HsrzooError as error:
            failed += 1
            bar.say(f"Failed: {job.out}: {error}")
    return failed
