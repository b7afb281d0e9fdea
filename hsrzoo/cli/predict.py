"""``hsrzoo predict``: photographs and rasters become hyperspectral cubes in files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from hsrzoo.cli import options, output
from hsrzoo.cli.names import CAMERA, MODEL, RESPONSE
from hsrzoo.io import SUFFIX_OF

if TYPE_CHECKING:
    from hsrzoo.io.photo import Encoding
    from hsrzoo.models.reconstruction import Level
    from hsrzoo.models.reconstructor import Reconstructor
    from hsrzoo.prediction.batch import Job
    from hsrzoo.prediction.predict import PredictOptions, PredictReport, Progress, Step
    from hsrzoo.utils.workers import Workers


class White(click.ParamType):
    """``x,y,width,height`` in pixels, or ``R,G,B``."""

    name = "white"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        found = options.numbers_of(value)
        area = len(found) == 4 and all(number % 1 == 0 for number in found) and min(found[2:]) >= 1
        if not all(0 <= number < 1e9 for number in found) or not (len(found) == 3 or area):
            self.fail(f"{value!r} is no white: write x,y,width,height in pixels, or R,G,B", param, ctx)
        return found


@click.command("predict")
@click.argument("image", nargs=-1, required=True)
@click.option(
    "--model", type=MODEL,
    help="Name of the model, as in `hsrzoo list` [the one that is recommended for photographs].",
)  # fmt: skip
@click.option(
    "-o", "--out", required=True, type=options.PATH,
    help="Cube file: .hdr (ENVI), .tif, .zarr are written in parts; .h5, .mat, .npz at once. "
    "Any other name is a folder, which several images need.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(list(SUFFIX_OF)), help="Of the files in the folder --out [envi]."
)
@click.option("--linear", is_flag=True, help="Values are proportional to light.")
@click.option(
    "--srgb", is_flag=True,
    help="Values are sRGB, as phones and cameras write it [by the file's profile or tags; "
    "else sRGB for 8 bits, linear for more].",
)  # fmt: skip
@click.option(
    "--camera", type=RESPONSE, metavar="CAMERA",
    help="Camera whose RGB linear values are, as in `hsrzoo cameras`, or the file of its response "
    "[the camera of the training pairs]; or a file of `hsrzoo calibrate`.",
)  # fmt: skip
@click.option(
    "--white", type=White(), metavar="X,Y,W,H|R,G,B",
    help="A white or grey area in pixels, or its colour as the file stores it: it becomes neutral.",
)  # fmt: skip
@click.option("--reflectance", is_flag=True, help="Divide the cube by the spectrum of the area --white.")
@click.option(
    "--interval", type=click.Choice(["50", "80", "90", "95", "metamer"]), metavar="PERCENT|metamer",
    help="Also write half the width of intervals that hold the truth with this probability: 50, 80, 90 or "
    "95; NAME.interval90.SUFFIX, and a map of unfamiliar pixels, NAME.unfamiliar.tif. metamer: the range "
    "of all spectra that have the pixel's colour, NAME.metamer-lower.SUFFIX and NAME.metamer-upper.SUFFIX.",
)  # fmt: skip
@click.option("--tta", is_flag=True, help="Adapt the network to each image first (if the model can).")
@click.option("--bands", type=options.Wavelengths(), metavar="NM,NM,...", help="Keep only these bands.")
@click.option("--quicklook", is_flag=True, help="Also write an sRGB picture of each cube, NAME.png.")
@click.option("--overwrite", is_flag=True, help="Replace existing cubes in the folder --out.")
@options.workers
@click.option("--tile", type=int, metavar="N", help="Side of the tiles in pixels [one tile if it fits].")
@click.option(
    "--max-memory", type=options.Bytes(), metavar="SIZE", help="Memory limit of each process, e.g. 4GiB."
)
@click.option("--approximate-tiles", is_flag=True, help="Statistics per tile, not per image: one pass.")
@click.option(
    "--dtype", type=click.Choice(["float32", "uint16"]), default="float32", show_default=True,
    help="uint16: values in [0, 1] times 65535; the file stores the factor.",
)  # fmt: skip
@click.option(
    "--value-range", nargs=2, type=float, metavar="LOW HIGH",
    help="Range of the image's values, if its dtype does not define it.",
)  # fmt: skip
@click.option(
    "--bit-depth", type=click.IntRange(1, 32), metavar="N",
    help="Bits of the image's values, if fewer than its file has: 12 for values up to 4095 in 16 bits.",
)  # fmt: skip
@click.option("--device", help="cpu, cuda, ... [a GPU if there is one].")
@options.threads
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="fp32", show_default=True,
    help="auto: bf16 where the processor has instructions for it, else fp32.",
)  # fmt: skip
@click.option(
    "--consistency", type=CAMERA, metavar="CAMERA",
    help="Camera of the image, or estimate: correct the cube so that it agrees with the image.",
)  # fmt: skip
@click.option("--compile", "compiled", is_flag=True, help="Compile the network first.")
@click.pass_context
def command(
    context: click.Context, image: tuple[str, ...], model: str | None, out: Path,
    form: str | None, linear: bool, srgb: bool, camera: str | None, white: tuple[float, ...] | None,
    reflectance: bool, interval: str | None, tta: bool,
    bands: tuple[float, ...] | None, quicklook: bool, overwrite: bool,
    worker_count: int | None, ray_address: str | None, tile: int | None,
    max_memory: float | None, approximate_tiles: bool, dtype: Literal["float32", "uint16"],
    value_range: tuple[float, float] | None, bit_depth: int | None, device: str | None, threads: int | None,
    precision: Literal["auto", "fp32", "bf16", "fp16"], consistency: str | None, compiled: bool,
) -> None:  # fmt: skip
    """Reconstruct the hyperspectral cube of one image or of many.

    IMAGE is a photograph, or a raster that is read from disk in parts: ENVI (.hdr, three bands), .npy,
    plain TIFF. Images that do not fit into memory run in tiles, with the same result as without tiles.
    Folders and patterns ("*.png") mean all their images, whose cubes go into the folder --out. A broken
    image does not stop the others; the command then exits with 1. To continue an interrupted run, run the
    same command again. --model onnx:FILE runs an exported file, on the whole image.

    For each image the command reports how its values are interpreted: by an ICC profile or a tag; without
    one, 8 bits are sRGB and more bits linear; --linear and --srgb override this. Decoded photographs are
    mapped to the camera of the training pairs, and the cube is reflectance relative to the photograph's
    white. Raw photographs (extra raw) are mapped from the camera that their EXIF or --camera names.
    --bands keeps the nearest bands, which must lie within half a band spacing.
    """
    from hsrzoo.models.loading import load
    from hsrzoo.models.reconstruction import METAMER
    from hsrzoo.prediction.intervals import require_level
    from hsrzoo.prediction.predict import PredictOptions
    from hsrzoo.utils.threads import set_threads
    from hsrzoo.zoo import PHOTOGRAPHS, read_zoo

    options.forbid(linear and srgb, "--linear and --srgb exclude each other")
    options.forbid(value_range and bit_depth, "--value-range and --bit-depth exclude each other")
    options.forbid(reflectance and white is None, "--reflectance has no effect without --white")
    options.forbid(reflectance and tta, "--reflectance and --tta exclude each other")
    options.forbid(interval and reflectance, "--interval and --reflectance exclude each other")
    level: Level | None = None
    if interval is not None:
        level = METAMER if interval == METAMER else int(interval) / 100
    jobs, alone = _jobs(image, out, form, level)
    workers = options.choose_workers(worker_count, ray_address, threads, device)
    if alone and workers is not None:
        raise click.UsageError("--workers and --ray are for several images, whose --out is a folder")

    set_threads(threads)
    if model is None:
        advice = read_zoo().recommended[PHOTOGRAPHS]
        model = advice["model"]
        output.say(f"Model: {model}, recommended for photographs ({advice['why']})")
    network = load(
        model, device=device, precision=precision, compile=compiled, tile=tile, max_memory=max_memory,
        approximate=approximate_tiles, consistency=consistency,
    )  # fmt: skip
    if precision == "auto":
        chosen = getattr(network, "precision", network.execution.precision)
        cost = "; docs/speed.md has its cost in accuracy" if chosen == "bf16" else ""
        output.say(f"Precision: {chosen}{cost}")
    encoding: Encoding = "linear" if linear else "srgb" if srgb else "auto"
    wanted = PredictOptions(
        dtype, value_range, tta, encoding, bands, quicklook, bit_depth=bit_depth, camera=camera,
        white=white, reflectance=reflectance, overwrite=overwrite or jobs[0].out == out,
        interval=level,
    )  # fmt: skip
    if bands is not None:
        network.bands.nearest(bands)  # an error here is an error for every image
    if level is not None:
        with output.progress() as shown:  # as is one here
            task = shown.add_task("linear programmes", total=None, visible=False)
            require_level(
                network, level, tta,
                lambda done, total: shown.update(task, completed=done, total=total, visible=True),
            )  # fmt: skip
    with _bar() as bar, nullcontext() if jobs[0].out == out else _new_folder(jobs[0].out.parent):
        try:
            if alone:
                _predict_one(jobs[0], network, wanted, bar)
            elif _predict_many(jobs, network, model, wanted, workers, bar):
                context.exit(1)
        except KeyboardInterrupt:
            bar.say(_kept(jobs, wanted))
            raise


def _jobs(
    names: tuple[str, ...], out: Path, form: str | None, level: Level | None
) -> tuple[list[Job], bool]:
    """The images and their cubes, and whether a single image was given by its name.

    For a single image ``out`` is a file if it has a suffix of cubes or, without --format, any suffix (an
    unknown one is an error later).
    """
    from hsrzoo.errors import InputError
    from hsrzoo.io import CUBE_SUFFIXES, format_of
    from hsrzoo.prediction.batch import Job, find_images, jobs_for_folder

    is_file = out.suffix.lower() in CUBE_SUFFIXES
    found = find_images(names)
    alone = len(names) == 1 and [str(path) for path in found] == [str(Path(names[0]))]
    if alone and (is_file or (form is None and out.suffix and not out.is_dir())):
        if form is not None and format_of(out) != form:
            raise click.UsageError(f"--format {form} does not fit --out {out}: omit one of them")
        return [Job(found[0], out)], True
    if is_file:
        raise InputError(
            "Cubes of several images go into a folder",
            expected="a folder as --out, and the format by --format",
            got=out,
        )
    if any(Path(name).is_dir() and out.resolve() == Path(name).resolve() for name in names):
        raise InputError(f"The cubes in {out} would be read as images next time", fix="Use another folder")
    return jobs_for_folder(found, out, form or "envi", level), alone


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Create ``folder`` if it is missing, and remove it again if nothing was written into it."""
    from hsrzoo.utils.files import make_folder

    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        yield
    finally:
        for path in made:
            with suppress(OSError):  # not empty
                path.rmdir()


