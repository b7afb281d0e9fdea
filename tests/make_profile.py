"""ICC profiles for tests: three primaries and one gamma, as version 2 of the format has it."""

from __future__ import annotations

import struct

import numpy as np

P3_TO_XYZ_D50 = np.array(
    [
        [0.51512, 0.29198, 0.15710],
        [0.24120, 0.69225, 0.06657],
        [-0.00105, 0.04189, 0.78407],
    ]
)
"""Columns are the colorants of Display P3, adapted to D50."""
_D50 = (0.9642, 1.0, 0.8249)


def icc_profile(name: str, to_xyz_d50: np.ndarray, gamma: float) -> bytes:
    """A display profile whose values v stand for the XYZ ``to_xyz_d50 @ v ** gamma``."""
    tags = {
        b"desc": _text(name),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": _xyz((0.9642, 1.0, 0.8249)),
    }
    for letter, colorant in zip(b"rgb", to_xyz_d50.T, strict=True):
        tags[bytes([letter]) + b"XYZ"] = _xyz(colorant)
        tags[bytes([letter]) + b"TRC"] = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sI4sI2I3I4s", start + len(data), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ",
        2024, 1, 1, 0, 0, 0, b"acsp", b"MSFT", 0, b"none", 0, 0, 0, *_fixed(_D50), b"none",
    )  # fmt: skip
    return header.ljust(128, b"\0") + table + data


def _fixed(values) -> list[int]:
    return [round(float(v) * 65536) & 0xFFFFFFFF for v in values]


def _xyz(values) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3I", *_fixed(values))


def _text(name: str) -> bytes:
    text = name.encode("ascii") + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)
