"""Nearest-code search against a float64 brute force."""

import pytest
import torch

from hsrzoo_mcga import search


@pytest.mark.parametrize("engine", ["torch", "faiss"])
@pytest.mark.parametrize(("d", "n"), [(2, 512), (8, 1024), (16, 1536), (64, 700)])
def test_engines_give_the_code_that_float64_gives(engine: str, d: int, n: int) -> None:
    g = torch.Generator().manual_seed(d * n)
    features, codes = torch.randn(600, d, generator=g), torch.randn(n, d, generator=g)
    exact = torch.cdist(features.double(), codes.double(), compute_mode="donot_use_mm_for_euclid_dist")
    with search.search_engine(engine):
        found = search.nearest_code(features, codes)
    chosen = exact.gather(1, found[:, None])[:, 0]
    # equal index, or a tie to within float32's rounding
    assert ((found == exact.argmin(1)) | (chosen - exact.amin(1) < 1e-5)).all()
    assert (found == exact.argmin(1)).double().mean() > 0.99


@pytest.mark.parametrize("engine", ["torch", "faiss"])
def test_equal_codes_give_the_lowest_index(engine: str) -> None:
    codes = torch.tensor([[1.0, 2.0], [0.5, 0.5], [0.5, 0.5], [1.0, 2.0]])
    with search.search_engine(engine):
        assert search.nearest_code(torch.tensor([[0.5, 0.5], [1.0, 2.0]]), codes).tolist() == [1, 0]


def test_one_code_answers_everything() -> None:
    assert search.nearest_code(torch.randn(7, 4), torch.randn(1, 4)).tolist() == [0] * 7


def test_distances_are_squared_and_differentiable() -> None:
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    d = search.squared_distances(x, torch.tensor([[1.0, 0.0], [4.0, 6.0]]))
    assert d.tolist() == [[4.0, 25.0]]
    d[0, 1].backward()
    assert x.grad is not None and x.grad.tolist() == [[-6.0, -8.0]]
