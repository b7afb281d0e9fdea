"""A killed and resumed run has the weights of an uninterrupted one, bit for bit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from hsrzoo.errors import TrainingError
from hsrzoo.training.loop import train
from hsrzoo.training.rundir import RunDir, as_started, differences, load_checkpoint, require_same_run


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL and fork")
def test_sigkill_at_five_moments_changes_no_bit(forks, make_task, tmp_path, same_bits) -> None:
    task, recipe = make_task()
    train(task, recipe, tmp_path / "whole", progress=False)
    script = Path(__file__).with_name("killed_run.py")
    killed = forks.python(str(script), tmp_path / "killed", cwd=tmp_path, env={"CUDA_VISIBLE_DEVICES": ""})
    assert killed.returncode == 0, killed.stderr
    whole, resumed = (load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "killed"))
    assert whole["step"] == resumed["step"] == 24
    for part in ("module", "average"):
        assert same_bits(whole["engine"][part], resumed["engine"][part])
    moments = [
        {
            f"{i}.{k}": v
            for i, state in run["engine"]["optimiser"]["state"].items()
            for k, v in state.items()
        }
        for run in (whole, resumed)
    ]
    assert same_bits(*moments)
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "killed" / "log.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(1, 25))
    assert not list((tmp_path / "killed").glob(".*")), "half-written files are removed"


def test_stopping_and_resuming_carries_time_and_task_state(make_task, tmp_path, same_bits) -> None:
    task, recipe = make_task(steps=9)
    whole = train(task, recipe, tmp_path / "whole", progress=False).state_dict()
    task, recipe = make_task(steps=9)
    train(task, recipe, tmp_path / "parts", stop_after=4, progress=False)
    stopped = load_checkpoint(tmp_path / "parts" / "checkpoint.pt")
    assert stopped["step"] == 4 and stopped["cpu_seconds"] > 0
    assert not json.loads((tmp_path / "parts" / "record.json").read_text())["complete"]
    task, recipe = make_task(steps=9)
    resumed = train(task, recipe, tmp_path / "parts", resume=True, progress=False).state_dict()
    assert same_bits(whole, resumed)
    record = json.loads((tmp_path / "parts" / "record.json").read_text())
    assert record["complete"] and record["cpu_seconds"] >= stopped["cpu_seconds"]


def test_a_run_of_another_recipe_or_model_is_refused_by_what_differs(make_task, tmp_path) -> None:
    task, recipe = make_task(steps=4)
    train(task, recipe, tmp_path / "run", progress=False)
    task, recipe = make_task(steps=4, lr=1e-4, holdout=1)
    with pytest.raises(TrainingError, match=r"recipe\.lr: 0\.0025 before, 0\.0001 now.*task\.held_out"):
        train(task, recipe, tmp_path / "run", resume=True, progress=False)
    task, recipe = make_task(steps=4, checkpoint_every=1, valid_every=1)  # may change: no weight depends
    train(task, recipe, tmp_path / "run", resume=True, progress=False)


def test_a_run_begun_before_a_field_existed_goes_on_with_its_default_alone(
    make_task, tmp_path, same_bits, forget_fields
) -> None:
    task, recipe = make_task(steps=6, ema_warmup=False)
    whole = train(task, recipe, tmp_path / "whole", progress=False).state_dict()
    task, recipe = make_task(steps=6, ema_warmup=False)
    train(task, recipe, tmp_path / "old", stop_after=3, progress=False)
    forget_fields(tmp_path / "old", "augment_share", "ema_warmup", "sam_weight")
    task, recipe = make_task(steps=6)
    with pytest.raises(TrainingError, match=r"Got recipe\.ema_warmup: False before, True now\. Rep"):
        train(task, recipe, tmp_path / "old", resume=True, progress=False)
    assert as_started(recipe, tmp_path / "old", ["ema_warmup"]) == recipe
    assert as_started(recipe, tmp_path / "nowhere", []) == recipe
    recipe = as_started(recipe, tmp_path / "old", [])
    assert not recipe.ema_warmup
    task.recipe = recipe
    resumed = train(task, recipe, tmp_path / "old", resume=True, progress=False).state_dict()
    assert same_bits(whole, resumed)


def test_a_checkpoint_of_another_run_is_refused_even_if_the_configuration_agrees(
    make_task, tmp_path
) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        task, recipe = make_task(steps=4, seed=seed)
        train(task, recipe, tmp_path / name, progress=False)
    (tmp_path / "two" / "checkpoint.pt").replace(tmp_path / "one" / "checkpoint.pt")
    task, recipe = make_task(steps=4)
    with pytest.raises(TrainingError, match=r"recipe\.seed: 1 before, 0 now"):
        train(task, recipe, tmp_path / "one", resume=True, progress=False)


def test_a_damaged_checkpoint_is_named(make_task, tmp_path) -> None:
    task, recipe = make_task(steps=4)
    train(task, recipe, tmp_path / "run", progress=False)
    file = tmp_path / "run" / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:-500])
    task, recipe = make_task(steps=4)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be read"):
        train(task, recipe, tmp_path / "run", resume=True, progress=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("identity"), "no identity"),
        (lambda s: s.update(identity="x"), "Expecting value"),
        (lambda s: s.update(identity="[]"), "belongs to another run"),
        (lambda s: s.update(step=None), "step: NoneType"),
        (lambda s: s.update(step=-1), "step: -1, not 0 to"),
        (lambda s: s.update(wall_seconds="x"), "wall_seconds: str"),
        (lambda s: s.update(engine=[]), "engine: list"),
        (lambda s: s["engine"].pop("module"), "KeyError: 'module'"),
        (lambda s: s["engine"].update(optimiser=3), "cannot be read"),
        (lambda s: s["engine"]["module"].update({"leave.bias": torch.zeros(2)}), "size mismatch"),
        (lambda s: s.update(schema=torch.zeros(2)), "not a checkpoint that this version reads"),
    ],
)
def test_a_checkpoint_with_other_contents_is_told(make_task, tmp_path, change, words) -> None:
    task, recipe = make_task(steps=2)
    train(task, recipe, tmp_path / "run", progress=False, stop_after=1)
    file = tmp_path / "run" / "checkpoint.pt"
    state = load_checkpoint(file)
    change(state)
    torch.save(state, file)
    task, recipe = make_task(steps=2)
    with pytest.raises(TrainingError, match=words):
        train(task, recipe, tmp_path / "run", progress=False, resume=True)


@pytest.mark.parametrize("data", [b"", b"PK", b"x" * 99])
def test_what_is_no_checkpoint_at_all_is_told(tmp_path, data) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(data)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be read"):
        load_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "Expecting value"), ("[]", "Got list"), ('{"steps": null}', "steps: NoneType"),
     ('{"steps": 0}', "steps: 0, not 1"), ('{"complete": 1}', "complete: int"),
     ('{"recipe": []}', "recipe: list"), ("[" * 5000, "recursion")],
)  # fmt: skip
def test_a_damaged_record_is_told(tmp_path, text, words) -> None:
    folder = RunDir(tmp_path)
    folder.record.write_text(text)
    with pytest.raises(TrainingError, match=rf"record\.json is damaged.*{words}"):
        folder.read_json(folder.record)


def test_lines_of_a_log_that_are_no_steps_are_dropped(tmp_path) -> None:
    folder = RunDir(tmp_path)
    folder.log.write_bytes(b'{"step": 1}\n[]\n{}\n1\n{"step": "x"}\n\xff\n{"step": 2}\n{"step": 3}\n{"st')
    folder.truncate_log(2)
    assert folder.log.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_checkpoint_with_code_inside_is_refused(tmp_path) -> None:
    class Code:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"schema": 1, "step": Code()}, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "touched").exists()


def test_differences_name_nested_keys() -> None:
    before = {"a": 1, "b": {"c": [1, 2], "d": 0}}
    assert differences(before, {"a": 1, "b": {"c": [1, 3]}, "e": 5}) == [
        "b.c: [1, 2] before, [1, 3] now",
        "b.d: 0 before, nothing now",
        "e: nothing before, 5 now",
    ]


def test_a_run_from_before_encodings_were_recorded_took_photographs_as_linear():
    before = {"dataset_info": {"scale": 1.0}}
    require_same_run(before, {"dataset_info": {"scale": 1.0, "encoding": "linear"}}, Path("config.json"))
    with pytest.raises(TrainingError, match=r"encoding.*linear.*srgb"):
        require_same_run(before, {"dataset_info": {"scale": 1.0, "encoding": "srgb"}}, Path("config.json"))
