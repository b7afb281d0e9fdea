"""A queue does every command once, whatever is killed in between, and never two processes one job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hsrzoo.cli.train import command
from hsrzoo.errors import HsrzooError, TrainingError
from hsrzoo.training.queue import read_queue, read_state, run_queue
from waiting import wait_until

TWO_JOBS = """
[values]
fit = "fit {model} --dataset indian-pines --out {runs}/{job}"
model = "linear"
data = "indian-pines"
[[job]]
name = "first"
commands = ["{fit}"]
[[job]]
name = "second"
after = ["first"]
commands = ["{fit}", "bench --model again=local-dir:{runs}/{job} --dataset {data} --store {runs}/store"]
"""


NINES = "[values]\nc = '{c}'\nb = '{b}'\n[[job]]\nname = 'a'\ncommands = ['{n}']"


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    file = tmp_path / "queue.toml"
    file.write_text(TWO_JOBS)
    return file


def jobs_of(text: str, tmp_path: Path) -> list:
    file = tmp_path / "q.toml"
    file.write_text(text)
    return read_queue(file, tmp_path / "runs")


def test_words_are_filled_in_also_inside_values(queue: Path, tmp_path: Path) -> None:
    first, second = read_queue(queue, tmp_path / "r")
    assert first.commands == (
        ("fit", "linear", "--dataset", "indian-pines", "--out", f"{tmp_path}/r/first"),
    )
    assert second.after == ("first",)
    assert second.commands[0][-1] == f"{tmp_path}/r/second"


def test_a_folder_of_runs_with_a_space_stays_one_word(queue: Path, tmp_path: Path) -> None:
    _, second = read_queue(queue, tmp_path / "my runs")
    assert second.commands[0][-1] == f"{tmp_path}/my runs/second"
    assert second.commands[1][2] == f"again=local-dir:{tmp_path}/my runs/second"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("job = 3 =", "not a TOML"),
        ("[values]\na = '1'", "holds no job"),
        ("[[job]]\nname = 'a'\ncommands = ['fit {nothing}']", "cannot be read"),
        ("[[job]]\nname = 'a'\ncommands = ['fit \"open']", "cannot be read"),
        ("[[job]]\nname = 'a'\ncommands = ['fit {job.steps}']", "cannot be read"),
        ("[[job]]\nname = 'a'\ncommands = ['fit {job[steps]}']", "cannot be read"),
        ("values = 3\n[[job]]\nname = 'a'\ncommands = ['x']", "values"),
        ("[job]\nname = 'a'\ncommands = ['x']", r"Expected \[\[job\]\]"),
        ("job = [1]", r"Expected \[\[job\]\]"),
        ("[[job]]\ncommands = ['fit x']", "needs a name"),
        ("[[job]]\nname = 'a'\ncommands = ['fit {job!r}']", "only plain words"),
        ("[[job]]\nname = 'a'\ncommands = ['fit {job:>2000000000}']", "only plain words"),
        ("[values]\nb = [1]\n[[job]]\nname = 'a'\ncommands = ['x']", "not a table of texts"),
        (NINES.format(c="", b="x" * 9999, n="{b}" * 9), "more than 65536"),
        (NINES.format(c="x" * 99, b="{c}" * 99, n="{b}" * 99), "more than 65536"),
        ("x = " + "[" * 5000, "not a TOML"),
        ("[[job]]\nname = 'a'\ncommands = []", "needs commands"),
        ("[[job]]\nname = 'a'\ncommands = [' ']", "needs commands"),
        ("[[job]]\nname = 'a'\nafter = 3\ncommands = ['x']", "is not a list of jobs"),
        ("[[job]]\nname = 'a'\nafter = 'b'\ncommands = ['x']", "is not a list of jobs"),
        ("[[job]]\nname = 'a'\ncommands = ['x']\nbefore = ['b']", "Unknown keys"),
        ("[[job]]\nname = 'a'\nafter = ['b']\ncommands = ['x']", "job above a"),
        ("[[job]]\nname = 'a{k}'\neach = [1]\ncommands = ['x']", "not a table of lists"),
        ("[[job]]\nname = 'a{k}'\neach = {k = []}\ncommands = ['x']", "not a table of lists"),
        ("[[job]]\nname = 'a{k}'\neach = {k = [[1]]}\ncommands = ['x']", "not a table of lists"),
        ("[[job]]\nname = 'a{k}'\neach = {k = [1], job = [1]}\ncommands = ['x']", "a meaning already"),
        ("[[job]]\nname = 'a{m}'\neach = {k = [1]}\ncommands = ['x']", "needs a name"),
        ("[[job]]\nname = 'a'\neach = {k = [1, 2]}\ncommands = ['x']", "the same name"),
        ("[[job]]\nname = 'a'\ncommands = ['x']\n[[job]]\nname = 'a'\ncommands = ['x']", "the same name"),
    ],
)
def test_a_queue_that_cannot_be_meant_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(HsrzooError, match=said):
        jobs_of(text, tmp_path)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a/b", "../a", "a\\\\b", "a\\u0000b", "a b", "x" * 201, "ä"]
)
def test_a_job_whose_name_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="needs a name"):
        jobs_of(f'[[job]]\nname = "{name}"\ncommands = ["list"]', tmp_path)


@pytest.mark.parametrize("name", ["table-3.scales-1", "a", "_b", "0"])
def test_a_plain_name_is_taken(name: str, tmp_path: Path) -> None:
    assert jobs_of(f'[[job]]\nname = "{name}"\ncommands = ["list"]', tmp_path)[0].name == name


def test_an_entry_with_each_is_a_job_for_every_combination(tmp_path: Path) -> None:
    jobs = jobs_of(
        """
