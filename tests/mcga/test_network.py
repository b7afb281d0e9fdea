"""GANet as a whole: sizes, what it starts from, and that every part and switch matters."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hsrzoo.bands import VISIBLE_31, BandSet
from hsrzoo.errors import InputError, WeightsError
from hsrzoo.registry import MODELS
from hsrzoo.spec import build_module
from hsrzoo.utils.files import sha256_of_file
from hsrzoo_mcga.codebook.folder import CodebookFolder, Source, mix, write
from hsrzoo_mcga.stage1.autoencoder import SpectralAutoencoder
from hsrzoo_mcga.stage1.task import split_state
from hsrzoo_mcga.stage2.build import build, start
from hsrzoo_mcga.stage2.grayscale import GrayscaleAware
from tiny_mcga import BANDS, TINY, rgb_image, tiny


def parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(scope="module")
def rgb() -> torch.Tensor:
    return rgb_image()


@pytest.fixture(scope="module")
def codebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of two sources with other bands, as stage 1 writes them."""
    root = tmp_path_factory.mktemp("codebooks")
    folders = []
    for name, bands in (("first", BANDS), ("second", BandSet.regular(400, 900, 25))):
        torch.manual_seed(len(bands))
        net = SpectralAutoencoder(len(bands), latent=8, n_codes=16)
        codes, rest = split_state(net)
        write(root / name, codes, {name: rest}, [Source(name, bands, 16, {"steps": 1})], 8)
        folders.append(CodebookFolder.read(root / name))
    mix(folders, root / "mixed")
    return root


def test_mcga_s2_has_the_size_that_the_paper_reports() -> None:
    """0.76 M at 31 bands and 0.80 M at 202 usable EnMAP bands, reported by the paper."""
    spec = MODELS.get("mcga-s2")
    assert parameters(build_module(spec, VISIBLE_31, {})) == pytest.approx(0.76e6, rel=0.05)
    assert parameters(build_module(spec, BandSet.regular(420, 2430, 10), {})) == pytest.approx(
        0.80e6, rel=0.05
    )


@pytest.mark.parametrize("name", ["mcga-s1", "mcga-s2", "mcga-s3", "mcga-s4"])
def test_every_variant_maps_rgb_to_bands_at_its_number_of_scales(name: str) -> None:
    net = build_module(
        MODELS.get(name), BANDS, {"widths": [8] * int(name[-1]), "blocks": [1] * int(name[-1])}
    )
    assert net.scales == int(name[-1])
    assert net(torch.rand(2, 3, 16, 32)).shape == (2, len(BANDS), 16, 32)


def test_every_curve_receives_a_gradient(rgb: torch.Tensor) -> None:
    net = tiny()
    net(rgb).square().sum().backward()
    curves = [m for m in net.modules() if isinstance(m, GrayscaleAware)]
    assert len(curves) == 2 * 3
    for curve in curves:
        for parameter in curve.parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0


def test_every_trainable_parameter_receives_a_gradient(rgb: torch.Tensor) -> None:
    net = tiny()
    net(rgb).square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_another_codebook_gives_another_cube(rgb: torch.Tensor) -> None:
    net = tiny()
    before = net(rgb)
    net.moc.codes_1.copy_(net.moc.codes_1.flip(0) * 2)
    assert not torch.allclose(net(rgb), before)


def test_the_codes_are_buffers_and_count_as_no_parameters() -> None:
    assert parameters(tiny()) == parameters(tiny(n_codes=64))
    assert not any("codes_" in name for name, _ in tiny().named_parameters())


