"""``hsrzoo predict``: a photograph or a raster becomes a hyperspectral cube in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hsrzoo.prediction import PredictReport, Progress, Step

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


class Bytes(click.ParamType):
    """``4GiB``, ``512M``, ``1e9`` without a unit is bytes; units are powers of 1024."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        found = _SIZE.fullmatch(value.strip())
        if not found or float(found[1]) <= 0:
            self.fail(f"{value!r} is not a size: write 4GiB, 512MiB or a number of bytes", param, ctx)
        return float(found[1]) * _UNITS[found[2].upper()]


@click.command("predict")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="Name of the model, as in `hsrzoo list`.")
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path),
    help="Cube file: .hdr (ENVI), .tif, .zarr are written part by part; .h5, .mat, .npz at once.",
)  # fmt: skip
@click.option("--tile", type=int, metavar="N", help="Side of the tiles in pixels [whole if it fits].")
@click.option("--max-memory", type=Bytes(), metavar="SIZE", help="Memory to stay below, e.g. 4GiB.")
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
@click.option("--compile", "compiled", is_flag=True, help="Compile the network first.")
def command(
    image: Path, model: str, out: Path, tile: int | None, max_memory: float | None, approximate_tiles: bool,
    dtype: str, value_range: tuple[float, float] | None, device: str | None, threads: int | None,
    precision: str, compiled: bool,
) -> None:  # fmt: skip
    """Reconstruct the hyperspectral cube of an image.

    IMAGE is a photograph, or a raster that stays on the disk: ENVI (.hdr, three bands), .npy, plain
    TIFF. Images of any size: what does not fit into memory runs in tiles, exactly as if it were whole.
    Interrupted, the same command goes on where it stopped.
    """
    import torch

    from hsrzoo.loading import load
    from hsrzoo.prediction import PredictOptions, predict_file

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
    )
    options = PredictOptions(dtype=dtype, value_range=value_range)  # type: ignore[arg-type]
    with bar() as (progress, say):
        try:
            report = predict_file(image, network, out, options, progress, say)
        except KeyboardInterrupt:
            say("What is done is kept: the same command goes on with it.")
            raise
        say(summary(report))


class bar:
    """A bar on stderr over all tiles of all passes, and a way to say something beside it."""

    def __enter__(self) -> tuple[Progress, Any]:
        from hsrzoo.cli.output import progress

        self.bar = progress().__enter__()
        self.task = self.bar.add_task("", total=None)
        return self.show, self.say

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
