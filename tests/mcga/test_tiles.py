"""One cube by several ways: whole, in strips, in tiles, in a batch, with nearest codes prescribed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import pytest
import tiles
import torch

from code_tapes import (
    Prompter,
    Recorder,
    Tape,
    compare_tapes,
    search_by,
    statistics_of_block,
    whole_features,
)
from hsrzoo.bands import BandSet
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.spec import Execution, RgbInput
from hsrzoo_mcga.codebook.search import search_engine
from hsrzoo_mcga.plugin import MCGA_S2
from hsrzoo_mcga.stage2.build import build
from hsrzoo_mcga.stage2.network import GANet
from strips import strips_of

BANDS = BandSet.regular(400, 600, 50)
SMALL = {"widths": (12, 16), "blocks": (1, 2), "stem": 8, "latent": 16, "n_codes": 64, "head": 12, "k": 16}
VARIANTS = [
    {},
    {"widths": (12,), "blocks": (2,)},
    {"widths": (12, 12, 12), "blocks": (1, 0, 1)},
    {"pairing": "rank", "topk": "pixels"},
    {"attention": "full", "ga_normalise": "minmax"},
    {"attention": "none", "gamma_share": 0.25},
    {"codebook": "none", "head": 0},
    {"ga": False, "shortcut": False},
    {"count_stride": 2},
    {"features": "all-normed"},
]


def make(**changes: object) -> GANet:
    torch.manual_seed(0)
    net = build(BANDS, **{**SMALL, **changes}).eval()
    for p in net.parameters():  # residual branches start near zero: let every one of them matter
        p.data.add_(0.1 * torch.randn_like(p))
    return net


def image(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def small_strips() -> AbstractContextManager[None]:
    """Strips of eight rows."""
    return strips_of(1, 8)


def recorded(net: GANet, rgb: torch.Tensor) -> tuple[torch.Tensor, Tape]:
    """The cube made from whole features, and the codes that it was made with."""
    recorder = Recorder(net, tuple(rgb.shape[-2:]))
    with torch.no_grad(), whole_features(), search_by(recorder):
        return net(rgb), recorder.tape


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_strips_give_the_cube_of_whole_features(changes: dict) -> None:
    net, rgb = make(**changes), image(64, 48)
    whole, tape = recorded(net, rgb)
    with torch.no_grad(), small_strips(), search_by(Prompter(net, (64, 48), tape)):
        strips = net(rgb)
    assert (whole - strips).abs().max() < 1e-5


def tiled(net: GANet, tile: int) -> Reconstructor:
    """The network behind the door that people use, in tiles."""
    spec = replace(MCGA_S2, input=RgbInput(multiple=1 << net.scales, min_size=1 << net.scales))
    return Reconstructor(
        net, spec, BANDS, name="net", config={}, device="cpu", execution=Execution(tile=tile)
    )


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_tiles_give_the_whole_cube_with_one_pass_for_every_dependent_statistic(changes: dict) -> None:
    net, rgb = make(**changes), image(104, 72)
    whole, tape = recorded(net, rgb)
    model = tiled(net, 40)
    with search_by(Prompter(net, (104, 72), tape)):
        cube = model.predict(rgb[0].numpy())
    blocks = [block for scale in net.blocks for block in scale]
    assert model.statistics == sum(statistics_of_block(block) for block in blocks)
    assert np.abs(whole[0].numpy() - cube).max() < 1e-5


@pytest.mark.parametrize("changes", VARIANTS[:4], ids=str)
def test_tiles_ask_for_the_codes_of_the_whole_image(changes: dict) -> None:
    net, rgb = make(**changes), image(104, 72)
    _, whole = recorded(net, rgb)
    recorder = Recorder(net, (104, 72))
    with search_by(recorder):
        tiled(net, 40).predict(rgb[0].numpy())
    difference = compare_tapes(whole, recorder.tape)
    assert difference.looked_up == sum(len(i) for i in whole.indices)
    assert difference.beyond == 0 and difference.differ <= 0.001 * difference.looked_up


@pytest.mark.parametrize("changes", VARIANTS[:3], ids=str)
def test_a_pixel_reaches_no_farther_than_the_halo(changes: dict) -> None:
    net, rgb = make(**changes), image(128, 128)
    farthest, _ = tiles.reach(net, rgb, tiles.statistics(net, rgb), at=61)
    assert 0 < farthest <= net.halo


def test_another_engine_gives_the_same_cube_with_the_same_codes() -> None:
    net, rgb = make(), image(64, 48)
    whole, tape = recorded(net, rgb)
    recorder = Recorder(net, (64, 48))
    with torch.no_grad(), search_engine("torch"), search_by(recorder):
        net(rgb)
    assert compare_tapes(tape, recorder.tape).beyond == 0
    with torch.no_grad(), search_by(Prompter(net, (64, 48), tape)):
        assert (whole - net(rgb)).abs().max() < 1e-5


def test_a_code_that_is_not_the_nearest_is_an_error_and_no_tie() -> None:
    net, rgb = make(), image(64, 48)
    _, tape = recorded(net, rgb)
    wrong = Tape(tape.features, [i.clone() for i in tape.indices], tape.tables)
    wrong.indices[0][5] = (wrong.indices[0][5] + 1) % 64
    difference = compare_tapes(tape, wrong)
    assert (difference.differ, difference.beyond) == (1, 1)


def test_samples_of_a_batch_do_not_meet() -> None:
    net, rgb = make(), image(32, 48, batch=3)
    with torch.no_grad():
        together = net(rgb)
        alone = torch.cat([net(one[None]) for one in rgb])
    assert (together - alone).abs().max() < 1e-4
