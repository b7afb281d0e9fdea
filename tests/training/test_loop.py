"""The loop against a hand-written one; frozen tensors, divergence, budgets, logs."""

from __future__ import annotations

import itertools
import json
import math
import time
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hsrzoo.errors import TrainingError
from hsrzoo.training import loop
from hsrzoo.training.engine import Engine, make_accelerator
from hsrzoo.training.loading.loader import seed_step
from hsrzoo.training.loop import train
from hsrzoo.training.pairs import PairTask
from hsrzoo.training.schedule import one_cycle


def _lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_weights_equal_those_of_a_plain_loop(make_task, tmp_path) -> None:
    """AdamW with clipping and the moving average, written out once more without any library help."""
    task, recipe = make_task(steps=12, ema=0.9, clip=0.1, weight_decay=0.01)
    averaged = train(task, recipe, tmp_path / "run", progress=False)

    other, _ = make_task(steps=12, ema=0.9, clip=0.1, weight_decay=0.01)
    other.prepare()
    module = other.module.train()
    trained = [p for p in module.parameters() if p.requires_grad]
    first, second, mean = ([torch.zeros_like(p) for p in trained] for _ in range(3))
    for average, p in zip(mean, trained, strict=True):
        average.copy_(p.detach())
    b1, b2 = recipe.betas
    for step in range(12):
        loss, _ = other.loss(other.draw(seed_step(recipe.seed, step)))
        grads = torch.autograd.grad(loss, trained)
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in grads))
        lr = one_cycle(step, 12, recipe.lr, recipe.warmup)
        with torch.no_grad():
            for p, g, m, v, average in zip(trained, grads, first, second, mean, strict=True):
                g = g * min(1.0, 0.1 / norm)
                m.mul_(b1).add_(g, alpha=1 - b1)
                v.mul_(b2).add_(g * g, alpha=1 - b2)
                p.mul_(1 - lr * 0.01)
                p.sub_(lr * (m / (1 - b1 ** (step + 1))) / ((v / (1 - b2 ** (step + 1))).sqrt() + 1e-8))
                decay = min(0.9, (1 + step) / (10 + step))
                average.mul_(decay).add_(p, alpha=1 - decay)
    ours = [p for p in averaged.parameters() if p.requires_grad]
    for p, average in zip(ours, mean, strict=True):
        torch.testing.assert_close(p.detach(), average, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(ours[0], trained[0], atol=1e-4), "the average is not the last weights"
    assert not averaged.training


def test_without_average_the_last_weights_come_out(make_task, tmp_path) -> None:
    task, recipe = make_task(steps=3, ema=0.0)
    assert train(task, recipe, tmp_path / "run", progress=False) is task.module


def test_frozen_tensors_are_bit_identical_and_others_move(make_task, tmp_path, same_bits) -> None:
    task, recipe = make_task(steps=10, weight_decay=0.1, ema=0.7)
    before = {k: v.clone() for k, v in task.module.state_dict().items()}
    after = train(task, recipe, tmp_path / "run", progress=False).state_dict()
    frozen = ("frozen", "codebook")
    assert same_bits({k: before[k] for k in frozen}, {k: after[k] for k in frozen})
    assert not torch.equal(before["enter.weight"], after["enter.weight"])
    assert int(after["norm.num_batches_tracked"]) == 10  # counters are copied, not averaged
    assert torch.equal(after["norm.running_mean"], task.module.norm.running_mean)


def test_a_task_may_change_weights_after_a_step(make_task, tmp_path) -> None:
    class Reviving(PairTask):
        def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
            self.module.codebook[step - 1] = torch.rand(4, generator=generator)
            return {"revived": 1.0, "total": float(self.steps)}

    task, recipe = make_task(Reviving, steps=4)
    before = task.module.codebook.clone()
    after = train(task, recipe, tmp_path / "run", progress=False).codebook
    assert (before != after).any(dim=1).tolist() == [True] * 4 + [False] * 12
    assert [(line["revived"], line["total"]) for line in _lines(tmp_path / "run")] == [(1.0, 4.0)] * 4


def test_nan_stops_and_names_the_last_good_checkpoint(make_task, tmp_path) -> None:
    class Poisoned(PairTask):
        poison = 13

        def loss(self, batch):
            value, logs = super().loss(batch)
            self.seen = getattr(self, "seen", 0) + 1
            return (value * math.nan if self.seen == self.poison else value), logs

    task, recipe = make_task(Poisoned)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    with pytest.raises(TrainingError, match=r"step 13.*checkpoint\.pt"):
        train(task, recipe, tmp_path / "run", progress=False)
    assert torch.load(checkpoint, weights_only=True)["step"] == 10
    task, recipe = make_task(Poisoned)
    task.poison = 2
    with pytest.raises(TrainingError, match="no checkpoint yet"):
        train(task, recipe, tmp_path / "early", progress=False)


def test_an_infinite_gradient_of_a_finite_loss_stops_too(make_task, tmp_path) -> None:
    class Root(PairTask):
        def loss(self, batch):
            return (self.module.leave.weight * 0).sum().sqrt(), {}  # slope of sqrt at 0

    task, recipe = make_task(Root)
    with pytest.raises(TrainingError, match="gradient norm"):
        train(task, recipe, tmp_path / "run", progress=False)


@pytest.mark.parametrize(("at", "kept"), [(12, 10), (3, None)])
def test_weights_that_overflow_in_the_last_update_are_no_result(make_task, tmp_path, at, kept) -> None:
    class Overflowing(PairTask):
        def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
            if step == at:  # loss and gradient of this step were finite
                self.module.leave.bias[0] = math.inf
            return {}

    task, recipe = make_task(Overflowing, steps=at)
    words = r"checkpoint\.pt" if kept else "no checkpoint yet"
    with pytest.raises(
        TrainingError, match=f"step {at} are not finite.*first leave.bias.*{words}"
    ) as found:
        train(task, recipe, tmp_path / "run", progress=False)
    assert found.value.exit_code == 1
    assert "complete" not in json.loads((tmp_path / "run" / "record.json").read_text())
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    assert checkpoint.is_file() == bool(kept)
    assert not kept or torch.load(checkpoint, weights_only=True)["step"] == kept


def test_minutes_fix_the_steps_and_change_nothing_else(make_task, tmp_path, monkeypatch, same_bits) -> None:
    monkeypatch.setattr(loop, "TIMED_STEPS", 10)
    looks = itertools.count(0, 0.05)  # seconds between two looks at the clock: five milliseconds a step
    clock = SimpleNamespace(perf_counter=lambda: next(looks), process_time=time.process_time)
    monkeypatch.setattr(loop, "time", clock)
    task, recipe = make_task()
    timed = train(task, recipe, tmp_path / "timed", minutes=0.002, progress=False).state_dict()
    record = json.loads((tmp_path / "timed" / "record.json").read_text())
    seconds = record["timed_step_seconds"] + record["timed_valid_seconds"] / recipe.valid_every
    assert record["steps"] == math.floor(0.002 * 60 / seconds) == len(_lines(tmp_path / "timed"))
    assert record["minutes"] == 0.002 and record["complete"] and record["threads"] == 1
    task, recipe = make_task(steps=record["steps"])
    counted = train(task, recipe, tmp_path / "counted", progress=False).state_dict()
    assert same_bits(timed, counted)
    task, recipe = make_task()
    resumed = train(task, recipe, tmp_path / "timed", minutes=0.002, resume=True, progress=False)
    assert same_bits(timed, resumed.state_dict())


def test_timing_restores_state_that_the_task_changes_in_place(make_task, monkeypatch) -> None:
    class Counting(PairTask):
        count = torch.zeros(1)

        def after_step(self, step: int, generator: torch.Generator) -> dict[str, float]:
            self.count += 1
            return {}

        def state(self) -> dict:
            return {"count": self.count}

        def load_state(self, state: dict) -> None:
            self.count = state["count"]

    monkeypatch.setattr(loop, "TIMED_STEPS", 3)
    task, recipe = make_task(Counting)
    task.prepare()
    loop.time_steps(Engine(task, recipe, make_accelerator(recipe)))
    assert float(task.count) == 0


def test_a_budget_below_one_step_is_refused() -> None:
    with pytest.raises(TrainingError, match="minutes"):
        loop.steps_in(0.01, loop.Timing(step_seconds=0.7, valid_seconds=0.0), 500)
    assert loop.steps_in(1.0, loop.Timing(0.5, 100.0), 500) == 85  # 60 / (0.5 + 100 / 500)


def test_the_configuration_is_written_before_any_work(make_task, tmp_path) -> None:
    class Failing(PairTask):
        def prepare(self) -> None:
            raise RuntimeError("the disk is gone")

    task, recipe = make_task(Failing, lr=3e-4)
    with pytest.raises(RuntimeError, match="disk"):
        train(task, recipe, tmp_path / "run", notes={"command": "x"}, progress=False)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["lr"] == 3e-4 and config["task"]["scenes"] == ["s0", "s1", "s2", "s3"]
    assert config["notes"] == {"command": "x"}
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["config.json"]


def test_the_log_has_every_step_once_with_validation(make_task, tmp_path) -> None:
    task, recipe = make_task(steps=10, valid_every=4, holdout=1)
    train(task, recipe, tmp_path / "run", progress=False)
    lines = _lines(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert [line["step"] for line in lines if "valid_rmse" in line] == [4, 8, 10]
    assert lines[2]["lr"] == one_cycle(2, 10, recipe.lr, recipe.warmup)
    assert all({"loss", "grad_norm", "seconds", "cpu_seconds"} <= line.keys() for line in lines)


def test_a_used_folder_is_refused_and_left_alone(make_task, tmp_path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    task, recipe = make_task()
    for resume in (False, True):
        with pytest.raises(TrainingError, match="--out"):
            train(task, recipe, tmp_path, resume=resume, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_nothing_to_train_is_an_error(make_task, tmp_path) -> None:
    task, recipe = make_task()
    task.module.requires_grad_(False)
    with pytest.raises(TrainingError, match="no parameter"):
        train(task, recipe, tmp_path / "run", progress=False)


def test_another_number_of_threads_on_resuming_warns(make_task, tmp_path) -> None:
    task, recipe = make_task(steps=6)
    train(task, recipe, tmp_path / "run", stop_after=3, progress=False)
    task, recipe = make_task(steps=6)
    torch.set_num_threads(2)
    with pytest.warns(UserWarning, match="--threads 1"):
        train(task, recipe, tmp_path / "run", resume=True, stop_after=4, progress=False)
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert (record["threads"], record["threads_after_resuming"]) == (1, 2)
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task, recipe = make_task(steps=6)
        train(task, recipe, tmp_path / "run", resume=True, progress=False)


def test_bf16_on_the_cpu_trains_and_keeps_float32_weights(make_task, tmp_path) -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    try:
        task, recipe = make_task(steps=3, precision="bf16")
        weights = train(task, recipe, tmp_path / "run", progress=False).state_dict()
    finally:
        AcceleratorState._reset_state()
    assert weights["enter.weight"].dtype == torch.float32


def _with_scaler(accelerator, monkeypatch):
    """What fp16 on a GPU has: gradients of a scaled loss; the scale doubles every three steps."""
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    accelerator.native_amp = True
    monkeypatch.setattr(type(accelerator), "mixed_precision", "fp16")
    monkeypatch.setattr(accelerator, "autocast", nullcontext)
    return accelerator


def test_gradients_are_unscaled_once_also_after_timing(make_task, monkeypatch) -> None:
    monkeypatch.setattr(loop, "TIMED_STEPS", 4)
    norms = {}
    for precision in ("fp32", "fp16"):
        task, recipe = make_task(precision=precision, holdout=1)
        task.prepare()
        accelerator = make_accelerator(replace(recipe, precision="fp32"))
        if precision == "fp16":
            accelerator = _with_scaler(accelerator, monkeypatch)
        engine = Engine(task, recipe, accelerator)
        if precision == "fp16":
            before = accelerator.scaler.state_dict()
            loop.time_steps(engine)
            assert accelerator.scaler.state_dict() == before and before["scale"] == 1024.0
        norms[precision] = [engine.step(i, 24)["grad_norm"] for i in range(5)]
    assert norms["fp16"] == pytest.approx(norms["fp32"], rel=1e-4)
    assert accelerator.scaler.get_scale() == 2048.0


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_is_the_recursion_with_the_decay_of_each_step(make_task, tmp_path, warmup) -> None:
    task, recipe = make_task(steps=12, ema=0.5, ema_warmup=warmup)
    weights = [task.module.leave.weight.detach().double().clone()]

    def after_step(step, generator):
        weights.append(task.module.leave.weight.detach().double().clone())
        return {}

    task.after_step = after_step
    averaged = train(task, recipe, tmp_path / "run", progress=False)
    expected = weights[0]
    for k, weight in enumerate(weights[1:]):
        decay = min(0.5, (1 + k) / (10 + k)) if warmup else 0.5
        expected = decay * expected + (1 - decay) * weight
    assert torch.allclose(averaged.leave.weight.double(), expected, rtol=0, atol=1e-7)
    assert not torch.allclose(weights[0], expected, rtol=0, atol=1e-4)