def _kept(jobs: list[Job], wanted: PredictOptions) -> str:
    """What an interrupted run has left, and how to go on."""
    from hsrzoo.io.stream import SUFFIXES, part_of

    outs = [j.out.with_suffix(".hdr") if j.out.suffix.lower() == ".img" else j.out for j in jobs]
    parts = [part for part in map(part_of, outs) if part.exists()]
    done = sum(out.exists() for out in outs) if len(jobs) > 1 else 0
    kept = [f"{done} of {len(jobs)} cubes"] if done else []
    kept += [f"the finished tiles in {parts[0]}"] if len(parts) == 1 else []
    kept += [f"the finished tiles of {len(parts)} cubes"] if len(parts) > 1 else []
    if kept:
        without = " without --overwrite" if done and wanted.overwrite else ""
        return f"Kept: {' and '.join(kept)}. Run the same command again{without} to continue."
    if len(jobs) == 1 and outs[0].exists():
        return f"Kept: {outs[0]}, the complete cube of this or an earlier run."
    whole = outs[0].suffix.lower() not in SUFFIXES
    why = f": {outs[0].suffix} files are written at once, {', '.join(SUFFIXES)} in parts" if whole else ""
    return f"No part of a cube is kept{why}. Run the same command again to start over."


def _predict_one(job: Job, network: Reconstructor, wanted: PredictOptions, bar: Bar) -> None:
    """One image given by its name: an error ends the command."""
    from hsrzoo.errors import ExistsError
    from hsrzoo.prediction.caveats import caveats
    from hsrzoo.prediction.predict import predict_file

    try:
        report = predict_file(job.image, network, job.out, wanted, bar.show, bar.say)
    except ExistsError:
        bar.say(f"{job.out}: skipped (exists; --overwrite replaces it)")
        return
    bar.say(_summary(report))
    bar.say(caveats(network, report.camera, report.unlike))


