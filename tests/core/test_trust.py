"""The word on trust names the data, the camera and the command that checks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hsrzoo.prediction.caveats import word_on_trust


def weights(training: dict, codebook: dict | None = None) -> SimpleNamespace:
    return SimpleNamespace(name="net.toy", config={"training": training, "codebook": codebook})


def test_set_camera_codebooks_and_the_command_that_checks_are_named():
    told = word_on_trust(
        weights({"dataset": "cave", "dataset_info": {"response": "nikon-d5100"}}, {"sources": ["a", "b"]})
    )
    assert "cave (CAVE multispectral" in told and "the camera nikon-d5100" in told
    assert "codebooks from a and b" in told
    assert "hsrzoo bench --model net.toy --dataset cave" in told
    assert "outside their domain" in told and len(told.splitlines()) == 2


def test_the_command_can_be_pasted():
    spaced = SimpleNamespace(name="local-dir:my weights", config={"training": {"dataset": "cave"}})
    assert "--model 'local-dir:my weights' --dataset cave" in word_on_trust(spaced)


def test_a_set_that_no_plugin_knows_and_a_camera_not_on_record():
    told = word_on_trust(weights({"dataset": "nobodys"}))
    assert "trained on nobodys, with RGB of a camera not on record" in told


def test_the_camera_of_a_photograph_is_another_one():
    assert "(Maker Phone 3 is another camera)" in word_on_trust(
        weights({"dataset": "cave"}), "Maker Phone 3"
    )


@pytest.mark.parametrize(
    ("training", "words"),
    [({"weights": "random"}, "are random"), ({}, "do not say what they were trained on")],
)
def test_without_training_nothing_is_promised(training, words):
    told = word_on_trust(weights(training))
    assert words in told and len(told.splitlines()) <= 2
