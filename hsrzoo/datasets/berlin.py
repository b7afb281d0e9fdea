"""Berlin-Urban-Gradient 2009: reflectance of the city from the air (HyMap), and simulated for EnMAP.

Okujeni, van der Linden and Hostert, "Berlin-Urban-Gradient dataset 2009", version 1.2, GFZ Data Services,
2016, doi:10.5880/enmap.2016.008, CC BY-SA 4.0: two cuttings, which by their coordinates do not overlap.
HyMap has 9 m a pixel; the EnMAP scene is a simulation with 30 m.

HyMap begins at 455 nm. Of the 31 visible bands it has the 26 from 450 nm, and a response loses its part
below: 27 % of the blue of nikon-d5100, 4 % of its green. The rest is normalised to 1 as for any sensor, so
grey stays grey, and blue means light of longer waves than in the images of a whole response.
"""

from __future__ import annotations

from pathlib import Path

from hsrzoo.camera import DEFAULT_CAMERA
from hsrzoo.datasets.layout import child
from hsrzoo.datasets.measured import Measured, Source
from hsrzoo.errors import require_known
from hsrzoo.spec import DatasetSpec

SOURCES = {
    "hymap": Source(
        "HyMap02_Berlin_Urban_Gradient_2009.bsq",
        (111, 100, 67),
        {"train": (0, 67), "valid": (75, 100)},  # 8 rows between them are used by none
    ),
    "enmap": Source(
        "EnMAP02_Berlin_Urban_Gradient_2009_testData_compressed.bsq",
        (244, 80, 60),
        {"train": (0, 52), "valid": (60, 80)},
        scale=10000.0,
    ),
}
"""By sensor. HyMap's file holds reflectance, EnMAP's reflectance x 10000."""


def open_berlin(
    root: Path, sensor: str = "hymap", bands: str = "visible", response: str = DEFAULT_CAMERA
) -> Measured:
    """Open one of the two scenes under the data root; ``sensor``: ``hymap`` or ``enmap``, the other options
    are those of :class:`Measured`."""
    require_known("sensor of berlin", sensor, SOURCES)
    folder, sources = child(root, "berlin_urban_gradient"), {sensor: SOURCES[sensor]}
    return Measured(SPEC, folder, sources, bands=bands, response=response, info={"sensor": sensor})


SPEC = DatasetSpec(
    name="berlin",
    open=open_berlin,
    title="Berlin-Urban-Gradient 2009, reflectance from HyMap (455-2447 nm) and simulated EnMAP",
    where="GFZ Data Services has it (doi:10.5880/enmap.2016.008, CC BY-SA 4.0); these two cuttings come "
    "with the test data of the EnMAP-Box.",
    size="two scenes, 5 MB",
    layout=f"berlin_urban_gradient/ with {' and '.join(source.file for source in SOURCES.values())}, "
    "each with its .hdr",
)
