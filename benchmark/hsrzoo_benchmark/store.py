"""The result store: append-only files of rows that survive a kill at any moment.

One file per (model, its weights and configuration, data set and split, protocol hash); one row a scene,
written by a single ``write`` and fsynced. Rows are read by :mod:`hsrzoo.results`; a last line that a kill
left unfinished is cut off before the next one is appended. Of several runs one at a time adds rows of a
model (:meth:`Store.hold`).
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from hsrzoo import results
from hsrzoo.errors import StoreError
from hsrzoo.results import HASH_LENGTH, SCHEMA, SPEED, ScoreRow, SpeedRow
from hsrzoo.utils.files import slug
from hsrzoo.utils.locks import hold_folder
from hsrzoo_benchmark.protocol import Protocol

R = TypeVar("R", ScoreRow, SpeedRow)


class ResultFile(Generic[R]):
    """A file of rows of one kind. ``rows`` are read when it is opened; :meth:`append` adds to the file and
    to them.

    ``elsewhere``: rows of the same cell that other files of the store hold.
    """

    def __init__(self, path: Path, kind: type[R], elsewhere: Iterable[R] = ()) -> None:
        self.path = path
        self._kind: type[R] = kind
        self._elsewhere: list[R] = list(elsewhere)
        self.rows: list[R] = []
        self.read()

    def read(self) -> None:
        """Read ``rows`` again. The file is left as it is: another process may be writing a row."""
        with _translated(self.path):
            data = results.bytes_of(self.path) if self.path.exists() else b""
        found = [one for _, one in results.parse_lines(data, self.path)]
        skipped = [one for one in found if isinstance(one, results.SkippedLine)]
        for line in skipped:
            if line.newer:
                raise StoreError(
                    f"Line {line.line} of {self.path} has a newer schema",
                    expected=SCHEMA,
                    got=line.reason.partition(",")[0],
                    fix="Upgrade hsrzoo, or use another --store",
                )
        results.warn_of_skipped(skipped)
        self.rows = self._of_kind(found) + self._elsewhere

    def append(self, row: R) -> None:
        """Write one row durably. Raises StoreError where the disk refuses, LockedError while another
        process adds rows of this model."""
        line = json.dumps(row.to_json(), ensure_ascii=False).encode()
        with _translated(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with hold_folder(self.path.parent):
                self._mend()
                handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                try:
                    if os.write(handle, line + b"\n") != len(line) + 1:
                        raise OSError("the row was written in part: is the disk full?")
                    os.fsync(handle)
                finally:
                    os.close(handle)
        self.rows += self._of_kind([results.parse_row(line)])

    def _mend(self) -> None:
        """Cut off an unfinished last line; end a whole one that lacks its newline."""
        if not self.path.exists() or _ends_in_newline(self.path):
            return
        data = results.bytes_of(self.path)
        end = data.rfind(b"\n") + 1
        try:
            results.parse_row(data[end:])
        except results.RowError:
            os.truncate(self.path, end)
        else:
            with self.path.open("ab") as file:
                file.write(b"\n")

    def _of_kind(self, rows: list[Any]) -> list[R]:
        return [row for row in rows if isinstance(row, self._kind)]


class Store:
    """A folder of result files. Opening it creates the folder and proves that it can be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[Path, ResultFile[Any]] = {}
        probe = root / f".writable-{uuid.uuid4().hex}"
        with _translated(root):
            root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()

    def scores(
        self, model: str, sha256: str | None, dataset: str, split: str, protocol: Protocol
    ) -> ResultFile[ScoreRow]:
        """The file of one model, of this identity (None: random weights), on one data set's split
        under one protocol."""
        folder = self.root / f"{slug(dataset)}-{slug(split)}" / _model_folder(model, sha256)
        path = folder / results.score_file(
            protocol.name, protocol.perturbation, protocol.severity, protocol.tta, protocol.hash
        )
        own = path.relative_to(self.root).as_posix()
        cell = (model, sha256, dataset, split, protocol.setting)
        elsewhere = (row for row in self._stored.scores if row.file != own and _cell_of(row) == cell)
        return self._open(path, ScoreRow, elsewhere)

    def speed(self, model: str, sha256: str | None, device: str, threads: int) -> ResultFile[SpeedRow]:
        """The file of one model's timings on one device with one number of threads."""
        folder = self.root / SPEED / _model_folder(model, sha256)
        return self._open(folder / results.speed_file(device, threads), SpeedRow)

    @cached_property
    def _stored(self) -> results.StoredRows:
        with warnings.catch_warnings(), _translated(self.root):
            warnings.simplefilter("ignore")  # a file warns of its lines when it is opened itself
            return results.read_store(self.root)

    @contextlib.contextmanager
    def hold(self, files: Iterable[ResultFile[Any]], wait: Callable[[str], None]) -> Iterator[None]:
        """Be the only process that adds rows of the models of ``files``, which are then read again.

        ``wait`` is called with a message for every model whose rows another process is adding; this one
        waits until it has ended.
        """
        files = list(files)
        with contextlib.ExitStack() as stack:
            # in one order in all processes, or two might wait for each other
            for folder in sorted({file.path.parent for file in files}):
                with _translated(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(hold_folder(folder, wait))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it was warned of when the file was opened
                for file in files:
                    file.read()
            yield

    def _open(self, path: Path, kind: type[R], elsewhere: Iterable[R] = ()) -> ResultFile[R]:
        if path not in self._files:
            self._files[path] = ResultFile(path, kind, elsewhere)
        return self._files[path]


def _ends_in_newline(path: Path) -> bool:
    """Whether a file is empty or its last line is ended."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read() in (b"", b"\n")


def _cell_of(row: ScoreRow) -> tuple[Any, ...]:
    return row.model, row.model_sha256, row.dataset, row.split, row.setting


def _model_folder(model: str, sha256: str | None) -> str:
    return f"{slug(model)}@{(sha256 or 'untrained')[:HASH_LENGTH]}"


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """OSError as StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The result store {path} cannot be used",
            expected="a folder that can be read and written",
            got=f"{type(error).__name__}: {error.strerror or error}",
            fix="Choose another one with --store DIR",
        ) from None