def _predict_many(
    jobs: list[Job], network: Reconstructor, name: str, wanted: PredictOptions, workers: Workers | None,
    bar: Bar,
) -> int:  # fmt: skip
    """Make all missing cubes; returns the number of failures."""
    from hsrzoo.prediction.batch import predict_many
    from hsrzoo.prediction.caveats import caveats
    from hsrzoo.utils.workers import TaskFailure

    existing = [] if wanted.overwrite else [job for job in jobs if _is_made(job, wanted)]
    if existing:
        bar.say(f"{len(existing)} cubes: skipped (exist; --overwrite replaces them)")
    failed = _missing_pictures(existing, bar) if wanted.quicklook else 0
    left = [job for job in jobs if job not in existing]
    done, camera, unlike = 0, None, []
    bar.count(len(left))
    for i, result in predict_many(left, network, name, wanted, workers, bar.part):
        bar.next()
        if isinstance(result, TaskFailure):
            failed += 1
            bar.say(_failure(left[i].image, result.error))
            continue
        for note in result.notes:
            bar.say(f"{left[i].image.name}: {note}")
        if result.report is not None:
            done, camera = done + 1, camera or result.report.camera
            unlike += [] if result.report.unlike is None else [result.report.unlike]
            bar.say(_summary(result.report))
    bar.say(f"{done} of {len(left)} images done, {failed} failed")
    if done:
        mean = sum(unlike) / len(unlike) if unlike else None
        bar.say(caveats(network, camera, mean, len(unlike)))
    return failed


