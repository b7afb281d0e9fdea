"""The folder of a site: one page, its data and its pictures; nothing else in it is touched."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from hsrzoo.cli.output import strict
from hsrzoo.errors import InputError
from hsrzoo.utils.files import make_folder, write_atomically
from hsrzoo_benchmark.results.figures import COLUMNS, Group, figures
from hsrzoo_benchmark.results.groups import Current, groups, speed_groups
from hsrzoo_benchmark.site import coverage, plots
from hsrzoo_benchmark.site.choice import choose
from hsrzoo_benchmark.site.page_data import Ids, describe

PAGE, DATA, ROWS, FIGURES, PICTURES, CACHE = (
    "index.html", "data.json", "rows.jsonl", "figures.csv", "pictures", ".cache",
)  # fmt: skip
"""What a site's folder holds."""
STORED_IN = "stored_in"
"""Key of a row in :data:`ROWS`: its file within the store."""
MADE_BY = "hsrzoo report"
"""``made_by`` in data.json, by which a site is recognised."""


def prepare(folder: Path, overwrite: bool) -> None:
    """Make the folder; InputError where it holds what is not a site of ours, unless ``overwrite``."""
    if folder.is_dir() and not overwrite:
        foreign = sorted(path.name for path in folder.iterdir())
        if foreign and not _is_site(folder):
            raise InputError(
                f"{folder} holds other files",
                expected="a new or empty folder, or a site of an earlier report",
                got=", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else ""),
                fix="Choose another folder with -o, or add the site to them with --overwrite",
            )
    make_folder(folder)
    make_folder(folder / PICTURES)


def _is_site(folder: Path) -> bool:
    """Whether all files are ours; a run that was killed leaves pictures and no data yet."""
    own = {PAGE, DATA, ROWS, FIGURES, PICTURES, CACHE}
    if any(path.name not in own for path in folder.iterdir()):
        return False
    if not (folder / DATA).exists():
        return not (folder / PAGE).exists()
    try:
        return json.loads((folder / DATA).read_bytes()).get("made_by") == MADE_BY
    except (ValueError, AttributeError):
        return False


def write(current: Current, folder: Path, scenes: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Write the site into a prepared folder, the page last; its path. ``scenes``: what
    :func:`hsrzoo_benchmark.site.scenes.sections` gives."""
    scored = groups(current.scores)
    drawn = _plots(current, scored, folder)
    pictures = [one["file"] for one in [*drawn, *(p for scene in scenes for p in scene["pictures"])]]
    data = {"made_by": MADE_BY, "pictures": pictures, **describe(current, scored)}
    all_figures = figures(scored)
    all_figures += [figure for group in speed_groups(current).values() for figure in group]
    _forget(folder, pictures)
    write_atomically(folder / FIGURES, _csv(all_figures).encode())
    rows = ({**row.to_json(), STORED_IN: row.file} for row in (*current.scores, *current.speed))
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    write_atomically(folder / ROWS, "".join(f"{line}\n" for line in lines).encode())
    text = json.dumps(strict(data), ensure_ascii=False, allow_nan=False)
    write_atomically(folder / DATA, text.encode())
    page = folder / PAGE
    linked = [_linked(scene, data["entries"]) for scene in scenes]
    write_atomically(page, _page(json.loads(text), drawn, linked).encode())
    return page


def _forget(folder: Path, pictures: Sequence[str]) -> None:
    """Remove the pictures of an earlier site that this one does not have."""
    try:
        earlier = json.loads((folder / DATA).read_bytes()).get("pictures", [])
    except (OSError, ValueError, AttributeError):  # there was none
        return
    for name in set(earlier) - set(pictures):
        (folder / PICTURES / Path(name).name).unlink(missing_ok=True)


def _linked(scene: Mapping[str, Any], entries: Mapping[str, Any]) -> dict[str, Any]:
    """A scene whose lines name the entries that their rows belong to."""
    ids = {
        (*identity, protocol): key
        for key, entry in entries.items()
        for identity in entry["identities"]
        for protocol in entry["protocols"]
    }
    rows = [{**row, "entry": ids[row["model"], row["identity"], row["protocol"]]} for row in scene["rows"]]
    return {**scene, "rows": rows}


def _page(data: Mapping[str, Any], drawn: Sequence[Mapping[str, str]], scenes: Sequence[Any]) -> str:
    from jinja2 import Environment, FunctionLoader
    from markupsafe import Markup

    own = files(__package__)

    def read(name: str) -> str:
        return (own / name).read_text(encoding="utf-8")

    environment = Environment(loader=FunctionLoader(read), autoescape=True, trim_blocks=True)
    # Without sorting: the order of facts is part of what they say.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}
    return environment.get_template("page.html").render(
        data=data,
        made=data["made"],
        plots=drawn,
        scenes=scenes,
        version=version("hsrzoo"),
        css=Markup(read("page.css")),
        js=Markup(read("page.js")),
        export_js=Markup(read("export.js")),
    )


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _plots(current: Current, scored: Sequence[Group], folder: Path) -> list[dict[str, str]]:
    """Pictures of the groups of undisturbed images, as far as costs are known."""
    speed = plots.speeds(speed_groups(current))
    costs: list[tuple[str, str, Mapping[str, float]]] = [("speed", *speed)] if speed else []
    costs.append(("size", "numbers that the network holds", plots.sizes(current)))
    ids, found = Ids(), []
    for group in scored:
        if group.first.perturbation is not None:
            continue
        place = "/".join(group.place)
        protocol = group.first.protocol_name
        for what, label, values in costs:
            points = plots.points(choose(group).first, values)
            if len(points) < plots.LEAST:
                continue
            name = f"{ids.of(*group.place, protocol, what)}.svg"
            plots.draw(points, label, folder / PICTURES / name)
            title = f"{place}, {protocol}: RMSE against {what}"
            alt = "; ".join(f"{p.label}: {p.x:.4g}, RMSE {p.mean:.4g}" for p in points)
            found.append({"file": f"{PICTURES}/{name}", "title": title, "alt": alt, "place": place})
    for group_place, of_models in coverage.coverages(scored).items():
        name = f"{ids.of(*group_place, 'coverage')}.svg"
        coverage.draw(of_models, folder / PICTURES / name)
        place, alt = "/".join(group_place), coverage.describe(of_models)
        title = f"{place}: prediction intervals"
        found.append({"file": f"{PICTURES}/{name}", "title": title, "alt": alt, "place": place})
    return found