SWITCHES = {
    "codebook": {"codebook": "none"},
    "single codebook": {"n_codes": 16},
    "ga": {"ga": False},
    "no attention": {"attention": "none"},
    "full attention": {"attention": "full"},
    "k": {"k": 2},
    "literal top k": {"topk": "pixels"},
    "literal pairing": {"pairing": "rank"},
    "all gamma": {"gamma_share": 1.0},
    "all log": {"gamma_share": 0.0},
    "minmax": {"ga_normalise": "minmax"},
    "literal exponent": {"gamma_exponent": "softmax"},
    "no shortcut": {"shortcut": False},
    "no head": {"head": 0},
    "blocks": {"blocks": (2, 1)},
    "normed features": {"features": "normed"},
    "all features normed": {"features": "all-normed"},
}
SAME_SIZE = {"k", "single codebook", "literal top k", "literal pairing", "minmax", "literal exponent"}
"""Switches that change what is computed, not how many weights compute it."""


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_changes_the_output_and_the_size_or_the_work(switch: str, rgb: torch.Tensor) -> None:
    plain, changed = tiny(), tiny(**SWITCHES[switch])
    shared = {k: v for k, v in plain.state_dict().items() if k in changed.state_dict()}
    shared = {k: v for k, v in shared.items() if changed.state_dict()[k].shape == v.shape}
    changed.load_state_dict(shared, strict=False)
    assert not torch.allclose(plain(rgb), changed(rgb), atol=1e-7)
    if switch in SAME_SIZE:
        assert parameters(plain) == parameters(changed)
    else:
        assert parameters(plain) != parameters(changed)


def test_slots_codes_and_pairing_change_the_work(rgb: torch.Tensor) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def operations(**changes: object) -> int:
        net = tiny(**changes)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(rgb)
        return counter.get_total_flops()

    assert operations(k=2) < operations(k=16)
    assert operations(attention="full") > operations(attention="quantized", k=2)
    searched = [tiny(**c).unseen_macs(16, 24) for c in ({"n_codes": 16}, {}, {"pairing": "rank"})]
    assert searched == sorted(set(searched))


