"""A queue of runs in one TOML file, which can be interrupted at any time and resumed.

    [values]                      # words that commands may use as {word}, besides {job} and {runs}
    common = "--dataset cave --threads 1 --steps 600"

    [[job]]
    name = "table-3.scales-1"
    after = ["mixture"]           # jobs that must be finished before
    commands = [
        "train mcga-s1 {common} --start {runs}/mixture --out {runs}/{job}",
        "bench --model {job}=local-dir:{runs}/{job}/weights --dataset cave",
    ]

    [[job]]
    name = "gmsr.fold-{fold}"     # three jobs: {fold} is 0, 1 and 2 also in after and commands
    each = { fold = [0, 1, 2] }
    commands = ["train gmsr {common} --split without-fold-{fold} --out {runs}/{job}"]

Commands are those of ``hsrzoo``; each runs in a process of its own, and commands that train are resumed.
Several processes may work on one queue: a job belongs to the one that holds its lock, which the system
takes back however that process ends.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Any

from hsrzoo.errors import LockedError, TrainingError, require_known
from hsrzoo.utils.files import make_folder, require_regular, write_atomically
from hsrzoo.utils.json_kinds import TEXT, problems
from hsrzoo.utils.locks import hold

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
"""Of a job: also the name of its files."""
_LONGEST = 1 << 16
"""Characters of a command with its words filled in."""
_MOST = 10_000
"""Jobs that one entry may stand for."""
_SHOWN = 200
"""Characters of a wrong value in a message."""
RESUMED = (("train",), ("codebook", "train"))
"""Commands that are given ``--resume``: where there is nothing to resume they start."""


@dataclass(frozen=True)
class Job:
    """One entry of the queue, its commands with all words filled in."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """Progress of a job: how many of its commands are done, and how long each took."""

    done: int = 0
    seconds: tuple[float, ...] = ()
    failed: str | None = None
    """The command that failed last."""


def read_queue(file: Path, runs: Path) -> list[Job]:
    """The jobs of ``file`` in its order; ``runs`` is the folder of all runs. TrainingError names what is
    wrong: no TOML, unknown keys or words, a name twice, an ``after`` that is no job above it."""
    require_regular(file)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"The queue {file} cannot be read", got=error.strerror or str(error)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TrainingError(f"{file} is not a TOML file", got=str(error)) from None
    _require_keys(content, {"values", "job"}, str(file))
    values, entries = content.get("values", {}), content.get("job", [])
    plain = isinstance(values, dict) and _are_plain(values.values())
    _require(plain, f"The values of {file} are not a table of texts", "[values] with texts", values)
    tables = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    _require(tables, f"The jobs of {file} are not tables", "[[job]]", entries)
    _require(bool(entries), f"{file} holds no job", "[[job]] with name and commands", entries)
    jobs: list[Job] = []
    for entry in entries:
        _require_keys(entry, {"name", "each", "after", "commands"}, f"a job of {file}")
        for own in _choices(entry):
            jobs.append(_job(entry, values, own, runs, [job.name for job in jobs]))
    return jobs


def _choices(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """The words of each job that an entry stands for: one job for every combination of the values in
    ``each``, the last word changing fastest; without it one job without such words."""
    each: Any = entry.get("each", {})
    lists = isinstance(each, dict) and all(
        isinstance(v, list) and v and _are_plain(v) for v in each.values()
    )
    expected = "{ WORD = [values] }"
    _require(
        lists, f"The field each of the job {entry.get('name')} is not a table of lists", expected, each
    )
    taken = sorted({"job", "runs"} & set(each))
    _require(not taken, "Words of the field each have a meaning already", "other words", ", ".join(taken))
    number = math.prod(len(values) for values in each.values())
    _require(number <= _MOST, "The field each makes too many jobs", f"at most {_MOST}", number)
    return [dict(zip(each, map(str, chosen), strict=True)) for chosen in product(*each.values())]


def _are_plain(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str | int | float) for value in values)


def _require(holds: bool, problem: str, expected: str, got: object) -> None:
    if not holds:
        text = repr(got)
        raise TrainingError(problem, expected=expected, got=text[:_SHOWN] + "..." * (len(text) > _SHOWN))


def _require_keys(entry: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(set(entry) - known)
    _require(not unknown, f"Unknown keys in {what}", ", ".join(sorted(known)), ", ".join(unknown))


def _job(
    entry: Mapping[str, Any],
    values: Mapping[str, Any],
    own: Mapping[str, str],
    runs: Path,
    before: Sequence[str],
) -> Job:
    """One job of an entry; ``own``: its words from the field ``each``."""
    name: Any = _fill_name(entry.get("name"), own)
    commands: Any = entry.get("commands")
    after: Any = entry.get("after", [])
    plain = isinstance(name, str) and _NAME.fullmatch(name) is not None
    expected = "up to 200 letters, digits, dots, dashes and underscores, the first no dot or dash"
    _require(plain, "A job needs a name", expected, name)
    _require(name not in before, "Two jobs of a queue have the same name", "different names", name)
    texts = "a list of texts"
    _require(bool(commands) and _are_texts(commands), f"The job {name} needs commands", texts, commands)
    _require(_are_texts(after), f"The field after of the job {name} is not a list of jobs", texts, after)
    after = [_fill_name(other, own) for other in after]
    for other in after:
        require_known(f"job above {name}", other, before)
    words = {
        **{key: str(value) for key, value in values.items()},
        **own,
        "job": name,
        "runs": shlex.quote(str(runs)),
    }
    return Job(name, tuple(_fill(c, words, name) for c in commands), tuple(after))


def _fill_name(name: Any, own: Mapping[str, str]) -> Any:
    """The name of a job with its words from the field ``each``; anything else stays to be refused."""
    if not own or not isinstance(name, str):
        return name
    try:
        return _expand(name, own)
    except (LookupError, ValueError):
        return name


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)


def _fill(command: str, words: Mapping[str, str], job: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(_expand(command, words)))
    except (LookupError, ValueError) as error:
        raise TrainingError(
            f"A command of the job {job} cannot be read",
            expected="words in braces from [values], {job} or {runs}",
            got=f"{command[:_SHOWN]!r}: {error}",
        ) from None


def _expand(text: str, words: Mapping[str, str], depth: int = 2) -> str:
    """``text`` with its words filled in, and those inside of them, as a value may use {job} and {runs}."""
    if not depth:
        return text
    parts, length = [], 0
    for literal, word, form, conversion in Formatter().parse(text):
        if form or conversion or (word is not None and not word.isidentifier()):
            raise ValueError("only plain words may stand in braces")
        # the folder of the runs is a path, whose braces are no words
        inner = "" if word is None else _expand(words[word], words, 0 if word == "runs" else depth - 1)
        parts += [literal, inner]
        length += len(literal) + len(inner)
        if length > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST} characters when its words are filled in")
    return "".join(parts)


def run_queue(
    jobs: Sequence[Job], runs: Path, *, only: Sequence[str] = (), say: Callable[[str], None]
) -> dict[str, State]:
    """Work through ``jobs`` until none is left that this process can do; the state of each at the end.

    A job that fails is passed over, and those that come after it wait; jobs that another process holds
    are left to it. ``only``: these jobs and what they need. ``say`` gets a line for each command.
    """
    names = [job.name for job in jobs]
    for name in only:
        require_known("job of the queue", name, names)
    wanted = set(only or names)
    for later in reversed(jobs):  # what a job needs is above it
        if later.name in wanted:
            wanted.update(later.after)
    folder = runs / "queue"
    make_folder(folder)
    tried: set[str] = set()
    while job := _next(jobs, wanted, tried, folder):
        tried.add(job.name)
        try:
            with hold(folder / job.name) as handle:
                _run_job(job, folder, handle, say)
        except LockedError:
            say(f"{job.name}: another process is running it")
    return {job.name: read_state(job, folder) for job in jobs if job.name in wanted}


def _next(jobs: Sequence[Job], wanted: set[str], tried: set[str], folder: Path) -> Job | None:
    """The first job that is not finished, was not tried, and has all it needs."""
    finished = {job.name for job in jobs if read_state(job, folder).done == len(job.commands)}
    free = wanted - finished - tried
    return next((job for job in jobs if job.name in free and finished.issuperset(job.after)), None)


def _run_job(job: Job, folder: Path, lock: int | None, say: Callable[[str], None]) -> None:
    state = read_state(job, folder)  # again: another process may have changed it
    for place in range(state.done, len(job.commands)):
        command = job.commands[place]
        say(f"{job.name}: {shlex.join(command)}")
        begin = time.perf_counter()
        log = folder / f"{job.name}.log"
        code = _run(command, log, lock)
        if code:
            _write_state(job, folder, replace(state, failed=shlex.join(command)))
            say(f"{job.name}: failed with exit code {code}, see {log}")
            return
        state = State(place + 1, (*state.seconds, round(time.perf_counter() - begin, 3)))
        _write_state(job, folder, state)


def _run(command: Sequence[str], log: Path, lock: int | None) -> int:
    """Exit code of one ``hsrzoo`` command. It keeps the lock if this process is killed before it."""
    resumed = any(tuple(command[: len(start)]) == start for start in RESUMED)
    words = [*command, *(["--resume"] if resumed and "--resume" not in command else [])]
    with open(log, "ab") as out:
        out.write(f"$ hsrzoo {shlex.join(words)}\n".encode())
        out.flush()
        return subprocess.run(
            [sys.executable, "-m", "hsrzoo", *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=[] if lock is None else [lock],
            check=False,
        ).returncode


_STATE = {"done": [[str]], "seconds": [float], "failed": TEXT}


def read_state(job: Job, folder: Path) -> State:
    """What was done of ``job``. TrainingError if commands that are done read otherwise now: the results
    that are there would not be the ones the queue describes."""
    file = folder / f"{job.name}.json"
    if not file.is_file():
        return State()
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        wrong = ", ".join(problems(found, _STATE))
    except (ValueError, RecursionError) as error:
        found, wrong = {}, repr(error)
    if wrong:
        raise TrainingError(f"{file} is damaged", got=wrong, fix="Delete it: the job is resumed")
    done = [tuple(command) for command in found["done"]]
    state = State(len(done), tuple(found["seconds"]), found["failed"])
    if list(job.commands[: len(done)]) != done:
        changed = next(command for i, command in enumerate(done) if job.commands[i : i + 1] != (command,))
        raise TrainingError(
            f"The job {job.name} was changed after it had been run",
            expected=shlex.join(changed),
            got="another command in its place",
            fix=f"Give the changed job another name, or delete {file} and its results",
        )
    return state


def _write_state(job: Job, folder: Path, state: State) -> None:
    value = {
        "done": [list(command) for command in job.commands[: state.done]],
        "seconds": list(state.seconds),
        "failed": state.failed,
    }
    write_atomically(folder / f"{job.name}.json", (json.dumps(value, indent=1) + "\n").encode())
