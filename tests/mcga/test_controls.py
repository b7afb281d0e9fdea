"""Controls of the codebook: random, bypassed and permuted codes; and the rows of the paper's ablations."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

import hsrzoo
from code_tapes import search_by, sites_of
from hsrzoo.errors import InputError, UnknownNameError
from hsrzoo.layers.pixel_rows import to_rows
from hsrzoo.models import weights
from hsrzoo.models.names import ModelName, parse_name
from hsrzoo.registry import MODELS
from hsrzoo_mcga.adaptation import adapt
from hsrzoo_mcga.codebook.folder import Source, write
from hsrzoo_mcga.codebook.lookup import Codebook
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.task import split_state
from hsrzoo_mcga.stage2.ablations import (
    BypassAttention,
    LiteralCurve,
    NoCodebook,
    PermutedCodebook,
    draw_like,
    permutation,
)
from hsrzoo_mcga.stage2.attention import QuantizedAttention
from hsrzoo_mcga.stage2.build import build, start
from tiny_mcga import BANDS, TINY, rgb_image, tiny


@pytest.fixture(scope="module")
def rgb() -> torch.Tensor:
    return rgb_image(2)


@pytest.fixture(scope="module")
def codebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One source with 400 codes about (3, 3, ...) whose widths differ from number to number."""
    folder = tmp_path_factory.mktemp("codebook") / "one"
    torch.manual_seed(5)
    net = SpectralAutoencoder(len(BANDS), latent=8, n_codes=400)
    with torch.no_grad():
        for table in net.codes:
            table.mul_(torch.arange(1, table.shape[1] + 1)).add_(3)
            table[:, 1] += 2 * table[:, 0]
    codes, rest = split_state(net)
    write(folder, codes, {"one": rest}, [Source("one", BANDS, 400, {})], 8)
    return folder


# ------------------------------------------------------------------ equal size, equal start


@pytest.mark.parametrize("control", ["random", "bypass"])
def test_controls_have_the_parameters_and_first_weights_of_the_network_with_codes(control: str) -> None:
    plain = dict(tiny().named_parameters())
    changed = dict(tiny(codebook=control).named_parameters())
    assert list(plain) == list(changed)
    assert all(torch.equal(plain[name], changed[name]) for name in plain)


# ------------------------------------------------------------------ random codes


def test_random_codes_have_the_mean_and_covariance_of_the_learned_ones() -> None:
    generator = torch.Generator().manual_seed(1)
    mixing = torch.tensor([[2.0, 0.0], [1.5, 0.5]])
    codes = torch.randn(1500, 2, generator=generator) @ mixing.T + torch.tensor([4.0, -1.0])
    drawn = draw_like(codes, generator)
    assert drawn.shape == codes.shape and drawn.dtype == codes.dtype
    assert torch.allclose(drawn.mean(0), codes.mean(0), atol=0.2)  # 4 standard errors
    assert torch.allclose(drawn.T.cov(), codes.T.cov(), rtol=0.15)
    assert not (drawn[:, None] == codes).all(-1).any(), "none of them is a learned code"


def test_a_start_with_random_codes_replaces_the_tables_and_nothing_else(codebook: Path) -> None:
    torch.manual_seed(7)
    learned = start(codebook, BANDS, {})
    before = torch.get_rng_state()
    drawn = start(codebook, BANDS, {"codebook": "random"})
    assert torch.equal(torch.get_rng_state(), before), "the other first weights are drawn as before"
    assert learned.state.keys() == drawn.state.keys()
    changed = {k for k, v in learned.state.items() if not torch.equal(v, drawn.state[k])}
    assert changed == {"moc.codes_1", "moc.codes_2"}
    for name in changed:
        a, b = learned.state[name], drawn.state[name]
        assert a.shape == b.shape
        assert torch.allclose(a.mean(0), b.mean(0), atol=5 * float(a.std(0).max()) / 20)
    again = start(codebook, BANDS, {"codebook": "random"})
    assert all(torch.equal(again.state[k], v) for k, v in drawn.state.items())
    torch.manual_seed(8)
    other = start(codebook, BANDS, {"codebook": "random"})
    assert not torch.equal(other.state["moc.codes_1"], drawn.state["moc.codes_1"])
    assert "normal distributions" in drawn.record["taken"] and "taken" not in learned.record


# ------------------------------------------------------------------ bypass