def test_the_search_is_counted_look_up_by_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from hsrzoo_mcga.codebook import lookup

    asked: list[int] = []
    search = lookup.nearest_code

    def counting(features: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        asked.append(len(features) * codes.numel())
        return search(features, codes)

    monkeypatch.setattr(lookup, "nearest_code", counting)
    for pairing in ("joint", "rank"):
        asked.clear()
        net = tiny(pairing=pairing, blocks=(1, 2))
        net(torch.rand(1, 3, 16, 24))
        assert net.unseen_macs(16, 24) == sum(asked)


def test_a_frozen_reconstruction_is_not_trained() -> None:
    frozen = tiny(reconstruction="frozen")
    assert not any(p.requires_grad for p in frozen.reconstruction.parameters())
    trained = sum(p.numel() for p in frozen.parameters() if p.requires_grad)
    assert trained < sum(p.numel() for p in tiny().parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "wrong",
    [
        {"attention": "all"},
        {"blocks": (1,)},
        {"gamma_share": 2.0},
        {"k": 0},
        {"depth": 3},
        {"latent": 2},
        {"attention": "none", "count_stride": 2},
    ],
)
def test_impossible_settings_are_refused_in_words(wrong: dict) -> None:
    with pytest.raises(InputError):
        build(BANDS, **{**TINY, **wrong})


# ------------------------------------------------------------------ starting from stage 1


def test_a_mixture_joins_the_rows_of_its_sources(codebooks: Path) -> None:
    first, second, mixed = (CodebookFolder.read(codebooks / n) for n in ("first", "second", "mixed"))
    for a, b, both in zip(first.codes(), second.codes(), mixed.codes(), strict=True):
        assert torch.equal(both, torch.cat([a, b]))


def test_stage_1_is_really_loaded_and_changes_the_output(codebooks: Path, rgb: torch.Tensor) -> None:
    taken = start(codebooks / "mixed", BANDS, {})
    torch.manual_seed(0)
    net = build(BANDS, **{**TINY, **taken.arguments}).eval()
    fresh = net(rgb)
    result = net.load_state_dict(dict(taken.state), strict=False)
    assert result.unexpected_keys == []
    stage1 = CodebookFolder.read(codebooks / "mixed")
    for name, tensor in stage1.autoencoder(stage1.sources[0]).items():
        if name.startswith("reconstruction."):
            assert torch.equal(net.state_dict()[name], tensor)
    with_codes = {k: v for k, v in taken.state.items() if k.startswith("moc.")}
    torch.manual_seed(0)
    other = build(BANDS, **{**TINY, **taken.arguments}).eval()
    other.load_state_dict(with_codes, strict=False)
    loaded = net(rgb)
    assert not torch.allclose(loaded, fresh)
    assert not torch.allclose(loaded, other(rgb)), "algorithm 2's weights alone change the output"


def test_a_source_on_other_bands_lends_all_but_its_head(codebooks: Path) -> None:
    taken = start(codebooks / "mixed", BandSet.regular(400, 500, 50), {})
    assert not any(".head." in name for name in taken.state)
    assert "head fresh" in taken.record["reconstruction"]


def test_a_frozen_reconstruction_without_its_bands_is_refused(codebooks: Path) -> None:
    with pytest.raises(WeightsError, match="own bands"):
        start(codebooks / "mixed", BandSet.regular(400, 500, 50), {"reconstruction": "frozen"})


def test_a_network_without_codes_takes_algorithm_2_alone(codebooks: Path) -> None:
    taken = start(codebooks / "mixed", BANDS, {"codebook": "none"})
    net = build(BANDS, **{**TINY, **taken.arguments, "codebook": "none"})
    assert net.load_state_dict(dict(taken.state), strict=False).unexpected_keys == []
    assert all(name.startswith("reconstruction.") for name in taken.state)


def test_codebooks_of_another_number_of_scales_are_refused(codebooks: Path) -> None:
    taken = start(codebooks / "mixed", BANDS, {})
    with pytest.raises(WeightsError, match="number of scales"):
        build(BANDS, **{**TINY, "widths": (8,), "blocks": (1,), **taken.arguments})


def test_a_changed_codebook_file_is_refused(codebooks: Path, tmp_path: Path) -> None:
    shutil.copytree(codebooks / "first", tmp_path / "copy")
    victim = tmp_path / "copy" / "codebooks" / "1.safetensors"
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="not the file that was saved"):
        CodebookFolder.read(tmp_path / "copy")


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"codes": torch.full((16, 4), float("nan"))}, "not finite.*first codes"),
        ({"codes": torch.ones(16, 4, dtype=torch.int64)}, r"not a codebook.*codes \(16, 4\) torch.int64"),
        ({"codes": torch.ones(16)}, r"not a codebook.*codes \(16,\)"),
        ({"table": torch.ones(16, 4)}, "not a codebook.*table"),
    ],
)
def test_codes_that_are_no_table_of_finite_numbers_are_refused(
    codebooks: Path, tmp_path: Path, tensors: dict[str, torch.Tensor], words: str
) -> None:
    shutil.copytree(codebooks / "first", tmp_path / "copy")
    save_file(tensors, tmp_path / "copy/codebooks/1.safetensors")
    config = json.loads((tmp_path / "copy/config.json").read_text())
    config["sha256"]["codebooks/1.safetensors"] = sha256_of_file(tmp_path / "copy/codebooks/1.safetensors")
    (tmp_path / "copy/config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=words):
        CodebookFolder.read(tmp_path / "copy").codes()


def test_mixing_a_source_with_itself_is_refused(codebooks: Path, tmp_path: Path) -> None:
    folder = CodebookFolder.read(codebooks / "first")
    with pytest.raises(WeightsError, match="only once"):
        mix([folder, folder], tmp_path / "twice")


def test_a_relative_network_sees_compressed_values_and_scales_its_cube(rgb: torch.Tensor) -> None:
    plain, relative = tiny(), tiny(relative=True)
    relative.load_state_dict(plain.state_dict())
    with torch.no_grad():
        expected = plain((rgb + 1e-4) ** 0.45) * (rgb.sum(1, keepdim=True) + 0.01)
        torch.testing.assert_close(relative(rgb), expected)
    torch.testing.assert_close(relative(rgb), expected)  # with gradients there are no strips
