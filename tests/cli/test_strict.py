"""No option is passed over in silence: one value given twice, empty values, options without effect."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from hsrzoo.cli.main import cli
from hsrzoo.cli.strict import require_strict_below
from hsrzoo.utils import workers
from hsrzoo.utils.entry_points import entry_points_of
from hsrzoo_benchmark import session


def said(*words: str) -> str:
    """What a usage error says; the command exits with 2 before it opens anything."""
    done = CliRunner().invoke(cli, list(words))
    assert done.exit_code == 2, done.output
    return done.output


BENCH = ("bench", "--model", "linear.cave", "--dataset", "cave")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((*BENCH, "--dataset", "arad"), "--dataset is given 2 times, but takes one value"),
        ((*BENCH, "--metrics", "rmse", "--metrics", "mrae"), "--metrics is given 2 times.*by commas"),
        (("predict", "a", "--model", "m", "-o", "x", "--out", "y"), "-o is given 2 times"),
        (("codebook", "train", "--lr", "1", "--lr", "2"), "--lr is given 2 times"),
        (("export", "m", "--check", "--no-check"), "--check is given 2 times"),
        (("list", "--datasets", "--metrics"), "--datasets and --metrics exclude each other"),
        (("bench", "--model", "linear.cave", "--dataset", ""), "'--dataset': the value is empty"),
        ((*BENCH, "--bench", ""), "'--bench': the value is empty"),
        ((*BENCH, "--consistency", ""), "'--consistency': the value is empty"),
        ((*BENCH, "--metrics", " "), "'--metrics': the value is empty"),
        ((*BENCH, "--metrics", "rmse,,mrae"), "'--metrics': .* has an empty name"),
        ((*BENCH, "--model", ""), "'--model': the value is empty"),
        (("predict", "a", "--model", "m", "--out", ""), "'-o' / '--out': the value is empty"),
        (("predict", "", "--model", "m", "--out", "o"), "'IMAGE...': the value is empty"),
        (("codebook", "train", "--out", ""), "'--out': the value is empty"),
        (("--plugin", "", "list"), "'--plugin': the value is empty"),
        ((*BENCH, "--data-option", "path="), "'path=' is not of the form KEY=VALUE"),
        ((*BENCH, "--data-option", "a-b=1", "--data-option", "a_b=2"), "a_b is given twice"),
        (("train", "m", "--dataset", "d", "--set", "lr=1", "--set", "lr=2"), "lr is given twice"),
        ((*BENCH, "--threads", "1000000"), "1000000 is too many for this machine: at most"),
        ((*BENCH, "--workers", "1000000"), "1000000 is too many for this machine: at most"),
        ((*BENCH, "--size", "64"), "--size has no effect without --bench speed"),
        (
            ("bench", "--bench", "speed", "--model", "m", "--split", "s", "--limit", "1"),
            "--limit, --split have no effect without --dataset",
        ),
        (
            ("train", "m", "--dataset", "d", "--also-share", "0.5"),
            "--also-share has no effect without --also",
        ),
        (("export", "m", "--scenes", "3"), "--scenes has no effect without --calibrate"),
    ],
)
def test_what_would_be_passed_over_is_refused(words: tuple[str, ...], expected: str) -> None:
    assert re.search(expected, " ".join(said(*words).split()))


def test_an_option_given_once_is_no_error_nor_a_flag_given_twice() -> None:
    for words in (("list", "--json", "--json", "no-such-*"), ("list", "-h"), ("list", "--metrics")):
        assert CliRunner().invoke(cli, list(words)).exit_code == 0


def test_the_rules_hold_for_a_command_of_a_plugin() -> None:
    @click.group()
    def group() -> None: ...

    @group.command()
    @click.option("--one", type=int)
    @click.option("--many", multiple=True)
    @click.option("-v", count=True)
    def own(**_: object) -> None: ...

    parent = click.Context(click.Group("hsrzoo"))
    require_strict_below(group, parent, ["group", "own", "--one", "1", "--many", "a", "--many", "b", "-vv"])
    with pytest.raises(click.UsageError, match="--one is given 2 times") as error:
        require_strict_below(group, parent, ["group", "own", "--one", "1", "--one", "1"])
    assert error.value.ctx is not None and error.value.ctx.command_path.endswith("group own")


def test_every_option_of_every_command_has_a_name_of_its_own() -> None:
    """Else two options that set one value would be refused together, as those of `list` are on purpose."""
    shared = {
        (name, parameter.name)
        for name in entry_points_of("hsrzoo.commands")
        if isinstance(command := cli.get_command(click.Context(cli), name), click.Command)
        for parameter in command.params
        if sum(other.name == parameter.name for other in command.params) > 1
    }
    assert shared == {("list", "kind")}


@pytest.mark.parametrize(
    ("words", "benches"),
    [
        ((), ("accuracy",)),
        (("--bench", "noise", "--bench", "jpeg", "--bench", "noise"), ("noise", "jpeg")),
        (("--bench", "gain", "--bench", "speed"), ("gain",)),
        (
            ("--bench", "all", "--bench", "gain"),
            ("accuracy", "mixed-patch", "brightness", "noise", "jpeg", "camera", "metamer", "gain"),
        ),
    ],
)
def test_bench_given_several_times_runs_all(monkeypatch, words, benches) -> None:
    ran = []
    monkeypatch.setattr(session, "run_bench", lambda options, speed: ran.append((options, speed)) or 0)
    done = CliRunner().invoke(cli, [*BENCH, *words])
    assert done.exit_code == 0, done.output
    ((options, speed),) = ran
    assert options.benches == benches
    assert (speed is not None) == ("speed" in words or "all" in words)
    if "all" in words:
        assert speed.sizes == ((256, 256),)


def test_workers_and_their_threads_are_bounded_together() -> None:
    most = workers.most_threads()
    workers.Workers(2, threads=most // 2)
    with pytest.raises(workers.InputError, match=rf"at most {most} together.*{most} workers of 2 threads"):
        workers.Workers(most, threads=2)
    workers.Workers(address="cluster:1", threads=most + 1)  # of other machines nothing is known here


@pytest.mark.parametrize("name", ["nope", "meta", "cuda:99", ""])
def test_a_device_that_is_not_there_is_answered_with_those_that_are(name: str) -> None:
    from hsrzoo.utils.devices import torch_device

    with pytest.raises(workers.InputError, match=rf"no device '{name}' here\. Expected cpu"):
        torch_device(name)
