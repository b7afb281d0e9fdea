"""One optimisation step, and everything that a step changes: weights, averages, optimiser."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hsrzoo.errors import DivergedError, TrainingError
from hsrzoo.spec import Recipe
from hsrzoo.training.average import MovingAverage
from hsrzoo.training.loading.loader import Loader, seed_step
from hsrzoo.training.schedule import learning_rate
from hsrzoo.training.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(recipe: Recipe) -> Accelerator:
    """Device, precision and, under ``torchrun`` or ``accelerate launch``, the group of processes."""
    from accelerate import Accelerator  # slow to import, and only training needs it

    # Without a GPU, accelerate forms a group of CPU processes only if cpu is set.
    cpu = int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.cuda.is_available()
    mixed = "no" if recipe.precision == "fp32" else recipe.precision
    try:
        accelerator = Accelerator(mixed_precision=mixed, cpu=cpu)
    except ValueError as error:  # half precision without a GPU, or a second precision in one process
        raise TrainingError(
            f"Training in {recipe.precision} is not possible here",
            got=str(error),
            fix="Use --set precision=fp32, or train in a process of its own",
        ) from None
    if recipe.precision == "fp16" and accelerator.device.type == "cpu":
        raise TrainingError("fp16 needs a GPU", got="the CPU", fix="Use --set precision=fp32")
    return accelerator


class Engine:
    """A task with its optimiser and its moving average, on the device that accelerate has picked.

    The state after step k is a pure function of the state before it, the recipe, the total number
    of steps and k: random numbers are seeded for every step. In a group of processes, each
    with an engine, all hold the same state, and a step does what it does in one process, to rounding:
    the recipe's batch is that of all together.
    """

    def __init__(self, task: Task, recipe: Recipe, accelerator: Accelerator, workers: int = 0) -> None:
        """``workers``: those of the :class:`~hsrzoo.training.loading.loader.Loader`."""
        self.task, self.recipe, self.accelerator = task, recipe, accelerator
        self.device = accelerator.device
        task.module.to(self.device)
        task.gather = accelerator.gather
        self.loader = Loader(task, recipe.seed, workers)
        self._share_buffers(weights_too=True)  # one process's first weights are those of all
        self.trained = [p for p in task.module.parameters() if p.requires_grad]
        if not self.trained:
            raise TrainingError("This network has no parameter to train", fix="Fit it with hsrzoo fit")
        self.average = MovingAverage(task.module, recipe.ema, recipe.ema_warmup) if recipe.ema > 0 else None
        self.renew()

    def renew(self) -> None:
        """A fresh optimiser, and an average that starts from the module as it is."""
        recipe = self.recipe
        optimiser = torch.optim.AdamW(
            self.trained,
            lr=recipe.lr,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=recipe.precision != "fp16",  # one pass over all tensors; gradient scaling needs its own
        )
        self.optimiser: Any = self.accelerator.prepare_optimizer(optimiser)
        if self.average is not None:
            self.average.set(self.task.module)

    def average_module(self) -> nn.Module:
        """The module with averaged weights (the trained one itself where there is no average)."""
        return self.average.module if self.average is not None else self.task.module

    def step(self, index: int, steps: int) -> dict[str, float]:
        """Do step ``index`` (0 is the first) of ``steps``; returns the figures for the log, which are
        those of the whole batch."""
        self.task.steps = steps
        lr = learning_rate(self.recipe, index, steps)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.task.module.train()
        for part in self.task.frozen:
            part.eval()
        batch, generator = self._draw(index)
        with self.accelerator.autocast():
            loss, logs = self.task.loss(batch)
        value, logs = self._share_figures(float(loss.detach()), logs)
        self.optimiser.zero_grad()
        self.accelerator.backward(loss)
        self._share_gradients()
        # accelerate's own clipping unscales for every optimiser it has prepared: twice after a renewal
        self.accelerator.unscale_gradients(self.optimiser)
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.clip or math.inf))
        self._require_finite(index, value, norm)
        self.optimiser.step()
        with torch.no_grad():
            extra = self.task.after_step(index + 1, generator)
        self._share_buffers(weights_too=bool(extra))
        if self.average is not None:
            self.average.update(self.task.module, index)
        return {"lr": lr, "loss": value, "grad_norm": norm, **logs, **extra}

    def validate(self) -> dict[str, float]:
        """The task's figures for the averaged weights, on the main process only."""
        if not self.accelerator.is_main_process:
            return {}
        module = self.average_module()
        module.eval()
        with torch.no_grad():
            return self.task.validate(module)

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`step` changes."""
        scaler = self.accelerator.scaler
        return {
            "module": self.task.module.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "task": self.task.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` returned, strictly."""
        self.task.module.load_state_dict(state["module"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.task.load_state(state["task"])

    def _draw(self, index: int) -> tuple[Any, torch.Generator]:
        """This process's share of the batch of a step, and the generator that has drawn the whole."""
        from accelerate.utils import send_to_device

        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        drawn, generator = self.loader.draw(index)
        batch = self.task.share(drawn, process, processes)
        if process:  # dropout must not repeat itself from share to share
            seed_step(self.recipe.seed, index, process)
        return send_to_device(batch, self.device), generator

    def _share_figures(self, loss: float, logs: dict[str, float]) -> tuple[float, dict[str, float]]:
        """Loss and figures as means over all processes."""
        if self.accelerator.num_processes == 1:
            return loss, logs
        own = torch.tensor([loss, *logs.values()], device=self.device, dtype=torch.float64)
        mean, *means = self.accelerator.reduce(own, reduction="mean").tolist()
        return mean, dict(zip(logs, means, strict=True))

    def _share_gradients(self) -> None:
        """Average the gradients over all processes: of equal shares, this is the whole batch's."""
        if self.accelerator.num_processes == 1:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.trained]
        flat = self.accelerator.reduce(torch.cat([g.reshape(-1) for g in grads]), reduction="mean")
        for p, part in zip(self.trained, flat.split([p.numel() for p in self.trained]), strict=True):
            p.grad = part.view_as(p)

    def _share_buffers(self, weights_too: bool) -> None:
        """Every process takes the main one's buffers, and its weights if the task changed them."""
        if self.accelerator.num_processes == 1:
            return
        from accelerate.utils import broadcast

        module = self.task.module
        for tensor in [*module.buffers(), *(module.parameters() if weights_too else ())]:
            tensor.data.copy_(broadcast(tensor.data.clone()))

    def _require_finite(self, index: int, loss: float, norm: float) -> None:
        # With a gradient scaler an infinite norm is ordinary: it skips the step and scales down.
        bad_norm = not math.isfinite(norm) and self.accelerator.scaler is None
        if math.isfinite(loss) and not bad_norm:
            return
        raise DivergedError(
            f"Training diverged at step {index + 1}: loss {loss}, gradient norm {norm}",
            fix="Lower the learning rate (--lr) or tighten clipping (--set clip=0.5)",
        )
