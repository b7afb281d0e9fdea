"""Checkpoints of all networks, as their authors' trainers write them, through ``hsrzoo convert``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from networks import NETWORKS
from parity import Parity
from torch import Tensor

import hsrzoo
from hsrzoo.bands import VISIBLE_31
from hsrzoo.cli.convert import command
from hsrzoo.registry import MODELS
from hsrzoo.spec import build_module

OWN_NAMES = {"hprn", "hsiformer", "hysat", "msfn", "ssrnet", "ssthyper"}
"""Networks since 2023, whose names and order are the official ones: nothing that other networks do not
show, so that only ``make test-all`` writes their files."""
WITH_OFFICIAL = [
    pytest.param(name, marks=[pytest.mark.long] if name in OWN_NAMES else [])
    for name, spec in sorted(MODELS.working())
    if spec.official is not None
]
ORIGINALS = {network.name: network.original for network in NETWORKS}
PREFIXED = {"mst-plus-plus", "mst-l", "hinet", "mprnet", "agdnet", "gmsr"}
"""Networks whose file is written here as DataParallel does, with ``module.`` before every name."""


@pytest.fixture
def parity_or_none(request) -> Path | None:
    """The folder of the originals' outputs; None, not a skip, where it is absent."""
    try:
        return request.getfixturevalue("parity_root")
    except pytest.skip.Exception:
        return None


def checkpoint_of(
    arch: str, root: Path | None
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor], Tensor]:
    """Tensors under the official names in the official order, an image, what the network gets besides it,
    and the original's cube.

    Without the originals: tensors, names and cube of the network here.
    """
    if root is None:
        torch.manual_seed(0)
        module, rgb = build_module(MODELS.get(arch), VISIBLE_31, {}).eval(), torch.rand(1, 3, 32, 32)
        with torch.inference_mode():
            return module.state_dict(), rgb, {}, module(rgb)
    original = Parity.read(root, ORIGINALS[arch].file)
    state = original.official_state()
    given = {key: original.tensors[name.format("a")] for key, name in ORIGINALS[arch].extras.items()}
    return state, original.tensors["input_a"], given, original.tensors["output_a"]


def write(path: Path, arch: str, state: dict[str, Tensor], prefixed: bool) -> None:
    """As the trainers do: a dict with the epoch and the optimiser's state next to the tensors."""
    container = MODELS.get(arch).official.containers[0]
    named = {f"module.{key}" if prefixed else key: value for key, value in state.items()}
    moments = {0: {"step": 1000, "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}}
    groups = [{"lr": 4e-4, "betas": (0.9, 0.999), "eps": 1e-8, "params": [0]}]
    optimiser = {"state": moments, "param_groups": groups}
    torch.save({"epoch": 300, "iter": 300_000, container: named, "optimizer": optimiser}, path)


@pytest.mark.parametrize("arch", WITH_OFFICIAL)
def test_a_file_in_the_official_order_gives_the_official_cube(parity_or_none, tmp_path, arch):
    state, rgb, given, expected = checkpoint_of(arch, parity_or_none)
    write(tmp_path / "net.pth", arch, state, prefixed=arch in PREFIXED)
    out = tmp_path / "out"
    result = CliRunner().invoke(
        command, [str(tmp_path / "net.pth"), "--arch", arch, "--out", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    model = hsrzoo.load(f"local-dir:{out}", device="cpu")
    assert model.spec.input.normalise == MODELS.get(arch).official.normalise
    with torch.inference_mode():
        got = model.module(rgb, **given)
    assert (got - expected).norm() < 1e-4 * expected.norm()
