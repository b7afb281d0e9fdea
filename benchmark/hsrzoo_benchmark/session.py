"""One run of a command: open everything, compute what is missing, print."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.bands import VISIBLE_31
from hsrzoo.cli import output
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import HsrzooError, InputError, unknown_name
from hsrzoo.registry import DATASETS, METRICS
from hsrzoo.results import SpeedRow
from hsrzoo.utils.workers import Workers
from hsrzoo_benchmark.plan.cells import Cell, Request, Source, count_missing, plan, reason_not_scored
from hsrzoo_benchmark.plan.conditions import conditions_of
from hsrzoo_benchmark.plan.models import LoadedModels, LoadFailure, ModelSetup, RunModes, load_models
from hsrzoo_benchmark.protocol import DEFAULT_METRICS, named_protocol
from hsrzoo_benchmark.results.figures import COLUMNS, Group, compare, figures, gather, speed_figures
from hsrzoo_benchmark.run import scores, smoke
from hsrzoo_benchmark.run import workers as distributed
from hsrzoo_benchmark.run.messages import bar, finish, stdout_width
from hsrzoo_benchmark.run.scores import Failure, Outcome, Skipped
from hsrzoo_benchmark.speed import timing
from hsrzoo_benchmark.speed.ratios import choose_references
from hsrzoo_benchmark.store import Store
from hsrzoo_benchmark.tables import terminal

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

_UNTRAINED = (
    "[untrained]: seeded random weights, as there are none to load; time and memory do not depend on them."
)


@dataclass(frozen=True)
class Options:
    """What both commands take."""

    models: tuple[str, ...]
    dataset: str | None
    benches: tuple[str, ...]
    metrics: tuple[str, ...] | None
    data_options: dict[str, str]
    split: str | None = None
    protocols: tuple[str, ...] = ()
    tta: bool = False
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    resample: bool = False
    data_root: Path | None = None
    store: Path = Path("results")
    device: str | None = None
    threads: int | None = None
    as_json: bool = False
    as_csv: bool = False
    ways: RunModes = field(default_factory=RunModes)
    """How every model is run: runtimes, precisions, compiled or not, tiles."""
    random_weights: bool = False
    """A smoke test: all networks with random weights, on one crop, rows not kept."""
    workers: Workers | None = None
    """Where scenes are scored; None: in this process. Speed is always measured in this one."""


@dataclass(frozen=True)
class SpeedOptions:
    """What ``--bench speed`` takes besides."""

    references: Sequence[str] = ()
    sizes: Sequence[tuple[int, int]] = ()
    speed_seconds: float = 30.0
    memory_limit: float | None = None


@dataclass
class Session:
    """Everything opened: the store is writable, the data is there, the models are loaded."""

    options: Options
    store: Store
    setups: list[ModelSetup]
    models: list[Reconstructor]
    """The loaded ``setups``."""
    broken: list[LoadFailure]
    source: Source | None
    cells: list[Cell] = field(default_factory=list)
    not_scored: list[tuple[str, HsrzooError]] = field(default_factory=list)
    """Names of the models that are not scored, and why."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in column order."""
        return self.options.metrics or DEFAULT_METRICS


def run_bench(options: Options, speed_options: SpeedOptions | None) -> int:
    """``hsrzoo bench``: the exit code."""
    # Models exported for the run last as long as it: rows, not files, are what the store keeps.
    with tempfile.TemporaryDirectory(prefix="hsrzoo-bench-") as folder:
        if options.random_weights:
            options = replace(options, store=Path(folder, "results"))
        return _run_bench(options, speed_options, Path(folder))


