"""The folder of one run: config.json first, record.json, log.jsonl, checkpoint.pt, all written durably."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from hsrzoo.errors import TrainingError
from hsrzoo.spec import Recipe
from hsrzoo.utils.files import make_folder, remove_leftovers, write_atomically, write_json
from hsrzoo.utils.json_kinds import Whole, problems
from hsrzoo.utils.locks import hold_folder, is_empty

SCHEMA = 1
"""Of checkpoints."""


_MOST_STEPS = 1 << 40
_JSON = {
    "steps?": Whole(1, _MOST_STEPS),
    "threads?": int,
    "processes?": int,
    "complete?": bool,
    "recipe?": {"ema_warmup?": bool},
}
"""What is read of config.json and record.json."""
_CHECKPOINT = {
    "identity": str,
    "step": Whole(0, _MOST_STEPS),
    "wall_seconds": float,
    "cpu_seconds": float,
    "engine": dict,
}
_BEFORE = {"ema_warmup": False}
"""Fields of a recipe whose default changed -> what runs did that do not record them."""


@contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Be the only run in ``folder``, which is created, and removed if nothing was written. In a group of
    processes (torchrun) the first one is.

    Raises LockedError if another run uses it, StoreError if it cannot be written.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        yield
        return
    existed = folder.exists()
    make_folder(folder)
    try:
        with hold_folder(folder):
            yield
    finally:
        if not existed:
            with suppress(OSError):  # not empty
                folder.rmdir()


class RunDir:
    """The files of a run; :meth:`open` comes first, and writes config.json before anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.record = path / "record.json"
        self.checkpoint = path / "checkpoint.pt"
        self.log = path / "log.jsonl"

    def open(self, identity: Mapping[str, Any], notes: Mapping[str, Any], resume: bool) -> None:
        """Start a run in an absent or empty folder, or go on with the run that is there.

        ``identity`` decides the weights and must be equal on resuming; ``notes`` need not.
        """
        if resume:  # after a process that was killed while it wrote
            remove_leftovers((self.config, self.record, self.checkpoint, self.log))
        if self.config.is_file() and resume:
            before = self.read_json(self.config)
            known = {key: before.get(key, "nothing") for key in identity}
            require_same_run(known, identity, self.config)
            return
        if self.path.exists() and (not self.path.is_dir() or not is_empty(self.path)):
            content = "no run to resume" if resume else "other files"
            other = "Give another folder by --out"
            raise TrainingError(
                f"{self.path} holds {content}",
                expected="a run with its config.json" if resume else "an absent or empty folder",
                fix=other if resume else f"{other}, or resume the existing run with --resume",
            )
        make_folder(self.path)
        write_json(self.config, {**identity, "notes": dict(notes)})

    def read_json(self, file: Path) -> dict[str, Any]:
        """The content of one of the JSON files; {} if it is not there yet."""
        if not file.is_file():
            return {}
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            wrong = ", ".join(problems(found, _JSON))
        except (ValueError, RecursionError) as error:
            found, wrong = {}, str(error)
        if wrong:
            raise TrainingError(f"{file} is damaged", got=wrong, fix="Train into another folder")
        return dict(found)

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
        for line in self.log.read_text(errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a line cut off when the process died
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
        write_atomically(self.log, "".join(kept).encode())


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings, dicts and lists of them) to ``path``, durably."""
    content = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, content)
    write_atomically(path, content.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; it can hold no code. Raises TrainingError if it is damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any class: the file decides what goes wrong
        first = (str(error).splitlines() or [""])[0]
        raise damaged_checkpoint(path, f"{type(error).__name__}: {first}".rstrip(": ")) from None
    schema = state.get("schema") if isinstance(state, dict) else None
    if not isinstance(schema, int) or schema != SCHEMA:
        what = f"{path} is not a checkpoint that this version reads"
        raise TrainingError(what, expected=f"schema {SCHEMA}", got=f"schema {schema!r:.40}")
    wrong = ", ".join(problems(state, _CHECKPOINT))
    if wrong:
        raise damaged_checkpoint(path, wrong)
    return state


def damaged_checkpoint(path: Path, reason: str) -> TrainingError:
    """The error for a checkpoint that cannot be used."""
    return TrainingError(
        f"The checkpoint {path} cannot be read",
        got=reason,
        fix="Remove it and start again with --resume, or train into another folder",
    )


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Where two JSON values differ, as ``recipe.lr: 0.001 before, 0.002 now``."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for key in sorted({*before, *now}):
            inner = f"{name}.{key}" if name else key
            found += differences(before.get(key, "nothing"), now.get(key, "nothing"), inner)
        return found
    if before == now:
        return []
    return [f"{name}: {_short(before)} before, {_short(now)} now"]


def _short(value: Any, limit: int = 60) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def as_started(recipe: Recipe, run: Path, given: Collection[str]) -> Recipe:
    """``recipe`` for resuming the run in the folder ``run``: fields whose default has changed are as it
    records them, unless they are among those ``given`` by the user."""
    folder = RunDir(run)
    before = folder.read_json(folder.config).get("recipe")
    if not isinstance(before, Mapping):
        return recipe
    changed = {name: before.get(name, value) for name, value in _BEFORE.items() if name not in given}
    return dataclasses.replace(recipe, **changed)


def _completed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Mapping[str, Any]:
    """``before`` with what it did in those fields that only ``now`` has: of the recipe, and of data sets,
    whose photographs were all read as linear before there was a choice."""
    info = before.get("dataset_info")
    if (
        isinstance(info, Mapping)
        and "encoding" not in info
        and "encoding" in (now.get("dataset_info") or {})
    ):
        before = {**before, "dataset_info": {**info, "encoding": "linear"}}
    recipe, fields = before.get("recipe"), now.get("recipe")
    if not isinstance(recipe, Mapping) or not isinstance(fields, Mapping):
        return before
    defaults = {**json.loads(json.dumps(dataclasses.asdict(Recipe()))), **_BEFORE}
    return {**before, "recipe": {**{k: v for k, v in defaults.items() if k in fields}, **recipe}}


def require_same_run(before: Mapping[str, Any], now: Mapping[str, Any], what: Path) -> None:
    """Raise TrainingError naming what differs between the run that wrote ``what`` and this one.

    A field of the recipe that an older version did not write had its default value, or the one it had
    before the default changed.
    """
    now = json.loads(json.dumps(now))
    found = differences(_completed(before, now), now)
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise TrainingError(
            f"{what} belongs to another run",
            got="; ".join(found[:5]) + more,
            fix="Repeat the command that started that run with --resume, or train into another folder",
        )
