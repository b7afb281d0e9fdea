"""``hsrzoo report``: a static site, or Markdown tables, from the rows of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsrzoo.cli import names
from hsrzoo.cli import options as shared

STDOUT = "-"
SITE = Path("site")
"""Where the site goes if nothing else is asked for."""


@click.command("report")
@shared.store("Folder of the rows, as `hsrzoo bench` writes them.")
@click.option("-o", "--out", type=shared.PATH, metavar="FOLDER",
              help=f"Write the site here: index.html, its data and pictures [{SITE}].")  # fmt: skip
@click.option("--markdown", is_flag=False, flag_value=STDOUT, metavar="[FILE]",
              help="Write Markdown tables instead of a site: between the markers <!-- results --> and "
              "<!-- end of results --> of FILE, or on stdout without one.")  # fmt: skip
@click.option("--dataset", type=names.DATASET, metavar="NAME",
              help="Only this data set's scores [all; --markdown and --scenes: the one with most "
              "rows].")  # fmt: skip
@click.option("--split", metavar="NAME", help="Only this split's.")
@click.option("--model", "models", type=names.MODEL, multiple=True, metavar="PATTERN",
              help="Only these models, repeatable: a name or a quoted shell pattern [all; --markdown: "
              "bundled weights and their variants].")  # fmt: skip
@click.option("--scenes", is_flag=True,
              help="Run the models on scenes and show bands, errors and spectra; needs the data set and "
              "the weights.")  # fmt: skip
@click.option("--scene", "scene_names", multiple=True, metavar="NAME",
              help="A scene for --scenes, repeatable [the first three].")  # fmt: skip
@shared.data_root
@shared.data_options
@click.option("--overwrite", is_flag=True, help="Write into a folder that holds other files; they stay.")
def command(store: Path, out: Path | None, markdown: str | None, **options: Any) -> None:
    """Show what stored rows say: a site with leaderboards and plots, or Markdown tables.

    The site is one page that works from a disk without a network: models ranked under every protocol
    and disturbance, with 95 % intervals over scenes; accuracy against speed and size; each
    number leads to its rows. No data set is needed, except for --scenes. Pictures need hsrzoo[report].

    \b
    hsrzoo report
    hsrzoo report -o site --scenes --dataset cave --model mcga-s2.cave --model linear.cave
    hsrzoo report --markdown docs/tables.md
    """
    shared.forbid(out and markdown, "-o FOLDER writes a site, --markdown tables: give one of them")
    with_scenes = options["scenes"] or bool(options["scene_names"])
    if markdown is not None and with_scenes:
        raise click.UsageError("--scenes belongs to a site: leave out --markdown")
    # Imported here, because these import numpy and, with the models, torch.
    from hsrzoo.cli import output
    from hsrzoo_benchmark.results import groups
    from hsrzoo_benchmark.site import scenes, writing
    from hsrzoo_benchmark.tables.markdown import fill, render
    from hsrzoo_benchmark.tables.pictures import new_figure

    found = groups.read(store)
    if options["models"]:
        found = groups.named(found, options["models"])
    elif markdown is not None:
        found = groups.of_bundled(found)
    found = groups.at(found, options["dataset"], options["split"])
    if markdown is None:
        out = out or SITE
        new_figure(1, 1)  # without matplotlib: an error before anything is written
        writing.prepare(out, options["overwrite"])
        sections = []
        if with_scenes:
            wanted, root = options["scene_names"], options["data_root"]
            sections = scenes.sections(found, out, wanted, root, options["data_options"])
        page = writing.write(found, out, sections)
        output.say(f"Site: {page}")
    elif markdown == STDOUT:
        click.echo(render(found))
    else:
        fill(Path(markdown), render(found))
        output.say(f"Results: {markdown}")
