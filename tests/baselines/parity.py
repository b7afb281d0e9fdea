"""Weights by rule and comparison with the outputs of the original networks.

A parity folder holds for each network NAME.safetensors (inputs and original outputs) and NAME.json
(ordered keys with shape and fill rule, hash of all filled values). The rules turn one seeded stream
of normal numbers, drawn in state_dict order, into weights of sensible size, so no original weights
need to be stored.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


@dataclass(frozen=True)
class Parity:
    """One network's original behaviour."""

    keys: list[dict[str, Any]]
    gain: float
    state_sha256: str
    tensors: dict[str, Tensor]

    @classmethod
    def read(cls, root: Path, name: str) -> Parity:
        """Read NAME.json and NAME.safetensors."""
        record = json.loads((root / f"{name}.json").read_text())
        return cls(
            keys=record["keys"],
            gain=record["gain"],
            state_sha256=record["state_sha256"],
            tensors=load_file(root / f"{name}.safetensors"),
        )

    def official_state(self) -> dict[str, Tensor]:
        """All tensors in the official order and under the official names, those with two names twice."""
        generator = torch.Generator().manual_seed(0)
        state: dict[str, Tensor] = {}
        for entry in self.keys:
            if "alias_of" in entry:
                state[entry["key"]] = state[entry["alias_of"]]
                continue
            if entry["rule"] == "const":
                state[entry["key"]] = constant(entry["key"], entry["shape"])
            elif entry["rule"] == "int0":
                state[entry["key"]] = torch.zeros(entry["shape"], dtype=torch.int64)
            else:
                noise = torch.randn(entry["shape"], generator=generator)
                state[entry["key"]] = _by_rule(entry["rule"], noise, self.gain)
        return state

    def fill(self, module: nn.Module, *, one_name: bool = False) -> None:
        """Overwrite all parameters and buffers of ``module`` by rule, in its own state_dict order.

        ``one_name``: the module has only the first of the names of tensors that the original has twice.
        """
        keys = [e for e in self.keys if e.get("rule") != "const"]
        if one_name:
            keys = [e for e in keys if "alias_of" not in e]
        generator = torch.Generator().manual_seed(0)
        for entry, (key, value) in zip(keys, module.state_dict().items(), strict=True):
            assert entry["key"] == key, f"expected {entry['key']}, the module has {key}"
            assert entry["shape"] == list(value.shape), f"{key}: {entry['shape']}, {list(value.shape)}"
            if not value.is_floating_point():
                value.zero_()
            elif "alias_of" not in entry:
                noise = torch.randn(value.shape, generator=generator, dtype=torch.float32)
                value.copy_(_by_rule(entry["rule"], noise, self.gain))

    def sha256(self, module: nn.Module) -> str:
        """Hash of all values of the state_dict and of constants that the original stores with them, in the
        original order, comparable with ``state_sha256``."""
        digest, state = hashlib.sha256(), module.state_dict()
        for entry in self.keys:
            key = entry["key"]
            if entry.get("rule") == "const":
                value = constant(key, entry["shape"])
            else:
                value = state[key if key in state else entry["alias_of"]]
            digest.update(value.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def relative_errors(
        self, module: nn.Module, letters: str, extras: Mapping[str, str] | None = None
    ) -> dict[str, float]:
        """For each of these inputs: norm of the difference over the norm of the original output.

        ``extras``: keyword of ``forward`` -> name of its tensor, in which {} stands for the letter.
        """
        errors = {}
        for letter in letters:
            given = {key: self.tensors[name.format(letter)] for key, name in (extras or {}).items()}
            expected = self.tensors[f"output_{letter}"].double()
            with torch.inference_mode():
                got = module.eval()(self.tensors[f"input_{letter}"], **given).double()
            assert got.shape == expected.shape
            errors[letter] = ((got - expected).norm() / expected.norm()).item()
        return errors


@cache
def _constants() -> dict[str, Tensor]:
    """Last part of the name -> values: a binomial blur; of windows of 8 x 8 pixels the row in a table of
    biases for each pair of pixels, and what hides pixels of a 128 x 128 map shifted by 4."""
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    places = [(i, j) for i in range(8) for j in range(8)]
    index = [[(i - k + 7) * 15 + (j - m + 7) for k, m in places] for i, j in places]
    label = [0] * 120 + [1] * 4 + [2] * 4
    windows = [(top, left) for top in range(0, 128, 8) for left in range(0, 128, 8)]
    region = torch.tensor(
        [[(label[top + i], label[left + j]) for i, j in places] for top, left in windows]
    )  # (256, 64, 2)
    apart = (region[:, :, None] != region[:, None]).any(-1)
    return {
        "filt": row[:, None] * row,
        "relative_position_index": torch.tensor(index),
        "attn_mask": torch.where(apart, -100.0, 0.0),
    }


def constant(key: str, shape: Sequence[int]) -> Tensor:
    """The values of a buffer that originals store though they can be computed."""
    return _constants()[key.rpartition(".")[2]].expand(*shape).clone()


def _by_rule(rule: str, noise: Tensor, gain: float) -> Tensor:
    """The values that a fill rule makes of standard normal ``noise``, in float32 throughout."""
    shape = noise.shape
    match rule:
        case "weight":
            return noise * (gain / math.sqrt(noise.numel() // shape[0]))
        case "deconv":  # ConvTranspose2d weights are (in, out, 2, 2)
            return noise * (gain / math.sqrt(shape[0]))
        case "weight3":
            return noise * (gain / math.sqrt(shape[-1]))
        case "bias" | "norm_b":
            return 0.02 * noise
        case "norm_w":
            return 1 + 0.02 * noise
        case "run_var":
            return 1 + 0.1 * noise.abs()
        case "prelu":
            return 0.25 + 0.02 * noise
        case "temp":
            return 1 + 0.1 * noise
        case "A_log":
            return torch.arange(1, shape[-1] + 1, dtype=torch.float64).log().float() + 0.02 * noise
        case "dt_bias":
            return -4 + 0.5 * noise
    raise ValueError(f"no fill rule is called {rule!r}")
