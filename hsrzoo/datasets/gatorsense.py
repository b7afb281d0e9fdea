"""GatorSense: the four demonstration images of a toolbox for hyperspectral analysis, from two sensors.

Three small ones, 72 bands from 368 to 1043 nm, and one of 224 bands from 366 to 2496 nm, all reflectance.
Negative values, mostly below 440 nm, are kept. 604 pixels of ``an_hsi_image_sub_for_demo`` repeat one
spectrum, and its own mask leaves them out: no data. No two of the small images share a spectrum.
"""

from __future__ import annotations

from pathlib import Path

from hsrzoo.camera import DEFAULT_CAMERA
from hsrzoo.datasets.layout import child
from hsrzoo.datasets.measured import Measured, Source
from hsrzoo.errors import require_known
from hsrzoo.spec import DatasetSpec

EMPTY = (0, 1, *range(96, 116), *range(153, 171), *range(221, 224))
"""Places of the 43 bands of the large image that are 0 throughout: both ends and water vapour."""
_SOURCES = {
    "72": (
        Source("an_hsi_image_sub_for_demo.mat", (72, 51, 88), {"train": (0, 51)}, mask="mask_sub"),
        Source("an_hsi_img_for_class_demo.mat", (72, 31, 20), {"train": (0, 31)}),
        Source("an_hsi_img_for_tgt_det_demo.mat", (72, 36, 36), {"valid": (0, 36)}),
    ),
    "224": (
        Source(
            "a_hsi_img_for_VI_demo.mat",
            (224, 90, 90),
            {"train": (0, 60), "valid": (68, 90)},  # 8 rows between them are used by none
            scale=10000.0,
            empty=EMPTY,
        ),
    ),
}
GROUPS = {
    group: {Path(source.file).stem: source for source in sources} for group, sources in _SOURCES.items()
}
"""By number of bands, for those of one data set are the same. 72: scenes are divided; 224: rows."""


def open_gatorsense(
    root: Path, group: str | int = "72", bands: str = "visible", response: str = DEFAULT_CAMERA
) -> Measured:
    """Open the images of one sensor; ``group``: 72 or 224, its number of bands, of which 224 has 181 with
    data; the other options are those of :class:`Measured`."""
    group = str(group)
    require_known("group of gatorsense", group, GROUPS)
    info = {"sensor": f"{group} bands"}
    return Measured(
        SPEC, child(root, "gatorsense"), GROUPS[group], bands=bands, response=response, info=info
    )


SPEC = DatasetSpec(
    name="gatorsense",
    open=open_gatorsense,
    title="GatorSense's demonstration images, 368-1043 nm in 72 bands and 366-2496 nm in 224",
    where="They come with GatorSense's toolbox, https://github.com/GatorSense/hsi_toolkit_py (MIT): in its "
    "folders demos, endmember_extraction/VCA, signature_detectors and spectral_indices.",
    size="four scenes of 90 x 90 pixels at most, 4 MB",
    layout="gatorsense/ with a_hsi_img_for_VI_demo.mat, an_hsi_image_sub_for_demo.mat, "
    "an_hsi_img_for_class_demo.mat and an_hsi_img_for_tgt_det_demo.mat",
)