[values]
common = "--split without-fold-{fold} --out {runs}/{job}"
[[job]]
name = "stage1.fold-{fold}"
each = { fold = [0, 1] }
commands = ["codebook train {common}"]
[[job]]
name = "{net}.fold-{fold}"
each = { net = ["a", "b"], fold = [0, 1] }
after = ["stage1.fold-{fold}"]
commands = ["train {net} {common}"]
""",
        tmp_path,
    )
    assert [(job.name, job.after) for job in jobs[2:]] == [
        (f"{net}.fold-{fold}", (f"stage1.fold-{fold}",)) for net in "ab" for fold in range(2)
    ]
    assert jobs[3].commands == (
        ("train", "a", "--split", "without-fold-1", "--out", f"{tmp_path}/runs/a.fold-1"),
    )


def test_numbers_are_values_and_braces_in_a_path_stay(tmp_path: Path) -> None:
    file = tmp_path / "q.toml"
    file.write_text("[values]\nsteps = 3\n[[job]]\nname = 'a'\ncommands = ['x {steps} {runs} {{y}}']")
    (job,) = read_queue(file, tmp_path / "{old}")
    assert job.commands == (("x", "3", f"{tmp_path}/{{old}}", "{y}"),)


@pytest.mark.parametrize(
    "state",
    ["", "[]", "{}", '{"done": null, "seconds": [], "failed": null}',
     '{"done": [[1]], "seconds": [], "failed": null}', '{"done": [], "seconds": ["x"], "failed": null}',
     '{"done": [], "seconds": [], "failed": 3}'],
)  # fmt: skip
def test_a_damaged_state_is_named(state: str, tmp_path: Path) -> None:
    (job,) = jobs_of("[[job]]\nname = 'a'\ncommands = ['list']", tmp_path)
    (tmp_path / "a.json").write_text(state)
    with pytest.raises(TrainingError, match=r"a\.json is damaged.*Delete it"):
        read_state(job, tmp_path)


def test_jobs_run_once_in_order_and_failures_stop_what_needs_them(tmp_path: Path) -> None:
    text = """
