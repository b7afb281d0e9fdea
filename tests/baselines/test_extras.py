"""Networks that need more than RGB: the camera's response and segments of the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import HPRN_SMALL, build
from parity import Parity
from test_parity import filled

from hsrzoo.bands import VISIBLE_31
from hsrzoo.camera import Camera
from hsrzoo.errors import BandsError, InputError, UnknownNameError
from hsrzoo.export.graph import ExportError, trace
from hsrzoo.extras import Segmentation
from hsrzoo.models.reconstructor import Reconstructor
from hsrzoo.models.weights import load_module, make_config, read_config, save_folder
from hsrzoo.registry import MODELS
from hsrzoo.spec import ModelSpec, settled_extras
from hsrzoo.training.init import read_init
from hsrzoo_baselines.hprn import windowed
from hsrzoo_baselines.ssrnet import projection


class Asking(torch.nn.Module):
    """A cube of bands that are all the mean of RGB by the response, times the image's first label."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(bands, 1, 1))

    def forward(self, rgb, response, labels):
        assert labels.shape == (len(rgb), 2, *rgb.shape[2:]) and not labels.is_floating_point()
        return torch.einsum("bchw,ck->bkhw", rgb, response) * self.scale * labels[:, :1, :1, :1]


def count(image: np.ndarray, counts: list[int]) -> np.ndarray:
    """Label maps of one value each, times the first value of the image."""
    return np.stack([np.full(image.shape[:2], n * int(image[0, 0, 0])) for n in counts])


ASKING = ModelSpec(
    name="asking",
    build=lambda bands: Asking(len(bands)),
    summary="asks for all",
    source="test",
    extras={
        "response": MODELS.get("ssrnet").extras["response"],
        "labels": Segmentation(count, {"counts": [1, 2]}),
    },
)


def predicted(arguments: dict) -> np.ndarray:
    from hsrzoo.spec import build_module

    module = build_module(ASKING, VISIBLE_31, arguments)
    config = make_config(ASKING, VISIBLE_31, arguments=arguments, training={})
    model = Reconstructor(module, ASKING, VISIBLE_31, name="asking", config=config, device="cpu")
    return model.predict(np.full((3, 4, 5), 3 / 255, np.float32))


def test_extras_are_those_of_the_arguments_and_the_image() -> None:
    canon = Camera.named("canon-eos-600d")
    for arguments, camera, label in (
        ({}, Camera.named("nikon-d5100"), 3),
        ({"response": "canon-eos-600d", "labels": {"counts": [5, 6]}}, canon, 15),
        (settled_extras(ASKING, {}, canon), canon, 3),
    ):
        expected = camera.matrix(VISIBLE_31).sum(0) * 3 / 255 * label
        assert np.allclose(predicted(arguments)[:, 1, 1], expected, rtol=1e-5)


def test_what_extras_are_made_by_is_settled_and_stays_with_the_weights(tmp_path) -> None:
    settled = settled_extras(ASKING, {"labels": {"counts": [7, 8]}}, Camera.named("canon-eos-600d"))
    assert settled == {"response": {"response": "canon-eos-600d"}, "labels": {"counts": [7, 8]}}
    save_folder(tmp_path, Asking(31), ASKING, VISIBLE_31, arguments=settled, training={})
    module, _ = load_module(tmp_path, ASKING, read_config(tmp_path))
    rgb = torch.full((1, 3, 4, 5), 3 / 255)
    with torch.no_grad():
        assert np.allclose(module(rgb)[0].numpy(), predicted(settled), rtol=1e-5)
        given = torch.ones(1, 2, 4, 5, dtype=torch.int64)
        assert np.allclose(module(rgb, labels=given)[0].numpy(), predicted(settled) / 21, rtol=1e-5)


