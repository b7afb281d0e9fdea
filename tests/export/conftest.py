"""Small networks and their exported files, made once for all tests here: tracing takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from hsrzoo.bands import BandSet
from hsrzoo.export import export_onnx, graph
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.weights import make_config
from hsrzoo.spec import ModelSpec, RgbInput, build_module
from hsrzoo_baselines.mst_plus_plus import SPEC as MST
from hsrzoo_mcga.plugin import MCGA_S2

BANDS = BandSet.regular(400, 700, 75)
SMALL_MCGA = {"stem": 4, "latent": 8, "n_codes": 24, "head": 8, "k": 8}


class Toy(nn.Module):
    """A convolution, nearest codes, and a convolution: all that precisions must tell apart."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.register_buffer("codes", torch.randn(16, 8))
        self.middle = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, bands, 1)

    def forward(self, rgb: Tensor) -> Tensor:
        x = self.first(rgb)
        distances = (x.permute(0, 2, 3, 1)[..., None, :] - self.codes).square().sum(-1)  # B H W N
        nearest = self.codes[distances.argmin(-1)].permute(0, 3, 1, 2)
        return self.last(torch.relu(self.middle(x + 0.1 * nearest)) + x.mean((2, 3), keepdim=True))


def build_toy(bands: BandSet) -> Toy:
    return Toy(len(bands))


TOY = ModelSpec(
    name="toy", build=build_toy, summary="a toy", source="none", input=RgbInput("minmax-image", 2, 4)
)


def reconstructor(spec: ModelSpec, arguments: dict, seed: int = 0) -> Reconstructor:
    """A network whose weights are random but all matter, under an identity of its own."""
    torch.manual_seed(seed)
    module = build_module(spec, BANDS, arguments)
    for p in module.parameters():  # residual branches start near zero
        p.data.add_(0.05 * torch.randn_like(p))
    config = make_config(spec, BANDS, arguments=arguments, training={"dataset": "made-up"})
    sha = f"{seed}" * 64
    return Reconstructor(
        module, spec, BANDS, name=spec.name, config=config, weights_sha256=sha, device="cpu"
    )


@pytest.fixture(scope="session")
def toy() -> Reconstructor:
    return reconstructor(TOY, {})


@pytest.fixture(scope="session")
def toy_file(toy: Reconstructor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.onnx"
    export_onnx(toy, path)
    return path


@pytest.fixture
def traced_once(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Toys are not traced again: all get the graph of ``toy_file``, signed as their own."""

    def signed(model: Reconstructor, opset: int) -> onnx.ModelProto:
        proto = onnx.load(toy_file)
        graph.sign(proto, graph.metadata(model, opset, "fp32"))
        return proto

    monkeypatch.setattr(graph, "to_onnx", signed)


@pytest.fixture(scope="session", params=[1, pytest.param(2, marks=pytest.mark.long)])
def mcga(request: pytest.FixtureRequest) -> Reconstructor:
    """With one scale, or two, which take twice as long."""
    scales = request.param
    need = replace(MCGA_S2.input, multiple=2**scales, min_size=2**scales)
    sizes = {"widths": (8,) * scales, "blocks": (0,) * (scales - 1) + (1,)}
    return reconstructor(replace(MCGA_S2, input=need, variants={}), {**SMALL_MCGA, **sizes})


@pytest.fixture(scope="session")
def mst() -> Reconstructor:
    return reconstructor(replace(MST, variants={}), {"stages": 1})
