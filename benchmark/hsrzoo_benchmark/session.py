"""One run of a command: open everything, compute what is missing, print."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsrzoo.bands import VISIBLE_31
from hsrzoo.cli import output
from hsrzoo.datasets import open_dataset
from hsrzoo.errors import HsrzooError, InputError
from hsrzoo.registry import DATASETS, METRICS
from hsrzoo.results import SpeedRow
from hsrzoo.utils.threads import set_threads
from hsrzoo_benchmark.plan.cells import Cell, Source, missing, no_weights, plan, reason_not_scored
from hsrzoo_benchmark.plan.models import LoadedModels, ModelSetup, load_models, plain_name, untrained
from hsrzoo_benchmark.plan.options import Options
from hsrzoo_benchmark.protocol import named_protocol
from hsrzoo_benchmark.results.figures import COLUMNS, Group, compare, figures, gather
from hsrzoo_benchmark.results.speeds import speed_figures
from hsrzoo_benchmark.run import scores, smoke, uncertainty
from hsrzoo_benchmark.run import workers as distributed
from hsrzoo_benchmark.run.messages import finish, stdout_width
from hsrzoo_benchmark.run.scores import Failure, Outcome, Skipped
from hsrzoo_benchmark.speed import timing
from hsrzoo_benchmark.speed.ratios import choose_references
from hsrzoo_benchmark.speed.timing import SpeedOptions
from hsrzoo_benchmark.store import Store
from hsrzoo_benchmark.tables import terminal

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor

_UNTRAINED = (
    "[untrained]: seeded random weights, as there are none to load; time and memory do not depend on them."
)


@dataclass
class Session:
    """Everything opened: the store is writable, the data is there, models that have to run are loaded."""

    options: Options
    store: Store
    loaded: LoadedModels
    source: Source | None
    cells: list[Cell] = field(default_factory=list)
    not_scored: list[tuple[Reconstructor, HsrzooError]] = field(default_factory=list)
    """The models that are not scored, and why."""

    @property
    def setups(self) -> dict[str, ModelSetup]:
        """How each of :attr:`models` is loaded, by its name."""
        return self.loaded.setups

    @property
    def models(self) -> list[Reconstructor]:
        """In table order; described only where nothing asks for more."""
        return self.loaded.models

    @property
    def broken(self) -> list[tuple[str, HsrzooError]]:
        """Names of the models that could not be loaded, and why."""
        return self.loaded.broken

    def require(self, names: Collection[str]) -> None:
        """Load the models of these names, which are to run."""
        found = self.loaded.require(names, self.options.device)
        failed = {name for name, _ in self.broken}
        cells = (cell for cell in self.cells if cell.model.name not in failed)
        self.cells = [replace(cell, model=found.get(cell.model.name, cell.model)) for cell in cells]

    def groups(self) -> list[Group]:
        """The stored rows of the run."""
        return gather(self.cells, self.source) if self.source else []


def run_bench(options: Options, speed_options: SpeedOptions | None) -> int:
    """``hsrzoo bench``: the exit code."""
    # Models exported for the run last as long as it: rows, not files, are what the store keeps.
    with tempfile.TemporaryDirectory(prefix="hsrzoo-bench-") as folder:
        if options.random_weights:
            protocols = options.protocols or smoke.PROTOCOLS
            options = replace(options, store=Path(folder, "results"), protocols=protocols)
        return _run_bench(options, speed_options, Path(folder))


def _run_bench(options: Options, speed_options: SpeedOptions | None, exports: Path) -> int:
    session = open_session(options, exports)
    if session.not_scored and not session.cells and speed_options is None:
        raise session.not_scored[0][1]
    references: Sequence[str] = ()
    if speed_options is not None:
        session.require(session.setups)
        architectures = {model.name: model.spec.name for model in session.models}
        references = choose_references(architectures, speed_options.references)
    _announce(session, speed_options)
    outcome = compute(session)
    _note_left_out(session, outcome)
    rows: list[SpeedRow] = []
    if speed_options is not None:
        rows = timing.measure(session.setups, session.models, speed_options, session.store, outcome)
    if options.random_weights:
        found = smoke.summary(session.cells, rows)
        title = "random weights: rows that came through, no scores"
        columns = dict.fromkeys(key for row in found for key in row)
        _print_figures(found, list(columns), options, title)
        return finish(outcome, None)
    _print(session, rows, references)
    return finish(outcome, options.store)


def _print(session: Session, rows: Sequence[SpeedRow], references: Sequence[str]) -> None:
    """The tables of a run, of speed ``rows`` too, and its notes; its figures as JSON or CSV where that
    was asked for."""
    options, groups = session.options, session.groups()
    scored, timed = figures(groups), speed_figures(rows, references)
    found = [*scored, *timed]
    if options.as_json or options.as_csv:
        _print_figures(found, COLUMNS, options)
        return
    tables = [*terminal.score_tables(scored, options.metrics), *terminal.memory_tables(scored)]
    tables += terminal.interval_tables(scored)
    remarks = []
    if rows:
        tables.append(terminal.speed_table(timed, references))
        remarks = terminal.commits_note(rows, scores.provenance_of(str(session.models[0].device)))
    for table in tables:
        for part in terminal.split_to_width(table, stdout_width()):
            output.print_table(part.rows, part.columns, title=part.title)
    if any(figure["untrained"] for figure in found):
        remarks.append(_UNTRAINED)
    remarks += terminal.nodata_note(row for group in groups for e in group.entries for row in e.rows)
    for note in [*remarks, *terminal.notes(found, options.metrics)]:
        output.say(note, style="dim")


def _print_figures(
    rows: Sequence[dict[str, Any]], columns: Sequence[str], options: Options, title: str | None = None
) -> None:
    output.print_table(rows, columns, title=title, as_json=options.as_json, as_csv=options.as_csv)


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
    for group in session.groups():
        if len(group.entries) < 2:
            raise InputError(
                f"{a} and {b} share no figures on {group.condition}",
                expected="scores of both under one protocol hash",
                got="a failed model, or bands that one of them had to be resampled from",
                fix="See the failures, or compare models of the same bands",
            )
        rows += compare(group)
    if options.as_json or options.as_csv:
        _print_figures(rows, list(rows[0]) if rows else [], options)
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
    set_threads(options.threads)
    for name in options.metrics:
        METRICS.get(name)
    for name in options.protocols:
        named_protocol(name)
    store = Store(options.store)
    source = _open_source(options) if options.dataset else None
    if options.workers is not None:
        distributed.check(options, options.workers)
    loaded = _load_models(options, exports, source)
    session = Session(options, store, loaded, source)
    if source is None or not options.benches:
        return session
    scored = []
    for model in loaded.models:
        error = None if options.random_weights else reason_not_scored(model, source, options.resample)
        if error is None and set(options.benches) <= set(uncertainty.NAMES):
            error = uncertainty.reason_without_intervals(model)
        if error is None:
            scored.append(model)
        else:
            session.not_scored.append((model, error))
    session.cells = plan(scored, source, options, store)
    session.require({cell.model.name for _, cells in missing(session.cells, source) for cell in cells})
    return session


def _open_source(options: Options) -> Source:
    spec = DATASETS.get(str(options.dataset))
    dataset = open_dataset(spec.name, options.data_root, **options.data_options)
    splits = dataset.splits()
    split = options.split or next((s for s in ("test", "valid") if s in splits), splits[-1])
    dataset.scenes(split)  # an unknown split is an error that names those there are
    if options.random_weights:
        return smoke.open_crop(dataset, spec, [options.split] if options.split else [split, *splits])
    scenes = tuple(dataset.scenes(split)[: options.limit])
    if not scenes:
        raise InputError(f"The split {split} of {spec.name} has no scenes")
    return Source(dataset, spec, split, scenes, dataset.fingerprint())


def _load_models(options: Options, exports: Path | None, source: Source | None) -> LoadedModels:
    bands = source.dataset.bands if source else VISIBLE_31
    loaded = load_models(
        options.models,
        options.ways,
        options.device,
        exports,
        bands,
        options.random_weights,
        described=not set(options.benches) & set(uncertainty.NAMES),  # which look at the calibration
    )
    if options.tta and all(model.spec.adapt is None for model in loaded.models):
        raise InputError("None of the models has test-time adaptation", fix="Leave --tta out")
    return loaded


def _announce(session: Session, speed_options: SpeedOptions | None) -> None:
    """Print on stderr what a run of several models will do, as it may take long."""
    if len(session.models) < 2 or session.options.random_weights:
        return
    parts = []
    source = session.source
    if source is not None and session.options.benches:
        scored = len({cell.model.name for cell in session.cells})
        scenes = f"{len(source.scenes)} scene{'s' * (len(source.scenes) != 1)}"
        parts.append(f"{scored} scored on {scenes} of {source.spec.name}")
    if speed_options is not None:
        sizes = ", ".join(f"{h} x {w}" for h, w in speed_options.sizes)
        seconds = speed_options.speed_seconds
        parts.append(
            f"all timed at {sizes} in turn: for each size and model one process for memory, then runs of "
            f"{seconds:g} s or a little more"
        )
    output.say(f"{len(session.models)} models: {'; '.join(parts)}.", style="dim")


def _note_left_out(session: Session, outcome: Outcome) -> None:
    """Add models without scores (skipped) and models that could not be loaded (failed) to ``outcome``.

    Several networks without trained weights have one reason, and so one line: a pattern matches many.
    """
    what = f"no {', '.join(session.options.benches)}"
    bare = [model for model, _ in session.not_scored if untrained(model)]
    for model, error in session.not_scored:
        name, reason = model.name, error
        if len(bare) > 1 and model in bare and session.source:
            name, reason = plain_name(name), no_weights(model, session.source, "NAME")
        outcome.skipped.append(Skipped(name, what, str(reason), 0))
    outcome.failures += [Failure(name, "loading", str(error), 0) for name, error in session.broken]


def compute(session: Session) -> Outcome:
    """Compute the missing scores under a progress bar."""
    source, options = session.source, session.options
    work = missing(session.cells, source) if source else []
    if source is None or not work:
        return Outcome()
    files = {cell.file.path: cell.file for _, cells in work for cell in cells}
    with session.store.hold(files.values(), output.say):
        work = missing(session.cells, source)  # without what another run has stored meanwhile
        with output.steps("scored", sum(len(cells) for _, cells in work)) as advance:
            if options.workers is None or not work:
                return scores.run(work, source, advance)
            return distributed.run(work, source, session.setups, options, options.workers, advance)
