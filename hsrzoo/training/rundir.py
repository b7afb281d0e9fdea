"""The folder of one run: config.json first, record.json, log.jsonl, checkpoint.pt."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hsrzoo.errors import TrainingError
from hsrzoo.models.weights import make_folder, write_atomically
from hsrzoo.training.checkpoint import require_same_run, write_json


class RunDir:
    """The files of a run. Made with :meth:`open`, which writes config.json before anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.record = path / "record.json"
        self.checkpoint = path / "checkpoint.pt"
        self.log = path / "log.jsonl"

    @classmethod
    def open(
        cls, path: Path, identity: Mapping[str, Any], notes: Mapping[str, Any], resume: bool
    ) -> RunDir:
        """Start a run in an absent or empty folder, or go on with the run that is there.

        ``identity`` decides the weights and must be equal on resuming; ``notes`` need not.
        """
        folder = cls(path)
        if resume:
            folder._remove_leftovers()
        if folder.config.is_file() and resume:
            before = folder.read_json(folder.config)
            known = {key: before.get(key, "nothing") for key in identity}
            require_same_run(known, identity, folder.config)
            return folder
        if os.path.exists(path) and (not path.is_dir() or any(path.iterdir())):
            here = "no run to resume" if resume else "something already"
            raise TrainingError(
                f"{path} holds {here}",
                expected="a run with its config.json" if resume else "an absent or empty folder",
                fix="Give another folder by --out"
                + ("" if resume else ", or go on with the run that is there by --resume"),
            )
        make_folder(path)
        write_json(folder.config, {**identity, "notes": dict(notes)})
        return folder

    def _remove_leftovers(self) -> None:
        """Remove temporary files of a process that was killed while it wrote."""
        for file in (self.config, self.record, self.checkpoint, self.log):
            for leftover in self.path.glob(f".{file.name}.*"):
                leftover.unlink(missing_ok=True)

    def read_json(self, file: Path) -> dict[str, Any]:
        """The content of one of the JSON files; {} if it is not there yet."""
        if not file.is_file():
            return {}
        try:
            return dict(json.loads(file.read_text()))
        except (ValueError, TypeError) as error:
            raise TrainingError(
                f"{file} is damaged", got=str(error), fix="Train into another folder"
            ) from None

    def update_record(self, **values: Any) -> dict[str, Any]:
        """Change some entries of record.json, durably; returns the whole."""
        record = {**self.read_json(self.record), **values}
        write_json(self.record, record)
        return record

    def truncate_log(self, step: int) -> None:
        """Drop the log's lines after ``step``: they will be written again."""
        if not self.log.is_file():
            return
        kept = []
        for line in self.log.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except ValueError:  # a line cut off when the process died
                continue
        write_atomically(self.log, "".join(kept).encode())
