"""A network as a ``torch.export`` program (.pt2): for torch without this package, and for its compilers.

Such a program refuses what its tracer took for impossible: an image one multiple of the network's high
or wide, of which a coarse feature map is a single row.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch

from hsrzoo.errors import FormatError, InputError
from hsrzoo.export.graph import ExportError, metadata, trace
from hsrzoo.models.onnx_file import METADATA_KEY
from hsrzoo.models.onnx_runtime import pad
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.utils.files import make_folder, write_atomically

MULTIPLES = 2
"""The smallest image that a program takes, in multiples of the network's."""


def save_program(model: Reconstructor, path: Path) -> Program:
    """Write ``model`` as a .pt2 file, height and width free, and open it. Raises ExportError."""
    make_folder(path.parent)
    program = trace(model)
    facts = metadata(model, 0, "fp32")
    del facts["opset"]
    buffer = io.BytesIO()
    try:
        torch.export.save(program, buffer, extra_files={METADATA_KEY: json.dumps(facts, sort_keys=True)})
    except Exception as error:  # the serializer raises anything
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        problem = f"torch.export traces {model.name}, but cannot save it"
        raise ExportError(problem, got=text, fix="Use --format onnx") from error
    write_atomically(path, buffer.getvalue())
    return Program(path, model)


class Program:
    """A .pt2 file, run with the padding and cropping of the model that it was made from."""

    def __init__(self, path: Path, model: Reconstructor) -> None:
        try:
            self.run = torch.export.load(path).module()
        except Exception as error:  # torch raises anything on a damaged archive
            raise FormatError(f"{path} is not a torch.export program", got=str(error)) from error
        self.input = model.spec.input

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Cube (C, H, W) float32 of ``rgb`` (3, H, W) float32 in [0, 1]; InputError if too small."""
        _, height, width = rgb.shape
        padded = pad(rgb[None], self.input)
        least = MULTIPLES * self.input.multiple
        if min(padded.shape[2:]) < least:
            raise InputError("The image is too small", expected=f"{least} pixels or more", got=rgb.shape)
        with torch.no_grad():
            cube = self.run(torch.from_numpy(padded))
        return cube[0, :, :height, :width].numpy()
