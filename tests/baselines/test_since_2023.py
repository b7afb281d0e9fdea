"""Parts of the networks since 2023 against numbers by hand; constants that files may hold or not."""

from __future__ import annotations

import pytest
import torch
from networks import build
from parity import constant
from torch import Tensor, nn

from hsrzoo.errors import BandsError, FormatError, WeightsError
from hsrzoo.models.weights import load_strictly
from hsrzoo_baselines.hsiformer import square
from hsrzoo_baselines.layers import crop, whole_multiples
from hsrzoo_baselines.msfn import rename
from hsrzoo_baselines.ssthyper import SparseAttention, SSTHyper
from hsrzoo_baselines.windows import positions, regions, shift_mask, split, unsplit

SMALL = {"mirnet": {"groups": 1}, "msfn": {"stages": 1}}


def stored(network: nn.Module) -> dict[str, Tensor]:
    """Its state_dict as the originals store it: with all constants."""
    return {**network.state_dict(), **dict(network.named_buffers())}


@pytest.mark.parametrize("name", SMALL)
def test_constants_may_be_in_a_file_or_not(name: str) -> None:
    network = build(name, 2, **SMALL[name])
    own, full = network.state_dict(), stored(network)
    extra = full.keys() - own.keys()
    assert extra and not any(key.endswith(("filt", "relative_position_index")) for key in own)
    for key in extra:
        assert torch.equal(full[key], constant(key, full[key].shape))
    load_strictly(network, full, "a file")
    load_strictly(network, own, "a file")
    key = min(extra)
    with pytest.raises(WeightsError, match=f"another {key}.*other values"):
        load_strictly(network, {**own, key: full[key] + 1}, "a file")
    with pytest.raises(WeightsError, match=rf"another {key}.*shape \(3,\)"):
        load_strictly(network, {**own, key: torch.ones(3)}, "a file")


def test_masks_of_msfn_may_be_in_a_checkpoint_if_they_are_the_published_ones() -> None:
    weight, mask = torch.rand(2), constant("attn_mask", (256, 64, 64))
    assert rename({"a.weight": weight, "a.attn_mask": mask}).keys() == {"a.weight"}
    mask[3, 0, 0] = -100
    with pytest.raises(FormatError, match=r"a\.attn_mask is no mask"):
        rename({"a.attn_mask": mask})


def test_windows_are_cut_masked_and_joined_as_by_hand() -> None:
    image = torch.arange(2 * 16 * 24, dtype=torch.float32).view(2, 16, 24, 1)
    cut = split(image)
    assert torch.equal(cut[1, 4].view(8, 8), image[1, 8:, 8:16, 0])
    assert torch.equal(unsplit(cut, 16, 24), image)
    assert torch.equal(positions(8), constant("relative_position_index", (64, 64)))
    assert torch.equal(shift_mask(regions(128, 128, 4))[0], constant("attn_mask", (256, 64, 64)))


def test_attention_of_ssthyper_keeps_the_largest_of_a_head_not_of_a_row() -> None:
    layer = SparseAttention(6, 2)
    scores = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    found = layer._shares(scores)[0].detach()
    for head, values in zip(found, scores[0], strict=True):
        expected = torch.zeros(9, dtype=torch.float64)
        for kept in (4, 6, 6, 7):  # of 9: a half, two thirds, three quarters, four fifths
            largest = values.flatten().topk(kept)
            expected[largest.indices] += 0.2 * largest.values.softmax(0)
        assert torch.allclose(head.flatten(), expected, atol=1e-7)


def test_normalisation_of_ssthyper_has_its_own_floor() -> None:
    floors = {m.eps for m in SSTHyper(2, stages=1).modules() if isinstance(m, nn.LayerNorm)}
    assert floors == {1e-6}


def test_one_band_is_refused_by_ssthyper() -> None:
    with pytest.raises(BandsError, match="two"):
        build("ssthyper", 1)


class Squared(nn.Module):
    """As HSIFormer does: work on the padded square, then the image alone."""

    def forward(self, rgb: Tensor) -> Tensor:
        side = square(rgb)
        return crop(side + side.flip(2), *rgb.shape[-2:])


@pytest.fixture(scope="module")
def squared() -> torch.export.ExportedProgram:
    free = {2: torch.export.Dim("h"), 3: torch.export.Dim("w")}
    rgb = torch.rand(1, 3, 40, 70)
    return torch.export.export(Squared(), (rgb,), dynamic_shapes={"rgb": free}, strict=False)


SIDES = ((33, 5), (1, 1), (64, 64), (65, 96))


def test_the_square_has_one_size_of_its_own_in_an_exported_graph(squared) -> None:
    """Shapes with the maximum of height and width in them take torch.export minutes to compare."""
    shapes = [node.meta["val"].shape for node in squared.graph.nodes if node.name.startswith("flip")]
    assert [len(size.node.expr.free_symbols) for shape in shapes for size in shape[2:]] == [1, 1]
    for size in SIDES:
        rgb = torch.rand(1, 3, *size)
        assert torch.equal(squared.module()(rgb), Squared()(rgb))


class Windowed(nn.Module):
    """As MSFN does: cut into windows and joined, again and again."""

    def forward(self, rgb: Tensor) -> Tensor:
        x = whole_multiples(rgb, 32).permute(0, 2, 3, 1)
        x = x + unsplit(split(x).flip(2), *x.shape[1:3])
        return crop(x.permute(0, 3, 1, 2), *rgb.shape[-2:])


def test_windows_of_an_exported_graph_have_64_pixels() -> None:
    """And not a quotient, of which the next windows would have a quotient again."""
    free = {axis: 32 * torch.export.Dim(name) for axis, name in ((2, "h"), (3, "w"))}
    rgb = torch.rand(1, 3, 64, 96)
    program = torch.export.export(Windowed(), (rgb,), dynamic_shapes={"rgb": free}, strict=False)
    (flipped,) = (node.meta["val"] for node in program.graph.nodes if node.name.startswith("flip"))
    assert flipped.shape[2] == 64 and isinstance(flipped.shape[2], int)
    assert torch.equal(program.module()(rgb[:, :, :32]), Windowed()(rgb[:, :, :32]))


@pytest.mark.long  # ONNX takes seconds
def test_the_square_of_an_onnx_file_is_as_large(squared) -> None:
    """ONNX divides whole numbers towards zero, Python downwards."""
    from onnxruntime import InferenceSession

    file = torch.onnx.export(squared, dynamo=True, opset_version=20, verbose=False)
    session = InferenceSession(file.model_proto.SerializeToString())
    for size in SIDES:
        rgb = torch.rand(1, 3, *size)
        assert torch.equal(torch.from_numpy(session.run(None, {"rgb": rgb.numpy()})[0]), Squared()(rgb))