def _run_bench(options: Options, speed_options: SpeedOptions | None, exports: Path) -> int:
    session = open_session(options, exports)
    if session.not_scored and not session.cells and speed_options is None:
        raise session.not_scored[0][1]
    references = choose_references(session.models, speed_options.references if speed_options else ())
    _announce(session, speed_options)
    outcome = compute(session)
    _note_left_out(session, outcome)
    rows: list[SpeedRow] = []
    groups = gather(session.cells, session.source) if session.source else []
    found = figures(groups)
    remarks: list[str] = []
    printed = [
        part
        for table in [*terminal.score_tables(found, session.metrics), *terminal.memory_tables(found)]
        for part in terminal.split_to_width(table, stdout_width())
    ]
    if speed_options is not None:
        rows, speed_outcome = _compute_speed(session, speed_options)
        timed = speed_figures(rows, references)
        printed += terminal.split_to_width(terminal.speed_table(timed, references), stdout_width())
        found += timed
        outcome.computed += speed_outcome.computed
        outcome.failures += speed_outcome.failures
        remarks = terminal.commits_note(rows, scores.provenance_of(str(session.models[0].device)))
    _print(session, found, groups, printed, rows, remarks)
    return finish(outcome, None if options.random_weights else options.store)


def _print(
    session: Session,
    scored: list[dict[str, Any]],
    groups: Sequence[Group],
    printed: Sequence[terminal.Table],
    rows: Sequence[SpeedRow],
    remarks: list[str],
) -> None:
    """The tables of a run and its notes; its figures as JSON or CSV where that was asked for; for random
    weights how many rows there were, of speed ``rows`` too."""
    options = session.options
    if options.random_weights:
        found = smoke.summary(session.cells, rows)
        title = "random weights: rows that came through, no scores"
        formats = {"as_json": options.as_json, "as_csv": options.as_csv}
        columns = dict.fromkeys(key for row in found for key in row)
        output.print_table(found, list(columns), title=title, **formats)
    elif options.as_json or options.as_csv:
        output.print_table(scored, COLUMNS, as_json=options.as_json, as_csv=options.as_csv)
    else:
        for table in printed:
            output.print_table(table.rows, table.columns, title=table.title)
        counters = [c for name in session.metrics for c in METRICS.get(name).columns if c.endswith("_zero")]
        score_rows = [row for group in groups for entry in group.entries for row in entry.rows]
        if any(figure["untrained"] for figure in scored):
            remarks.append(_UNTRAINED)
        remarks += terminal.nodata_note(score_rows)
        for note in [*remarks, *terminal.notes(scored, counters)]:
            output.console.print(note, style="dim", markup=False)


def run_compare(options: Options) -> int:
    """``hsrzoo compare``: the exit code."""
    session = open_session(options)
    for _, error in session.not_scored:
        raise error
    if options.tta and any(model.spec.adapt is None for model in session.models):
        raise InputError("Not both models have test-time adaptation", fix="Leave --tta out")
    session.cells = [cell for cell in session.cells if cell.protocol.tta == options.tta]
    outcome = compute(session)
    rows: list[dict[str, Any]] = []
    a, b = (model.name for model in session.models)
    groups = gather(session.cells, session.source) if session.source else []
    for group in groups:
        if len(group.entries) < 2:
            raise InputError(
                f"{a} and {b} share no figures on {group.condition}",
                expected="scores of both under one protocol hash",
                got="a failed model, or bands that one of them had to be resampled from",
                fix="See the failures, or compare models of the same bands",
            )
        rows += compare(group)
    if options.as_json or options.as_csv:
        output.print_table(
            rows, list(rows[0]) if rows else [], as_json=options.as_json, as_csv=options.as_csv
        )
    else:
        for key in dict.fromkeys((row["bench"], row["protocol"]) for row in rows):
            title = f"{key[0]}: {a} (A) against {b} (B), {options.dataset}, protocol {key[1]}"
            part = [row for row in rows if (row["bench"], row["protocol"]) == key]
            table = terminal.compare_table(part, a, b, title)
            output.print_table(table.rows, table.columns, title=table.title)
    return finish(outcome, options.store)


