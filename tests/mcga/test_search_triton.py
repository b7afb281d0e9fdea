"""The Triton kernel without a GPU: run by Triton's interpreter, and compiled ahead of time for sm_90."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import exactness
from waiting import LONG

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)

WIDTHS = [2, 4, 8, 16, 32, 64]

SCRIPT = """
import json, sys, torch
from unittest import mock
from hsrzoo_mcga.codebook.search import gpu_triton, nearest_code, search_engine
sys.path.insert(0, sys.argv[1])  # the folder of the tests
import exactness

rows = {}
tile = gpu_triton.tile

def case(name, features, codes):
    with search_engine("triton"):
        found = nearest_code(features, codes)
    best = exactness.brute_force(features, codes)
    difference = exactness.compare(found, features, codes)
    rows[name] = dict(vars(difference), dtype=str(found.dtype), found=found.tolist(), best=best.tolist())

g = torch.Generator().manual_seed(0)
for d in (2, 4, 8, 16, 32, 64):
    for n in (2, 512, 1536, 8192):
        # wider tiles for many codes: the interpreter's time goes by the number of tiles
        constants = tile(d) if n < 1000 else {**tile(d), "BLOCK_N": 1024}
        with mock.patch.object(gpu_triton, "tile", lambda d: constants):
            case(f"{d} {n}", torch.randn(64, d, generator=g), torch.randn(n, d, generator=g))
    case(f"{d} far", torch.randn(64, d, generator=g) + 1000, torch.randn(700, d, generator=g) + 1000)
    # sixteenths, so that nothing is rounded: the interpreter's products round by place, a GPU's do not
    codes = torch.randint(-32, 33, (100, d), generator=g).repeat(3, 1) / 16
    case(f"{d} equal", codes[:64] + torch.randint(-1, 2, (64, d), generator=g) / 16, codes)
    left = torch.randint(-8, 9, (90, d), generator=g).float()
    right = left + 2 * torch.randint(0, 2, (90, d), generator=g)
    case(f"{d} ties", (left + right) / 2, torch.cat([right, left]))
    map_ = torch.randn(1, d + 4, 7, 9, generator=g)
    case(f"{d} strided", map_[0, 2:-2].flatten(1).t(), torch.randn(99, d, generator=g))
x = torch.randn(6, 8, generator=g)
x[1, 3], x[2, 0], x[4, 7] = float("nan"), float("inf"), -float("inf")
with search_engine("triton"):
    rows["not finite"] = nearest_code(x, torch.randn(512, 8, generator=g) + 1).tolist()
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def interpreted() -> dict[str, Any]:
    """What the kernel gave in a process with TRITON_INTERPRET=1, which must be set before its import."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1])],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("d", WIDTHS)
def test_the_index_is_that_of_float64(interpreted: dict[str, Any], d: int) -> None:
    for what in ("2", "512", "1536", "8192", "far", "strided"):
        row = interpreted[f"{d} {what}"]
        assert row["dtype"] == "torch.int64" and row["rows"] >= 63
        assert row["beyond"] == 0 and row["differ"] <= 1


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("what", ["equal", "ties"])
def test_ties_go_to_the_lowest_index(interpreted: dict[str, Any], d: int, what: str) -> None:
    row = interpreted[f"{d} {what}"]
    assert row["found"] == row["best"]


def test_features_that_are_not_finite_get_index_0(interpreted: dict[str, Any]) -> None:
    found = interpreted["not finite"]
    assert [found[i] for i in (1, 2, 4)] == [0, 0, 0] and any(found)


@pytest.mark.parametrize("d", [pytest.param(d, marks=[pytest.mark.long] * (d in (4, 8))) for d in WIDTHS])
def test_it_compiles_for_sm_90(d: int, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter accepts sizes that the compiler refuses; ptxas comes with Triton."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from hsrzoo_mcga.codebook.search import gpu_triton

    constants = gpu_triton.tile(d)
    assert constants["BLOCK_D"] == max(16, d)
    signature = dict.fromkeys(["features", "codes", "norms", "centre"], "*fp32") | {"out": "*i64"}
    signature |= dict.fromkeys(["m", "n", "stride_m", "stride_d"], "i32")
    signature |= dict.fromkeys(constants, "constexpr")
    compiled = triton.compile(
        ASTSource(fn=gpu_triton.nearest_kernel, signature=signature, constexprs=constants),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": gpu_triton.WARPS},
    )
    assert len(compiled.asm["cubin"]) > 0
    # IEEE products: fused multiply-adds, no tensor-core instruction of lower precision
    ptx = compiled.asm["ptx"]
    assert "fma.rn.f32" in ptx and not re.search(r"\bw?g?mma\.", ptx)
    assert compiled.metadata.shared <= 48 * 1024  # fits every CUDA device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("d", WIDTHS)
def test_it_runs_on_a_gpu(d: int) -> None:
    from hsrzoo_mcga.codebook.search import engine_for, nearest_code

    features = torch.randn(100_000, d, device="cuda")
    codes = torch.randn(1536, d, device="cuda")
    codes[1500:] = codes[:36]
    assert engine_for(features, codes) == "triton"
    found = nearest_code(features, codes)
    difference = exactness.compare(found, features, codes)
    assert found.max() < 1500  # of equal codes the lower
    assert difference.beyond == 0 and difference.differ <= 200
