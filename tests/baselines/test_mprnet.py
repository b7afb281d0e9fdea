"""MPRNet against the original network, and its one PReLU of 43 names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from parity import Parity
from safetensors.torch import load_file

from contract import ModelContract
from hsrzoo.bands import VISIBLE_31
from hsrzoo.errors import FormatError
from hsrzoo.models.complexity import size
from hsrzoo.models.weights import load_module, read_config, save_folder
from hsrzoo.utils.files import TENSORS
from hsrzoo_baselines.mprnet import SPEC, MPRNet, Up, build, rename


def seeded(bands: int) -> MPRNet:
    torch.manual_seed(0)
    return MPRNet(bands, cabs=1).eval()


class TestSmall(ModelContract):
    spec = replace(SPEC, arguments={"cabs": 1})


def test_size_is_the_official_one_and_grows_by_the_head_alone():
    assert size(build(VISIBLE_31)) == (3_619_003, 0, 0)
    assert size(MPRNet(202)).parameters == 3_619_003 + 9 * 62 * (202 - 31) == 3_714_421


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "mprnet")
    network = build(VISIBLE_31)
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors


def prelus(state) -> list[str]:
    return [key for key in state if key.endswith("body.1.weight") and state[key].shape == (1,)]


def test_one_prelu_has_43_names_and_stays_one_through_a_file(tmp_path):
    network = build(VISIBLE_31)
    network.shallow_feat1[1].body[1].weight.data.fill_(0.75)
    state = network.state_dict()
    assert len(prelus(state)) == 43
    assert len({state[key].data_ptr() for key in prelus(state)}) == 1
    save_folder(tmp_path, network, SPEC, VISIBLE_31, arguments={}, training={})
    stored = load_file(tmp_path / TENSORS)
    assert [float(stored[key]) for key in prelus(stored)] == [0.75] * 43
    loaded, _ = load_module(tmp_path, SPEC, read_config(tmp_path))
    assert {float(value) for key, value in loaded.state_dict().items() if key in prelus(stored)} == {0.75}
    assert len({id(m) for m in loaded.modules() if isinstance(m, torch.nn.PReLU)}) == 1


def test_a_file_whose_prelus_differ_is_refused():
    state = seeded(31).state_dict()
    assert rename(state).keys() == state.keys()
    with pytest.raises(FormatError, match="PReLU"):
        rename({**state, "stage3_orsnet.orb3.body.0.body.1.weight": torch.tensor([0.3])})


def test_mixing_channels_before_doubling_is_the_published_order():
    torch.manual_seed(0)
    up = Up(6, 4).double()
    x = torch.rand(2, 6, 5, 3, dtype=torch.float64)
    doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.allclose(up(x), up.up[1](doubled), rtol=1e-12)


def test_the_first_stage_sees_quarters_and_the_second_halves():
    network = seeded(4)
    quarters, halves = [], []
    network.shallow_feat1.register_forward_hook(lambda _, inputs, __: quarters.append(inputs[0]))
    network.shallow_feat2.register_forward_hook(lambda _, inputs, __: halves.append(inputs[0]))
    rgb = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        network(rgb)
        image = network.conv_in(rgb)
    assert [tuple(x.shape[2:]) for x in quarters] == [(8, 12)] * 4
    rows = [torch.cat(quarters[i : i + 2], dim=3) for i in (0, 2)]
    assert torch.equal(torch.cat(rows, dim=2), image)
    assert torch.equal(torch.cat(halves, dim=2), image)


def test_outer_skip_exists_at_31_bands_only():
    at_31, at_5 = seeded(31), seeded(5)
    rgb = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        for network in (at_31, at_5):
            network.tail.weight.zero_()
        assert torch.equal(at_31(rgb), at_31.conv_in(rgb))
        assert not at_5(rgb).any()