def _is_made(job: Job, wanted: PredictOptions) -> bool:
    from hsrzoo.prediction.files import outputs

    return all(path.exists() for path in outputs(job.out, wanted.interval))


def _failure(path: Path, error: object) -> str:
    """A line that names the file once: most errors begin with it."""
    text = str(error)
    return f"Failed: {text}" if text.startswith(str(path)) else f"Failed: {path}: {text}"


def _missing_pictures(existing: list[Job], bar: Bar) -> int:
    """Make the quick looks that existing cubes lack; returns the number of failures."""
    from hsrzoo.errors import HsrzooError
    from hsrzoo.prediction.quicklook import quicklook_of, save_quicklook

    failed = 0
    for job in existing:
        if quicklook_of(job.out).exists():
            continue
        try:
            bar.say(f"Quick look {save_quicklook(job.out)}")
        except HsrzooError as error:
            failed += 1
            bar.say(_failure(job.out, error))
    return failed


@dataclass
class Bar:
    """A progress bar on stderr, over all tiles of all passes or over several images."""

    progress: Any
    task: Any
    images: int = 0

    def show(self, step: Step) -> None:
        """Show the progress of a single image."""
        description, total = f"pass {step.current}/{step.passes}", step.passes * step.total
        self.progress.update(self.task, description=description, total=total, completed=step.tiles)

    def count(self, total: int) -> None:
        """Set the number of images."""
        self.progress.update(self.task, description="images", total=total)

    def part(self, image: int) -> Progress:
        """What shows the tiles of an image as a part of one step."""
        return lambda step: self.progress.update(
            self.task, completed=image + step.tiles / (step.passes * step.total)
        )

    def next(self) -> None:
        """Count one more image."""
        self.images += 1
        self.progress.update(self.task, completed=self.images)

    def say(self, text: str) -> None:
        """Print a message above the bar."""
        console = self.progress.console
        console.print(text, markup=False, soft_wrap=not console.is_terminal)


@contextmanager
def _bar() -> Iterator[Bar]:
    with output.progress() as progress:
        yield Bar(progress, progress.add_task("", total=None))


def _summary(report: PredictReport) -> str:
    """What was done, in one line or two."""
    from hsrzoo.prediction.caveats import rounded_percent

    height, width = report.size
    how = "whole" if report.tiles == 1 else (
        f"{report.tiles} tiles of {report.tile[0]} x {report.tile[1]} pixels with a halo of {report.halo}"
    )  # fmt: skip
    passes = f"{report.passes} pass{'es' * (report.passes != 1)}"
    text = (
        f"{report.out}: {height} x {width} pixels, {report.bands} bands, {report.bytes / 1e6:,.1f} MB; "
        f"{how}, {passes}{' (some in an earlier run)' if report.resumed else ''}, {report.seconds:.1f} s"
    )
    text += f"; quick look {report.picture}" if report.picture else ""
    text += f"; half-widths {report.half_widths}" if report.half_widths else ""
    text += f"; map of unfamiliar pixels {report.unfamiliar}" if report.unfamiliar else ""
    text += f"; range of metamers {' and '.join(map(str, report.ends))}" if report.ends else ""
    if report.impossible:
        text += (
            f"; {rounded_percent(report.impossible)} of the pixels have a colour of no possible spectrum"
        )
    text += f"; {report.outside}" if report.outside else ""
    return text + (f"\nApproximate tiles: {report.difference}" if report.difference else "")
