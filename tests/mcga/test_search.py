"""Nearest-code search: every engine against a float64 brute force."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

import exactness
from hsrzoo.errors import InputError
from hsrzoo_mcga.codebook import lookup, search
from hsrzoo_mcga.codebook.search import blocked, cpu_faiss, table

TRACED = "torch, as traced"


def run(engine: str, features: Tensor, codes: Tensor) -> Tensor:
    if engine == TRACED:
        return blocked.search_traced(features, codes)
    with search.search_engine(engine):
        return search.nearest_code(features, codes)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_exact(engine: str, features: Tensor, codes: Tensor, share: float = 0.002) -> None:
    """The float64 index, or one tied with it to within ``exactness.rounding_bound``; few of those."""
    found = run(engine, features, codes)
    assert found.dtype == torch.int64 and found.shape == (len(features),)
    difference = exactness.compare(found, features, codes)
    assert difference.beyond == 0
    assert difference.differ <= share * len(features)


engines = pytest.mark.parametrize("engine", ["torch", "faiss", TRACED])


@engines
@pytest.mark.parametrize("n", [1, 512, 1536, 8192])
@pytest.mark.parametrize("d", [2, 4, 8, 16, 32, 64])
def test_the_index_is_that_of_float64(engine: str, d: int, n: int) -> None:
    assert_exact(engine, normal(70 if n == 8192 else 500, d, seed=d), normal(n, d, seed=n))


@engines
@pytest.mark.parametrize("d", [2, 16, 64])
def test_an_offset_of_a_thousand_costs_no_accuracy(engine: str, d: int) -> None:
    """The gap that counts as rounding does not grow with the offset either, or this would show nothing."""
    features, codes = normal(700, d) + 1000, normal(1536, d, seed=1) + 1000
    assert_exact(engine, features, codes)
    best = exactness.brute_force(features, codes)
    bound = exactness.rounding_bound(features, codes, best, best)
    assert bound.max() < 2 * (d + 8) * 2**-24 * (4 * (d**0.5 + 5)) ** 2


@engines
@pytest.mark.parametrize("d", [2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize("offset", [0.0, 1024.0])
def test_exact_ties_go_to_the_lowest_index(engine: str, d: int, offset: float) -> None:
    """Features midway between pairs of codes; whole and half numbers, so that nothing is rounded."""
    g = torch.Generator().manual_seed(d)
    left = torch.randint(-8, 9, (150, d), generator=g).double()
    right = left + 2 * torch.randint(0, 2, (150, d), generator=g)
    codes = (torch.cat([right, left]) + offset).float()
    features = ((left + right) / 2 + offset).float()
    expected = exactness.brute_force(features, codes)
    assert (expected < 150).any()
    assert torch.equal(run(engine, features, codes), expected)


@engines
@pytest.mark.parametrize("d", [2, 8, 16, 32, 64])
@pytest.mark.parametrize("rows", [40, 3000])
def test_equal_codes_give_the_lowest_index(engine: str, d: int, rows: int) -> None:
    """Copies at the table's end, an odd number: where a kernel takes up the remainder."""
    codes = normal(700, d, seed=1)
    codes[600:] = codes[:100]
    codes[0], codes[600] = 0.0, -0.0
    near = codes[torch.randint(700, (rows,), generator=torch.Generator().manual_seed(2))]
    features = near + 0.01 * normal(rows, d)
    found = run(engine, features, codes)
    if engine == TRACED:  # nothing in the graph finds equal codes, and wide products round by place
        found = torch.where(found >= 600, found - 600, found)
    assert torch.equal(found, exactness.brute_force(features, codes))


@engines
def test_all_codes_equal(engine: str) -> None:
    for value in (0.0, 0.1, 1e6):
        assert run(engine, normal(5, 3), torch.full((70, 3), value)).tolist() == [0] * 5


@engines
def test_features_that_are_not_finite_get_index_0(engine: str) -> None:
    features, codes = normal(6, 8), normal(512, 8, seed=1)
    expected = exactness.brute_force(features, codes)
    features[1, 3], features[2, 0], features[4, 7] = float("nan"), float("inf"), -float("inf")
    expected[[1, 2, 4]] = 0
    assert torch.equal(run(engine, features, codes), expected)
    features[0] = 1e30  # its squared norm is infinite
    expected[0] = 0
    assert torch.equal(run(engine, features, codes), expected)


@engines
def test_features_that_are_not_contiguous(engine: str) -> None:
    maps = normal(2, 20, 9, 11).to(memory_format=torch.channels_last)
    codes = normal(512, 8, seed=1)
    for part in (maps[:, 4:12], maps[:, 4:12].contiguous()):
        rows = part.permute(0, 2, 3, 1).reshape(-1, 8)
        assert_exact(engine, rows, codes)
    assert_exact(engine, normal(8, 300).t(), normal(8, 512, seed=1).t())


