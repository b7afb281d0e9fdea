"""What the networks share: bounds of arguments, padding, tensors that have several names."""

from __future__ import annotations

import pytest
import torch
from networks import build, spec_of
from safetensors.torch import load_file

from hsrzoo.bands import VISIBLE_31
from hsrzoo.errors import FormatError, InputError
from hsrzoo.models.weights import load_module, read_config, save_folder
from hsrzoo.utils.files import TENSORS
from hsrzoo_baselines import agdnet, mirnet, mprnet
from hsrzoo_baselines.layers import one_value, padded, require_counts


def test_bounds_belong_to_what_is_allowed() -> None:
    for value in (2, 5):
        require_counts("depth", value, least=2, most=5)
    require_counts("blocks", (1, 0, 3), length=3)
    with pytest.raises(InputError, match=r"at least 2 and at most 5\. Got 6"):
        require_counts("depth", 6, least=2, most=5)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 13), (15, 8)])
def test_padding_is_the_reflection_and_only_at_the_far_ends(height: int, width: int) -> None:
    rgb = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    found = padded(rgb, 8)
    assert found.shape[-2:] == (-(-height // 8) * 8, -(-width // 8) * 8)
    rows = [i if i < height else 2 * (height - 1) - i for i in range(found.shape[2])]
    columns = [i if i < width else 2 * (width - 1) - i for i in range(found.shape[3])]
    assert torch.equal(found, rgb[:, :, rows][:, :, :, columns])


def test_one_value_looks_at_names_and_sizes() -> None:
    one, other = torch.tensor([0.25]), torch.tensor([0.3])
    state = {"a.body.1.weight": one, "b.body.1.weight": one.clone(), "c.weight": other,
             "d.body.1.weight": torch.zeros(2)}  # fmt: skip
    assert one_value(state, ".body.1.weight", "Net") == state
    with pytest.raises(FormatError, match=r"Net's one PReLU.*all its 3 names.*body\.1\.weight"):
        one_value({**state, "e.body.1.weight": other}, ".body.1.weight", "Net")


def prelus(state) -> list[str]:
    return [key for key in state if key.endswith("body.1.weight") and state[key].shape == (1,)]


@pytest.mark.parametrize(("module", "count"), [(mirnet, 9), (mprnet, 43)])
def test_one_prelu_has_many_names_and_a_file_in_which_they_differ_is_refused(module, count) -> None:
    state = build(module.SPEC.name).state_dict()
    names = prelus(state)
    assert len(names) == count
    assert len({state[key].data_ptr() for key in names}) == 1
    assert module.rename(state).keys() == state.keys()
    for name in (names[4], names[-1]):
        with pytest.raises(FormatError, match=f"PReLU.*all its {count} names"):
            module.rename({**state, name: torch.tensor([0.3])})


def test_one_prelu_stays_one_through_a_file(tmp_path) -> None:
    spec, network = spec_of("mprnet"), build("mprnet")
    network.shallow_feat1[1].body[1].weight.data.fill_(0.75)
    save_folder(tmp_path, network, spec, VISIBLE_31, arguments={}, training={})
    stored = load_file(tmp_path / TENSORS)
    assert [float(stored[key]) for key in prelus(stored)] == [0.75] * 43
    loaded, _ = load_module(tmp_path, spec, read_config(tmp_path))
    assert {float(value) for key, value in loaded.state_dict().items() if key in prelus(stored)} == {0.75}
    assert len({id(m) for m in loaded.modules() if isinstance(m, torch.nn.PReLU)}) == 1


def test_two_names_of_one_tensor_become_one() -> None:
    weight = torch.rand(3, 4, 3, 3)
    state = {"degradation.conv.weight": weight, "degradation.Module.0.weight": weight.clone()}
    assert list(agdnet.rename(state)) == ["degradation.conv.weight"]
    with pytest.raises(FormatError, match="different weights"):
        agdnet.rename({**state, "degradation.Module.0.weight": weight + 1})
