"""GELU in every layout of memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hsrzoo.layers.activations import gelu

LAYOUTS = {
    "rows": lambda x: x.permute(0, 2, 3, 1).contiguous(),
    "channels-last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "channels-first": lambda x: x,
    "strip of a map": lambda x: x.contiguous(memory_format=torch.channels_last)[:, :, 1:3],
    "some of the channels": lambda x: x.contiguous(memory_format=torch.channels_last)[:, 1:3],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_is_that_of_torch_and_overwrites_without_gradients(layout: str, dtype: torch.dtype) -> None:
    whole = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0)) * 3
    x = LAYOUTS[layout](whole.to(dtype))
    expected = F.gelu(x.double())
    near = {"rtol": 2**-8, "atol": 1e-5} if dtype == torch.bfloat16 else {"rtol": 0, "atol": 3e-6}
    with torch.no_grad():
        found = gelu(x)
    torch.testing.assert_close(found.double(), expected, **near)
    assert found.stride() == x.stride() and found.data_ptr() == x.data_ptr()


def test_gelu_keeps_its_input_where_it_has_a_gradient() -> None:
    x = torch.randn(2, 6, 5, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    before = x.detach().clone()
    assert torch.equal(gelu(x), F.gelu(x)) and torch.equal(x, before)
