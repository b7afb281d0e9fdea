"""Cubes of many images: in this process one after the other, or on Ray workers.

A task is one image. Its cube is written under a temporary name first, so a task that is repeated because
its worker died makes the same file and no other.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hsrzoo.errors import ExistsError, FormatError, InputError
from hsrzoo.io import SUFFIX_OF
from hsrzoo.io.common import RAW
from hsrzoo.io.photographs import images
from hsrzoo.io.raster import SUFFIXES as RASTERS
from hsrzoo.models.reconstruction import Level
from hsrzoo.prediction.files import outputs
from hsrzoo.spec import Execution
from hsrzoo.utils.workers import TaskFailure, Workers, attempt, cores, require_same, run_tasks

if TYPE_CHECKING:
    from hsrzoo.models.reconstructor import Reconstructor
    from hsrzoo.prediction.predict import PredictOptions, PredictReport, Progress


@dataclass(frozen=True)
class Job:
    """An image and its cube file."""

    image: Path
    out: Path


@dataclass(frozen=True)
class Done:
    """A written cube, and the messages for the user."""

    report: PredictReport | None
    """None for a cube that another process has written meanwhile, and that is not to be overwritten."""
    notes: tuple[str, ...]


def find_images(names: Sequence[str]) -> list[Path]:
    """Files as named, all images of folders, and the matches of patterns (``*.png``), each once.

    In folders, images are the files with a suffix of photographs, rasters or raw photographs, sorted by
    name; a raw photograph only where no image before it has its name. InputError if a folder or pattern
    has none.
    """
    found: dict[Path, Path] = {}
    for name in names:
        path = Path(name)
        if path.is_dir() and path.suffix.lower() != ".zarr":
            more = _images_in(path)
        elif not path.exists() and glob.has_magic(name):
            more = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        else:
            more = [path]  # reading reports a missing file
        if not more:
            endings = ", ".join((*images.SUFFIXES, *RASTERS, *RAW))
            raise InputError(f"There is no image in {name}", expected=f"files ending in {endings}")
        for file in more:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _images_in(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir())
    developed = [file for file in found if file.suffix.lower() in (*images.SUFFIXES, *RASTERS)]
    raws: dict[str, Path] = {}
    for file in found:
        if file.suffix.lower() in RAW:
            raws.setdefault(file.stem.lower(), file)
    for file in developed:
        raws.pop(file.stem.lower(), None)
    return sorted([*developed, *raws.values()])


def jobs_for_folder(
    found: Sequence[Path], folder: Path, form: str, level: Level | None = None
) -> list[Job]:
    """Jobs that write ``folder/NAME.SUFFIX`` for every image, and beside it what belongs to intervals of a
    ``level``; InputError if a file would be written for two images, or over an image."""
    if form not in SUFFIX_OF:
        raise FormatError(f"There is no format {form!r}", expected=", ".join(SUFFIX_OF))
    sources = {image.resolve() for image in found}
    written: dict[Path, Path] = {}
    jobs = [Job(image, folder / (image.stem + SUFFIX_OF[form])) for image in found]
    for job in jobs:
        for file in outputs(job.out, level):
            if file in written:
                problem = f"{written[file]} and {job.image} would both become {file}"
                fix = "Give images of different names, or write them into different folders"
                raise InputError(problem, fix=fix)
            if file.resolve() in sources:
                raise InputError(f"{file}, made of {job.image}, would overwrite an image",
                                 fix="Choose another folder")  # fmt: skip
            written[file] = job.image
    return jobs


def predict_many(
    jobs: Sequence[Job],
    model: Reconstructor,
    name: str,
    options: PredictOptions,
    workers: Workers | None = None,
    progress: Callable[[int], Progress] | None = None,
) -> Iterator[tuple[int, Done | TaskFailure]]:
    """Yield ``(i, result of jobs[i])`` as the cubes are written; a broken image does not stop the others.

    ``name``: by which ``model`` was loaded; workers load it themselves and compare. ``progress(i)`` is
    called after every tile of image ``i``, but not for images on workers.
    """
    if workers is None:
        for i, job in enumerate(jobs):
            yield i, attempt(_predict, job, model, options, progress and progress(i))
        return
    if not jobs:
        return
    # All of them share the free memory.
    options = replace(options, share=options.share / (workers.count or 1))
    device = "cuda" if workers.gpu else str(model.device)
    opening = Opening(name, device, model.execution, model.identity)
    # On a cluster each machine determines how many tasks it runs; a GPU runs one.
    threads = workers.threads_each if workers.count is None and not workers.gpu else None
    yield from run_tasks(predict_one, [Task(job, opening, options, threads) for job in jobs], workers)


@dataclass(frozen=True)
class Opening:
    """How a worker loads the model, and verifies that it is the same."""

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
    """Of one task, if a machine runs as many as its cores allow, sharing its memory."""


def predict_one(task: Task) -> Done:
    """Run one task on a worker."""
    options = task.options
    if task.threads is not None:
        options = replace(options, share=options.share / max(1, cores() // task.threads))
    return _predict(task.job, _open(task.opening), options)


@lru_cache(maxsize=1)
def _open(opening: Opening) -> Reconstructor:
    """The model, loaded once per worker; InputError unless it is that of the main process."""
    from dataclasses import asdict

    from hsrzoo.models.loading import load  # imports torch

    model = load(opening.name, device=opening.device, **asdict(opening.execution))
    require_same(opening.name, "weights", opening.identity, model.identity)
    return model


def _predict(
    job: Job, model: Reconstructor, options: PredictOptions, progress: Progress | None = None
) -> Done:
    from hsrzoo.prediction.predict import predict_file  # imports torch

    notes: list[str] = []
    try:
        report = predict_file(job.image, model, job.out, options, progress, notes.append)
    except ExistsError:
        return Done(None, (*notes, f"{job.out}: skipped (another process has written it)"))
    return Done(report, tuple(notes))
