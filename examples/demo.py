"""A photograph in, spectra out, in the browser: pip install "hsrzoo[demo]", then python examples/demo.py.

Nothing leaves this machine. Photographs are averaged down to 512 pixels; ``hsrzoo predict`` has no limit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from PIL import Image, ImageCms

import hsrzoo
from hsrzoo.colour.srgb import encode_srgb
from hsrzoo.io.model_input import HasConfig, photo_for
from hsrzoo.io.raster import open_raster
from hsrzoo.io.rgb import to_unit
from hsrzoo.models.reconstructor import Reconstruction
from hsrzoo.prediction.caveats import caveats
from hsrzoo.prediction.quicklook import srgb_of

LONGEST = 512  # pixels of a reduced photograph's longer side
ENCODINGS = [("as the file says, else sRGB", "auto"), ("sRGB", "srgb"), ("linear", "linear")]
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000"]  # Okabe and Ito's
load = lru_cache(maxsize=2)(hsrzoo.load)


def read(path: str, encoding: Any, model: HasConfig) -> tuple[np.ndarray, str]:
    """A photograph as (H, W, 3) float32 in [0, 1], as the model needs it, reduced; and what was done."""
    photo = photo_for(model.config, open_raster(path), Path(path), encoding)
    height, width = photo.pixels.shape
    step = min(-(-max(height, width) // LONGEST), height, width)
    rgb = np.empty((height // step, width // step, 3), np.float32)
    for row in range(len(rgb)):
        strip = photo.pixels.read(row * step, 0, step, rgb.shape[1] * step)
        unit = to_unit(strip.astype(np.float32), strip.dtype.name, photo.value_range)
        rgb[row] = unit.reshape(step, -1, step, 3).mean(axis=(0, 2))
    reduced = f", averaged to {rgb.shape[0]} x {rgb.shape[1]}" if step > 1 else ""
    return rgb, f"Input: {photo.statement}. {height} x {width} pixels{reduced}."


def reconstruct(path: str | None, name: str, encoding: str, request: gr.Request) -> list[Any]:
    """Everything that changes with a new cube, in the order of the button's outputs."""
    if path is None:
        raise gr.Error("Upload a photograph first, or take the example.", print_exception=False)
    try:
        model = load(name)
        rgb, note = read(path, encoding, model)
        result = model(rgb)
        with tempfile.TemporaryDirectory() as folder:  # header and values as one file
            result.save(Path(folder, f"{Path(path).stem}.{name}.hdr"))
            target = os.path.join(tempfile.gettempdir(), str(request.session_hash), "cube")
            file = gr.DownloadButton(value=shutil.make_archive(target, "zip", folder), interactive=True)
    except hsrzoo.HsrzooError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from None
    colours, middle = srgb_of(result.cube, result.bands), len(result.bands) // 2 + 1
    slider, words = gr.Slider(maximum=len(result.bands), value=middle), f"{note}\n\n{caveats(model)}"
    return [result, None, colours, slider, band(result, middle), "", words, file]


def band(result: Reconstruction | None, number: int) -> gr.Image:
    """One band: 0 is black, 1 white, between them what looks as bright."""
    if result is None or number > len(result.bands):
        return gr.Image()
    grey = np.rint(encode_srgb(result.cube[..., number - 1].clip(0, 1)) * 255).astype(np.uint8)
    return gr.Image(np.dstack([grey] * 3), label=f"{result.bands.centres_nm[number - 1]:g} nm")


def click(result: Reconstruction, table: pd.DataFrame | None, at: gr.SelectData) -> tuple[Any, str]:
    """The table of spectra with one more pixel, and as CSV."""
    x, y = at.index
    table = pd.DataFrame({"nm": result.bands.centres_nm}) if table is None else table
    table = table.assign(**{f"x {x}, y {y}": result.cube[y, x]})
    table = table.drop(columns=table.columns[1 : -len(COLOURS)])
    return table, table.to_csv(index=False, float_format="%.6g")


def plot(table: pd.DataFrame | None) -> None:
    """A new plot for each table: gradio gives lines that are added to an old one no colours."""
    shown = {"x": "nm", "y": "value", "color": "pixel", "height": 320, "elem_id": "plot", "buttons": []}
    lines = None if table is None else table.melt("nm", var_name="pixel")
    names = [] if table is None else table.columns[1:]
    gr.LinePlot(lines, color_map=dict(zip(names, COLOURS, strict=False)), **shown)


def example() -> str:
    """Twelve hues, paler and brighter downwards, made here; the file's profile says sRGB."""
    rows, columns = np.mgrid[:192, :288]
    hsv = np.dstack([columns // 24 * 21, 150 - rows // 32 * 25, 100 + rows // 32 * 22])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = Path(tempfile.gettempdir(), "example.png")
    Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB").save(path, icc_profile=profile)
    return str(path)


def page() -> gr.Blocks:
    """The page and what its parts do."""
    picture = partial(gr.Image, format="png", interactive=False, height=360, buttons=["fullscreen"])
    names = hsrzoo.list_models(pretrained=True)
    with gr.Blocks(title="hsrzoo", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        cube, table = gr.State(time_to_live=3600), gr.State()
        with gr.Row():
            with gr.Column(scale=1):
                photo = gr.File(label="Photograph", elem_id="photo")
                made = gr.Button("Take an example", size="sm")
                model = gr.Dropdown(names, value="mcga-s2.cave", label="Model")
                encoding = gr.Radio(ENCODINGS, value="auto", label="Its values are")
                run = gr.Button("Reconstruct", variant="primary")
                words = gr.Markdown(elem_id="words")
            with gr.Column(scale=2):
                with gr.Row():
                    colour = picture(label="Colours of the cube: click for spectra", elem_id="colour")
                    grey = picture(label="One band", elem_id="grey")
                number = gr.Slider(1, 31, value=16, step=1, label="Band", elem_id="band")
                gr.render(table, show_progress="hidden")(plot)
                with gr.Row():
                    clear = gr.Button("Clear the spectra")
                    file = gr.DownloadButton("Download the cube (ENVI)", interactive=False, elem_id="file")
                values = gr.Textbox(label="Spectra as CSV", lines=4, buttons=["copy"], elem_id="csv")
        made.click(example, None, photo)
        changed = [cube, table, colour, number, grey, values, words, file]
        run.click(reconstruct, [photo, model, encoding], changed)
        number.change(band, [cube, number], grey, show_progress="hidden")
        colour.select(click, [cube, table], [table, values], show_progress="hidden")
        clear.click(lambda: (None, ""), None, [table, values])
    return blocks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A photograph in, spectra out, in the browser.")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--host", default="127.0.0.1", help="[127.0.0.1: for this machine alone]")
    options = parser.parse_args()
    fonts = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    with tempfile.TemporaryDirectory(
        prefix="hsrzoo-demo-"
    ) as tempfile.tempdir:  # a visit's files go with it
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=tempfile.tempdir)
        page().launch(
            server_name=options.host, server_port=options.port, theme=fonts, share=False, ssr_mode=False,
            footer_links=[], run_history=False, max_file_size="200mb", state_session_capacity=20,
        )  # fmt: skip
