"""One row of stored results: its fields, their types, and what a line must hold to be one.

A row is a line of JSON in a ``.jsonl`` file of a result store: the score of one scene (:class:`ScoreRow`)
or the time and memory of one image size (:class:`SpeedRow`). :mod:`hsrzoo.results.reader` reads and chooses
them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime, timezone
from functools import cached_property
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.utils.json_kinds import TEXT, Each, Whole, problems

SCHEMA = "hsrzoo.result/1"
"""Of every row that this version writes and reads."""
HASH_LENGTH = 12
"""Hex digits of a hash that file names and tables show; rows have all 64."""
SPEED = "speed"
"""``bench`` of a :class:`SpeedRow`."""
FOLD = re.compile(r"fold-\d+")
"""Splits that are one part of a data set's split ``train`` in cross-validation."""
_PLAIN = frozenset({str, int, bool, type(None)})
_TEXT = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def number(value: Any) -> Any:
    """A stored value as Python has it: ``"NaN"`` and infinities, text in JSON, become floats."""
    return _TEXT.get(value, value) if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """``value`` as JSON types. Non-finite floats become text, as strict JSON has none."""
    kind = type(value)
    if kind in _PLAIN or (kind is float and math.isfinite(value)):  # nearly all, of a large store
        return value
    if isinstance(value, BandSet):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, PurePath):
        return str(value)
    return value


