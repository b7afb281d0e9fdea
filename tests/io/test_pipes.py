"""A pipe, a socket or a device is refused as an input before it is opened, which would wait for ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hsrzoo.datasets.wavelengths import parse_bands
from hsrzoo.errors import HsrzooError, InputError
from hsrzoo.io import CUBE_SUFFIXES, load_cube, read_image
from hsrzoo.io.raster import open_raster
from hsrzoo.models import onnx_file
from hsrzoo.models.pickles import read_pickle
from hsrzoo.training.queue import read_queue

READERS: dict[str, Callable[[Path], Any]] = {
    "photo.png": read_image,
    "raster.npy": open_raster,
    "raster.tif": open_raster,
    "raster.hdr": open_raster,
    "bands.csv": lambda path: parse_bands(str(path)),
    "model.onnx": onnx_file.read,
    "model.pth": read_pickle,
    "queue.toml": lambda path: read_queue(path, path.parent),
    **{f"cube{suffix}": load_cube for suffix in CUBE_SUFFIXES},
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(HsrzooError, match="is a pipe, a socket or a device"):
        READERS[name](tmp_path / name)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs sockets with names")
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("photo.png")
        with pytest.raises(InputError, match="is a pipe, a socket or a device"):
            read_image("photo.png")