def test_a_bypass_asks_for_no_code_and_trains_every_parameter(rgb: torch.Tensor) -> None:
    net = tiny(codebook="bypass")

    def refuse(features: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a code was searched")

    with search_by(refuse):
        net(rgb).square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    assert sites_of(net) == [] and net.unseen_macs(16, 24) == 0


def test_a_bypass_takes_algorithm_2_alone_and_cannot_be_adapted(codebook: Path, rgb: torch.Tensor) -> None:
    taken = start(codebook, BANDS, {"codebook": "bypass"})
    assert all(name.startswith("reconstruction.") for name in taken.state)
    net = build(BANDS, **{**TINY, **taken.arguments, "codebook": "bypass"})
    assert net.load_state_dict(dict(taken.state), strict=False).unexpected_keys == []
    with torch.no_grad():
        assert torch.equal(adapt(net, rgb[:1]), net(rgb[:1]))


@pytest.mark.parametrize("normalise", ["sigmoid", "minmax"])
def test_bypassed_attention_is_quantized_attention_where_every_pixel_has_its_own_code(
    normalise: str,
) -> None:
    torch.manual_seed(2)
    x = torch.randn(1, 6, 5, 7)
    curve = partial(LiteralCurve, minmax=normalise == "minmax", softmax=False)
    quantized = QuantizedAttention(6, 4, k=70, curve=curve)
    bypass = BypassAttention(6, 4, curve=curve)
    bypass.load_state_dict(quantized.state_dict())
    with torch.no_grad():
        own = torch.cat([to_rows(part) for part in quantized.project(x)])
        assert torch.allclose(bypass(x, NoCodebook()), quantized(x, Codebook(own)), atol=1e-6)
        assert not torch.allclose(bypass(x, NoCodebook()), quantized(x, Codebook(own[:20])), atol=1e-4)


# ------------------------------------------------------------------ permuted codes


@pytest.mark.parametrize("n", [2, 3, 512])
def test_no_code_stays_in_its_place(n: int) -> None:
    moved = permutation(n)
    assert sorted(moved.tolist()) == list(range(n))
    assert not (moved == torch.arange(n)).any()


def test_a_permuted_look_up_fetches_another_code_than_it_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(9, 3, generator=generator)
    features = torch.randn(1, 3, 4, 4, generator=generator)
    nearest = torch.cdist(to_rows(features), codes).argmin(1)
    fetched = to_rows(PermutedCodebook(codes).query(features).codes_map())
    assert torch.equal(fetched, codes[permutation(9)[nearest]])


@pytest.mark.parametrize("changes", [{}, {"pairing": "rank"}, {"topk": "pixels"}, {"attention": "none"}])
def test_permuted_codes_change_the_cube_and_a_relabelled_table_does_not(
    changes: dict, rgb: torch.Tensor
) -> None:
    plain, permuted = tiny(k=32, **changes), tiny(k=32, permuted=True, **changes)
    assert plain.state_dict().keys() == permuted.state_dict().keys()
    with torch.no_grad():
        before = plain(rgb)
        assert not torch.allclose(permuted(rgb), before, atol=1e-4)
        if changes.get("topk") != "pixels":  # there ties of frequency go by number
            for i in (1, 2):
                table = plain.moc.at(i)
                table.copy_(table[permutation(len(table))])
            assert torch.allclose(plain(rgb), before, atol=1e-5)


@pytest.mark.parametrize("kind", ["none", "bypass"])
def test_permuted_codes_need_codes(kind: str) -> None:
    with pytest.raises(InputError, match="permuted needs codes"):
        tiny(codebook=kind, permuted=True)


# ------------------------------------------------------------------ the paper's ablations

ABLATIONS = {
    "plain": {"codebook": "none", "ga": False, "attention": "none"},
    "+ MoC": {"ga": False, "attention": "none"},
    "+ GA": {"attention": "none"},
    "+ quantized attention": {},
    "full attention": {"attention": "full"},
    "K = 8^2, pixels": {"topk": "pixels", "k": 64},
    "K = 128^2, pixels": {"topk": "pixels", "k": 128**2},
    "all log": {"gamma_share": 0.0},
    "a quarter gamma": {"gamma_share": 0.25},
    "all gamma": {"gamma_share": 1.0},
    "random": {"codebook": "random"},
    "bypass": {"codebook": "bypass"},
    "bypass, full attention": {"codebook": "bypass", "attention": "full"},
}


@pytest.mark.parametrize("row", ABLATIONS)
def test_every_row_of_the_ablations_learns_and_is_loaded_as_it_was_saved(
    row: str, rgb: torch.Tensor, tmp_path: Path
) -> None:
    changes = ABLATIONS[row]
    net = tiny(**changes).train()
    cube = rgb.mean(1, keepdim=True).expand(-1, len(BANDS), -1, -1) * 0.7 + 0.1
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    errors = []
    for _ in range(8):
        error = (net(rgb) - cube).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.7 * errors[0]
    arguments = {**TINY, **changes}
    weights.save_folder(tmp_path / "w", net, MODELS.get("mcga-s2"), BANDS, arguments=arguments, training={})
    model = hsrzoo.load(f"local-dir:{tmp_path / 'w'}", device="cpu")
    assert changes.items() <= model.config["arguments"].items()
    with torch.no_grad():
        assert torch.equal(model.module(rgb), net.eval()(rgb))


def test_a_local_folder_is_loaded_as_a_variant(tmp_path: Path, rgb: torch.Tensor) -> None:
    folder, net = tmp_path / "w", tiny()
    weights.save_folder(folder, net, MODELS.get("mcga-s2"), BANDS, arguments=TINY, training={})
    name = f"local-dir:{folder}:permuted"
    assert parse_name(name) == ModelName("local-dir", path=folder, variant="permuted")
    model = hsrzoo.load(name, device="cpu")
    assert model.name == name
    with torch.no_grad():
        assert torch.equal(model.module(rgb), tiny(permuted=True)(rgb))
    with pytest.raises(UnknownNameError, match=r"variant of mcga-s2.*permuted"):
        hsrzoo.load(f"local-dir:{folder}:permute", device="cpu")


def test_a_folder_whose_own_name_has_the_colon_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w:permuted").mkdir()
    name = f"local-dir:{tmp_path}/w:permuted"
    assert parse_name(name) == ModelName("local-dir", path=tmp_path / "w:permuted")
    nowhere = f"local-dir:{tmp_path}/absent:permuted"
    assert parse_name(nowhere) == ModelName("local-dir", path=tmp_path / "absent:permuted")