def open_session(options: Options, exports: Path | None = None) -> Session:
    """Validate names, store and data, load the models and plan the cells before any computation.

    ``exports``: folder for the files of other runtimes than torch.
    """
    for name in options.metrics or ():
        METRICS.get(name)
    for name in options.protocols:
        named_protocol(name)
    store = Store(options.store)
    source = _open_source(options) if options.dataset else None
    if options.workers is not None:
        distributed.check(options.models, options.ways, options.workers)
    field = _load_models(options, exports, source)
    session = Session(options, store, field.setups, field.models, field.broken, source)
    if source is not None and options.benches:
        found = {
            model.name: None
            if options.random_weights
            else reason_not_scored(model, source, options.resample)
            for model in field.models
        }
        session.not_scored = [(name, error) for name, error in found.items() if error is not None]
        request = Request(
            protocols=options.protocols
            or (smoke.PROTOCOLS if options.random_weights else source.spec.protocols),
            conditions=tuple((b, c) for b in options.benches for c in conditions_of(b)),
            metrics=session.metrics,
            seeds=options.seeds,
            tta=options.tta,
            resample=options.resample,
        )
        scored = [model for model in field.models if found[model.name] is None]
        session.cells = plan(scored, source, request, store)
    return session


def _open_source(options: Options) -> Source:
    spec = DATASETS.get(str(options.dataset))
    dataset = open_dataset(spec.name, options.data_root, **options.data_options)
    splits = dataset.splits()
    split = options.split or next((s for s in ("test", "valid") if s in splits), splits[-1])
    if split not in splits:
        raise unknown_name(f"split of {spec.name}", split, splits)
    if options.random_weights:
        return smoke.open_crop(dataset, spec, [options.split] if options.split else [split, *splits])
    scenes = tuple(dataset.scenes(split)[: options.limit])
    if not scenes:
        raise InputError(f"The split {split} of {spec.name} has no scenes")
    return Source(dataset, spec, split, scenes, dataset.fingerprint())


def _load_models(options: Options, exports: Path | None, source: Source | None) -> LoadedModels:
    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    bands = source.dataset.bands if source else VISIBLE_31
    field = load_models(
        options.models, options.ways, options.device, exports, bands, options.random_weights
    )
    if options.tta and all(model.spec.adapt is None for model in field.models):
        raise InputError("None of the models has test-time adaptation", fix="Leave --tta out")
    return field


def _announce(session: Session, speed_options: SpeedOptions | None) -> None:
    """Print on stderr what a run of several models will do, as it may take long."""
    if len(session.models) < 2 or session.options.random_weights:
        return
    parts = []
    if session.source is not None and session.options.benches:
        scored = len({cell.model.name for cell in session.cells})
        parts.append(
            f"{scored} scored on {len(session.source.scenes)} scenes of {session.source.spec.name}"
        )
    if speed_options is not None:
        sizes = ", ".join(f"{h} x {w}" for h, w in speed_options.sizes or timing.SIZES)
        seconds = speed_options.speed_seconds
        parts.append(
            f"all timed at {sizes} in turn: for each size and model one process for memory, then runs of "
            f"{seconds:g} s or a little more"
        )
    output.console.print(f"{len(session.models)} models: {'; '.join(parts)}.", style="dim", markup=False)


def _note_left_out(session: Session, outcome: Outcome) -> None:
    """Add models without scores (skipped) and models that could not be loaded (failed) to ``outcome``."""
    benches = ", ".join(session.options.benches)
    outcome.skipped += [Skipped(name, f"no {benches}", str(error), 0) for name, error in session.not_scored]
    outcome.failures += [Failure(one.name, "loading", str(one.error), 0) for one in session.broken]


def compute(session: Session) -> Outcome:
    """Compute the missing scores under a progress bar."""
    if session.source is None or not session.cells:
        return Outcome()
    options, missing = session.options, count_missing(session.cells, session.source)
    with bar("scoring", missing) as advance:
        if options.workers is None:
            return scores.run(session.cells, session.source, advance)
        setups = {model.name: setup for model, setup in zip(session.models, session.setups, strict=True)}
        return distributed.run(
            session.cells,
            session.source,
            setups,
            options.data_root,
            options.data_options,
            options.workers,
            advance,
        )


def _compute_speed(session: Session, options: SpeedOptions) -> tuple[list[SpeedRow], Outcome]:
    import torch

    settings = timing.Settings(
        threads=torch.get_num_threads(),
        sizes=tuple(options.sizes) or timing.SIZES,
        seconds=options.speed_seconds,
        memory_limit_gib=options.memory_limit,
    )
    missing = timing.missing(session.models, settings, session.store)
    with bar("speed", 2 * missing) as advance:
        return timing.measure(session.setups, session.models, settings, session.store, advance)
