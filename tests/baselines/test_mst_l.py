"""MST-L against the original network."""

from __future__ import annotations

from hsrzoo_baselines.mst_l import MSTL, build
from parity import Parity

from hsrzoo.bands import VISIBLE_31


def size(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_size_is_the_official_one_and_grows_by_the_head_alone():
    assert size(build(VISIBLE_31)) == 2_450_978
    assert size(MSTL(202)) == 2_450_978 + 9 * 31 * (202 - 31)


def test_outputs_keys_and_weights_are_those_of_the_original(parity_root):
    original = Parity.read(parity_root, "mst_l")
    network = build(VISIBLE_31, batch="coupled")
    original.fill(network)  # raises at the first key or shape that differs
    assert original.sha256(network) == original.state_sha256
    errors = original.relative_errors(network)
    assert max(errors.values()) < 1e-5, errors
