"""Samson: a test cube of unmixing, 95 x 95 pixels of soil, trees and water in 156 bands, 401-889 nm.

The cube circulates without its wavelengths. The literature gives the range; even steps are assumed;
the values come scaled to a maximum of 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hsrzoo.bands import BandSet
from hsrzoo.camera import DEFAULT_CAMERA
from hsrzoo.datasets.layout import child
from hsrzoo.datasets.measured import Measured, Source
from hsrzoo.spec import DatasetSpec

BANDS = BandSet.of(np.linspace(401, 889, 156).tolist())
SOURCES = {
    "samson": Source(
        "samson_1.mat",
        (156, 95, 95),
        {"train": (0, 64), "valid": (72, 95)},  # 8 rows between them are used by none
        axes="c(wh)",
        bands=BANDS,
    )
}


def open_samson(root: Path, bands: str = "visible", response: str = DEFAULT_CAMERA) -> Measured:
    """Open Samson under the data root; the options are those of :class:`Measured`."""
    info = {"sensor": "samson"}
    return Measured(SPEC, child(root, "samson"), SOURCES, bands=bands, response=response, info=info)


SPEC = DatasetSpec(
    name="samson",
    open=open_samson,
    title="Samson, one scene of soil, trees and water, 401-889 nm in 156 bands",
    where="A test cube of unmixing that many pages on the subject offer; its terms are not stated.",
    size="one scene of 95 x 95 pixels and 156 bands, 4 MB",
    mirrors=("https://huggingface.co/datasets/danaroth/samson",),
    layout="samson/samson_1.mat with V (156, 9025), nRow and nCol",
)