[[job]]
name = "works"
commands = ["list --metrics"]
[[job]]
name = "fails"
commands = ["list --metrics", "show no-such-model", "list"]
[[job]]
name = "waits"
after = ["fails"]
commands = ["list"]
"""
    jobs, said = jobs_of(text, tmp_path), []
    states = run_queue(jobs, tmp_path / "runs", say=said.append)
    assert [states[name].done for name in ("works", "fails", "waits")] == [1, 1, 0]
    assert states["fails"].failed == "show no-such-model"
    assert "no-such-model" in (tmp_path / "runs/queue/fails.log").read_text()
    again: list[str] = []
    run_queue(jobs, tmp_path / "runs", say=again.append)
    assert again[0] == "fails: show no-such-model"  # neither the first command nor the job that works


def test_only_takes_a_job_with_what_it_needs(tmp_path: Path) -> None:
    text = (
        "[[job]]\nname = 'a'\ncommands = ['list']\n[[job]]\nname = 'b'\ncommands = ['list']\n"
        "[[job]]\nname = 'c'\nafter = ['a']\ncommands = ['list']"
    )
    states = run_queue(jobs_of(text, tmp_path), tmp_path / "runs", only=["c"], say=lambda _: None)
    assert sorted(states) == ["a", "c"]
    with pytest.raises(HsrzooError, match="job of the queue"):
        run_queue(jobs_of(text, tmp_path), tmp_path / "runs", only=["d"], say=lambda _: None)


def test_a_job_whose_finished_commands_changed_is_not_passed_off_as_done(tmp_path: Path) -> None:
    text = "[[job]]\nname = 'a'\ncommands = ['list --metrics']"
    run_queue(jobs_of(text, tmp_path), tmp_path / "runs", say=lambda _: None)
    changed = jobs_of(text.replace("--metrics", "--datasets"), tmp_path)
    with pytest.raises(HsrzooError, match="changed after"):
        read_state(changed[0], tmp_path / "runs/queue")


def test_a_killed_queue_goes_on_and_its_orphan_keeps_the_job(tmp_path: Path) -> None:
    queue, runs = tmp_path / "queue.toml", tmp_path / "runs"
    queue.write_text("""
[[job]]
name = "first"
commands = ["fit linear --dataset indian-pines --out {runs}/{job}"]
[[job]]
name = "second"
after = ["first"]
commands = ["list --datasets", "list --metrics"]
""")
    words = [sys.executable, "-m", "hsrzoo", "train", "--queue", str(queue), "--out", str(runs)]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    log = runs / "queue/first.log"
    wait_until(log.is_file, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # whatever the orphan still does, nobody else starts the job beside it
    said: list[str] = []
    jobs = read_queue(queue, runs)

    def finished() -> bool:
        run_queue(jobs, runs, say=said.append)
        return said[-1] != "first: another process is running it"

    wait_until(finished)
    assert [read_state(job, runs / "queue").done for job in jobs] == [1, 2]
    assert said[-1] == "second: list --metrics" and (runs / "first" / "config.json").is_file()


def test_the_command_ends_with_a_table_and_tells_what_is_missing(tmp_path: Path, run_hsrzoo) -> None:
    file = tmp_path / "q.toml"
    file.write_text("[[job]]\nname = 'a'\ncommands = ['show nothing-known']")
    found = run_hsrzoo("train", "--queue", file, "--out", tmp_path / "r")
    assert found.returncode == 1
    assert "0 of 1" in found.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mcga-s2"], "NAME"),
        (["--steps", "5", "--also-share", "0.25"], "--also-share, --steps"),  # also a default, if given
        (["--set", "loss=l1"], "--set"),
    ],
)
def test_what_a_queue_would_pass_over_is_refused(queue: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(command, ["--queue", str(queue), *words])
    assert done.exit_code == 2 and said in done.output


def test_only_without_a_queue_is_refused() -> None:
    done = CliRunner().invoke(command, ["linear", "--dataset", "indian-pines", "--only", "job"])
    assert done.exit_code == 2 and "--only belongs to --queue" in done.output
