"""Write hsrzoo/data/measured-cameras.csv and camera-names.csv from rawtoaces-data (Apache-2.0).

Run ``python scripts/export_camera_responses.py FOLDER`` with a checkout of
https://github.com/AcademySoftwareFoundation/rawtoaces-data: the output is the same byte for byte as long as
its tables are. Its licence goes to hsrzoo/data/LICENSE.rawtoaces-data.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "hsrzoo" / "data"
SOURCE = "exported from rawtoaces-data (Apache-2.0; see LICENSE.rawtoaces-data)"
TAKEN = {"nikon-d5100": "nikon-d5100-rawtoaces"}
"""Names of responses from elsewhere, and what those of this source are called instead."""


def name_of(make: str, model: str) -> str:
    """``Canon``, ``EOS 100D`` -> ``canon-eos-100d``."""
    name = re.sub(r"[^a-z0-9]+", "-", f"{make} {model}".lower()).strip("-")
    return TAKEN.get(name, name)


def response_rows(folder: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    """The lines of the table, and (make, model, name) of every camera."""
    lines, names = [], []
    for path in sorted((folder / "data" / "camera").glob("*.json")):
        content = json.loads(path.read_text())
        make, model = content["header"]["manufacturer"], content["header"]["model"]
        name = name_of(make, model)
        rows = sorted((float(nm), row) for nm, row in content["spectral_data"]["data"]["main"].items())
        if not lines:
            lines = [f"# Measured camera responses, {SOURCE}"]
            lines.append(",".join(["camera", "channel_of_nm", *(f"{nm:g}" for nm, _ in rows)]))
        columns = zip(*(row for _, row in rows), strict=True)
        for channel, values in zip("rgb", columns, strict=True):
            lines.append(",".join([name, channel, *(f"{value:.6g}" for value in values)]))
        names.append((make, model, name))
    return lines, names


def alias_rows(folder: Path, names: list[tuple[str, str, str]]) -> list[str]:
    """The lines of the table of names: make and model as EXIF writes them, and the response's name."""
    aliases: Any = json.loads((folder / "data" / "aliases.json").read_text())["data"]["camera"]
    rows = {(make, model): (name, "") for make, model, name in names}
    for make, models in aliases["model"].items():
        for model, other in models.items():
            comment = other["comments"].replace(",", ";")
            rows[make, model] = (name_of(other["make"], other["model"]), comment)
    for other_make, make in aliases["make"].items():
        rows |= {(other_make, model): row for (m, model), row in list(rows.items()) if m == make}
    lines = [f"# Makes and models by EXIF, {SOURCE}", "make,model,camera,comment"]
    return lines + [",".join([*key, *row]) for key, row in sorted(rows.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    lines, names = response_rows(folder)
    (DATA / "measured-cameras.csv").write_text("\n".join(lines) + "\n")
    (DATA / "camera-names.csv").write_text("\n".join(alias_rows(folder, names)) + "\n")
    shutil.copyfile(folder / "LICENSE", DATA / "LICENSE.rawtoaces-data")


if __name__ == "__main__":
    main()