def digest(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of ``value``: sorted keys, no spaces, exact floats."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class RowError(ValueError):
    """A line that is no row, and why."""

    def __init__(self, reason: str, newer: bool = False) -> None:
        super().__init__(reason)
        self.newer = newer
        """Whether a newer version of hsrzoo wrote it."""


RowType = TypeVar("RowType", bound="Row")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What rows of both kinds have. Fields of a row are stored in the order of its class."""

    file: str = field(default="", compare=False)
    """Path within the store that the row was read from, and number of its line."""
    line: int = field(default=0, compare=False)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Stored fields that this version does not know."""
    absent: frozenset[str] = frozenset()
    """Optional fields that are not stored, as earlier versions did not write them."""
    bench: str
    model: str
    """Name in tables, with what differs from the usual way of running it: ``mcga-s2.cave [bf16]``."""
    architecture: str
    execution: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str | None
    """None for weights without a digest."""
    model_sha256: str | None
    """Of everything that decides a cube: weights, configuration, precision and so on."""
    untrained: bool = False

    @classmethod
    def from_json(cls: type[RowType], value: Mapping[str, Any], file: str = "", line: int = 0) -> RowType:
        """The row that a JSON object holds. Raises RowError where a field is missing or of another type."""
        stored = {f.name: f for f in fields(cls) if f.name not in _NOT_STORED}
        known = {name: f for name, f in stored.items() if name in value}
        values = {name: _value(name, str(f.type), value[name]) for name, f in known.items()}
        absent = stored.keys() - values.keys()
        for name in sorted(absent):
            if stored[name].default is MISSING and stored[name].default_factory is MISSING:
                raise RowError(f"no field {name}")
        extra = {key: item for key, item in value.items() if key not in stored and key != "schema"}
        row = cls(**values, file=file, line=line, extra=extra, absent=frozenset(absent))
        row.check()
        return row

    def check(self) -> None:
        """Raise RowError where a part that is read holds another kind of value."""
        _require(self.provenance, _PROVENANCE, "provenance")  # type: ignore[attr-defined]  # of both kinds

    def to_json(self) -> dict[str, Any]:
        """The row as it is stored: plain JSON values, the schema first."""
        names = (f.name for f in fields(self) if f.name not in _NOT_STORED and f.name not in self.absent)
        return plain({"schema": SCHEMA, **{name: getattr(self, name) for name in names}, **self.extra})


_NOT_STORED = ("file", "line", "extra", "absent")


@dataclass(frozen=True, kw_only=True)
class ScoreRow(Row):
    """How one model scored on one scene under one protocol."""

    training: Mapping[str, Any] | None = None
    """What training the weights took: steps, seconds."""
    trained_on: str | None = None
    also_trained_on: tuple[str, ...] = ()
    """Other data sets that the model's codebooks come from."""
    seen_in_training: bool = False
    dataset: str
    split: str
    fingerprint: str
    """Of the files of the data set."""
    scene: str
    protocol_name: str
    protocol_hash: str
    """Of the whole protocol."""
    protocol_group: str
    """Hash without metrics, seed and test-time adaptation; see :attr:`group`."""
    protocol: Mapping[str, Any]
    perturbation: str | None = None
    severity: str | None = None
    seed: int | None = None
    """Of the perturbation."""
    tta: bool = False
    """With test-time adaptation."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """What was measured while the scene was perturbed."""
    seconds: float = 0.0
    provenance: Mapping[str, Any]
    """Code and machine."""
    timestamp: str
    scored_bands: int = 0
    metrics: Mapping[str, float]
    """Column -> value; NaN and infinities are floats here and text in the file."""
    per_band: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """``rmse`` and ``bias`` (mean of prediction less truth) of each band of the data, in its order; NaN for
    bands that are not scored. Earlier versions did not store them."""

    @cached_property
    def time(self) -> datetime:
        """When the row was written."""
        return _time(self.timestamp)

    def check(self) -> None:
        super().check()
        if "metrics" not in self.protocol:
            _require(self.protocol, {"tta_settings?": Each(object)}, "protocol")
            return
        _require(self.protocol, _PROTOCOL, "protocol")
        named = self.protocol["metrics"]
        wrong = next((one for one in named if len(one) != 3), None)
        if wrong is not None:
            raise RowError(
                f"protocol.metrics: expected name, version and signature, got {str(wrong)[:40]!r}"
            )
        if len(self.protocol["value_range"]) != 2:
            raise RowError("protocol.value_range: expected two numbers")
        absent = [name for name, _, _ in named if name not in self.metrics]
        if absent:
            raise RowError(f"no metrics.{absent[0]}")

    @cached_property
    def group(self) -> str:
        """Hash of what two figures of one metric must share: the protocol without metrics, seed and
        test-time adaptation.

        It is ``protocol_group``, but in rows of earlier versions, where that covers the metrics too: a new
        metric would part these rows from all later ones. For them it is computed from the protocol.
        """
        shared = {k: v for k, v in self.protocol.items() if k != "name"}
        shared |= {"seed": None, "tta": False, "tta_settings": {}}
        if digest(shared) != self.protocol_group:
            return self.protocol_group
        return digest({k: v for k, v in shared.items() if k != "metrics"})

    @cached_property
    def setting(self) -> tuple[Any, ...]:
        """What rows of one cell share besides model and data: :attr:`group`, seed and adaptation."""
        return self.group, self.seed, self.tta, digest(self.protocol.get("tta_settings", {}))


@dataclass(frozen=True, kw_only=True)
class SpeedRow(Row):
    """Time and memory of one model on images of one size."""

    bands: int = 0
    run: str = ""
    """Id of the run: models of one run were timed in turn, so that their ratios count."""
    method: int = 0
    """Version of the way of measuring."""
    size: tuple[int, int]
    """Height and width, pixels."""
    memory_limit_gib: float | None = None
    cap_seconds: float = 0.0
    search: str | None = None
    """Engine of code search that was asked for."""
    status: str
    """``ok`` or ``OOM``."""
    peak_mib: float | None = None
    loaded_mib: float | None = None
    cold_seconds: float | None = None
    macs: int | None = None
    device_p50: float | None = None
    """Of the network alone on a GPU, seconds."""
    bandwidth: float | None = None
    """Of the GPU's memory, bytes a second."""
    runs: int = 0
    p50: float | None = None
    """Median and 90th percentile of the runs, seconds."""
    p90: float | None = None
    cpu_p50: float | None = None
    """Median CPU time of all threads, seconds; on a busy machine it changes less than the time itself."""
    seconds: tuple[float, ...] = ()
    """Of the first runs."""
    provenance: Mapping[str, Any]
    timestamp: str

    @cached_property
    def time(self) -> datetime:
        """When the row was written."""
        return _time(self.timestamp)

    def check(self) -> None:
        super().check()
        for name in ("p50", "p90", "cpu_p50", "device_p50"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise RowError(f"{name}: expected seconds above 0, got {seconds}")

    @property
    def size_text(self) -> str:
        """``HEIGHTxWIDTH``."""
        return "x".join(map(str, self.size))

    @property
    def machine(self) -> tuple[str | None, int | None]:
        """Name of the device, and number of threads."""
        return self.provenance.get("device_name"), self.provenance.get("threads")


AnyRow = ScoreRow | SpeedRow
R = TypeVar("R", ScoreRow, SpeedRow)
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "bool": (bool,), "int": (int,), "float": (int, float),
    "Mapping[str, Any]": (dict,), "Mapping[str, float]": (dict,),
    "Mapping[str, tuple[float, ...]]": (dict,),
    "tuple[str, ...]": (list, tuple), "tuple[float, ...]": (list, tuple), "tuple[int, int]": (list, tuple),
}  # fmt: skip
"""Annotation of a field -> what JSON has there."""
_TUPLES = {"tuple[str, ...]": [str], "tuple[float, ...]": [float], "tuple[int, int]": [Whole(1, 1 << 40)]}
_PROTOCOL = {
    "metrics": [[str]],
    "bands": {"centres_nm": [float]},
    "value_range": [float],
    "severity_value": object,
    "tta_settings?": Each(object),
}
"""What is read of a protocol. One without metrics is not looked at: it says only which rows to compare."""
_PROVENANCE = {"device_name?": TEXT, "threads?": (int, type(None)), "commit?": TEXT}


def _value(name: str, annotation: str, stored: Any) -> Any:
    """A field as Python has it. Raises RowError where JSON has another type there."""
    kind = annotation.removesuffix(" | None")
    if stored is None and kind != annotation:
        return None
    value: Any = number(stored) if kind == "float" else stored
    allowed: Any = _JSON_TYPES[kind]
    if not isinstance(value, allowed):
        raise RowError(f"{name}: expected {annotation}, got {str(stored)[:40]!r}")
    if kind.startswith("tuple"):
        wrong = next(problems(list(value), _TUPLES[kind], name), None)
        if wrong or (kind == "tuple[int, int]" and len(value) != 2):
            raise RowError(f"{name}: expected {annotation}, got {str(stored)[:40]!r}")
        return tuple(value)
    if name in ("metrics", "info"):
        value = {key: number(item) for key, item in value.items()}
    if kind == "Mapping[str, float]" and not all(isinstance(item, int | float) for item in value.values()):
        raise RowError(f"{name}: expected numbers, got {str(stored)[:40]!r}")
    if kind == "Mapping[str, tuple[float, ...]]":
        value = {key: _numbers(name, item) for key, item in value.items()}
    if name == "timestamp":
        _time(value)
    return value


def _require(value: object, kind: Any, name: str) -> None:
    wrong = next(problems(value, kind, name), None)
    if wrong:
        raise RowError(wrong)


def _numbers(name: str, stored: Any) -> tuple[float, ...]:
    values: list[Any] = [number(item) for item in stored] if isinstance(stored, list | tuple) else [None]
    if not all(isinstance(value, int | float) for value in values):
        raise RowError(f"{name}: expected lists of numbers, got {str(stored)[:40]!r}")
    return tuple(values)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise RowError(f"timestamp: expected a date and time of ISO 8601, got {text[:40]!r}") from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
