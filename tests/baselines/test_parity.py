"""Every network against stored outputs of the original network."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS, build
from parity import Parity
from safetensors.torch import load_file

ORIGINALS = {network.name: network.original for network in NETWORKS if network.original}
BOUND = 1e-5
"""Greatest norm of the difference over the norm of the original output."""


def filled(root, name, **arguments):
    """The network with the weights of the original, and the stored outputs of the original."""
    row, network = ORIGINALS[name], build(name, **arguments)
    original = Parity.read(root, row.file)
    original.fill(network, one_name=row.one_name)  # raises at the first key or shape that differs
    return network, original


@pytest.mark.parametrize("letters", ["c", pytest.param("ab", marks=pytest.mark.long)])  # c: fewest pixels
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param(name, arguments, id="-".join((name, *arguments.values())))
        for name, row in ORIGINALS.items()
        for arguments in row.builds
    ],
)
def test_outputs_keys_and_weights_are_those_of_the_original(parity_root, name, arguments, letters):
    network, original = filled(parity_root, name, **arguments)
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network, letters, ORIGINALS[name].extras)
    assert max(errors.values()) < BOUND, errors


@pytest.mark.parametrize(("name", "arguments"), [("mst-l", {"batch": "coupled"}), ("restormer", {})])
def test_with_gradients_outputs_are_those_of_the_original(parity_root, name, arguments):
    network, original = filled(parity_root, name, **arguments)
    expected = original.tensors["output_c"]
    got = network(original.tensors["input_c"]).detach()
    assert (got - expected).norm() < BOUND * expected.norm()


@pytest.mark.parametrize("letter", ["a", "b", "c"])
def test_reflectance_of_r3st_is_that_of_the_original(parity_root, letter):
    network, original = filled(parity_root, "r3st")
    expected = original.tensors[f"aux_{letter}"]
    with torch.no_grad():
        found = network.reflectance(original.tensors[f"input_{letter}"])
    assert (found - expected).norm() < BOUND * expected.norm()


def test_weights_of_gmsr_are_those_stored_for_the_original(parity_root):
    network, _ = filled(parity_root, "gmsr")
    stored = load_file(parity_root / "gmsr.weights.safetensors")
    assert all(torch.equal(value, stored[key]) for key, value in network.state_dict().items())
