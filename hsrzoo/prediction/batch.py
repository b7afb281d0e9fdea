"""Cubes of many images: in this process one after the other, or on Ray workers.

A task is one image. It writes its cube under a temporary name first, so a task that is repeated,
because its worker died, makes the same file and leaves no other.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hsrzoo.errors import FormatError, HsrzooError, InputError
from hsrzoo.io import SUFFIX_OF, images
from hsrzoo.io.raster import SUFFIXES as RASTERS
from hsrzoo.spec import Execution
from hsrzoo.utils.workers import TaskFailure, Workers, cores, run_tasks

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor
    from hsrzoo.prediction.predict import PredictOptions, PredictReport, Progress


@dataclass(frozen=True)
class Job:
    """One image, and where its cube goes."""

    image: Path
    out: Path


@dataclass(frozen=True)
class Done:
    """A cube that was written, and what a person should know about it."""

    report: PredictReport
    notes: tuple[str, ...]


def find_images(names: Sequence[str]) -> list[Path]:
    """Files as they are named, all images of folders, and what patterns (``*.png``) match, each once.

    In folders these are files that end as photographs and rasters do, by name. InputError where a
    pattern or a folder holds nothing.
    """
    found: dict[Path, Path] = {}
    for name in names:
        path = Path(name)
        if path.is_dir() and path.suffix.lower() != ".zarr":
            more = [p for p in sorted(path.iterdir()) if p.suffix.lower() in (*images.SUFFIXES, *RASTERS)]
        elif not path.exists() and glob.has_magic(name):
            more = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        else:
            more = [path]  # where there is none, reading it will say so
        if not more:
            raise InputError(
                f"There is no image in {name}",
                expected=f"files ending in {', '.join((*images.SUFFIXES, *RASTERS))}",
            )
        for file in more:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def into_folder(found: Sequence[Path], folder: Path, form: str) -> list[Job]:
    """Jobs that write ``folder/NAME.SUFFIX`` for every image; InputError where two would be one file."""
    if form not in SUFFIX_OF:
        raise FormatError(f"There is no format {form!r}", expected=", ".join(SUFFIX_OF))
    jobs: dict[Path, Job] = {}
    for image in found:
        out = folder / (image.stem + SUFFIX_OF[form])
        if out in jobs:
            raise InputError(
                f"{jobs[out].image} and {image} would both become {out}",
                fix="Give images of different names, or write them into different folders",
            )
        if out.resolve() == image.resolve():
            raise InputError(f"The cube of {image} would take its place", fix="Choose another folder")
        jobs[out] = Job(image, out)
    return list(jobs.values())


def predict_many(
    jobs: Sequence[Job],
    model: Reconstructor,
    name: str,
    options: PredictOptions,
    workers: Workers | None = None,
    progress: Callable[[int], Progress] | None = None,
) -> Iterator[tuple[int, Done | TaskFailure]]:
    """Yield ``(i, result of jobs[i])`` as the cubes are written; a broken image stops no other.

    ``name`` is what ``model`` was loaded by: workers load it themselves and compare. ``progress(i)`` is
    told of the tiles of image ``i``; of images on workers it hears nothing.
    """
    if workers is None:
        for i, job in enumerate(jobs):
            try:
                result: Done | TaskFailure = _predict(job, model, options, progress and progress(i))
            except HsrzooError as error:
                result = TaskFailure(str(error))
            except Exception as error:
                result = TaskFailure(f"{type(error).__name__}: {error}")
            yield i, result
        return
    if not jobs:
        return
    # All of them see the same free memory.
    options = replace(options, share=options.share / (workers.count or 1))
    device = "cuda" if workers.gpu else str(model.device)
    opening = Opening(name, device, model.execution, model.identity)
    # On a cluster each machine finds out itself how many tasks it runs; a GPU has one.
    threads = workers.threads_each if workers.count is None and not workers.gpu else None
    yield from run_tasks(predict_one, [Task(job, opening, options, threads) for job in jobs], workers)


@dataclass(frozen=True)
class Opening:
    """How a worker loads the model, and how it knows that it is the same."""

    name: str
    device: str
    execution: Execution
    identity: str | None


@dataclass(frozen=True)
class Task:
    """What is sent to a worker."""

    job: Job
    opening: Opening
    options: PredictOptions
    threads: int | None = None
    """Of one task, where a machine runs as many as its cores allow: they share its memory."""


def predict_one(task: Task) -> Done:
    """What runs on a worker."""
    options = task.options
    if task.threads is not None:
        options = replace(options, share=options.share / max(1, cores() // task.threads))
    return _predict(task.job, _open(task.opening), options)


@lru_cache(maxsize=1)
def _open(opening: Opening) -> Reconstructor:
    """The model, once in each worker; InputError unless it is that of the asking process."""
    from dataclasses import asdict

    from hsrzoo.models.loading import load  # imports torch

    model = load(opening.name, device=opening.device, **asdict(opening.execution))
    if model.identity != opening.identity:
        raise InputError(
            f"{opening.name} is another model on a worker",
            expected=f"identity {opening.identity}",
            got=model.identity,
            fix="Give all machines the same weights, or do not change them during the run",
        )
    return model


def _predict(
    job: Job, model: Reconstructor, options: PredictOptions, progress: Progress | None = None
) -> Done:
    from hsrzoo.prediction.predict import predict_file  # imports torch

    notes: list[str] = []
    report = predict_file(job.image, model, job.out, options, progress, notes.append)
    return Done(report, tuple(notes))
