"""``hsrzoo reproduce``: every table and figure of the MCGA paper from stored rows, and the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsrzoo.cli import options as shared
from hsrzoo.cli.names import MODEL
from hsrzoo.errors import HsrzooError

if TYPE_CHECKING:
    from hsrzoo_benchmark.reproduce.evidence import Evidence

TABLES = tuple(f"table-{n}" for n in range(1, 10))
FIGURES = ("figure-3", "figure-4b", "figure-5")
DATASETS = ("cave", "arad", "enmap", "hyspecnet-11k")
REPORT = "report"
RECORDS = Path("records")
"""Folder that the queues behind the paper's tables write their rows into, and the repository holds; not the
default store of the other commands."""


@click.command("reproduce")
@click.argument("what", type=click.Choice([*TABLES, *FIGURES, REPORT]), metavar="WHAT")
@click.option("--store", type=shared.PATH, default=RECORDS, show_default=True,
              help="Folder of the rows; the queues of --run write theirs into records.")  # fmt: skip
@click.option("--dataset", type=click.Choice(DATASETS),
              help="Data that was scored [cave in ARAD-1K's place, enmap in HySpecNet-11k's].")  # fmt: skip
@click.option("--run", is_flag=True,
              help="First make missing rows by benchmark/hsrzoo_benchmark/studies, "
              "into records.")  # fmt: skip
@click.option("--out", type=shared.PATH,
              help="Report: summary, beside a folder results with the tables [docs/results.md]. "
              "Figures: picture [WHAT.png].")  # fmt: skip
@click.option("--model", "models", type=MODEL, multiple=True, metavar="[TITLE=]NAME",
              help="Figures 4b, 5: model, repeatable [mcga-s2; figure 5: mst-plus-plus too].")  # fmt: skip
@click.option("--scene", help="Figures 4b and 5: scene [the first of the split].")
@click.option("--region", metavar="Y,X,H,W", help="Figure 5: pixels [the middle quarter].")
@shared.data_root
@shared.json_or_csv
@click.pass_context
def command(
    context: click.Context, what: str, store: Path, dataset: str | None, run: bool, **options: Any
) -> None:
    """Print a table or figure of the MCGA paper: ours from stored rows, and the paper's.

    WHAT: table-1 to table-9, figure-3, figure-4b, figure-5, or report, which writes docs/results.md
    and the tables and plots in docs/results. Jobs
    without rows are named with the queue that makes them; a table without any row exits with 1. Intervals
    are 95 % over scenes, seeds averaged first. Figures 4b and 5 run the models.
    """
    # Imported here, because these import numpy and, with the models, torch.
    from hsrzoo_benchmark.reproduce import figures, report
    from hsrzoo_benchmark.reproduce.evidence import Evidence

    if what in ("figure-4b", "figure-5"):
        context.exit(figures.draw(what, dataset or "cave", **options))
    if run:
        _run_missing(what, store, dataset)
    if what == REPORT:
        context.exit(report.write(Evidence.read(store), options["out"] or Path("docs/results.md")))
    context.exit(_table(what, Evidence.read(store), dataset, options))


def _rows(what: str, evidence: Evidence, dataset: str | None) -> tuple[str, list[dict[str, Any]]]:
    """A table's title and rows."""
    from hsrzoo_benchmark.reproduce import tables

    if what == "table-6":
        return "Table 6: images a second, batch 1", tables.speed_rows(evidence)
    dataset = dataset or tables.default_dataset(what)
    spec = tables.table_spec(what, dataset)
    return f"{spec.title}, {dataset}", tables.rows_of(spec, evidence, dataset)


def _table(what: str, evidence: Evidence, dataset: str | None, options: dict[str, Any]) -> int:
    """Print one table or figure 3; 1 where it has no row at all."""
    from hsrzoo.cli import output
    from hsrzoo_benchmark.reproduce import figures, text
    from hsrzoo_benchmark.reproduce.queues import missing_lines
    from hsrzoo_benchmark.run.messages import stdout_width
    from hsrzoo_benchmark.tables.terminal import Table, split_to_width

    title, rows = _rows(what, evidence, dataset)
    there = [row for row in rows if not row["missing"]]
    if options["as_json"] or options["as_csv"]:
        keys = list(dict.fromkeys(key for row in rows for key in row))
        output.print_table(rows, keys, as_json=options["as_json"], as_csv=options["as_csv"])
    else:
        cells = text.table(rows)
        columns = {key: key for row in cells for key in row}
        for part in split_to_width(Table(title, columns, list(cells)), stdout_width()):
            output.print_table(part.rows, part.columns, title=title)
        for note in text.notes(what, rows, dataset):
            output.say(note, style="dim")
    for line in missing_lines(row["missing"] for row in rows if row["missing"]):
        output.say(line)
    if there and what == "figure-3":
        path = figures.shares(there, options["out"] or Path("figure-3.png"))
        output.say(f"Picture: {path}")
    return 0 if there else 1


def _run_missing(what: str, store: Path, dataset: str | None) -> None:
    """Start the queues of the jobs that lack rows, each in a process of its own."""
    from hsrzoo_benchmark.reproduce.evidence import Evidence
    from hsrzoo_benchmark.reproduce.queues import queues_of
    from hsrzoo_benchmark.reproduce.report import lacking

    try:
        evidence = Evidence.read(store)
    except HsrzooError:  # a store without rows lacks all of them
        evidence = Evidence([])
    rows = [] if what == REPORT else _rows(what, evidence, dataset)[1]
    jobs = lacking(evidence) if what == REPORT else [row["missing"] for row in rows if row["missing"]]
    for file, names in queues_of(jobs).items():
        if file is not None:
            only = [part for name in names for part in ("--only", name)]
            train = [sys.executable, "-m", "hsrzoo", "train"]
            subprocess.run([*train, "--queue", str(file), *only], check=False)