def test_fine_tuning_takes_the_response_of_the_new_camera(tmp_path) -> None:
    settled = settled_extras(ASKING, {"labels": {"counts": [7, 8]}}, Camera.named("nikon-d5100"))
    save_folder(tmp_path, Asking(31), ASKING, VISIBLE_31, arguments=settled, training={})
    canon = Camera.named("canon-eos-600d")
    for asked, camera, expected in (
        ({}, canon, "canon-eos-600d"),
        ({}, None, "nikon-d5100"),  # photographs: that of the weights
        ({"response": "cie-1964"}, canon, "cie-1964"),
    ):
        found = read_init(f"local-dir:{tmp_path}", ASKING, asked, ASKING.recipe, camera).arguments
        assert found == {"response": {"response": expected}, "labels": {"counts": [7, 8]}}


def test_wrong_arguments_of_extras_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="no-such"):
        predicted({"response": "no-such-camera"})
    with pytest.raises(InputError, match=r"no such parameter.*counts.*Got segments"):
        predicted({"labels": {"segments": 3}})
    with pytest.raises(InputError, match=r"have names.*some of \{'counts': \[1, 2\]\}. Got 5"):
        predicted({"labels": 5})
    for wrong in (3, [3], ["3", "4"]):  # a label map more or less would not fit the network
        with pytest.raises(InputError, match=r"counts .* a value like \[1, 2\]"):
            predicted({"labels": {"counts": wrong}})


def test_no_export_holds_a_segmentation() -> None:
    spec, module = MODELS.get("hprn"), build("hprn", 4, **HPRN_SMALL)
    config = make_config(spec, VISIBLE_31, arguments={}, training={})
    model = Reconstructor(module, spec, VISIBLE_31, name="hprn", config=config, device="cpu")
    with pytest.raises(ExportError, match="labels of a segmentation"):
        trace(model)


def test_projection_of_ssrnet_is_that_of_the_large_matrix_and_exact_where_that_is_not() -> None:
    response = torch.from_numpy(Camera.named("nikon-d5100").matrix(VISIBLE_31))
    for weight in (1.0, 1e-5, 0.0):
        small = response @ response.T + 2 * weight * torch.eye(3, dtype=torch.float64)
        expected = response.T @ torch.linalg.inv(small)
        found = projection(response.float(), torch.tensor(weight)).double()
        assert (found - expected).norm() < 1e-5 * expected.norm()
    large = response.T @ response + 2 * torch.eye(31, dtype=torch.float64)
    cube, rgb = torch.rand(31, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    expected = torch.linalg.solve(large, response.T @ rgb + 2 * cube)
    found = cube + projection(response, torch.tensor(1.0)) @ (rgb - response @ cube)
    assert torch.allclose(found, expected)


@pytest.mark.long
def test_ssrnet_with_its_first_weights_is_the_original_in_float64(parity_root) -> None:
    network, original = filled(parity_root, "ssrnet")
    expected = original.tensors["aux_mu_output_a"]
    with torch.no_grad():
        network.mu.fill_(1e-5)
        found = network(original.tensors["input_a"], response=original.tensors["srf"])
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_two_bands_are_refused_by_ssrnet() -> None:
    with pytest.raises(BandsError, match="three"):
        build("ssrnet", 2)


def test_windows_of_hprn_see_their_neighbours_around_the_end() -> None:
    x, y = torch.randn(2, 1, 150, 3, dtype=torch.float64)
    rows = [*range(150), *range(108, 150)]  # the last 42 once more
    found = windowed(x, y)
    for row in (0, 70, 149):
        window = row // 64
        seen = [rows[64 * (w % 3) + i] for w in (window, window - 1, window + 1) for i in range(64)]
        keys = x[0, seen] / x[0, seen].norm(dim=1, keepdim=True)
        expected = (keys @ x[0, row]).softmax(0) @ y[0, seen]
        assert torch.allclose(found[0, row], expected)


@pytest.mark.long
def test_superpixels_are_those_of_scikit_image(parity_root) -> None:
    pytest.importorskip("skimage")
    from hsrzoo.layers.superpixels import slic

    original = Parity.read(parity_root, "hprn")
    found = slic(original.tensors["slic_rgb"].numpy(), [8, 12, 16, 20])
    assert np.array_equal(found, original.tensors["slic_labels"].numpy())