@pytest.mark.parametrize("engine", ["torch", "faiss"])
def test_no_rows_and_one_code(engine: str) -> None:
    assert run(engine, normal(0, 8), normal(512, 8)).shape == (0,)
    assert run(engine, normal(7, 8), normal(1, 8)).tolist() == [0] * 7


@pytest.mark.parametrize("block", [64, 128, 64 * 50])
def test_ties_across_blocks_and_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(blocked, "_BLOCK", block)
    sizes = []
    whole = blocked._greatest
    monkeypatch.setattr(blocked, "_greatest", lambda scores: sizes.append(scores.numel()) or whole(scores))
    codes = torch.cat([normal(90, 4)] * 3)
    features = normal(33, 4, seed=1)
    # the step that makes equal codes equal is left out: the running minimum alone keeps the first
    monkeypatch.setattr(blocked, "lowest_equal", lambda codes: None)
    assert torch.equal(run("torch", features, codes), exactness.brute_force(features, codes))
    assert max(sizes) <= block and len(sizes) > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_as_fp32(dtype: torch.dtype) -> None:
    features, codes = normal(300, 8).to(dtype), normal(512, 8, seed=1)
    assert torch.equal(search.nearest_code(features, codes), search.nearest_code(features.float(), codes))


def test_double_precision_is_compared_as_it_is() -> None:
    """Codes that differ by less than fp32 can tell."""
    codes = torch.tensor([[1.0, 2.0], [1.0 + 1e-12, 2.0]], dtype=torch.float64)
    assert search.nearest_code(codes.flip(0), codes).tolist() == [1, 0]


def test_autocast_and_coarse_matrix_products_change_nothing() -> None:
    features, codes = normal(2000, 64), normal(1024, 64, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_exact("torch", features, codes)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert blocked._products_may_round()
        assert_exact("torch", features, codes, share=0)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_faiss_runs_on_torchs_number_of_threads(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    faiss = pytest.importorskip("faiss")
    seen = []
    whole = faiss.knn

    def knn(*args: object) -> object:
        seen.append((faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold))
        return whole(*args)

    monkeypatch.setattr(faiss, "knn", knn)
    threshold = faiss.cvar.distance_compute_blas_threshold
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run("faiss", normal(10, 8), normal(20, 8))
    finally:
        torch.set_num_threads(before)
    assert seen == [(threads, 1)]
    assert faiss.cvar.distance_compute_blas_threshold == threshold


def test_faiss_reads_rows_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    faiss = pytest.importorskip("faiss")
    seen = []
    whole = faiss.knn
    monkeypatch.setattr(faiss, "knn", lambda x, *rest: seen.append(x.ctypes.data) or whole(x, *rest))
    maps = normal(1, 8, 16, 16).to(memory_format=torch.channels_last)
    cpu_faiss.search(maps.permute(0, 2, 3, 1).reshape(-1, 8), normal(512, 8))
    assert seen == [maps.data_ptr()]


def test_the_centre_is_zero_near_the_origin_and_keeps_whole_numbers_whole() -> None:
    assert not table.centre_of(normal(512, 8)).any()
    assert table.centre_of(torch.randint(1000, 1009, (512, 8)).float()).frac().eq(0).all()
    mean = torch.tensor([-300.0, 5e4])
    assert ((table.centre_of(normal(512, 2) + mean) - mean).abs() < 1).all()


def test_an_index_that_is_wrong_counts_as_beyond_rounding() -> None:
    """The yardstick itself: the second nearest is an error, an exact tie is not."""
    features, codes = normal(200, 8), normal(512, 8, seed=1)
    distances = torch.cdist(features.double(), codes.double())
    second = distances.topk(2, largest=False).indices[:, 1]
    assert exactness.compare(second, features, codes) == exactness.Difference(200, 200, 200)
    tie = exactness.compare(torch.tensor([1]), torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert tie == exactness.Difference(rows=1, differ=1, beyond=0)


def test_distances_are_squared_and_differentiable() -> None:
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    d = lookup.squared_distances(x, torch.tensor([[1.0, 0.0], [4.0, 6.0]]))
    assert d.tolist() == [[4.0, 25.0]]
    d[0, 1].backward()
    assert x.grad is not None and x.grad.tolist() == [[-6.0, -8.0]]


@pytest.mark.parametrize(
    ("features", "codes"), [((5, 3), (7, 4)), ((5,), (7, 5)), ((5, 4), (0, 4)), ((1, 5, 4), (7, 4))]
)
def test_shapes_that_do_not_fit(features: tuple[int, ...], codes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=re.escape(str(codes))):
        search.nearest_code(torch.zeros(features), torch.zeros(codes))
