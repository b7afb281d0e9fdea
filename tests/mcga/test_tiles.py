"""One cube by several ways: whole, in strips, in tiles, in a batch, with nearest codes prescribed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import pytest
import tiles
import torch

import hsrzoo
from hsrzoo.bands import BandSet
from hsrzoo.errors import InputError
from hsrzoo.layers import whole_image
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.spec import Execution, RgbInput
from hsrzoo_mcga.codebook.search import answered_by, search_engine
from hsrzoo_mcga.plugin import MCGA_S2
from hsrzoo_mcga.stage2.network import GANet, Settings
from hsrzoo_mcga.stage2.ties import (
    WAYS,
    Prompter,
    Recorder,
    Tape,
    compare_tapes,
    compare_ways,
    whole_features,
)

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
    {"features": "normed"},
]


def make(**changes: object) -> GANet:
    torch.manual_seed(0)
    net = GANet(5, Settings(**{**SMALL, **changes})).eval()  # type: ignore[arg-type]
    for p in net.parameters():  # residual branches start near zero: let every one of them matter
        p.data.add_(0.1 * torch.randn_like(p))
    return net


def image(height: int, width: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def small_strips() -> AbstractContextManager[None]:
    """Strips of eight rows."""
    return whole_image.strips_of(1, 8)


def recorded(net: GANet, rgb: torch.Tensor) -> tuple[torch.Tensor, Tape]:
    """The cube made from whole features, and the codes that it was made with."""
    recorder = Recorder(net, tuple(rgb.shape[-2:]))
    with torch.no_grad(), whole_features(), answered_by(recorder):
        return net(rgb), recorder.tape


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_strips_give_the_cube_of_whole_features(changes: dict) -> None:
    net, rgb = make(**changes), image(64, 48)
    whole, tape = recorded(net, rgb)
    with torch.no_grad(), small_strips(), answered_by(Prompter(net, (64, 48), tape)):
        strips = net(rgb)
    assert (whole - strips).abs().max() < 1e-5


def tiled(net: GANet, tile: int) -> Reconstructor:
    """The network behind the door that people use, in tiles."""
    spec = replace(MCGA_S2, input=RgbInput(multiple=1 << net.scales, min_size=1 << net.scales))
    bands = BandSet.regular(400, 600, 50)
    return Reconstructor(
        net, spec, bands, name="net", config={}, device="cpu", execution=Execution(tile=tile)
    )


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_tiles_give_the_whole_cube_with_one_pass_for_every_dependent_statistic(changes: dict) -> None:
    net, rgb = make(**changes), image(104, 72)
    whole, tape = recorded(net, rgb)
    model = tiled(net, 40)
    with answered_by(Prompter(net, (104, 72), tape)):
        cube = model.predict(rgb[0].numpy())
    assert model.statistics == statistics_of(net)
    assert np.abs(whole[0].numpy() - cube).max() < 1e-5


def statistics_of(net: GANet) -> int:
    s = net.settings
    minmax = s.ga_normalise == "minmax"
    quantized = s.attention == "quantized" and s.codebook != "none"
    of_attention = 1 if quantized else 0 if s.attention == "none" else 2 + minmax
    return sum(s.blocks) * (of_attention + (1 + minmax if s.ga else 0))


@pytest.mark.parametrize("changes", VARIANTS[:4], ids=str)
def test_tiles_ask_for_the_codes_of_the_whole_image(changes: dict) -> None:
    net, rgb = make(**changes), image(104, 72)
    _, whole = recorded(net, rgb)
    recorder = Recorder(net, (104, 72))
    with answered_by(recorder):
        tiled(net, 40).predict(rgb[0].numpy())
    flips = compare_tapes(whole, recorder.tape)
    assert flips.asked == sum(len(i) for i in whole.indices)
    assert flips.beyond == 0 and flips.differ <= 0.001 * flips.asked


@pytest.mark.parametrize("changes", VARIANTS[:3], ids=str)
def test_a_pixel_reaches_no_farther_than_the_halo(changes: dict) -> None:
    net, rgb = make(**changes), image(128, 128)
    farthest, _ = tiles.reach(net, rgb, tiles.statistics(net, rgb), at=61)
    assert 0 < farthest <= net.halo


def test_another_engine_gives_the_same_cube_with_the_same_codes() -> None:
    net, rgb = make(), image(64, 48)
    whole, tape = recorded(net, rgb)
    recorder = Recorder(net, (64, 48))
    with torch.no_grad(), search_engine("torch"), answered_by(recorder):
        net(rgb)
    assert compare_tapes(tape, recorder.tape).beyond == 0
    with torch.no_grad(), answered_by(Prompter(net, (64, 48), tape)):
        assert (whole - net(rgb)).abs().max() < 1e-5


def test_ways_to_run_a_network_differ_by_rounding_alone() -> None:
    rgb = image(64, 48)[0].numpy()
    with small_strips():
        rows = {row["way"]: row for row in compare_ways(tiled(make(), 64), rgb, WAYS[:3], tile=32)}
    assert list(rows) == ["strips", "torch-search", "tiles"]
    for row in rows.values():
        assert row["asked"] == 2 * (768 + 192) + 768 + 2 * 192 + 3 * 16  # H and H_GA, Q, K
        assert row["beyond"] == 0 and row["prescribed"] < 1e-5


def test_only_networks_with_codebooks_have_ties() -> None:
    model = hsrzoo.load("linear", device="cpu")
    with pytest.raises(InputError, match="networks with codebooks"):
        next(compare_ways(model, image(8, 8)[0].numpy(), WAYS[:1], tile=8))


def test_a_code_that_is_not_the_nearest_is_an_error_and_no_tie() -> None:
    net, rgb = make(), image(64, 48)
    _, tape = recorded(net, rgb)
    wrong = Tape(tape.features, [i.clone() for i in tape.indices], tape.tables)
    wrong.indices[0][5] = (wrong.indices[0][5] + 1) % 64
    flips = compare_tapes(tape, wrong)
    assert (flips.differ, flips.beyond) == (1, 1)


def test_samples_of_a_batch_do_not_meet() -> None:
    net, rgb = make(), image(32, 48, batch=3)
    with torch.no_grad():
        together = net(rgb)
        alone = torch.cat([net(one[None]) for one in rgb])
    assert (together - alone).abs().max() < 1e-4
