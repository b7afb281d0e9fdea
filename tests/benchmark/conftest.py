"""The toy data set and trained toy networks in folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hsrzoo.bands import BandSet
from hsrzoo.registry import load_plugin_file

PLUGIN = Path(__file__).with_name("toy_plugin.py")


@pytest.fixture(scope="session", autouse=True)
def toy() -> None:
    """The plugin's names are known in this process."""
    load_plugin_file(PLUGIN)


@pytest.fixture(scope="session")
def toy_env() -> dict[str, str]:
    """Environment that makes a child process know them."""
    return {"HSRZOO_PLUGINS": str(PLUGIN)}


SaveModel = Callable[..., str]


@pytest.fixture
def save_model(tmp_path: Path) -> SaveModel:
    """``save_model("good", offset=0.0)`` -> its name: a network that copies the three bands it sees and
    averages neighbours for the others, with an offset that makes it worse."""

    def save(
        folder: str,
        *,
        arch: str = "bench-net",
        offset: float = 0.0,
        trained_on: str = "toy",
        bands: BandSet | None = None,
        training: dict[str, Any] | None = None,
        codebook: dict[str, Any] | None = None,
        **arguments: object,
    ) -> str:
        import torch

        from hsrzoo.models.weights import save_folder
        from hsrzoo.registry import MODELS
        from hsrzoo.spec import build_module

        spec = MODELS.get(arch)
        bands = bands or BandSet.regular(400, 700, 75)
        module = build_module(spec, bands, arguments)
        with torch.no_grad():
            weight = torch.tensor([[0.0, 0, 1], [0, 0.5, 0.5], [0, 1, 0], [0.5, 0.5, 0], [1, 0, 0]])
            module.conv.weight.copy_(weight[: len(bands), :, None, None])
            module.conv.bias.fill_(offset)
        save_folder(
            tmp_path / folder, module, spec, bands, arguments=arguments,
            training={"dataset": trained_on, **(training or {})}, codebook=codebook,
        )  # fmt: skip
        return f"local-dir:{tmp_path / folder}"

    return save
