"""An exported network on onnxruntime: no torch is imported, and none need be installed.

What runs without torch: this module with numpy and onnxruntime alone, on arrays. The command

    python -m hsrzoo.models.onnx_runtime PHOTO --model FILE.onnx -o CUBE

reads photographs with pillow (TIFF: tifffile) and writes .npy and .npz with numpy alone; other cube
formats ask for their own library (.hdr: spectral, .tif: tifffile, .h5: h5py). ``hsrzoo.load("onnx:FILE")``
needs no more than this module either. Exporting, checking, scoring and everything else do need torch.

An installation for such a device: ``pip install --no-deps hsrzoo`` and ``pip install numpy onnxruntime
pillow``.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.errors import FormatError, HsrzooError, InputError
from hsrzoo.io import rgb as rgb_rules
from hsrzoo.io.rgb import check_numpy
from hsrzoo.models.onnx_file import (
    INPUT,
    INTERVAL_OUTPUTS,
    OUTPUT,
    metadata_of,
    open_session,
    read,
    require_ports,
    spec_of,
)
from hsrzoo.models.reconstruction import METAMER, Level, Reconstruction
from hsrzoo.spec import Execution, RgbInput
from hsrzoo.uncertainty.conformal import stored_level


class NoNetworkError(InputError, AttributeError):
    """An exported file was asked for its torch network. An AttributeError too, so that ``hasattr``
    answers no."""


class OnnxModel:
    """An ``.onnx`` file written by ``hsrzoo export``, with the interface of a Reconstructor.

    ``threads``: of onnxruntime; by default as many as torch uses, or would use. ``device``: "cpu", or
    "cuda" where onnxruntime has that provider; by default whichever there is. Raises InputError (no such
    file or device), FormatError (damaged, or not of ours), PluginError (onnxruntime is not installed).
    """

    execution = Execution()
    """The file holds the precision; nothing else is chosen at run time."""

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        threads: int | None = None,
        device: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = name or f"onnx:{self.path}"
        data = read(self.path)
        self.identity: str = hashlib.sha256(data).hexdigest()
        self.session, self.device = open_session(data, self.path, threads, device)
        self.metadata = metadata_of(self.session, self.path)
        self.bands = BandSet.from_json(self.metadata["bands"])
        self.precision: str = self.metadata["precision"]
        self.opset: int = self.metadata["opset"]
        self.config: Mapping[str, Any] = self.metadata["config"]
        self.weights_sha256: str | None = self.metadata.get("weights_sha256")
        self.spec = spec_of(self.metadata, self.path)
        self.factors = _factors(self.metadata, len(self.bands), self.path)
        """Level -> (C,) what the scale of errors is multiplied by; empty without intervals."""
        require_ports(self.session, len(self.bands), self.path, bool(self.factors))

    def __repr__(self) -> str:
        return f"OnnxModel({self.name}, {self.bands}, {self.precision}, {self.device})"

    def __call__(
        self,
        rgb: np.ndarray,
        value_range: tuple[float, float] | None = None,
        tta: bool = False,
        interval: Level | None = None,
    ) -> Reconstruction:
        """Reconstruct the cube of a numpy image (H, W, 3), channels in the order R, G, B.

        uint8 and uint16 are divided by their full scale; floats must lie in [0, 1]. ``value_range``
        (lo, hi) declares any other range and dtype. ``interval``: a probability, for files that were
        exported with intervals. Raises InputError.
        """
        asked = None if interval is None else self.require_intervals(interval, tta)
        unit = to_unit(rgb, value_range).transpose(2, 0, 1)
        if asked is None:
            cube = self.predict(unit, tta)
            return Reconstruction(_last(cube), self.bands, self.name, self.weights_sha256)
        cube, scale, unfamiliar = self.predict_with_scale(unit)
        half = scale * asked[:, None, None]
        lower, upper = (_last((cube + sign * half).clip(min=0)) for sign in (-1, 1))
        return Reconstruction(
            _last(cube),
            self.bands,
            self.name,
            self.weights_sha256,
            stored_level(interval),
            lower,
            upper,
            unfamiliar,
        )

    def require_intervals(self, level: Level, tta: bool = False) -> np.ndarray:
        """(C,) float32: half-widths of a level are the scale of errors times this.

        InputError where the file has no intervals, or none of this level.
        """
        if level == METAMER or tta:
            what = "range of metamers" if level == METAMER else "test-time adaptation"
            raise InputError(
                f"An exported network has no {what}", fix="Use the model that it was exported from"
            )
        if not self.factors:
            raise InputError(
                f"{self.name} was exported without intervals",
                fix=f"Export it again: hsrzoo export {self.metadata['name']} --intervals",
            )
        return self.factors[str(stored_level(level, [float(known) for known in self.factors]))]

    def predict_with_scale(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cube and scale of errors (C, H, W), and the map of unfamiliar pixels (H, W), as :meth:`predict`.
        Only of files with intervals."""
        _, height, width = rgb.shape
        cube, scale, unfamiliar = self._run(pad(rgb[None], self.spec.input), (OUTPUT, *INTERVAL_OUTPUTS))
        parts = (part[0, ..., :height, :width] for part in (cube, scale, unfamiliar))
        first, second, third = map(np.ascontiguousarray, parts)
        return first, second, third

    def predict(self, rgb: np.ndarray, tta: bool = False) -> np.ndarray:
        """Cube (C, H, W) float32 of ``rgb`` (3, H, W) float32 in [0, 1].

        Raises InputError for other shapes and ranges, for values that are not finite and for ``tta``.
        """
        if tta:
            raise InputError(
                "An exported network has no test-time adaptation",
                fix="Leave tta out, or use the model itself",
            )
        rgb = np.asarray(rgb)
        if rgb.ndim != 3 or rgb.shape[0] != 3 or 0 in rgb.shape:
            raise InputError("predict takes one image", expected="shape (3, H, W)", got=rgb.shape)
        _, height, width = rgb.shape
        unit = to_unit(rgb.transpose(1, 2, 0).astype(np.float32, copy=False), None).transpose(2, 0, 1)
        cube = self.run(pad(unit[None], self.spec.input))
        return np.ascontiguousarray(cube[0, :, :height, :width])

    @property
    def module(self) -> Any:
        """What a Reconstructor has and a file does not: raises NoNetworkError."""
        raise NoNetworkError(
            f"{self.name} is an exported file and has no torch network in it",
            fix="Use the model that it was made from; for a photograph: "
            f"python -m hsrzoo.models.onnx_runtime PHOTO --model {self.path} -o CUBE",
        )

    def facts(self) -> dict[str, Any]:
        """What the file says about itself, in a few lines."""
        wanted = self.metadata["input"]
        return {
            "name": self.name,
            "made from": self.metadata["name"],
            "source": self.spec.source,
            "licence": self.spec.licence,
            "bands": str(self.bands),
            "input": f"RGB in [0, 1], normalise {wanted.get('normalise')}, "
            f"multiple of {wanted['multiple']}, at least {wanted['min_size']} pixels",
            "precision": self.precision,
            "calibrated on": self.metadata.get("calibration"),
            "intervals": ", ".join(f"{100 * float(level):g} %" for level in self.factors) or "none",
            "opset": self.opset,
            "file's sha256": self.identity,
            "weights' sha256": self.weights_sha256,
            "written by": f"hsrzoo {self.metadata['library_version']}",
        }

    def run(self, padded: np.ndarray) -> np.ndarray:
        """The graph itself: (1, 3, H, W) float32 in [0, 1] -> (1, C, H, W); H and W as ``spec.input``
        asks. Raises MemoryError where memory ends."""
        return self._run(padded, (OUTPUT,))[0]

    def _run(self, padded: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        try:
            found = self.session.run(list(outputs), {INPUT: np.ascontiguousarray(padded, np.float32)})
        except Exception as error:  # onnxruntime's errors share no base but Exception
            text = str(error)
            if any(sign in text.lower() for sign in ("bad_alloc", "allocate memory", "out of memory")):
                raise MemoryError(text) from error
            raise FormatError(
                f"{self.path} cannot be run on an image of {padded.shape[2]} x {padded.shape[3]} pixels",
                got=text,
                fix="Export it again",
            ) from error
        expected = (1, len(self.bands), *padded.shape[-2:])
        if found[0].shape != expected:
            raise FormatError(f"{self.path} gives the wrong shape", expected=expected, got=found[0].shape)
        return [part.astype(np.float32, copy=False) for part in found]


def _last(cube: np.ndarray) -> np.ndarray:
    """(C, H, W) as (H, W, C) in memory's order."""
    return np.ascontiguousarray(cube.transpose(1, 2, 0))


def _factors(metadata: Mapping[str, Any], bands: int, path: Path) -> dict[str, np.ndarray]:
    """The factors of the levels of a file's intervals; FormatError where they do not fit its bands."""
    stored = (metadata.get("intervals") or {}).get("factors", {})
    try:
        found = {str(float(level)): np.array(values, np.float32) for level, values in stored.items()}
    except (TypeError, ValueError):
        found = {"": np.zeros(0, np.float32)}
    if any(factors.shape != (bands,) or not np.isfinite(factors).all() for factors in found.values()):
        raise FormatError(
            f"The intervals of {path} do not fit its bands",
            expected=f"{bands} numbers for every level",
            fix="Copy it again, or export it again",
        )
    return found


def to_unit(rgb: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    """(H, W, 3) of any number type as float32 in [0, 1], by its dtype's full scale or ``value_range``."""
    values = check_numpy(rgb).astype(np.float64)
    return rgb_rules.to_unit(values, rgb.dtype.name, value_range).astype(np.float32)


def pad(batch: np.ndarray, wanted: RgbInput) -> np.ndarray:
    """Pad H and W of (1, 3, H, W) at the bottom and right to the network's multiple and smallest size."""
    for axis in (2, 3):
        size = batch.shape[axis]
        target, reflects = rgb_rules.padded_side(size, wanted)
        if target > size:
            amount = [(0, target - size if a == axis else 0) for a in range(4)]
            batch = np.pad(batch, amount, mode="reflect" if reflects else "edge")
    return batch


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code (2: an error that the user can fix)."""
    parser = argparse.ArgumentParser(
        "python -m hsrzoo.models.onnx_runtime", description="Photograph to cube."
    )
    parser.add_argument("photo", type=Path, help="an RGB photograph")
    parser.add_argument("--model", type=Path, required=True, help="file written by `hsrzoo export`")
    parser.add_argument("-o", "--out", type=Path, required=True, help="cube: .npy, .npz, .hdr, .tif, .h5")
    parser.add_argument("--threads", type=int, help="[one per core]")
    asked = parser.parse_args(arguments)
    try:
        from hsrzoo.io.model_input import photo_for
        from hsrzoo.io.raster import open_raster

        model = OnnxModel(asked.model, threads=asked.threads)
        photo = photo_for(model.config, open_raster(asked.photo), asked.photo)
        cube = model(photo.pixels.read(0, 0, *photo.pixels.shape), photo.value_range)
        cube.save(asked.out)
    except HsrzooError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    except ImportError as error:
        sys.stderr.write(f"Error: {error}. Install what this format needs, or write .npy or .npz.\n")
        return 2
    height, width, bands = cube.cube.shape
    sys.stderr.write(f"{photo.note.partition(' (--')[0]}\n")
    sys.stderr.write(f"{asked.out}: {height} x {width} pixels, {bands} bands\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
