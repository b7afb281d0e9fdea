"""The result store: append-only JSONL files that survive a kill at any moment.

One file per (model, its weights and configuration, data set and split, protocol hash); one row a
scene, written by a single ``write`` and fsynced. A last line that a kill tore is cut off when the
file is next opened.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hsrzoo.errors import StoreError
from hsrzoo.results import HASH_LENGTH, SCHEMA
from hsrzoo_benchmark.protocol import Protocol, plain

_FLOATS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def number(value: Any) -> Any:
    """A stored value as Python has it: ``"NaN"`` and its like become floats, the rest stays."""
    return _FLOATS.get(value, value) if isinstance(value, str) else value


class ResultFile:
    """The rows of one file. ``rows`` are read once; :meth:`append` adds to the file and to them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = self._read()

    def append(self, row: dict[str, Any]) -> None:
        """Write one row durably; StoreError where the disk refuses."""
        line = json.dumps(plain({"schema": SCHEMA, **row}), ensure_ascii=False) + "\n"
        with _translated(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                data = line.encode()
                if os.write(handle, data) != len(data):
                    raise OSError("the row was written in part: is the disk full?")
                os.fsync(handle)
            finally:
                os.close(handle)
        self.rows.append(json.loads(line))

    def _read(self) -> list[dict[str, Any]]:
        """All rows; a torn last line is cut off the file first."""
        with _translated(self.path):
            if not self.path.exists():
                return []
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                os.truncate(self.path, whole)
        return [self._parse(line, i) for i, line in enumerate(data[:whole].splitlines(), 1)]

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
            schema = row["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"Line {number} of {self.path} is not a result row",
                expected=f"a JSON object of schema {SCHEMA}",
                got=line[:60].decode(errors="replace"),
                fix="Delete that line: the scene is computed again",
            ) from error
        if schema != SCHEMA:
            raise StoreError(
                f"Line {number} of {self.path} has another schema",
                expected=SCHEMA,
                got=schema,
                fix="Use the hsrzoo version that wrote it, or another --store",
            )
        return row


class Store:
    """A folder of result files. Opening it creates the folder and proves that it can be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[Path, ResultFile] = {}
        probe = root / f".writable-{uuid.uuid4().hex}"
        with _translated(root):
            root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()

    def scores(
        self, model: str, sha256: str | None, dataset: str, split: str, protocol: Protocol
    ) -> ResultFile:
        """The file of one model, of this identity (None: random weights), on one data set's split
        under one protocol."""
        folder = self.root / f"{slug(dataset)}-{slug(split)}" / _model_folder(model, sha256)
        parts = [protocol.name, protocol.perturbation, protocol.severity, "tta" if protocol.tta else None]
        stem = "_".join(slug(part) for part in parts if part)
        return self._open(folder / f"{stem}_{protocol.hash[:HASH_LENGTH]}.jsonl")

    def speed(self, model: str, sha256: str | None, device: str, threads: int) -> ResultFile:
        """The file of one model's timings on one device with one number of threads."""
        folder = self.root / "speed" / _model_folder(model, sha256)
        return self._open(folder / f"{slug(device)}_{threads}-threads.jsonl")

    def _open(self, path: Path) -> ResultFile:
        if path not in self._files:
            self._files[path] = ResultFile(path)
        return self._files[path]


def slug(text: str) -> str:
    """``text`` as a file name: everything but letters, digits, dot, hyphen and underscore is a hyphen."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def _model_folder(model: str, sha256: str | None) -> str:
    return f"{slug(model)}@{(sha256 or 'untrained')[:HASH_LENGTH]}"


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The result store {path} cannot be used",
            expected="a folder that can be read and written",
            got=f"{type(error).__name__}: {error.strerror or error}",
            fix="Choose another one with --store DIR",
        ) from None
