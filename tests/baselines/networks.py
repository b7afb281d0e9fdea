"""The table of the baselines: what the tests of all networks need to know of each.

The tests of one behaviour (parity, sizes, halo, tiles, contract, recipes) are parametrized over it.
Arguments are those of the network's ``build``, beyond the defaults of its spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hsrzoo.bands import BandSet
from hsrzoo.contract.checks import CHECKS
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec, build_module

Arguments = Mapping[str, Any]

CONVERSION = ("export", "onnx")
ALL = tuple(name for name in CHECKS if name != "onnx")
"""Checks of the contract. ONNX takes up to minutes a network: tests/export has it for some networks."""
NOT_EXPORT = tuple(name for name in CHECKS if name not in CONVERSION)
QUICK = ("sizes", "batch", "gradient")
"""What most often differs between networks; the others run in ``make test-all``."""
REST = tuple(name for name in ALL if name not in QUICK)


def spec_of(name: str, **arguments: Any) -> ModelSpec:
    """The spec of a network of the zoo, with other arguments."""
    spec = MODELS.get(name)
    return replace(spec, arguments={**spec.arguments, **arguments})


def build(name: str, bands: int = 31, **arguments: Any) -> nn.Module:
    """The network with ``bands`` bands from 400 to 700 nm, weights from seed 0, in eval mode."""
    torch.manual_seed(0)
    centres = np.linspace(400, 700, bands).tolist()
    return build_module(MODELS.get(name), BandSet.of(centres), arguments).eval()


def round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class Contract:
    """Checks of the contract, and the arguments of the network that they run on."""

    checks: tuple[str, ...] = ALL
    arguments: Arguments = field(default_factory=dict)
    long: bool = False
    """Whether only ``make test-all`` runs them, as a smaller network shows the same."""


@dataclass(frozen=True)
class Original:
    """Stored outputs of the original network; each of ``builds`` must give them."""

    file: str
    builds: tuple[Arguments, ...] = ({},)
    extras: Mapping[str, str] = field(default_factory=dict)
    """Keyword of ``forward`` -> name of its stored value; {} stands for the letter of the input."""
    one_name: bool = False
    """The original has some tensors under two names, the network here under the first of them."""


@dataclass(frozen=True)
class Reach:
    """A network whose halo is measured."""

    arguments: Arguments
    statistics: int = 0
    """How many statistics of the whole image it asks for."""
    places: tuple[int, ...] = (0,)
    """On the grids of coarser levels a pixel has several places, and its reach depends on them. Places that
    mirror each other give the same reach, so that half of them is enough."""
    long: bool = False
    """Whether only ``make test-all`` measures it."""


@dataclass(frozen=True)
class Tiles:
    """A network whose cube in tiles, cut at ``rows`` and ``columns``, is that of the whole image."""

    arguments: Arguments
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    passes: int = 1
    """One for each statistic of the whole image, and the last."""
    batch: int = 1
    bands: int = 5
    long: bool = False
    """Whether only ``make test-all`` runs it."""


@dataclass(frozen=True)
class Network:
    """One network of the zoo."""

    name: str
    parameters: tuple[int, int]
    """At 31 and at 202 bands."""
    frozen: int = 0
    """Parameters at 31 bands that are not trained."""
    buffers: int = 0
    """Values in buffers at 31 bands."""
    contract: tuple[Contract, ...] = (Contract(),)
    original: Original | None = None
    halo: int | None = None
    """Declared with default arguments; None: cannot be tiled exactly."""
    reach: tuple[Reach, ...] = ()
    tiles: tuple[Tiles, ...] = ()
    needs: str | None = None
    """A package without which the network cannot be run on RGB alone."""
    toolbox_lr: float | None = None
    """First learning rate in the commands of the MST-plus-plus toolbox (its README)."""


MST_L_SMALL = {"blocks": (1, 1, 1)}
RESTORMER_SMALL = {"blocks": (1, 1, 1, 1), "refinement": 1}
HPRN_SMALL = {"blocks": 1, "width": 32}
BOTH_STRUCTURES = ({"structure": "optimised"}, {"structure": "published"})

NETWORKS = (
    Network(
        "agdnet",
        parameters=(172_391, 6_788_210),
        contract=(
            Contract(tuple(check for check in ALL if check != "export")),
            Contract(("export",), {"stages": 1}),
        ),
        original=Original("agdnet_4", one_name=True),
        halo=27,
        reach=(Reach({"stages": 1}), Reach({"stages": 2})),
    ),
    Network(
        "agdnet-9",
        parameters=(386_136, 15_262_110),
        contract=(),
        original=Original("agdnet_9", one_name=True),
        halo=62,
    ),
    Network(
        "awan",
        parameters=(4_039_425, 4_202_040),
        contract=(
            Contract(
                ("range", "bands", "sizes", "batch", "determinism", "gradient"), {"width": 64, "blocks": 1}
            ),
        ),
        original=Original("awan"),
        toolbox_lr=1e-4,
    ),
    Network(
        "edsr",
        parameters=(2_419_999, 2_518_666),
        contract=(Contract(("batch", "sizes")),),
        original=Original("edsr"),
        halo=67,
        reach=(Reach({"blocks": 0}), Reach({"blocks": 1}), Reach({"blocks": 6})),
        tiles=(Tiles({"blocks": 3}, rows=(0, 9, 37), columns=(0, 30, 41)),),
        toolbox_lr=1e-4,
    ),
    Network(
        "gmsr",
        parameters=(44_980, 601_056),
        frozen=122,
        contract=(Contract(NOT_EXPORT),),  # what is special in exporting it, the scan, has its own test
        original=Original("gmsr", ({"batch": "coupled"},)),
    ),
    Network(
        "hdnet",
        parameters=(2_659_243, 2_733_286),
        frozen=52,
        buffers=112,
        contract=(
            Contract(("range", "bands", "sizes", "batch", "save-and-load", "gradient"), {"blocks": 1}),
        ),
        original=Original("hdnet"),
        halo=130,
        reach=(Reach({"blocks": 1}, statistics=7), Reach({"blocks": 3}, statistics=7)),
        tiles=(Tiles({"blocks": 1}, rows=(0, 9, 23), columns=(0, 20, 29), passes=8, batch=2),),
        toolbox_lr=4e-4,
    ),
    Network(
        "hinet",
        parameters=(5_223_688, 5_223_688 + (9 * 31 + 1) * 171),
        contract=(Contract(ALL, {"depth": 2}),),
        original=Original("hinet"),
        halo=121,
        # one normalisation a level and U-Net
        reach=(
            Reach({"depth": 2}, statistics=4, places=(0, 1)),
            Reach({"depth": 3}, statistics=6, places=(0, 1, 2, 3)),
        ),
        tiles=(Tiles({"depth": 2}, rows=(0, 48, 96), columns=(0, 32, 80), passes=5),),
        toolbox_lr=2e-4,
    ),
    Network(
        "hprn",
        parameters=(14_892_975, 15_758_748),
        contract=(Contract(ALL, HPRN_SMALL, long=True),),
        original=Original("hprn", extras={"labels": "labels_{}"}),
        needs="skimage",
    ),
    Network(
        "hrnet",
        parameters=(31_704_863, 31_803_530),
        frozen=195_840,
        contract=(Contract(("range", "bands", "sizes", "batch", "tiles", "gradient"), {"width": 4}),),
        original=Original("hrnet"),
        halo=159,
        reach=(Reach({"width": 4}, places=(0, 3, 7)),),
        tiles=(Tiles({"width": 4}, rows=(0, 16), columns=(0, 184, 376)),),
        toolbox_lr=1e-4,
    ),
    Network(
        "hscnn-plus",
        parameters=(4_645_504, 4_831_552),
        contract=(Contract(ALL, {"blocks": 6}), Contract(("spec", "range", "gradient"), long=True)),
        original=Original("hscnn_plus", BOTH_STRUCTURES),
        halo=31,
        reach=(Reach({"blocks": 1}), Reach({"blocks": 6})),
        tiles=(Tiles({"blocks": 4}, rows=(0, 9, 37), columns=(0, 30, 41)),),
        toolbox_lr=2e-4,
    ),
    Network(
        "hsiformer",
        parameters=(2_851_493, 2_851_493 + 289 * 171),
        frozen=76,
        buffers=4 * 64**2,
        contract=(Contract(("sizes",)), Contract(tuple(c for c in ALL if c != "sizes"), long=True)),
        original=Original("hsiformer"),
    ),
    Network(
        "hysat",
        parameters=(1_408_790, 57_350_756),
        contract=(Contract(QUICK, {"stages": 1}), Contract(REST, {"stages": 1}, long=True)),
        original=Original("hysat"),
        halo=206,
        reach=(Reach({"stages": 1}, statistics=5, places=(0, 1, 2, 3), long=True),),
        tiles=(Tiles({"stages": 1}, rows=(0, 16), columns=(0, 80, 168), passes=6),),
    ),
    Network(
        "mirnet",
        parameters=(3_749_356, 3_749_356 + 9 * 31 * 171),
        frozen=1_497_900,
        buffers=10_044,
        contract=(Contract(ALL, {"groups": 1}),),
        original=Original("mirnet"),  # the constants of its blurs included
        halo=124,
        reach=(Reach({"groups": 1}, statistics=4, places=(0, 1, 2, 3)),),
        tiles=(Tiles({"groups": 1}, rows=(0, 40, 120), columns=(0, 56, 104), passes=5),),
        toolbox_lr=4e-4,
    ),
    Network(
        "mprnet",
        parameters=(3_619_003, 3_619_003 + 9 * 62 * 171),
        contract=(Contract(ALL, {"cabs": 1}),),
        original=Original("mprnet"),
        toolbox_lr=2e-4,
    ),
    Network(
        "msfn",
        parameters=(2_480_934, 102_504_990),
        buffers=20 * 64**2,
        contract=(Contract(QUICK, {"stages": 1}), Contract(REST, {"stages": 1}, long=True)),
        original=Original("msfn"),
        toolbox_lr=4e-4,
        halo=276,
        # the place from which windows of all levels reach farthest, and one more
        reach=(Reach({"stages": 1}, statistics=7, places=(0, 2), long=True),),
        tiles=(Tiles({"stages": 1}, rows=(0, 32), columns=(0, 32, 224), passes=8),),
    ),
    Network(
        "mst-l",
        parameters=(2_450_978, 2_450_978 + 9 * 31 * 171),
        contract=(Contract(ALL, MST_L_SMALL),),
        original=Original("mst_l", ({"batch": "coupled"},)),
        halo=176,
        # one statistic for each pair of blocks
        reach=(
            Reach(MST_L_SMALL, statistics=5, places=(0, 1)),
            Reach({"blocks": (2, 1, 2)}, statistics=8, places=(0, 1)),
        ),
        tiles=(Tiles(MST_L_SMALL, rows=(0, 16), columns=(0, 64, 136), passes=6),),
        toolbox_lr=4e-4,
    ),
    Network(
        "mst-plus-plus",
        parameters=(1_619_625, 1_619_625 + 9 * 31 * 171),
        contract=(
            Contract(tuple(check for check in NOT_EXPORT if check != "tiles")),
            Contract(("export", "tiles"), {"stages": 1}),
        ),
        original=Original("mst_plus_plus", BOTH_STRUCTURES),
        halo=112,
        reach=tuple(Reach({"stages": n}, statistics=5 * n, places=(0, 1, 2, 3)) for n in (1, 2)),
        tiles=(
            Tiles({"stages": 1}, rows=(0, 40, 160), columns=(0, 72, 136), passes=6, bands=31),
            Tiles({"stages": 2}, rows=(0, 16), columns=(0, 96, 192), passes=11, bands=4),
        ),
        toolbox_lr=4e-4,
    ),
    Network("r3st", parameters=(1_643_619, 1_786_746), original=Original("r3st"), halo=120),
    Network(
        "restormer",
        parameters=(15_108_705, 15_108_705 + 9 * 96 * 171),
        contract=(
            Contract(NOT_EXPORT, RESTORMER_SMALL),
            Contract(("export",), {"blocks": (1, 0, 0, 1), "refinement": 0}),
        ),
        original=Original("restormer"),
        halo=180,
        # one statistic for each block
        reach=(
            Reach({"blocks": (0, 0, 0, 1), "refinement": 0}, statistics=1, places=(0, 1, 2, 3)),
            Reach({"blocks": (1, 1, 0, 0), "refinement": 1}, statistics=5, places=(0, 1, 2, 3)),
        ),
        tiles=(Tiles(RESTORMER_SMALL, rows=(0, 16), columns=(0, 120, 232), passes=9),),
        toolbox_lr=2e-4,
    ),
    Network(
        "ssrnet",
        parameters=(387_779, 4_676_801),
        contract=(Contract(QUICK), Contract(REST, long=True)),
        original=Original("ssrnet", extras={"response": "srf"}),
        halo=21,
        reach=(Reach({}, statistics=28, long=True),),
        tiles=(Tiles({}, rows=(0, 9, 23), columns=(0, 20, 29), passes=29, long=True),),
    ),
    Network(
        "ssthyper",
        parameters=(1_393_881, 57_268_302),
        contract=(Contract(QUICK, {"stages": 1}), Contract(REST, {"stages": 1}, long=True)),
        original=Original("ssthyper"),
        halo=153,
        reach=(Reach({"stages": 1}, statistics=5, places=(0, 1, 2, 3), long=True),),
        tiles=(Tiles({"stages": 1}, rows=(0, 16), columns=(0, 72, 152), passes=6),),
    ),
    Network(
        "timm-unet",
        parameters=(11_828_607, 11_828_607 + 33 * 171),
        buffers=10_111,
        contract=(Contract(("sizes", "batch", "gradient")),),
    ),
    Network(
        "timm-unet-convnext",
        parameters=(3_749_367, 3_749_367 + 33 * 171),
        buffers=362,
        contract=(Contract(("sizes", "batch", "gradient")),),
    ),
    Network(
        "timm-unet-mobilenetv3",
        parameters=(1_401_695, 1_401_695 + 33 * 171),
        buffers=12_637,
        contract=(Contract(NOT_EXPORT),),
    ),
    Network("mean-spectrum", parameters=(0, 0), buffers=31, halo=0),
    Network("linear", parameters=(0, 0), buffers=93, halo=0),
    Network("poly", parameters=(0, 0), buffers=403, halo=0, reach=(Reach({}),)),
    Network(
        "pixel-mlp",
        parameters=(6_588, 6_588 + 68 * 171),
        contract=(Contract(tuple(check for check in ALL if check != "fit")),),  # test_pixel_mlp fits it
        halo=0,
        reach=(Reach({}),),
    ),
)


def cases(attribute: str) -> list[Any]:
    """``pytest.param(name, value)`` for each value in the tuple ``attribute`` of each network."""
    return [
        pytest.param(
            network.name,
            value,
            id=f"{network.name}-{i}",
            marks=[pytest.mark.long] if getattr(value, "long", False) else [],
        )
        for network in NETWORKS
        for i, value in enumerate(getattr(network, attribute))
    ]
