"""The format of an exported file: opening it and validating its metadata and ports. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hsrzoo.errors import FormatError, InputError, PluginError
from hsrzoo.models.metadata import CODEBOOK, MOST_PADDED, TRAINING, read_object
from hsrzoo.spec import ModelSpec, RgbInput
from hsrzoo.utils.files import require_regular
from hsrzoo.utils.threads import thread_count

SCHEMA = 1
"""Version of the metadata in a file; a higher number asks the user to upgrade."""
METADATA_KEY = "hsrzoo"
"""The file's metadata hold one JSON object under this key."""
INPUT, OUTPUT = "rgb", "cube"
"""Names of the graph's only input, (1, 3, H, W) float32 in [0, 1], and output, (1, C, H, W) float32."""
INTERVAL_OUTPUTS = ("scale", "unfamiliar")
"""Names of two more outputs of graphs with intervals, (1, C, H, W) and (1, H, W) float32. The half-width of
an interval is the scale times the factor of its level and band, which the metadata hold."""
_FIELDS: dict[str, Any] = {
    "schema": int,
    "name": str,
    "architecture": str,
    "bands": dict,
    "input": dict,
    "opset": int,
    "precision": str,
    "library_version": str,
    "config": {"training?": TRAINING, "codebook?": CODEBOOK},
    "intervals?": {"factors": dict, "dataset": str, "scenes": int},
}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def missing_onnx(error: ImportError) -> PluginError:
    """The error for a package of the extra ``onnx`` that is not installed."""
    return PluginError(
        "A package that exported networks need is not installed",
        expected='the extra "onnx"',
        got=str(error),
        fix='pip install "hsrzoo[onnx]" (to run a file without torch: pip install onnxruntime)',
    )


def read(path: Path) -> bytes:
    """The file's bytes. Raises InputError where there is none, FormatError where it is empty."""
    require_regular(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            "The exported network cannot be read", expected="an .onnx file", got=f"{path}: {error.strerror}"
        ) from None
    if not data:
        raise FormatError(f"{path} is empty (0 bytes)", fix="Copy it again, or export it again")
    return data


def open_session(data: bytes, path: Path, threads: int | None, device: str | None) -> tuple[Any, str]:
    """An inference session and the name of its device."""
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_onnx(error) from None
    available = onnxruntime.get_available_providers()
    here = [name for name, provider in _PROVIDERS.items() if provider in available]
    kind = (device or here[-1]).partition(":")[0]
    if kind not in here:
        raise InputError(
            f"onnxruntime cannot use the device {device!r}", expected=" or ".join(here), got=repr(device)
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised; printed as well, they would come twice
    options.intra_op_num_threads = threads or thread_count()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=[_PROVIDERS[kind]])
    except Exception as error:  # onnxruntime's errors share no base but Exception
        raise FormatError(
            f"{path} is not a network that onnxruntime can load",
            expected="a whole .onnx file of a supported opset",
            got=str(error),
            fix="Copy it again, export it again, or upgrade onnxruntime",
        ) from None
    return session, kind


def metadata_of(session: Any, path: Path) -> dict[str, Any]:
    """What ``hsrzoo export`` wrote into the file, validated."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise FormatError(
            f"{path} does not say which bands it gives and what it expects",
            expected="a file written by `hsrzoo export`",
            got=f"an ONNX file without the metadata {METADATA_KEY!r}",
        )
    return read_object(text, _FIELDS, SCHEMA, f"The metadata of {path}", FormatError)


def spec_of(metadata: Mapping[str, Any], path: Path) -> ModelSpec:
    """The model as far as a file describes it: its input and its source; it cannot be built."""
    given = metadata["input"]
    sizes = {key: given.get(key) for key in ("multiple", "min_size")}
    if not all(type(v) is int and 1 <= v <= MOST_PADDED for v in sizes.values()):
        raise FormatError(
            f"The metadata of {path} describe an impossible input",
            expected=f"multiple and min_size from 1 to {MOST_PADDED}",
            got=str(given),
        )
    config = metadata["config"]
    return ModelSpec(
        name=metadata["architecture"],
        build="hsrzoo.models.onnx_runtime:OnnxModel",
        summary=f"{metadata['name']} exported as ONNX, {metadata['precision']}",
        source=str(config.get("source", "")),
        licence=str(config.get("licence", "")),
        # a normalisation, where there is one, is part of the graph
        input=RgbInput(multiple=sizes["multiple"], min_size=sizes["min_size"]),
    )


def require_ports(session: Any, bands: int, path: Path, intervals: bool = False) -> None:
    """The graph must have inputs and outputs of the right names, types and channels."""
    ports = [*session.get_inputs(), *session.get_outputs()]
    got = [(port.name, port.type, port.shape[:2] if port.shape else None) for port in ports]
    expected: list[tuple[str, str, Any]] = [
        (INPUT, "tensor(float)", [1, 3]),
        (OUTPUT, "tensor(float)", [1, bands]),
    ]
    if intervals:
        expected.append((INTERVAL_OUTPUTS[0], "tensor(float)", [1, bands]))
        got = [*got[:3], *((name, kind, None) for name, kind, _ in got[3:])]
        expected.append((INTERVAL_OUTPUTS[1], "tensor(float)", None))
    if got != expected:
        raise FormatError(f"The graph in {path} is of another form", expected=expected, got=got)
